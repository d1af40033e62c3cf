//! What nodes do: ticks, SQL between pick and confirm, switches, recovery.

use rand::Rng;

use crate::domain::delta::DrawOrder;
use crate::domain::draw;
use crate::domain::ids::{ActivationId, PlaceKey};
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::policy::ServingOrder;
use crate::domain::room::Room;
use crate::domain::room::command::{LaneInit, LaneOpening, RoomInit};

use super::super::node::Work;
use super::super::plant::Plant;
use super::{CLIENTS, NODES, REBUILD_PAUSE_MS, World};

impl World {
    /// A node's call reaches the room of the current epoch; it recovers it
    /// first if it is lost, or reads the new epoch.
    pub(in crate::sim) fn serve(&mut self, node: usize) {
        if self.queue.is_none() {
            self.recover(node);
        }
        if self.nodes[node].epoch != self.sql.epoch {
            self.coverage.count("node: fenced");
            self.nodes[node].epoch = self.sql.epoch;
        }
    }

    pub(in crate::sim) fn tick(&mut self, node: usize) {
        self.coverage.count("command: tick");
        self.serve(node);
        self.hide_first_eligible(true);
        let state = self.sql.switches.state();
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let mut tick = room.tick(self.now);
        let sealed = match room.publish_is_due() {
            true => room.publish(),
            false => None,
        };
        for low in &tick.low_numbers {
            self.sql.reserved_to = self.sql.reserved_to.max(low.reserve_to);
            room.reserve(low.lane, self.sql.reserved_to)
                .expect("a lane of the room");
        }
        let at_ms = room.now().0;
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
            .picked(at_ms, tick.granted.len(), self.sql.policy.rate_per_s);
        self.handed_out
            .extend(tick.granted.iter().map(|granted| granted.place));
        self.queue_work(node, handed_out, tick.due);
    }

    fn queue_work(
        &mut self,
        node: usize,
        granted: Vec<crate::domain::room::command::Granted>,
        due: Vec<ActivationId>,
    ) {
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
        let streaming: Vec<PlaceKey> = self
            .clients
            .iter()
            .filter(|client| client.stream == Some(0))
            .filter_map(|client| client.token)
            .collect();
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        for client in &self.clients {
            if let (Some(place), true) = (client.token, client.stream == Some(0))
                && streaming.first() == Some(&place)
            {
                match hide {
                    true => room.absent(place, owner),
                    false => room.present(&[(place, client.user.clone())], owner, self.now),
                }
                return;
            }
        }
    }

