//! What becomes of events whose consumers fail, are away, or are slow.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::bus::{Arrival, EventSink, Outcome};
use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::store::inbox::Projection;
use crate::store::sql::SqlStore;

const ATTEMPTS_MAX: u32 = 3;
/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn event(id: &str, aggregate: &str) -> OutboxEvent {
    let payload = json!({
        "performance_id": "p", "seat_ids": ["a"],
        "total": { "currency": "EUR", "amount_minor": 100 },
    });
    OutboxEvent {
        id: id.to_owned(),
        aggregate: aggregate.to_owned(),
        version: 1,
        kind: "reservation.confirmed".to_owned(),
        payload: payload.to_string(),
        created_at: UnixMs(1),
        route: None,
        trace: None,
    }
}

/// Consumes by noting the id, unless told otherwise.
#[derive(Default)]
struct Noting {
    consumed: Mutex<Vec<String>>,
    failing: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
    slow: Mutex<BTreeSet<String>>,
    away_times: Mutex<u32>,
}

impl Noting {
    fn of(set: &Mutex<BTreeSet<String>>, events: &[OutboxEvent]) -> Option<String> {
        let set = set.lock().unwrap();
        let mut ids = events.iter().map(|event| event.id.clone());
        ids.find(|id| set.contains(id))
    }

    fn consumed(&self) -> Vec<String> {
        self.consumed.lock().unwrap().clone()
    }
}

#[async_trait]
impl Consumer for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }

    fn wants(&self, kind: &str) -> bool {
        kind != "room.closed"
    }

    async fn consume(&self, events: &[OutboxEvent], _: Coming) -> Result<usize, ConsumeError> {
        let why = "planted".to_owned();
        {
            let mut away = self.away_times.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(ConsumeError::Unavailable(why));
            }
        }
        if Self::of(&self.slow, events).is_some() {
            return std::future::pending().await;
        }
        if let Some(id) = Self::of(&self.refused, events) {
            return Err(ConsumeError::Refused { id, why });
        }
        if let Some(id) = Self::of(&self.failing, events) {
            return Err(ConsumeError::Failed { id, why });
        }
        let mut consumed = self.consumed.lock().unwrap();
        consumed.extend(events.iter().map(|event| event.id.clone()));
        Ok(events.len())
    }
}

/// Brings batches; notes pauses and commits. At its end it waits for ever.
#[derive(Default)]
struct Bringing {
    batches: VecDeque<Vec<OutboxEvent>>,
    pauses: Vec<Duration>,
    commits: u32,
    /// Told when there is nothing more: all before is committed.
    at_end: Arc<Notify>,
}

#[async_trait]
impl EventSource for Bringing {
    async fn next(&mut self, _: usize) -> Vec<Arrival> {
        let Some(batch) = self.batches.pop_front() else {
            self.at_end.notify_one();
            return std::future::pending().await;
        };
        let arrival = |event: OutboxEvent| Arrival {
            unreadable: (event.kind == "unreadable").then(|| "garbage".to_owned()),
            event,
        };
        batch.into_iter().map(arrival).collect()
    }

    fn commit(&mut self) {
        self.commits += 1;
    }

    async fn pause(&mut self, pause: Duration) {
        self.pauses.push(pause);
    }
}

/// Its own end is that there is nothing more.
async fn run_to_the_end(consuming: &Consuming, source: &mut Bringing) {
    let at_end = Arc::clone(&source.at_end);
    let all = async {
        tokio::select! {
            () = run(consuming, source) => panic!("it goes on for ever"),
            () = at_end.notified() => {}
        }
    };
    timeout(PATIENCE, all).await.expect("all are committed");
}

