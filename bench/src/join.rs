//! Joins per second over a few connections, beside a bare health server.
//!
//! Rounds of the two alternate in one run, each against a process of its own
//! over connections of its own, so that a noisy neighbour meets both. Every
//! round has a room of its own, and every join is a user's first there; tokens
//! of JWT mode are made before the clock runs.
//!
//! A round that is longer than a few seconds counts the absence of those who
//! joined and opened no stream. With `USHER_REDIS_URL` each round also says what a join costs Redis, beside
//! two bare loops at the same number of joins per call ([`floor`]).

mod floor;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use usher::proto::v1::JoinRequest;
use usher::proto::v1::queue_service_client::QueueServiceClient;

use floor::Served;

use crate::caller::{Caller, Callers};
use crate::error::BenchError;
use crate::meter;
use crate::pool;
use crate::redis_load::{Load, Redis};
use crate::spawn;
use crate::spread::Spread;
use crate::stage::{RoomPlan, Stage};
use crate::tally::Times;
use crate::target::TargetOptions;

/// Users are made ahead: more than a server takes in a second.
const USERS_PER_S: usize = 30_000;
/// A user's token costs a signature to make, and the server one to verify.
const JWT_USERS_PER_S: usize = 12_000;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Length of a round, in seconds
    #[arg(long, default_value_t = 10)]
    duration: u64,
    /// Rounds of each of the two
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The same users in every round, each in a room of its own, after one that
    /// is not counted: the server has seen their tokens
    #[arg(long)]
    returning: bool,
    /// Calls under way at once on each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
}

/// What one round came to.
struct Round {
    calls: f64,
    per_s: f64,
    p95_ms: f64,
    failed: u64,
    /// The server's CPU microseconds per call.
    cpu_us: Option<f64>,
    /// This program's.
    driver_us: Option<f64>,
}

/// The calls of one side.
struct Side {
    channels: Vec<Channel>,
    pid: Option<u32>,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(5);
    let stage = Stage::open(&options.target, 0, None, patience).await?;
    // Nobody is let in: joining alone is measured.
    let plan = RoomPlan {
        capacity: 0,
        rate_per_s: 1.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let mut bare = Command::new(std::env::current_exe()?);
    bare.arg("bare-health").kill_on_drop(true);
    let (bare, bare_addr) = spawn::ready(&mut bare).await.map_err(BenchError::failed)?;
    let ours = side(stage.target.addr, stage.target.pid, &options).await?;
    let theirs = side(bare_addr, bare.id(), &options).await?;

    let (mut joins, mut checks) = (Vec::new(), Vec::new());
    let mut redis = Redis::of_environment().await?;
    let mut floors = Vec::new();
    let mut known = None;
    let uncounted = usize::from(options.returning);
    for round in 0..options.rounds.max(1) + uncounted {
        let users = match known.take() {
            Some(users) => users,
            None => Arc::new(make_users(&stage.target.callers, &options, round)?),
        };
        if options.returning {
            known = Some(Arc::clone(&users));
        }
        let room = stage.make_room(plan, None).await?;
        let room_id = room.as_str().to_owned();
        let join = move |channel, nth: usize| {
            let user = users.get(nth).map(|user| {
                let message = JoinRequest {
                    room_id: room_id.clone(),
                    ..Default::default()
                };
                user.request(message, None)
            });
            async move {
                let request = user?;
                let mut client = QueueServiceClient::new(channel);
                Some(client.join(request).await.map(drop))
            }
        };
        let before = redis_load(&mut redis).await?;
        let joined = measure(&ours, &options, join).await?;
        let after = redis_load(&mut redis).await?;
        // Who joined and did not come back becomes absent in a few seconds:
        // that is no part of joining.
        stage.close_room(&room).await?;
        if round < uncounted {
            continue;
        }
        let served = Served {
            joins: joined.calls,
            per_s: joined.per_s,
            load: after.since(before),
        };
        joins.push(joined);
        let check = |channel, _| async move {
            let request = Request::new(HealthCheckRequest::default());
            Some(HealthClient::new(channel).check(request).await.map(drop))
        };
        checks.push(measure(&theirs, &options, check).await?);
        if let Some(redis) = &mut redis {
            let busy = || measure(&theirs, &options, check);
            floors.push(floor::measure(redis, served, round, busy).await?);
        }
    }
    let ours = show("Join", &joins);
    let theirs = show("bare health Check", &checks);
    println!(
        "{} mode, {} connections x {}: Join runs at {:.0} % of the bare server's rate",
        options.target.mode(),
        options.target.connections,
        options.in_flight,
        100.0 * ours / theirs
    );
    floor::show(&floors);
    match joins.iter().chain(&checks).all(|round| round.failed == 0) {
        true => Ok(()),
        false => Err(BenchError::failed("some calls failed")),
    }
}

/// Zero without a Redis.
async fn redis_load(redis: &mut Option<Redis>) -> Result<Load, BenchError> {
    match redis {
        Some(redis) => redis.load().await,
        None => Ok(Load::default()),
    }
}

async fn side(addr: SocketAddr, pid: Option<u32>, options: &Options) -> Result<Side, BenchError> {
    let channels = pool::connect(addr, options.target.connections.max(1)).await?;
    Ok(Side { channels, pid })
}

fn make_users(
    callers: &Callers,
    options: &Options,
    round: usize,
) -> Result<Vec<Caller>, BenchError> {
    let per_s = match callers.is_dev() {
        true => USERS_PER_S,
        false => JWT_USERS_PER_S,
    };
    let count = per_s * usize::try_from(options.duration).map_err(BenchError::failed)?;
    let run = std::process::id();
    // An RSA signature takes half a millisecond.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let its = (part..count).step_by(threads);
                let named = move |nth| callers.user(&format!("join-{run}-{round}-{nth}"));
                scope.spawn(move || its.map(named).collect::<Result<Vec<Caller>, BenchError>>())
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for part in parts {
            all.extend(part.join().expect("signing does not panic")?);
        }
        Ok(all)
    })
}

