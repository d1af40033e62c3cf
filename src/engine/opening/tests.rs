//! A pause that ends by itself, by a clock that the test moves.

use async_trait::async_trait;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::bus::local::LocalBus;
use crate::clock::{Clock as _, ManualClock};
use crate::domain::ids::{Cursor, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::RoomState;
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;
use crate::engine::cadence::Cadence;
use crate::engine::ticker::{EngineParts, EngineSettings, OpenStreams, Readers};
use crate::entropy::SeededEntropy;
use crate::store::memory::MemoryQueue;
use crate::store::sql::SqlStore;
use crate::truth::failpoint::Failpoints;

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

struct TestNode {
    engine: Arc<Engine>,
    tasks: TaskTracker,
    clock: Arc<ManualClock>,
    dir: TempDir,
}

fn room_id() -> RoomId {
    RoomId::parse("room").unwrap()
}

impl TestNode {
    /// With one room, which is open.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let node = Self::start_in(dir, clock).await;
        let policy = RoomPolicy::default();
        let made = node
            .engine
            .create_room(room_id(), "Room".to_owned(), policy, Vec::new(), None);
        made.await.unwrap();
        node
    }

    async fn start_in(dir: TempDir, clock: Arc<ManualClock>) -> Self {
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, clock.clone()).await.unwrap();
        store.migrate_up().await.unwrap();
        let bus = Arc::new(LocalBus::new(64));
        let tasks = TaskTracker::new();
        let engine = Engine::new(EngineParts {
            queue: Arc::new(MemoryQueue::new(clock.clone(), bus)),
            registry: Arc::new(store),
            bus: Arc::new(LocalBus::new(64)),
            readers: Arc::new(Nobody),
            open_streams: Arc::new(Nobody),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
            failpoints: Arc::new(Failpoints::default()),
            tasks: tasks.clone(),
            settings: EngineSettings {
                incarnation: Incarnation(1),
                rebuild_pause_ms: 0,
                poll_after_ms: 1_000,
                is_shared: false,
                cadence: Cadence::ALONE,
            },
        });
        engine.start().await.unwrap();
        Self {
            engine,
            tasks,
            clock,
            dir,
        }
    }

    /// Another process on the same data.
    async fn restart(self) -> Self {
        let Self { dir, clock, .. } = self;
        Self::start_in(dir, clock).await
    }

    /// Lets the clock's step be noticed, as the app does each tick.
    async fn tick(&self) {
        self.engine.tick_rooms();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn pause(&self, message: &str, resumes_at: Option<UnixMs>) {
        let message = Some(message.to_owned());
        let room = room_id();
        let paused = self.engine.pause_room(&room, message, resumes_at);
        paused.await.unwrap();
    }

    /// As the row and the queue say it, which must agree.
    async fn switches(&self) -> RoomSwitches {
        let room = self.engine.rooms().get(&room_id()).unwrap();
        let snapshot = self.engine.queue.snapshot(&room.room_ref()).await.unwrap();
        let row = self.engine.registry.room(&room.id).await.unwrap();
        assert_eq!(snapshot.facts.switches, row.switches);
        row.switches
    }

    async fn state(&self) -> RoomState {
        self.switches().await.state()
    }

    fn in_ms(&self, span_ms: u64) -> UnixMs {
        self.clock.now().plus_ms(span_ms)
    }
}

#[tokio::test]
async fn a_pause_ends_by_itself_at_its_time() {
    let node = TestNode::start().await;
    node.pause("a break", Some(node.in_ms(60_000))).await;
    node.clock.advance_ms(59_999);
    node.tick().await;
    let switches = node.switches().await;
    assert_eq!(switches.state(), RoomState::Paused);
    assert_eq!(switches.message, "a break");
    assert_eq!(switches.pause_ends_at(), Some(node.in_ms(1)));
    node.clock.advance_ms(1);
    node.tick().await;
    let switches = node.switches().await;
    assert_eq!(switches.state(), RoomState::Open);
    assert_eq!(switches.pause_ends_at(), None);
    assert_eq!(switches.message, "", "what was said of the pause is over");
}

#[tokio::test]
async fn a_restart_keeps_when_a_pause_ends() {
    let node = TestNode::start().await;
    node.pause("a break", Some(node.in_ms(60_000))).await;
    let node = node.restart().await;
    node.tick().await;
    assert_eq!(node.state().await, RoomState::Paused);
    // It ends while nobody runs, too.
    node.clock.advance_ms(90_000);
    let node = node.restart().await;
    node.tick().await;
    assert_eq!(node.state().await, RoomState::Open);
}

#[tokio::test]
async fn what_an_operator_says_later_counts() {
    let node = TestNode::start().await;
    node.pause("a break", Some(node.in_ms(60_000))).await;
    let message = Some("on".to_owned());
    let resumed = node.engine.resume_room(&room_id(), message).await;
    assert_eq!(resumed.unwrap().record().switches.message, "on");
    node.pause("for longer", None).await;
    node.clock.advance_ms(60_000);
    node.tick().await;
    assert_eq!(node.state().await, RoomState::Paused, "an earlier end");

    node.pause("a break", Some(node.in_ms(60_000))).await;
    node.pause("a longer one", Some(node.in_ms(120_000))).await;
    node.clock.advance_ms(60_000);
    node.tick().await;
    assert_eq!(node.state().await, RoomState::Paused, "a moved end");
    node.engine.close_room(&room_id(), None).await.unwrap();
    node.clock.advance_ms(60_000);
    node.tick().await;
    assert_eq!(node.state().await, RoomState::Closed);
}
