//! What the outbox repeats to the queue: slots that a crash left taken, and
//! those who left while the queue was away.
//!
//! Rooms are told side by side, the news of one in their order. What a room
//! cannot be told waits, and nothing else of the batch: the other rooms and all
//! that no room needs to know go on to the next sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::hand_on;
use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::engine::error::EngineError;
use crate::engine::ticker::SlotReleaser;
use crate::store::rooms::RoomsError;

const ROOMS_AT_ONCE: usize = 16;
/// For all rooms of a batch: the lease of its partitions runs meanwhile.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// The consumer that repeats `slot.freed` after a crash, and tells the queue
/// of those who left while it was away, then hands events on.
pub struct SlotConsumer {
    releaser: Arc<dyn SlotReleaser>,
    next: Arc<dyn EventSink>,
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

/// What an event tells a room.
enum News {
    Freed(SlotFreed),
    Left(PlaceLeft),
}

impl News {
    /// # Errors
    /// It speaks of nothing that the queue could know.
    fn of(event: &OutboxEvent) -> Result<Option<Self>, String> {
        let payload = &event.payload;
        let read = match event.kind.as_str() {
            "slot.freed" => serde_json::from_str(payload).map(Self::Freed),
            "place.left" => serde_json::from_str(payload).map(Self::Left),
            _ => return Ok(None),
        };
        read.map(Some).map_err(|error| error.to_string())
    }

    fn room(&self) -> &RoomId {
        match self {
            Self::Freed(freed) => &freed.room_id,
            Self::Left(left) => &left.room_id,
        }
    }
}

impl SlotConsumer {
    #[must_use]
    pub fn new(releaser: Arc<dyn SlotReleaser>, next: Arc<dyn EventSink>) -> Self {
        Self { releaser, next }
    }

    async fn tell(&self, news: &News) -> Result<(), EngineError> {
        let told = match news {
            News::Freed(freed) => {
                let (room, id) = (&freed.room_id, freed.activation_id);
                self.releaser.release(room, id, freed.reason).await
            }
            News::Left(left) => {
                let (room, place) = (&left.room_id, left.place);
                self.releaser.leave(room, place, &left.user_id).await
            }
        };
        match told {
            // Its row was deleted since: it has no slot.
            Err(EngineError::Rooms(RoomsError::UnknownActivation)) => Ok(()),
            told => told,
        }
    }

    /// Tells one room until it fails or time is up; answers how many it was told,
    /// and why no more.
    async fn tell_room(&self, all: &[(usize, News)], ends_at: Instant) -> (usize, Option<String>) {
        // One whose turn came late is not slow.
        let had_time = ends_at - Instant::now() > TELL_WITHIN / 2;
        for (told, (_, news)) in all.iter().enumerate() {
            match timeout_at(ends_at, self.tell(news)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return (told, Some(error.to_string())),
                Err(_) => {
                    let is_slow = told == 0 && had_time;
                    return (told, is_slow.then(|| "it took too long".to_owned()));
                }
            }
        }
        (all.len(), None)
    }

    /// The fate of those that a room was not told.
    async fn serve(&self, all: Vec<(usize, News)>, ends_at: Instant) -> Vec<(usize, Outcome)> {
        if Instant::now() >= ends_at {
            return all
                .into_iter()
                .map(|(index, _)| (index, Outcome::Later))
                .collect();
        }
        let (told, trouble) = self.tell_room(&all, ends_at).await;
        let fate = match &trouble {
            Some(why) => {
                let room = all[told].1.room();
                let waiting = all.len() - told;
                tracing::warn!(room.id = %room, events = waiting, error = %why, "room not told yet");
                Outcome::Waits
            }
            // It is served, and had much to hear.
            None => Outcome::Later,
        };
        let untold = all.into_iter().skip(told);
        untold.map(|(index, _)| (index, fate.clone())).collect()
    }
}

#[async_trait]
impl EventSink for SlotConsumer {
    async fn deliver(&self, batch: &[OutboxEvent]) -> Delivery {
        let ends_at = Instant::now() + TELL_WITHIN;
        let mut fates: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut by_room: BTreeMap<RoomId, Vec<(usize, News)>> = BTreeMap::new();
        for (index, event) in batch.iter().enumerate() {
            match News::of(event) {
                Ok(None) => {}
                Ok(Some(news)) => {
                    let of_room = by_room.entry(news.room().clone()).or_default();
                    of_room.push((index, news));
                }
                Err(why) => fates[index] = Some(Outcome::Refused(why)),
            }
        }
        let serving = by_room.into_values().map(|all| self.serve(all, ends_at));
        let mut serving = stream::iter(serving).buffer_unordered(ROOMS_AT_ONCE);
        while let Some(untold) = serving.next().await {
            for (index, fate) in untold {
                fates[index] = Some(fate);
            }
        }
        drop(serving);
        hand_on(self.next.as_ref(), batch, fates).await
    }
}

#[cfg(test)]
mod tests;