/// Calls until the time is over, or until `call` has nothing more to send.
async fn measure<C, F>(side: &Side, options: &Options, call: C) -> Result<Round, BenchError>
where
    C: Fn(Channel, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Option<Result<(), Status>>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let cpu = || {
        (
            side.pid.and_then(meter::cpu_s),
            meter::cpu_s(std::process::id()),
        )
    };
    let cpu_before = cpu();
    let began = Instant::now();
    let until = began + Duration::from_secs(options.duration);
    let mut workers = JoinSet::new();
    for channel in &side.channels {
        for _ in 0..options.in_flight.max(1) {
            let (channel, next, call) = (channel.clone(), Arc::clone(&next), call.clone());
            workers.spawn(async move {
                let (mut times, mut failed) = (Times::default(), 0_u64);
                while Instant::now() < until {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    match call(channel.clone(), nth).await {
                        None => break,
                        Some(Ok(())) => times.add(began.elapsed()),
                        Some(Err(_)) => failed += 1,
                    }
                }
                (times, failed)
            });
        }
    }
    let (mut times, mut failed) = (Times::default(), 0);
    while let Some(done) = workers.join_next().await {
        let (its_times, its_failed) = done.map_err(BenchError::failed)?;
        times.merge(&its_times);
        failed += its_failed;
    }
    let elapsed_s = began.elapsed().as_secs_f64();
    let cpu_after = cpu();
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let calls = times.count().max(1) as f64;
    let each = |before: Option<f64>, after: Option<f64>| Some((after? - before?) * 1e6 / calls);
    Ok(Round {
        calls,
        per_s: calls / elapsed_s,
        p95_ms: times.quantile_ms(0.95),
        failed,
        cpu_us: each(cpu_before.0, cpu_after.0),
        driver_us: each(cpu_before.1, cpu_after.1),
    })
}

/// A figure of a round, where it is known.
type Read = fn(&Round) -> Option<f64>;

/// Prints the median and the spread; answers the median rate.
fn show(what: &str, rounds: &[Round]) -> f64 {
    let rate = Spread::of(rounds.iter().map(|round| round.per_s));
    let p95 = Spread::of(rounds.iter().map(|round| round.p95_ms));
    let failed: u64 = rounds.iter().map(|round| round.failed).sum();
    print!(
        "{what:<18} {:>8.0}/s ({:.0} to {:.0}), p95 {:.2} ms ({:.2} to {:.2}), {failed} failed",
        rate.median, rate.low, rate.high, p95.median, p95.low, p95.high
    );
    let parts: [(&str, Read); 2] = [
        ("server", |round| round.cpu_us),
        ("driver", |round| round.driver_us),
    ];
    for (who, read) in parts {
        let cpu: Vec<f64> = rounds.iter().filter_map(read).collect();
        if !cpu.is_empty() {
            print!(", {who} CPU {:.1} us each", Spread::of(cpu).median);
        }
    }
    println!();
    rate.median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_end_when_there_is_nothing_more_to_send() {
        let endpoint = tonic::transport::Endpoint::from_static("http://127.0.0.1:1");
        let side = Side {
            channels: vec![endpoint.connect_lazy()],
            pid: None,
        };
        let options = clap_options();
        let call = |_, nth: usize| async move { (nth < 7).then_some(Ok(())) };
        let round = measure(&side, &options, call).await.expect("measured");
        assert_eq!(round.failed, 0);
        assert!(round.per_s > 0.0);
    }

    fn clap_options() -> Options {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let line = ["join", "--target", "127.0.0.1:1", "--in-flight", "2"];
        <Line as clap::Parser>::parse_from(line).options
    }
}
