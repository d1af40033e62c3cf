//! Load shapes L9 and L11: many look at the list of concerts, and those whose
//! turn has come at the dates.
//!
//! Rounds alternate between two servers of one's own with the same catalog: one
//! that keeps it in memory, one that reads the database each time.

mod figures;
mod fill;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use usher::proto::v1 as wire;
use usher::proto::v1::catalog_service_client::CatalogServiceClient;

use crate::error::BenchError;
use crate::session::Session;
use crate::stage::{RoomPlan, Stage};
use crate::tally::Times;
use crate::target::TargetOptions;
use figures::{Round, show, shown};

/// Of a hundred looks at the list so many are at its second page.
const SECOND_PAGES: usize = 10;
/// Looks of one user at the dates (L11).
const LOOKS_AT_DATES: usize = 5;
/// Between looks.
const THINK: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// L9: users who look, think for a second and look again, in stages
    Users,
    /// L9: arrivals at a fixed rate, whatever the server does
    Arrivals,
    /// L9: arrivals at rates that double until the server cannot follow
    Knee,
    /// L11: users arrive, wait for their turn, and look at the dates five times
    Dates,
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[arg(long, value_enum, default_value = "arrivals")]
    shape: Shape,
    /// Concerts in the table
    #[arg(long, default_value_t = 10_000)]
    concerts: usize,
    /// Most users at once
    #[arg(long, default_value_t = 8_000)]
    users: usize,
    /// Arrivals per minute
    #[arg(long, default_value_t = 8_000)]
    per_minute: u32,
    /// Length of a round, or of each of the four stages, in seconds
    #[arg(long, default_value_t = 15)]
    duration: u64,
    /// Rounds of each server
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A server with a catalog.
struct Side {
    name: &'static str,
    stage: Stage,
    users: Arc<Vec<Session>>,
    second_page: String,
    concert: String,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let sides = [
        side(&options, "kept", None).await?,
        side(&options, "read each time", Some("0")).await?,
    ];
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds.max(1) {
        for (side, rounds) in sides.iter().zip(&mut rounds) {
            rounds.extend(side.round(&options).await?);
        }
    }
    println!(
        "{} mode, {} concerts, {:?}, {} s:",
        options.target.mode(),
        options.concerts,
        options.shape,
        options.duration
    );
    for (side, rounds) in sides.iter().zip(&rounds) {
        match options.shape {
            Shape::Knee => rounds
                .iter()
                .for_each(|round| println!("{}", shown(side.name, round))),
            _ => show(side.name, rounds),
        }
    }
    let failed = |round: &Round| round.failed > 0;
    match options.shape != Shape::Knee && rounds.iter().flatten().any(failed) {
        true => Err(BenchError::failed("some calls failed")),
        false => Ok(()),
    }
}

async fn side(
    options: &Options,
    name: &'static str,
    ttl_ms: Option<&str>,
) -> Result<Side, BenchError> {
    let mut target = options.target.clone();
    let ttl = ttl_ms.map(|ms| ("USHER_CATALOG__CACHE_TTL_MS", ms.to_owned()));
    target.env.extend(ttl);
    let streams = match options.shape {
        Shape::Dates => 1_000,
        _ => 0,
    };
    let stage = Stage::open(&target, streams, None, Duration::from_secs(60)).await?;
    let concert = fill::catalog(&stage, options.concerts).await?;
    let users = Arc::new(stage.users(options.users)?);
    let second_page = look(&users[0], "").await?.next_page_token;
    Ok(Side {
        name,
        stage,
        users,
        second_page,
        concert,
    })
}

