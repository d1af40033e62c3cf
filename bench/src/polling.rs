//! What a waiting user costs a minute: asking every three seconds, as the
//! source's system does, or holding a stream.
//!
//! Three lines take turns, each alone for `--duration`: the
//! [polling server](crate::polling_server) with a Redis of its own; our own
//! `GetPlace`, asked as often; and `Watch`. The same users, the same number of
//! connections, the same light client. The line of the last two moves at
//! `--rate`, so positions change and streams are told; the first one's stands
//! still, which costs it nothing either way.
//!
//! Who asks costs the same in any line. Who watches does not: a turn costs its
//! room the same however many wait behind it. So a line may be watched by more
//! than two processors could be asked by (`--watching`).

mod theirs;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;
use usher::domain::ids::RoomId;

use crate::driver::order::{Polled, Quantiles, Tally};
use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::line;
use crate::meter;
use crate::polling_server::METHOD;
use crate::redis_load::Redis;
use crate::report::{Cell, Chart, Report, ReportOptions, Table};
use crate::spread::Spread;
use crate::stage::{RoomPlan, Stage};
use crate::streams::side::{DEV_ONLY, raised};
use crate::target::TargetOptions;
use theirs::Theirs;

const GET_PLACE: &str = "/usher.v1.QueueService/GetPlace";
const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(3);
const JOIN_CONNECTIONS: u32 = 8;
const JOIN_IN_FLIGHT: u32 = 32;
const OPEN_PATIENCE_S: u64 = 120;
const OUR_SOURCE: u8 = 10;
const OPERATOR_CONNECTIONS: usize = 2;
/// A line moves so that the last in it waits for ten minutes.
const LINE_S: f64 = 600.0;
/// Nobody claims a turn, and none lapses meanwhile.
const CLAIM_WINDOW_S: i64 = 3_600;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// How many wait; as many --connections are one for each
    #[arg(long, default_value_t = 10_000)]
    users: u32,
    /// How many watch, on as many connections more [default: --users]
    #[arg(long)]
    watching: Option<u32>,
    /// Server processes of ours (more than one share USHER_REDIS_URL and
    /// USHER_DATABASE_URL), each with a driver of its own; one process has at
    /// most as many sockets as it may open files
    #[arg(long, default_value_t = 1, conflicts_with = "target")]
    processes: usize,
    /// Between two questions of one user
    #[arg(long, default_value_t = 3_000)]
    every_ms: u64,
    /// Seconds of each line that are measured
    #[arg(long, default_value_t = 30)]
    duration: u64,
    /// Seconds before them
    #[arg(long, default_value_t = 6)]
    warm_up: u64,
    /// Rounds of all three
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Activations per second [default: all within ten minutes]
    #[arg(long)]
    rate: Option<f64>,
    /// The program to start for the polling server's line
    #[arg(long, default_value = "redis-server", value_name = "FILE")]
    redis_server: String,
    /// Names the users
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    report: ReportOptions,
}

/// One line for one round.
struct Window {
    /// CPU milliseconds of server and Redis per user and minute.
    cost_ms: f64,
    /// Answers or messages per user and minute.
    told: f64,
    polled: Option<Polled>,
    watched: Option<Watched>,
}

/// Milliseconds, of those who watch.
struct Watched {
    /// From a turn to its receipt.
    activation_ms: Quantiles,
    /// A position's age beyond what is promised; negative: before.
    late_ms: Quantiles,
}

struct Ours {
    nodes: Vec<Stage>,
    drivers: Drivers,
    pids: Vec<u32>,
    redis: Option<Redis>,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new("Waiting by asking, and by listening");
    report.fact("seed", seed);
    let connections = u32::try_from(options.target.connections).map_err(BenchError::failed)?;
    report.fact(
        "users",
        format!("{} on {connections} connections", options.users),
    );
    report.fact("watching", options.watching());
    let name = format!("p{seed:x}");
    let mut theirs = Theirs::start(&options.redis_server, &name, options.users).await?;
    let mut ours = Ours::start(&options, &mut report).await?;
    let (mut polling, mut asked, mut watched) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds.max(1) {
        eprintln!("round {}", round + 1);
        let name = format!("{name}-{round}");
        polling.push(theirs.window(&options, connections).await?);
        asked.push(ours.asked(&options, connections, &name).await?);
        watched.push(
            ours.watched(&options, connections, &name, &mut report)
                .await?,
        );
    }
    write(
        &[
            ("polling", &polling),
            ("GetPlace", &asked),
            ("Watch", &watched),
        ],
        &mut report,
    );
    report.finish(&options.report)
}

impl Options {
    fn rate_per_s(&self, users: u32) -> f64 {
        let rate = self.rate.unwrap_or(f64::from(users) / LINE_S);
        rate.max(0.1)
    }

    fn plan(&self, users: u32) -> RoomPlan {
        RoomPlan {
            capacity: users.max(1),
            rate_per_s: self.rate_per_s(users),
            claim_window_s: CLAIM_WINDOW_S,
            pass_ttl_s: 3_600,
            absence_grace_s: None,
        }
    }

