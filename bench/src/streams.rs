//! What open streams cost, idle and under updates, beside the floor of the
//! machine.
//!
//! Everyone joins one room and holds a stream open; drivers are processes of
//! their own ([`crate::driver`]). Then, in rounds that alternate with those of
//! the [floor server](crate::floor_server): an operator's message to everyone,
//! again and again, each waited for until every stream has it. With
//! `--activate` the room then lets everyone in at a rate: every stream is told
//! its turn and, since nobody claims, its end.
//!
//! Judged: every stream opens, stays, and gets each broadcast once; cursors do
//! not go back, positions do not grow; each place has one activation and one
//! end. All else is printed.

mod account;
mod rounds;
pub mod side;

use std::time::Duration;

use tokio::time::sleep;

use crate::error::BenchError;
use crate::report::{Report, ReportOptions};
use crate::target::TargetOptions;

use account::Account;
use side::{Idle, Side};

/// The deltas of joins and presence are out.
const SETTLE: Duration = Duration::from_secs(3);
const WARM_USERS: u32 = 1_000;
const WARM_BROADCASTS: u32 = 3;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub target: TargetOptions,
    /// Streams on each connection
    #[arg(long, default_value_t = 100)]
    pub streams: u32,
    /// Server processes (more than one share USHER_REDIS_URL and
    /// USHER_DATABASE_URL), each with a driver of its own; one process has at
    /// most as many sockets as it may open files
    #[arg(long, default_value_t = 1)]
    pub processes: usize,
    /// The floor server in turn with ours
    #[arg(long)]
    pub floor: bool,
    /// Seconds of idling that are measured, once all streams are open
    #[arg(long, default_value_t = 10)]
    pub idle: u64,
    /// Messages to everyone in each round
    #[arg(long, default_value_t = 20)]
    pub broadcasts: u32,
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// At the end let everyone in, so many per second
    #[arg(long, value_name = "RATE")]
    pub activate: Option<f64>,
    /// Seconds in which a turn could be claimed; nobody does
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i64).range(1..))]
    pub claim_window: i64,
    /// Names the users, and thereby the order in which they are hashed
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long opening, and each broadcast, may take, and how long no stream
    /// may end while turns come, in seconds
    #[arg(long, default_value_t = 120)]
    pub patience: u64,
    #[command(flatten)]
    pub report: ReportOptions,
}

impl Options {
    fn connections(&self) -> Result<u32, BenchError> {
        u32::try_from(self.target.connections).map_err(BenchError::failed)
    }

    fn users(&self) -> Result<u32, BenchError> {
        let users = self.connections()?.checked_mul(self.streams);
        users.ok_or_else(|| BenchError::failed("too many streams"))
    }
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut report = Report::new("Open streams");
    let (connections, users) = (options.connections()?, options.users()?);
    report.fact("seed", seed);
    report.fact(
        "streams",
        format!("{connections} connections x {} = {users}", options.streams),
    );
    let mut ours = Side::ours(&options, &mut report).await?;
    let mut floor = match options.floor {
        true => Some(Side::floor(&options).await?),
        false => None,
    };
    let mut account = Account::default();
    for side in [Some(&mut ours), floor.as_mut()].into_iter().flatten() {
        side.warm_up(&options, seed).await?;
        let idle = open(side, &options, seed, &mut report).await?;
        account.idle.push((side.name, idle));
    }
    for round in 0..options.rounds.max(1) {
        eprintln!("round {}", round + 1);
        account.ours.push(ours.round(&options).await?);
        if let Some(floor) = &mut floor {
            account.floor.push(floor.round(&options).await?);
        }
    }
    if let Some(rate) = options.activate {
        let turns = rounds::activate(&mut ours, &options, rate).await?;
        account.turns = Some(turns);
    }
    let tally = ours.drivers.tally().await?;
    account.judge(&tally, users, &mut report);
    account.write(&tally, &options, &mut report)?;
    report.finish(&options.report)
}

/// Opens all streams of a side, and measures them while nothing happens.
async fn open(
    side: &mut Side,
    options: &Options,
    seed: u64,
    report: &mut Report,
) -> Result<Idle, BenchError> {
    let (connections, users) = (options.connections()?, options.users()?);
    let before = side.memory();
    let mut idle = Idle::default();
    if let Some(joined) = side.join(&format!("s{seed:x}"), users).await? {
        eprintln!(
            "{}: {} joined, {:.1} s",
            side.name, joined.done, joined.elapsed_s
        );
        report.promise(joined.done == joined.wanted, || {
            format!(
                "{} of {} joined: {:?}",
                joined.done, joined.wanted, joined.failed
            )
        });
        idle.joins = Some(joined);
    }
    sleep(SETTLE).await;
    let joined = side.memory();
    let began = side.cpu_s().await?;
    let opened = side.drivers.watch(connections, options.patience).await?;
    eprintln!(
        "{}: {} streams, {:.1} s",
        side.name, opened.done, opened.elapsed_s
    );
    report.promise(opened.done == opened.wanted, || {
        let name = side.name;
        format!(
            "{name}: {} of {} streams opened: {:?}",
            opened.done, opened.wanted, opened.failed
        )
    });
    let settled = side.cpu_s().await?;
    idle.open_cpu_us = side::per(settled - began, opened.done);
    idle.opened = opened;
    sleep(SETTLE).await;
    let began = side.cpu_s().await?;
    sleep(Duration::from_secs(options.idle.max(1))).await;
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let seconds = options.idle.max(1) as f64;
    idle.cpu_percent = (side.cpu_s().await? - began) * 100.0 / seconds;
    idle.measure(before, joined, side.memory(), users, connections);
    Ok(idle)
}
