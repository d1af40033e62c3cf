//! The lines of all rooms in Redis, shared by any number of nodes.
//!
//! Each step of a room is one Lua script ([`steps`]), so steps of a room happen
//! one after the other whoever calls them. The machine in `domain::room` is
//! the model: a property test holds both to the same answers and deltas.
//!
//! # Keys
//! All of a room lie under `usher:{<room id>}` ([`keys`]), in one slot of a
//! cluster. A place is `lane` and `number`; *name* is both in six bytes.
//!
//! | key, after the first | type | what, and how large |
//! |---|---|---|
//! | (none) | hash | epoch, run id, clock, bucket, switches, counters, a dozen fields a lane |
//! | `:policy` | hash | the policy and the facts of it that deltas repeat, as texts |
//! | `:users` | hash | user → lane, number, who vouches (8 bytes): each user's live place |
//! | `:line:<lane>` | sorted set | user by region · 2⁴⁰ + order: all that wait and are known. Regions 0 and 1: those present and absent; 2 and 3: the same in a draw's order |
//! | `:timers` | sorted set | user by room time: a call that stops vouching, an absence that lapses |
//! | `:owners`, `:leases` | hash, sorted set | a node's incarnation → a small number; that number by the end of its lease |
//! | `:granting`, `:left` | sorted set, set | name and user by when it was picked; of these, who left |
//! | `:slots`, `:due`, `:turns` | hash, sorted set, hash | an activation's place, user and standing; when to propose its end; name → id. As many as the capacity |
//! | `:departed:<lane>` | bitmap | a bit per number (high bit first) |
//! | `:pages` | sorted set | `lane:page` by the revision that last changed it |
//! | `:ends:<lane>` | u4 per number | why it ended |
//! | `:merged` | hash | name → the surviving place's name |
//! | `:claimed:<lane>` | bitmap | numbers of earlier epochs whose user came back |
//! | `:pending` | list | changes since the last delta |
//! | `:log` | stream | the last 512 deltas, by `epoch-revision` |
//! | `:deltas` | channel | every delta, once |
//!
//! A waiter with an open stream costs an entry of `:users` and of `:line`: see
//! `tests/memory.rs` for the bytes. One that polls, or is absent, costs an
//! entry of `:timers` more. A number of an earlier epoch costs a bit until its
//! token comes back.
//!
//! # Invariants
//! - A step of another epoch, or after the server's run id changed, answers
//!   `Recover` and changes nothing.
//! - A user is in `:users` exactly while they have a live place; in a line
//!   exactly while that place waits and is not picked.
//! - A number's departed bit is set exactly once; `waiting` counts the issued
//!   numbers whose bit is clear, `absent` those of them nobody vouches for.
//! - A step touches a bounded number of places, however many wait; what a tick
//!   cannot finish, the next one goes on with.

mod building;
pub mod delta;
mod draws;
mod freeing;
mod gather;
pub mod keys;
mod link;
mod marks;
mod opening;
mod reading;
mod steps;
mod taking;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::domain::ids::{
    ActivationId, Cursor, Incarnation, LaneIndex, Number, PlaceKey, RoomId, RoomRef, UserId,
};
use crate::domain::place::{EndReason, Place, RoomSwitches};
use crate::domain::policy::RoomPolicy;
use crate::entropy::Entropy;
use crate::redis_link::{RedisClient, Script};

use super::queue::{
    Built, Confirm, DepartedPage, GrantOutcome, Granted, KeptRoom, LaneOpening, LeaveOutcome,
    LowNumbers, QueueError, QueueStore, RoomCounts, RoomInit, Strain, Take, Taken, Tick,
};

use self::building::Row;
use self::draws::Draws;
use self::freeing::Frees;
use self::link::{Answer, Args, Link, reason_of, unexpected};
use self::steps::Steps;
use self::taking::Takes;

/// Places whose presence one call tells: about a millisecond of Redis.
const PRESENCE_PLACES_MAX: usize = 250;
/// Times presence is told again because a draw was not known here.
const DRAWS_LEARNED_MAX: u32 = 20;

/// A [`QueueStore`] in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisQueue {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    steps: Steps,
    draws: Draws,
    takes: Takes,
    frees: Frees,
    tasks: TaskTracker,
    entropy: Arc<dyn Entropy>,
    /// Tests say what time it is; else the server's clock is asked.
    clock: Option<Arc<dyn Clock>>,
}

impl RedisQueue {
    /// Calls that carry several callers' steps run in `tasks`.
    #[must_use]
    pub fn new(client: RedisClient, tasks: TaskTracker, entropy: Arc<dyn Entropy>) -> Self {
        Self::with_clock(client, tasks, entropy, None)
    }

    /// A store whose rooms see this clock instead of the server's.
    #[must_use]
    pub fn with_clock(
        client: RedisClient,
        tasks: TaskTracker,
        entropy: Arc<dyn Entropy>,
        clock: Option<Arc<dyn Clock>>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                link: Link::new(client),
                steps: Steps::new(),
                draws: Draws::default(),
                takes: Takes::default(),
                frees: Frees::default(),
                tasks,
                entropy,
                clock,
            }),
        }
    }

    async fn run(&self, step: &Script, room: &RoomRef, args: Args) -> Result<Answer, QueueError> {
        self.shared.run(step, room, args).await
    }
}

