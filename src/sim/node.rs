//! One simulated node: its replica, what reached it, what it has yet to do.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::domain::ids::{ActivationId, Incarnation};
use crate::domain::place::EndReason;
use crate::domain::room::Room;
use crate::domain::room::command::{Confirm, Granted};
use crate::view::{Applied, PreparedSnapshot, RoomView};

use super::coverage::Coverage;
use super::plant::Plant;

/// A step of the engine that a crash can prevent.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Write { epoch: u64, granted: Vec<Granted> },
    Confirm { epoch: u64, rows: Vec<Confirm> },
    FollowClaim { row: Confirm },
    EndIfExpired { id: ActivationId },
    Free { id: ActivationId, reason: EndReason },
}

pub(super) struct Node {
    pub(super) incarnation: Incarnation,
    /// The room's epoch as this node last read it.
    pub(super) epoch: u64,
    pub(super) view: Option<RoomView>,
    pub(super) inbox: VecDeque<Arc<RoomDelta>>,
    pub(super) work: VecDeque<Work>,
    /// Kept for [`Plant::StaleSnapshot`].
    old_snapshot: Option<RoomSnapshot>,
}

impl Node {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation: Incarnation(incarnation),
            epoch: 0,
            view: None,
            inbox: VecDeque::new(),
            work: VecDeque::new(),
            old_snapshot: None,
        }
    }

    /// Takes the oldest delta that reached this node; reads the store where
    /// something is missing, as the follower does.
    pub(super) fn deliver(
        &mut self,
        room: &mut Room,
        coverage: &mut Coverage,
        plant: Option<Plant>,
    ) {
        let Some(mut delta) = self.inbox.pop_front() else {
            return self.catch_up(room, coverage, plant);
        };
        let Some(view) = self.view.as_mut() else {
            return self.read_snapshot(room, coverage, plant);
        };
        if plant == Some(Plant::GapUnnoticed) && delta.cursor.epoch == view.cursor().epoch {
            let mut skipped = RoomDelta::clone(&delta);
            skipped.cursor.revision = skipped.cursor.revision.max(view.cursor().revision + 1);
            for revision in view.cursor().revision + 1..skipped.cursor.revision {
                let mut empty = skipped.clone();
                empty.cursor.revision = revision;
                empty
                    .lanes
                    .iter_mut()
                    .for_each(|lane| lane.departed.clear());
                view.apply(&Arc::new(empty));
            }
            delta = Arc::new(skipped);
        }
        if let Applied::Gap = view.apply(&spoil(delta, plant)) {
            self.catch_up(room, coverage, plant);
        }
        self.map_draw();
    }

    /// What a tick's reply leads to: the missing deltas, else a snapshot.
    pub(super) fn catch_up(
        &mut self,
        room: &mut Room,
        coverage: &mut Coverage,
        plant: Option<Plant>,
    ) {
        let Some(view) = self.view.as_mut() else {
            return self.read_snapshot(room, coverage, plant);
        };
        if view.cursor() == room.cursor() {
            return;
        }
        if view.cursor().epoch != room.epoch() {
            coverage.count("view: new epoch");
        }
        match room.deltas_since(view.cursor()) {
            Some(deltas) => {
                coverage.count("view: gap healed");
                for delta in deltas {
                    view.apply(&spoil(delta, plant));
                }
                self.map_draw();
            }
            None => self.read_snapshot(room, coverage, plant),
        }
    }

    fn read_snapshot(&mut self, room: &mut Room, coverage: &mut Coverage, plant: Option<Plant>) {
        let mut snapshot = room.snapshot();
        if plant == Some(Plant::StaleSnapshot) {
            let cursor = snapshot.cursor;
            let fresh = snapshot.clone();
            if let Some(old) = self.old_snapshot.replace(fresh) {
                snapshot = old;
                snapshot.cursor = cursor;
            }
        }
        coverage.count("view: snapshot read");
        let prepared = PreparedSnapshot::new(snapshot);
        match self.view.as_mut() {
            None => self.view = Some(prepared.into_view()),
            Some(view) => drop(view.apply_snapshot(prepared)),
        }
        self.map_draw();
    }

    /// An opened draw is mapped on another thread; here at once.
    fn map_draw(&mut self) {
        if let Some(view) = self.view.as_mut()
            && let Some(remap) = view.prepare_draw()
        {
            view.install(remap.run());
        }
    }
}

/// Faults on a delta's way to a view.
fn spoil(delta: Arc<RoomDelta>, plant: Option<Plant>) -> Arc<RoomDelta> {
    let mut spoiled = RoomDelta::clone(&delta);
    let Some(lane) = spoiled.lanes.first_mut() else {
        return delta;
    };
    match plant {
        Some(Plant::DepartureLost) => drop(lane.departed.pop()),
        Some(Plant::DepartureInvented) if lane.head < lane.tail => lane.departed.push(lane.head),
        _ => return delta,
    }
    Arc::new(spoiled)
}
