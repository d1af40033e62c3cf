//! The feed of a data platform, behind Kafka and without: its receiver is slow,
//! away, or does not take some.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use usher::app::Tasks;
use usher::store::inbox::Inbox as _;
use usher::store::kept::Kept as _;

use crate::harness::{TestApp, eventually};
use crate::kafka::Kafka;
use crate::sale::{PRICE_MINOR, policy};

/// What a platform does with what it is told.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Answers to nothing, for longer than any test: ten seconds an event is less.
    Silent,
    Away,
    /// Takes no payments.
    Choosy,
    Content,
}

struct Platform {
    url: String,
    mood: watch::Sender<Mood>,
    came: Arc<Mutex<u64>>,
    took: Arc<Mutex<Vec<Value>>>,
}

type Shared = (
    watch::Receiver<Mood>,
    Arc<Mutex<u64>>,
    Arc<Mutex<Vec<Value>>>,
);

async fn receive(
    State((mut mood, came, took)): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    assert_eq!(
        headers["content-type"],
        "application/cloudevents+json; charset=utf-8"
    );
    assert!(headers.contains_key("usher-signature"));
    *came.lock().expect("not poisoned") += 1;
    let told: Value = serde_json::from_str(&body).expect("JSON");
    let Ok(mood) = mood
        .wait_for(|mood| *mood != Mood::Silent)
        .await
        .map(|mood| *mood)
    else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    let kind = told["type"].as_str().expect("a type");
    match mood {
        Mood::Silent | Mood::Away => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Choosy if kind.starts_with("usher.payment.") => StatusCode::BAD_REQUEST,
        Mood::Choosy | Mood::Content => {
            took.lock().expect("not poisoned").push(told);
            StatusCode::ACCEPTED
        }
    }
}

