//! Rooms by the hundred, used, closed and forgotten: nothing of them is left.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::EventBus;
use crate::bus::local::{LocalBus, LocalSink};
use crate::clock::{Clock, ManualClock};
use crate::domain::access::LaneCode;
use crate::domain::ids::{Cursor, Incarnation, PlaceKey, RoomId, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;
use crate::engine::cadence::Cadence;
use crate::engine::relay::{Relay, SlotConsumer};
use crate::engine::ticker::{EngineParts, EngineSettings, OpenStreams, Readers};
use crate::entropy::SeededEntropy;
use crate::metrics::Metrics;
use crate::redis_link::RedisClient;
use crate::redis_link::servers::RedisServer;
use crate::redis_link::tests::config;
use crate::store::memory::MemoryQueue;
use crate::store::outbox::PUBLISHED_KEPT_MS;
use crate::store::queue::{Built, LaneInit, Presence, QueueStore, RoomInit, Take};
use crate::store::redis::RedisQueue;
use crate::store::rooms::retention::Retention as _;
use crate::store::rooms::{RoomRecord, RoomRegistry as _};
use crate::store::sql::SqlStore;
use crate::store::sql::postgres::tests::{TestDatabase, open_store, server};
use crate::truth::failpoint::Failpoints;

/// As `queue.retain_closed_ms` is by default: what was published is deleted
/// after as long.
const RETAIN_MS: u64 = PUBLISHED_KEPT_MS;
const ROOMS: usize = 1_000;

/// What a node was told to forget.
#[derive(Default)]
struct Told(Mutex<Vec<RoomId>>);

impl OpenStreams for Told {
    fn places(&self, _: &RoomId) -> Vec<(PlaceKey, UserId)> {
        Vec::new()
    }

    fn forget(&self, room: &RoomId) {
        self.0.lock().unwrap().push(room.clone());
    }
}

#[async_trait]
impl Readers for Told {
    fn note_cursor(&self, _: &RoomId, _: Cursor) {}

    async fn follow(&self, _: RoomRef) {}

    async fn forget(&self, room: RoomId) {
        OpenStreams::forget(self, &room);
    }
}

struct Node {
    engine: Arc<Engine>,
    told: Arc<Told>,
}

fn node(queue: Arc<dyn QueueStore>, world: &World, incarnation: u64) -> Node {
    let told = Arc::new(Told::default());
    let engine = Engine::new(EngineParts {
        queue,
        registry: Arc::clone(&world.sql) as _,
        bus: Arc::new(LocalBus::default()) as Arc<dyn EventBus>,
        readers: Arc::clone(&told) as _,
        open_streams: Arc::clone(&told) as _,
        clock: Arc::clone(&world.clock) as _,
        entropy: Arc::new(SeededEntropy::new(incarnation)),
        failpoints: Arc::new(Failpoints::default()),
        tasks: TaskTracker::new(),
        settings: EngineSettings {
            incarnation: Incarnation(incarnation),
            rebuild_pause_ms: 0,
            poll_after_ms: 1_000,
            is_shared: true,
            cadence: Cadence::shared(100),
        },
    });
    Node { engine, told }
}

struct World {
    sql: Arc<SqlStore>,
    clock: Arc<ManualClock>,
}

/// Two nodes on one Redis and one PostgreSQL.
struct House {
    world: World,
    redis: RedisServer,
    nodes: [Node; 2],
    _database: TestDatabase,
    database: String,
}

impl House {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let (sql, clock, database) = open_store(UnixMs(1_000_000)).await;
        let world = World { sql, clock };
        let config = crate::config::RedisConfig {
            response_timeout_ms: 5_000,
            ..config()
        };
        let nodes = [1, 2].map(|incarnation| {
            let client = RedisClient::new(&redis.url(), &config, &Metrics::new()).unwrap();
            let given = Arc::clone(&world.clock) as Arc<dyn Clock>;
            let entropy = Arc::new(SeededEntropy::new(incarnation));
            let queue = RedisQueue::with_clock(client, TaskTracker::new(), entropy, Some(given));
            node(Arc::new(queue), &world, incarnation)
        });
        let name = database.url.rsplit('/').next().unwrap();
        let name = name.split('?').next().unwrap().to_owned();
        Self {
            world,
            redis,
            nodes,
            database: name,
            _database: database,
        }
    }

    fn keys(&self) -> u64 {
        let size = self.redis.cli(&["DBSIZE"]);
        size.parse().expect("a number")
    }

    /// Rows of every table but those of leases, which are one per partition of the
    /// outbox, and of marks, which are one per name.
    fn rows(&self) -> BTreeMap<String, u64> {
        let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name NOT IN ('leases', 'marks')";
        let tables = server::shared().sql(&self.database, tables);
        let count = |table: &str| {
            let rows = format!("SELECT COUNT(*) FROM \"{table}\"");
            let rows = server::shared().sql(&self.database, &rows);
            (table.to_owned(), rows.trim().parse().expect("a number"))
        };
        tables.lines().map(count).collect()
    }
}

