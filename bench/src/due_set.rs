//! From the receipt of a delta to knowing which streams owe something.
//!
//! One node in this process: the queue in memory, the follower, the hub, and
//! as many streams as asked for, all idle. Timed on one thread, from the moment
//! a delta is published to the end of [`ViewListener::changed`]; the turning
//! of the hub's wheel, by which positions become due, is timed apart. Nothing
//! is rendered or sent.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usher::bus::local::LocalBus;
use usher::bus::{BusError, BusMessage, BusSubscription, EventBus};
use usher::clock::{Clock as _, ManualClock};
use usher::domain::ids::{ActivationId, Incarnation, RoomId, RoomRef, UserId};
use usher::domain::place::{RoomSwitches, Standing};
use usher::domain::policy::RoomPolicy;
use usher::domain::room::TICK_MS;
use usher::domain::time::UnixMs;
use usher::entropy::{Entropy as _, SeededEntropy};
use usher::fanout::{Hub, HubLimits, PassRequest, PassSigner, StreamSpec, Subscription};
use usher::store::memory::MemoryQueue;
use usher::store::queue::{Confirm, LaneInit, Presence, QueueStore as _, RoomInit, Take};
use usher::view::follower::Follower;
use usher::view::{Changes, ViewCell, ViewListener, Views};

use crate::tally::Times;

type Failure = Box<dyn Error>;

const NODE: Incarnation = Incarnation(1);
/// Deltas that one tick publishes, at most.
const DELTAS_MAX: usize = 16;

