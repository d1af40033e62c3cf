//! The end of a seed: no more faults, and everything must come to rest.

use rand::Rng;

use crate::domain::place::RoomState;

use super::{CLIENTS, NODES, World};

impl World {
    /// All work that crashes have lost is done again, before any time passes.
    fn settle(&mut self) {
        self.repeat_from_outbox(0);
        for node in 0..NODES {
            while !self.nodes[node].work.is_empty() {
                self.node_work(node);
            }
        }
        if let Some(room) = self.queue.as_ref() {
            self.oracle.slots_settled(room, &self.sql);
        }
    }

    /// No more faults: everyone comes back, every turn is used at once.
    pub(in crate::sim) fn come_to_rest(&mut self) {
        const ROUNDS_MAX: u32 = 2_000;
        self.sql.switches.paused = false;
        self.sql.switches.sold_out = false;
        self.sql.policy.capacity = self.sql.policy.capacity.max(1);
        self.sql.policy.rate_per_s = 20.0;
        self.capacity_max = self.capacity_max.max(self.sql.policy.capacity);
        self.is_resting = true;
        self.strays.clear();
        for node in 0..NODES {
            self.set_cut_off(node, false);
            self.serve(node);
        }
        self.settle();
        self.configure();
        self.pass(20_000);
        self.open_if_due();
        for client in 0..CLIENTS {
            self.read_up_to(client, 16);
            let other = client ^ 1;
            let attends = |client: usize| self.clients[client].stream.is_some();
            if !attends(client) && !attends(other) {
                self.open_stream(client, client % NODES);
            }
        }
        for _round in 0..ROUNDS_MAX {
            self.pass(1_000);
            self.tick(0);
            for client in 0..CLIENTS {
                self.claim(client, 0);
                if self.clients[client].pass.is_some() && self.rng.random_bool(0.5) {
                    self.shop(client, client % NODES);
                }
                if self.rng.random_bool(0.15) {
                    self.complete(client, 0);
                }
            }
            self.repeat_from_outbox(0);
            for node in 0..NODES {
                while !self.nodes[node].work.is_empty() {
                    self.node_work(node);
                }
                self.deliver(node);
            }
            for client in 0..CLIENTS {
                self.read_up_to(client, 16);
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
