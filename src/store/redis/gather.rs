//! Steps of one kind and one room travel together.
//!
//! One call of the script carries every request that came while the previous call
//! was under way; nobody waits for more to come, so gathering adds at most the
//! rest of one call. Each request has its own answer. The call belongs to a task
//! of the node: a caller that goes away takes nobody else's answer with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::ids::{RoomId, RoomRef};
use crate::store::queue::QueueError;

/// Requests in one call: about a millisecond of Redis.
const BATCH_MAX: usize = 128;
/// Requests of one room that wait; more are refused as unavailable.
const WAITING_MAX: usize = 16_384;

/// A request, and who waits for its answer.
pub(super) struct Asked<Q, A> {
    pub room: RoomRef,
    pub request: Q,
    /// Times it was asked again.
    pub attempts: u32,
    pub answer: oneshot::Sender<Result<A, QueueError>>,
}

/// Dropped without an answer where it is refused, or the node stops.
pub(super) type Answered<A> = oneshot::Receiver<Result<A, QueueError>>;

pub(super) fn ask<Q, A>(room: &RoomRef, request: Q) -> (Asked<Q, A>, Answered<A>) {
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        room: room.clone(),
        request,
        attempts: 0,
        answer,
    };
    (asked, answered)
}

/// The same answer for all of them.
pub(super) fn answer_all<Q, A: Clone>(batch: Vec<Asked<Q, A>>, answer: &Result<A, QueueError>) {
    for asked in batch {
        // An error says that the caller went away.
        let _ = asked.answer.send(answer.clone());
    }
}

struct Waiting<Q, A> {
    all: VecDeque<Asked<Q, A>>,
    is_served: bool,
}

/// Requests that wait, by room.
pub(super) struct Gather<Q, A>(Mutex<HashMap<RoomId, Waiting<Q, A>>>);

impl<Q, A> Default for Gather<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q, A> Gather<Q, A> {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Waiting<Q, A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether someone must serve the room now.
    pub(super) fn add(&self, asked: Asked<Q, A>) -> bool {
        let mut rooms = self.rooms();
        let waiting = rooms.entry(asked.room.id.clone()).or_insert(Waiting {
            all: VecDeque::new(),
            is_served: false,
        });
        if waiting.all.len() >= WAITING_MAX {
            // The sender is dropped: unavailable.
            return false;
        }
        waiting.all.push_back(asked);
        !std::mem::replace(&mut waiting.is_served, true)
    }

    /// By whoever was told to.
    pub(super) fn serving<'a>(&'a self, room: &'a RoomId) -> Serving<'a, Q, A> {
        Serving {
            gather: self,
            room,
            is_over: false,
        }
    }
}

/// Dropped before its room is served to the end: those who wait are told, and
/// the next request is served anew.
pub(super) struct Serving<'a, Q, A> {
    gather: &'a Gather<Q, A>,
    room: &'a RoomId,
    is_over: bool,
}

impl<Q, A> Serving<'_, Q, A> {
    /// The next batch, all of one epoch; `None`: nobody waits any more.
    pub(super) fn batch(&mut self) -> Option<Vec<Asked<Q, A>>> {
        let mut rooms = self.gather.rooms();
        let batch = rooms.get_mut(self.room).and_then(|waiting| {
            let epoch = waiting.all.front()?.room.epoch;
            let same = |asked: &&Asked<Q, A>| asked.room.epoch == epoch;
            let count = waiting.all.iter().take_while(same).count();
            Some(waiting.all.drain(..count.min(BATCH_MAX)).collect())
        });
        if batch.is_none() {
            rooms.remove(self.room);
            self.is_over = true;
        }
        batch
    }
}

impl<Q, A> Drop for Serving<'_, Q, A> {
    fn drop(&mut self) {
        if !self.is_over {
            self.gather.rooms().remove(self.room);
        }
    }
}
