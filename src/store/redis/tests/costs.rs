//! What waiting costs: bytes for each, and nothing more per tick. And that no
//! step of a room, however large, holds up the others.

use std::sync::Arc;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{ActivationId, Incarnation, RoomId, RoomRef, UserId};
use crate::domain::place::{RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::rank::{PAGE_BITS, PAGE_BYTES};
use crate::domain::time::UnixMs;
use crate::store::queue::{
    Confirm, DepartedPage, LaneInit, Presence, QueueStore as _, RoomInit, Take,
};

use super::super::RedisQueue;
use super::queue;
use super::servers::RedisServer;

const NODE: Incarnation = Incarnation(7);
const GRACE_MS: u64 = 40_000;
/// Of `used_memory`, for a user id of 36 bytes with an open stream.
const WAITER_BYTES_MAX: u64 = 300;

struct House {
    server: RedisServer,
    queue: RedisQueue,
    room: RoomRef,
    joined: u64,
}

impl House {
    async fn new() -> Self {
        Self::with(0, None, LaneInit::default()).await
    }

    /// A room with a lane of which SQL knows this, and a clock moved by hand.
    async fn with(capacity: u64, clock: Option<Arc<dyn Clock>>, lane: LaneInit) -> Self {
        let server = RedisServer::start();
        let queue = queue(&server.url(), clock);
        let room = RoomRef {
            id: RoomId::parse("large").unwrap(),
            epoch: 1,
        };
        let init = RoomInit {
            version: 1,
            policy: Arc::new(RoomPolicy {
                capacity,
                rate_per_s: 1e6,
                absence_grace_ms: GRACE_MS,
                claim_window_ms: 0,
                ..RoomPolicy::default()
            }),
            switches: RoomSwitches {
                opened: true,
                ..RoomSwitches::default()
            },
            lanes: vec![LaneInit {
                reserved_to: 10_000_000,
                ..lane
            }],
            live: Vec::new(),
            ended: Vec::new(),
            rebuild_pause_ms: 0,
        };
        queue.init(&room, init).await.unwrap();
        Self {
            server,
            queue,
            room,
            joined: 0,
        }
    }

    async fn join(&mut self, count: u64) {
        let ids: Vec<u64> = (self.joined..self.joined + count).collect();
        self.joined += count;
        for ids in ids.chunks(512) {
            let takes = ids.iter().map(|id| Take {
                user: UserId::parse(&format!("{id:036}")).unwrap(),
                presented: None,
                issue_in: Some(0),
                presence: Presence::Stream(NODE),
            });
            let takes = takes.map(|take| self.queue.take(&self.room, take));
            for taken in join_all(takes).await {
                taken.unwrap();
            }
            self.tick().await;
        }
    }

    async fn tick(&self) {
        self.queue.tick(&self.room, Some(NODE)).await.unwrap();
    }

    fn used_memory(&self) -> u64 {
        self.server.info("used_memory").parse().unwrap()
    }

    /// Microseconds that the server spent in scripts so far.
    fn script_us(&self) -> f64 {
        let stats = self.server.info("cmdstat_evalsha");
        let usec = stats.split("usec=").nth(1).unwrap();
        usec.split(',').next().unwrap().parse().unwrap()
    }

    /// Commands that the server ran so far, those of scripts too.
    fn commands(&self) -> u64 {
        let stats = self.server.cli(&["INFO", "commandstats"]);
        let calls = stats
            .lines()
            .filter(|line| !line.starts_with("cmdstat_info"));
        let calls = calls.filter_map(|line| line.split("calls=").nth(1)?.split(',').next());
        calls.map(|calls| calls.parse::<u64>().unwrap()).sum()
    }

    /// Commands and microseconds of one tick in which nothing happens.
    async fn idle_tick(&self) -> (f64, f64) {
        const TICKS: u32 = 400;
        self.tick().await;
        let (us, commands) = (self.script_us(), self.commands());
        for _ in 0..TICKS {
            self.tick().await;
        }
        let (us, commands) = (self.script_us() - us, self.commands() - commands);
        (commands as f64 / f64::from(TICKS), us / f64::from(TICKS))
    }
}

/// Commands of the scripts of one kind of step: the most that one call ran, and
/// the longest that one took.
#[derive(Default, Debug)]
struct Longest {
    commands: u64,
    us: f64,
}

impl House {
    /// Runs one step, and sees what its script cost.
    async fn step<T>(&self, longest: &mut Longest, step: impl Future<Output = T>) -> T {
        let (commands, us) = (self.commands(), self.script_us());
        let answer = step.await;
        longest.commands = longest.commands.max(self.commands() - commands);
        longest.us = longest.us.max(self.script_us() - us);
        answer
    }

    /// Places get their turns, as the engine does it, until the room is full.
    async fn fill(&self, picks: &mut Longest, confirms: &mut Longest) {
        loop {
            let tick = self.queue.tick(&self.room, Some(NODE));
            let granted = self.step(picks, tick).await.unwrap().granted;
            if granted.is_empty() {
                return;
            }
            let rows = granted.into_iter().map(|granted| Confirm {
                place: granted.place,
                user: granted.user,
                standing: Standing::Active {
                    id: ActivationId(Uuid::new_v4()),
                    claimed_at: UnixMs(1),
                    expire_time: UnixMs(u64::MAX),
                },
                remaining_ms: 60_000,
            });
            let confirm = self.queue.confirm(&self.room, rows.collect());
            self.step(confirms, confirm).await.unwrap();
        }
    }
}

/// The most commands that one step's script may run: each is one to two
/// microseconds.
const STEP_COMMANDS_MAX: u64 = 2_000;

#[tokio::test]
async fn no_step_of_a_large_room_holds_up_the_others() {
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let given = Arc::clone(&clock) as Arc<dyn Clock>;
    let mut house = House::with(1_000, Some(given), LaneInit::default()).await;
    house.join(3_000).await;
    let (mut picks, mut confirms) = (Longest::default(), Longest::default());
    clock.advance_ms(1_000);
    house.fill(&mut picks, &mut confirms).await;
    let mut snapshot = Longest::default();
    // The first one brings the script itself.
    for _ in 0..3 {
        let read = house.queue.snapshot(&house.room);
        let read = house.step(&mut snapshot, read).await.unwrap();
        assert_eq!(read.live.len(), 1_000);
    }

    // Their node is silent, then they are absent for too long.
    let (mut absences, mut lapses, mut ends) =
        (Longest::default(), Longest::default(), Longest::default());
    clock.advance_ms(1_000);
    while house.queue.counts(&house.room).await.unwrap().absent < 2_000 {
        clock.advance_ms(1_000);
        let tick = house.queue.tick(&house.room, None);
        house.step(&mut absences, tick).await.unwrap();
    }
    while house.queue.counts(&house.room).await.unwrap().waiting > 0 {
        clock.advance_ms(1_000);
        let tick = house.queue.tick(&house.room, None);
        house.step(&mut lapses, tick).await.unwrap();
    }
    // Passes that are over are proposed.
    let mut due = 0;
    while due == 0 {
        clock.advance_ms(1_000);
        let tick = house.queue.tick(&house.room, None).await.unwrap();
        due += tick.due.len();
    }
    while due < 1_000 {
        clock.advance_ms(1_000);
        let tick = house.queue.tick(&house.room, None);
        due += house.step(&mut ends, tick).await.unwrap().due.len();
    }
    let steps = [
        ("a tick that picks", picks),
        ("a confirm", confirms),
        ("a snapshot of 1,000 slots", snapshot),
        ("a tick that finds a node gone", absences),
        ("a tick that ends absent places", lapses),
        ("a tick that proposes ends", ends),
    ];
    for (name, longest) in steps {
        println!(
            "{name}: {} commands, {:.0} us",
            longest.commands, longest.us
        );
        assert!(longest.commands <= STEP_COMMANDS_MAX, "{name}: {longest:?}");
    }
}

#[tokio::test]
async fn a_snapshot_of_a_million_is_one_short_step() {
    // Every other one left before the room was recovered.
    let pages = (0..1_000_000 / PAGE_BITS).map(|page| DepartedPage {
        lane: 0,
        page: u32::try_from(page).unwrap(),
        bits: vec![0x55; PAGE_BYTES],
    });
    let lane = LaneInit {
        issued_to: 1_000_000,
        departed: pages.collect(),
        ..LaneInit::default()
    };
    let house = House::with(0, None, lane).await;
    let mut longest = Longest::default();
    for _ in 0..5 {
        let read = house.queue.snapshot(&house.room);
        let read = house.step(&mut longest, read).await.unwrap();
        assert!(read.lanes[0].departed_numbers.count() > 400_000);
    }
    println!("a snapshot of a million: {longest:?}");
    assert!(longest.commands < 50, "{longest:?}");
}

#[tokio::test]
async fn a_waiter_costs_few_bytes_and_no_work() {
    let mut house = House::new().await;
    house.join(1_000).await;
    let (few_commands, few_us) = house.idle_tick().await;
    let (before, us) = (house.used_memory(), house.script_us());
    house.join(99_000).await;
    let join_us = (house.script_us() - us) / 99_000.0;
    let bytes = (house.used_memory() - before) / 99_000;
    let (commands, us) = house.idle_tick().await;
    println!("{bytes} bytes per waiter, {join_us:.1} us per join");
    println!("a tick with 1,000: {few_commands} commands, {few_us:.1} us");
    println!("a tick with 100,000: {commands} commands, {us:.1} us");
    assert!(bytes <= WAITER_BYTES_MAX, "{bytes} bytes per waiter");
    assert!((commands - few_commands).abs() < 1.0, "{commands}");
}
