//! Many people at once on several nodes, everything recorded and judged.
//!
//! ```ignore
//! let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
//! crowd.until_over(15).await;               // in the middle of it
//! let away = crowd.fault("Redis is stopped", async {
//!     house.redis.pause();
//!     crowd.pass(Duration::from_secs(3)).await;
//!     house.redis.resume();
//! }).await;
//! let seen = crowd.finish().await;          // panics at any broken promise
//! seen.nobody_was_let_in(away);
//! seen.streams_were_told(away, away.from_ms);
//! ```
//!
//! Each of `users` arrives within `arrivals`, joins (again until the outcome is
//! known), waits, claims, stays for a while, leaves, and watches until it is
//! told so. By index some leave the line early, some have a second stream on
//! another node, some poll `GetPlace`. Each device begins at the node of its
//! index, and goes on at the next one whenever a call or a stream fails or is
//! silent for too long, with its token and its last cursor: a node may die, a
//! new one is added by [`Crowd::open_door`]. Clients hold a `DEGRADED` refusal
//! of a join to its `RetryInfo`, and press harder than it asks; a crowd that
//! goes by the book has one stream each, and comes back as the contract has it.
//!
//! [`Crowd::finish`] waits until everyone has come to the end (Q10, Q14), and
//! says where each one was if not; until no slot is in use and nobody waits but
//! the absent (Q11); runs the checkers over the history (Q1-Q9, Q12, Q13, Q15:
//! none may find anything), and `usher audit` on the database.

mod device;
mod fresh;
mod member;
mod operator;
mod report;
mod returns;

use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use usher::domain::ids::RoomId;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::truth::history::{Op, Tolerances};

use crate::client::World;
use crate::harness::soon;
pub use report::{Seen, Span};

/// The nodes, and what lies behind them.
#[derive(Clone)]
pub struct Site {
    pub channels: Vec<Channel>,
    pub database_url: String,
    /// Of the nodes' keys.
    pub dir: PathBuf,
}

#[derive(Clone)]
pub struct CrowdPlan {
    /// Names its room and its users: another crowd of a house has another.
    pub name: &'static str,
    pub users: usize,
    pub capacity: u32,
    pub rate_per_s: f64,
    /// The last one arrives after this time.
    pub arrivals: Duration,
    /// From the claim to the leave, at least.
    pub stay: Duration,
    /// How long [`Crowd::finish`] waits.
    pub patience: Duration,
    /// One stream each, opened again after the pauses of the contract.
    pub by_the_book: bool,
    /// Nobody is called before [`Crowd::pause_room`] says so.
    pub starts_paused: bool,
}

impl Default for CrowdPlan {
    /// About seven seconds where nothing breaks, most of it with a line.
    fn default() -> Self {
        Self {
            name: "crowd",
            users: 60,
            capacity: 4,
            rate_per_s: 20.0,
            arrivals: Duration::from_millis(3_500),
            stay: Duration::from_millis(300),
            patience: Duration::from_secs(180),
            by_the_book: false,
            starts_paused: false,
        }
    }
}

const PASS_TTL_S: i64 = 600;
const CLAIM_WINDOW_S: i64 = 60;
const ABSENCE_GRACE_S: i64 = 120;
/// Rule 6: full jitter below a limit that doubles.
const BACK_OFF_MS: RangeInclusive<u64> = 500..=10_000;

/// Where someone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Coming,
    Joining,
    InLine,
    Called,
    Inside,
    Leaving,
    Over,
}

/// Ways to the nodes, in the order in which they were opened.
struct Doors {
    channels: Vec<Channel>,
    /// So many of the first ones are known to be gone.
    closed: usize,
}

/// What all devices share.
struct Shared {
    world: World,
    doors: Mutex<Doors>,
    room: RoomId,
    stages: watch::Sender<Vec<Stage>>,
    /// Streams whose first message has come.
    told: AtomicUsize,
    by_the_book: bool,
}

impl Shared {
    /// One that is open, and its name.
    fn door(&self, index: usize) -> (String, Channel) {
        let doors = self.doors();
        let open = doors.channels.len() - doors.closed;
        let door = doors.closed + index % open;
        (door_name(door), doors.channels[door].clone())
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Between two streams.
    async fn back_off(&self, attempt: u32) {
        if !self.by_the_book {
            return self.world.back_off().await;
        }
        let (least, most) = BACK_OFF_MS.into_inner();
        let limit_ms = most.min(least << attempt.min(5));
        let pause_ms = rand::rng().random_range(0..=limit_ms);
        sleep(Duration::from_millis(pause_ms)).await;
    }

    fn is_at(&self, index: usize, stage: Stage) {
        self.stages.send_modify(|stages| stages[index] = stage);
    }
}

pub struct Crowd {
    shared: Arc<Shared>,
    members: JoinSet<()>,
    site: Site,
    patience: Duration,
}

impl Crowd {
    pub async fn start(site: Site, plan: CrowdPlan) -> Self {
        let world = World::over(site.channels[0].clone());
        let room = operator::make_room(&world, &plan).await;
        let shared = Arc::new(Shared {
            world,
            doors: Mutex::new(Doors {
                channels: site.channels.clone(),
                closed: 0,
            }),
            room,
            stages: watch::Sender::new(vec![Stage::Coming; plan.users]),
            told: AtomicUsize::new(0),
            by_the_book: plan.by_the_book,
        });
        let mut crowd = Self {
            shared,
            members: JoinSet::new(),
            site,
            patience: plan.patience,
        };
        if plan.starts_paused {
            crowd.pause_room(true).await;
        }
        for index in 0..plan.users {
            let part = index as f64 / plan.users as f64;
            crowd.members.spawn(member::live(
                Arc::clone(&crowd.shared),
                member::Script {
                    index,
                    user: format!("{}-{index}", plan.name),
                    arrives_after: plan.arrivals.mul_f64(part),
                    stays: plan.stay,
                },
            ));
        }
        crowd
    }

