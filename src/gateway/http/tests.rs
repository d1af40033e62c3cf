//! What answers mean, and who is trusted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::super::conformance::{self, Subject};
use super::*;
use crate::config::{Flags, Sources};

#[path = "../../../tests/servers/gateway.rs"]
#[expect(dead_code, reason = "whole servers use the rest")]
mod stub;

use stub::StubGateway;

struct Stubbed {
    gateway: HttpGateway,
    stub: StubGateway,
}

#[async_trait]
impl Subject for Stubbed {
    fn gateway(&self) -> &dyn PaymentGateway {
        &self.gateway
    }

    async fn decide(&self, intent: &ResourceId) {
        self.stub.decide(intent.as_str(), "succeeded");
    }

    async fn agree(&self, intent: &ResourceId) {
        self.stub.confirm_by_buyer(intent.as_str());
    }
}

#[tokio::test]
async fn it_does_as_every_gateway_does() {
    let stub = StubGateway::start().await;
    let settings = stub.settings().into_iter();
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    // As long as a busy machine takes.
    let patient = [("USHER_GATEWAY__CALL_TIMEOUT_MS", "10000")];
    let patient = patient.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources {
        file: None,
        env: settings
            .filter(|(name, _)| !name.ends_with("_MS"))
            .chain(patient)
            .collect(),
        flags: Flags::default(),
    };
    let config = sources.load().unwrap().gateway;
    let gateway = HttpGateway::of(&config, &Metrics::new()).unwrap().unwrap();
    conformance::all(&Stubbed { gateway, stub }).await;
}

/// An answer about an intent of 5 EUR, which is ours.
fn standing(rest: &str) -> String {
    body(&format!(
        "{{\"id\":\"pi_1\",\"reference\":\"i1\",\"amount_minor\":500,\"currency\":\"EUR\",{rest}}}"
    ))
}

fn body(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const PROCESSING: &str = "\"state\":\"processing\"";

fn intent() -> ResourceId {
    ResourceId::parse("i1").unwrap()
}

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn gateway(url: &str, ca_file: Option<&Path>) -> HttpGateway {
    let mut env = vec![
        ("USHER_GATEWAY__URL".to_owned(), url.to_owned()),
        ("USHER_GATEWAY__API_KEY".to_owned(), "key".to_owned()),
        (
            "USHER_GATEWAY__CALL_TIMEOUT_MS".to_owned(),
            "8000".to_owned(),
        ),
        (
            "USHER_GATEWAY__BREAKER_FAILURES".to_owned(),
            "1000".to_owned(),
        ),
    ];
    if let Some(path) = ca_file {
        let path = path.display().to_string();
        env.push(("USHER_GATEWAY__CA_FILE".to_owned(), path));
    }
    let sources = Sources {
        file: None,
        env,
        flags: Flags::default(),
    };
    let config = sources.load().unwrap().gateway;
    HttpGateway::of(&config, &Metrics::new()).unwrap().unwrap()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) {
    let mut request = vec![0; 4_096];
    if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let last = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let _ = stream.write_all(last.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// Answers one call after the other with these; the address.
async fn serve(tls: Option<TlsAcceptor>, answers: Vec<String>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        for text in answers {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            match &tls {
                None => answer(stream, &text).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, &text).await,
                    Err(_) => continue,
                },
            }
        }
    });
    address
}

async fn look(gateway: &HttpGateway) -> Result<ChargeState, GatewayError> {
    let charge = timeout(PATIENCE, gateway.look(&intent(), "pi_1")).await;
    charge.unwrap().map(|charge| charge.state)
}

