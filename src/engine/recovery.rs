//! One way back: a room is rebuilt from SQL after any loss of its queue.
//!
//! Starting the embedded server, a flushed Redis and a replica that lagged are
//! the same case. The epoch is raised in SQL by compare-and-set, so that one
//! of several rebuilders wins and writers of the old epoch are fenced; a fresh
//! block of numbers is reserved; then the room is made from the activation
//! rows and the departed bitmap. Every other number up to the old
//! `reserved_to` waits, absent, until its stream or token comes back.
//!
//! Among several nodes, whoever learns of an epoch that another raised gives
//! that node a second before it takes the room over with an epoch of its own.
//! Steps wait meanwhile, for a bounded time: a rebuild is no outage.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::delta::DrawOrder;
use crate::domain::draw;
use crate::domain::ids::{Number, RoomRef};
use crate::domain::place::Standing;
use crate::domain::policy::ServingOrder;
use crate::store::queue::{Built, Confirm, LaneInit, LaneOpening, QueueError, RoomInit};

use crate::store::rooms::{ActivationRow, ActivationState, RecoveredRoom, RoomRecord, RoomsError};
use crate::truth::failpoint::Point;

use super::error::EngineError;
use super::rooms::RoomHandle;
use super::ticker::Engine;

/// Between looks whether another node has rebuilt a room. The attempts last
/// longer than it is given time for.
const REBUILD_POLL: Duration = Duration::from_millis(25);
const STEP_ATTEMPTS_MAX: u32 = 50;
/// Epochs that one rebuild may take.
const BUILDS_MAX: u32 = 4;
/// Numbers reserved for the first joins of an epoch.
const FIRST_BLOCK: u64 = 16;

