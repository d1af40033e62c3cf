//! What a join costs Redis, and what it would cost at least: the production
//! script from a bare loop, and INCR + ZADD + HSET, at the same joins per call
//! and the same pace, on a machine that is as busy.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::task::TaskTracker;
use usher::config::Sources;
use usher::domain::ids::{RoomId, RoomRef, UserId};
use usher::domain::place::RoomSwitches;
use usher::domain::policy::RoomPolicy;
use usher::entropy::SystemEntropy;
use usher::metrics::Metrics;
use usher::redis_link::RedisClient;
use usher::store::queue::{LaneInit, Presence, QueueStore as _, RoomInit, Take};
use usher::store::redis::RedisQueue;

use crate::error::BenchError;
use crate::redis_load::{Load, Redis};
use crate::spread::Spread;
use crate::tally::Times;

/// The last deltas of the round before are out.
const SETTLE: Duration = Duration::from_secs(1);

/// One round.
pub struct Floor {
    /// Joins per call of a script.
    batch: usize,
    /// Microseconds of Redis's CPU per join: through a node, by the bare
    /// script, and by three plain commands.
    served_us: f64,
    script_us: f64,
    plain_us: f64,
    /// Of these, inside scripts.
    served_inside_us: f64,
    script_inside_us: f64,
    /// Added by [`RedisQueue::take`] to a call of the bare script when as many
    /// come at once, 99th percentile.
    gather_ms: f64,
}

/// What one round of joins was, and what it asked of Redis.
pub struct Served {
    pub joins: f64,
    pub per_s: f64,
    pub load: Load,
}

/// `busy` keeps the machine as busy as it was while joins were served.
pub async fn measure<F: Future>(
    redis: &mut Redis,
    served: Served,
    round: usize,
    busy: impl Fn() -> F,
) -> Result<Floor, BenchError> {
    let url = std::env::var("USHER_REDIS_URL").map_err(BenchError::failed)?;
    let queue = queue(&url)?;
    tokio::time::sleep(SETTLE).await;
    let room = room(&queue, &format!("floor-{}-{round}", std::process::id())).await?;
    let pace = Pace::of(&served);
    let mut calls = Times::default();
    let bare = async {
        script(&queue, &room, pace, &mut calls).await?;
        Ok(())
    };
    let (script_us, script_inside_us) = per_join(redis, pace, beside(&busy, bare)).await?;
    let mut connection = redis.0.clone();
    let bare = plain(&mut connection, pace, &room);
    let (plain_us, _) = per_join(redis, pace, beside(&busy, bare)).await?;
    let gathered = beside(&busy, gathered(&queue, &room, pace)).await?;
    Ok(Floor {
        batch: pace.batch,
        served_us: served.load.cpu_s * 1e6 / served.joins,
        script_us,
        plain_us,
        served_inside_us: served.load.script_us / served.joins,
        script_inside_us,
        gather_ms: gathered.quantile_ms(0.99) - calls.quantile_ms(0.99),
    })
}

/// Calls of the same size at the same pace: waking up and cold caches cost too.
#[derive(Clone, Copy)]
struct Pace {
    batch: usize,
    calls: usize,
    every: Duration,
}

impl Pace {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a handful of joins per call"
    )]
    fn of(served: &Served) -> Self {
        let batch = (served.joins / served.load.scripts).round().max(1.0);
        Self {
            batch: batch as usize,
            calls: (served.joins / batch) as usize,
            every: Duration::from_secs_f64(batch / served.per_s),
        }
    }

    fn joins(self) -> usize {
        self.batch * self.calls
    }

    fn ticker(self) -> Interval {
        let mut ticker = tokio::time::interval(self.every);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticker
    }
}

async fn beside<F: Future, T>(busy: impl Fn() -> F, run: impl Future<Output = T>) -> T {
    let busy = async {
        loop {
            busy().await;
        }
    };
    tokio::select! {
        done = run => done,
        () = busy => unreachable!("it does not end"),
    }
}

async fn script(
    queue: &RedisQueue,
    room: &RoomRef,
    pace: Pace,
    calls: &mut Times,
) -> Result<(), BenchError> {
    let mut ticker = pace.ticker();
    for call in 0..pace.calls {
        let takes = takes(call * pace.batch, pace.batch)?;
        ticker.tick().await;
        let began = Instant::now();
        let taken = queue.take_together(room, &takes).await;
        calls.add(began.elapsed());
        taken.map_err(BenchError::failed)?;
    }
    Ok(())
}

