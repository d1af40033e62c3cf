//! What business transactions left in the outbox, on its way out.
//!
//! The relay takes unpublished rows partition by partition, never by a cursor,
//! delivers them, and marks them: at least once, in order per aggregate. A sink
//! that is away holds everything back and blames no event; an event that the
//! sink refuses is parked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde::Deserialize;

use crate::bus::{EventSink, OutboxEvent, SinkError};
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::store::outbox::{OUTBOX_PARTITIONS, Outbox, OutboxError, RetryPolicy};

use super::ticker::SlotReleaser;

/// Events taken from one partition at once.
const BATCH_EVENTS_MAX: u32 = 256;
/// How often to prune.
pub const PRUNE_INTERVAL_MS: u64 = 10_000;
/// Events looked at by one step: others wait for it.
const PRUNED_PER_STEP: u32 = 500;
/// Steps of one pruning; the next one goes on from there.
const PRUNE_STEPS_MAX: u32 = 20;
/// After so many that came to the end, about a day, the whole table is walked
/// again: what stayed at first may have become free.
const PRUNES_PER_WALK: u64 = 8_640;
/// A relay that died gives its partitions back after this long.
const PARTITION_LEASE_MS: u64 = 10_000;

pub struct Relay {
    outbox: Arc<dyn Outbox>,
    sink: Arc<dyn EventSink>,
    /// This relay's life.
    id: u64,
    /// Events up to here were looked at for pruning.
    pruned_to: AtomicU64,
    /// Prunings that came to the end since the last walk began.
    prunes: AtomicU64,
}

impl Relay {
    #[must_use]
    pub fn new(outbox: Arc<dyn Outbox>, sink: Arc<dyn EventSink>, id: u64) -> Self {
        Self {
            outbox,
            sink,
            id,
            pruned_to: AtomicU64::new(0),
            prunes: AtomicU64::new(0),
        }
    }

    /// Takes one batch of every partition; answers how many were delivered.
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when SQL is away.
    pub async fn step(&self) -> Result<usize, OutboxError> {
        // A read: an idle server does not write leases.
        if self.outbox.backlog().await?.pending == 0 {
            return Ok(0);
        }
        let mut delivered = 0;
        for partition in 0..OUTBOX_PARTITIONS {
            delivered += self.drain_partition(partition).await?;
        }
        Ok(delivered)
    }

    /// Deletes events that were published long ago; answers how many. The
    /// app's ticker calls it every [`PRUNE_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`OutboxError::Unavailable`] when SQL is away; the next one goes on.
    pub async fn prune(&self) -> Result<u64, OutboxError> {
        let mut events = 0;
        for _ in 0..PRUNE_STEPS_MAX {
            let after = self.pruned_to.load(Ordering::Relaxed);
            let step = self.outbox.prune(after, PRUNED_PER_STEP).await?;
            events += step.events;
            self.pruned_to.store(step.next, Ordering::Relaxed);
            if step.is_end {
                let prunes = self.prunes.fetch_add(1, Ordering::Relaxed) + 1;
                if prunes.is_multiple_of(PRUNES_PER_WALK) {
                    self.pruned_to.store(0, Ordering::Relaxed);
                }
                break;
            }
        }
        Ok(events)
    }

    async fn drain_partition(&self, partition: u8) -> Result<usize, OutboxError> {
        let batch = match self
            .outbox
            .claim_batch(partition, self.id, PARTITION_LEASE_MS, BATCH_EVENTS_MAX)
            .await
        {
            Err(OutboxError::LeaseHeld { .. }) => return Ok(0),
            batch => batch?,
        };
        if batch.is_empty() {
            return Ok(0);
        }
        match self.sink.deliver(&batch).await {
            Ok(()) => self.outbox.mark_published(&batch).await?,
            Err(SinkError::Unavailable(why)) => {
                tracing::warn!(outbox.partition = partition, error = %why, "event sink away");
                // It may be away for this node alone.
                self.outbox.release(partition, self.id).await?;
                return Ok(0);
            }
            Err(SinkError::Refused { id, why }) => self.park(&batch, &id, &why).await?,
        }
        Ok(batch.len())
    }

