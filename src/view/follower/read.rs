//! One read of one room from the store.

use std::sync::Arc;

use crate::domain::delta::RoomDelta;
use crate::domain::ids::{Cursor, RoomRef};
use crate::store::queue::{QueueError, QueueStore};
use crate::view::PreparedSnapshot;

/// What lies between a view and the store.
pub(super) enum Found {
    Deltas(Vec<Arc<RoomDelta>>),
    Snapshot(Box<PreparedSnapshot>),
}

/// The deltas since `from` if the store still has them, else the whole room.
pub(super) async fn read(
    store: &dyn QueueStore,
    room: &RoomRef,
    from: Option<Cursor>,
) -> Result<Found, QueueError> {
    if let Some(from) = from
        && from.epoch == room.epoch
        && let Some(deltas) = store.deltas_since(room, from).await?
    {
        return Ok(Found::Deltas(deltas));
    }
    let snapshot = store.snapshot(room).await?;
    let is_drawn = snapshot.lanes.iter().any(|lane| lane.draw.is_some());
    let prepared = match is_drawn {
        true => on_blocking_thread(move || PreparedSnapshot::new(snapshot)).await,
        false => PreparedSnapshot::new(snapshot),
    };
    Ok(Found::Snapshot(Box::new(prepared)))
}

/// Runs a job of many milliseconds where it holds no stream up.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
