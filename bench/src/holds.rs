//! Holds per second through the store, beside the design that comes to mind
//! first ([`naive`]), on one database.
//!
//! Both take free seats, one each for a user of its own, spread over many
//! performances or all in one. Rounds alternate, so that a noisy neighbour meets
//! both; every round has seats that nobody touched. The naive design runs with
//! each of a list of pools, and the best of them is the one to compare with.
//!
//! CPU is this process's, which stands for node and callers, and that of the
//! processes named `postgres` on this machine.

mod naive;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use usher::clock::{Clock as _, SystemClock};
use usher::domain::ids::{IdempotencyKey, ResourceId, UserId};
use usher::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use usher::domain::sale::command::SeatChoice;
use usher::domain::sale::currency::Currency;
use usher::domain::sale::money::Money;
use usher::store::sales::{Catalog as _, HoldSeats, Once, Sales as _};
use usher::store::sql::{DatabaseClock, SqlSettings, SqlStore};

use crate::error::BenchError;
use crate::meter;
use crate::spread::Spread;
use crate::tally::Times;
use naive::Naive;

/// So that nothing ends by time while it is measured.
const HOLD_TTL_MS: u64 = 86_400_000;
const SEATS_PER_ROW: u32 = 100;
/// Of one performance: as many as there may be.
const SEATS_IN_ONE: u32 = 20_000;

#[derive(clap::Args)]
pub struct Options {
    /// `postgres://USER@HOST/DATABASE`, whose tables are made, and used up;
    /// without it a SQLite file
    #[arg(long, env = "USHER_DATABASE_URL")]
    database_url: Option<String>,
    /// Length of a round, in seconds
    #[arg(long, default_value_t = 5)]
    duration: u64,
    /// Rounds of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Callers that each wait for their answer
    #[arg(long, default_value_t = 256)]
    callers: usize,
    /// Performances that seats are spread over
    #[arg(long, default_value_t = 300)]
    performances: u32,
    /// Seats of each of them
    #[arg(long, default_value_t = 200)]
    seats: u32,
    /// Connections of the naive design, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10, 25, 50])]
    pools: Vec<u32>,
    /// The naive design also keeps the counters of sections and the version of
    /// the performance, as the store does
    #[arg(long)]
    counters: bool,
    /// Connections of the store for holds and payments
    #[arg(long)]
    checkout_connections: Option<u32>,
    /// Holds gathered at most
    #[arg(long)]
    gather_max: Option<usize>,
}

/// # Errors
/// When the database cannot be used, or seats were held twice.
pub async fn run(options: Options) -> Result<(), BenchError> {
    let (url, file) = match &options.database_url {
        Some(url) => (url.clone(), None),
        None => {
            let name = format!("usher-bench-holds-{}.db", std::process::id());
            let file = std::env::temp_dir().join(name);
            (format!("sqlite://{}", file.display()), Some(file))
        }
    };
    let measured = measure(&options, &url).await;
    if let Some(file) = file {
        remove(&file);
    }
    measured
}

fn remove(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        // Whatever is left lies in a temporary directory.
        let _ = std::fs::remove_file(name);
    }
}

async fn measure(options: &Options, url: &str) -> Result<(), BenchError> {
    let is_sqlite = url.starts_with("sqlite:");
    let mut settings = SqlSettings::new(url);
    settings.acquire_timeout_ms = 60_000;
    if let Some(connections) = options.checkout_connections {
        settings.checkout_connections = connections;
    }
    if let Some(most) = options.gather_max {
        settings.gather_max = most;
    }
    let clock = match is_sqlite {
        true => DatabaseClock::Given(Arc::new(SystemClock)),
        false => DatabaseClock::Server,
    };
    let store = SqlStore::open(settings.clone(), clock).await;
    let store = Arc::new(store.map_err(BenchError::failed)?);
    store.migrate_up().await.map_err(BenchError::failed)?;
    println!(
        "{} callers, {} lanes, at most {} holds together; rounds of {} s",
        options.callers,
        if is_sqlite {
            1
        } else {
            settings.checkout_connections
        },
        settings.gather_max,
        options.duration,
    );
    for layout in [Layout::Spread, Layout::One] {
        println!("{}", layout.name());
        compare(options, url, &store, layout).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Layout {
    Spread,
    One,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread over performances",
            Self::One => "all in one performance",
        }
    }
}