impl Platform {
    async fn start(mood: Mood) -> Self {
        let (mood, moods) = watch::channel(mood);
        let (came, took) = (Arc::default(), Arc::default());
        let routes = axum::Router::new()
            .route("/events", post(receive))
            .with_state((moods, Arc::clone(&came), Arc::clone(&took)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/events", listener.local_addr().expect("bound"));
        Tasks::new().spawn_named("platform", async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self {
            url,
            mood,
            came,
            took,
        }
    }

    fn came(&self) -> u64 {
        *self.came.lock().expect("not poisoned")
    }

    /// Types of what it took of one reservation, each id once, in order.
    fn took_of(&self, reservation: &str) -> Vec<String> {
        let subject = format!("reservation:{reservation}");
        let took = self.took.lock().expect("not poisoned");
        let of_it = took
            .iter()
            .filter(|told| told["subject"] == subject.as_str());
        let mut ids = BTreeSet::new();
        of_it
            .filter(|told| ids.insert(told["id"].to_string()))
            .map(|told| told["type"].as_str().expect("a type").to_owned())
            .collect()
    }

    /// First arrivals of each subject rise.
    fn assert_in_order(&self) {
        let took = self.took.lock().expect("not poisoned");
        let (mut last, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for told in took
            .iter()
            .filter(|told| ids.insert(told["id"].to_string()))
        {
            let sequence = told["sequence"].as_str().expect("text").to_owned();
            let before = last.insert(told["subject"].to_string(), sequence.clone());
            assert!(before.is_none_or(|before| before < sequence), "{told}");
            assert_eq!(told["specversion"], "1.0");
            assert_eq!(told["source"], "/test");
            assert!(told["data"].is_object(), "{told}");
        }
    }

    async fn start_app(&self, kafka: Option<&Kafka>, further: &[(&str, &str)]) -> TestApp {
        let brokers = kafka.map(Kafka::brokers);
        let mut settings = vec![
            ("USHER_FEED__URL", self.url.as_str()),
            ("USHER_FEED__SECRET", "a secret of some length"),
            ("USHER_FEED__SOURCE", "/test"),
            ("USHER_FEED__TIMEOUT_MS", "60000"),
            ("USHER_CONSUMERS__BACK_OFF_MS", "50"),
            ("USHER_CONSUMERS__BACK_OFF_MAX_MS", "100"),
            ("USHER_CONSUMERS__ATTEMPTS_MAX", "1"),
        ];
        settings.extend(
            brokers
                .as_deref()
                .map(|brokers| ("USHER_KAFKA_BROKERS", brokers)),
        );
        settings.extend(further);
        TestApp::start_with(&settings).await
    }
}

const BOUGHT: [&str; 3] = [
    "usher.reservation.confirmed",
    "usher.payment.succeeded",
    "usher.reservation.cancelled",
];

fn has_all(told: &[String], kinds: &[&str]) -> bool {
    kinds.iter().all(|kind| told.iter().any(|one| one == kind))
}

/// It takes longer for an event than anyone waits.
async fn a_platform_that_is_slow_holds_up_nobody(kafka: Option<&Kafka>) {
    let platform = Platform::start(Mood::Silent).await;
    let app = platform.start_app(kafka, &[]).await;
    let house = app.build_house(8, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    let said = eventually("it is told something", async || {
        (platform.came() > 0).then_some(())
    });
    said.await;
    app.buy(&house, "bob", 1).await;
    let cancelled = app.user("alice").cancel(&hers, "cancel").await;
    cancelled.expect("cancelled");
    // Other consumers, and the relay.
    app.figures_are(1, PRICE_MINOR).await;
    app.all_is_published().await;
    assert!(platform.took_of(&hers).is_empty());

    platform.mood.send(Mood::Content).expect("someone listens");
    eventually("it is told all", async || {
        has_all(&platform.took_of(&hers), &BOUGHT).then_some(())
    })
    .await;
    platform.assert_in_order();
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
    if kafka.is_none() {
        eventually("nothing is kept any more", async || {
            let kept = app
                .sql
                .count_kept("data_platform", 100)
                .await
                .expect("read");
            (kept == 0).then_some(())
        })
        .await;
    }
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_a_platform_that_is_slow_holds_up_nobody() {
    a_platform_that_is_slow_holds_up_nobody(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_kafka_a_platform_that_is_slow_holds_up_nobody() {
    let kafka = Kafka::start();
    a_platform_that_is_slow_holds_up_nobody(Some(&kafka)).await;
}

/// While it is away all waits; what it does not take is parked, and told when
/// an operator redrives it.
async fn a_platform_that_is_away_and_takes_not_all(kafka: Option<&Kafka>) {
    let platform = Platform::start(Mood::Away).await;
    let app = platform.start_app(kafka, &[]).await;
    let house = app.build_house(4, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    app.figures_are(1, PRICE_MINOR).await;
    eventually("it is asked again", async || {
        (platform.came() > 3).then_some(())
    })
    .await;
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
    assert!(platform.took_of(&hers).is_empty());

    platform.mood.send(Mood::Choosy).expect("someone listens");
    let confirmed = &BOUGHT[..1];
    eventually("the others are told", async || {
        let is_parked = app.sql.count_dead_letters().await.expect("read") > 0;
        (is_parked && has_all(&platform.took_of(&hers), confirmed)).then_some(())
    })
    .await;
    let parked = app.sql.dead_letters(Some("data_platform"), None, 10).await;
    let parked = parked.expect("read");
    assert!(
        parked
            .iter()
            .all(|letter| letter.event.kind.starts_with("payment."))
    );
    assert!(parked[0].why.contains("400"), "{}", parked[0].why);

    platform.mood.send(Mood::Content).expect("someone listens");
    redrive(&app, &platform).await;
    let paid = &BOUGHT[..2];
    assert!(has_all(&platform.took_of(&hers), paid));
    assert_eq!(app.sql.count_dead_letters().await, Ok(0));
}

/// As an operator does, from another process.
async fn redrive(app: &TestApp, platform: &Platform) {
    let mut usher = Command::new(env!("CARGO_BIN_EXE_usher"));
    usher
        .args(["events", "redrive", "--data-dir"])
        .arg(app.data_dir())
        .env("USHER_FEED__URL", &platform.url)
        .env("USHER_FEED__SECRET", "a secret of some length")
        .env("USHER_FEED__SOURCE", "/test");
    let driven = tokio::task::spawn_blocking(move || usher.output());
    let driven = driven.await.expect("it ran").expect("it started");
    let said = String::from_utf8_lossy(&driven.stderr);
    assert!(driven.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_a_platform_that_was_away_is_told_all() {
    a_platform_that_is_away_and_takes_not_all(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_kafka_a_platform_that_was_away_is_told_all() {
    let kafka = Kafka::start();
    a_platform_that_is_away_and_takes_not_all(Some(&kafka)).await;
}

/// What was kept outlives a stop, and a broker that takes over meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_told_after_a_start_with_kafka() {
    let platform = Platform::start(Mood::Away).await;
    let app = platform.start_app(None, &[]).await;
    let house = app.build_house(4, policy()).await;
    let hers = app.buy(&house, "alice", 0).await;
    app.all_is_published().await;
    let kafka = Kafka::start();
    platform.mood.send(Mood::Content).expect("someone listens");
    let settings = [
        ("USHER_KAFKA_BROKERS", kafka.brokers()),
        ("USHER_FEED__URL", platform.url.clone()),
        ("USHER_FEED__SECRET", "a secret of some length".to_owned()),
        ("USHER_FEED__SOURCE", "/test".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let app = app.restart(&settings).await;
    eventually("it is told", async || {
        has_all(&platform.took_of(&hers), &BOUGHT[..2]).then_some(())
    })
    .await;
    app.assert_audit_is_clean().await;
}