    fn watching(&self) -> u32 {
        self.watching.unwrap_or(self.users)
    }

    /// The connections of those who watch: as many users on each as of those who
    /// ask.
    fn watching_on(&self, connections: u32) -> Result<u32, BenchError> {
        let all = u64::from(connections) * u64::from(self.watching());
        let on = all.div_ceil(u64::from(self.users.max(1)));
        u32::try_from(on).map_err(BenchError::failed)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    fn minutes(&self, users: u32) -> f64 {
        f64::from(users.max(1)) * self.duration.max(1) as f64 / 60.0
    }

    fn all_s(&self) -> u64 {
        self.warm_up + self.duration.max(1)
    }
}

impl Theirs {
    async fn window(&mut self, options: &Options, connections: u32) -> Result<Window, BenchError> {
        self.drivers.assume(&self.name, options.users).await?;
        let asking =
            self.drivers
                .poll(METHOD, connections, options.every_ms, options.all_s(), true);
        asking.await?;
        sleep(Duration::from_secs(options.warm_up)).await;
        let began = self.cpu_s();
        sleep(Duration::from_secs(options.duration.max(1))).await;
        let used = self.cpu_s() - began;
        let polled = self.drivers.polled().await?;
        Ok(window(options, used, polled))
    }
}

fn window(options: &Options, cpu_s: f64, polled: Polled) -> Window {
    #[expect(clippy::cast_precision_loss, reason = "counts and seconds")]
    let told =
        polled.answered as f64 * 60.0 / (f64::from(options.users.max(1)) * options.all_s() as f64);
    Window {
        cost_ms: cpu_s * 1_000.0 / options.minutes(options.users),
        told,
        polled: Some(polled),
        watched: None,
    }
}

impl Ours {
    async fn start(options: &Options, report: &mut Report) -> Result<Self, BenchError> {
        let mut target = options.target.clone();
        let connections = u32::try_from(target.connections).map_err(BenchError::failed)?;
        target.connections = OPERATOR_CONNECTIONS;
        report.fact("server processes", options.processes.max(1));
        // Of the driver with the largest share of users and the smallest of
        // connections.
        let drivers = u32::try_from(options.processes.max(1)).map_err(BenchError::failed)?;
        let each = |users: u32, connections: u32| {
            users
                .div_ceil(drivers)
                .div_ceil((connections / drivers).max(1))
        };
        let watching = options.watching();
        let on = options.watching_on(connections)?;
        let each = each(options.users, connections).max(each(watching, on));
        let most = options.users.max(watching);
        target.env.extend(raised(each, most));
        report.fact("settings raised", format!("{:?}", target.env));
        let nodes = line::nodes(&target, options.processes.max(1), 0, PATIENCE).await?;
        if !nodes.iter().all(|node| node.target.callers.is_dev()) {
            return Err(BenchError::failed(DEV_ONLY));
        }
        let targets: Vec<SocketAddr> = nodes.iter().map(|node| node.target.addr).collect();
        Ok(Self {
            drivers: Drivers::start(&targets, targets.len(), OUR_SOURCE)?,
            pids: nodes.iter().filter_map(|node| node.target.pid).collect(),
            nodes,
            redis: Redis::of_environment().await?,
        })
    }

    async fn cpu_s(&mut self) -> Result<f64, BenchError> {
        let servers: f64 = self.pids.iter().filter_map(|pid| meter::cpu_s(*pid)).sum();
        let redis = match &mut self.redis {
            Some(redis) => redis.load().await?.cpu_s,
            None => 0.0,
        };
        Ok(servers + redis)
    }

    /// A line of its own, in which everyone is.
    async fn line(
        &mut self,
        options: &Options,
        name: &str,
        users: u32,
    ) -> Result<RoomId, BenchError> {
        let room = self.nodes[0].make_room(options.plan(users), None).await?;
        let drivers = &mut self.drivers;
        let joined = drivers.join(room.as_str(), name, users, JOIN_CONNECTIONS, JOIN_IN_FLIGHT);
        let joined = joined.await?;
        if joined.done != joined.wanted {
            return Err(BenchError::Failed(format!(
                "not everyone joined: {joined:?}"
            )));
        }
        Ok(room)
    }

    async fn over(&mut self, room: &RoomId) -> Result<(), BenchError> {
        self.drivers.drop_all().await?;
        self.nodes[0].close_room(room).await?;
        sleep(SETTLE).await;
        Ok(())
    }

    async fn asked(
        &mut self,
        options: &Options,
        connections: u32,
        name: &str,
    ) -> Result<Window, BenchError> {
        let room = self
            .line(options, &format!("{name}-a"), options.users)
            .await?;
        let (every_ms, all_s) = (options.every_ms, options.all_s());
        let asking = self
            .drivers
            .poll(GET_PLACE, connections, every_ms, all_s, false);
        asking.await?;
        sleep(Duration::from_secs(options.warm_up)).await;
        let began = self.cpu_s().await?;
        sleep(Duration::from_secs(options.duration.max(1))).await;
        let used = self.cpu_s().await? - began;
        let polled = self.drivers.polled().await?;
        self.over(&room).await?;
        Ok(window(options, used, polled))
    }

