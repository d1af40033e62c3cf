//! A database that takes no writes: another process has its lock.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use usher::app::Tasks;
use usher::clock::SystemClock;
use usher::store::sql::{SqlError, SqlStore};

use crate::harness::soon;

/// The lock, held until it is dropped.
pub struct Outage {
    release: CancellationToken,
}

impl Outage {
    pub async fn begin(database_url: &str) -> Self {
        let other = SqlStore::connect(database_url, Arc::new(SystemClock)).await;
        let other = other.expect("a second connection");
        let release = CancellationToken::new();
        let is_locked = watch::Sender::new(false);
        let mut locked = is_locked.subscribe();
        let input = (is_locked, release.clone());
        Tasks::new().spawn_named("test.outage", async move {
            let held = other.write(input, |_, (is_locked, release)| {
                async move {
                    is_locked.send_replace(true);
                    release.cancelled().await;
                    Ok::<_, SqlError>(())
                }
                .boxed()
            });
            held.await.expect("the lock was free");
        });
        let held = locked.wait_for(|is_locked| *is_locked);
        soon("the lock", held).await.expect("not given up");
        Self { release }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.release.cancel();
    }
}
