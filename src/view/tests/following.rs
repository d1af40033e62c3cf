//! The follower against the embedded queue store, with a bus that can lose.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::bus::local::LocalBus;
use crate::bus::{BusError, BusMessage, BusSubscription, EventBus};
use crate::clock::ManualClock;
use crate::domain::delta::DrawOrder;
use crate::domain::ids::{Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::{RoomState, RoomSwitches};
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;
use crate::store::memory::MemoryQueue;
use crate::store::queue::{LaneInit, LaneOpening, Presence, QueueStore, RoomInit, Take};
use crate::view::follower::{Follower, FollowerHandle};
use crate::view::{Changes, ViewCell, ViewListener, Views};

/// Loses messages while it is told to.
struct LossyBus {
    inner: LocalBus,
    loses: AtomicBool,
}

#[async_trait]
impl EventBus for LossyBus {
    fn publish(&self, message: BusMessage) {
        if !self.loses.load(Ordering::SeqCst) {
            self.inner.publish(message);
        }
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        self.inner.subscribe().await
    }
}

/// Counts what it is told, and wakes the test.
struct Told {
    changes: watch::Sender<usize>,
    recoveries: AtomicUsize,
}

impl ViewListener for Told {
    fn changed(&self, _: &Arc<ViewCell>, _: &Changes) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn must_recover(&self, _: &RoomRef) {
        self.recoveries.fetch_add(1, Ordering::SeqCst);
        self.changes.send_modify(|count| *count += 1);
    }
}

struct World {
    bus: Arc<LossyBus>,
    clock: Arc<ManualClock>,
    store: Arc<MemoryQueue>,
    views: Arc<Views>,
    told: Arc<Told>,
    handle: FollowerHandle,
    room: RoomRef,
    users: u64,
}

impl World {
    async fn init(&self, epoch: u64, opened: bool) {
        let init = RoomInit {
            version: 1,
            policy: Arc::new(RoomPolicy {
                capacity: 0,
                ..RoomPolicy::default()
            }),
            switches: RoomSwitches {
                opened,
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
        let room = self.in_epoch(epoch);
        self.store.init(&room, init).await.unwrap();
    }

    fn in_epoch(&self, epoch: u64) -> RoomRef {
        RoomRef {
            epoch,
            ..self.room.clone()
        }
    }

    async fn join(&mut self) -> PlaceKey {
        self.users += 1;
        let take = Take {
            user: UserId::parse(&format!("user-{}", self.users)).unwrap(),
            presented: None,
            issue_in: Some(0),
            presence: Presence::Stream(Incarnation(1)),
        };
        self.store.take(&self.room, take).await.unwrap().place.key
    }

    /// Whoever joined at this place leaves.
    async fn leave(&self, place: PlaceKey) {
        let user = UserId::parse(&format!("user-{}", place.number)).unwrap();
        let left = self.store.leave(&self.room, place, &user).await;
        left.unwrap();
    }

    /// One tick, so that whatever is pending is published.
    async fn tick(&self) {
        self.clock.advance_ms(100);
        let tick = self.store.tick(&self.room, None).await.unwrap();
        self.handle.note_cursor(&self.room.id, tick.cursor);
    }

    /// A tick of which this node hears nothing.
    async fn tick_unheard(&self) {
        self.clock.advance_ms(100);
        self.store.tick(&self.room, None).await.unwrap();
    }

    fn position(&self, place: PlaceKey) -> Option<u64> {
        self.views.get(&self.room.id)?.position(place)
    }

    /// Waits, bounded, until the views are as they should be.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.told.changes.subscribe();
        let arrives = async {
            while !is_so(self) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), arrives).await;
        assert!(waited.is_ok(), "never: {what}");
    }
}

/// Runs a test beside the follower.
async fn with_follower<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let bus = Arc::new(LossyBus {
        inner: LocalBus::new(16),
        loses: AtomicBool::new(false),
    });
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let store = Arc::new(MemoryQueue::new(clock.clone(), bus.clone()));
    let views = Arc::new(Views::default());
    let told = Arc::new(Told {
        changes: watch::Sender::new(0),
        recoveries: AtomicUsize::new(0),
    });
    let (follower, handle) = Follower::new(bus.clone(), store.clone(), views.clone(), told.clone());
    let room = RoomRef {
        id: RoomId::parse("room").unwrap(),
        epoch: 1,
    };
    let world = World {
        bus,
        clock,
        store,
        views,
        told,
        handle,
        room,
        users: 0,
    };
    tokio::select! {
        () = follower.run() => panic!("the follower stopped before the test"),
        () = test(world) => {}
    }
}

