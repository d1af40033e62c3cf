//! One of the two that are compared: its servers, its drivers, and how
//! everyone is told something.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use usher::domain::ids::RoomId;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;

use super::{Options, WARM_BROADCASTS, WARM_USERS};
use crate::driver::order::Formed;
use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::meter::{self, Kernel};
use crate::redis_load::Redis;
use crate::report::Report;
use crate::spawn;
use crate::stage::{RoomPlan, Stage};
use crate::{line, wall::now_us};

const PATIENCE: Duration = Duration::from_secs(30);
/// Connections on which everyone joins, and joins under way on each.
const JOIN_CONNECTIONS: u32 = 8;
const JOIN_IN_FLIGHT: u32 = 32;
/// Operators' calls share so many.
const OPERATOR_CONNECTIONS: usize = 2;
/// Longer than a million need to join, of whom nobody watches yet.
const ABSENCE_GRACE_S: i64 = 3_600;
/// The server's own defaults, raised where a shape needs more.
const STREAMS_PER_CONNECTION: u32 = 256;
const STREAMS: u32 = 200_000;
/// Streams that have ended may count for a moment.
const SPARE_STREAMS: u32 = 8;
/// What the light client cannot do.
pub const DEV_ONLY: &str = "the light client speaks for users of development mode";
/// Source addresses of the two sides: 127.0.x.y.
const OUR_SOURCE: u8 = 10;
const FLOOR_SOURCE: u8 = 110;

/// How a side tells everyone.
enum Voice {
    /// An operator pauses the room again, with another message.
    Operator {
        nodes: Vec<Stage>,
        room: RoomId,
        /// A room in which nobody is.
        empty: RoomId,
    },
    /// A byte on each control connection.
    Bytes(Vec<TcpStream>),
}

pub struct Side {
    pub name: &'static str,
    pub drivers: Drivers,
    voice: Voice,
    pids: Vec<u32>,
    redis: Option<Redis>,
    marker: u32,
    /// Kept until the end, which ends them.
    _servers: Vec<Child>,
}

/// Of the servers and the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    rss_kib: Option<f64>,
    kernel: Kernel,
}

/// Streams of which nothing is wanted.
#[derive(Debug, Default)]
pub struct Idle {
    pub joins: Option<Formed>,
    pub opened: Formed,
    /// KiB per stream, its place included; of a place; of a stream alone.
    pub rss_kib: Option<f64>,
    pub place_kib: Option<f64>,
    pub stream_kib: Option<f64>,
    /// KiB per connection, both ends.
    pub slab_kib: f64,
    pub buffers_kib: f64,
    /// Of one core.
    pub cpu_percent: f64,
    /// To open one stream, its share of the connection included.
    pub open_cpu_us: f64,
}

impl Idle {
    pub fn measure(
        &mut self,
        before: Memory,
        joined: Memory,
        after: Memory,
        users: u32,
        connections: u32,
    ) {
        let grown = |from: Memory, to: Memory| {
            let grown = to.rss_kib? - from.rss_kib?;
            Some(grown / f64::from(users.max(1)))
        };
        self.rss_kib = grown(before, after);
        self.place_kib = grown(before, joined);
        self.stream_kib = grown(joined, after);
        let connections = f64::from(connections.max(1));
        self.slab_kib = (after.kernel.slab_kib - joined.kernel.slab_kib) / connections;
        self.buffers_kib = (after.kernel.buffers_kib - joined.kernel.buffers_kib) / connections;
    }
}

/// What a server of our own is told so that a shape fits: streams on each
/// connection, and all of them.
pub fn raised(each: u32, all: u32) -> Vec<(&'static str, String)> {
    let mut raised = Vec::new();
    let each = each + SPARE_STREAMS;
    if each > STREAMS_PER_CONNECTION {
        let key = "USHER_TRANSPORT__STREAMS_PER_CONNECTION_MAX";
        raised.push((key, each.to_string()));
    }
    if all >= STREAMS {
        raised.push(("USHER_STREAM__STREAMS_MAX", (all + STREAMS).to_string()));
    }
    raised
}

