//! Two engines on one Redis and one database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::BusSubscription;
use crate::bus::local::LocalSink;
use crate::bus::redis::RedisBus;
use crate::clock::SystemClock;
use crate::config::RedisConfig;
use crate::domain::ids::{Cursor, IdempotencyKey, Incarnation, PlaceKey, RoomRef, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::domain::policy::RoomPolicy;
use crate::engine::cadence::Cadence;
use crate::engine::grants::AboutUser;
use crate::engine::relay::{Relay, SlotConsumer};
use crate::engine::ticker::{EngineParts, EngineSettings, OpenStreams, Readers};
use crate::entropy::SeededEntropy;
use crate::metrics::Metrics;
use crate::redis_link::RedisClient;
use crate::redis_link::servers::RedisServer;
use crate::redis_link::tests::config;
use crate::store::outbox::Outbox as _;
use crate::store::redis::RedisQueue;
use crate::store::rooms::ActivationState;
use crate::store::sales::{Asked, Once};
use crate::store::sql::SqlStore;
use crate::truth::failpoint::{Action, Failpoints, Point};

mod made;
mod untold;

struct Nobody;

impl OpenStreams for Nobody {
    fn places(&self, _: &RoomId) -> Vec<(PlaceKey, UserId)> {
        Vec::new()
    }
}

/// What was to be followed.
#[derive(Default)]
struct Noted(Mutex<Vec<RoomRef>>);

#[async_trait]
impl Readers for Noted {
    fn note_cursor(&self, _: &RoomId, _: Cursor) {}

    async fn follow(&self, room: RoomRef) {
        self.0.lock().unwrap().push(room);
    }
}

struct Shared {
    redis: RedisServer,
    sql: Arc<SqlStore>,
    tasks: TaskTracker,
    _dir: TempDir,
}

struct Node {
    engine: Arc<Engine>,
    heard: Box<dyn BusSubscription>,
    readers: Arc<Noted>,
}

fn room_id() -> RoomId {
    RoomId::parse("room").unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

impl Shared {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let sql = SqlStore::connect(&url, Arc::new(SystemClock))
            .await
            .unwrap();
        sql.migrate_up().await.unwrap();
        Self {
            redis: RedisServer::start(),
            sql: Arc::new(sql),
            tasks: TaskTracker::new(),
            _dir: dir,
        }
    }

    async fn node(&self, incarnation: u64) -> Node {
        self.node_with(incarnation, Arc::default()).await
    }

    async fn node_with(&self, incarnation: u64, failpoints: Arc<Failpoints>) -> Node {
        let config = RedisConfig {
            response_timeout_ms: 1_000,
            ..config()
        };
        let client = RedisClient::new(&self.redis.url(), &config, &Metrics::new()).unwrap();
        let (bus, run) = RedisBus::new(&client, &config, incarnation);
        self.tasks.spawn(run);
        let heard = crate::bus::EventBus::subscribe(&bus).await.unwrap();
        let entropy = Arc::new(SeededEntropy::new(incarnation));
        let queue = RedisQueue::new(client, self.tasks.clone(), Arc::clone(&entropy) as _);
        let readers = Arc::<Noted>::default();
        let engine = Engine::new(EngineParts {
            queue: Arc::new(queue),
            registry: Arc::clone(&self.sql) as _,
            bus: Arc::new(bus),
            readers: Arc::clone(&readers) as _,
            open_streams: Arc::new(Nobody),
            clock: Arc::new(SystemClock),
            entropy,
            failpoints,
            tasks: self.tasks.clone(),
            settings: EngineSettings {
                incarnation: Incarnation(incarnation),
                rebuild_pause_ms: 0,
                poll_after_ms: 1_000,
                is_shared: true,
                cadence: Cadence::shared(100),
            },
        });
        engine.start().await.unwrap();
        Node {
            engine,
            heard,
            readers,
        }
    }

    /// Delivers what is in the outbox to a node.
    async fn relay(&self, node: &Node) {
        let next = Arc::new(LocalSink::default());
        let sink = SlotConsumer::new(Arc::clone(&node.engine) as _, next);
        let relay = Relay::new(
            Arc::clone(&self.sql) as _,
            Arc::new(sink),
            1,
            &Metrics::new(),
        );
        let told = async {
            loop {
                relay.step().await.unwrap();
                // What waits for the queue is put off meanwhile.
                if self.sql.backlog().await.unwrap().pending == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let patience = Duration::from_secs(60);
        tokio::time::timeout(patience, told).await.unwrap();
    }
}

impl Node {
    async fn make_room(&self) {
        self.make_room_for(0).await;
    }

    async fn make_room_for(&self, capacity: u64) {
        let policy = RoomPolicy {
            capacity,
            ..RoomPolicy::default()
        };
        let made = self
            .engine
            .create_room(room_id(), "Room".to_owned(), policy, Vec::new(), None);
        made.await.unwrap();
    }

    fn room(&self) -> Arc<RoomHandle> {
        self.engine.rooms().get(&room_id()).unwrap()
    }

    /// Listens until it knows what is asked for.
    async fn hears(&mut self, what: &str, is_so: impl Fn(&Engine) -> bool) {
        let listening = async {
            while !is_so(&self.engine) {
                let event = self.heard.next().await.expect("the bus is there");
                self.engine.heard(event).await;
            }
        };
        let patience = Duration::from_secs(60);
        let heard = tokio::time::timeout(patience, listening).await;
        heard.unwrap_or_else(|_| panic!("never heard that {what}"));
    }

    /// As a client that is told to come again in a moment.
    async fn joins(&self, id: &str) -> PlaceKey {
        for _try in 0..3_000 {
            match self.join(id).await {
                Err(EngineError::Degraded | EngineError::Rebuilding) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                place => return place.unwrap(),
            }
        }
        panic!("{id} was never let in");
    }

    async fn join(&self, id: &str) -> Result<PlaceKey, EngineError> {
        let taken = self.engine.join(&room_id(), &user(id), None, None).await?;
        Ok(taken.place.key)
    }
}

#[tokio::test]
async fn rooms_and_their_changes_are_known_on_every_node() {
    let shared = Shared::new().await;
    let (one, mut other) = (shared.node(1).await, shared.node(2).await);
    one.make_room().await;
    other
        .hears("there is a room", |engine| {
            engine.rooms().get(&room_id()).is_ok()
        })
        .await;
    one.engine.pause_room(&room_id(), None, None).await.unwrap();
    other
        .hears("it is paused", |engine| {
            engine
                .rooms()
                .get(&room_id())
                .unwrap()
                .record()
                .switches
                .paused
        })
        .await;
    // What the bus loses is read all the same.
    one.engine.resume_room(&room_id(), None).await.unwrap();
    other.engine.reread_all().await.unwrap();
    assert!(!other.room().record().switches.paused);
}

#[tokio::test]
async fn a_start_rebuilds_only_what_is_not_there() {
    let shared = Shared::new().await;
    let one = shared.node(1).await;
    one.make_room().await;
    let first = one.join("first").await.unwrap();
    let epoch = one.room().record().epoch;
    let other = shared.node(2).await;
    assert_eq!(other.room().record().epoch, epoch);
    assert_eq!(other.join("first").await.unwrap(), first);
    assert_eq!(shared.redis.cli(&["FLUSHALL"]), "OK");
    let third = shared.node(3).await;
    assert_eq!(third.room().record().epoch, epoch + 1);
}

#[tokio::test]
async fn of_several_nodes_one_rebuilds_and_no_number_is_given_twice() {
    let shared = Shared::new().await;
    let (one, other) = (shared.node(1).await, shared.node(2).await);
    one.make_room().await;
    other.engine.reread_all().await.unwrap();
    let before = one.join("before").await.unwrap();
    let epoch = one.room().record().epoch;
    for round in 1..=5_u64 {
        assert_eq!(shared.redis.cli(&["FLUSHALL"]), "OK");
        let names = [format!("a-{round}"), format!("b-{round}")];
        let (a, b) = tokio::join!(one.joins(&names[0]), other.joins(&names[1]));
        assert!(a != b && a != before && b != before);
        for node in [&one, &other] {
            assert_eq!(node.room().record().epoch, epoch + round);
        }
    }
}

#[tokio::test]
async fn a_node_starts_while_the_queue_is_away_and_serves_it_later() {
    let mut shared = Shared::new().await;
    let one = shared.node(1).await;
    one.make_room().await;
    let first = one.join("first").await.unwrap();
    let epoch = one.room().record().epoch;
    shared.redis.kill();
    let other = shared.node(2).await;
    assert!(other.room().is_away());
    assert_eq!(other.join("late").await, Err(EngineError::Degraded));
    let known = other.engine.place(&room_id(), &user("first"), first).await;
    let known = known.unwrap().place;
    assert_eq!((known.key, known.standing), (first, Standing::Waiting));
    // A token can be answered for, and nobody lapses.
    let turn = other.engine.claim(&room_id(), &user("first"), first).await;
    assert_eq!(turn.unwrap_err(), EngineError::NotActivated);

    shared.redis.restart();
    assert!(other.joins("late").await.number > first.number);
    other.engine.tick_room(&other.room()).await.unwrap();
    assert!(!other.room().is_away());
    assert_eq!(other.room().record().epoch, epoch + 1);
    let (room, id) = (room_id(), user("first"));
    let back = other.engine.join(&room, &id, Some(first), None).await;
    assert_eq!(back.unwrap().place.key, first);
}

/// One node stands still between raising the epoch and making the room, a
/// second one and a third that starts have found the room gone.
#[tokio::test]
async fn while_a_node_rebuilds_the_others_wait_and_raise_no_epoch_of_their_own() {
    let shared = Shared::new().await;
    let points = Arc::new(Failpoints::default());
    let one = shared.node_with(1, Arc::clone(&points)).await;
    let other = shared.node(2).await;
    one.make_room().await;
    other.engine.reread_all().await.unwrap();
    let before = one.join("before").await.unwrap();
    let epoch = one.room().record().epoch;
    points.arm(Point::EpochRaised, Action::Pause, 0);
    assert_eq!(shared.redis.cli(&["FLUSHALL"]), "OK");
    let rebuilds = one.join("a");
    let meanwhile = async {
        points.paused(Point::EpochRaised).await;
        let waits = async {
            let short = Duration::from_millis(100);
            let answer = tokio::time::timeout(short, other.join("b")).await;
            assert!(answer.is_err(), "it waits: {answer:?}");
            points.resume(Point::EpochRaised);
            other.joins("b").await
        };
        tokio::join!(waits, shared.node(3))
    };
    let (a, (b, third)) = tokio::join!(rebuilds, meanwhile);
    let a = a.unwrap();
    assert!(a != b && a != before && b != before);
    for node in [&one, &other, &third] {
        assert_eq!(node.room().record().epoch, epoch + 1);
    }
}

#[tokio::test]
async fn a_room_whose_rebuilder_died_is_taken_over() {
    let shared = Shared::new().await;
    let points = Arc::new(Failpoints::default());
    let one = shared.node_with(1, Arc::clone(&points)).await;
    let other = shared.node(2).await;
    one.make_room().await;
    other.engine.reread_all().await.unwrap();
    let epoch = one.room().record().epoch;
    points.arm(Point::EpochRaised, Action::Pause, 0);
    assert_eq!(shared.redis.cli(&["FLUSHALL"]), "OK");
    let dies = shared.tasks.spawn({
        let engine = Arc::clone(&one.engine);
        async move { engine.join(&room_id(), &user("a"), None, None).await }
    });
    points.paused(Point::EpochRaised).await;
    dies.abort();
    let taken_over = other.joins("b").await;
    assert_eq!(other.room().record().epoch, epoch + 2);
    assert_eq!(other.join("b").await.unwrap(), taken_over);
    // Whoever was only believed to be dead goes on with what there is.
    assert_eq!(one.joins("b").await, taken_over);
    assert_eq!(one.room().record().epoch, epoch + 2);
}

#[tokio::test]
async fn a_node_that_stops_does_not_freeze_the_others_rooms() {
    let shared = Shared::new().await;
    let (one, other) = (shared.node(1).await, shared.node(2).await);
    one.make_room().await;
    other.engine.reread_all().await.unwrap();
    let first = one.join("first").await.unwrap();
    one.engine.stop().await;
    let second = other.join("second").await.unwrap();
    assert_eq!(second.number, first.number + 1);
}

#[tokio::test]
async fn a_leave_while_redis_is_away_is_kept_and_told_later() {
    let shared = Shared::new().await;
    let one = shared.node(1).await;
    one.make_room().await;
    let (stays, leaves) = (
        one.join("stays").await.unwrap(),
        one.join("leaves").await.unwrap(),
    );
    shared.redis.pause();
    for _tick in 0..3 {
        let ticked = one.engine.tick_room(&one.room()).await;
        assert_eq!(ticked, Err(EngineError::Degraded));
    }
    assert!(one.room().is_away());
    assert_eq!(one.join("late").await, Err(EngineError::Degraded));
    let (room, id) = (room_id(), user("leaves"));
    one.engine.leave(&room, &id, leaves).await.unwrap();
    one.engine.leave(&room, &id, leaves).await.unwrap();
    let known = one
        .engine
        .place(&room, &user("stays"), stays)
        .await
        .unwrap();
    assert_eq!(
        (known.place.key, known.place.standing),
        (stays, Standing::Waiting)
    );
    shared.redis.resume();
    shared.relay(&one).await;
    one.engine.tick_room(&one.room()).await.unwrap();
    assert!(!one.room().is_away());
    let left = one
        .engine
        .place(&room, &id, leaves)
        .await
        .map(|taken| taken.place.standing);
    assert!(matches!(left, Ok(Standing::Ended(_))), "{left:?}");
    assert_eq!(
        one.engine
            .place(&room, &user("stays"), stays)
            .await
            .unwrap()
            .place
            .key,
        stays
    );
    // Nor does a rebuild bring them back.
    assert_eq!(shared.redis.cli(&["FLUSHALL"]), "OK");
    let left = one
        .engine
        .place(&room, &id, leaves)
        .await
        .map(|taken| taken.place.standing);
    assert!(matches!(left, Ok(Standing::Ended(_))), "{left:?}");
}

fn revocation_of(id: &str) -> AboutUser {
    AboutUser {
        room: room_id(),
        user: user(id),
        reason: "fraud".to_owned(),
        asked: Asked {
            once: Once {
                user: user("root"),
                key: IdempotencyKey::parse(&format!("revoke-{id}")).unwrap(),
                trace: None,
            },
            command: "RevokePlace",
            request: Vec::new(),
        },
    }
}

#[tokio::test]
async fn a_turn_revoked_while_redis_is_away_is_over_at_once_and_its_slot_is_freed_later() {
    let shared = Shared::new().await;
    let one = shared.node(1).await;
    one.make_room_for(1).await;
    let (active, waits) = (
        one.join("active").await.unwrap(),
        one.join("waits").await.unwrap(),
    );
    one.engine.tick_room(&one.room()).await.unwrap();
    let (room, id) = (room_id(), user("active"));
    one.engine.claim(&room, &id, active).await.unwrap();
    shared.redis.pause();
    // Who waits only the queue knows.
    let refused = one.engine.revoke_place(revocation_of("waits")).await;
    assert_eq!(refused.unwrap_err(), EngineError::Degraded);
    let revoked = one.engine.revoke_place(revocation_of("active")).await;
    let state = revoked.unwrap().state;
    assert_eq!(state, ActivationState::Ended(EndReason::Revoked));
    let late = one.engine.claim(&room, &id, active).await;
    assert_eq!(late.unwrap_err(), EngineError::PassEnded);
    shared.redis.resume();
    shared.relay(&one).await;
    let ended = async {
        loop {
            // The slot is the next one's; the delta said why it was free.
            let _ = one.engine.tick_room(&one.room()).await;
            let next = one.engine.place(&room, &user("waits"), waits).await;
            if next.is_ok_and(|next| next.place.standing.activation_id().is_some()) {
                return one.engine.place(&room, &id, active).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    let ended = tokio::time::timeout(patience, ended).await.unwrap();
    assert_eq!(ended.place.standing, Standing::Ended(EndReason::Revoked));
}
