//! The collapse of load shape L12 (a token, a sleep, then the same list five
//! times, a second apart), made on purpose; `shape L12` is the shape as written.
//!
//! The room's rate is far above what the sale carries, since its database is far
//! away (a proxy delays each trip) and few connections read it. Twice in one run,
//! with rates as configured and with rates that are steered by the sale's latency;
//! the line is looked at each second. Closed inside a user, open between users:
//! arrivals do not wait for anyone.

mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::truth::proxy::{Link, Proxy};

use crate::error::BenchError;
use crate::session::{Refused, Session};
use crate::stage::{RoomPlan, Sale, Stage};
use crate::target::TargetOptions;
use report::{LineLog, Report};

/// What the users list: the source's "dates".
pub const LIST: &str = "ListPerformances";
const LISTS: u32 = 5;
const BETWEEN_LISTS: Duration = Duration::from_secs(1);
const DATABASE_URL: &str = "USHER_DATABASE_URL";

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Users who come to the collapse, and how many of them in a second
    #[arg(long, default_value_t = 600)]
    rush_users: usize,
    #[arg(long, default_value_t = 30.0)]
    rush_per_second: f64,
    #[arg(long, default_value_t = 4)]
    rush_sleep: u64,
    /// Activations per second that the collapsing room is configured for
    #[arg(long, default_value_t = 2_000.0)]
    rush_rate: f64,
    /// Delay of each trip to the database and of each back, in milliseconds
    #[arg(long, default_value_t = 5)]
    trip_ms: u64,
    /// Connections that read
    #[arg(long, default_value_t = 2)]
    readers: u32,
    /// A unit of work that waits longer for one is refused; the source's 30 s
    #[arg(long, default_value_t = 30_000)]
    acquire_timeout_ms: u64,
    /// steering.sale_latency_target_ms of the second half
    #[arg(long, default_value_t = 250)]
    target_ms: u64,
    /// steering.settle_ms of it
    #[arg(long, default_value_t = 5_000)]
    settle_ms: u64,
    /// How long a user repeats what failed, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// Who comes, and how.
#[derive(Clone, Copy)]
struct Shape {
    users: usize,
    per_second: f64,
    sleep: Duration,
    room_rate: f64,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let mut is_clean = true;
    let database = Database::of_environment().await?;
    for target_ms in [0, options.target_ms] {
        is_clean &= collapse(&options, &database, target_ms).await?;
    }
    match is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("not every journey went as it should")),
    }
}

/// `target_ms` of 0: rates stay as configured.
async fn collapse(
    options: &Options,
    database: &Database,
    target_ms: u64,
) -> Result<bool, BenchError> {
    let proxy = Proxy::start(database.addr, 1).await?;
    let shape = Shape {
        users: options.rush_users,
        per_second: options.rush_per_second,
        sleep: Duration::from_secs(options.rush_sleep),
        room_rate: options.rush_rate,
    };
    let mut target = options.target.clone();
    let least = (1.0 / shape.room_rate).max(0.000_1);
    target.env = vec![
        (DATABASE_URL, database.url_at(proxy.addr())),
        (
            "USHER_DATABASE__READ_CONNECTIONS",
            options.readers.to_string(),
        ),
        (
            "USHER_DATABASE__ACQUIRE_TIMEOUT_MS",
            options.acquire_timeout_ms.to_string(),
        ),
        (
            "USHER_STEERING__SALE_LATENCY_TARGET_MS",
            target_ms.to_string(),
        ),
        ("USHER_STEERING__RATE_MIN_FRACTION", least.to_string()),
        ("USHER_STEERING__SETTLE_MS", options.settle_ms.to_string()),
    ];
    let patience = Duration::from_secs(options.patience);
    let stage = Stage::open(&target, shape.users, None, patience).await?;
    let sale = stage.make_sale(plan(shape.room_rate), 1).await?;
    proxy.set_links(Link {
        delay_ms: options.trip_ms,
        ..Link::default()
    });
    let report = drive(&stage, &sale, shape).await?;
    proxy.set_links(Link::default());
    let steered = match target_ms {
        0 => "rates as configured".to_owned(),
        target_ms => format!("rates steered to {target_ms} ms"),
    };
    let title = format!(
        "L12 collapsing, {steered}: {} users, {} a second, room rate {} per second, \
         {} readers {} ms away",
        shape.users, shape.per_second, shape.room_rate, options.readers, options.trip_ms
    );
    let is_whole = finish(stage, &title, &report).await?;
    // The collapse is not expected to go well where nothing prevents it.
    Ok(is_whole || target_ms == 0)
}

/// Says it; whether everyone finished, without an error, on a sound database.
async fn finish(stage: Stage, title: &str, report: &Report) -> Result<bool, BenchError> {
    println!("{title}");
    print!(
        "{}{}",
        report.text(&stage.ground.tally),
        stage.ground.tally.text()
    );
    let errors = stage.ground.tally.errors();
    let (findings, is_sound) = stage.judge().await?;
    println!("{findings}");
    Ok(is_sound && errors == 0 && report.finished == report.users)
}

