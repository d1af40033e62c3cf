//! Leases of nodes: a stream is presence only while its node is heard of.
//!
//! A node renews its lease in a room with each tick and whatever it says of
//! streams. When a lease runs out, its places are passed over at once, and a
//! walk over the numbers, a bounded step per tick, makes them absent: so the
//! delta says it, and a node that only was slow answers `present`.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{Incarnation, PlaceKey};
use crate::domain::time::RoomMs;

use super::Room;
use super::lane::{Attendance, Spot};

/// How long a node may be silent before its streams count no more, in room
/// time.
pub const LEASE_MS: u64 = 5_000;

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Those that ran out stay until their places are walked.
    until: BTreeMap<Incarnation, RoomMs>,
    walk: Option<Walk>,
}

#[derive(Debug)]
struct Walk {
    gone: BTreeSet<Incarnation>,
    lane: usize,
    next: u64,
}

impl Room {
    /// The node lives.
    pub(super) fn renew(&mut self, node: Incarnation) {
        let until = self.clock.now().plus_ms(LEASE_MS);
        self.leases.until.insert(node, until);
    }

    pub(super) fn has_lease(&self, node: Incarnation) -> bool {
        let until = self.leases.until.get(&node);
        until.is_some_and(|until| *until > self.clock.now())
    }

    /// Whether someone vouches for a place now.
    pub(super) fn is_there(&self, attendance: Attendance) -> bool {
        match attendance {
            Attendance::Stream(node) => self.has_lease(node),
            Attendance::Until(_) => true,
            Attendance::Absent { .. } => false,
        }
    }

    /// The place became absent now, whoever vouched for it.
    pub(super) fn miss(&mut self, place: PlaceKey) {
        let since = self.clock.now();
        self.attend(place, Attendance::Absent { since });
    }

    /// Goes on with the walk over the places of those who are gone.
    pub(super) fn lapse_leases(&mut self, budget: &mut u32) {
        let now = self.clock.now();
        let gone: BTreeSet<Incarnation> = self
            .leases
            .until
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(node, _)| *node)
            .collect();
        let before = self.leases.walk.take();
        if gone.is_empty() {
            return;
        }
        let mut walk = before.filter(|walk| walk.gone == gone).unwrap_or(Walk {
            gone,
            lane: 0,
            next: 1,
        });
        while *budget > 0 && walk.lane < self.lanes.len() {
            let lane = &self.lanes[walk.lane];
            if walk.next > lane.issued {
                walk.lane += 1;
                walk.next = 1;
                continue;
            }
            *budget -= 1;
            let place = PlaceKey {
                lane: lane.index,
                number: walk.next,
            };
            walk.next += 1;
            if let Some(Spot::Waiting {
                attendance: Attendance::Stream(node),
                ..
            }) = self.spot(place)
                && !self.has_lease(*node)
            {
                self.miss(place);
            }
        }
        if walk.lane < self.lanes.len() {
            self.leases.walk = Some(walk);
        } else {
            self.leases
                .until
                .retain(|node, _| !walk.gone.contains(node));
        }
    }
}
