//! Slots, rows and passes: what is taken comes back, and is told alike.

use crate::domain::ids::{ActivationId, PlaceKey};
use crate::domain::place::RoomState;
use crate::domain::room::Room;
use crate::domain::room::command::Confirm;
use crate::keys::pass::PassClaims;

use super::super::sql::Sql;
use super::Oracle;

impl Oracle {
    /// Q11: a slot comes back once.
    pub(in crate::sim) fn slot_freed(&mut self, id: ActivationId, epoch: u64, freed: u64) {
        if freed == 0 && !self.freed.contains(&(id, epoch)) {
            self.freed_early.insert((id, epoch));
        }
        let is_first = freed == 0 || self.freed.insert((id, epoch));
        self.check(freed <= 1 && is_first, "Q11", || {
            format!("{freed} slots freed, again by {id}")
        });
    }

    /// These rows are brought to the room, as they were when they were read: by
    /// a slow node, one that has ended meanwhile and has asked for its slot.
    pub(in crate::sim) fn rows_brought(&mut self, rows: &[Confirm], epoch: u64) {
        let ids = rows.iter().filter_map(|row| row.standing.activation_id());
        let late = ids.map(|id| (id, epoch));
        self.taken_late
            .extend(late.filter(|slot| self.freed_early.contains(slot)));
    }

    /// All passes of one activation say the same.
    pub(in crate::sim) fn pass_told(&mut self, claims: &PassClaims) {
        let says = (claims.issued_at, claims.expire_time);
        let first = *self.passes.entry(claims.activation).or_insert(says);
        self.check(says == first, "Q8", || {
            format!("two passes of one activation: {first:?} and {says:?}")
        });
    }

    /// Q9: an end is told only of a row that has ended; but of a place that a
    /// loss brought back, nodes may remember its earlier end.
    pub(in crate::sim) fn end_told(&mut self, place: PlaceKey, sql: &Sql) {
        let row = sql.row_of.get(&place).and_then(|id| sql.rows.get(id));
        let is_over = row.is_none_or(|row| !row.standing.is_live());
        let came_back = self.ended.contains_key(&place);
        self.check(is_over || came_back, "Q9", || {
            format!("{place:?} is told its end and has a turn")
        });
    }

    /// Q11: every row that ended has given its slot back. One that asked for it
    /// before the room had it gives it back when the slot is due, as any whose
    /// end the room did not hear of: [`Oracle::at_rest`] sees to that.
    pub(in crate::sim) fn slots_settled(&mut self, room: &Room, sql: &Sql) {
        let counts = room.counts();
        let (slots, live) = (counts.activated + counts.active, sql.live().count() as u64);
        let is_late = |slot: &&(ActivationId, u64)| slot.1 == room.epoch();
        let late = self.taken_late.difference(&self.freed).filter(is_late);
        let late = late.count() as u64;
        self.check(slots <= live + late, "Q11", || {
            format!("{slots} slots for {live} live rows when all is done")
        });
    }

    /// Q11, Q14 when everything has come to rest.
    pub(in crate::sim) fn at_rest(&mut self, room: &Room, sql: &Sql) {
        let counts = room.counts();
        let in_use = counts.granting + counts.activated + counts.active;
        self.check(in_use == 0, "Q11", || {
            format!("{in_use} slots in use at rest")
        });
        let live = sql.live().count();
        self.check(live == 0, "Q11", || format!("{live} live rows at rest"));
        let eligible = room.line().filter(|in_line| in_line.is_eligible).count();
        let nobody = eligible == 0 || room.state() == RoomState::Closed;
        self.check(nobody, "Q14", || {
            format!("{eligible} eligible places never had their turn")
        });
    }
}