    /// The room of this crowd.
    pub fn room(&self) -> &str {
        self.shared.room.as_str()
    }

    /// By the clock of what is recorded.
    pub fn now_ms(&self) -> u64 {
        self.shared.world.now_ms()
    }

    /// A node that came later.
    pub fn open_door(&self, channel: Channel) {
        self.shared.doors().channels.push(channel);
    }

    /// A balancer has noticed that nobody is behind the first doors.
    pub fn close_doors(&self, doors: usize) {
        self.shared.doors().closed += doors;
    }

    /// Waits until the nodes behind these doors have so many streams together.
    pub async fn until_streams(&self, doors: &[usize], streams: usize) {
        let all_there = async {
            loop {
                let mut open = 0;
                for &door in doors {
                    open += self.figures(door).await.map_or(0, |there| there.streams);
                }
                if open >= streams as u64 {
                    return;
                }
                self.shared.world.back_off().await;
            }
        };
        let there = timeout(self.patience, all_there).await;
        assert!(there.is_ok(), "not all have a stream: {:?}", self.late());
    }

    /// Waits until so many streams have said how their place stands.
    pub async fn until_told(&self, streams: usize) {
        let all_told = async {
            while self.shared.told.load(Ordering::Relaxed) < streams {
                self.shared.world.back_off().await;
            }
        };
        let told = timeout(self.patience, all_told).await;
        assert!(told.is_ok(), "not all were told: {:?}", self.late());
    }

    /// Waits until so many have come to the end.
    pub async fn until_over(&self, people: usize) {
        let mut stages = self.shared.stages.subscribe();
        let over = |stages: &Vec<Stage>| {
            let over = stages.iter().filter(|stage| **stage == Stage::Over);
            over.count() >= people
        };
        let enough = stages.wait_for(over);
        drop(soon("their end", enough).await.expect("going on"));
    }

    /// The crowd goes on for so long: how long a fault lasts, not a wait for
    /// anything.
    pub async fn pass(&self, span: Duration) {
        sleep(span).await;
    }

    /// Runs `fault`, which breaks something and mends it, and records when.
    pub async fn fault(&self, what: &str, fault: impl Future<Output = ()>) -> Span {
        let from_ms = self.shared.world.now_ms();
        fault.await;
        let span = Span {
            from_ms,
            to_ms: self.shared.world.now_ms(),
        };
        let op = Op::Fault {
            what: what.to_owned(),
        };
        self.shared
            .world
            .record(&operator::root().user, from_ms, op);
        span
    }

    /// Everyone's end, and the judgement.
    pub async fn finish(mut self) -> Seen {
        let ended = self.everyone().await;
        if ended.is_ok() {
            soon("no slot in use", self.until_quiet()).await;
            operator::audit(&self.site).await;
        }
        self.members.shutdown().await;
        let shared = Arc::into_inner(self.shared).expect("all are done");
        let people = shared.stages.borrow().len();
        let history = shared.world.finish_with(Tolerances {
            // Two nodes' machine is busy; what is judged is no speed.
            silence_ms: 10_000,
            ..Tolerances::default()
        });
        let seen = Seen {
            history,
            room: shared.room,
            people,
        };
        // What led to a failure is worth keeping most of all.
        seen.keep();
        ended.expect("everyone came to the end");
        seen.holds();
        seen
    }

    /// Until all have come to the end; else who has not.
    async fn everyone(&mut self) -> Result<(), String> {
        let everyone = async {
            while let Some(member) = self.members.join_next().await {
                member.map_err(|error| format!("someone was wronged: {error}"))?;
            }
            Ok(())
        };
        let ended = timeout(self.patience, everyone).await;
        ended
            .unwrap_or_else(|_| Err(format!("not over after {:?}", self.patience)))
            .map_err(|why| format!("{why}: {:?}", self.late()))
    }

    /// Who has not come to the end, and where they are.
    fn late(&self) -> Vec<(usize, Stage)> {
        let stages = self.shared.stages.borrow();
        let late = stages.iter().copied().enumerate();
        late.filter(|(_, stage)| *stage != Stage::Over).collect()
    }

    /// Q11: whoever still waits is away, and nobody has a slot.
    async fn until_quiet(&self) {
        let mut door = 0;
        loop {
            // A node that is gone says nothing.
            if self.figures(door).await.is_some_and(|figures| {
                figures.granting + figures.activated + figures.active == 0
                    && figures.waiting == figures.absent
                    && figures.state() == wire::RoomState::Open
            }) {
                return;
            }
            door += 1;
            self.shared.world.back_off().await;
        }
    }

    async fn figures(&self, door: usize) -> Option<wire::WatchRoomStatsResponse> {
        let (_, channel) = self.shared.door(door);
        let mut admin = AdminServiceClient::new(channel);
        let request = operator::root().ask(wire::WatchRoomStatsRequest {
            room_id: self.room().to_owned(),
        });
        let first = async {
            let mut stream = admin.watch_room_stats(request).await?.into_inner();
            stream.message().await
        };
        timeout(device::CALL_TIMEOUT, first).await.ok()?.ok()?
    }
}

fn door_name(door: usize) -> String {
    format!("door-{door}")
}