    async fn watched(
        &mut self,
        options: &Options,
        connections: u32,
        name: &str,
        report: &mut Report,
    ) -> Result<Window, BenchError> {
        let users = options.watching();
        let connections = options.watching_on(connections)?;
        let room = self.line(options, &format!("{name}-w"), users).await?;
        let opened = self.drivers.watch(connections, OPEN_PATIENCE_S).await?;
        report.promise(opened.done == opened.wanted, || {
            format!("{} of {} streams opened", opened.done, opened.wanted)
        });
        sleep(Duration::from_secs(options.warm_up)).await;
        let window_ms = CLAIM_WINDOW_S.unsigned_abs() * 1_000;
        let rate_per_s = options.rate_per_s(users);
        self.drivers.judge(rate_per_s, window_ms).await?;
        let (before, began) = (self.drivers.tally().await?, self.cpu_s().await?);
        sleep(Duration::from_secs(options.duration.max(1))).await;
        let used = self.cpu_s().await? - began;
        let after = self.drivers.tally().await?;
        report.promise(after.broken.is_empty(), || {
            format!("streams ended and nobody said why: {:?}", after.broken)
        });
        report.promise(
            after.positions_grown == 0 && after.cursors_back == 0,
            || "positions grew, or cursors went back".to_owned(),
        );
        self.over(&room).await?;
        let all = |tally: &Tally| tally.kinds.values().sum::<u64>();
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let messages = (all(&after) - all(&before)) as f64;
        Ok(Window {
            cost_ms: used * 1_000.0 / options.minutes(users),
            told: messages / options.minutes(users),
            polled: None,
            watched: Some(Watched {
                activation_ms: after.activation_ms,
                late_ms: after.late_ms,
            }),
        })
    }
}

fn write(lines: &[(&str, &Vec<Window>); 3], report: &mut Report) {
    let columns = [
        "",
        "CPU ms per user-minute",
        "of Watch",
        "told per user-minute",
        "p50 ms",
        "p99 ms",
        "skipped",
    ];
    let mut table = Table::new("A waiting user's minute, server and Redis", columns);
    let mut chart = Chart::bars("CPU of a waiting user's minute, server and Redis", "ms");
    let watched = lines[2].1;
    for (name, rounds) in lines {
        let cost = Spread::of(rounds.iter().map(|round| round.cost_ms));
        let pairs = rounds.iter().zip(watched);
        let ratio = Spread::of(pairs.map(|(one, watch)| one.cost_ms / watch.cost_ms));
        let polled: Vec<&Polled> = rounds
            .iter()
            .filter_map(|one| one.polled.as_ref())
            .collect();
        let part = |part: usize| -> Cell {
            match polled.is_empty() {
                true => Cell::Unknown,
                false => Spread::of(polled.iter().map(|one| one.ms.part(part))).into(),
            }
        };
        let skipped: u64 = polled.iter().map(|one| one.skipped).sum();
        table = table.row([
            (*name).into(),
            cost.into(),
            ratio.into(),
            Spread::of(rounds.iter().map(|round| round.told)).into(),
            part(50),
            part(99),
            (!polled.is_empty()).then_some(skipped).into(),
        ]);
        chart = chart.bar(name, cost.median);
        for one in polled {
            report.promise(one.failed.is_empty() && one.answered == one.calls, || {
                format!(
                    "{name}: {} of {} answered: {:?}",
                    one.answered, one.calls, one.failed
                )
            });
        }
    }
    report.table(table);
    report.chart(chart);
    report.table(watched_table(watched));
    report.note(
        "Skipped: due while the answer before was not there. All three lines have the same users, \
         connections and client (one for each of our processes); each was alone while it was measured. \
         Later than promised: of positions that came.",
    );
}

fn watched_table(rounds: &[Window]) -> Table {
    let columns = ["ms", "count", "p50", "p99", "max"];
    let mut table = Table::new("What those who watch were told", columns);
    let each = rounds.iter().filter_map(|round| round.watched.as_ref());
    let each: Vec<&Watched> = each.collect();
    let activation: fn(&Watched) -> &Quantiles = |watched| &watched.activation_ms;
    let late: fn(&Watched) -> &Quantiles = |watched| &watched.late_ms;
    for (name, times) in [
        ("activation to receipt", activation),
        ("position later than promised", late),
    ] {
        let part = |part| Spread::of(each.iter().map(|watched| times(watched).part(part)));
        let count: u64 = each.iter().map(|watched| times(watched).count).sum();
        table = table.row([
            name.into(),
            count.into(),
            part(50).into(),
            part(99).into(),
            part(100).into(),
        ]);
    }
    table
}
