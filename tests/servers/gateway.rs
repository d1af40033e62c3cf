//! A payment provider for tests: a real HTTP server that is slow, loses answers,
//! declines, confirms late and tells things twice, as it is told to.
//!
//! What a token does: `ok` is charged at once; `declined` is not; `slow` is
//! processing until [`StubGateway::decide`]; `lost` is charged, and the answer
//! never comes; `ask` leaves it open, and asks the buyer for something; `open`
//! leaves it open; `less` charges 1; any other is refused. An idempotency key is
//! answered as at first, however the intent or the refund stands by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use usher::app::Tasks;
use usher::clock::{Clock as _, SystemClock};

pub const API_KEY: &str = "sk-test-0123456789";
pub const WEBHOOK_SECRET: &str = "whsec-0123456789abcdef";

#[derive(Debug, Clone, Default)]
pub struct Charge {
    pub id: String,
    pub state: String,
    pub amount_minor: i64,
    pub currency: String,
    /// How often money was taken: never more than once, if all goes well.
    pub captures: u32,
    pub refunded_minor: i64,
    /// By their references: how they stand.
    pub refunds: BTreeMap<String, String>,
    asks: bool,
}

/// Where it sends who has to confirm.
pub const ACTION_URL: &str = "https://bank.example/confirm";

#[derive(Default)]
struct Books {
    /// By our reference.
    charges: BTreeMap<String, Charge>,
    answers: BTreeMap<String, Value>,
    calls: u64,
    is_away: bool,
    is_silent: bool,
    away_after: Option<u32>,
    /// Calls that are answered with 429.
    busy: u32,
    lost_refunds: u32,
    /// What becomes of refunds; "" is done at once, "refused" is 422.
    refund_state: String,
}

#[derive(Clone)]
pub struct StubGateway {
    pub url: String,
    books: Arc<Mutex<Books>>,
}

impl StubGateway {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let stub = Self {
            url,
            books: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/intents", post(create))
            .route("/v1/intents/{id}", get(look))
            .route("/v1/intents/{id}/confirm", post(confirm))
            .route("/v1/intents/{id}/cancel", post(cancel))
            .route("/v1/intents/{id}/refunds", post(refund))
            .route("/v1/intents/{id}/refunds/{reference}", get(look_refund))
            .with_state(stub.clone());
        Tasks::new().spawn_named("stub.gateway", async move {
            axum::serve(listener, router).await.expect("served");
        });
        stub
    }

    /// The settings of a server that pays through it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |text: &str| text.to_owned();
        vec![
            ("USHER_GATEWAY__URL", self.url.clone()),
            ("USHER_GATEWAY__PROVIDER", text("stub")),
            ("USHER_GATEWAY__API_KEY", text(API_KEY)),
            ("USHER_GATEWAY__WEBHOOK_SECRET", text(WEBHOOK_SECRET)),
            // Longer than a busy machine keeps an answer back.
            ("USHER_GATEWAY__CALL_TIMEOUT_MS", text("2000")),
            ("USHER_GATEWAY__TIME_LIMIT_MS", text("8000")),
            ("USHER_GATEWAY__ANSWER_WITHIN_MS", text("10000")),
            ("USHER_GATEWAY__BREAKER_FAILURES", text("3")),
            ("USHER_GATEWAY__BREAKER_OPEN_MS", text("100")),
        ]
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn charge(&self, reference: &str) -> Charge {
        let books = self.books();
        books.charges.get(reference).cloned().unwrap_or_default()
    }

    /// Of all there are.
    pub fn charges(&self) -> Vec<Charge> {
        self.books().charges.values().cloned().collect()
    }

    pub fn calls(&self) -> u64 {
        self.books().calls
    }

    /// All calls fail, or none.
    pub fn set_away(&self, is_away: bool) {
        self.books().is_away = is_away;
    }

    /// No call is answered from now on.
    pub fn fall_silent(&self) {
        self.books().is_silent = true;
    }

    pub fn answer_busy(&self, calls: u32) {
        self.books().busy = calls;
    }

