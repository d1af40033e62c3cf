//! From one user's end to the next one's turn: a room of one slot, a long line
//! of open streams, and each who has the turn claims it and leaves at once.
//!
//! Timed from sending `Leave` to the receipt of `activated` by the next in
//! line, whose stream may be on another node: the freed slot, the pick, the row
//! in SQL, the delta, the stream. Users alternate between the nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use usher::domain::ids::RoomId;

use crate::error::BenchError;
use crate::session::{Place, Refused, Session};
use crate::stage::{RoomPlan, Stage};
use crate::tally::Times;
use crate::target::TargetOptions;

const PATIENCE: Duration = Duration::from_secs(60);
/// Joins under way at once while the line forms.
const JOINS_AT_ONCE: usize = 200;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Start two servers instead of one; they share `USHER_DATABASE_URL` and
    /// `USHER_REDIS_URL`
    #[arg(long, requires = "spawn")]
    two: bool,
    /// In line, each with an open stream
    #[arg(long, default_value_t = 10_000)]
    users: usize,
    /// Turns that are timed
    #[arg(long, default_value_t = 1_000)]
    turns: usize,
}

/// What one turn saw.
struct Turn {
    received: Instant,
    left: Instant,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let streams = options.users;
    let first = Stage::open(&options.target, streams, None, PATIENCE).await?;
    let second = match options.two {
        true => Some(Stage::open(&options.target, streams, None, PATIENCE).await?),
        false => None,
    };
    let plan = RoomPlan {
        capacity: 1,
        rate_per_s: 10_000.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let room = first.make_room(plan, None).await?;
    let stages: Vec<&Stage> = [Some(&first), second.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let times = chain(&options, &stages, &room).await?;
    println!(
        "{} mode, {} node{}, {} in line: {} turns, from Leave to the next one's activated: p50 {:.1} ms, p95 {:.1}, p99 {:.1}, max {:.1}",
        options.target.mode(),
        stages.len(),
        if options.two { "s" } else { "" },
        options.users,
        times.count(),
        times.quantile_ms(0.5),
        times.quantile_ms(0.95),
        times.quantile_ms(0.99),
        times.quantile_ms(1.0),
    );
    let mut is_clean = times.count() > 0;
    for stage in [Some(first), second].into_iter().flatten() {
        let (findings, holds) = stage.judge().await?;
        print!("{findings}");
        is_clean &= holds;
    }
    match is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("the line did not move as it should")),
    }
}

async fn chain(options: &Options, stages: &[&Stage], room: &RoomId) -> Result<Times, BenchError> {
    let (told, mut turns) = mpsc::channel(options.users.max(1));
    let joins = Arc::new(Semaphore::new(JOINS_AT_ONCE));
    // Opened once everyone is in line: until then the first keeps the slot.
    let begun = Arc::new(Semaphore::new(0));
    let (in_line, mut joined) = mpsc::channel(options.users.max(1));
    let mut crowd = JoinSet::new();
    let each = options.users.div_ceil(stages.len());
    for (node, stage) in stages.iter().enumerate() {
        for user in stage.users_named(&format!("node{node}"), each)? {
            let (room, told, in_line) = (room.clone(), told.clone(), in_line.clone());
            let (joins, begun) = (Arc::clone(&joins), Arc::clone(&begun));
            crowd.spawn(async move {
                let permit = joins.acquire().await;
                let place = user.join(&room).await?;
                drop(permit);
                // Nobody hears of it once the turns are enough.
                let _ = in_line.send(()).await;
                let turn = take_turn(&user, place, &begun).await?;
                let _ = told.send(turn).await;
                Ok::<(), Refused>(())
            });
        }
    }
    drop((told, in_line));
    for _ in 0..each * stages.len() {
        joined.recv().await;
    }
    // The last streams open while the clients catch their breath.
    tokio::time::sleep(Duration::from_secs(3)).await;
    begun.add_permits(Semaphore::MAX_PERMITS);
    let mut times = Times::default();
    let mut before: Option<Turn> = None;
    for _ in 0..=options.turns.min(options.users - 1) {
        let turn = tokio::time::timeout(PATIENCE, turns.recv()).await;
        let Ok(Some(turn)) = turn else {
            return Err(BenchError::failed("the line stands still"));
        };
        if let Some(before) = before {
            times.add(turn.received.duration_since(before.left));
        }
        before = Some(turn);
    }
    crowd.abort_all();
    Ok(times)
}

async fn take_turn(user: &Session, mut place: Place, begun: &Semaphore) -> Result<Turn, Refused> {
    let turn = user.wait_for_turn(&mut place).await?;
    let received = Instant::now();
    user.claim(&place, &turn).await?;
    let permit = begun.acquire().await;
    drop(permit);
    let left = Instant::now();
    user.leave(&place).await?;
    Ok(Turn { received, left })
}
