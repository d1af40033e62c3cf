//! Everyone's stream breaks at once, and everyone comes back.
//!
//! `kill`: SIGKILL of the node that has all streams; they come back to another
//! one. `drain`: SIGTERM of it, which tells everyone when to come back.
//! `restart`: SIGKILL of the only node, which is started again at once on what
//! is left, at the same address. Clients keep to the contract: their token and
//! last cursor, after `reconnect_after` or a full-jitter pause.
//!
//! Judged: everyone is back with the number they had, no position grew within
//! an epoch, and at the end everyone's position is their rank by number.

use std::time::Duration;

use tokio::time::sleep;

use crate::driver::order::{Returned, Tally};
use crate::driver::remote::Drivers;
use crate::error::BenchError;
use crate::line;
use crate::meter;
use crate::report::{Chart, Report, ReportOptions, Table};
use crate::stage::RoomPlan;
use crate::streams::side::{DEV_ONLY, per, raised};
use crate::target::TargetOptions;
use crate::wall::now_us;

const PATIENCE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(5);
const OPERATOR_CONNECTIONS: usize = 2;
const SOURCE: u8 = 10;
const JOIN_CONNECTIONS: u32 = 8;
const JOIN_IN_FLIGHT: u32 = 32;
const OPEN_PATIENCE_S: u64 = 120;

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Loss {
    /// SIGKILL of the node that has all streams, another takes them.
    Kill,
    /// SIGTERM of it.
    Drain,
    /// SIGKILL of the only node, and a start on what is left.
    Restart,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[arg(value_enum)]
    loss: Loss,
    /// Streams on each connection
    #[arg(long, default_value_t = 100)]
    streams: u32,
    /// How long nobody may come back before those away are lost, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Names the users and draws their pauses
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    report: ReportOptions,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new("Everyone comes back");
    report.fact("seed", seed);
    let connections = u32::try_from(options.target.connections).map_err(BenchError::failed)?;
    let users = connections.checked_mul(options.streams);
    let users = users.ok_or_else(|| BenchError::failed("too many streams"))?;
    report.fact(
        "streams",
        format!("{connections} connections x {}", options.streams),
    );
    let mut target = options.target.clone();
    target.connections = OPERATOR_CONNECTIONS;
    target.env.extend(raised(options.streams, users));
    report.fact("settings raised", format!("{:?}", target.env));
    let count = if options.loss == Loss::Restart { 1 } else { 2 };
    let mut nodes = line::nodes(&target, count, 0, PATIENCE).await?;
    if !nodes[0].target.callers.is_dev() {
        return Err(BenchError::failed(DEV_ONLY));
    }
    // Nobody is let in: the line must be the same before and after.
    let plan = RoomPlan {
        capacity: 0,
        rate_per_s: 1.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let room = nodes[0].make_room(plan, None).await?;
    let mut drivers = Drivers::start(&[nodes[0].target.addr], 1, SOURCE)?;
    let name = format!("r{seed:x}");
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

    let refuge = nodes.last().map(|node| (node.target.addr, node.target.pid));
    let (address, pid) = refuge.ok_or_else(|| BenchError::failed("no node"))?;
    let elsewhere = (options.loss != Loss::Restart).then_some(address);
    drivers
        .come_back(elsewhere, connections, options.patience, seed)
        .await?;
    let began = pid.and_then(meter::cpu_s).unwrap_or(0.0);
    let lost_us = now_us();
    let server = nodes[0].target.server.as_mut();
    let server = server.ok_or_else(|| BenchError::failed("a loss needs --spawn"))?;
    let mut new_pid = pid;
    match options.loss {
        Loss::Kill => server.kill().await?,
        Loss::Drain => drop(server.terminate(PATIENCE).await?),
        Loss::Restart => {
            server.kill_and_restart().await?;
            new_pid = server.pid();
        }
    }
    let returned = drivers.returned().await?;
    let used = new_pid.and_then(meter::cpu_s).unwrap_or(0.0);
    let used = if new_pid == pid { used - began } else { used };
    let tally = drivers.tally().await?;
    judge(&returned, &tally, users, &mut report);
    write(&returned, lost_us, per(used, users), &mut report);
    report.finish(&options.report)
}

fn judge(returned: &Returned, tally: &Tally, users: u32, report: &mut Report) {
    report.promise(returned.wanted == users && returned.still_away == 0, || {
        format!("{} of {users} did not come back", returned.still_away)
    });
    report.promise(returned.wrong_number == 0, || {
        format!("{} came back to another number", returned.wrong_number)
    });
    report.promise(returned.out_of_place == 0, || {
        format!("{} are not where their number is", returned.out_of_place)
    });
    report.promise(
        tally.positions_grown == 0 && tally.cursors_back == 0,
        || {
            let (grown, back) = (tally.positions_grown, tally.cursors_back);
            format!("{grown} positions grew within an epoch, {back} cursors went back")
        },
    );
}

fn write(returned: &Returned, lost_us: u64, open_us: f64, report: &mut Report) {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let lost_us = lost_us as f64;
    let after = |part: usize| (returned.at_us.part(part) - lost_us) / 1e6;
    let columns = [
        "",
        "streams",
        "first s",
        "p50 s",
        "p99 s",
        "last s",
        "CPU us each",
    ];
    let table = Table::new("From the loss to the first state on a new stream", columns);
    report.table(table.row([
        "back".into(),
        returned.at_us.count.into(),
        after(0).into(),
        after(50).into(),
        after(99).into(),
        after(100).into(),
        open_us.into(),
    ]));
    let mut table = Table::new("How streams and attempts ended", ["how", "count"]);
    for (how, count) in &returned.failed {
        table = table.row([how.as_str().into(), (*count).into()]);
    }
    report.table(table);
    let numbered = returned.at_us.at.iter().zip(0_u8..);
    let curve = numbered.map(|(at, part)| ((at - lost_us) / 1e6, f64::from(part)));
    report.chart(
        Chart::lines("Who is back by when", "s after the loss", "% of streams")
            .series("back", curve.collect()),
    );
    report.note("CPU: of the server that took everyone back, until the last was there.");
}