    /// What refunds that are asked for from now on are: "pending", "failed",
    /// "refused", or "" for done.
    pub fn set_refunds(&self, state: &str) {
        self.books().refund_state = state.to_owned();
    }

    /// Refunds that are on their way are over.
    pub fn end_refunds(&self, state: &str) {
        for charge in self.books().charges.values_mut() {
            for standing in charge.refunds.values_mut() {
                if standing == "pending" {
                    state.clone_into(standing);
                }
            }
        }
    }

    /// The buyer did what was asked for.
    pub fn confirm_by_buyer(&self, reference: &str) {
        let mut books = self.books();
        let charge = books.charges.get_mut(reference).expect("a charge");
        assert_eq!((charge.state.as_str(), charge.asks), ("open", true));
        charge.state = "succeeded".to_owned();
        charge.captures += 1;
    }

    /// Refunds that are made, and not answered.
    pub fn lose_refunds(&self, count: u32) {
        self.books().lost_refunds = count;
    }

    /// It takes another amount than it was asked for.
    pub fn take_only(&self, reference: &str, amount_minor: i64) {
        let mut books = self.books();
        let charge = books.charges.get_mut(reference).expect("a charge");
        charge.amount_minor = amount_minor;
    }

    /// All calls but the next few fail.
    pub fn go_away_after(&self, calls: u32) {
        self.books().away_after = Some(calls);
    }

    /// What was processing is over.
    pub fn decide(&self, reference: &str, state: &str) {
        let mut books = self.books();
        let charge = books.charges.get_mut(reference).expect("a charge");
        assert_eq!(charge.state, "processing");
        charge.state = state.to_owned();
        charge.captures += u32::from(state == "succeeded");
    }

    /// An event about it, as it stands.
    pub fn event(&self, reference: &str, event_id: &str) -> String {
        let charge = self.charge(reference);
        let event = json!({
            "id": event_id,
            "type": format!("intent.{}", charge.state),
            "intent": {
                "id": charge.id,
                "reference": reference,
                "state": charge.state,
                "amount_minor": charge.amount_minor,
                "currency": charge.currency,
            },
        });
        event.to_string()
    }

    /// Tells the server at an address; answers its status.
    pub async fn tell(&self, address: &str, reference: &str, event_id: &str) -> u16 {
        let body = self.event(reference, event_id);
        let signature = sign(&body, SystemClock.now().0 / 1_000);
        send(address, "stub", &signature, &body).await
    }
}