#[derive(clap::Args)]
pub struct Options {
    /// Streams open on the node, each of a place that waits
    #[arg(long, default_value_t = 100_000)]
    users: u64,
    /// Ticks that are timed
    #[arg(long, default_value_t = 300)]
    ticks: u64,
    /// Turns a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

struct NoPass;

impl PassSigner for NoPass {
    fn pass(&self, _: &PassRequest) -> Arc<str> {
        Arc::from("")
    }
}

/// Notes when each delta was handed over.
struct NotingBus {
    inner: LocalBus,
    under_way: Mutex<VecDeque<Instant>>,
}

impl NotingBus {
    fn under_way(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventBus for NotingBus {
    fn publish(&self, message: BusMessage) {
        self.under_way().push_back(Instant::now());
        self.inner.publish(message);
    }

    async fn subscribe(&self) -> Result<Box<dyn BusSubscription>, BusError> {
        self.inner.subscribe().await
    }
}

/// Tells how long each delta took to be known by the hub.
struct TimedHub {
    hub: Arc<Hub>,
    bus: Arc<NotingBus>,
    took: mpsc::Sender<Duration>,
}

impl ViewListener for TimedHub {
    fn changed(&self, room: &Arc<ViewCell>, changes: &Changes) {
        self.hub.changed(room, changes);
        let published = self.bus.under_way().pop_front();
        if let Some(at) = published {
            let _ = self.took.try_send(at.elapsed());
        }
    }

    fn must_recover(&self, room: &RoomRef) {
        self.hub.must_recover(room);
    }
}

/// # Errors
/// When the store refuses a step, or a delta does not arrive.
pub fn run(options: &Options) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<(), Failure> {
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let bus = Arc::new(NotingBus {
        inner: LocalBus::default(),
        under_way: Mutex::default(),
    });
    let store = MemoryQueue::new(clock.clone(), bus.clone());
    let store = Arc::new(store);
    let views = Arc::new(Views::default());
    let limits = HubLimits::default();
    let hub = Hub::new(limits, views.clone(), Arc::new(NoPass), clock.clone(), 7);
    let (told, mut took) = mpsc::channel(DELTAS_MAX);
    let listener = Arc::new(TimedHub {
        hub: hub.clone(),
        bus: bus.clone(),
        took: told,
    });
    let (follower, handle) = Follower::new(bus.clone(), store.clone(), views, listener);
    let mut tasks = JoinSet::new();
    tasks.spawn(follower.run());
    let room = line(&store, options).await?;
    store.tick(&room, Some(NODE)).await?;
    if !handle.follow(room.clone()).await {
        return Err("the follower is gone".into());
    }
    let mut streams = Vec::new();
    for number in 1..=options.users {
        streams.push(open(&hub, &room.id, number)?);
    }
    bus.under_way().clear();
    while took.try_recv().is_ok() {}

    let entropy = SeededEntropy::new(1);
    let (mut plain, mut whole, mut wheel) = (Times::default(), Times::default(), Times::default());
    let policy = Arc::new(policy(options));
    for tick in 0..options.ticks {
        clock.advance_ms(TICK_MS);
        // Each tenth tick the room is paused or goes on: all streams owe that.
        let is_changed = tick % 10 == 9;
        if is_changed {
            let switches = RoomSwitches {
                paused: tick % 20 == 9,
                ..opened()
            };
            store
                .configure(&room, 2 + tick, Arc::clone(&policy), switches)
                .await?;
        }
        let granted = store.tick(&room, Some(NODE)).await?.granted;
        let rows = granted.into_iter().map(|granted| Confirm {
            place: granted.place,
            user: granted.user,
            standing: Standing::Active {
                id: ActivationId(entropy.uuid()),
                claimed_at: clock.now(),
                expire_time: clock.now().plus_ms(300_000),
            },
            remaining_ms: 300_000,
        });
        let rows: Vec<Confirm> = rows.collect();
        if !rows.is_empty() {
            store.confirm(&room, rows).await?;
        }
        // The follower runs on this very thread, while this task waits.
        let published = bus.under_way().len();
        let mut longest = Duration::ZERO;
        for _ in 0..published {
            longest = longest.max(took.recv().await.ok_or("the hub is gone")?);
        }
        match is_changed {
            true => whole.add(longest),
            false => plain.add(longest),
        }
        let began = Instant::now();
        hub.advance(clock.now());
        wheel.add(began.elapsed());
        streams.iter_mut().for_each(say);
    }
    println!("{} streams on one node, ms of one core", options.users);
    for (what, times) in [
        ("a delta of turns and joins", plain),
        ("a pause, or its end", whole),
        ("a turn of the wheel", wheel),
    ] {
        println!(
            "{what:<28} {:>6} x  p50 {:.3}, p99 {:.3}, max {:.3}",
            times.count(),
            times.quantile_ms(0.5),
            times.quantile_ms(0.99),
            times.quantile_ms(1.0)
        );
    }
    Ok(())
}

fn opened() -> RoomSwitches {
    RoomSwitches {
        opened: true,
        ..RoomSwitches::default()
    }
}

fn policy(options: &Options) -> RoomPolicy {
    RoomPolicy {
        capacity: 1_000_000,
        rate_per_s: f64::from(options.rate),
        ..RoomPolicy::default()
    }
}

/// A room in which everyone waits.
async fn line(store: &MemoryQueue, options: &Options) -> Result<RoomRef, Failure> {
    let room = RoomRef {
        id: RoomId::parse("due-set")?,
        epoch: 1,
    };
    let init = RoomInit {
        version: 1,
        policy: Arc::new(policy(options)),
        switches: opened(),
        lanes: vec![LaneInit {
            reserved_to: options.users,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    store.init(&room, init).await?;
    for number in 1..=options.users {
        let take = Take {
            user: user(number)?,
            presented: None,
            issue_in: Some(0),
            presence: Presence::Stream(NODE),
        };
        store.take(&room, take).await?;
    }
    Ok(room)
}

fn user(number: u64) -> Result<UserId, Failure> {
    Ok(UserId::parse(&format!("user-{number}"))?)
}

fn open(hub: &Arc<Hub>, room: &RoomId, number: u64) -> Result<Subscription, Failure> {
    let spec = StreamSpec {
        room: room.clone(),
        place: usher::domain::ids::PlaceKey { lane: 0, number },
        user: user(number)?,
        resume: None,
        min_update_interval_ms: None,
        max_duration_ms: None,
        end_on_activation: false,
        known_end: None,
        is_merged: false,
    };
    let mut stream = hub.open(spec)?;
    say(&mut stream);
    Ok(stream)
}

/// All that the stream owes, as a transport takes it that keeps up.
fn say(stream: &mut Subscription) {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(_)) = stream.poll_next(&mut context) {}
}
