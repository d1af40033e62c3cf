//! A crowd at the door: everyone joins and watches at once, few are active at
//! a time, and each leaves as soon as it has its pass.
//!
//! Judged: all are activated, without an error, in the order of their numbers.
//! The order is read from `claim_by`, the activation's own time plus the claim
//! window, so that the way of a message to its client does not matter.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use usher::domain::ids::RoomId;

use crate::error::BenchError;
use crate::meter;
use crate::session::{Refused, Session};
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;
use crate::trace::now_ms;

const CLAIM_WINDOW_S: u32 = 60;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[arg(long, default_value_t = 10_000)]
    users: usize,
    /// Active at once
    #[arg(long, default_value_t = 1_000)]
    capacity: u32,
    /// Activations per second
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Write what every user saw, and judge it as `usher check` does
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How long a user repeats what failed, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// A number and when it had its turn.
#[derive(Clone, Copy)]
struct Served {
    number: u64,
    claim_by_ms: u64,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(options.patience);
    let stage = Stage::open(&options.target, options.users, options.history, patience).await?;
    let plan = RoomPlan {
        capacity: options.capacity,
        rate_per_s: options.rate,
        claim_window_s: CLAIM_WINDOW_S.into(),
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let room = stage.make_room(plan, None).await?;
    let users = stage.users(options.users)?;
    stage.begin();
    let cpu_before = stage.target.pid.and_then(meter::cpu_s);
    let began = Instant::now();
    let mut crowd = JoinSet::new();
    for user in users {
        let room = room.clone();
        crowd.spawn(async move { pass_through(&user, &room).await });
    }
    let (mut served, mut ended_early) = (Vec::with_capacity(options.users), 0);
    while let Some(done) = crowd.join_next().await {
        match done.map_err(BenchError::failed)? {
            Ok(one) => served.push(one),
            Err(refused) => {
                ended_early += 1;
                eprintln!("ended early: {} {}", refused.rpc, refused.reason);
            }
        }
    }
    let elapsed_s = began.elapsed().as_secs_f64();
    let cpu_after = stage.target.pid.and_then(meter::cpu_s);
    let out_of_order = out_of_order(&mut served);
    let (mode, activated) = (options.target.mode(), served.len());
    println!(
        "{mode} mode: {} users, capacity {}, {} per second: {activated} activated, \
         {ended_early} ended early, {out_of_order} out of order, {elapsed_s:.2} s",
        options.users, options.capacity, options.rate
    );
    if let Some((after, before)) = cpu_after.zip(cpu_before) {
        println!("server CPU {:.2} s", after - before);
    }
    print!("{}", stage.ground.tally.text());
    let errors = stage.ground.tally.errors();
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match activated == options.users && out_of_order == 0 && errors == 0 && is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("the crowd was not served as it should")),
    }
}

async fn pass_through(user: &Session, room: &RoomId) -> Result<Served, Refused> {
    let mut place = user.join(room).await?;
    let turn = user.wait_for_turn(&mut place).await?;
    let activated_ms = turn
        .claim_by_ms
        .saturating_sub(u64::from(CLAIM_WINDOW_S) * 1_000);
    let told = Duration::from_millis(now_ms().saturating_sub(activated_ms));
    user.ground.tally.time("activation to receipt", told);
    user.claim(&place, &turn).await?;
    user.leave(&place).await?;
    Ok(Served {
        number: place.key.number,
        claim_by_ms: turn.claim_by_ms,
    })
}

/// Numbers that had their turn before a smaller one.
fn out_of_order(served: &mut [Served]) -> usize {
    served.sort_by_key(|one| one.number);
    let steps = served.windows(2);
    steps
        .filter(|pair| pair[1].claim_by_ms < pair[0].claim_by_ms)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_served_early_is_seen() {
        let at = |(number, claim_by_ms)| Served {
            number,
            claim_by_ms,
        };
        let mut fair: Vec<Served> = [(2, 100), (1, 100), (3, 101)].map(at).into();
        assert_eq!(out_of_order(&mut fair), 0);
        let mut unfair: Vec<Served> = [(1, 100), (2, 102), (3, 101)].map(at).into();
        assert_eq!(out_of_order(&mut unfair), 1);
    }
}