/// One design, with one setting.
#[derive(Clone)]
enum Contender {
    Store(Arc<SqlStore>),
    Naive(Arc<Naive>),
}

/// What one of them did, per round.
struct Figures {
    name: String,
    per_s: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    own_us: Vec<f64>,
    postgres_us: Vec<f64>,
}

async fn compare(
    options: &Options,
    url: &str,
    store: &Arc<SqlStore>,
    layout: Layout,
) -> Result<(), BenchError> {
    let mut contenders = vec![("gathered".to_owned(), Contender::Store(Arc::clone(store)))];
    for pool in &options.pools {
        let naive = Naive::open(url, *pool, options.counters).await?;
        contenders.push((
            format!("naive, pool of {pool}"),
            Contender::Naive(Arc::new(naive)),
        ));
    }
    let mut figures: Vec<Figures> = contenders
        .iter()
        .map(|(name, _)| Figures {
            name: name.clone(),
            per_s: Vec::new(),
            p50_ms: Vec::new(),
            p99_ms: Vec::new(),
            own_us: Vec::new(),
            postgres_us: Vec::new(),
        })
        .collect();
    for _ in 0..options.rounds {
        for ((_, contender), figures) in contenders.iter().zip(&mut figures) {
            let seats = house(options, store, layout).await?;
            if url.starts_with("postgres") {
                Naive::open(url, 1, false).await?.analyze().await?;
            }
            round(options, contender, seats, figures).await?;
        }
    }
    report(&figures);
    Ok(())
}

/// A free seat, and who will have it.
#[derive(Clone)]
pub struct Wanted {
    pub performance: ResourceId,
    pub seat: ResourceId,
    pub user: UserId,
    /// Fresh, for the reservation and for the key of the command.
    pub id: ResourceId,
}

/// New performances and their seats, in the order in which they are taken.
async fn house(
    options: &Options,
    store: &SqlStore,
    layout: Layout,
) -> Result<Vec<Wanted>, BenchError> {
    let (performances, seats) = match layout {
        Layout::Spread => (options.performances, options.seats),
        Layout::One => (1, SEATS_IN_ONE),
    };
    let concert = NewConcert {
        name: "Evening".to_owned(),
        description: String::new(),
        venue: String::new(),
    };
    let concert = store.create_concert(once("bench"), fresh(), concert).await;
    let concert = concert.map_err(BenchError::failed)?;
    let mut wanted = Vec::new();
    for _ in 0..performances {
        let made = store
            .create_performance(once("bench"), fresh(), performance(&concert.id, seats))
            .await
            .map_err(BenchError::failed)?;
        let rows = seats.div_ceil(SEATS_PER_ROW);
        for number in 0..seats {
            let (row, place) = (number % rows + 1, number / rows + 1);
            if place <= SEATS_PER_ROW.min(seats) {
                wanted.push((made.id.clone(), format!("s1-r{row}-{place}")));
            }
        }
    }
    shuffle(&mut wanted);
    let wanted = wanted.into_iter().map(|(performance, seat)| {
        let id = fresh();
        Ok(Wanted {
            performance,
            seat: ResourceId::parse(&seat).map_err(BenchError::failed)?,
            user: UserId::parse(&format!("u{id}")).map_err(BenchError::failed)?,
            id,
        })
    });
    wanted.collect()
}

fn performance(concert: &ResourceId, seats: u32) -> NewPerformance {
    let now = SystemClock.now();
    let currency = Currency::parse("KRW").expect("a known currency");
    let rows = seats.div_ceil(SEATS_PER_ROW);
    NewPerformance {
        concert: concert.clone(),
        starts_at: now.plus_ms(HOLD_TTL_MS),
        sale_opens_at: now,
        sale_closes_at: None,
        sections: vec![Section {
            name: "Stalls".to_owned(),
            price: Money::new(currency, 100),
            rows: (1..=rows)
                .map(|row| SeatRow {
                    name: row.to_string(),
                    seat_count: SEATS_PER_ROW.min(seats),
                })
                .collect(),
        }],
        hold_ttl_ms: HOLD_TTL_MS,
        hold_total_max_ms: HOLD_TTL_MS,
        seats_per_user_max: 4,
    }
}