impl Shared {
    fn now(&self) -> Option<u64> {
        self.clock.as_ref().map(|clock| clock.now().0)
    }

    /// Runs a step; a refusal is an error.
    async fn run(&self, step: &Script, room: &RoomRef, args: Args) -> Result<Answer, QueueError> {
        let mut answer = self.link.run(step, room, self.now(), &args).await?;
        match answer.text()?.as_str() {
            "ok" => Ok(answer),
            name => Err(link::refusal(name, &mut answer)?),
        }
    }

    /// Tells presence of one piece; those whose order was not known here are
    /// told again.
    async fn present(
        &self,
        room: &RoomRef,
        places: &[(PlaceKey, UserId)],
        owner: Incarnation,
    ) -> Result<(), QueueError> {
        let mut left: Vec<&(PlaceKey, UserId)> = places.iter().collect();
        for _attempt in 0..DRAWS_LEARNED_MAX {
            let mut args = Args::default().number(owner.0);
            for (place, user) in &left {
                args.push_place(*place);
                args.push(user.as_str());
                self.draws.push_order(&room.id, *place, &mut args);
            }
            let mut again = Vec::new();
            for unknown in self.run(&self.steps.present, room, args).await?.lists() {
                let mut unknown = unknown?;
                let index = usize::try_from(unknown.number()?).ok();
                let lane = unknown.lane()?;
                self.draws.learn(&room.id, lane, &unknown.text()?)?;
                again.extend(index.and_then(|index| left.get(index).copied()));
            }
            if again.is_empty() {
                return Ok(());
            }
            left = again;
        }
        Err(QueueError::Unavailable)
    }
}

fn read_tick(epoch: u64, mut answer: Answer) -> Result<Tick, QueueError> {
    let cursor = Cursor {
        epoch,
        revision: answer.number()?,
    };
    let quiet = answer.flag()?;
    let mut granted = Vec::new();
    for place in answer.list()?.lists() {
        let mut place = place?;
        granted.push(Granted {
            place: place.place()?,
            user: place.user()?,
        });
    }
    let due = read_ids(answer.list()?)?;
    let mut low_numbers = Vec::new();
    for low in answer.list()?.lists() {
        let mut low = low?;
        low_numbers.push(LowNumbers {
            lane: low.lane()?,
            reserve_to: low.number()?,
        });
    }
    Ok(Tick {
        cursor,
        version: answer.number()?,
        has_more: answer.flag()?,
        granted,
        due,
        low_numbers,
        quiet,
    })
}

fn read_ids(mut ids: Answer) -> Result<Vec<ActivationId>, QueueError> {
    let mut read = Vec::new();
    while !ids.is_empty() {
        read.push(ids.activation()?);
    }
    Ok(read)
}

#[async_trait]
impl QueueStore for RedisQueue {
    async fn take(&self, room: &RoomRef, take: Take) -> Result<Taken, QueueError> {
        self.shared.take(room, take).await
    }

