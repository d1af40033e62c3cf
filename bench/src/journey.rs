//! Load shape L5: whole journeys, from joining the line to the paid seat.
//!
//! Join, watch until the turn, claim, performances, seats, hold one or two at
//! random (others while they are taken), money, payment. Closed loop: all users
//! at once, once each. Open loop: arrivals at a fixed rate whatever the server
//! does; an arrival that finds too many under way is dropped and counted. With
//! `--kills` the server dies by SIGKILL in the middle, and the users go on.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::IndexedRandom;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use usher::proto::v1::PaymentState;

use crate::error::BenchError;
use crate::meter;
use crate::session::{Purse, Refused, Session};
use crate::stage::{RoomPlan, SEATS_PER_PERFORMANCE, Sale, Stage};
use crate::target::TargetOptions;
use report::Report;

/// Most seats that a user takes.
const SEATS_PER_USER: u32 = 2;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[arg(long, default_value_t = 300)]
    users: usize,
    /// Arrivals per second; without it all users come at once
    #[arg(long, value_name = "PER_SECOND")]
    open_loop: Option<f64>,
    /// Journeys under way at once; an open loop drops arrivals beyond it
    #[arg(long, default_value_t = 20_000)]
    in_flight_max: usize,
    /// Pause as people do: 3 s on performances, 2 s on seats, 2 s before paying
    #[arg(long)]
    think: bool,
    /// Take this room and its concert instead of making one
    #[arg(long, value_name = "ID")]
    room: Option<String>,
    /// Users active at once in the room that is made
    #[arg(long, default_value_t = 300)]
    capacity: u32,
    /// Activations per second in the room that is made
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// SIGKILLs of the server, spread over the run
    #[arg(long, default_value_t = 0, requires = "spawn")]
    kills: usize,
    /// Write what every user saw, and judge it as `usher check` does
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How long a user repeats what failed, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
    #[arg(long)]
    json: bool,
}

/// How one user's journey went.
struct Outcome {
    activated: bool,
    finished: Result<(), Refused>,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let streams = options.users.min(options.in_flight_max);
    let patience = Duration::from_secs(options.patience);
    let history = options.history.clone();
    let mut stage = Stage::open(&options.target, streams, history, patience).await?;
    let sale = match &options.room {
        Some(room) => stage.take_room(room).await?,
        None => {
            stage
                .make_sale(plan(&options), performances(options.users))
                .await?
        }
    };
    let users = stage.users(options.users)?;
    stage.begin();
    let cpu = |pid: Option<u32>| pid.and_then(meter::cpu_s);
    let (began, cpu_before) = (Instant::now(), cpu(stage.target.pid));
    let mut report = drive(&options, &mut stage, &sale, users).await?;
    report.elapsed = began.elapsed();
    // Of a server that was killed only the last life is known.
    if options.kills == 0 {
        let cpu_after = cpu(stage.target.pid);
        report.server_cpu_s = cpu_after
            .zip(cpu_before)
            .map(|(after, before)| after - before);
    }
    report.mode = options.target.mode();
    report.tally = stage.ground.tally.json();
    let tally = stage.ground.tally.text();
    let errors = stage.ground.tally.errors();
    let refused = stage
        .ground
        .tally
        .refusals_but("HoldSeats SEAT_UNAVAILABLE");
    (report.findings, report.is_clean) = stage.judge().await?;
    match options.json {
        true => println!("{}", report.json()),
        false => print!("{}{tally}{}", report.text(), report.findings),
    }
    let calm = options.kills > 0 || (errors == 0 && refused == 0);
    match report.finished + report.dropped == options.users && calm && report.is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("not every journey went as it should")),
    }
}

fn plan(options: &Options) -> RoomPlan {
    RoomPlan {
        capacity: options.capacity,
        rate_per_s: options.rate,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    }
}

/// Enough for all, with a fifth to spare.
pub fn performances(users: usize) -> u32 {
    let users = u32::try_from(users).unwrap_or(u32::MAX);
    let seats = users.saturating_mul(SEATS_PER_USER) / 5 * 6;
    seats.div_ceil(SEATS_PER_PERFORMANCE).clamp(1, 100)
}