struct World {
    store: Arc<SqlStore>,
    noting: Arc<Noting>,
    metrics: Metrics,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, clock).await.unwrap();
        store.migrate_up().await.unwrap();
        Self {
            store: Arc::new(store),
            noting: Arc::default(),
            metrics: Metrics::new(),
            _dir: dir,
        }
    }

    fn consuming(&self, consumer: Arc<dyn Consumer>) -> Consuming {
        let settings = ConsumerSettings {
            batch_events_max: 100,
            retry: RetryPolicy {
                back_off_ms: 100,
                back_off_max_ms: 300,
                attempts_max: ATTEMPTS_MAX,
            },
            apply_timeout_ms: 100,
        };
        let inbox = Arc::clone(&self.store) as _;
        Consuming::new(consumer, inbox, None, settings, &self.metrics)
    }

    /// Runs until all batches are committed.
    async fn run(&self, batches: Vec<Vec<OutboxEvent>>) -> Bringing {
        let mut source = Bringing {
            batches: batches.into(),
            ..Bringing::default()
        };
        let all = u32::try_from(source.batches.len()).unwrap();
        let consuming = self.consuming(Arc::clone(&self.noting) as _);
        run_to_the_end(&consuming, &mut source).await;
        assert_eq!(source.commits, all);
        source
    }

    async fn alter(&self, statement: &'static str) {
        use sea_orm::ConnectionTrait as _;
        let altered: Result<(), InboxError> = self
            .store
            .write(statement, |tx, statement| {
                Box::pin(async move {
                    tx.execute_unprepared(statement).await?;
                    Ok(())
                })
            })
            .await;
        altered.unwrap();
    }

    async fn parked(&self) -> Vec<String> {
        let letters = self.store.dead_letters(None, None, 100).await.unwrap();
        letters.into_iter().map(|letter| letter.event.id).collect()
    }
}

fn set(ids: &[&str]) -> Mutex<BTreeSet<String>> {
    Mutex::new(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[tokio::test]
async fn an_event_that_fails_holds_back_its_aggregate_is_parked_and_others_flow() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        failing: set(&["poison"]),
        ..Noting::default()
    });
    let batch = vec![
        event("1", "a"),
        event("poison", "b"),
        event("after", "b"),
        event("2", "c"),
    ];
    let source = world.run(vec![batch, vec![event("3", "a")]]).await;
    assert_eq!(world.noting.consumed(), ["1", "2", "after", "3"]);
    assert_eq!(world.parked().await, ["poison"]);
    let ms: Vec<_> = source.pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(ms, [100, 200], "it is tried three times");
    let told = world.metrics.render();
    for line in [
        "usher_consumer_events_total{consumer=\"noting\",outcome=\"parked\"} 1",
        "usher_consumer_events_total{consumer=\"noting\",outcome=\"applied\"} 4",
    ] {
        assert!(told.contains(line), "no {line} in {told}");
    }
}

#[tokio::test]
async fn what_can_never_be_consumed_is_parked_at_once() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        refused: set(&["bad"]),
        ..Noting::default()
    });
    let mut garbage = event("0@7", "topic/0");
    garbage.kind = "unreadable".to_owned();
    let mut unwanted = event("unwanted", "room");
    unwanted.kind = "room.closed".to_owned();
    let batch = vec![event("bad", "a"), event("1", "a"), garbage, unwanted];
    let source = world.run(vec![batch]).await;
    assert_eq!(world.noting.consumed(), ["1"]);
    assert_eq!(world.parked().await, ["0@7", "bad"]);
    assert!(source.pauses.is_empty(), "{:?}", source.pauses);
}

#[tokio::test]
async fn a_consumer_that_is_away_is_waited_for_and_blames_no_event() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        away_times: Mutex::new(6),
        ..Noting::default()
    });
    let source = world.run(vec![vec![event("1", "a")]]).await;
    assert_eq!(world.noting.consumed(), ["1"]);
    assert!(world.parked().await.is_empty());
    let ms: Vec<_> = source.pauses.iter().map(Duration::as_millis).collect();
    assert_eq!(ms, [100, 200, 300, 300, 300, 300]);
}