#[tokio::test]
async fn a_followed_room_is_read_and_kept_up_by_the_bus() {
    with_follower(async |mut world: World| {
        world.init(1, true).await;
        let first = world.join().await;
        assert!(world.handle.follow(world.room.clone()).await);
        assert_eq!(world.position(first), Some(1));
        let second = world.join().await;
        world.leave(first).await;
        world.tick().await;
        let moved_up = |world: &World| world.position(second) == Some(1);
        world.until("second moves up", moved_up).await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_delta_is_noticed_by_the_cursor_of_the_next_tick() {
    with_follower(async |mut world: World| {
        world.init(1, true).await;
        let (first, second) = (world.join().await, world.join().await);
        world.handle.follow(world.room.clone()).await;
        world.leave(first).await;
        world.bus.loses.store(true, Ordering::SeqCst);
        world.tick().await;
        let moved_up = |world: &World| world.position(second) == Some(1);
        world.until("the store is read", moved_up).await;
    })
    .await;
}

#[tokio::test]
async fn a_hole_between_revisions_is_filled_from_the_store() {
    with_follower(async |mut world: World| {
        world.init(1, true).await;
        let places = [world.join().await, world.join().await, world.join().await];
        world.handle.follow(world.room.clone()).await;
        world.bus.loses.store(true, Ordering::SeqCst);
        world.leave(places[0]).await;
        world.tick_unheard().await;
        world.bus.loses.store(false, Ordering::SeqCst);
        world.leave(places[1]).await;
        world.tick_unheard().await;
        let moved_up = |world: &World| world.position(places[2]) == Some(1);
        world.until("both departures are known", moved_up).await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_lagged_on_the_bus_catches_up() {
    with_follower(async |mut world: World| {
        world.init(1, true).await;
        let mut places = Vec::new();
        for _ in 0..41 {
            places.push(world.join().await);
        }
        world.handle.follow(world.room.clone()).await;
        // More deltas than the ring holds, with no turn for the follower.
        for place in &places[..40] {
            world.leave(*place).await;
            world.tick_unheard().await;
        }
        let moved_up = |world: &World| world.position(places[40]) == Some(1);
        world.until("all departures are known", moved_up).await;
    })
    .await;
}

#[tokio::test]
async fn a_room_the_store_lost_is_reported_and_followed_into_its_new_epoch() {
    with_follower(async |mut world: World| {
        let follow = world.handle.follow(world.room.clone());
        let recover = async {
            world
                .until("recovery is asked for", |world| {
                    world.told.recoveries.load(Ordering::SeqCst) > 0
                })
                .await;
            world.init(2, true).await;
            assert!(world.handle.follow(world.in_epoch(2)).await);
        };
        let (followed, ()) = tokio::join!(follow, recover);
        assert!(followed);
        world.room.epoch = 2;
        let first = world.join().await;
        world.tick().await;
        world
            .until("the new epoch is followed", |world| {
                let cursor = world
                    .views
                    .get(&world.room.id)
                    .and_then(|cell| cell.cursor());
                cursor.is_some_and(|cursor| cursor.epoch == 2 && cursor.revision > 0)
            })
            .await;
        assert_eq!(world.position(first), Some(1));
    })
    .await;
}

#[tokio::test]
async fn an_opened_draw_is_mapped_beside_the_hot_path() {
    with_follower(async |mut world: World| {
        world.init(1, false).await;
        for _ in 0..200 {
            world.join().await;
        }
        world.handle.follow(world.room.clone()).await;
        let n = world.store.freeze(&world.room).await.unwrap()[0];
        let seed = [3; 32];
        let opening = LaneOpening::Draw(DrawOrder { n, seed });
        world.store.open(&world.room, vec![opening]).await.unwrap();
        world
            .until("the room is shown open", |world| {
                let cell = world.views.cell(&world.room.id);
                cell.read(|view| view.unwrap().state()) == RoomState::Open
            })
            .await;
        let permutation = crate::domain::draw::Permutation::new(&seed, n);
        for number in 1..=n {
            let place = PlaceKey { lane: 0, number };
            assert_eq!(world.position(place), Some(permutation.order(number)));
        }
    })
    .await;
}

#[tokio::test]
async fn an_unfollowed_room_is_forgotten_and_can_be_followed_again() {
    with_follower(async |mut world: World| {
        world.init(1, true).await;
        let first = world.join().await;
        world.handle.follow(world.room.clone()).await;
        let cell = world.views.cell(&world.room.id);
        world.handle.unfollow(world.room.id.clone()).await;
        world.handle.follow(world.room.clone()).await;
        assert_eq!(cell.position(first), Some(1), "the same cell is filled");
    })
    .await;
}
