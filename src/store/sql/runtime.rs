//! The runtime on which all SQL runs, so that a busy server never delays a
//! commit and a slow disk never delays a stream.

use tokio::runtime::{Builder, Handle, Runtime};

use super::SqlError;

/// SQL waits for disks and sockets; two threads keep them all busy.
const SQL_THREADS: usize = 2;

pub(super) struct SqlRuntime(Option<Runtime>);

impl SqlRuntime {
    pub(super) fn start() -> Result<Self, SqlError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(SQL_THREADS)
            .thread_name("usher-sql")
            .enable_all()
            .build()
            .map_err(|error| SqlError::Unavailable(error.to_string()))?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0
            .as_ref()
            .map(Runtime::handle)
            .expect("taken by drop only")
    }
}

impl Drop for SqlRuntime {
    fn drop(&mut self) {
        // Waiting is not allowed here: the owner may live on another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
