//! One simulated node: its replica and its hub, what reached it, what it has
//! yet to do.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::domain::ids::{ActivationId, Incarnation, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::domain::room::Room;
use crate::domain::room::command::{Confirm, Granted};
use crate::domain::time::{RoomClock, UnixMs};
use crate::fanout::event::ShownState;
use crate::fanout::{Hub, HubLimits};
use crate::keys::Keys;
use crate::view::{
    Applied, Changes, DrawRemap, PreparedSnapshot, RoomView, ViewCell, ViewListener, Views,
};

use super::coverage::Coverage;
use super::keys::{KeySets, Signer};
use super::plant::Plant;

/// What every node of a seed is given.
pub(super) struct Setup {
    pub(super) room: RoomId,
    pub(super) limits: HubLimits,
    pub(super) keys: KeySets,
    pub(super) plant: Option<Plant>,
}

/// A step of the engine that a crash can prevent.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Write {
        epoch: u64,
        granted: Vec<Granted>,
    },
    Confirm {
        epoch: u64,
        rows: Vec<Confirm>,
    },
    /// An operator's: the slot is taken, the row is not written.
    Grant {
        epoch: u64,
        place: PlaceKey,
        user: UserId,
        ttl_ms: u64,
    },
    FollowClaim {
        row: Confirm,
    },
    EndIfExpired {
        id: ActivationId,
    },
    Free {
        id: ActivationId,
        reason: EndReason,
        /// A repetition: the row that asks for it goes once it is done.
        is_outbox: bool,
    },
}

pub(super) struct Node {
    pub(super) incarnation: Incarnation,
    /// The room's epoch as this node last read it.
    pub(super) epoch: u64,
    pub(super) cell: Arc<ViewCell>,
    pub(super) hub: Arc<Hub>,
    clock: Arc<ManualClock>,
    /// The hub's time, as its limits count it.
    pub(super) hub_time: RoomClock,
    /// Cut off from the queue store.
    pub(super) is_cut_off: bool,
    pub(super) keys: Arc<Keys>,
    pub(super) inbox: VecDeque<Arc<RoomDelta>>,
    pub(super) work: VecDeque<Work>,
    /// An opened draw that another thread maps.
    mapping: Option<DrawRemap>,
    plant: Option<Plant>,
    /// Kept for [`Plant::StaleSnapshot`].
    old_snapshot: Option<RoomSnapshot>,
}

impl Node {
    pub(super) fn new(incarnation: u64, setup: &Setup, keys: Arc<Keys>, now: UnixMs) -> Self {
        let views = Arc::new(Views::default());
        let cell = views.cell(&setup.room);
        let clock = Arc::new(ManualClock::new(now));
        let signer = Arc::new(Signer(Arc::clone(&keys)));
        Self {
            incarnation: Incarnation(incarnation),
            epoch: 0,
            cell,
            hub: Hub::new(
                setup.limits.clone(),
                views,
                signer,
                clock.clone(),
                incarnation,
            ),
            clock,
            hub_time: RoomClock::starting(now),
            is_cut_off: false,
            keys,
            inbox: VecDeque::new(),
            work: VecDeque::new(),
            mapping: None,
            plant: setup.plant,
            old_snapshot: None,
        }
    }

    /// Lets the hub's time pass; a step is clamped as the hub clamps it.
    pub(super) fn advance(&mut self, now: UnixMs) {
        self.clock.set(now);
        self.hub_time.tick(now);
        self.hub.advance(now);
    }

    pub(super) fn hub_ms(&self) -> u64 {
        self.hub_time.now().0
    }

    /// The room's state as this node must show it.
    pub(super) fn shown_state(&self, view: Option<&RoomView>) -> ShownState {
        match view.map(|view| ShownState::from(view.state())) {
            Some(ShownState::Closed) => ShownState::Closed,
            Some(state) if !self.is_cut_off => state,
            _ => ShownState::Degraded,
        }
    }

    /// Takes the oldest delta that reached this node; reads the store where
    /// something is missing, as the follower does.
    pub(super) fn deliver(&mut self, room: &mut Room, is_trimmed: bool, coverage: &mut Coverage) {
        let Some(delta) = self.inbox.pop_front() else {
            self.finish_draw();
            return self.catch_up(room, is_trimmed, coverage);
        };
        if self.cell.cursor().is_none() {
            return self.read_snapshot(room, coverage);
        }
        let delta = self.hide_gap(delta);
        if !self.apply(&delta) {
            self.catch_up(room, is_trimmed, coverage);
        }
        if self.inbox.is_empty() {
            self.finish_draw();
        }
    }

