//! Waiting in tests: bounded, and for a state.

use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in {PATIENCE:?}"),
    }
}