fn once(user: &str) -> Once {
    Once {
        user: UserId::parse(user).expect("an id"),
        key: IdempotencyKey::parse(fresh().as_str()).expect("an id"),
        trace: None,
    }
}

fn fresh() -> ResourceId {
    let id = format!("{:032x}", rand::random::<u128>());
    ResourceId::parse(&id).expect("an id")
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, rand::random_range(0..=last));
    }
}

async fn round(
    options: &Options,
    contender: &Contender,
    seats: Vec<Wanted>,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let (seats, next) = (Arc::new(seats), Arc::new(AtomicUsize::new(0)));
    let own_before = meter::cpu_s(std::process::id()).unwrap_or_default();
    let postgres_before = meter::cpu_s_of("postgres");
    let begun = Instant::now();
    let until = begun + Duration::from_secs(options.duration);
    let mut callers = JoinSet::new();
    for _ in 0..options.callers {
        let (contender, seats, next) = (contender.clone(), Arc::clone(&seats), Arc::clone(&next));
        callers.spawn(async move {
            let mut times = Times::default();
            while Instant::now() < until {
                let Some(wanted) = seats.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                let since = Instant::now();
                contender.hold(wanted).await?;
                times.add(since.elapsed());
            }
            Ok::<_, BenchError>(times)
        });
    }
    let mut times = Times::default();
    while let Some(caller) = callers.join_next().await {
        times.merge(&caller.map_err(BenchError::failed)??);
    }
    // Shorter if all seats are gone.
    let took_s = begun.elapsed().as_secs_f64();
    let holds = times.count() as f64;
    let own_s = meter::cpu_s(std::process::id()).unwrap_or_default() - own_before;
    let postgres_s = meter::cpu_s_of("postgres") - postgres_before;
    figures.per_s.push(holds / took_s);
    figures.p50_ms.push(times.quantile_ms(0.5));
    figures.p99_ms.push(times.quantile_ms(0.99));
    figures.own_us.push(own_s * 1e6 / holds.max(1.0));
    figures.postgres_us.push(postgres_s * 1e6 / holds.max(1.0));
    Ok(())
}

impl Contender {
    async fn hold(&self, wanted: &Wanted) -> Result<(), BenchError> {
        match self {
            Self::Naive(naive) => naive.hold(wanted).await,
            Self::Store(store) => {
                let key = IdempotencyKey::parse(wanted.id.as_str()).map_err(BenchError::failed)?;
                let command = HoldSeats {
                    once: Once {
                        user: wanted.user.clone(),
                        key,
                        trace: None,
                    },
                    id: wanted.id.clone(),
                    performance: wanted.performance.clone(),
                    choice: SeatChoice::Named(vec![wanted.seat.clone()]),
                    activation: None,
                };
                let held = store.hold_seats(command).await;
                held.map(|_| ()).map_err(BenchError::failed)
            }
        }
    }
}

fn report(figures: &[Figures]) {
    for of in figures {
        let of_each = |values: &[f64]| Spread::of(values.iter().copied());
        println!(
            "    {:<20} {:>24} /s, p50 {:>6.1} ms, p99 {:>6.1} ms; CPU per hold: {:>5.0} us own, {:>5.0} us postgres",
            of.name,
            of_each(&of.per_s).to_string(),
            of_each(&of.p50_ms).median,
            of_each(&of.p99_ms).median,
            of_each(&of.own_us).median,
            of_each(&of.postgres_us).median,
        );
    }
    let median = |of: &Figures| Spread::of(of.per_s.iter().copied()).median;
    let Some((gathered, naive)) = figures.split_first() else {
        return;
    };
    let best = naive.iter().max_by(|a, b| median(a).total_cmp(&median(b)));
    if let Some(best) = best {
        println!(
            "    {:.1} times {}",
            median(gathered) / median(best),
            best.name
        );
    }
}
