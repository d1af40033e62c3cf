//! Health for balancers: `grpc.health.v1`, `/livez`, `/readyz`.
//!
//! Live means that the process answers. Ready means that users should be sent
//! here: not while draining, and not while what stands behind is unusable.
//! `grpc.health.v1` says the same of the whole server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

/// What stands behind the listener.
pub trait Readiness: Send + Sync + 'static {
    /// `Err` says in a few words what is not usable.
    fn ready(&self) -> Result<(), String>;

    /// What is not there, though users are better served here than nowhere.
    fn lacks(&self) -> Option<String> {
        None
    }
}

/// Ready whenever it runs.
impl Readiness for () {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Between looks whether the server is ready still.
const LOOK: Duration = Duration::from_millis(250);

/// The name under which the whole server's health is asked for.
const WHOLE_SERVER: &str = "";

#[derive(Clone)]
pub(super) struct Probes {
    reporter: HealthReporter,
    draining: Arc<AtomicBool>,
    readiness: Arc<dyn Readiness>,
}

impl Probes {
    pub(super) async fn start(readiness: Arc<dyn Readiness>) -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        reporter
            .set_service_status(WHOLE_SERVER, ServingStatus::Serving)
            .await;
        let probes = Self {
            reporter,
            draining: Arc::default(),
            readiness,
        };
        (probes, service)
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining".to_owned());
        }
        self.readiness.ready()
    }

    /// What a server that is ready does without.
    pub(super) fn lacks(&self) -> Option<String> {
        self.readiness.lacks()
    }

    /// Tells `grpc.health.v1` whether the server is ready, for as long as it is
    /// polled.
    pub(super) async fn follow(&self) {
        let mut told = None;
        loop {
            let status = match self.ready() {
                Ok(()) => ServingStatus::Serving,
                Err(_) => ServingStatus::NotServing,
            };
            if told != Some(status) {
                let reporter = &self.reporter;
                reporter.set_service_status(WHOLE_SERVER, status).await;
                told = Some(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn set_not_serving(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.reporter
            .set_service_status(WHOLE_SERVER, ServingStatus::NotServing)
            .await;
    }

    /// Streams of `Health/Watch` have no end of their own: they would hold
    /// their connections until the deadline.
    pub(super) async fn end_watchers(&self) {
        let mut reporter = self.reporter.clone();
        reporter.clear_service_status(WHOLE_SERVER).await;
    }
}