    /// The refused event is dead at once; the others come again.
    async fn park(&self, batch: &[OutboxEvent], id: &str, why: &str) -> Result<(), OutboxError> {
        let once = RetryPolicy {
            attempts_max: 1,
            ..RetryPolicy::default()
        };
        for event in batch.iter().filter(|event| event.id == id) {
            tracing::error!(event.id = %event.id, event.kind = %event.kind, error = why, "event refused");
            self.outbox.mark_failed(event, once).await?;
        }
        Ok(())
    }
}

/// The consumer that repeats `slot.freed` after a crash, and tells the queue
/// of those who left while it was away, then hands events on.
pub struct SlotConsumer {
    releaser: Arc<dyn SlotReleaser>,
    next: Arc<dyn EventSink>,
}

impl SlotConsumer {
    #[must_use]
    pub fn new(releaser: Arc<dyn SlotReleaser>, next: Arc<dyn EventSink>) -> Self {
        Self { releaser, next }
    }
}

/// Body of `slot.freed`.
#[derive(Deserialize)]
struct SlotFreed {
    activation_id: ActivationId,
    room_id: RoomId,
    reason: EndReason,
}

/// Body of `place.left`.
#[derive(Deserialize)]
struct PlaceLeft {
    room_id: RoomId,
    place: PlaceKey,
    user_id: UserId,
}

fn read<'a, T: Deserialize<'a>>(event: &'a OutboxEvent) -> Result<T, SinkError> {
    serde_json::from_str(&event.payload).map_err(|error| SinkError::Refused {
        id: event.id.clone(),
        why: error.to_string(),
    })
}

#[async_trait]
impl EventSink for SlotConsumer {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Result<(), SinkError> {
        for event in batch {
            let told = match event.kind.as_str() {
                "slot.freed" => {
                    let freed: SlotFreed = read(event)?;
                    self.releaser
                        .release(&freed.room_id, freed.activation_id, freed.reason)
                        .await
                }
                "place.left" => {
                    let PlaceLeft {
                        room_id,
                        place,
                        user_id,
                    } = read(event)?;
                    self.releaser.leave(&room_id, place, &user_id).await
                }
                _ => Ok(()),
            };
            told.map_err(|error| SinkError::Unavailable(error.to_string()))?;
        }
        self.next.deliver(batch).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::bus::local::LocalSink;
    use crate::store::outbox::{Backlog, Failed, Pruned};

    /// Has one event, of id 7, that stays.
    #[derive(Default)]
    struct Staying(Mutex<Vec<u64>>);

    #[async_trait]
    impl Outbox for Staying {
        async fn claim_batch(
            &self,
            _: u8,
            _: u64,
            _: u64,
            _: u32,
        ) -> Result<Vec<OutboxEvent>, OutboxError> {
            Ok(Vec::new())
        }

        async fn mark_published(&self, _: &[OutboxEvent]) -> Result<(), OutboxError> {
            Ok(())
        }

        async fn mark_failed(
            &self,
            _: &OutboxEvent,
            _: RetryPolicy,
        ) -> Result<Failed, OutboxError> {
            Ok(Failed::Settled)
        }

        async fn release(&self, _: u8, _: u64) -> Result<(), OutboxError> {
            Ok(())
        }

        async fn prune(&self, after: u64, _: u32) -> Result<Pruned, OutboxError> {
            self.0.lock().unwrap().push(after);
            Ok(Pruned {
                events: 0,
                next: 7,
                is_end: after == 7,
            })
        }

        async fn backlog(&self) -> Result<Backlog, OutboxError> {
            Ok(Backlog::default())
        }
    }

    #[tokio::test]
    async fn what_stays_is_looked_at_once_a_day() {
        let outbox = Arc::new(Staying::default());
        let relay = Relay::new(outbox.clone(), Arc::new(LocalSink::default()), 1);
        for _ in 0..PRUNES_PER_WALK {
            relay.prune().await.unwrap();
        }
        let walks = |looked: &[u64]| looked.iter().filter(|after| **after == 0).count();
        let looked = || outbox.0.lock().unwrap().clone();
        assert_eq!((walks(&looked()), looked()[0]), (1, 0));
        relay.prune().await.unwrap();
        assert_eq!(walks(&looked()), 2);
    }
}
