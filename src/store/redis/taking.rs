//! Takes of one room travel together.
//!
//! One call of the script carries every take that came while the previous call
//! was under way; nobody waits for more to come, so gathering adds at most the
//! rest of one call. Each take has its own answer. The call belongs to a task
//! of the node: a caller that goes away takes nobody else's answer with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::ids::{RoomId, RoomRef, UserId};
use crate::domain::place::Place;
use crate::store::queue::{Presence, QueueError, Take, Taken};

use super::link::{Answer, Args, refusal};
use super::{RedisQueue, Shared};

/// Takes in one call: about a millisecond of Redis.
const BATCH_TAKES_MAX: usize = 128;
/// Takes of one room that wait; more are refused as unavailable.
const WAITING_TAKES_MAX: usize = 16_384;
/// Times a take is asked again because its lane's draw was not known here.
const DRAWS_LEARNED_MAX: u32 = 3;

struct Asked {
    room: RoomRef,
    take: Take,
    attempts: u32,
    answer: oneshot::Sender<Result<Taken, QueueError>>,
}

#[derive(Default)]
struct Waiting {
    takes: VecDeque<Asked>,
    is_served: bool,
}

/// Takes that wait, by room.
#[derive(Default)]
pub(super) struct Gather(Mutex<HashMap<RoomId, Waiting>>);

impl Gather {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether someone must serve the room now.
    fn add(&self, asked: Asked) -> bool {
        let mut rooms = self.rooms();
        let waiting = rooms.entry(asked.room.id.clone()).or_default();
        if waiting.takes.len() >= WAITING_TAKES_MAX {
            // The sender is dropped: unavailable.
            return false;
        }
        waiting.takes.push_back(asked);
        !std::mem::replace(&mut waiting.is_served, true)
    }

    /// The next batch, all of one epoch; `None`: nobody waits any more.
    fn batch(&self, room: &RoomId) -> Option<Vec<Asked>> {
        let mut rooms = self.rooms();
        let waiting = rooms.get_mut(room)?;
        let Some(epoch) = waiting.takes.front().map(|asked| asked.room.epoch) else {
            rooms.remove(room);
            return None;
        };
        let same = |asked: &&Asked| asked.room.epoch == epoch;
        let count = waiting.takes.iter().take_while(same).count();
        Some(waiting.takes.drain(..count.min(BATCH_TAKES_MAX)).collect())
    }
}

/// Dropped before its room is served to the end: those who wait are told, and
/// the next take is served anew.
struct Serving<'a> {
    shared: &'a Shared,
    room: &'a RoomId,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.shared.gather.rooms().remove(self.room);
    }
}

impl RedisQueue {
    /// Takes in one call of the script, as they travel that come together; what
    /// a measurement compares [`QueueStore::take`] with. One whose lane's draw
    /// is not known here is not asked again.
    ///
    /// # Errors
    /// [`QueueError`] of the call, or of the first take that was refused.
    ///
    /// [`QueueStore::take`]: crate::store::queue::QueueStore::take
    pub async fn take_together(
        &self,
        room: &RoomRef,
        takes: &[Take],
    ) -> Result<Vec<Taken>, QueueError> {
        let answers = self.shared.call(room, takes.iter()).await?;
        let read = takes.iter().zip(answers.lists()).map(|(take, answer)| {
            let taken = self.shared.read_taken(&room.id, &take.user, answer?)?;
            taken.ok_or(QueueError::Unavailable)
        });
        read.collect()
    }
}

impl Shared {
    pub(super) async fn take(
        self: &Arc<Self>,
        room: &RoomRef,
        take: Take,
    ) -> Result<Taken, QueueError> {
        let (answer, answered) = oneshot::channel();
        let must_serve = self.gather.add(Asked {
            room: room.clone(),
            take,
            attempts: 0,
            answer,
        });
        if must_serve {
            let (shared, room) = (Arc::clone(self), room.id.clone());
            self.tasks.spawn(async move { shared.serve(&room).await });
        }
        // Dropped: refused, or the node stops.
        answered.await.unwrap_or(Err(QueueError::Unavailable))
    }

    async fn serve(&self, room: &RoomId) {
        let serving = Serving { shared: self, room };
        while let Some(batch) = self.gather.batch(room) {
            self.take_all(batch).await;
        }
        std::mem::forget(serving);
    }

    async fn take_all(&self, batch: Vec<Asked>) {
        let room = batch[0].room.clone();
        let takes = batch.iter().map(|asked| &asked.take);
        match self.call(&room, takes).await {
            Ok(answers) => {
                let mut answers = answers.lists();
                for asked in batch {
                    let answer = answers.next().unwrap_or(Err(QueueError::Unavailable));
                    self.answer(asked, answer);
                }
            }
            Err(error) => {
                for asked in batch {
                    // An error says that the caller went away.
                    let _ = asked.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// One call of the script.
    async fn call<'a>(
        &self,
        room: &RoomRef,
        takes: impl Iterator<Item = &'a Take>,
    ) -> Result<Answer, QueueError> {
        let mut args = Args::default();
        for take in takes {
            self.push_take(&room.id, take, &mut args);
        }
        self.run(&self.steps.take, room, args).await
    }

    fn push_take(&self, room: &RoomId, take: &Take, args: &mut Args) {
        args.push(take.user.as_str());
        match take.presented {
            Some(place) => {
                args.push_place(place);
                self.draws.push_order(room, place, args);
            }
            None => (0..4).for_each(|_| args.push("")),
        }
        match take.issue_in {
            Some(lane) => args.push_number(u64::from(lane)),
            None => args.push(""),
        }
        match take.presence {
            Presence::Stream(node) => {
                args.push("s");
                args.push_number(node.0);
            }
            Presence::Call { for_ms } => {
                args.push("c");
                args.push_number(for_ms);
            }
        }
    }

    /// Hands an answer on, or asks again with a draw that was learned.
    fn answer(&self, mut asked: Asked, answer: Result<Answer, QueueError>) {
        match answer.and_then(|answer| self.read_taken(&asked.room.id, &asked.take.user, answer)) {
            Ok(Some(taken)) => {
                let _ = asked.answer.send(Ok(taken));
            }
            Ok(None) if asked.attempts < DRAWS_LEARNED_MAX => {
                asked.attempts += 1;
                // The room is being served, by this very task.
                self.gather.add(asked);
            }
            Ok(None) => {
                let _ = asked.answer.send(Err(QueueError::Unavailable));
            }
            Err(error) => {
                let _ = asked.answer.send(Err(error));
            }
        }
    }

    fn read_taken(
        &self,
        room: &RoomId,
        user: &UserId,
        mut answer: Answer,
    ) -> Result<Option<Taken>, QueueError> {
        match answer.text()?.as_str() {
            "place" => Ok(Some(Taken {
                place: Place {
                    key: answer.place()?,
                    user: user.clone(),
                    standing: answer.standing()?,
                },
                needs_token: answer.flag()?,
            })),
            "draw" => {
                let lane = answer.lane()?;
                self.draws.learn(room, lane, &answer.text()?)?;
                Ok(None)
            }
            name => Err(refusal(name, &mut answer)?),
        }
    }
}
