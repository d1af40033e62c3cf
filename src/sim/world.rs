//! The simulated world and its commands.

mod clients;
mod device;
mod faults;
mod operator;
mod reading;
mod reports;
mod rest;
mod rooms;
mod sale;
mod steering;
mod steps;
mod streams;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::domain::delta::RoomDelta;
use crate::domain::ids::{ActivationId, PlaceKey, RoomId};
use crate::domain::place::{EndReason, RoomSwitches};
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::domain::room::Room;
use crate::domain::time::UnixMs;
use crate::fanout::HubLimits;

use self::device::{Client, Token, user_of};
use super::coverage::Coverage;
use super::keys::KeySets;
use super::node::{Node, Setup};
use super::oracle::{Oracle, Told};
use super::plant::Plant;
use super::sale::Sale;
use super::sql::Sql;
use super::stream::Stream;

/// Seeds with this bit have operators and lanes; the others run as they did
/// before there were any.
pub(in crate::sim) const OPERATORS: u64 = 1 << 40;
/// In seeds with this bit nodes steer the room's rate.
pub(in crate::sim) const STEERED: u64 = 1 << 41;
const NODES: usize = 3;
/// Two devices of each user.
const CLIENTS: usize = 24;
pub(super) const REBUILD_PAUSE_MS: u64 = 10_000;
pub(super) const POLL_AFTER_MS: u64 = 5_000;

/// Short spans, so that every one passes within a seed.
fn hub_limits(rng: &mut SmallRng) -> HubLimits {
    HubLimits {
        shards: 2,
        streams_max: 5,
        streams_per_place: if rng.random_bool(0.7) { 1 } else { 2 },
        heartbeat_interval_ms: 5_000,
        // Time comes in steps of up to a second here.
        heartbeat_lead_ms: 1_200,
        tick_ms: 100,
        write_stall_ms: 4_000,
        stream_age_max_ms: 15_000,
        reconnect_spread_ms: 1_000,
        refresh_spread_ms: 500,
    }
}

pub(super) struct World {
    pub(super) rng: SmallRng,
    /// The servers' clock; it can jump.
    pub(super) now: UnixMs,
    /// Time that really passed.
    pub(super) real_ms: u64,
    pub(super) sql: Sql,
    pub(super) sale: Sale,
    /// Idempotency keys that clients made up.
    pub(super) keys_used: u64,
    /// `None`: lost, and not yet rebuilt.
    pub(super) queue: Option<Room>,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    /// Streams whose client is gone, and whose node does not know it.
    pub(super) strays: Vec<Stream>,
    pub(super) setup: Setup,
    pub(super) rotations: usize,
    /// When the newest key may sign.
    pub(super) signs_from: UnixMs,
    pub(super) oracle: Oracle,
    pub(super) coverage: Coverage,
    /// No more faults.
    pub(super) is_resting: bool,
    pub(super) plant: Option<Plant>,
    /// Picked and not confirmed in this epoch.
    pub(super) handed_out: BTreeSet<PlaceKey>,
    pub(super) capacity_max: u64,
    /// Slots to free that the outbox repeats.
    pub(super) outbox: BTreeMap<ActivationId, EndReason>,
    /// Grows with [`Plant::SlotFreedTwice`].
    pub(super) extra_capacity: u64,
    /// It has two lanes and access codes, and operators grant and revoke.
    pub(super) has_operators: bool,
    pub(super) is_steered: bool,
}

impl World {
    pub(super) fn new(keys: &KeySets, seed: u64, plant: Option<Plant>) -> Self {
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
        let has_operators = seed & OPERATORS != 0;
        let policy = match has_operators {
            true => operator::with_lanes(policy, &mut rng),
            false => policy,
        };
        let switches = RoomSwitches {
            opened: !is_draw,
            ..RoomSwitches::default()
        };
        let setup = Setup {
            room: RoomId::parse("room").expect("a valid id"),
            limits: hub_limits(&mut rng),
            keys: keys.clone(),
            plant,
        };
        let nodes = (0..NODES as u64)
            .map(|node| Node::new(node, &setup, setup.keys.of(0, true), now))
            .collect();
        let mut world = Self {
            rng,
            now,
            real_ms: 0,
            sql: Sql::new(policy, switches),
            sale: Sale::new(plant),
            keys_used: 0,
            queue: None,
            nodes,
            clients: (0..CLIENTS).map(Client::new).collect(),
            strays: Vec::new(),
            setup,
            rotations: 0,
            signs_from: now,
            oracle: Oracle::default(),
            coverage: Coverage::default(),
            is_resting: false,
            plant,
            handed_out: BTreeSet::new(),
            capacity_max: capacity,
            outbox: BTreeMap::new(),
            extra_capacity: 0,
            has_operators,
            is_steered: seed & STEERED != 0,
        };
        world.give_codes();
        world.recover(0);
        world
    }

