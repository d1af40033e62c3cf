//! What nodes do: ticks, and SQL between pick and confirm.

use rand::Rng;

use crate::domain::ids::ActivationId;
use crate::domain::place::{EndReason, Standing};
use crate::domain::room::Room;
use crate::domain::room::command::Granted;

use super::super::node::Work;
use super::super::plant::Plant;
use super::{NODES, World};

impl World {
    /// A node's call reaches the room of the current epoch; it recovers it
    /// first if it is lost, or reads the new epoch. False: it is cut off.
    pub(in crate::sim) fn serve(&mut self, node: usize) -> bool {
        if self.nodes[node].is_cut_off {
            self.coverage.count("node: refused while cut off");
            return false;
        }
        if self.queue.is_none() {
            self.recover(node);
        }
        if self.nodes[node].epoch != self.sql.epoch {
            self.coverage.count("node: fenced");
            self.nodes[node].epoch = self.sql.epoch;
        }
        true
    }

    pub(in crate::sim) fn tick(&mut self, node: usize) {
        self.coverage.count("command: tick");
        if !self.serve(node) {
            return;
        }
        self.hide_first_eligible(true);
        let state = self.sql.switches.state();
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let mut tick = room.tick(self.now, Some(self.nodes[node].incarnation));
        let sealed = match room.publish_is_due() {
            true => room.publish(),
            false => None,
        };
        for low in &tick.low_numbers {
            let reserved_to = &mut self.sql.reserved_to[usize::from(low.lane)];
            *reserved_to = low.reserve_to.max(*reserved_to);
            room.reserve(low.lane, *reserved_to)
                .expect("a lane of the room");
        }
        let at = room.now();
        self.publish(sealed);
        self.hide_first_eligible(false);
        let handed_out = tick.granted.clone();
        tick.granted
            .retain(|granted| !self.handed_out.contains(&granted.place));
        if tick.granted.len() < handed_out.len() {
            self.coverage.count("state: granted again");
        }
        let room = self.queue.as_ref().expect("served");
        self.oracle.ticked(room, &tick, state, &self.sql);
        self.oracle
            .picked(at, tick.granted.len(), self.sql.policy.rate_per_s);
        self.handed_out
            .extend(tick.granted.iter().map(|granted| granted.place));
        self.queue_work(node, handed_out, tick.due);
    }

    fn queue_work(&mut self, node: usize, granted: Vec<Granted>, due: Vec<ActivationId>) {
        let epoch = self.sql.epoch;
        let work = &mut self.nodes[node].work;
        if !granted.is_empty() && self.plant != Some(Plant::PicksForgotten) {
            work.push_back(Work::Write { epoch, granted });
        }
        work.extend(due.into_iter().map(|id| Work::EndIfExpired { id }));
    }

    /// [`Plant::OrderInverted`]: the first in line is overlooked by the pick.
    fn hide_first_eligible(&mut self, hide: bool) {
        if self.plant != Some(Plant::OrderInverted) {
            return;
        }
        let owner = self.nodes[0].incarnation;
        let first = self.clients.iter().find_map(|client| {
            let stream = client.stream.as_ref()?;
            (stream.node == 0).then(|| (stream.place, client.user.clone()))
        });
        let (Some(room), Some((place, user))) = (self.queue.as_mut(), first) else {
            return;
        };
        if hide {
            room.present(&[(place, user.clone())], owner, self.now);
            room.absent(place, &user, owner);
        } else {
            room.present(&[(place, user)], owner, self.now);
        }
    }

    /// The next thing a node has to do; what is lost is repeated by others.
    pub(in crate::sim) fn node_work(&mut self, node: usize) {
        if self.nodes[node].is_cut_off {
            return;
        }
        let Some(work) = self.nodes[node].work.pop_front() else {
            return;
        };
        self.coverage.count("command: node work");
        match work {
            Work::Write { epoch, granted } => self.write_rows(node, epoch, &granted),
            Work::Confirm { epoch, rows } => {
                if epoch != self.sql.epoch {
                    self.coverage.count("node: fenced");
                    return;
                }
                let Some(room) = self.queue.as_mut() else {
                    return;
                };
                for row in &rows {
                    self.handed_out.remove(&row.place);
                    if !row.standing.is_live() {
                        self.oracle.revoking.remove(&row.place);
                    }
                }
                self.coverage.count("state: waiting to activated");
                self.oracle.rows_brought(&rows, room.epoch());
                let left = room.confirm(&rows, self.now);
                let sealed = room.publish();
                self.publish(sealed);
                for id in left {
                    self.sql.end(id, EndReason::Left);
                    self.row_ended(node, id);
                }
            }
            Work::Grant {
                epoch,
                place,
                user,
                ttl_ms,
            } => self.write_grant(node, epoch, place, &user, ttl_ms),
            Work::FollowClaim { row } => {
                let now = self.now;
                if let Some(room) = self.queue.as_mut() {
                    self.oracle
                        .rows_brought(std::slice::from_ref(&row), room.epoch());
                    room.claim(&row, now);
                }
            }
            Work::EndIfExpired { id } => {
                let standing = self.sql.end_if_expired(id, self.now);
                match standing {
                    Standing::Ended(_) => self.row_ended(node, id),
                    _ => {
                        let row = self.sql.confirm(id, self.now);
                        if let Some(room) = self.queue.as_mut() {
                            room.rearm(id, row.remaining_ms, self.now);
                        }
                    }
                }
            }
            Work::Free {
                id,
                reason,
                is_outbox,
            } => self.free(id, reason, is_outbox),
        }
    }

