use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use usher::app::{App, Services};
use usher::metrics::Metrics;

use crate::harness::{TestApp, config, soon};
use crate::raw::{PING, PREFACE, SETTINGS, closed_by_server, connect, frame};

struct Identity {
    dir: tempfile::TempDir,
    certificate: rustls_pki_types::CertificateDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("tls.crt"), made.cert.pem()).expect("written");
        let key = made.signing_key.serialize_pem();
        std::fs::write(dir.path().join("tls.key"), key).expect("written");
        Self {
            dir,
            certificate: made.cert.der().clone(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir
            .path()
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    }
}

async fn start(identity: &Identity) -> TestApp {
    start_with(identity, &[]).await
}

async fn start_with(identity: &Identity, env: &[(&str, &str)]) -> TestApp {
    let (certificate, key) = (identity.path("tls.crt"), identity.path("tls.key"));
    let tls = [
        ("USHER_TLS__CERTIFICATE", certificate.as_str()),
        ("USHER_TLS__KEY", &key),
        ("USHER_TRANSPORT__HANDSHAKE_TIMEOUT_MS", "5000"),
    ];
    TestApp::start(&[&tls, env].concat()).await
}

fn connector(identity: &Identity) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(identity.certificate.clone())
        .expect("a certificate");
    let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(client))
}

async fn channel(app: &TestApp, identity: &Identity) -> Channel {
    let connector = connector(identity);
    let addr = app.addr;
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(addr).await?;
            let name = "localhost".try_into().expect("a name");
            let tls = connector.connect(name, tcp).await?;
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    // The scheme only names the authority here: the connector does TLS.
    let endpoint = Endpoint::from_static("http://localhost");
    soon("tls", endpoint.connect_with_connector(connect))
        .await
        .expect("connected")
}

#[tokio::test]
async fn grpc_is_served_over_tls() {
    let identity = Identity::new();
    let app = start(&identity).await;
    let mut health = HealthClient::new(channel(&app, &identity).await);
    let answer = health
        .check(HealthCheckRequest::default())
        .await
        .expect("OK");
    assert_eq!(answer.into_inner().status, 1);
}

#[tokio::test]
async fn what_is_no_tls_is_dropped_and_others_are_served() {
    let identity = Identity::new();
    let app = start(&identity).await;
    let mut plain = connect(app.addr).await;
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    closed_by_server(&mut plain).await;
    let mut silent = connect(app.addr).await;
    closed_by_server(&mut silent).await;
    app.counts("usher_connections_cut_total{reason=\"tls\"} 1")
        .await;
    app.counts("usher_connections_cut_total{reason=\"handshake\"} 1")
        .await;
    let mut health = HealthClient::new(channel(&app, &identity).await);
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("OK");
}

#[tokio::test]
async fn a_peer_in_the_middle_of_tls_does_not_hold_up_a_stop() {
    let identity = Identity::new();
    let app = start(&identity).await;
    let mut silent = connect(app.addr).await;
    let mut health = HealthClient::new(channel(&app, &identity).await);
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("OK");
    drop(health);
    let stopped = app.stop();
    closed_by_server(&mut silent).await;
    assert_eq!(soon("the stop", stopped).await.expect("it ran").cut, 0);
}

#[tokio::test]
async fn unusable_files_are_refused_by_the_key_that_names_them() {
    let (one, other) = (Identity::new(), Identity::new());
    let empty = one.path("empty");
    std::fs::write(&empty, "").expect("written");
    let (certificate, missing) = (one.path("tls.crt"), one.path("missing"));
    let foreign_key = other.path("tls.key");
    for (certificate, key, refused) in [
        (&missing, &foreign_key, "tls.certificate"),
        (&empty, &foreign_key, "tls.certificate"),
        (&certificate, &missing, "tls.key"),
        (&certificate, &foreign_key, "tls.key"),
    ] {
        let config = config(&[
            ("USHER_TLS__CERTIFICATE", certificate),
            ("USHER_TLS__KEY", key),
        ]);
        let services = Services {
            grpc: tonic::service::Routes::default(),
            http: axum::Router::new(),
            jwks: Arc::new(|| "{\"keys\":[]}".to_owned()),
            readiness: Arc::new(()),
            drain: Arc::new(|| {}),
        };
        let error = App::build(config, services, Metrics::new()).await.err();
        let text = error.expect("refused").to_string();
        assert!(text.starts_with(refused), "{text}");
    }
}

/// TLS gathers what the peer does not take: it must not hide that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_is_dropped_over_tls_too() {
    let identity = Identity::new();
    let patience = [
        ("USHER_TRANSPORT__KEEPALIVE_INTERVAL_MS", "1000"),
        ("USHER_TRANSPORT__KEEPALIVE_TIMEOUT_MS", "1000"),
    ];
    let app = start_with(&identity, &patience).await;
    let name = "localhost".try_into().expect("a name");
    let shaken = connector(&identity).connect(name, connect(app.addr).await);
    let mut peer = soon("tls", shaken).await.expect("connected");
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    peer.write_all(&hello).await.expect("sent");
    let flood = frame(PING, 0, 0, &[7; 8]).repeat(10_000);
    let speaking = async { while peer.write_all(&flood).await.is_ok() {} };
    soon("the end of a flood", speaking).await;
    app.counts("usher_connections_cut_total{reason=\"stalled\"} 1")
        .await;
    app.counts("usher_connections_open 0").await;
}
