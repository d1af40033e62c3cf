//! The simulated world and its commands.

mod clients;
mod faults;
mod steps;

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::domain::delta::RoomDelta;
use crate::domain::ids::{PlaceKey, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::domain::room::Room;
use crate::domain::time::UnixMs;

use super::coverage::Coverage;
use super::node::Node;
use super::oracle::{Oracle, Told};
use super::plant::Plant;
use super::sql::Sql;

const NODES: usize = 3;
/// Two devices of each user.
const CLIENTS: usize = 24;
pub(super) const REBUILD_PAUSE_MS: u64 = 10_000;
pub(super) const POLL_AFTER_MS: u64 = 5_000;

/// One device.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: UserId,
    pub(super) token: Option<PlaceKey>,
    /// The node of its open stream.
    pub(super) stream: Option<usize>,
    pub(super) told: Told,
    /// Real time when someone last vouched for it.
    pub(super) attended_ms: u64,
}

pub(super) struct World {
    pub(super) rng: SmallRng,
    /// The servers' clock; it can jump.
    pub(super) now: UnixMs,
    /// Time that really passed.
    pub(super) real_ms: u64,
    pub(super) sql: Sql,
    /// `None`: lost, and not yet rebuilt.
    pub(super) queue: Option<Room>,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) oracle: Oracle,
    pub(super) coverage: Coverage,
    pub(super) plant: Option<Plant>,
    /// Picked and not confirmed in this epoch.
    pub(super) handed_out: BTreeSet<PlaceKey>,
    pub(super) capacity_max: u64,
    /// Slots to free that the outbox repeats.
    pub(super) outbox: Vec<super::node::Work>,
    /// Grows with [`Plant::SlotFreedTwice`].
    pub(super) extra_capacity: u64,
}

impl World {
    pub(super) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let now = UnixMs(1_000_000);
        let is_draw = rng.random_bool(0.3);
        let capacity = rng.random_range(1..5);
        let policy = RoomPolicy {
            opens_at: is_draw.then(|| now.plus_ms(20_000)),
            order: match is_draw {
                true => ServingOrder::Draw,
                false => ServingOrder::Fifo,
            },
            capacity,
            rate_per_s: [0.5, 2.0, 20.0][rng.random_range(0..3)],
            pass_ttl_ms: 20_000,
            claim_window_ms: if rng.random_bool(0.2) { 0 } else { 6_000 },
            absence_grace_ms: 15_000,
            ..RoomPolicy::default()
        };
        let switches = RoomSwitches {
            opened: !is_draw,
            ..RoomSwitches::default()
        };
        let clients = (0..CLIENTS)
            .map(|index| Client {
                user: UserId::parse(&format!("user-{}", index / 2)).expect("a valid id"),
                token: None,
                stream: None,
                told: Told::default(),
                attended_ms: 0,
            })
            .collect();
        let mut world = Self {
            rng,
            now,
            real_ms: 0,
            sql: Sql::new(policy, switches),
            queue: None,
            nodes: (0..NODES).map(|node| Node::new(node as u64)).collect(),
            clients,
            oracle: Oracle::default(),
            coverage: Coverage::default(),
            plant,
            handed_out: BTreeSet::new(),
            capacity_max: capacity,
            outbox: Vec::new(),
            extra_capacity: 0,
        };
        world.recover(0);
        world
    }

    /// One random command.
    pub(super) fn step(&mut self) {
        let client = self.rng.random_range(0..CLIENTS);
        let node = self.rng.random_range(0..NODES);
        match self.rng.random_range(0..1_000) {
            0..100 => self.join(client, node),
            100..140 => self.join_with_token(client, node),
            140..180 => self.poll(client, node),
            180..250 => self.open_stream(client, node),
            250..270 => self.close_stream(client),
            270..370 => self.read(client),
            370..385 => self.leave(client, node),
            385..440 => self.claim(client, node),
            440..480 => self.complete(client, node),
            480..630 => self.tick(node),
            630..770 => self.node_work(node),
            770..870 => self.deliver(node),
            870..930 => self.advance(),
            930..950 => self.save_pages(node),
            950..965 => self.switch(),
            965..972 => self.change_policy(),
            972..980 => self.open_if_due(),
            980..986 => self.drop_delta(node),
            986..991 => self.crash(node),
            991..995 => self.lose_queue(),
            995..998 => self.jump(),
            _ => self.repeat_from_outbox(node),
        }
        self.check_positions(node);
    }

    /// The policy as the machine is given it.
    pub(super) fn machine_policy(&self) -> Arc<RoomPolicy> {
        let mut policy = self.sql.policy.clone();
        policy.capacity += self.extra_capacity;
        match self.plant {
            Some(Plant::CapacityOffByOne) => policy.capacity += 1,
            Some(Plant::RateDoubled) => policy.rate_per_s *= 2.0,
            Some(Plant::NoGrace) => policy.absence_grace_ms = 1,
            _ => {}
        }
        Arc::new(policy)
    }

    pub(super) fn machine_switches(&self) -> RoomSwitches {
        let mut switches = self.sql.switches.clone();
        if self.plant == Some(Plant::PauseIgnored) {
            switches.paused = false;
        }
        switches
    }

    /// Sends a sealed delta to every node's inbox.
    pub(super) fn publish(&mut self, sealed: Option<Arc<RoomDelta>>) {
        let Some(delta) = sealed else {
            return;
        };
        for ended in &delta.ended {
            self.coverage.count(Oracle::end_name(ended.reason));
            self.oracle.ended.insert(ended.place.number);
        }
        for node in &mut self.nodes {
            node.inbox.push_back(Arc::clone(&delta));
        }
    }

    /// Q5 wherever a view stands where the room stands.
    fn check_positions(&mut self, node: usize) {
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let sealed = room.publish();
        self.publish(sealed);
        let (Some(room), Some(view)) = (self.queue.as_ref(), self.nodes[node].view.as_ref()) else {
            return;
        };
        if view.cursor() == room.cursor() && self.plant != Some(Plant::PositionFromZero) {
            self.oracle.positions(room, view);
        }
    }
}
