//! What operators do to a room, and how it is rebuilt after a loss.

use rand::Rng;

use crate::domain::delta::DrawOrder;
use crate::domain::draw;
use crate::domain::ids::{LaneIndex, PlaceKey};
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
        let names = self.sql.policy.lanes.iter().map(|lane| lane.name.as_str());
        let openings: Vec<LaneOpening> = match self.sql.policy.order {
            ServingOrder::Fifo => names.map(|_| LaneOpening::Fifo).collect(),
            ServingOrder::Draw => {
                self.coverage.count("room: draw opened");
                let drawn = |(name, n)| {
                    let seed = draw::seed(&[7; 32], "room", name, n, None);
                    LaneOpening::Draw(DrawOrder { n, seed })
                };
                names.zip(room.freeze()).map(drawn).collect()
            }
        };
        self.sql.openings.clone_from(&openings);
        self.sql.switches.opened = true;
        room.open(&openings, self.now);
        let sealed = room.publish();
        self.publish(sealed);
    }

    /// Decision 6, as `engine::recovery` does it.
    pub(in crate::sim) fn recover(&mut self, node: usize) {
        self.sql.epoch += 1;
        let mut issued_to = self.sql.reserved_to.clone();
        for reserved_to in &mut self.sql.reserved_to {
            *reserved_to += 16;
        }
        let ended: Vec<PlaceKey> = self
            .sql
            .rows
            .values()
            .filter(|row| !row.standing.is_live())
            .map(|row| row.place)
            .collect();
        let lanes = 0..self.sql.policy.lanes.len();
        let index = |lane| LaneIndex::try_from(lane).unwrap_or(LaneIndex::MAX);
        let mut pages: Vec<_> = lanes
            .clone()
            .map(|lane| self.sql.pages(index(lane)))
            .collect();
        let mut live: Vec<_> = self.sql.live().collect();
        let mut ended = ended;
        match self.plant {
            Some(Plant::NumbersReused) => issued_to.fill(0),
            Some(Plant::IssuedForgotten) => issued_to
                .iter_mut()
                .for_each(|issued| *issued = issued.saturating_sub(16)),
            Some(Plant::LiveRowsForgotten) => live.clear(),
            Some(Plant::EndedRowsForgotten) => {
                pages.fill(Vec::new());
                ended.clear();
            }
            Some(Plant::PagesForgotten) => pages.fill(Vec::new()),
            _ => {}
        }
        let init = RoomInit {
            version: 1,
            policy: self.machine_policy(),
            switches: self.machine_switches(),
            lanes: lanes
                .map(|lane| LaneInit {
                    issued_to: issued_to[lane],
                    reserved_to: self.sql.reserved_to[lane],
                    opening: self.sql.openings.get(lane).copied(),
                    departed: std::mem::take(&mut pages[lane]),
                    served: self.sql.served(index(lane)),
                })
                .collect(),
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