/// One page of concerts.
async fn look(user: &Session, token: &str) -> Result<wire::ListConcertsResponse, BenchError> {
    let message = wire::ListConcertsRequest {
        page_size: 10,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let mut client = CatalogServiceClient::new(user.ground.pool.calls(user.nth));
    let page = client
        .list_concerts(user.caller.request(message, None))
        .await;
    Ok(page.map_err(BenchError::failed)?.into_inner())
}

async fn look_at_dates(user: &Session, concert: &str) -> Result<(), BenchError> {
    let message = wire::ListPerformancesRequest {
        concert_id: concert.to_owned(),
        ..Default::default()
    };
    let mut client = CatalogServiceClient::new(user.ground.pool.calls(user.nth));
    let dates = client
        .list_performances(user.caller.request(message, None))
        .await;
    dates.map(drop).map_err(BenchError::failed)
}

/// What one user found.
#[derive(Default)]
struct Found {
    times: Times,
    failed: u64,
}

impl Found {
    async fn time<T>(&mut self, call: impl Future<Output = Result<T, BenchError>>) {
        let began = Instant::now();
        match call.await {
            Ok(_) => self.times.add(began.elapsed()),
            Err(_) => self.failed += 1,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.failed += other.failed;
    }
}

impl Side {
    /// One, or one for each rate up to the knee.
    async fn round(&self, options: &Options) -> Result<Vec<Round>, BenchError> {
        match options.shape {
            Shape::Users => Ok(vec![self.measure(self.in_stages(options)).await?]),
            Shape::Arrivals => {
                let arrivals = self.arrivals(options, options.per_minute);
                Ok(vec![self.measure(arrivals).await?])
            }
            Shape::Dates => Ok(vec![self.measure(self.dates(options)).await?]),
            Shape::Knee => {
                let (mut rounds, mut per_minute) = (Vec::new(), options.per_minute);
                loop {
                    let round = self.measure(self.arrivals(options, per_minute)).await?;
                    let follows = round.failed == 0 && round.p95_ms < 20.0;
                    rounds.push(round);
                    if !follows {
                        return Ok(rounds);
                    }
                    per_minute = per_minute.saturating_mul(2);
                }
            }
        }
    }

    async fn measure(
        &self,
        load: impl Future<Output = Result<Found, BenchError>>,
    ) -> Result<Round, BenchError> {
        let before = figures::Server::of(&self.stage.target).await?;
        let began = Instant::now();
        let found = load.await?;
        let elapsed = began.elapsed();
        let after = figures::Server::of(&self.stage.target).await?;
        Ok(Round::of(
            &found.times,
            found.failed,
            elapsed,
            after.since(&before),
        ))
    }

    /// 5/9 of the users, all, 5/9, none: each stage goes there in a straight line.
    async fn in_stages(&self, options: &Options) -> Result<Found, BenchError> {
        let stage = Duration::from_secs(options.duration);
        let (began, end) = (Instant::now(), Instant::now() + 4 * stage);
        let mut tasks = JoinSet::new();
        for nth in 0..options.users {
            // When this user comes, and goes.
            let part = fraction(nth, options.users);
            let (from, to) = if part < 5.0 / 9.0 {
                let early = part * 9.0 / 5.0;
                (stage.mul_f64(early), 4 * stage - stage.mul_f64(early))
            } else {
                let late = (part - 5.0 / 9.0) * 9.0 / 4.0;
                (stage.mul_f64(1.0 + late), stage.mul_f64(3.0 - late))
            };
            let (users, second) = (Arc::clone(&self.users), self.second_page.clone());
            tasks.spawn(async move {
                sleep_until(began + from).await;
                let mut found = Found::default();
                for turn in 0_usize.. {
                    let token = page(nth + turn, &second);
                    found.time(look(&users[nth], token)).await;
                    sleep(THINK).await;
                    if Instant::now() >= (began + to).min(end) {
                        break;
                    }
                }
                found
            });
        }
        all(tasks).await
    }

    async fn arrivals(&self, options: &Options, per_minute: u32) -> Result<Found, BenchError> {
        let length = Duration::from_secs(options.duration);
        let pause = Duration::from_secs(60) / per_minute.max(1);
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        let mut found = Found::default();
        for nth in 0_u32.. {
            let at = pause * nth;
            if at >= length {
                break;
            }
            sleep_until(began + at).await;
            let nth = usize::try_from(nth).map_err(BenchError::failed)?;
            let (users, second) = (Arc::clone(&self.users), self.second_page.clone());
            tasks.spawn(async move {
                let mut found = Found::default();
                let user = &users[nth % users.len()];
                found.time(look(user, page(nth, &second))).await;
                found
            });
            while let Some(done) = tasks.try_join_next() {
                found.merge(&done.map_err(BenchError::failed)?);
            }
        }
        found.merge(&all(tasks).await?);
        Ok(found)
    }

    /// They join at the rate at which they are let in.
    async fn dates(&self, options: &Options) -> Result<Found, BenchError> {
        let rate_per_s = f64::from(options.per_minute) / 60.0;
        let plan = RoomPlan {
            capacity: u32::try_from(options.users).map_err(BenchError::failed)?,
            rate_per_s,
            claim_window_s: 60,
            pass_ttl_s: 600,
        };
        let room = self.stage.make_room(plan, None).await?;
        let length = Duration::from_secs(options.duration);
        let pause = Duration::from_secs(60) / options.per_minute.max(1);
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        for nth in 0..options.users {
            let at = pause * u32::try_from(nth).map_err(BenchError::failed)?;
            if at >= length {
                break;
            }
            let (users, room) = (Arc::clone(&self.users), room.clone());
            let concert = self.concert.clone();
            tasks.spawn(async move {
                sleep_until(began + at).await;
                let mut found = Found::default();
                if users[nth].admit(&room).await.is_err() {
                    found.failed += 1;
                    return found;
                }
                for _ in 0..LOOKS_AT_DATES {
                    found.time(look_at_dates(&users[nth], &concert)).await;
                    sleep(THINK).await;
                }
                found
            });
        }
        let found = all(tasks).await?;
        self.stage.close_room(&room).await?;
        Ok(found)
    }
}

/// Most look at the first page.
fn page(nth: usize, second: &str) -> &str {
    match nth % 100 < SECOND_PAGES {
        true => second,
        false => "",
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands of users")]
fn fraction(nth: usize, of: usize) -> f64 {
    nth as f64 / of.max(1) as f64
}

async fn all(mut tasks: JoinSet<Found>) -> Result<Found, BenchError> {
    let mut found = Found::default();
    while let Some(done) = tasks.join_next().await {
        found.merge(&done.map_err(BenchError::failed)?);
    }
    Ok(found)
}
