//! Events on their way from the outbox to Kafka, and to a consumer.
//!
//! `relay`: an outbox full of sales is carried to a topic of its own by the
//! relay of this process, while a consumer of this process reads it; each round
//! fills it anew. Judged: every event arrives, in order per aggregate.
//! `lag`: beside a server that sells (`journey --target`), from the beginning
//! of the transaction that left an event, by the database's clock, to its
//! receipt, by this host's: run all on one host.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use usher::app::stores::open_sql;
use usher::bus::kafka::{KafkaSink, KafkaSource, ensure_topic};
use usher::bus::{Arrival, EventSource as _};
use usher::clock::{Clock as _, SystemClock};
use usher::config::{Config, Flags, Sources};
use usher::engine::relay::{Relay, Step};
use usher::metrics::{CONSUMER_LAG, Metrics};
use usher::store::outbox::Outbox as _;
use usher::store::sql::SqlStore;
use usher::store::sql::outbox::Event;

use crate::error::BenchError;
use crate::tally::Times;

/// Events read at once.
const READ_MAX: usize = 2_000;
/// Units of work that fill the outbox at once, and what each leaves.
const WRITERS: u64 = 16;
const SALES_PER_UNIT: u64 = 50;
const EVENTS_PER_SALE: u64 = 3;
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Events a second.
    Relay,
    /// From commit to consumer.
    Lag,
}

#[derive(clap::Args)]
pub struct Options {
    #[arg(value_enum)]
    what: What,
    /// Brokers, as a server is told
    #[arg(long, env = "USHER_KAFKA_BROKERS", value_name = "LIST")]
    kafka_brokers: String,
    /// `relay`: a database whose outbox is empty [default: SQLite in a
    /// directory of its own]
    #[arg(long, env = "USHER_DATABASE_URL", value_name = "URL")]
    database_url: Option<String>,
    /// `relay`: events of each round
    #[arg(long, default_value_t = 60_000)]
    events: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// `lag`: how long to read
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    match options.what {
        What::Relay => relay(&options).await,
        What::Lag => lag(&options).await,
    }
}

/// A directory that is removed at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn make() -> Result<Self, BenchError> {
        let name = format!("usher-bench-outbox-{:08x}", rand::random::<u32>());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(options: &Options, scratch: &Scratch, topic: &str) -> Result<Config, BenchError> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut env = vec![
        own("USHER_KAFKA__TOPIC", topic),
        own(
            "USHER_KAFKA__GROUP",
            &format!("bench-{:08x}", rand::random::<u32>()),
        ),
    ];
    if let Some(url) = &options.database_url {
        env.push(own("USHER_DATABASE_URL", url));
    }
    let sources = Sources {
        file: None,
        env: env.into_iter().collect(),
        flags: Flags::from([("data_dir", scratch.0.display().to_string())]),
    };
    sources.load().map_err(BenchError::failed)
}

fn source(options: &Options, config: &Config) -> Result<KafkaSource, BenchError> {
    let lag = Metrics::new().gauge(&CONSUMER_LAG, &["bench"]);
    KafkaSource::new(&options.kafka_brokers, &config.kafka, "bench", lag)
        .map_err(BenchError::failed)
}

