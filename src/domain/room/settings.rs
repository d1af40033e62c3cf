//! What a room's row says. Rows come from several nodes, so late ones must not
//! undo newer ones: each has a version.

use std::sync::Arc;

use super::Room;
use super::lane::Lane;
use crate::domain::ids::LaneIndex;
use crate::domain::place::RoomSwitches;
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;

impl Room {
    /// As a row of this version says, unless it is already as a later one does.
    pub fn follow(&mut self, version: u64, row: (Arc<RoomPolicy>, RoomSwitches), now: UnixMs) {
        if version > self.version {
            self.version = version;
            self.configure(row.0, row.1, now);
        }
    }

    pub fn configure(&mut self, policy: Arc<RoomPolicy>, switches: RoomSwitches, now: UnixMs) {
        self.advance(now);
        let frozen = self.lanes.iter().any(|lane| lane.frozen);
        for index in self.lanes.len()..policy.lanes.len() {
            let index = LaneIndex::try_from(index).unwrap_or(LaneIndex::MAX);
            let mut lane = Lane::new(index, 0, 0);
            lane.frozen = frozen;
            self.lanes.push(lane);
        }
        self.policy = policy;
        self.switches = RoomSwitches {
            // Opening is `open`'s alone: a draw must be fixed first.
            opened: self.switches.opened,
            closed: self.switches.closed || switches.closed,
            ..switches
        };
        self.pending.is_dirty = true;
    }
}