    /// [`Plant::GapUnnoticed`]: revisions that were lost are taken for empty.
    fn hide_gap(&mut self, delta: Arc<RoomDelta>) -> Arc<RoomDelta> {
        let cursor = self.cell.cursor().unwrap_or_default();
        if self.plant != Some(Plant::GapUnnoticed) || delta.cursor.epoch != cursor.epoch {
            return delta;
        }
        let mut skipped = RoomDelta::clone(&delta);
        skipped.cursor.revision = skipped.cursor.revision.max(cursor.revision + 1);
        for revision in cursor.revision + 1..skipped.cursor.revision {
            let mut empty = skipped.clone();
            empty.cursor.revision = revision;
            for lane in &mut empty.lanes {
                lane.departed.clear();
            }
            self.apply(&Arc::new(empty));
        }
        Arc::new(skipped)
    }

    /// False: something is missing before this delta.
    fn apply(&mut self, delta: &Arc<RoomDelta>) -> bool {
        let delta = spoil(delta, self.plant);
        let applied = self
            .cell
            .write(|view| view.as_mut().map(|view| view.apply(&delta)));
        match applied {
            Some(Applied::Changed(changes)) => self.tell(&changes),
            Some(Applied::Covered) => {}
            Some(Applied::Gap) | None => return false,
        }
        true
    }

    fn tell(&mut self, changes: &Changes) {
        if self.plant != Some(Plant::ChangeNotMarked) {
            self.hub.changed(&self.cell, changes);
        }
        self.map_draw();
    }

    fn map_draw(&mut self) {
        if self.mapping.is_none() {
            self.mapping = self.cell.read(|view| view.and_then(RoomView::prepare_draw));
        }
    }

    /// What a tick's reply leads to: the missing deltas, else a snapshot.
    pub(super) fn catch_up(&mut self, room: &mut Room, is_trimmed: bool, coverage: &mut Coverage) {
        let Some(cursor) = self.cell.cursor() else {
            return self.read_snapshot(room, coverage);
        };
        if cursor == room.cursor() {
            return;
        }
        if cursor.epoch != room.epoch() {
            coverage.count("view: new epoch");
        }
        match room.deltas_since(cursor) {
            Some(_) if is_trimmed => {
                coverage.count("fault: log trimmed");
                self.read_snapshot(room, coverage);
            }
            Some(deltas) => {
                coverage.count("view: gap healed");
                for delta in deltas {
                    self.apply(&delta);
                }
            }
            None => self.read_snapshot(room, coverage),
        }
    }

    fn read_snapshot(&mut self, room: &mut Room, coverage: &mut Coverage) {
        let mut snapshot = room.snapshot();
        if self.plant == Some(Plant::StaleSnapshot) {
            let cursor = snapshot.cursor;
            let fresh = snapshot.clone();
            if let Some(old) = self.old_snapshot.replace(fresh) {
                snapshot = old;
                snapshot.cursor = cursor;
            }
        }
        coverage.count("view: snapshot read");
        let prepared = PreparedSnapshot::new(snapshot);
        let changes = self.cell.write(|view| match view {
            Some(view) => view.apply_snapshot(prepared).map(|(changes, _)| changes),
            None => {
                *view = Some(prepared.into_view());
                Some(Changes::Whole {
                    new_epoch: true,
                    has_skipped: true,
                })
            }
        });
        if let Some(changes) = changes {
            self.tell(&changes);
        }
    }

    /// The other thread is done: its mapping comes in, perhaps late.
    fn finish_draw(&mut self) {
        let Some(remap) = self.mapping.take() else {
            return;
        };
        let ready = remap.run();
        let changes = self
            .cell
            .write(|view| view.as_mut().and_then(|view| view.install(ready)));
        match changes {
            Some(changes) => self.tell(&changes),
            None => self.map_draw(),
        }
    }
}

/// Faults on a delta's way to a view.
fn spoil(delta: &Arc<RoomDelta>, plant: Option<Plant>) -> Arc<RoomDelta> {
    let spoils = [Plant::DepartureLost, Plant::DepartureInvented];
    if !plant.is_some_and(|plant| spoils.contains(&plant)) {
        return Arc::clone(delta);
    }
    let mut spoiled = RoomDelta::clone(delta);
    let Some(lane) = spoiled.lanes.first_mut() else {
        return Arc::clone(delta);
    };
    match plant {
        Some(Plant::DepartureLost) => drop(lane.departed.pop()),
        Some(Plant::DepartureInvented) if lane.head < lane.tail => lane.departed.push(lane.head),
        _ => return Arc::clone(delta),
    }
    Arc::new(spoiled)
}
