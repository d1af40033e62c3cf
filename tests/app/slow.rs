//! Peers that take their time: they lose their call or their connection.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::frames::{half_open, id};
use crate::harness::{TestApp, soon};
use crate::raw::{
    DATA, HEADERS, PING, Peer, SETTINGS, closed_by_server, connect, frame, http1, read_frame,
};

/// Before a peer that answers no pings is dropped.
const SHORT_PATIENCE: [(&str, &str); 2] = [
    ("USHER_TRANSPORT__KEEPALIVE_INTERVAL_MS", "1000"),
    ("USHER_TRANSPORT__KEEPALIVE_TIMEOUT_MS", "1000"),
];

/// Answers must not pile up for a peer that asks and never listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_is_dropped() {
    let app = TestApp::start(&SHORT_PATIENCE).await;
    for ping in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut peer = Peer::connect(app.addr).await;
        let flood = ping.repeat(10_000);
        let speaking = async { while peer.send(&flood).await {} };
        soon("the end of a flood", speaking).await;
    }
    let mut health = HealthClient::new(app.channel().await);
    let answer = health.check(HealthCheckRequest::default()).await;
    answer.expect("others are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_never_comes_whole_fails_and_frees_its_stream() {
    let env = [("USHER_TRANSPORT__REQUEST_TIMEOUT_MS", "100")];
    let app = TestApp::start(&env).await;
    let mut peer = Peer::connect(app.addr).await;
    let late = "rpc_method=\"grpc.health.v1.Health/Check\",\
                rpc_response_status_code=\"DEADLINE_EXCEEDED\"}";
    // As many as one connection may have open, twice.
    for round in 0..2 {
        let first = round * 256;
        let kept = |index| match index % 3 {
            0 => half_open(index),
            1 => [half_open(index), frame(DATA, 0, id(index), &[0; 3])].concat(),
            // Said, but for the end.
            _ => [half_open(index), frame(DATA, 0, id(index), &[0; 5])].concat(),
        };
        let held: Vec<u8> = (first..first + 256).flat_map(kept).collect();
        peer.send(&held).await;
        for _ in 0..256 {
            answered(&mut peer).await;
        }
        app.counts(&format!("{late} {}", (round + 1) * 256)).await;
        app.counts("usher_rpc_active 0").await;
    }
    // HTTP/1 is no way around it.
    let request = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: test\r\n\
                   content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\
                   connection: close\r\n\r\n";
    let (head, _) = http1(app.addr, request.as_bytes()).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    app.counts(&format!("{late} 513")).await;
}

/// The next answer's head.
async fn answered(peer: &mut Peer) {
    loop {
        let next = read_frame(&mut peer.stream).await.expect("a frame");
        if next.kind == HEADERS {
            return;
        }
    }
}

/// Headers of HTTP/1 that are never finished.
#[tokio::test]
async fn slow_headers_are_dropped() {
    let env = [("USHER_TRANSPORT__HANDSHAKE_TIMEOUT_MS", "2000")];
    let app = TestApp::start(&env).await;
    let mut peer = connect(app.addr).await;
    let begun = b"GET / HTTP/1.1\r\nhost: test\r\nx-never: ends";
    tokio::io::AsyncWriteExt::write_all(&mut peer, begun)
        .await
        .expect("sent");
    closed_by_server(&mut peer).await;
    let mut health = HealthClient::new(app.channel().await);
    let answer = health.check(HealthCheckRequest::default()).await;
    answer.expect("others are served");
}
