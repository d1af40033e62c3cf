//! How many are where, for operators.
//!
//! The numbers are kept as things happen: a look costs the same however many
//! wait. The simulator compares them with a walk.

use super::Room;
use super::command::RoomCounts;
use super::lane::Lane;
use super::turns::Slot;

impl Room {
    #[must_use]
    pub fn counts(&self) -> RoomCounts {
        let active = self.counts.active;
        RoomCounts {
            waiting: self.lanes.iter().map(|lane| lane.waiting).sum(),
            absent: self.lanes.iter().map(|lane| lane.absent).sum(),
            granting: self.granting.len() as u64,
            activated: self.slots.len() as u64 - active,
            ..self.counts
        }
    }

    /// [`Room::counts`] by a walk of the room: for audits.
    #[must_use]
    pub fn count_anew(&self) -> RoomCounts {
        let is_active = |slot: &&Slot| slot.is_active();
        let active = self.slots.values().filter(is_active).count() as u64;
        RoomCounts {
            absent: self.lanes.iter().map(Lane::count_absent_anew).sum(),
            activated: self.slots.len() as u64 - active,
            active,
            ..self.counts()
        }
    }
}
