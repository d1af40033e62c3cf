//! One seat that everyone wants: all hold it at the same moment, with a pass
//! each. Exactly one may win; all others are told that it is taken.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::error::BenchError;
use crate::session::{Refused, Session};
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;

const TAKEN: &str = "SEAT_UNAVAILABLE";

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[arg(long, default_value_t = 1_000)]
    concurrency: usize,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(30);
    let stage = Stage::open(&options.target, options.concurrency, None, patience).await?;
    let plan = RoomPlan {
        capacity: u32::try_from(options.concurrency).map_err(BenchError::failed)?,
        rate_per_s: 10_000.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let sale = stage.make_sale(plan, 1).await?;
    let mut door = JoinSet::new();
    for user in stage.users(options.concurrency)? {
        let room = sale.room.clone();
        door.spawn(async move {
            let admitted = user.admit(&room).await;
            admitted.map(|(turn, pass)| (user, turn.activation_id, pass))
        });
    }
    let mut inside = Vec::with_capacity(options.concurrency);
    while let Some(done) = door.join_next().await {
        inside.push(done.map_err(BenchError::failed)?.map_err(not_admitted)?);
    }
    let Some((first, _, pass)) = inside.first() else {
        return Err(BenchError::failed("nobody wants the seat"));
    };
    let listed = first.performances(&sale.concert_id).await;
    let performance_id = listed.map_err(not_admitted)?.remove(0).id;
    let seats = first.free_seats(&performance_id, pass).await;
    let seat_id = seats.map_err(not_admitted)?.remove(0);

    stage.begin();
    let began = Instant::now();
    let (won, taken) = rush(inside, &performance_id, &seat_id).await?;
    let elapsed = began.elapsed();
    println!(
        "{} mode: {} holds of one seat: {won} won, {taken} {TAKEN}, {:.0} ms in all",
        options.target.mode(),
        options.concurrency,
        elapsed.as_secs_f64() * 1_000.0
    );
    print!("{}", stage.ground.tally.text());
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match won == 1 && taken + won == options.concurrency && is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("one seat, one winner: not so here")),
    }
}

async fn rush(
    inside: Vec<(Session, String, String)>,
    performance_id: &str,
    seat_id: &str,
) -> Result<(usize, usize), BenchError> {
    let mut rush = JoinSet::new();
    for (user, turn_id, pass) in inside {
        let (performance_id, seats) = (performance_id.to_owned(), vec![seat_id.to_owned()]);
        rush.spawn(async move { user.hold(&performance_id, seats, &turn_id, &pass).await });
    }
    let (mut won, mut taken) = (0, 0);
    while let Some(done) = rush.join_next().await {
        match done.map_err(BenchError::failed)? {
            Ok(_) => won += 1,
            Err(refused) if refused.reason == TAKEN => taken += 1,
            Err(refused) => eprintln!("neither: {} {}", refused.rpc, refused.reason),
        }
    }
    Ok((won, taken))
}

fn not_admitted(refused: Refused) -> BenchError {
    BenchError::Failed(format!(
        "before the rush: {} {}",
        refused.rpc, refused.reason
    ))
}