/// Microseconds each.
pub fn per(cpu_s: f64, count: u32) -> f64 {
    cpu_s * 1e6 / f64::from(count.max(1))
}

impl Side {
    /// Usher: spawned, or the one that runs.
    pub async fn ours(options: &Options, report: &mut Report) -> Result<Self, BenchError> {
        let mut target = options.target.clone();
        target.connections = OPERATOR_CONNECTIONS;
        let users = options.users()?;
        target.env.extend(raised(options.streams, users));
        report.fact("settings raised", format!("{:?}", target.env));
        let nodes = line::nodes(&target, options.processes.max(1), 0, PATIENCE).await?;
        if !nodes.iter().all(|node| node.target.callers.is_dev()) {
            return Err(BenchError::failed(DEV_ONLY));
        }
        let plan = RoomPlan {
            capacity: users.max(1),
            rate_per_s: options.activate.unwrap_or(1.0),
            claim_window_s: options.claim_window,
            pass_ttl_s: 600,
            absence_grace_s: Some(ABSENCE_GRACE_S),
        };
        let room = nodes[0].make_room(plan, None).await?;
        let empty = nodes[0].make_room(plan, None).await?;
        let targets: Vec<SocketAddr> = nodes.iter().map(|node| node.target.addr).collect();
        let pids = nodes.iter().filter_map(|node| node.target.pid).collect();
        let mut side = Self {
            name: "usher",
            drivers: Drivers::start(&targets, options.processes, OUR_SOURCE)?,
            voice: Voice::Operator { nodes, room, empty },
            pids,
            redis: Redis::of_environment().await?,
            marker: 0,
            _servers: Vec::new(),
        };
        // Nobody's turn comes before it is measured.
        side.tell().await?;
        side.tell_nobody().await?;
        Ok(side)
    }

