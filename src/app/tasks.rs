//! Every task has a name and is waited for.

use std::future::Future;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerWaitFuture;
use tracing::Instrument;

/// The tasks of one owner.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task whose log lines carry its name.
    pub fn spawn_named<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let span = tracing::info_span!("task", task.name = name);
        self.0.spawn(future.instrument(span));
    }

    /// For the many: no name of its own.
    pub(super) fn spawn<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future);
    }

    /// As [`Tasks::spawn`], on another runtime.
    pub(super) fn spawn_on<F>(&self, future: F, runtime: &Handle)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn_on(future, runtime);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends when every task has; more may be spawned meanwhile.
    pub fn wait(&self) -> TaskTrackerWaitFuture<'_> {
        self.0.close();
        self.0.wait()
    }
}
