//! What waiting costs Redis: nothing, however many wait.
//!
//! Two nodes and one room in which nothing happens, alternately with few and
//! with many open streams. Redis tells by its own counters what it had to do
//! meanwhile.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::BenchError;
use crate::line;
use crate::redis_load::{Load, Redis};
use crate::spread::Spread;
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;

const NODES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);
/// Deltas of the joins are out, and counts are told.
const SETTLE: Duration = Duration::from_secs(5);
/// What few and many may differ by.
const DIFFERENCE_MAX: f64 = 0.05;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// The smaller line
    #[arg(long, default_value_t = 1_000)]
    few: usize,
    /// The longer line
    #[arg(long, default_value_t = 50_000)]
    many: usize,
    /// Length of a round, in seconds
    #[arg(long, default_value_t = 60)]
    duration: u64,
    /// Rounds of each of the two
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A figure of Redis per second.
type Figure = (&'static str, fn(&Load) -> f64);

const FIGURES: [Figure; 5] = [
    ("commands/s", |load| load.commands),
    ("scripts/s", |load| load.scripts),
    ("script us/s", |load| load.script_us),
    ("CPU ms/s", |load| load.cpu_s * 1_000.0),
    ("network bytes/s", |load| load.net_bytes),
];

pub async fn run(options: Options) -> Result<(), BenchError> {
    let mut redis = Redis::needed().await?;
    let each = options.many.max(options.few).div_ceil(NODES);
    let nodes = line::nodes(&options.target, NODES, each, PATIENCE).await?;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 0..options.rounds.max(1) {
        let small = (options.few, &mut few);
        let large = (options.many, &mut many);
        for (waiters, loads) in [small, large] {
            loads.push(wait(&nodes, &mut redis, waiters, round, options.duration).await?);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a round")]
    let seconds = options.duration as f64;
    let mut holds = true;
    for (name, read) in FIGURES {
        let spread = |loads: &[Load]| Spread::of(loads.iter().map(|load| read(load) / seconds));
        let (few, many) = (spread(&few), spread(&many));
        let difference = many.median / few.median - 1.0;
        holds &= difference <= DIFFERENCE_MAX;
        println!(
            "{name:<16} {} waiting: {few}   {} waiting: {many}   {:+.1} %",
            options.few,
            options.many,
            100.0 * difference
        );
    }
    match holds {
        true => Ok(()),
        false => Err(BenchError::failed("the work grows with those who wait")),
    }
}

/// One round: what Redis did while so many waited.
async fn wait(
    nodes: &[Stage],
    redis: &mut Redis,
    waiters: usize,
    round: usize,
    seconds: u64,
) -> Result<Load, BenchError> {
    let plan = RoomPlan {
        capacity: 0,
        rate_per_s: 1.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let room = nodes[0].make_room(plan, None).await?;
    let mut users = Vec::with_capacity(waiters);
    for (node, stage) in nodes.iter().enumerate() {
        users.extend(stage.users_named(&format!("{waiters}-{round}-{node}"), waiters / NODES)?);
    }
    let mut streams = line::form(users, &room, |_user, _place, mut stream| async move {
        // Until the room closes.
        while let Ok(Some(_)) = stream.message().await {}
    })
    .await?;
    sleep(SETTLE).await;
    let before = redis.load().await?;
    sleep(Duration::from_secs(seconds)).await;
    let load = redis.load().await?.since(before);
    if let Some(ended) = streams.try_join_next() {
        ended.map_err(BenchError::failed)?;
        return Err(BenchError::failed("a stream ended while it waited"));
    }
    nodes[0].close_room(&room).await?;
    while streams.join_next().await.is_some() {}
    sleep(SETTLE).await;
    Ok(load)
}