/// Sends the users on their way, and waits for the last.
async fn drive(
    options: &Options,
    stage: &mut Stage,
    sale: &Sale,
    users: Vec<Session>,
) -> Result<Report, BenchError> {
    let total = users.len();
    let purse = match stage.target.callers.is_dev() {
        true => Purse::Sandbox,
        false => Purse::Operator(Arc::clone(&stage.operator)),
    };
    let start = Instant::now();
    let due = |nth: usize| match options.open_loop {
        #[expect(clippy::cast_precision_loss, reason = "a count of users")]
        Some(rate) => start + Duration::from_secs_f64(nth as f64 / rate),
        None => start,
    };
    let mut kills = (1..=options.kills).map(|nth| total * nth / (options.kills + 1));
    let mut kill_at = kills.next();
    let mut waiting = users.into_iter().enumerate().peekable();
    let mut under_way = JoinSet::new();
    let mut report = Report::default();
    loop {
        let next = waiting.peek().map(|(nth, _)| due(*nth));
        tokio::select! {
            biased;
            () = sleep_until(next.unwrap_or(start)), if next.is_some() => {
                let Some((nth, user)) = waiting.next() else { continue };
                if under_way.len() >= options.in_flight_max {
                    report.dropped += 1;
                    continue;
                }
                let (sale, purse, think) = (sale.clone(), purse.clone(), options.think);
                let due = due(nth);
                under_way.spawn(async move {
                    let outcome = journey(&user, &sale, &purse, think).await;
                    // From when the user should have come: a server that is
                    // late with one makes the next ones wait too.
                    user.ground.tally.time("whole journey", due.elapsed());
                    outcome
                });
            }
            Some(done) = under_way.join_next() => {
                report.add(done.map_err(BenchError::failed)?);
            }
            else => break,
        }
        if kill_at.is_some_and(|at| report.finished >= at)
            && let Some(server) = &mut stage.target.server
        {
            server.kill_and_restart().await?;
            report.kills += 1;
            kill_at = kills.next();
        }
    }
    report.users = total;
    Ok(report)
}

async fn journey(user: &Session, sale: &Sale, purse: &Purse, think: bool) -> Outcome {
    let began = Instant::now();
    match user.admit(&sale.room).await {
        Ok((turn, pass)) => {
            user.ground.tally.time("join to pass", began.elapsed());
            let pause =
                |seconds: u32| sleep(Duration::from_secs(if think { seconds.into() } else { 0 }));
            let finished = buy(user, sale, purse, pause, &turn.activation_id, &pass).await;
            Outcome {
                activated: true,
                finished,
            }
        }
        Err(refused) => Outcome {
            activated: false,
            finished: Err(refused),
        },
    }
}

/// From the dates to the paid seat; `pause` is asked for so many seconds.
pub async fn buy<F: Future<Output = ()>>(
    user: &Session,
    sale: &Sale,
    purse: &Purse,
    pause: impl Fn(u32) -> F,
    turn_id: &str,
    pass: &str,
) -> Result<(), Refused> {
    let open: Vec<String> = user
        .performances(&sale.concert_id)
        .await?
        .into_iter()
        .filter(|performance| !performance.sold_out)
        .map(|performance| performance.id)
        .collect();
    pause(3).await;
    let Some(performance_id) = open.choose(&mut rand::rng()) else {
        return Err(refused("ListPerformances", "NOTHING_TO_SELL"));
    };
    let reservation = user.hold_any(performance_id, turn_id, pass).await?;
    pause(2).await;
    let total = reservation.total.unwrap_or_default();
    user.fill_wallet(total, purse).await?;
    pause(2).await;
    let payment = user.pay(&reservation.id).await?;
    match payment.state() {
        PaymentState::Succeeded => Ok(()),
        other => Err(refused("PayReservation", other.as_str_name())),
    }
}

fn refused(rpc: &'static str, reason: &str) -> Refused {
    Refused {
        rpc,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::performances;

    #[test]
    fn there_are_seats_for_everyone() {
        for users in [1, 300, 2_000, 10_000] {
            let seats = performances(users) as usize * 1_000;
            assert!(seats >= users * 2, "{users}");
        }
    }
}