/// A table that is locked, or a server that hangs: no fault of the event's.
#[tokio::test]
async fn what_takes_too_long_lets_others_go_first_and_is_never_parked() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        slow: set(&["slow"]),
        ..Noting::default()
    });
    let consuming = world.consuming(Arc::clone(&world.noting) as _);
    let mut pending: Vec<_> = (0..8)
        .map(|n| event(&n.to_string(), &n.to_string()))
        .collect();
    pending.insert(5, event("slow", "s"));
    pending.insert(6, event("behind", "s"));
    let (mut tried, mut pauses) = (Tried::default(), Vec::new());
    while pauses.len() < 2 * ATTEMPTS_MAX as usize {
        let attempt = consuming.attempt(&pending, &mut tried).await;
        pending.retain(|event| !attempt.settled.contains(&event.id));
        if !attempt.pause.is_zero() {
            pauses.push(attempt.pause.as_millis());
        }
    }
    let mut consumed = world.noting.consumed();
    consumed.sort_unstable();
    assert_eq!(consumed, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(pauses.last(), Some(&300), "{pauses:?}");
    assert!(world.parked().await.is_empty());
    world.noting.slow.lock().unwrap().clear();
    while !pending.is_empty() {
        let attempt = consuming.attempt(&pending, &mut tried).await;
        pending.retain(|event| !attempt.settled.contains(&event.id));
    }
    assert_eq!(world.noting.consumed()[8..], ["slow", "behind"]);
}

#[tokio::test]
async fn as_a_sink_it_lets_others_go_before_what_takes_too_long() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        slow: set(&["slow"]),
        ..Noting::default()
    });
    let sink = ConsumerSink::new([world.consuming(Arc::clone(&world.noting) as _)]);
    let mut pending = vec![event("slow", "s"), event("1", "a"), event("2", "b")];
    for _ in 0..10 {
        let delivery = sink.deliver(&pending).await;
        let mut outcomes = delivery.outcomes.into_iter();
        pending.retain(|_| outcomes.next() == Some(Outcome::Later));
    }
    let left: Vec<_> = pending.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(left, ["slow"]);
    assert!(world.parked().await.is_empty());
}

#[tokio::test]
async fn failures_of_what_is_settled_are_forgotten() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        failing: set(&["1"]),
        ..Noting::default()
    });
    let consuming = world.consuming(Arc::clone(&world.noting) as _);
    let (batch, mut tried) = ([event("1", "a")], Tried::default());
    for _ in 1..ATTEMPTS_MAX {
        consuming.attempt(&batch, &mut tried).await;
    }
    assert_eq!(tried.failures["1"], ATTEMPTS_MAX - 1);
    world.noting.failing.lock().unwrap().clear();
    let attempt = consuming.attempt(&batch, &mut tried).await;
    assert!(attempt.settled.contains("1"));
    assert!(tried.failures.is_empty());
}

#[derive(Default)]
struct Letters(Mutex<Vec<String>>);

