//! The pure machine is the model: whatever is asked, in whatever order, Redis
//! answers the same, and tells the same deltas.
//!
//! Each seed is a room of its own, of several lanes, drawn or not, that lives
//! through several epochs. `USHER_REDIS_SEEDS` runs more of them, from
//! `USHER_REDIS_SEED` on.

mod commands;
mod compare;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::bus::local::LocalBus;
use crate::clock::{Clock, ManualClock};
use crate::domain::delta::DrawOrder;
use crate::domain::ids::{ActivationId, Cursor, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::{RoomSwitches, Standing};
use crate::domain::policy::{LanePolicy, RoomPolicy, ServingOrder};
use crate::domain::time::UnixMs;
use crate::store::memory::MemoryQueue;
use crate::store::queue::{Confirm, Granted, LaneInit, QueueStore as _, RoomInit};

use super::super::RedisQueue;
use super::queue;
use super::servers::RedisServer;

const SEEDS: u64 = 40;
const COMMANDS: usize = 400;
const USERS: usize = 14;
const NODES: u64 = 3;

/// The two stores, and what a caller of them knows.
struct Pair {
    rng: SmallRng,
    clock: Arc<ManualClock>,
    memory: MemoryQueue,
    redis: RedisQueue,
    room: RoomRef,
    policy: RoomPolicy,
    switches: RoomSwitches,
    /// Of the row that both are from.
    version: u64,
    /// Places each user ever had.
    tokens: Vec<Vec<PlaceKey>>,
    /// Numbers up to here, by lane, may be claimed by anyone's token.
    recovered: Vec<u64>,
    granted: Vec<Granted>,
    rows: BTreeMap<ActivationId, Confirm>,
    ended: Vec<PlaceKey>,
    next_id: u128,
    draws: Vec<Option<DrawOrder>>,
    /// Deltas up to here were compared.
    compared: Cursor,
    /// Pages up to here were compared.
    pages_at: u64,
    log: Vec<String>,
}

fn user(index: usize) -> UserId {
    UserId::parse(&format!("user-{index}")).unwrap()
}

impl Pair {
    async fn new(seed: u64, server: &RedisServer) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let is_draw = rng.random_bool(0.4);
        let lanes = rng.random_range(1..4);
        let policy = RoomPolicy {
            order: match is_draw {
                true => ServingOrder::Draw,
                false => ServingOrder::Fifo,
            },
            capacity: rng.random_range(0..6),
            rate_per_s: [0.5, 3.0, 17.3, 400.0][rng.random_range(0..4)],
            absence_grace_ms: 4_000,
            max_waiting: if rng.random_bool(0.2) { 9 } else { 0 },
            lanes: (0..lanes)
                .map(|lane| LanePolicy {
                    name: format!("lane-{lane}"),
                    weight: rng.random_range(1..5),
                    has_codes: false,
                })
                .collect(),
            ..RoomPolicy::default()
        };
        let bus = Arc::new(LocalBus::default());
        Self {
            memory: MemoryQueue::new(Arc::clone(&clock) as _, bus),
            redis: queue(&server.url(), Some(Arc::clone(&clock) as Arc<dyn Clock>)),
            clock,
            room: RoomRef {
                id: RoomId::parse(&format!("room-{seed}")).unwrap(),
                epoch: 0,
            },
            switches: RoomSwitches {
                opened: !is_draw,
                ..RoomSwitches::default()
            },
            version: 1,
            tokens: vec![Vec::new(); USERS],
            recovered: vec![0; lanes],
            granted: Vec::new(),
            rows: BTreeMap::new(),
            ended: Vec::new(),
            next_id: 0,
            draws: vec![None; lanes],
            compared: Cursor::default(),
            pages_at: 0,
            log: Vec::new(),
            policy,
            rng,
        }
    }

    fn node(&mut self) -> Incarnation {
        // Too large for a double: it must stay a text in scripts.
        Incarnation(u64::MAX - self.rng.random_range(0..NODES))
    }

    fn lane(&mut self) -> u16 {
        let lanes = self.policy.lanes.len();
        u16::try_from(self.rng.random_range(0..lanes)).unwrap()
    }

    /// A place and its user, as a token says it; perhaps long over.
    fn token(&mut self) -> Option<(PlaceKey, UserId)> {
        let index = self.rng.random_range(0..USERS);
        let tokens = &self.tokens[index];
        let at = self.rng.random_range(0..tokens.len().max(1));
        Some((*tokens.get(at)?, user(index)))
    }

    fn row(&mut self, place: PlaceKey, user: UserId) -> Confirm {
        self.next_id += 1;
        let low = self.rng.random::<u64>();
        let id = ActivationId(uuid::Uuid::from_u128(u128::from(low) << 64 | self.next_id));
        let now = self.clock.now();
        let standing = match self.rng.random_range(0..10) {
            0 => Standing::Ended(crate::domain::place::EndReason::Revoked),
            1 => Standing::Active {
                id,
                claimed_at: now,
                expire_time: UnixMs(u64::MAX),
            },
            _ => Standing::Activated {
                id,
                claim_by: now.plus_ms(1_000),
            },
        };
        Confirm {
            place,
            user,
            standing,
            remaining_ms: self.rng.random_range(0..3_000),
        }
    }

    /// Both are made for the next epoch, from what is known now.
    async fn recover(&mut self, lost: bool) {
        let mut lanes = Vec::new();
        let (_, pages) = match self.room.epoch {
            0 => (0, Vec::new()),
            _ => self.memory.departed_pages(&self.room, 0).await.unwrap(),
        };
        let issued = match self.room.epoch {
            0 => vec![0; self.policy.lanes.len()],
            _ => self.memory.freeze(&self.room).await.unwrap(),
        };
        for (lane, issued_to) in (0..).zip(issued) {
            let issued_to = issued_to + self.rng.random_range(0..4) * u64::from(lost);
            let departed = pages.iter().filter(|page| page.lane == lane);
            lanes.push(LaneInit {
                issued_to,
                reserved_to: issued_to + self.rng.random_range(3..25),
                opening: self.opening(lane),
                departed: departed.cloned().collect(),
                served: self.rng.random_range(0..5),
            });
            self.recovered[usize::from(lane)] = issued_to;
        }
        let live: Vec<Confirm> = self.rows.values().cloned().collect();
        let init = RoomInit {
            version: self.version,
            policy: Arc::new(self.policy.clone()),
            switches: self.switches.clone(),
            lanes,
            live,
            ended: self.ended.clone(),
            rebuild_pause_ms: [0, 2_000][self.rng.random_range(0..2)],
        };
        self.room.epoch += 1;
        self.granted.clear();
        self.compared = Cursor {
            epoch: self.room.epoch,
            revision: 0,
        };
        self.pages_at = 0;
        self.memory.init(&self.room, init.clone()).await.unwrap();
        self.redis.init(&self.room, init).await.unwrap();
    }
}

#[tokio::test]
async fn redis_answers_as_the_machine_does() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = number("USHER_REDIS_SEEDS").unwrap_or(SEEDS);
    let first = number("USHER_REDIS_SEED").unwrap_or(1);
    let server = RedisServer::start();
    for seed in first..first + seeds {
        let mut pair = Pair::new(seed, &server).await;
        pair.recover(false).await;
        for _ in 0..COMMANDS {
            if let Err(difference) = pair.command().await {
                let log = pair.log.join("\n");
                let told = pair.told().await;
                panic!("seed {seed}:\n{log}\n{difference}\n{told}");
            }
        }
    }
}