    /// One random command.
    pub(super) fn step(&mut self) {
        let client = self.rng.random_range(0..CLIENTS);
        let node = self.rng.random_range(0..NODES);
        if self.has_operators && self.rng.random_bool(0.1) {
            self.operator_step(client, node);
            return self.check_positions(node);
        }
        if self.is_steered && self.rng.random_bool(0.05) {
            self.steer(node);
            return self.check_positions(node);
        }
        match self.rng.random_range(0..1_000) {
            0..80 => self.join(client, node),
            80..100 => self.join_with_token(client, node),
            100..120 => self.poll(client, node),
            120..195 => self.open_stream(client, node),
            195..210 => self.close_stream(client),
            210..325 => self.read(client),
            325..333 => self.leave(client, node),
            333..380 => self.claim(client, node),
            380..390 => self.complete(client, node),
            390..470 => self.buy(client, node),
            470..600 => self.tick(node),
            600..730 => self.node_work(node),
            730..830 => self.deliver(node),
            830..900 => self.advance(),
            900..910 => self.answer_reports(node),
            910..930 => self.save_pages(node),
            930..943 => self.switch(),
            943..949 => self.change_policy(),
            949..956 => self.open_if_due(),
            956..964 => self.present_bad_token(client, node),
            _ => self.rare_step(node),
        }
        self.check_positions(node);
    }

    /// Mostly what breaks.
    fn rare_step(&mut self, node: usize) {
        match self.rng.random_range(0..36) {
            0..6 => self.drop_delta(node),
            6..10 => self.crash(node),
            10..14 => self.lose_queue(),
            14..17 => self.jump(),
            17..20 => self.repeat_from_outbox(node),
            20..24 => self.cut_or_heal(node),
            24..26 => self.drain(node),
            26..31 => self.close_stray(),
            31..33 => self.rotate_keys(),
            _ => self.load_keys(node),
        }
    }

    /// The policy as the machine is given it.
    pub(super) fn machine_policy(&self) -> Arc<RoomPolicy> {
        let mut policy = self.sql.policy.clone();
        policy.capacity += self.extra_capacity;
        match self.plant {
            Some(Plant::CapacityOffByOne) => policy.capacity += 1,
            Some(Plant::RateDoubled) => policy.rate_per_s *= 2.0,
            Some(Plant::NoGrace) => policy.absence_grace_ms = 1,
            Some(Plant::WeightsIgnored) => {
                policy.lanes.iter_mut().for_each(|lane| lane.weight = 1);
            }
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
            self.oracle.ended.insert(ended.place, delta.cursor.epoch);
            let has_stream = self.is_resting && self.has_stream(ended.place);
            self.oracle.check(
                !has_stream || ended.reason != EndReason::Absent,
                "Q10",
                || format!("{:?} lapsed with a stream open", ended.place),
            );
        }
        for node in &mut self.nodes {
            node.inbox.push_back(Arc::clone(&delta));
        }
    }

    fn has_stream(&self, place: PlaceKey) -> bool {
        self.clients
            .iter()
            .filter_map(|client| client.stream.as_ref())
            .any(|stream| stream.place == place)
    }

    /// Q5 wherever a view stands where the room stands.
    fn check_positions(&mut self, node: usize) {
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        let sealed = room.publish();
        self.publish(sealed);
        let Some(room) = self.queue.as_ref() else {
            return;
        };
        let oracle = &mut self.oracle;
        self.nodes[node].cell.read(|view| {
            if let Some(view) = view.filter(|view| view.told_cursor() == room.cursor()) {
                oracle.positions(room, view);
            }
        });
    }
}
