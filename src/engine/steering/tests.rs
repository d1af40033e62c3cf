//! Two nodes on one queue, each with its own word of the sale.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::local::LocalBus;
use crate::clock::ManualClock;
use crate::domain::ids::{Cursor, Incarnation, PlaceKey, RoomRef, UserId};
use crate::domain::policy::RoomPolicy;
use crate::domain::room::TICK_MS;
use crate::domain::room::steering::STEER_EVERY_MS;
use crate::domain::time::UnixMs;
use crate::engine::cadence::Cadence;
use crate::engine::ticker::{EngineParts, EngineSettings, OpenStreams, Readers};
use crate::entropy::SeededEntropy;
use crate::store::memory::MemoryQueue;
use crate::store::sql::SqlStore;
use crate::truth::failpoint::Failpoints;

const RATE_PER_S: f64 = 1_000.0;
const PEOPLE: usize = 300;

struct Nobody;

impl OpenStreams for Nobody {
    fn places(&self, _: &RoomId) -> Vec<(PlaceKey, UserId)> {
        Vec::new()
    }
}

#[async_trait]
impl Readers for Nobody {
    fn note_cursor(&self, _: &RoomId, _: Cursor) {}

    async fn follow(&self, _: RoomRef) {}
}

struct Nodes {
    engines: Vec<Arc<Engine>>,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

fn room_id() -> RoomId {
    RoomId::parse("room").unwrap()
}

fn strain(permille: u32) -> Strain {
    Strain {
        permille,
        rate_min_fraction: 0.01,
        settle_ms: 1_000,
    }
}

impl Nodes {
    /// A crowd before one room, which nobody has ticked yet.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = Arc::new(SqlStore::connect(&url, clock.clone()).await.unwrap());
        store.migrate_up().await.unwrap();
        let bus = Arc::new(LocalBus::new(64));
        let queue = Arc::new(MemoryQueue::new(clock.clone(), bus.clone()));
        let engine = |incarnation| {
            Engine::new(EngineParts {
                queue: queue.clone(),
                registry: store.clone(),
                bus: bus.clone(),
                readers: Arc::new(Nobody),
                open_streams: Arc::new(Nobody),
                clock: clock.clone(),
                entropy: Arc::new(SeededEntropy::new(incarnation)),
                failpoints: Arc::new(Failpoints::default()),
                tasks: TaskTracker::new(),
                settings: EngineSettings {
                    incarnation: Incarnation(incarnation),
                    rebuild_pause_ms: 0,
                    poll_after_ms: 60_000,
                    is_shared: true,
                    cadence: Cadence::ALONE,
                },
            })
        };
        let engines = vec![engine(1), engine(2)];
        let policy = RoomPolicy {
            rate_per_s: RATE_PER_S,
            capacity: 10_000,
            ..RoomPolicy::default()
        };
        let made = engines[0].create_room(room_id(), "Room".to_owned(), policy, Vec::new(), None);
        made.await.unwrap();
        engines[1].start().await.unwrap();
        for index in 0..PEOPLE {
            let user = UserId::parse(&format!("u{index}")).unwrap();
            let joined = engines[0].join(&room_id(), &user, None, None).await;
            joined.unwrap();
        }
        Self {
            engines,
            clock,
            _dir: dir,
        }
    }

    async fn tick(&self) {
        self.clock.advance_ms(TICK_MS);
        for engine in &self.engines {
            let room = engine.rooms().get(&room_id()).unwrap();
            engine.tick_room(&room).await.unwrap();
        }
    }

    async fn turns(&self) -> u64 {
        let counts = self.engines[0].room_counts(&room_id()).await.unwrap();
        counts.activations_total
    }
}

#[tokio::test]
async fn a_room_is_steered_before_its_first_turn() {
    let nodes = Nodes::start().await;
    for engine in &nodes.engines {
        engine.set_strain(strain(0));
    }
    nodes.tick().await;
    // A tick of the least rate, and the one token that every room begins with.
    assert_eq!(nodes.turns().await, 2);
}

#[tokio::test]
async fn rooms_keep_their_rates_where_nobody_says_anything() {
    let nodes = Nodes::start().await;
    nodes.tick().await;
    assert_eq!(nodes.engines[0].steer_rooms().await, []);
    assert!(nodes.turns().await >= 100);
}

#[tokio::test]
async fn the_worst_word_of_all_nodes_counts() {
    let nodes = Nodes::start().await;
    let [calm, other] = [&nodes.engines[0], &nodes.engines[1]];
    calm.set_strain(strain(100));
    other.set_strain(strain(200));
    let mut rate = 0.0;
    for _ in 0..5 * STEER_EVERY_MS / TICK_MS {
        nodes.tick().await;
        other.steer_rooms().await;
        rate = calm.steer_rooms().await[0].1;
    }
    assert!(rate >= 0.02 * RATE_PER_S, "both are calm: {rate}");
    other.set_strain(strain(4_000));
    let mut cut = rate;
    for _ in 0..=STEER_EVERY_MS / TICK_MS {
        nodes.tick().await;
        other.steer_rooms().await;
        cut = calm.steer_rooms().await[0].1;
    }
    assert!(cut <= rate * 0.51, "{rate} {cut}");
}
