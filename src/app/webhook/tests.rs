//! A real receiver on loopback.

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;

use super::*;
use crate::app::Tasks;
use crate::clock::ManualClock;
use crate::config::{Config, Flags, Sources};
use crate::domain::time::UnixMs;

type Seen = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// Answers by the body: a status, or never.
async fn answer(State(seen): State<Seen>, headers: HeaderMap, body: String) -> StatusCode {
    seen.lock().unwrap().push((headers, body.clone()));
    match body.parse() {
        Ok(status) => StatusCode::from_u16(status).unwrap(),
        Err(_) => std::future::pending().await,
    }
}

async fn receiver() -> (String, Seen) {
    let seen = Seen::default();
    let routes = Router::new()
        .route("/told", post(answer))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    Tasks::new().spawn_named("receiver", async move {
        let _ = axum::serve(listener, routes).await;
    });
    (url, seen)
}

fn webhook(url: &str) -> Webhook {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let sources = Sources {
        file: None,
        env: [
            own("USHER_NOTIFIER__URL", url),
            own("USHER_NOTIFIER__SECRET", "a secret of some length"),
            own("USHER_NOTIFIER__TIMEOUT_MS", "300"),
        ]
        .into(),
        flags: Flags::default(),
    };
    let config: Config = sources.load().unwrap();
    let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_123)));
    Webhook::of(&config.notifier, clock).unwrap()
}

#[tokio::test]
async fn a_status_says_what_becomes_of_a_notification() {
    let (url, _) = receiver().await;
    let webhook = webhook(&url);
    for (status, is_expected) in [
        (
            "200",
            (|told| told == Ok(())) as fn(Result<(), PostError>) -> bool,
        ),
        ("204", |told| told == Ok(())),
        ("301", |told| matches!(told, Err(PostError::Refused(_)))),
        ("410", |told| matches!(told, Err(PostError::Refused(_)))),
        ("429", |told| matches!(told, Err(PostError::Away(_)))),
        ("500", |told| matches!(told, Err(PostError::Failed(_)))),
        ("503", |told| matches!(told, Err(PostError::Away(_)))),
        ("never", |told| matches!(told, Err(PostError::Away(_)))),
    ] {
        let told = webhook.post("7", status.to_owned()).await;
        assert!(is_expected(told.clone()), "{status}: {told:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_away() {
    let told = webhook("http://127.0.0.1:9/told")
        .post("7", "200".to_owned())
        .await;
    assert!(matches!(told, Err(PostError::Away(_))), "{told:?}");
}

#[tokio::test]
async fn a_receiver_can_check_who_told_it() {
    let (url, seen) = receiver().await;
    webhook(&url).post("7", "200".to_owned()).await.unwrap();
    let seen = seen.lock().unwrap();
    let (headers, body) = &seen[0];
    assert_eq!(headers["usher-event-id"], "7");
    assert_eq!(headers["content-type"], "application/json");
    let signature = headers["usher-signature"].to_str().unwrap();
    let hex = signature.strip_prefix("t=1700000000,v1=").unwrap();
    let tag: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret of some length");
    let signed = format!("1700000000.{body}");
    hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
}