#[async_trait]
impl DeadLetters for Letters {
    async fn put(&self, _: &str, event: &OutboxEvent, _: &str) -> Result<(), String> {
        self.0.lock().unwrap().push(event.id.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_letter_is_put_once_however_often_its_event_comes() {
    let world = World::new().await;
    let letters = Arc::new(Letters::default());
    let node = || {
        let mut consuming = world.consuming(Arc::clone(&world.noting) as _);
        consuming.letters = Some(Arc::clone(&letters) as _);
        consuming
    };
    let (one, other, event) = (node(), node(), event("1", "a"));
    world
        .alter("ALTER TABLE dead_letters RENAME TO hidden")
        .await;
    assert!(one.give_up(&event, "planted").await.is_err());
    assert!(letters.0.lock().unwrap().is_empty());
    world
        .alter("ALTER TABLE hidden RENAME TO dead_letters")
        .await;
    for node in [&one, &other, &one] {
        assert_eq!(node.give_up(&event, "planted").await, Ok(()));
    }
    assert_eq!(*letters.0.lock().unwrap(), ["1"]);
}

/// The effect is committed, and the process dies before it says so.
#[tokio::test]
async fn an_event_that_comes_again_after_a_crash_has_one_effect() {
    let world = World::new().await;
    let inbox: Arc<dyn Inbox> = Arc::clone(&world.store) as _;
    let sales = Arc::new(Projector::new(Projection::Sales, Arc::clone(&inbox)));
    let batch = vec![event("1", "a"), event("2", "b")];
    for _ in 0..3 {
        let mut source = Bringing {
            batches: vec![batch.clone()].into(),
            ..Bringing::default()
        };
        let mut consuming = world.consuming(Arc::clone(&sales) as _);
        // What is cut short and was done all the same would be one more duplicate.
        consuming.settings.apply_timeout_ms = 30_000;
        run_to_the_end(&consuming, &mut source).await;
    }
    let figures = world.store.sales_figures(None).await.unwrap().unwrap();
    assert_eq!(figures.sold, 2);
    let told = world.metrics.render();
    let duplicates = "usher_consumer_events_total{consumer=\"sales\",outcome=\"duplicate\"} 4";
    assert!(told.contains(duplicates), "{told}");
}

#[tokio::test]
async fn as_a_sink_it_tells_what_must_come_again_and_repeats_no_effect() {
    let mut world = World::new().await;
    world.noting = Arc::new(Noting {
        failing: set(&["2"]),
        ..Noting::default()
    });
    let inbox: Arc<dyn Inbox> = Arc::clone(&world.store) as _;
    let sales = Arc::new(Projector::new(Projection::Sales, inbox));
    let sink = ConsumerSink::new([
        world.consuming(Arc::clone(&world.noting) as _),
        world.consuming(sales),
    ]);
    let batch = [
        event("1", "a"),
        event("2", "b"),
        event("3", "b"),
        event("4", "c"),
    ];
    let taken = Outcome::Taken { route: None };
    let delivery = sink.deliver(&batch).await;
    let later = Outcome::Later;
    assert_eq!(
        delivery.outcomes,
        [taken.clone(), later.clone(), later, taken.clone()]
    );
    assert!(delivery.trouble.is_some());
    world.noting.failing.lock().unwrap().clear();
    let delivery = sink.deliver(&batch[1..3]).await;
    assert_eq!(delivery.outcomes, [taken.clone(), taken]);
    assert_eq!(world.noting.consumed(), ["1", "4", "2", "3"]);
    let figures = world.store.sales_figures(None).await.unwrap().unwrap();
    assert_eq!(figures.sold, 4);
}

#[tokio::test]
async fn old_notes_go_unit_by_unit_until_none_is_left() {
    let world = World::new().await;
    let batch: Vec<_> = (0..25).map(|n| event(&n.to_string(), "a")).collect();
    let counted = world
        .store
        .project(Projection::Sales, &batch, Coming::Fresh)
        .await;
    assert_eq!(counted, Ok(25));
    assert_eq!(prune(world.store.as_ref(), 0, 4).await, Ok(25));
    assert_eq!(world.store.prune_inbox(0, 4).await, Ok(0));
}

#[tokio::test]
async fn a_parked_event_is_redriven_to_its_consumer() {
    let world = World::new().await;
    let inbox: Arc<dyn Inbox> = Arc::clone(&world.store) as _;
    let parked = event("1", "a");
    inbox.park("sales", &parked, "planted").await.unwrap();
    inbox.park("gone", &parked, "planted").await.unwrap();
    let letters = inbox.dead_letters(None, None, 10).await.unwrap();
    let consumers = projectors(&inbox);
    let mut became = Vec::new();
    for letter in &letters {
        became.push(redrive(&consumers, letter).await);
    }
    assert!(became.contains(&Redriven::Consumed), "{became:?}");
    assert!(became.iter().any(|one| matches!(one, Redriven::Failed(_))));
    let sales = letters
        .iter()
        .find(|letter| letter.consumer == "sales")
        .unwrap();
    assert_eq!(redrive(&consumers, sales).await, Redriven::Gone);
    assert_eq!(world.parked().await.len(), 1);
}