    /// The next thing a node has to do; what is lost is repeated by others.
    pub(in crate::sim) fn node_work(&mut self, node: usize) {
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
                }
                self.coverage.count("state: waiting to activated");
                let left = room.confirm(&rows, self.now);
                let sealed = room.publish();
                self.publish(sealed);
                for id in left {
                    self.sql.end(id, EndReason::Left);
                    self.row_ended(node, id);
                }
            }
            Work::FollowClaim { row } => {
                let now = self.now;
                if let Some(room) = self.queue.as_mut() {
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
            Work::Free { id, reason } => self.free(id, reason),
        }
    }

    fn write_rows(
        &mut self,
        node: usize,
        epoch: u64,
        granted: &[crate::domain::room::command::Granted],
    ) {
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

    fn tell_before_commit(&mut self, granted: &[crate::domain::room::command::Granted]) {
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
        self.oracle.gone.insert(row.place.number);
        if self.plant == Some(Plant::SlotLeaked) {
            return;
        }
        let free = Work::Free { id, reason };
        self.nodes[node].work.push_back(free.clone());
        self.outbox.push(free);
    }

    fn free(&mut self, id: ActivationId, reason: EndReason) {
        let now = self.now;
        if let Some(room) = self.queue.as_mut() {
            room.free(id, reason, now);
        }
        if self.plant == Some(Plant::SlotFreedTwice) {
            self.extra_capacity += 1;
            self.configure();
        }
    }

    pub(in crate::sim) fn repeat_from_outbox(&mut self, node: usize) {
        let work = std::mem::take(&mut self.outbox);
        self.nodes[node].work.extend(work);
    }

    pub(in crate::sim) fn deliver(&mut self, node: usize) {
        self.coverage.count("command: deliver delta");
        self.serve(node);
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        self.nodes[node].deliver(room, &mut self.coverage, self.plant);
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
        self.now = self.now.plus_ms(step_ms);
        self.real_ms += step_ms;
    }

    pub(in crate::sim) fn save_pages(&mut self, node: usize) {
        self.coverage.count("command: save pages");
        self.serve(node);
        let Some(room) = self.queue.as_ref() else {
            return;
        };
        let (_, pages) = room.departed_pages(0);
        self.sql.save(&pages);
        self.oracle.gone.extend(self.sql.departed.iter().copied());
    }

    pub(in crate::sim) fn switch(&mut self) {
        self.coverage.count("command: switch");
        let switches = &mut self.sql.switches;
        match self.rng.random_range(0..100) {
            0..50 => {
                switches.paused = !switches.paused;
                self.coverage.count(match switches.paused {
                    true => "room: paused",
                    false => "room: resumed",
                });
            }
            50..92 => {
                switches.sold_out = !switches.sold_out;
                self.coverage.count(match switches.sold_out {
                    true => "room: sold out",
                    false => "room: on sale again",
                });
            }
            _ => {
                switches.closed = true;
                self.coverage.count("room: closed");
            }
        }
        self.configure();
    }

    pub(in crate::sim) fn change_policy(&mut self) {
        self.coverage.count("command: change policy");
        self.sql.policy.capacity = self.rng.random_range(0..6);
        self.sql.policy.rate_per_s = [0.5, 2.0, 20.0][self.rng.random_range(0..3)];
        self.capacity_max = self.capacity_max.max(self.sql.policy.capacity);
        // Tokens saved at the old rate are spent at the new one.
        self.oracle.new_rate(self.sql.policy.rate_per_s);
        self.configure();
    }

    pub(in crate::sim) fn configure(&mut self) {
        let (policy, switches) = (self.machine_policy(), self.machine_switches());
        let now = self.now;
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        room.configure(policy, switches, now);
        let sealed = room.publish();
        self.publish(sealed);
    }

    pub(in crate::sim) fn open_if_due(&mut self) {
        self.coverage.count("command: open room");
        let opens_at = self.sql.policy.opens_at;
        let is_time = opens_at.is_none_or(|opens_at| self.now >= opens_at);
        if !is_time || self.sql.switches.opened || self.sql.switches.closed {
            return;
        }
        self.serve(0);
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let opening = match self.sql.policy.order {
            ServingOrder::Fifo => LaneOpening::Fifo,
            ServingOrder::Draw => {
                self.coverage.count("room: draw opened");
                let n = room.freeze()[0];
                let seed = draw::seed(&[7; 32], "room", "default", n, None);
                LaneOpening::Draw(DrawOrder { n, seed })
            }
        };
        self.sql.opening = Some(opening);
        self.sql.switches.opened = true;
        room.open(&[opening], self.now);
        let sealed = room.publish();
        self.publish(sealed);
    }

    /// Decision 6, as `engine::recovery` does it.
    pub(in crate::sim) fn recover(&mut self, node: usize) {
        self.sql.epoch += 1;
        let mut issued_to = self.sql.reserved_to;
        self.sql.reserved_to += 16;
        let ended: Vec<PlaceKey> = self
            .sql
            .rows
            .values()
            .filter(|row| !row.standing.is_live())
            .map(|row| row.place)
            .collect();
        let mut pages = self.sql.pages();
        let mut live: Vec<_> = self.sql.live().collect();
        let mut ended = ended;
        match self.plant {
            Some(Plant::NumbersReused) => issued_to = 0,
            Some(Plant::IssuedForgotten) => issued_to = issued_to.saturating_sub(16),
            Some(Plant::LiveRowsForgotten) => live.clear(),
            Some(Plant::EndedRowsForgotten) => {
                pages.clear();
                ended.clear();
            }
            Some(Plant::PagesForgotten) => pages.clear(),
            _ => {}
        }
        let init = RoomInit {
            policy: self.machine_policy(),
            switches: self.machine_switches(),
            lanes: vec![LaneInit {
                issued_to,
                reserved_to: self.sql.reserved_to,
                opening: self.sql.opening,
                departed: pages,
                served: 0,
            }],
            live: live
                .into_iter()
                .map(|id| self.sql.confirm(id, self.now))
                .collect(),
            ended,
            rebuild_pause_ms: REBUILD_PAUSE_MS,
        };
        let mut room = Room::init(self.sql.epoch, init, self.now);
        // Each node re-presents its open streams.
        for client in &self.clients {
            if let (Some(stream), Some(place)) = (client.stream, client.token) {
                let owner = self.nodes[stream].incarnation;
                room.present(&[(place, client.user.clone())], owner, self.now);
            }
        }
        self.handed_out.clear();
        self.oracle.recovered(&room, &self.sql);
        self.nodes[node].epoch = self.sql.epoch;
        self.queue = Some(room);
    }

    /// No more faults: everyone comes back, every turn is used at once.
    pub(in crate::sim) fn come_to_rest(&mut self) {
        const ROUNDS_MAX: u32 = 2_000;
        self.sql.switches.paused = false;
        self.sql.switches.sold_out = false;
        self.sql.policy.capacity = self.sql.policy.capacity.max(1);
        self.sql.policy.rate_per_s = 20.0;
        self.capacity_max = self.capacity_max.max(self.sql.policy.capacity);
        self.serve(0);
        self.configure();
        self.pass(20_000);
        self.open_if_due();
        for client in 0..CLIENTS {
            self.open_stream(client, 0);
        }
        for _round in 0..ROUNDS_MAX {
            self.pass(1_000);
            self.tick(0);
            for client in 0..CLIENTS {
                self.claim(client, 0);
                self.complete(client, 0);
            }
            self.repeat_from_outbox(0);
            for node in 0..NODES {
                while !self.nodes[node].work.is_empty() {
                    self.node_work(node);
                }
                self.deliver(node);
            }
            if !self.oracle.violations.is_empty() {
                return;
            }
            let room = self.queue.as_ref().expect("served");
            let counts = room.counts();
            let is_open = room.state() == RoomState::Open;
            let waits = is_open && room.line().any(|in_line| in_line.is_eligible);
            if !waits && counts.granting + counts.activated + counts.active == 0 {
                break;
            }
        }
        let room = self.queue.as_ref().expect("served");
        if room.state() == RoomState::Open || room.state() == RoomState::Closed {
            self.oracle.at_rest(room, &self.sql);
        }
    }
}
