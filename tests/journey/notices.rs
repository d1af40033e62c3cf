//! What users are told ahead of time, by a real receiver behind a real Kafka.

use serde_json::Value;
use usher::clock::{Clock as _, SystemClock};
use usher::proto::v1 as wire;
use usher::store::inbox::Inbox as _;

use crate::events::{Told, receiver};
use crate::harness::{TestApp, eventually};
use crate::kafka::Kafka;
use crate::sale::{PRICE_MINOR, at, concert, performance, span_ms};

const HOLD_TTL_MS: u64 = 600_000;
/// A hold is due a second after it was made.
const PAY_BEFORE_MS: &str = "599000";
const DAY_MS: &str = "86400000";

/// A performance that is near in half a minute, without a room: time enough to buy.
async fn tomorrow(app: &TestApp) -> (String, i64) {
    let root = app.admin();
    let made = root
        .operator()
        .create_concert(root.ask(wire::CreateConcertRequest {
            concert: Some(concert()),
            idempotency_key: "concert".to_owned(),
        }))
        .await;
    let concert = made.expect("made").into_inner().concert.expect("one").id;
    let now = i64::try_from(SystemClock.now().0 / 1_000).expect("a time");
    let starts_at = now + 86_400 + 30;
    let terms = wire::Performance {
        starts_at: at(starts_at),
        hold_ttl: span_ms(HOLD_TTL_MS),
        ..performance(&concert, 5)
    };
    let made = root
        .operator()
        .create_performance(root.ask(wire::CreatePerformanceRequest {
            performance: Some(terms),
            idempotency_key: "performance".to_owned(),
        }))
        .await;
    let made = made.expect("made").into_inner();
    (made.performance.expect("one").id, starts_at)
}

/// Waits until this was told; it may have been more than once.
async fn told(told: &Told, reservation: &str, about: &str) -> Value {
    eventually(about, async || {
        let told = told.lock().expect("not poisoned");
        let is_it = |one: &&Value| one["reservation_id"] == reservation && one["type"] == about;
        told.iter().find(is_it).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ends_soon_and_a_performance_that_is_near_are_told() {
    let kafka = Kafka::start();
    let brokers = kafka.brokers();
    both_are_told(&[("USHER_KAFKA_BROKERS", &brokers)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_are_told_without_kafka() {
    both_are_told(&[]).await;
}

async fn both_are_told(settings: &[(&str, &str)]) {
    let (url, heard, arrive) = receiver().await;
    arrive.send(true).expect("someone listens");
    let mut settings = settings.to_vec();
    settings.extend([
        ("USHER_NOTIFIER__URL", url.as_str()),
        ("USHER_NOTIFIER__PAY_BEFORE_MS", PAY_BEFORE_MS),
        ("USHER_NOTIFIER__REMIND_BEFORE_MS", DAY_MS),
    ]);
    let app = TestApp::start_with(&settings).await;
    let (hall, starts_at) = tomorrow(&app).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let map = alice.seat_map(&hall).await.expect("seats");
    let seat = |n: usize| map.seats[n].id.as_str();
    // First: the performance is near in half a minute.
    let hers = alice.hold(&hall, &[seat(0)], "hold").await.expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    alice.pay(&hers.id, "pay").await.expect("paid");
    let his = bob.hold(&hall, &[seat(1)], "hold").await.expect("held");
    let asked = told(&heard, &his.id, "pay_soon").await;
    assert_eq!(asked["user_id"], "bob");
    assert_eq!(asked["seat_ids"][0], seat(1));
    let ends_at = his.hold_expire_time.expect("an end");
    let ends_at_ms = ends_at.seconds * 1_000 + i64::from(ends_at.nanos / 1_000_000);
    assert_eq!(asked["hold_expires_at"], ends_at_ms);

    let reminded = told(&heard, &hers.id, "reminder").await;
    assert_eq!(reminded["starts_at"], starts_at * 1_000);
    assert_eq!(reminded["seat_ids"][0], seat(0));
    told(&heard, &hers.id, "paid").await;
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
    app.assert_audit_is_clean().await;
}