impl Engine {
    /// Rebuilds a room unless someone else did since `seen_epoch`.
    ///
    /// # Errors
    /// [`EngineError::Degraded`] while a store cannot be reached.
    pub async fn recover(&self, room: &RoomHandle, seen_epoch: u64) -> Result<(), EngineError> {
        let _one_at_a_time = room.rebuilding.lock().await;
        if self.is_retired() {
            return Err(EngineError::Degraded);
        }
        if room.record().epoch != seen_epoch {
            return Ok(());
        }
        // Of this epoch, whatever this node learns meanwhile.
        let seen = RoomRef {
            id: room.id.clone(),
            epoch: seen_epoch,
        };
        match self.queue.counts(&seen).await {
            Err(QueueError::Recover) => {}
            // Built by whoever had the lock before.
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if room.is_rebuilt_elsewhere() {
            return Err(EngineError::Rebuilding);
        }
        if !self.is_lost(room).await? {
            return Ok(());
        }
        self.rebuild(room, seen).await
    }

    /// What the queue kept instead is another node's newer room, or one that SQL
    /// does not know: left by a former room of this id, or lost as it was made.
    /// An epoch of its own takes it over.
    pub(super) async fn rebuild(
        &self,
        room: &RoomHandle,
        mut seen: RoomRef,
    ) -> Result<(), EngineError> {
        for _attempt in 0..BUILDS_MAX {
            let recovered = match self.registry.raise_epoch(&seen, FIRST_BLOCK).await {
                Ok(recovered) => recovered,
                Err(RoomsError::Fenced) => {
                    room.update(self.registry.room(&room.id).await?);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let record = recovered.room.clone();
            // What was read belongs to this epoch, whatever comes next.
            let raised = RoomRef {
                id: room.id.clone(),
                epoch: record.epoch,
            };
            let init = room_init(recovered, self.settings.rebuild_pause_ms);
            room.update_raised(record);
            self.failpoints.hit(Point::EpochRaised).await?;
            match self.queue.init(&raised, init).await? {
                Built::Made => return self.show_rebuilt(room, &raised).await,
                Built::Kept => {
                    tracing::warn!(room.id = %room.id, room.epoch = raised.epoch, "another room was kept");
                    seen = raised;
                }
            }
        }
        Err(EngineError::Rebuilding)
    }

    async fn show_rebuilt(&self, room: &RoomHandle, raised: &RoomRef) -> Result<(), EngineError> {
        tracing::info!(room.id = %room.id, room.epoch = raised.epoch, "room rebuilt");
        let streams = self.open_streams.places(&room.id);
        if !streams.is_empty() {
            self.queue
                .present(raised, streams, self.settings.incarnation)
                .await?;
        }
        self.follow(room).await;
        room.wake();
        self.announce_protection(&room.id);
        Ok(())
    }

    /// Runs a step; if the queue store lost the room, rebuilds it, or lets the
    /// node that is at it finish, and runs the step once more.
    pub(super) async fn with_room<'a, T>(
        &'a self,
        room: &'a RoomHandle,
        step: impl Fn(RoomRef) -> BoxFuture<'a, Result<T, QueueError>>,
    ) -> Result<T, EngineError> {
        for _attempt in 0..STEP_ATTEMPTS_MAX {
            let room_ref = room.room_ref();
            let epoch = room_ref.epoch;
            match step(room_ref).await {
                Err(QueueError::Building) => {
                    tokio::time::sleep(REBUILD_POLL).await;
                    continue;
                }
                Err(QueueError::Recover) => {}
                // One of a later epoch is not known to a queue left behind.
                Err(QueueError::UnknownPlace) => match self.current(room).await?.epoch == epoch {
                    true => return Err(QueueError::UnknownPlace.into()),
                    false => continue,
                },
                answer => return Ok(answer?),
            }
            match self.recover(room, epoch).await {
                Err(EngineError::Rebuilding) => tokio::time::sleep(REBUILD_POLL).await,
                recovered => recovered?,
            }
        }
        Err(EngineError::Rebuilding)
    }
}

/// A step beside a retry: a room that is not there any more has another try.
pub(super) fn again_if_rebuilt(told: Result<(), QueueError>) -> Result<(), QueueError> {
    match told {
        Err(QueueError::Recover | QueueError::Building) => Ok(()),
        told => told,
    }
}

fn room_init(recovered: RecoveredRoom, rebuild_pause_ms: u64) -> RoomInit {
    let openings = lane_openings(&recovered.room);
    let lanes = recovered
        .lanes
        .into_iter()
        .zip(openings)
        .map(|(lane, opening)| LaneInit {
            issued_to: lane.issued_to,
            reserved_to: lane.reserved_to,
            opening,
            departed: lane.departed,
            served: lane.served,
        })
        .collect();
    RoomInit {
        version: recovered.room.version,
        policy: Arc::new(recovered.room.policy),
        switches: recovered.room.switches,
        lanes,
        live: recovered.live.iter().map(confirm_row).collect(),
        ended: recovered.ended,
        rebuild_pause_ms,
    }
}

/// How each lane of a room opens, as far as SQL has it fixed. `None` for a
/// draw whose N is not.
#[must_use]
pub fn lane_openings(room: &RoomRecord) -> Vec<Option<LaneOpening>> {
    let lanes = 0..room.policy.lanes.len();
    match (room.policy.order, &room.draw) {
        (ServingOrder::Fifo, _) | (ServingOrder::Draw, None) => {
            lanes.map(|_| Some(LaneOpening::Fifo)).collect()
        }
        (ServingOrder::Draw, Some(draw)) => lanes
            .map(|lane| {
                let n = *draw.participants.get(lane)?;
                Some(lane_opening(room, &draw.secret, lane, n))
            })
            .collect(),
    }
}

fn lane_opening(room: &RoomRecord, secret: &[u8; 32], lane: usize, n: Number) -> LaneOpening {
    let beacon = match &room.policy.draw_beacon {
        None => None,
        Some(beacon) => match &beacon.value {
            None => return LaneOpening::AwaitBeacon { n },
            Some(value) => Some(value.as_str()),
        },
    };
    let name = &room.policy.lanes[lane].name;
    LaneOpening::Draw(DrawOrder {
        n,
        seed: draw::seed(secret, room.id.as_str(), name, n, beacon),
    })
}

/// What the queue is told of a row.
#[must_use]
pub fn confirm_row(row: &ActivationRow) -> Confirm {
    let id = row.id;
    let (standing, until) = match row.state {
        ActivationState::Activated => {
            let claim_by = row.claim_by.unwrap_or(row.as_of);
            (Standing::Activated { id, claim_by }, claim_by)
        }
        ActivationState::Active => {
            let expire_time = row.expire_time.unwrap_or(row.as_of);
            let active = Standing::Active {
                id,
                claimed_at: row.claimed_at.unwrap_or(row.activated_at),
                expire_time,
            };
            (active, expire_time)
        }
        ActivationState::Ended(reason) => (Standing::Ended(reason), row.as_of),
    };
    Confirm {
        place: row.place,
        user: row.user.clone(),
        standing,
        remaining_ms: row.as_of.until_ms(until),
    }
}