#[tokio::test]
async fn statuses_say_whether_to_ask_again() {
    let status = |status: &str| format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
    let again = ["408", "500", "503"];
    let busy = ["409", "425", "429"];
    let never = ["400", "401", "402", "404", "422"];
    let person = "\"Alice Example\"";
    let unreadable = [
        "",
        "{}",
        "[]",
        person,
        "{\"id\":\"pi_1\",\"state\":\"open\"}",
    ];
    let mut answers: Vec<String> = again
        .iter()
        .chain(&busy)
        .chain(&never)
        .map(|code| status(code))
        .collect();
    answers.extend(unreadable.iter().map(|text| body(text)));
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(ANSWER_BYTES_MAX));
    answers.push(body(&large));
    answers.push(standing(PROCESSING));
    let address = serve(None, answers).await;
    let gateway = gateway(&format!("http://{address}/v1/"), None);
    for code in again {
        let seen = look(&gateway).await;
        assert!(
            matches!(seen, Err(GatewayError::Unavailable(_))),
            "{code}: {seen:?}"
        );
    }
    for code in busy {
        let status = code.parse().unwrap();
        assert_eq!(look(&gateway).await, Err(GatewayError::Busy { status }));
    }
    for code in never {
        let status = code.parse().unwrap();
        assert_eq!(look(&gateway).await, Err(GatewayError::Refused { status }));
    }
    for text in unreadable {
        // Without what it quotes: it may name people.
        assert_eq!(look(&gateway).await, Err(unreadable_answer()), "{text}");
    }
    assert!(matches!(
        look(&gateway).await,
        Err(GatewayError::Unavailable(_))
    ));
    assert_eq!(look(&gateway).await, Ok(ChargeState::Processing));
}

fn unreadable_answer() -> GatewayError {
    unreadable()
}

#[tokio::test]
async fn an_answer_about_another_intent_is_none() {
    let other = standing(PROCESSING);
    let answers = vec![
        other.replace("pi_1", "pi_2"),
        other.replace("i1", "i2"),
        other.replace("EUR", "eur"),
        standing("\"state\":\"maybe\""),
        other.clone(),
    ];
    let address = serve(None, answers).await;
    let gateway = gateway(&format!("http://{address}/v1"), None);
    for _ in 0..4 {
        assert_eq!(look(&gateway).await, Err(unreadable_answer()));
    }
    let charge = gateway.look(&intent(), "pi_1").await.unwrap();
    assert_eq!(charge.amount.amount_minor, 500);
}

#[tokio::test]
async fn a_buyer_is_sent_only_where_nobody_listens() {
    let asks = |url: &str| {
        standing(&format!(
            "\"state\":\"open\",\"action\":{{\"url\":\"{url}\"}}"
        ))
    };
    let good = "https://bank.example/3ds?x=1";
    let long = format!("https://bank.example/{}", "x".repeat(ACTION_BYTES_MAX));
    let bad = [
        "http://bank.example/",
        "javascript:alert(1)",
        "https://a@b/",
        &long,
    ];
    let mut answers = vec![asks(good), standing(PROCESSING)];
    answers.extend(bad.map(asks));
    let address = serve(None, answers).await;
    let gateway = gateway(&format!("http://{address}/v1"), None);
    let look = async || gateway.look(&intent(), "pi_1").await.unwrap().action_url;
    assert_eq!(look().await.as_deref(), Some(good));
    assert_eq!(look().await, None);
    for url in bad {
        assert_eq!(look().await, None, "{url}");
    }
}

#[tokio::test]
async fn an_id_that_is_no_id_is_never_asked_for() {
    let gateway = gateway("http://127.0.0.1:9", None);
    for id in ["", "..", "a/b", "a?b", "a b", "é", &"x".repeat(129)] {
        let seen = gateway.look(&intent(), id).await;
        let text = "the payment provider cannot be reached: an answer that is not understood";
        assert_eq!(seen.unwrap_err().to_string(), text, "{id}");
    }
}

#[tokio::test]
async fn tls_is_spoken_and_an_unknown_authority_is_refused() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, signed.cert.pem()).unwrap();
    let key = signed.signing_key.serialize_pem();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key);
    let tls = TlsAcceptor::from(Arc::new(server.unwrap()));
    let address = serve(Some(tls), vec![standing(PROCESSING); 2]).await;
    let url = format!("https://{address}");
    let stranger = look(&gateway(&url, None)).await;
    assert!(
        matches!(stranger, Err(GatewayError::Unavailable(_))),
        "{stranger:?}"
    );
    let known = look(&gateway(&url, Some(&ca_file))).await;
    assert_eq!(known, Ok(ChargeState::Processing));
}
