//! What the opening of a large DRAW holds up: the longest step of the room
//! while everyone who registered gets an order
//! (`docs/decisions/0005-draw-is-a-function.md`).
//!
//! One thread is the node: it opens, ticks, confirms who is granted, lets more
//! people join, and applies each delta to its view. The view's remap runs on
//! another thread meanwhile, as the follower has it. The same opening is played
//! in several rounds and the fastest round of each single step counts: what
//! other work of the host interrupted is left out, what the step costs is not.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::time::Instant;
use usher::bus::local::LocalBus;
use usher::clock::{Clock as _, ManualClock};
use usher::domain::delta::DrawOrder;
use usher::domain::ids::{ActivationId, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use usher::domain::place::{RoomState, RoomSwitches, Standing};
use usher::domain::policy::{RoomPolicy, ServingOrder};
use usher::domain::room::TICK_MS;
use usher::domain::time::UnixMs;
use usher::entropy::{Entropy as _, SeededEntropy};
use usher::store::memory::MemoryQueue;
use usher::store::queue::{
    Confirm, Granted, LaneInit, LaneOpening, Presence, QueueStore as _, RoomInit, Take,
};
use usher::view::{Applied, PreparedSnapshot, RoomView};

type Failure = Box<dyn Error>;

#[derive(clap::Args)]
pub struct Options {
    /// Places registered before the opening.
    #[arg(long, default_value_t = 1_000_000)]
    registered: u64,
    /// Of these, how many left before it.
    #[arg(long, default_value_t = 200_000)]
    left: u64,
    /// Ticks after the opening.
    #[arg(long, default_value_t = 50)]
    ticks: u64,
    /// Joins between two ticks.
    #[arg(long, default_value_t = 100)]
    joins: u64,
    /// Rounds of the same opening.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// # Errors
/// When the store refuses a step.
pub fn run(options: &Options) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().build()?;
    let mut fastest = Meter::default();
    for _ in 0..options.rounds {
        fastest.keep_faster(runtime.block_on(open(options))?);
    }
    println!("step       count       mean ms    longest ms");
    for (step, spent_ms) in fastest.0 {
        let mean_ms = spent_ms.iter().sum::<f64>() / spent_ms.len() as f64;
        let longest_ms = spent_ms.iter().copied().fold(0.0, f64::max);
        println!(
            "{step:<10} {:>7} {mean_ms:>12.4} {longest_ms:>12.3}",
            spent_ms.len()
        );
    }
    Ok(())
}

/// What each step took, in the order of the steps.
#[derive(Default)]
struct Meter(BTreeMap<&'static str, Vec<f64>>);

impl Meter {
    async fn time<T>(&mut self, step: &'static str, run: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = run.await;
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        self.0.entry(step).or_default().push(ms);
        done
    }

    /// Rounds are the same step by step.
    fn keep_faster(&mut self, round: Self) {
        for (step, spent_ms) in round.0 {
            let kept = self.0.entry(step).or_insert_with(|| spent_ms.clone());
            for (kept, ms) in kept.iter_mut().zip(spent_ms) {
                *kept = kept.min(ms);
            }
        }
    }
}

struct Node {
    clock: Arc<ManualClock>,
    store: MemoryQueue,
    entropy: SeededEntropy,
    room: RoomRef,
    users: u64,
}

impl Node {
    async fn new(reserved_to: u64) -> Result<Self, Failure> {
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let store = MemoryQueue::new(clock.clone(), Arc::new(LocalBus::new(1)));
        let room = RoomRef {
            id: RoomId::parse("draw")?,
            epoch: 1,
        };
        let init = RoomInit {
            version: 1,
            policy: Arc::new(RoomPolicy {
                opens_at: Some(clock.now()),
                order: ServingOrder::Draw,
                capacity: 100_000,
                rate_per_s: 1_000.0,
                ..RoomPolicy::default()
            }),
            switches: RoomSwitches::default(),
            lanes: vec![LaneInit {
                reserved_to,
                ..LaneInit::default()
            }],
            live: Vec::new(),
            ended: Vec::new(),
            rebuild_pause_ms: 0,
        };
        store.init(&room, init).await?;
        Ok(Self {
            clock,
            store,
            entropy: SeededEntropy::new(1),
            room,
            users: 0,
        })
    }

    /// The next user as the store is asked for them.
    fn next_take(&mut self) -> Result<Take, Failure> {
        self.users += 1;
        Ok(Take {
            user: UserId::parse(&format!("user-{}", self.users))?,
            presented: None,
            issue_in: Some(0),
            presence: Presence::Stream(Incarnation(1)),
        })
    }

    fn row(&self, granted: Granted) -> Confirm {
        let place = granted.place;
        Confirm {
            place,
            user: granted.user,
            standing: Standing::Active {
                id: ActivationId(self.entropy.uuid()),
                claimed_at: self.clock.now(),
                expire_time: self.clock.now().plus_ms(300_000),
            },
            remaining_ms: 300_000,
        }
    }
}

async fn open(options: &Options) -> Result<Meter, Failure> {
    let reserved_to = options.registered + options.ticks * options.joins;
    let mut node = Node::new(reserved_to).await?;
    for _ in 0..options.registered {
        let take = node.next_take()?;
        node.store.take(&node.room, take).await?;
    }
    for left in 0..options.left.min(options.registered) {
        let number = 1 + left * options.registered / options.left;
        let place = PlaceKey { lane: 0, number };
        let user = UserId::parse(&format!("user-{number}"))?;
        node.store.leave(&node.room, place, &user).await?;
    }
    let snapshot = node.store.snapshot(&node.room).await?;
    let mut view = PreparedSnapshot::new(snapshot).into_view();

    let mut meter = Meter::default();
    let n = meter.time("freeze", node.store.freeze(&node.room)).await?[0];
    let draw = LaneOpening::Draw(DrawOrder { n, seed: [7; 32] });
    let opening = node.store.open(&node.room, vec![draw]);
    meter.time("open", opening).await?;
    catch_up(&node, &mut view, &mut meter).await?;
    let remap = view.prepare_draw().ok_or("the view saw no draw")?;
    let mapping = std::thread::spawn(move || {
        let started = Instant::now();
        let ready = remap.run();
        (ready, started.elapsed().as_secs_f64() * 1_000.0)
    });

    for _ in 0..options.ticks {
        node.clock.advance_ms(TICK_MS);
        let step = node.store.tick(&node.room, Some(Incarnation(1)));
        let tick = meter.time("tick", step).await?;
        let rows: Vec<_> = tick
            .granted
            .into_iter()
            .map(|granted| node.row(granted))
            .collect();
        if !rows.is_empty() {
            let confirm = node.store.confirm(&node.room, rows);
            meter.time("confirm", confirm).await?;
        }
        for _ in 0..options.joins {
            let take = node.next_take()?;
            let joined = node.store.take(&node.room, take);
            meter.time("take", joined).await?;
        }
        catch_up(&node, &mut view, &mut meter).await?;
    }
    let (ready, mapped_ms) = mapping.join().map_err(|_| "the remap panicked")?;
    meter.time("install", async { view.install(ready) }).await;
    if view.state() != RoomState::Open {
        return Err("the view does not show the room open".into());
    }
    println!(
        "{n} registered, {} of them left; the view was mapped in {mapped_ms:.0} ms on its own thread",
        options.left
    );
    Ok(meter)
}

/// Applies what was published to the view.
async fn catch_up(node: &Node, view: &mut RoomView, meter: &mut Meter) -> Result<(), Failure> {
    let deltas = node.store.deltas_since(&node.room, view.cursor()).await?;
    for delta in deltas.ok_or("the view fell behind the log")? {
        let applied = meter.time("apply", async { view.apply(&delta) }).await;
        if let Applied::Gap = applied {
            return Err("a gap between revisions".into());
        }
    }
    Ok(())
}