    fn write_rows(&mut self, node: usize, epoch: u64, granted: &[Granted]) {
        if self.plant == Some(Plant::ToldBeforeCommit) {
            return self.tell_before_commit(granted);
        }
        if epoch != self.sql.epoch && self.plant != Some(Plant::FenceIgnored) {
            self.coverage.count("node: fenced");
            return;
        }
        let twice = self.plant == Some(Plant::RowWrittenTwice);
        let rows = self.sql.insert(granted, self.now, twice);
        self.oracle.rows_written(&self.sql, self.capacity_max);
        self.nodes[node]
            .work
            .push_back(Work::Confirm { epoch, rows });
    }

    fn tell_before_commit(&mut self, granted: &[Granted]) {
        let mut uncommitted =
            super::super::sql::Sql::new(self.sql.policy.clone(), self.sql.switches.clone());
        let mut rows = uncommitted.insert(granted, self.now, false);
        for (index, row) in rows.iter_mut().enumerate() {
            let id = ActivationId(uuid::Uuid::from_u128(u128::MAX - index as u128));
            row.standing = Standing::Active {
                id,
                claimed_at: self.now,
                expire_time: self.now.plus_ms(10_000),
            };
        }
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        room.confirm(&rows, self.now);
        let sealed = room.publish();
        self.publish(sealed);
    }

    /// A row ended: the slot is freed by a direct call, and by the outbox.
    pub(in crate::sim) fn row_ended(&mut self, node: usize, id: ActivationId) {
        let Some(row) = self.sql.rows.get(&id) else {
            return;
        };
        let Standing::Ended(reason) = row.standing else {
            return;
        };
        self.oracle.gone.insert(row.place);
        if self.plant == Some(Plant::SlotLeaked) {
            return;
        }
        self.nodes[node].work.push_back(Work::Free {
            id,
            reason,
            is_outbox: false,
        });
        self.outbox.insert(id, reason);
    }

    fn free(&mut self, id: ActivationId, reason: EndReason, is_outbox: bool) {
        let now = self.now;
        if reason == EndReason::Revoked {
            self.bring_revoked(id);
        }
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let before = in_use(room);
        room.free(id, reason, now);
        let freed = before - in_use(room);
        self.oracle.slot_freed(id, room.epoch(), freed);
        if is_outbox {
            self.coverage.count("outbox: slot freed again");
            self.outbox.remove(&id);
        }
        if self.plant == Some(Plant::SlotFreedTwice) {
            self.extra_capacity += 1;
            self.configure();
        }
    }

    pub(in crate::sim) fn repeat_from_outbox(&mut self, node: usize) {
        self.coverage.count("command: repeat from outbox");
        let rows = self.outbox.iter().map(|(id, reason)| Work::Free {
            id: *id,
            reason: *reason,
            is_outbox: true,
        });
        self.nodes[node].work.extend(rows);
    }

    pub(in crate::sim) fn deliver(&mut self, node: usize) {
        self.coverage.count("command: deliver delta");
        if !self.serve(node) {
            return;
        }
        let is_trimmed = self.rng.random_bool(0.2);
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        self.nodes[node].deliver(room, is_trimmed, &mut self.coverage);
    }

    pub(in crate::sim) fn advance(&mut self) {
        self.coverage.count("command: advance");
        let step_ms = match self.rng.random_range(0..10) {
            0 => 1_000,
            1 => 3_000,
            2..4 => 400,
            _ => 100,
        };
        self.pass(step_ms);
    }

    pub(in crate::sim) fn pass(&mut self, step_ms: u64) {
        const STEP_MS: u64 = 500;
        let mut left_ms = step_ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(STEP_MS);
            left_ms -= step_ms;
            self.now = self.now.plus_ms(step_ms);
            self.real_ms += step_ms;
            for node in 0..NODES {
                self.nodes[node].advance(self.now);
                self.answer_reports(node);
            }
        }
    }
}

pub(super) fn in_use(room: &Room) -> u64 {
    let counts = room.counts();
    counts.granting + counts.activated + counts.active
}