pub fn sign(body: &str, seconds: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// Posts a webhook; answers the status, 0 if there is none.
pub async fn send(address: &str, provider: &str, signature: &str, body: &str) -> u16 {
    let head = format!(
        "POST /webhooks/payments/{provider} HTTP/1.1\r\nhost: test\r\n\
         content-type: application/json\r\ngateway-signature: {signature}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // It may be refused before it is all there.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_default()
}

/// What stands before every call: who asks, and whether it is there at all.
async fn enter(stub: &StubGateway, headers: &HeaderMap) -> Result<(), StatusCode> {
    if stub.books().is_silent {
        return std::future::pending().await;
    }
    let mut books = stub.books();
    books.calls += 1;
    if books.busy > 0 {
        books.busy -= 1;
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    let authorization = headers.get("authorization");
    let authorization = authorization.and_then(|value| value.to_str().ok());
    if authorization != Some(&format!("Bearer {API_KEY}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if let Some(left) = books.away_after.take() {
        books.away_after = left.checked_sub(1);
        books.is_away = left == 0;
    }
    match books.is_away {
        true => Err(StatusCode::SERVICE_UNAVAILABLE),
        false => Ok(()),
    }
}

fn key(headers: &HeaderMap) -> String {
    let key = headers.get("idempotency-key").expect("an idempotency key");
    key.to_str().expect("ASCII").to_owned()
}

fn standing(reference: &str, charge: &Charge) -> Value {
    let mut standing = json!({
        "id": charge.id,
        "reference": reference,
        "state": charge.state,
        "amount_minor": charge.amount_minor,
        "currency": charge.currency,
    });
    if charge.asks && charge.state == "open" {
        standing["action"] = json!({ "url": ACTION_URL });
    }
    standing
}

impl Books {
    fn by_id(&mut self, id: &str) -> Option<(&str, &mut Charge)> {
        let mut charges = self.charges.iter_mut();
        let found = charges.find(|(_, charge)| charge.id == id);
        found.map(|(reference, charge)| (reference.as_str(), charge))
    }
}

async fn create(
    State(stub): State<StubGateway>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    let mut books = stub.books();
    let key = key(&headers);
    if let Some(first) = books.answers.get(&key) {
        return Json(first.clone()).into_response();
    }
    let reference = body["reference"].as_str().expect("a reference").to_owned();
    assert_eq!(key, reference);
    let charge = Charge {
        id: format!("pi_{}", books.charges.len() + 1),
        state: "open".to_owned(),
        amount_minor: body["amount_minor"].as_i64().expect("an amount"),
        currency: body["currency"].as_str().expect("a currency").to_owned(),
        ..Charge::default()
    };
    let answer = standing(&reference, &charge);
    assert!(books.charges.insert(reference, charge).is_none());
    books.answers.insert(key, answer.clone());
    Json(answer).into_response()
}

async fn look(
    State(stub): State<StubGateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    match stub.books().by_id(&id) {
        Some((reference, charge)) => Json(standing(reference, charge)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn confirm(
    State(stub): State<StubGateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    let key = key(&headers);
    let token = body["token"].as_str().expect("a token").to_owned();
    let answer = {
        let mut books = stub.books();
        if let Some(first) = books.answers.get(&key) {
            return Json(first.clone()).into_response();
        }
        let (reference, charge) = books.by_id(&id).expect("an intent");
        if charge.state != "open" {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        let state = match token.as_str() {
            "ok" | "lost" | "less" => "succeeded",
            "ask" | "open" => "open",
            "declined" => "declined",
            "slow" => "processing",
            _ => return StatusCode::BAD_REQUEST.into_response(),
        };
        charge.state = state.to_owned();
        charge.asks = token == "ask";
        if token == "less" {
            charge.amount_minor = 1;
        }
        charge.captures += u32::from(state == "succeeded");
        let answer = standing(reference, charge);
        books.answers.insert(key, answer.clone());
        answer
    };
    if token == "lost" {
        return std::future::pending().await;
    }
    Json(answer).into_response()
}

async fn cancel(
    State(stub): State<StubGateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    let mut books = stub.books();
    let Some((reference, charge)) = books.by_id(&id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if charge.state == "open" {
        charge.state = "cancelled".to_owned();
    }
    Json(standing(reference, charge)).into_response()
}

async fn refund(
    State(stub): State<StubGateway>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    let key = key(&headers);
    let (is_lost, answer) = {
        let mut books = stub.books();
        if let Some(first) = books.answers.get(&key) {
            return Json(first.clone()).into_response();
        }
        let state = match books.refund_state.as_str() {
            "refused" => return StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            "" => "succeeded".to_owned(),
            state => state.to_owned(),
        };
        let (_, charge) = books.by_id(&id).expect("an intent");
        assert_eq!(charge.state, "succeeded");
        if state != "failed" {
            charge.refunded_minor += body["amount_minor"].as_i64().expect("an amount");
        }
        assert!(charge.refunded_minor <= charge.amount_minor);
        charge.refunds.insert(key.clone(), state.clone());
        let answer = json!({ "state": state });
        if state != "failed" {
            books.answers.insert(key, answer.clone());
        }
        let is_lost = books.lost_refunds > 0;
        books.lost_refunds = books.lost_refunds.saturating_sub(1);
        (is_lost, answer)
    };
    if is_lost {
        return std::future::pending().await;
    }
    Json(answer).into_response()
}

async fn look_refund(
    State(stub): State<StubGateway>,
    Path((id, reference)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = enter(&stub, &headers).await {
        return refused.into_response();
    }
    let mut books = stub.books();
    let found = books
        .by_id(&id)
        .and_then(|(_, charge)| charge.refunds.get(&reference));
    match found {
        Some(state) => Json(json!({ "state": state })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
