//! A view that follows a room in Redis, over a bus that loses.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use crate::bus::redis::RedisBus;
use crate::bus::{BusError, BusEvent, BusMessage, BusSubscription, EventBus};
use crate::domain::ids::{Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::RoomPolicy;
use crate::entropy::SeededEntropy;
use crate::metrics::Metrics;
use crate::redis_link::RedisClient;
use crate::redis_link::servers::RedisServer;
use crate::redis_link::tests::config;
use crate::store::queue::{LaneInit, Presence, QueueStore, RoomInit, Take};
use crate::store::redis::RedisQueue;
use crate::view::follower::{Follower, FollowerHandle};
use crate::view::{Changes, ViewCell, ViewListener, Views};

/// Loses every `every`-th delta on the way to its reader; 1: all.
struct Lossy {
    inner: RedisBus,
    every: u64,
}

struct LossyReader {
    inner: Box<dyn BusSubscription>,
    every: u64,
    heard: AtomicU64,
}

#[async_trait]
impl EventBus for Lossy {
    fn publish(&self, message: BusMessage) {
        self.inner.publish(message);
    }

    fn follow(&self, room: &RoomId) {
        self.inner.follow(room);
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        Ok(Box::new(LossyReader {
            inner: self.inner.subscribe().await?,
            every: self.every,
            heard: AtomicU64::new(0),
        }))
    }
}

#[async_trait]
impl BusSubscription for LossyReader {
    async fn next(&mut self) -> Option<BusEvent> {
        loop {
            let event = self.inner.next().await?;
            let is_delta = matches!(event, BusEvent::Message(BusMessage::Room(..)));
            let heard = self.heard.fetch_add(u64::from(is_delta), Ordering::Relaxed);
            if !is_delta || !(heard + 1).is_multiple_of(self.every) {
                return Some(event);
            }
        }
    }
}

struct Deaf;

impl ViewListener for Deaf {
    fn changed(&self, _: &Arc<ViewCell>, _: &Changes) {}

    fn must_recover(&self, _: &RoomRef) {}
}

struct World {
    redis: RedisServer,
    queue: RedisQueue,
    views: Arc<Views>,
    handle: FollowerHandle,
    room: RoomRef,
}

/// Keeps every delta.
const NEVER: u64 = u64::MAX;

impl World {
    async fn new(loses_every: u64) -> Self {
        let redis = RedisServer::start();
        let client = RedisClient::new(&redis.url(), &config(), &Metrics::new()).unwrap();
        let tasks = TaskTracker::new();
        let (bus, run) = RedisBus::new(&client, &config(), 1);
        tasks.spawn(run);
        let entropy = || Arc::new(SeededEntropy::new(1)) as _;
        let queue = RedisQueue::new(client.clone(), tasks.clone(), entropy());
        let read_from = RedisQueue::new(client, tasks.clone(), entropy());
        let views = Arc::new(Views::default());
        let bus = Lossy {
            inner: bus,
            every: loses_every,
        };
        let (follower, handle) = Follower::new(
            Arc::new(bus),
            Arc::new(read_from),
            Arc::clone(&views),
            Arc::new(Deaf),
        );
        tasks.spawn(follower.run());
        let room = RoomRef {
            id: RoomId::parse("room").unwrap(),
            epoch: 1,
        };
        let world = Self {
            redis,
            queue,
            views,
            handle,
            room,
        };
        world.init().await;
        assert!(world.handle.follow(world.room.clone()).await);
        world
    }

    async fn init(&self) {
        let init = RoomInit {
            version: 1,
            policy: Arc::new(RoomPolicy {
                capacity: 0,
                ..RoomPolicy::default()
            }),
            switches: RoomSwitches {
                opened: true,
                ..RoomSwitches::default()
            },
            lanes: vec![LaneInit {
                reserved_to: 100_000,
                ..LaneInit::default()
            }],
            live: Vec::new(),
            ended: Vec::new(),
            rebuild_pause_ms: 0,
        };
        self.queue.init(&self.room, init).await.unwrap();
    }

    async fn join(&self, name: u64) -> PlaceKey {
        let take = Take {
            user: UserId::parse(&format!("user-{name}")).unwrap(),
            presented: None,
            issue_in: Some(0),
            presence: Presence::Stream(Incarnation(1)),
        };
        self.queue.take(&self.room, take).await.unwrap().place.key
    }

    /// Ticks, as the engine does, until the view says so.
    async fn until(&self, what: &str, is_so: impl Fn(&ViewCell) -> bool) {
        let cell = self.views.cell(&self.room.id);
        let ticking = async {
            while !is_so(&cell) {
                let tick = self
                    .queue
                    .tick(&self.room, Some(Incarnation(1)))
                    .await
                    .unwrap();
                self.handle.note_cursor(&self.room.id, tick.cursor);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(what, ticking).await;
    }

    /// People come and go, each change a delta of its own if it has the time;
    /// the view ends where the store is.
    async fn changes(&self, people: u64, mut between: impl FnMut(u64, &Self)) {
        let mut line = Vec::new();
        for name in 1..=people {
            line.push((name, self.join(name).await));
            between(name, self);
            let tail = line.len() as u64;
            self.until("the join is seen", |cell| {
                cell.read(|view| view.is_some_and(|view| view.waiting_total(0) == tail))
            })
            .await;
        }
        // The last message is one of those that are lost.
        let (name, first) = line.remove(0);
        let user = UserId::parse(&format!("user-{name}")).unwrap();
        self.queue.leave(&self.room, first, &user).await.unwrap();
        self.until("everyone has moved up", |cell| {
            line.iter()
                .zip(1..)
                .all(|((_, place), position)| cell.position(*place) == Some(position))
        })
        .await;
    }
}

async fn soon<T>(what: &str, done: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(30);
    let done = tokio::time::timeout(patience, done).await;
    done.unwrap_or_else(|_| panic!("{what}: never"))
}

#[tokio::test]
async fn all_deltas_arrive() {
    World::new(NEVER).await.changes(8, |_, _| {}).await;
}

#[tokio::test]
async fn losing_each_third_delta_changes_nothing() {
    World::new(3).await.changes(12, |_, _| {}).await;
}

#[tokio::test]
async fn losing_every_delta_changes_nothing() {
    World::new(1).await.changes(8, |_, _| {}).await;
}

#[tokio::test]
async fn cut_subscriptions_change_nothing() {
    let world = World::new(NEVER).await;
    let cut = |name: u64, world: &World| {
        if name.is_multiple_of(3) {
            world.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
    };
    world.changes(12, cut).await;
}