    async fn leave(
        &self,
        room: &RoomRef,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<LeaveOutcome, QueueError> {
        let mut args = Args::default();
        args.push_place(place);
        args.push(user.as_str());
        let mut answer = self.run(&self.shared.steps.leave, room, args).await?;
        Ok(match answer.text()?.as_str() {
            "ended" => LeaveOutcome::Ended(reason_of(&answer.text()?)?),
            "marked" => LeaveOutcome::Marked,
            "row" => LeaveOutcome::EndRowFirst(answer.activation()?),
            other => return Err(unexpected(&other)),
        })
    }

    async fn find(&self, room: &RoomRef, user: &UserId) -> Result<Option<Place>, QueueError> {
        let args = Args::default().text(user.as_str());
        let mut answer = self.run(&self.shared.steps.find, room, args).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        Ok(Some(Place {
            key: answer.place()?,
            user: user.clone(),
            standing: answer.standing()?,
        }))
    }

    async fn tick(&self, room: &RoomRef, node: Option<Incarnation>) -> Result<Tick, QueueError> {
        let node = node.map_or_else(String::new, |node| node.0.to_string());
        let args = Args::default().text(&node);
        let answer = self.run(&self.shared.steps.tick, room, args).await?;
        read_tick(room.epoch, answer)
    }

    async fn steer(&self, room: &RoomRef, strain: Strain) -> Result<f64, QueueError> {
        let args = Args::default()
            .number(u64::from(strain.permille))
            .text(&strain.rate_min_fraction.to_string())
            .number(strain.settle_ms);
        let mut answer = self.run(&self.shared.steps.steer, room, args).await?;
        let rate_per_s = answer.text()?;
        rate_per_s.parse().map_err(|_| unexpected(&rate_per_s))
    }

    async fn grant_place(
        &self,
        room: &RoomRef,
        user: &UserId,
        issue_in: LaneIndex,
    ) -> Result<GrantOutcome, QueueError> {
        let args = Args::default()
            .text(user.as_str())
            .number(u64::from(issue_in));
        let mut answer = self.run(&self.shared.steps.grant_place, room, args).await?;
        Ok(match answer.text()?.as_str() {
            "granting" => GrantOutcome::Granting(answer.place()?),
            "turn" => GrantOutcome::HasTurn(answer.activation()?),
            other => return Err(unexpected(&other)),
        })
    }

    async fn confirm(
        &self,
        room: &RoomRef,
        rows: Vec<Confirm>,
    ) -> Result<Vec<ActivationId>, QueueError> {
        let mut args = Args::default();
        for row in &rows {
            if let Some(row) = Row::of(row)? {
                row.push(&mut args);
            }
        }
        read_ids(self.run(&self.shared.steps.confirm, room, args).await?)
    }

    async fn claim(&self, room: &RoomRef, row: Confirm) -> Result<(), QueueError> {
        let Some(row) = Row::of(&row)? else {
            return Ok(());
        };
        let mut args = Args::default();
        row.push(&mut args);
        self.run(&self.shared.steps.claim, room, args)
            .await
            .map(|_| ())
    }

    async fn rearm(
        &self,
        room: &RoomRef,
        id: ActivationId,
        remaining_ms: u64,
    ) -> Result<(), QueueError> {
        let args = Args::default().text(&id.to_string()).number(remaining_ms);
        self.run(&self.shared.steps.rearm, room, args)
            .await
            .map(|_| ())
    }

    async fn free(
        &self,
        room: &RoomRef,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), QueueError> {
        self.shared.free(room, id, reason).await
    }

    async fn present(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError> {
        for places in places.chunks(PRESENCE_PLACES_MAX) {
            self.shared.present(room, places, owner).await?;
        }
        Ok(())
    }

    async fn absent(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError> {
        for places in places.chunks(PRESENCE_PLACES_MAX) {
            let mut args = Args::default().number(owner.0);
            for (place, user) in places {
                args.push_place(*place);
                args.push(user.as_str());
            }
            self.run(&self.shared.steps.absent, room, args).await?;
        }
        Ok(())
    }

    async fn freeze(&self, room: &RoomRef) -> Result<Vec<Number>, QueueError> {
        let args = Args::default();
        let mut answer = self.run(&self.shared.steps.freeze, room, args).await?;
        let mut issued = Vec::new();
        while !answer.is_empty() {
            issued.push(answer.number()?);
        }
        Ok(issued)
    }

    async fn open(&self, room: &RoomRef, lanes: Vec<LaneOpening>) -> Result<(), QueueError> {
        self.shared.open(room, lanes).await
    }

    async fn configure(
        &self,
        room: &RoomRef,
        version: u64,
        policy: Arc<RoomPolicy>,
        switches: RoomSwitches,
    ) -> Result<(), QueueError> {
        let row = (version, &*policy, &switches);
        self.shared.configure(room, row).await
    }

    async fn reserve(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        reserved_to: Number,
    ) -> Result<(), QueueError> {
        let args = Args::default().number(u64::from(lane)).number(reserved_to);
        self.run(&self.shared.steps.reserve, room, args)
            .await
            .map(|_| ())
    }

    async fn init(&self, room: &RoomRef, init: RoomInit) -> Result<Built, QueueError> {
        self.shared.init(room, init).await
    }

    async fn snapshot(&self, room: &RoomRef) -> Result<RoomSnapshot, QueueError> {
        self.shared.snapshot(room).await
    }

    async fn deltas_since(
        &self,
        room: &RoomRef,
        cursor: Cursor,
    ) -> Result<Option<Vec<Arc<RoomDelta>>>, QueueError> {
        self.shared.deltas_since(room, cursor).await
    }

    async fn departed_pages(
        &self,
        room: &RoomRef,
        revision: u64,
    ) -> Result<(u64, Vec<DepartedPage>), QueueError> {
        self.shared.departed_pages(room, revision).await
    }

    async fn counts(&self, room: &RoomRef) -> Result<RoomCounts, QueueError> {
        self.shared.counts(room).await
    }

    async fn forget(&self, room: &RoomRef) -> Result<(), QueueError> {
        self.run(&self.shared.steps.forget, room, Args::default())
            .await?;
        self.shared.draws.forget(&room.id);
        Ok(())
    }

    fn generation(&self) -> Option<u64> {
        self.shared.link.generation()
    }

    fn look_again(&self) {
        self.shared.link.look_again();
    }

    async fn kept(&self, room: &RoomId) -> Result<Option<KeptRoom>, QueueError> {
        self.shared.link.kept(room).await
    }

    async fn mark(&self) -> Result<u64, QueueError> {
        self.shared.link.mark().await
    }

    async fn leave_mark(&self, mark: u64) -> Result<(), QueueError> {
        self.shared.link.leave_mark(mark).await
    }
}
