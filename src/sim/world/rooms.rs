//! What operators do to a room, and how it is rebuilt after a loss.

use rand::Rng;

use crate::domain::delta::DrawOrder;
use crate::domain::draw;
use crate::domain::ids::PlaceKey;
use crate::domain::policy::ServingOrder;
use crate::domain::room::Room;
use crate::domain::room::command::{LaneInit, LaneOpening, RoomInit};
use crate::engine::ticker::OpenStreams as _;

use super::super::plant::Plant;
use super::{REBUILD_PAUSE_MS, World};

impl World {
    pub(in crate::sim) fn save_pages(&mut self, node: usize) {
        self.coverage.count("command: save pages");
        if !self.serve(node) {
            return;
        }
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
        self.sql.policy.pass_ttl_ms = [12_000, 20_000][self.rng.random_range(0..2)];
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
        if !self.serve(0) {
            return;
        }
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
        // Its node presents what it has; the others once they see the epoch.
        let owner = self.nodes[node].incarnation;
        let mut streams = self.nodes[node].hub.places(&self.setup.room);
        streams.sort();
        room.present(&streams, owner, self.now);
        self.handed_out.clear();
        self.oracle.recovered(&room, &self.sql);
        self.nodes[node].epoch = self.sql.epoch;
        self.queue = Some(room);
    }
}