/// Only the rate lets users wait.
fn plan(rate_per_s: f64) -> RoomPlan {
    RoomPlan {
        capacity: 100_000,
        rate_per_s,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    }
}

/// Sends the users on their way, and waits for the last.
async fn drive(stage: &Stage, sale: &Sale, shape: Shape) -> Result<Report, BenchError> {
    let users = stage.users(shape.users)?;
    stage.begin();
    let log = Arc::new(LineLog::default());
    // Ends when it is dropped.
    let mut watcher = JoinSet::new();
    watcher.spawn(watch_line(stage, sale, Arc::clone(&log)));
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for (nth, user) in users.into_iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a count of users")]
        let due = start + Duration::from_secs_f64(nth as f64 / shape.per_second);
        sleep_until(due).await;
        let sale = sale.clone();
        under_way.spawn(async move { visit(&user, &sale, shape.sleep).await });
    }
    let mut report = Report {
        users: shape.users,
        ..Report::default()
    };
    while let Some(done) = under_way.join_next().await {
        let (is_activated, finished) = done.map_err(BenchError::failed)?;
        report.activated += usize::from(is_activated);
        report.finished += usize::from(finished.is_ok());
    }
    drop(watcher);
    report.elapsed = start.elapsed();
    report.line = log.taken();
    Ok(report)
}

/// One journey: whether it had its turn, and how it ended.
async fn visit(user: &Session, sale: &Sale, asleep: Duration) -> (bool, Result<(), Refused>) {
    let token_at = Instant::now();
    let place = match wait(user, sale).await {
        Ok(place) => place,
        Err(refused) => return (false, Err(refused)),
    };
    user.ground.tally.time("wait in line", token_at.elapsed());
    sleep_until(token_at + asleep).await;
    for nth in 0..LISTS {
        if nth > 0 {
            sleep(BETWEEN_LISTS).await;
        }
        if let Err(refused) = user.performances(&sale.concert_id).await {
            return (true, Err(refused));
        }
    }
    (true, user.leave(&place).await)
}

async fn wait(user: &Session, sale: &Sale) -> Result<crate::session::Place, Refused> {
    let mut place = user.join(&sale.room).await?;
    let turn = user.wait_for_turn(&mut place).await?;
    user.claim(&place, &turn).await?;
    Ok(place)
}

/// Notes the room's counters each second, as long as it runs.
fn watch_line(stage: &Stage, sale: &Sale, log: Arc<LineLog>) -> impl Future<Output = ()> + use<> {
    let message = wire::WatchRoomStatsRequest {
        room_id: sale.room.as_str().to_owned(),
    };
    let request = stage.operator.caller.request(message, None);
    let mut admin = AdminServiceClient::new(stage.ground.pool.streams(0));
    async move {
        let Ok(stream) = admin.watch_room_stats(request).await else {
            return;
        };
        let mut stream = stream.into_inner();
        while let Ok(Some(stats)) = stream.message().await {
            log.note(&stats);
        }
    }
}

/// Where the sale's database is.
struct Database {
    url: String,
    addr: SocketAddr,
}

impl Database {
    async fn of_environment() -> Result<Self, BenchError> {
        let missing = || BenchError::failed(format!("{DATABASE_URL} of a PostgreSQL is needed"));
        let url = std::env::var(DATABASE_URL).map_err(|_| missing())?;
        let (from, to) = authority(&url).ok_or_else(missing)?;
        let host = url[from..to].to_owned();
        let mut found = tokio::net::lookup_host(host).await?;
        let addr = found.next().ok_or_else(missing)?;
        Ok(Self { url, addr })
    }

    /// The same database through a proxy.
    fn url_at(&self, addr: SocketAddr) -> String {
        match authority(&self.url) {
            Some((from, to)) => format!("{}{addr}{}", &self.url[..from], &self.url[to..]),
            None => self.url.clone(),
        }
    }
}

/// Where `host:port` is in a URL.
fn authority(url: &str) -> Option<(usize, usize)> {
    let begins = url.find("://")? + 3;
    let ends = url[begins..]
        .find(['/', '?'])
        .map_or(url.len(), |at| begins + at);
    let host = url[begins..ends]
        .rfind('@')
        .map_or(begins, |at| begins + at + 1);
    url[host..ends].contains(':').then_some((host, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_reached_by_another_address() {
        let url = "postgres://usher:p@ss@db.example:5432/sale?sslmode=disable";
        let (from, to) = authority(url).expect("an authority");
        assert_eq!(&url[from..to], "db.example:5432");
        let addr = "127.0.0.1:1".parse().expect("an address");
        let database = Database {
            url: url.to_owned(),
            addr,
        };
        let there = "postgres://usher:p@ss@127.0.0.1:1/sale?sslmode=disable";
        assert_eq!(database.url_at(addr), there);
        assert_eq!(
            authority("postgres://db/sale"),
            None,
            "its port is not said"
        );
    }
}