    pub async fn floor(options: &Options) -> Result<Self, BenchError> {
        let (mut servers, mut targets, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.processes.max(1) {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("floor-server").kill_on_drop(true);
            let (server, addr) = spawn::ready(&mut command)
                .await
                .map_err(BenchError::failed)?;
            let control = TcpStream::connect(addr).await?;
            control.set_nodelay(true)?;
            servers.push(server);
            targets.push(addr);
            controls.push(control);
        }
        Ok(Self {
            name: "floor",
            drivers: Drivers::start(&targets, options.processes, FLOOR_SOURCE)?,
            voice: Voice::Bytes(controls),
            pids: servers.iter().filter_map(Child::id).collect(),
            redis: None,
            marker: 0,
            _servers: servers,
        })
    }

    pub fn is_floor(&self) -> bool {
        matches!(self.voice, Voice::Bytes(_))
    }

    /// A few streams of another room, and a few broadcasts, that no figure has.
    pub async fn warm_up(&mut self, options: &Options, seed: u64) -> Result<(), BenchError> {
        let users = options.users()?.min(WARM_USERS);
        self.join(&format!("w{seed:x}"), users).await?;
        let connections = users.div_ceil(options.streams.max(1));
        let opened = self.drivers.watch(connections, options.patience).await?;
        if opened.done != opened.wanted {
            return Err(BenchError::Failed(format!(
                "{}: warm-up: {opened:?}",
                self.name
            )));
        }
        for _ in 0..WARM_BROADCASTS {
            self.broadcast(options.patience).await?;
        }
        self.drivers.drop_all().await?;
        self.begin_anew(options).await
    }

    /// Another room than that of the warm-up, which closes.
    async fn begin_anew(&mut self, options: &Options) -> Result<(), BenchError> {
        let Voice::Operator { nodes, room, .. } = &mut self.voice else {
            return Ok(());
        };
        let plan = RoomPlan {
            capacity: options.users()?.max(1),
            rate_per_s: options.activate.unwrap_or(1.0),
            claim_window_s: options.claim_window,
            pass_ttl_s: 600,
            absence_grace_s: Some(ABSENCE_GRACE_S),
        };
        let fresh = nodes[0].make_room(plan, None).await?;
        let warm = std::mem::replace(room, fresh);
        nodes[0].close_room(&warm).await?;
        self.tell().await.map(drop)
    }

    /// Everyone has a place; `None` where none is needed.
    pub async fn join(&mut self, name: &str, users: u32) -> Result<Option<Formed>, BenchError> {
        let Voice::Operator { room, .. } = &self.voice else {
            self.drivers.assume(name, users).await?;
            return Ok(None);
        };
        let room = room.as_str();
        let joined = self
            .drivers
            .join(room, name, users, JOIN_CONNECTIONS, JOIN_IN_FLIGHT);
        Ok(Some(joined.await?))
    }

    /// Tells everyone the next marker. Answers when that was asked for and when
    /// it was answered, in microseconds since 1970.
    pub async fn tell(&mut self) -> Result<(u64, u64), BenchError> {
        self.marker += 1;
        let asked = now_us();
        match &mut self.voice {
            Voice::Operator { nodes, room, .. } => pause(&nodes[0], room, self.marker).await?,
            Voice::Bytes(controls) => {
                for control in controls.iter_mut() {
                    control.write_all(b"!").await?;
                }
                for control in controls {
                    let told = timeout(PATIENCE, control.read_u8()).await;
                    told.map_err(BenchError::failed)??;
                }
            }
        }
        Ok((asked, now_us()))
    }

    /// The same where nobody listens: what the asking itself costs.
    pub async fn tell_nobody(&mut self) -> Result<(), BenchError> {
        let Voice::Operator { nodes, empty, .. } = &self.voice else {
            return Ok(());
        };
        pause(&nodes[0], empty, u32::from(rand::random::<u16>())).await
    }

    /// Lets the paused room go on.
    pub async fn resume(&self) -> Result<(), BenchError> {
        let Voice::Operator { nodes, room, .. } = &self.voice else {
            return Ok(());
        };
        let message = wire::ResumeRoomRequest {
            room_id: room.as_str().to_owned(),
            ..Default::default()
        };
        let send = |channel, request| async move {
            AdminServiceClient::new(channel).resume_room(request).await
        };
        let resumed = nodes[0].operator.look("ResumeRoom", message, None, send);
        done("resuming the room", resumed.await)
    }

    pub fn marker(&self) -> u32 {
        self.marker
    }

    pub fn memory(&self) -> Memory {
        let all = self.pids.iter().map(|pid| meter::rss_kib(*pid));
        let rss_kib = all.sum::<Option<f64>>().filter(|_| !self.pids.is_empty());
        Memory {
            rss_kib,
            kernel: meter::kernel(),
        }
    }

    /// CPU seconds of all servers, and of their Redis.
    pub async fn cpu_s(&mut self) -> Result<f64, BenchError> {
        let servers = self.pids.iter().filter_map(|pid| meter::cpu_s(*pid));
        let servers: f64 = servers.sum();
        let redis = match &mut self.redis {
            Some(redis) => redis.load().await?.cpu_s,
            None => 0.0,
        };
        Ok(servers + redis)
    }
}

async fn pause(node: &Stage, room: &RoomId, marker: u32) -> Result<(), BenchError> {
    let message = wire::PauseRoomRequest {
        room_id: room.as_str().to_owned(),
        message: Some(marker.to_string()),
        resumes_at: None,
    };
    let send = |channel, request| async move {
        AdminServiceClient::new(channel).pause_room(request).await
    };
    let paused = node.operator.look("PauseRoom", message, None, send).await;
    done("a message to everyone", paused)
}

fn done<T>(
    step: &'static str,
    called: Result<T, crate::session::Refused>,
) -> Result<(), BenchError> {
    let called = called.map(drop);
    called.map_err(|refused| BenchError::Setup {
        step,
        why: refused.reason,
    })
}
