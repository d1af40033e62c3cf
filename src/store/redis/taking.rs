//! Taking places: takes of one room travel together ([`gather`]).

use std::sync::Arc;

use crate::domain::ids::{RoomId, RoomRef, UserId};
use crate::domain::place::Place;
use crate::store::queue::{Presence, QueueError, Take, Taken};

use super::gather::{self, Gather};
use super::link::{Answer, Args, refusal};
use super::{RedisQueue, Shared};

/// Times a take is asked again because its lane's draw was not known here.
const DRAWS_LEARNED_MAX: u32 = 3;

/// Takes that wait.
pub(super) type Takes = Gather<Take, Taken>;
type Asked = gather::Asked<Take, Taken>;

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
        let (asked, answered) = gather::ask(room, take);
        if self.takes.add(asked) {
            let (shared, room) = (Arc::clone(self), room.id.clone());
            self.tasks.spawn(async move {
                let mut serving = shared.takes.serving(&room);
                while let Some(batch) = serving.batch() {
                    shared.take_all(batch).await;
                }
            });
        }
        answered.await.unwrap_or(Err(QueueError::Unavailable))
    }

    async fn take_all(&self, batch: Vec<Asked>) {
        let room = batch[0].room.clone();
        let takes = batch.iter().map(|asked| &asked.request);
        match self.call(&room, takes).await {
            Ok(answers) => {
                let mut answers = answers.lists();
                for asked in batch {
                    let answer = answers.next().unwrap_or(Err(QueueError::Unavailable));
                    self.answer(asked, answer);
                }
            }
            Err(error) => gather::answer_all(batch, &Err(error)),
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
        match answer.and_then(|answer| self.read_taken(&asked.room.id, &asked.request.user, answer))
        {
            Ok(Some(taken)) => {
                let _ = asked.answer.send(Ok(taken));
            }
            Ok(None) if asked.attempts < DRAWS_LEARNED_MAX => {
                asked.attempts += 1;
                // The room is being served, by this very task.
                self.takes.add(asked);
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