fn room_id(index: usize) -> RoomId {
    RoomId::parse(&format!("room-{index}")).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

impl Node {
    async fn join(&self, room: &RoomId, name: &str) -> PlaceKey {
        let taken = self.engine.join(room, &user(name), None, None).await;
        taken.unwrap().place.key
    }

    /// One is let in and goes, one leaves the line, one is there when it closes.
    async fn use_room(&self, index: usize) {
        let policy = RoomPolicy {
            capacity: 1,
            claim_window_ms: 0,
            ..RoomPolicy::default()
        };
        let id = room_id(index);
        let codes = index
            .is_multiple_of(10)
            .then(|| LaneCode::parse(0, "open-sesame").unwrap());
        let codes = codes.into_iter().collect();
        let made = self
            .engine
            .create_room(id.clone(), "Room".to_owned(), policy, codes, None);
        let room = made.await.unwrap();
        let let_in = self.join(&id, "ann").await;
        let leaves = self.join(&id, "bob").await;
        self.join(&id, "cid").await;
        self.engine.tick_room(&room).await.unwrap();
        match index % 20 {
            // As while the queue is away.
            0 => {
                let (room, bob) = (room.room_ref(), user("bob"));
                let noted = self.engine.registry.note_left(&room, leaves, &bob).await;
                noted.unwrap();
            }
            _ => self.engine.leave(&id, &user("bob"), leaves).await.unwrap(),
        }
        self.engine.close_room(&id, None).await.unwrap();
        self.engine.leave(&id, &user("ann"), let_in).await.unwrap();
    }

    /// Events go out, and those of long ago are deleted.
    async fn empty_outbox(&self, sql: &Arc<SqlStore>) {
        let sink = SlotConsumer::new(
            Arc::clone(&self.engine) as _,
            Arc::new(LocalSink::default()),
        );
        let relay = Relay::new(Arc::clone(sql) as _, Arc::new(sink), 1, &Metrics::new());
        while relay.step().await.unwrap().settled > 0 {}
        while relay.prune().await.unwrap() > 0 {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_finished_rooms_leave_redis_and_tables_at_their_base_size() {
    let house = House::new().await;
    let [one, other] = &house.nodes;
    let (base, keys) = (house.rows(), house.keys());
    assert_eq!(keys, 0);
    let used = stream::iter(0..ROOMS).map(|index| one.use_room(index));
    used.buffer_unordered(16).collect::<()>().await;
    one.engine.save_departed().await;
    one.empty_outbox(&house.world.sql).await;
    other.engine.reread_all().await.unwrap();
    assert_eq!(other.engine.rooms().all().len(), ROOMS);
    assert!(house.keys() as usize > ROOMS);
    let full = house.rows();
    for table in ["rooms", "room_lanes", "departed_pages", "activations"] {
        assert!(full[table] as usize >= ROOMS, "{table}: {full:?}");
    }
    assert!(full["access_codes"] > 0 && full["outbox"] > 0, "{full:?}");

    house.world.clock.advance_ms(RETAIN_MS - 60_000);
    assert_eq!(
        one.engine.forget_finished(RETAIN_MS).await,
        Ok(0),
        "too soon"
    );
    house.world.clock.advance_ms(120_000);
    let mut gone = 0;
    while gone < ROOMS {
        let pass = one.engine.forget_finished(RETAIN_MS).await.unwrap();
        assert!(pass > 0, "{gone} are gone");
        gone += pass;
    }
    one.empty_outbox(&house.world.sql).await;
    assert_eq!(house.keys(), keys, "{}", house.redis.cli(&["KEYS", "*"]));
    assert_eq!(house.rows(), base);

    other.engine.reread_all().await.unwrap();
    for node in &house.nodes {
        assert_eq!(node.engine.rooms().all().len(), 0);
        // Streams and readers both.
        assert_eq!(node.told.0.lock().unwrap().len(), 2 * ROOMS);
        let (id, ann) = (room_id(0), user("ann"));
        let first = PlaceKey { lane: 0, number: 1 };
        let asked = node.engine.place(&id, &ann, first).await;
        assert_eq!(asked.map(drop), Err(EngineError::UnknownRoom(id)));
    }
    assert_eq!(house.keys(), keys);
}

#[tokio::test]
async fn what_a_dead_node_or_an_absent_redis_left_half_done_is_finished() {
    let house = House::new().await;
    let [one, other] = &house.nodes;
    for index in 0..3 {
        one.use_room(index).await;
    }
    one.empty_outbox(&house.world.sql).await;
    other.engine.reread_all().await.unwrap();
    house.world.clock.advance_ms(RETAIN_MS);
    // Died after the mark.
    let dead = other.engine.rooms().get(&room_id(0)).unwrap().room_ref();
    house.world.sql.forget(&dead, RETAIN_MS).await.unwrap();
    // It holds the lease still.
    let lease = house.world.sql.lease(LEASE, 99, 5_000).await;
    assert_eq!(lease, Ok(()));
    assert_eq!(other.engine.forget_finished(RETAIN_MS).await, Ok(0));
    house.world.clock.advance_ms(5_000);

    // Nobody can bring it back meanwhile.
    let back = one.engine.join(&room_id(0), &user("dan"), None, None).await;
    assert!(back.is_err(), "{back:?}");
    house.redis.pause();
    assert_eq!(other.engine.forget_finished(RETAIN_MS).await, Ok(0));
    house.redis.resume();
    assert!(house.rows()["rooms"] == 3);
    let mut gone = 0;
    while gone < 3 {
        gone += other.engine.forget_finished(RETAIN_MS).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!((house.keys(), house.rows()["rooms"]), (0, 0));
}

/// As a node that read the row before it was gone.
async fn build(node: &Node, room: &RoomRef, record: RoomRecord) {
    let init = RoomInit {
        version: 1,
        policy: Arc::new(record.policy),
        switches: RoomSwitches {
            opened: true,
            ..RoomSwitches::default()
        },
        lanes: vec![LaneInit::default()],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    let built = node.engine.queue.init(room, init).await;
    assert_eq!(built, Ok(Built::Made));
}

/// A room that one forgot and the other has built since.
async fn built_after_its_end(house: &House) {
    let [one, other] = &house.nodes;
    one.use_room(0).await;
    one.empty_outbox(&house.world.sql).await;
    other.engine.reread_all().await.unwrap();
    house.world.clock.advance_ms(RETAIN_MS);
    let here = other.engine.rooms().get(&room_id(0)).unwrap();
    assert_eq!(one.engine.forget_finished(RETAIN_MS).await, Ok(1));
    assert_eq!(house.keys(), 0);
    let record = RoomRecord::clone(&here.record());
    build(other, &here.room_ref(), record).await;
    assert!(house.keys() > 0);
}

#[tokio::test]
async fn what_redis_could_not_forget_when_it_was_away_it_forgets_later() {
    let house = House::new().await;
    let [_, other] = &house.nodes;
    built_after_its_end(&house).await;
    // It takes no writes: what it is told now it never does.
    house.redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    other.engine.reread_all().await.unwrap();
    assert!(house.keys() > 0);
    // Nobody is sent there meanwhile.
    let gone = other.engine.rooms().get(&room_id(0)).map(drop);
    assert_eq!(gone, Err(EngineError::UnknownRoom(room_id(0))));
    house.redis.cli(&["REPLICAOF", "NO", "ONE"]);
    let swept = async {
        while !other.engine.rooms().left_behind().is_empty() {
            other.engine.reread_all().await.unwrap();
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, swept).await.unwrap();
    assert_eq!(house.keys(), 0);
}

#[tokio::test]
async fn what_a_former_room_left_is_not_taken_for_the_new_one() {
    let house = House::new().await;
    let [one, other] = &house.nodes;
    built_after_its_end(&house).await;
    // With a place in it, in an epoch that the new one will come to.
    let here = other.engine.rooms().get(&room_id(0)).unwrap();
    let left = RoomRef {
        epoch: here.record().epoch + 1,
        ..here.room_ref()
    };
    build(other, &left, RoomRecord::clone(&here.record())).await;
    other.engine.queue.reserve(&left, 0, 10).await.unwrap();
    let taken = other.engine.queue.take(&left, take("eve")).await;
    assert_eq!(taken.unwrap().place.key.number, 1);
    one.use_room(0).await;
    let made = one.engine.rooms().get(&room_id(0)).unwrap();
    assert!(made.record().epoch > left.epoch);
    let found = one.engine.queue.find(&made.room_ref(), &user("eve")).await;
    assert_eq!(found, Ok(None));
}

fn take(name: &str) -> Take {
    Take {
        user: user(name),
        presented: None,
        issue_in: Some(0),
        presence: Presence::Stream(Incarnation(2)),
    }
}

#[tokio::test]
async fn whoever_builds_a_room_as_it_is_forgotten_removes_it_again() {
    let house = House::new().await;
    let [one, other] = &house.nodes;
    one.use_room(0).await;
    one.empty_outbox(&house.world.sql).await;
    other.engine.reread_all().await.unwrap();
    house.world.clock.advance_ms(RETAIN_MS);
    // It read the rows, and then it was paused.
    let here = other.engine.rooms().get(&room_id(0)).unwrap();
    let raised = house.world.sql.raise_epoch(&here.room_ref(), 16).await;
    let record = raised.unwrap().room;
    one.engine.reread_all().await.unwrap();
    assert_eq!(one.engine.forget_finished(RETAIN_MS).await, Ok(1));
    assert_eq!(house.keys(), 0);
    here.update(record.clone());
    build(other, &here.room_ref(), record).await;
    assert!(house.keys() > 0);
    other.engine.reread_all().await.unwrap();
    assert_eq!(house.keys(), 0);
}

#[tokio::test]
async fn a_former_rooms_id_is_free_for_another() {
    let house = House::new().await;
    let [one, other] = &house.nodes;
    one.use_room(0).await;
    one.empty_outbox(&house.world.sql).await;
    other.engine.reread_all().await.unwrap();
    house.world.clock.advance_ms(RETAIN_MS);
    assert_eq!(one.engine.forget_finished(RETAIN_MS).await, Ok(1));
    one.use_room(0).await;
    // It never heard that the first one is gone.
    other.engine.reread_all().await.unwrap();
    let seen = [one, other].map(|node| node.engine.rooms().get(&room_id(0)).unwrap().record());
    assert_eq!(seen[0].created_at, seen[1].created_at);
    assert!(seen[1].created_at >= UnixMs(1_000_000 + RETAIN_MS));
}

#[tokio::test]
async fn an_embedded_server_forgets_too() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let sql = SqlStore::connect(&url, Arc::clone(&clock) as Arc<dyn Clock>)
        .await
        .unwrap();
    sql.migrate_up().await.unwrap();
    let world = World {
        sql: Arc::new(sql),
        clock: Arc::clone(&clock),
    };
    let queue = MemoryQueue::new(clock, Arc::new(LocalBus::default()));
    let queue: Arc<dyn QueueStore> = Arc::new(queue);
    let node = node(Arc::clone(&queue), &world, 1);
    for index in 0..5 {
        node.use_room(index).await;
    }
    node.empty_outbox(&world.sql).await;
    let rooms: Vec<_> = node.engine.rooms().all();
    world.clock.advance_ms(RETAIN_MS);
    assert_eq!(node.engine.forget_finished(RETAIN_MS).await, Ok(5));
    assert_eq!(node.engine.rooms().all().len(), 0);
    assert_eq!(world.sql.rooms().await.map(|rooms| rooms.len()), Ok(0));
    assert_eq!(world.sql.finished_rooms(0, 10).await, Ok(Vec::new()));
    for room in rooms {
        let counts = queue.counts(&room.room_ref()).await;
        assert_eq!(counts.map(drop), Err(QueueError::Recover));
    }
}
