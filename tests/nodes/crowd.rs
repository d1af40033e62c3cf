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
//! seen.streams_were_told(away);
//! ```
//!
//! Each of `users` arrives within `arrivals`, joins (again until the outcome is
//! known), waits, claims, stays for a while, leaves, and watches until it is
//! told so. By index some leave the line early, some have a second stream on
//! another node, some poll `GetPlace`. Each device begins at the node of its
//! index, and goes on at the next one whenever a call or a stream fails or is
//! silent for too long, with its token and its last cursor: a node may die, a
//! new one is added by [`Crowd::open_door`]. Clients hold a `DEGRADED` refusal
//! of a join to its `RetryInfo`, and press harder than it asks.
//!
//! [`Crowd::finish`] waits until everyone has come to the end (Q10, Q14), and
//! says where each one was if not; until no slot is in use and nobody waits but
//! the absent (Q11); runs the checkers over the history (Q1-Q9, Q12, Q13, Q15:
//! none may find anything), and `usher audit` on the database.

mod device;
mod member;
mod report;

use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use usher::domain::ids::RoomId;
use usher::domain::policy::ServingOrder;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::truth::history::{AdminOp, Answer, Op, Policy, Tolerances};

use crate::client::{Caller, World};
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
            patience: Duration::from_secs(75),
        }
    }
}

const PASS_TTL_S: i64 = 600;
const CLAIM_WINDOW_S: i64 = 60;
const ABSENCE_GRACE_S: i64 = 120;

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

/// What all devices share.
struct Shared {
    world: World,
    doors: Mutex<Vec<Channel>>,
    room: RoomId,
    stages: watch::Sender<Vec<Stage>>,
}

impl Shared {
    fn door(&self, index: usize) -> Channel {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors[index % doors.len()].clone()
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
        let room = make_room(&world, &plan).await;
        let shared = Arc::new(Shared {
            world,
            doors: Mutex::new(site.channels.clone()),
            room,
            stages: watch::Sender::new(vec![Stage::Coming; plan.users]),
        });
        let mut members = JoinSet::new();
        for index in 0..plan.users {
            let part = index as f64 / plan.users as f64;
            members.spawn(member::live(
                Arc::clone(&shared),
                member::Script {
                    index,
                    user: format!("{}-{index}", plan.name),
                    arrives_after: plan.arrivals.mul_f64(part),
                    stays: plan.stay,
                },
            ));
        }
        Self {
            shared,
            members,
            site,
            patience: plan.patience,
        }
    }

    /// The room of this crowd.
    pub fn room(&self) -> &str {
        self.shared.room.as_str()
    }

    /// A node that came later.
    #[allow(dead_code, reason = "for tests in which nodes die")]
    pub fn open_door(&self, channel: Channel) {
        let doors = &self.shared.doors;
        let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.push(channel);
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
            .record(&Caller::new("root").user, from_ms, op);
        span
    }

    /// Everyone's end, and the judgement.
    pub async fn finish(mut self) -> Seen {
        let ended = self.everyone().await;
        if ended.is_ok() {
            soon("no slot in use", self.until_quiet()).await;
            audit(&self.site).await;
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
            .map_err(|why| {
                let stages = self.shared.stages.borrow();
                let late = stages.iter().enumerate();
                let late: Vec<_> = late.filter(|(_, stage)| **stage != Stage::Over).collect();
                format!("{why}: {late:?}")
            })
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
        let mut admin = AdminServiceClient::new(self.shared.door(door));
        let request = root().ask(wire::WatchRoomStatsRequest {
            room_id: self.room().to_owned(),
        });
        let first = async {
            let mut stream = admin.watch_room_stats(request).await?.into_inner();
            stream.message().await
        };
        timeout(device::CALL_TIMEOUT, first).await.ok()?.ok()?
    }
}

fn root() -> Caller {
    Caller {
        is_admin: true,
        ..Caller::new("root")
    }
}

/// Made on the first node; devices try again until theirs knows it.
async fn make_room(world: &World, plan: &CrowdPlan) -> RoomId {
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let policy = wire::RoomPolicy {
        capacity: plan.capacity,
        rate: plan.rate_per_s,
        pass_ttl: span(PASS_TTL_S),
        claim_window: span(CLAIM_WINDOW_S),
        absence_grace: span(ABSENCE_GRACE_S),
        ..wire::RoomPolicy::default()
    };
    let request = root().ask(wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: plan.name.to_owned(),
            policy: Some(policy),
            ..wire::Room::default()
        }),
        idempotency_key: plan.name.to_owned(),
    });
    let invoked_ms = world.now_ms();
    let mut admin = AdminServiceClient::new(world.channel.clone());
    let made = soon("a room", admin.create_room(request)).await;
    let room = made.expect("made").into_inner().room.expect("a room").id;
    let room = RoomId::parse(&room).expect("an id");
    let configured = AdminOp::ConfigureRoom {
        room: room.clone(),
        policy: Policy {
            order: ServingOrder::Fifo,
            capacity: plan.capacity.into(),
            rate_per_s: plan.rate_per_s,
            pass_ttl_ms: PASS_TTL_S as u64 * 1_000,
            claim_window_ms: CLAIM_WINDOW_S as u64 * 1_000,
        },
        answer: Answer::Ok(()),
    };
    world.record(&root().user, invoked_ms, Op::Admin(configured));
    room
}

/// Every promise that the database can be asked about.
async fn audit(site: &Site) {
    let audit = Command::new(env!("CARGO_BIN_EXE_usher"))
        .env_clear()
        .env("USHER_DATABASE_URL", &site.database_url)
        .env("USHER_DATA_DIR", &site.dir)
        .arg("audit")
        .stdin(Stdio::null())
        .output();
    let audit = soon("an audit", audit).await.expect("it runs");
    let said = String::from_utf8_lossy(&audit.stdout);
    let failed = String::from_utf8_lossy(&audit.stderr);
    assert!(audit.status.success(), "{said}{failed}");
}