async fn plain(
    connection: &mut MultiplexedConnection,
    pace: Pace,
    room: &RoomRef,
) -> Result<(), BenchError> {
    let key = |part: &str| format!("plain:{{{}}}:{part}", room.id);
    let (number, line, users) = (key("number"), key("line"), key("users"));
    let mut ticker = pace.ticker();
    for call in 0..pace.calls {
        let mut pipe = redis::pipe();
        for nth in call * pace.batch..(call + 1) * pace.batch {
            let user = name(nth);
            pipe.incr(&number, 1).ignore();
            pipe.zadd(&line, &user, nth).ignore();
            pipe.hset(&users, &user, nth).ignore();
        }
        ticker.tick().await;
        let done: Result<(), _> = pipe.query_async(connection).await;
        done.map_err(BenchError::failed)?;
    }
    Ok(())
}

/// As many callers as a call carries, each with one take after the other.
async fn gathered(queue: &RedisQueue, room: &RoomRef, pace: Pace) -> Result<Times, BenchError> {
    let mut callers = JoinSet::new();
    for caller in 0..pace.batch {
        let (queue, room) = (queue.clone(), room.clone());
        let takes = takes(pace.joins() + caller * pace.calls, pace.calls)?;
        callers.spawn(async move {
            let (mut times, mut ticker) = (Times::default(), pace.ticker());
            for take in takes {
                ticker.tick().await;
                let began = Instant::now();
                queue.take(&room, take).await.map_err(BenchError::failed)?;
                times.add(began.elapsed());
            }
            Ok::<Times, BenchError>(times)
        });
    }
    let mut times = Times::default();
    while let Some(caller) = callers.join_next().await {
        times.merge(&caller.map_err(BenchError::failed)??);
    }
    Ok(times)
}

pub fn show(floors: &[Floor]) {
    if floors.is_empty() {
        return;
    }
    let spread = |read: fn(&Floor) -> f64| Spread::of(floors.iter().map(read));
    let served = spread(|floor| floor.served_us);
    let script = spread(|floor| floor.script_us);
    let plain = spread(|floor| floor.plain_us);
    println!(
        "Redis CPU per join: {served} us served, {script} us by the bare script at {} per call ({:.2} x), {plain} us by INCR + ZADD + HSET (script {:.1} x)",
        floors[floors.len() / 2].batch,
        spread(|floor| floor.served_us / floor.script_us).median,
        spread(|floor| floor.script_us / floor.plain_us).median,
    );
    println!(
        "of these inside scripts: {} us served, {} us by the bare script",
        spread(|floor| floor.served_inside_us),
        spread(|floor| floor.script_inside_us),
    );
    println!(
        "gathering adds {} ms at the 99th percentile",
        spread(|floor| floor.gather_ms)
    );
}

fn queue(url: &str) -> Result<RedisQueue, BenchError> {
    let config = Sources::default().load().map_err(BenchError::failed)?;
    let client = RedisClient::new(url, &config.redis, &Metrics::new());
    let client = client.map_err(|error| BenchError::failed(error.why))?;
    let entropy = Arc::new(SystemEntropy);
    Ok(RedisQueue::new(client, TaskTracker::new(), entropy))
}

async fn room(queue: &RedisQueue, id: &str) -> Result<RoomRef, BenchError> {
    let room = RoomRef {
        id: RoomId::parse(id).map_err(BenchError::failed)?,
        epoch: 1,
    };
    let init = RoomInit {
        version: 1,
        policy: Arc::new(RoomPolicy {
            capacity: 0,
            ..RoomPolicy::default()
        }),
        switches: RoomSwitches {
            opened: true,
            ..RoomSwitches::default()
        },
        lanes: vec![LaneInit {
            reserved_to: 10_000_000,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    queue.init(&room, init).await.map_err(BenchError::failed)?;
    Ok(room)
}

/// As long as those that `join` makes.
fn name(nth: usize) -> String {
    format!("join-{:07}-0-{nth}", std::process::id())
}

fn takes(first: usize, count: usize) -> Result<Vec<Take>, BenchError> {
    let take = |nth| {
        Ok(Take {
            user: UserId::parse(&name(nth)).map_err(BenchError::failed)?,
            presented: None,
            issue_in: Some(0),
            presence: Presence::Call { for_ms: 60_000 },
        })
    };
    (first..first + count).map(take).collect()
}

/// Microseconds of Redis's CPU that the joins of a bare loop took, each; and of
/// these, inside scripts.
async fn per_join(
    redis: &mut Redis,
    pace: Pace,
    run: impl Future<Output = Result<(), BenchError>>,
) -> Result<(f64, f64), BenchError> {
    let before = redis.load().await?;
    run.await?;
    let load = redis.load().await?.since(before);
    #[expect(clippy::cast_precision_loss, reason = "a count of joins")]
    let joins = pace.joins() as f64;
    Ok((load.cpu_s * 1e6 / joins, load.script_us / joins))
}