async fn relay(options: &Options) -> Result<(), BenchError> {
    let scratch = Scratch::make()?;
    let topic = format!("usher.bench.{:08x}", rand::random::<u32>());
    let config = config(options, &scratch, &topic)?;
    let sql = Arc::new(open_sql(&config).await.map_err(BenchError::failed)?);
    sql.migrate_up().await.map_err(BenchError::failed)?;
    let backlog = sql.backlog().await.map_err(BenchError::failed)?;
    if backlog.pending > 0 {
        return Err(BenchError::failed("the outbox is not empty"));
    }
    let partitions = config.kafka.topic_partitions;
    let made = ensure_topic(&options.kafka_brokers, &config.kafka, &topic, partitions);
    made.await.map_err(BenchError::Failed)?;
    let metrics = Metrics::new();
    let sink = KafkaSink::new(&options.kafka_brokers, &config.kafka, &metrics);
    let sink = Arc::new(sink.map_err(BenchError::failed)?);
    let relay = Relay::new(Arc::clone(&sql) as _, sink, rand::random(), &metrics);
    let mut reader = Reader {
        source: source(options, &config)?,
        versions: HashMap::new(),
        seen: 0,
    };
    // The first of all warm everything up.
    let (run, mut sales) = (rand::random(), 0);
    let mut rounds = Vec::new();
    for round in 0..=options.rounds {
        let count = match round {
            0 => SALES_PER_UNIT,
            _ => options.events / EVENTS_PER_SALE,
        };
        let count = count.next_multiple_of(SALES_PER_UNIT);
        fill(&sql, run, sales, count).await?;
        sales += count;
        let events = count * EVENTS_PER_SALE;
        let began = Instant::now();
        let (relayed, read) = tokio::join!(
            drain(&relay, began),
            reader.read(sales * EVENTS_PER_SALE, began)
        );
        let (relayed, read) = (relayed?, read?);
        if round > 0 {
            println!(
                "{events} events: relayed in {:.2} s, {:.0}/s; all read after {:.2} s",
                relayed.as_secs_f64(),
                per_second(events, relayed),
                read.as_secs_f64()
            );
            rounds.push(relayed);
        }
    }
    rounds.sort();
    let Some(median) = rounds.get(rounds.len() / 2) else {
        return Ok(());
    };
    let events = options
        .events
        .next_multiple_of(SALES_PER_UNIT * EVENTS_PER_SALE);
    println!(
        "median of {}: {:.0} events/s",
        rounds.len(),
        per_second(events, *median)
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn per_second(events: u64, within: Duration) -> f64 {
    events as f64 / within.as_secs_f64()
}

/// Sales as a payment leaves them.
async fn fill(sql: &Arc<SqlStore>, run: u16, first: u64, count: u64) -> Result<(), BenchError> {
    let mut units = (first..first + count).step_by(usize::try_from(SALES_PER_UNIT).unwrap_or(1));
    let mut writing = JoinSet::new();
    loop {
        while (writing.len() as u64) < WRITERS
            && let Some(unit) = units.next()
        {
            let sql = Arc::clone(sql);
            writing.spawn(async move {
                let sales = unit..unit + SALES_PER_UNIT;
                let events = sales.flat_map(|nth| sale(run, nth));
                sql.leave_events(events.collect()).await
            });
        }
        match writing.join_next().await {
            Some(done) => done
                .map_err(BenchError::failed)?
                .map_err(BenchError::failed)?,
            None => return Ok(()),
        }
    }
}

fn sale(run: u16, nth: u64) -> [Event; EVENTS_PER_SALE as usize] {
    let id = format!("018f2d3c-5a6b-{run:04x}-9e0f-{nth:012x}");
    let reservation = format!("reservation:{id}");
    let total = json!({ "currency": "EUR", "amount_minor": 4_200 });
    let performance = "018f2d3c-5a6b-7c8d-9e0f-0123456789ab";
    let seats = json!({
        "reservation_id": id, "performance_id": performance, "user_id": format!("user-{nth}"),
        "seat_ids": [format!("A-{nth}")], "total": total,
    });
    let money = json!({
        "payment_id": id, "reservation_id": id, "performance_id": performance,
        "user_id": format!("user-{nth}"), "amount": total,
    });
    let freed = json!({
        "activation_id": id, "room_id": "bench", "reason": "COMPLETED",
    });
    let event = |aggregate: &str, kind, payload| Event {
        aggregate: aggregate.to_owned(),
        kind,
        payload,
        trace: None,
    };
    [
        event(&reservation, "reservation.confirmed", seats),
        event(&reservation, "payment.succeeded", money),
        event(&format!("activation:{id}"), "slot.freed", freed),
    ]
}

async fn drain(relay: &Relay, began: Instant) -> Result<Duration, BenchError> {
    loop {
        let step = relay.step().await.map_err(BenchError::failed)?;
        match step {
            Step {
                settled: 0,
                is_away: false,
            } => return Ok(began.elapsed()),
            Step { is_away: true, .. } => {
                return Err(BenchError::failed("the brokers did not take all in time"));
            }
            Step { .. } => {}
        }
    }
}

struct Reader {
    source: KafkaSource,
    /// The last one of each aggregate.
    versions: HashMap<String, u64>,
    seen: u64,
}

impl Reader {
    /// Reads until there were so many in all.
    async fn read(&mut self, until: u64, began: Instant) -> Result<Duration, BenchError> {
        while self.seen < until {
            let next = timeout(SILENCE_MAX, self.source.next(READ_MAX)).await;
            for arrival in next.map_err(|_| BenchError::failed("events are missing"))? {
                self.see(arrival)?;
            }
            self.source.commit();
        }
        Ok(began.elapsed())
    }

    fn see(&mut self, arrival: Arrival) -> Result<(), BenchError> {
        if let Some(why) = arrival.unreadable {
            return Err(BenchError::Failed(format!("unreadable: {why}")));
        }
        let event = arrival.event;
        let last = self.versions.entry(event.aggregate).or_default();
        match event.version {
            next if next == *last + 1 => {
                *last = next;
                self.seen += 1;
                Ok(())
            }
            again if again <= *last => Ok(()),
            _ => Err(BenchError::Failed(format!("{} is out of order", event.id))),
        }
    }
}

async fn lag(options: &Options) -> Result<(), BenchError> {
    let scratch = Scratch::make()?;
    let config = config(options, &scratch, "usher.events")?;
    let mut source = source(options, &config)?;
    let from = SystemClock.now();
    let ends_at = Instant::now() + Duration::from_secs(options.seconds);
    let mut by_kind: HashMap<String, Times> = HashMap::new();
    while let Ok(arrivals) = timeout_at(ends_at, source.next(READ_MAX)).await {
        let now = SystemClock.now();
        // What was there before says nothing of the way.
        let news = arrivals
            .into_iter()
            .filter(|one| one.event.created_at > from);
        for arrival in news {
            let took = Duration::from_millis(arrival.event.created_at.until_ms(now));
            by_kind.entry(arrival.event.kind).or_default().add(took);
            by_kind.entry("all".to_owned()).or_default().add(took);
        }
        source.commit();
    }
    let mut kinds: Vec<_> = by_kind.into_iter().collect();
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    println!("ms to a consumer              count        p50        p95        p99        max");
    for (kind, times) in kinds {
        let at = |quantile| times.quantile_ms(quantile);
        println!(
            "{kind:<26} {:>8} {:>10.0} {:>10.0} {:>10.0} {:>10.0}",
            times.count(),
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0)
        );
    }
    Ok(())
}
