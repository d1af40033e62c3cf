use tokio::io::AsyncWriteExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::TestApp;
use crate::raw::{
    END_HEADERS, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, closed_by_server, connect, frame,
    get, read_frame, request_headers,
};

const MAX_CONCURRENT_STREAMS: u16 = 3;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

fn settings_of(payload: &[u8]) -> Vec<(u16, u32)> {
    payload
        .chunks(6)
        .map(|entry| {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (id, value)
        })
        .collect()
}

#[tokio::test]
async fn limits_are_advertised() {
    let env = [("USHER_TRANSPORT__STREAMS_PER_CONNECTION_MAX", "37")];
    let app = TestApp::start(&env).await;
    let mut stream = connect(app.addr).await;
    stream.write_all(PREFACE).await.expect("sent");
    stream
        .write_all(&frame(SETTINGS, 0, 0, &[]))
        .await
        .expect("sent");
    let first = read_frame(&mut stream).await.expect("a frame");
    assert_eq!(first.kind, SETTINGS);
    let settings = settings_of(&first.payload);
    assert!(
        settings.contains(&(MAX_CONCURRENT_STREAMS, 37)),
        "{settings:?}"
    );
    assert!(
        settings.contains(&(MAX_HEADER_LIST_SIZE, 16_384)),
        "{settings:?}"
    );
    assert!(settings.contains(&(MAX_FRAME_SIZE, 16_384)), "{settings:?}");
}

#[tokio::test]
async fn rapid_reset_ends_the_connection_and_no_other() {
    let app = TestApp::start(&[]).await;
    let mut other = HealthClient::new(app.channel().await);
    let mut stream = connect(app.addr).await;
    let mut attack = PREFACE.to_vec();
    attack.extend(frame(SETTINGS, 0, 0, &[]));
    let headers = request_headers("/grpc.health.v1.Health/Check");
    // Few enough to be read at once: unread bytes would turn the end into a reset.
    for index in 0..30 {
        let id = 2 * index + 1;
        attack.extend(frame(HEADERS, END_HEADERS, id, &headers));
        attack.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    stream.write_all(&attack).await.expect("sent");
    let code = loop {
        let frame = read_frame(&mut stream)
            .await
            .expect("GOAWAY before the end");
        if frame.kind == GOAWAY {
            break u32::from_be_bytes(frame.payload[4..8].try_into().expect("four bytes"));
        }
    };
    assert_eq!(code, ENHANCE_YOUR_CALM);
    other
        .check(HealthCheckRequest::default())
        .await
        .expect("others are served");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dropped() {
    let env = [("USHER_TRANSPORT__HANDSHAKE_TIMEOUT_MS", "100")];
    let app = TestApp::start(&env).await;
    let mut silent = connect(app.addr).await;
    closed_by_server(&mut silent).await;
    let mut slow = connect(app.addr).await;
    slow.write_all(&PREFACE[..20]).await.expect("sent");
    closed_by_server(&mut slow).await;
    app.counts("usher_connections_cut_total{reason=\"handshake\"} 2")
        .await;
}

#[tokio::test]
async fn a_client_that_is_idle_after_its_preface_stays() {
    let env = [("USHER_TRANSPORT__HANDSHAKE_TIMEOUT_MS", "2000")];
    let app = TestApp::start(&env).await;
    let channel = app.channel().await;
    // Another connection is dropped at its deadline, later than this one's.
    let mut silent = connect(app.addr).await;
    closed_by_server(&mut silent).await;
    let mut health = HealthClient::new(channel);
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("served");
    app.counts("usher_connections_accepted_total 2").await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_at_once() {
    let env = [("USHER_TRANSPORT__CONNECTIONS_MAX", "2")];
    let app = TestApp::start(&env).await;
    let first = connect(app.addr).await;
    let mut health = HealthClient::new(app.channel().await);
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("served");
    let mut beyond = connect(app.addr).await;
    closed_by_server(&mut beyond).await;
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("still served");
    app.counts("usher_connections_cut_total{reason=\"limit\"} 1")
        .await;
    drop((first, health));
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let env = [("USHER_TRANSPORT__CONNECTIONS_PER_ADDRESS", "2")];
    let app = TestApp::start(&env).await;
    let [first, _second] = [connect(app.addr).await, connect(app.addr).await];
    app.counts("usher_connections_open 2").await;
    closed_by_server(&mut connect(app.addr).await).await;
    app.counts("usher_connections_cut_total{reason=\"address\"} 1")
        .await;
    let neighbour = tokio::net::TcpSocket::new_v4().expect("a socket");
    neighbour
        .bind("127.0.0.2:0".parse().expect("an address"))
        .expect("bound");
    let _neighbour = neighbour.connect(app.addr).await.expect("connected");
    app.counts("usher_connections_open 3").await;
    drop(first);
    app.counts("usher_connections_open 2").await;
    assert!(get(app.addr, "/livez").await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let app = TestApp::start(&[]).await;
    let mut health = HealthClient::new(app.channel().await);
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let huge = "a".repeat(20_000).parse().expect("ASCII");
    request.metadata_mut().insert("x-huge", huge);
    health.check(request).await.expect_err("too large");
    health
        .check(HealthCheckRequest::default())
        .await
        .expect("the connection lives");
    let (head, _) = get(app.addr, &format!("/{}", "a".repeat(20_000))).await;
    assert!(head.starts_with("http/1.1 4"), "{head}");
}

#[tokio::test]
async fn garbage_is_answered_and_forgotten() {
    let app = TestApp::start(&[]).await;
    let mut stream = connect(app.addr).await;
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more than that, too\r\n\r\n")
        .await
        .expect("sent");
    closed_by_server(&mut stream).await;
    assert!(get(app.addr, "/livez").await.0.starts_with("http/1.1 200"));
}
