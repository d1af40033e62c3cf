//! From a freed slot to the client who is told that it is their turn, with a
//! long line of open streams behind.
//!
//! So many have their turn; one after the other leaves, `--rate` per second,
//! and each slot goes to the next in line. Timed from sending `Leave` to the
//! receipt of `activated`, on one thread with one clock. A turn is taken for
//! that of the slot that was freed first: with more time between two of them
//! than a turn takes, that is exact.
//!
//! Judged: each slot brings one turn, nobody who waits was passed over, no
//! stream ends that should not.

use std::time::Duration;

use tokio::time::sleep;

use crate::driver::order::{Freed, Quantiles};
use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::meter;
use crate::redis_load::Redis;
use crate::report::{Chart, Report, ReportOptions, Table};
use crate::stage::{RoomPlan, Stage};
use crate::streams::side::{DEV_ONLY, per, raised};
use crate::target::TargetOptions;

const PATIENCE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(5);
const OPERATOR_CONNECTIONS: usize = 2;
const SOURCE: u8 = 10;
const JOIN_CONNECTIONS: u32 = 8;
const JOIN_IN_FLIGHT: u32 = 32;
const OPEN_PATIENCE_S: u64 = 120;
/// Above any rate of freeing: slots alone hold the line.
const ROOM_RATE: f64 = 10_000.0;
/// Turns before those that count.
const WARM_TURNS: u32 = 20;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Streams on each connection
    #[arg(long, default_value_t = 100)]
    streams: u32,
    /// How many have their turn at once
    #[arg(long, default_value_t = 100)]
    active: u32,
    /// Slots that are freed
    #[arg(long, default_value_t = 500)]
    turns: u32,
    /// Slots per second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Names the users
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    report: ReportOptions,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new("From a freed slot to the next one's turn");
    report.fact("seed", seed);
    let connections = u32::try_from(options.target.connections).map_err(BenchError::failed)?;
    let users = connections.checked_mul(options.streams);
    let users = users.ok_or_else(|| BenchError::failed("too many streams"))?;
    report.fact(
        "streams",
        format!("{connections} connections x {}", options.streams),
    );
    let rounds = u32::try_from(options.rounds.max(1)).map_err(BenchError::failed)?;
    let needed = options.active + WARM_TURNS + rounds * options.turns;
    if needed > users {
        return Err(BenchError::Failed(format!(
            "{needed} turns need a longer line than {users}"
        )));
    }
    let mut target = options.target.clone();
    target.connections = OPERATOR_CONNECTIONS;
    target.env.extend(raised(options.streams, users));
    report.fact("settings raised", format!("{:?}", target.env));
    let node = Stage::open(&target, 0, None, PATIENCE).await?;
    if !node.target.callers.is_dev() {
        return Err(BenchError::failed(DEV_ONLY));
    }
    let plan = RoomPlan {
        capacity: options.active,
        rate_per_s: ROOM_RATE,
        claim_window_s: 0,
        pass_ttl_s: 3_600,
        absence_grace_s: None,
    };
    let room = node.make_room(plan, None).await?;
    let mut drivers = Drivers::start(&[node.target.addr], 1, SOURCE)?;
    let name = format!("a{seed:x}");
    let joined = drivers.join(
        room.as_str(),
        &name,
        users,
        JOIN_CONNECTIONS,
        JOIN_IN_FLIGHT,
    );
    let joined = joined.await?;
    let opened = drivers.watch(connections, OPEN_PATIENCE_S).await?;
    for (what, formed) in [("joined", &joined), ("streams opened", &opened)] {
        report.promise(formed.done == formed.wanted, || {
            format!(
                "{} of {} {what}: {:?}",
                formed.done, formed.wanted, formed.failed
            )
        });
    }
    sleep(SETTLE).await;
    drivers
        .free(WARM_TURNS, options.rate, PATIENCE.as_secs())
        .await?;
    let mut redis = Redis::of_environment().await?;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let began = cpu_s(node.target.pid, &mut redis).await?;
        let freed = drivers
            .free(options.turns, options.rate, PATIENCE.as_secs())
            .await?;
        let used = cpu_s(node.target.pid, &mut redis).await? - began;
        all.push((freed, used));
    }
    let tally = drivers.tally().await?;
    for (freed, _) in &all {
        report.promise(freed.untold == 0 && freed.failed.is_empty(), || {
            format!(
                "{} of {} slots brought no turn: {:?}",
                freed.untold, freed.freed, freed.failed
            )
        });
    }
    report.promise(tally.passed_over == 0, || {
        format!("{} who wait were passed over", tally.passed_over)
    });
    report.promise(tally.activated_twice == 0, || {
        format!(
            "{} places were activated more than once",
            tally.activated_twice
        )
    });
    report.promise(tally.broken.is_empty(), || {
        format!("streams ended and nobody said why: {:?}", tally.broken)
    });
    write(&all, &mut report);
    report.finish(&options.report)
}

async fn cpu_s(pid: Option<u32>, redis: &mut Option<Redis>) -> Result<f64, BenchError> {
    let server = pid.and_then(meter::cpu_s).unwrap_or(0.0);
    let redis = match redis {
        Some(redis) => redis.load().await?.cpu_s,
        None => 0.0,
    };
    Ok(server + redis)
}

fn write(rounds: &[(Freed, f64)], report: &mut Report) {
    let columns = [
        "round",
        "turns",
        "p50 ms",
        "p99 ms",
        "max ms",
        "Leave p50 ms",
        "CPU us per turn",
    ];
    let mut table = Table::new("From sending Leave to the next one's activated", columns);
    let mut chart = Chart::lines(
        "From sending Leave to the next one's activated",
        "ms",
        "% of turns",
    );
    for ((freed, cpu_s), nth) in rounds.iter().zip(1_u64..) {
        let Freed {
            told_ms, call_ms, ..
        } = freed;
        table = table.row([
            nth.into(),
            told_ms.count.into(),
            told_ms.part(50).into(),
            told_ms.part(99).into(),
            told_ms.part(100).into(),
            call_ms.part(50).into(),
            per(*cpu_s, freed.freed).into(),
        ]);
        chart = chart.series(&format!("round {nth}"), curve(told_ms));
    }
    report.table(table);
    report.chart(chart);
    report.note(
        "CPU: the server and its Redis over the whole round, idling under the line included.",
    );
}

fn curve(ms: &Quantiles) -> Vec<(f64, f64)> {
    let numbered = ms.at.iter().zip(0_u8..);
    numbered.map(|(ms, part)| (*ms, f64::from(part))).collect()
}
