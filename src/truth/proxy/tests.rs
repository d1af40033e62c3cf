use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::*;

const BOUND: Duration = Duration::from_secs(60);

/// A proxied connection with both of its ends.
struct Pair {
    proxy: Proxy,
    target: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

async fn pair() -> Pair {
    let target = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = target.local_addr().expect("addr");
    let proxy = Proxy::start(addr, 7).await.expect("proxy");
    let client = TcpStream::connect(proxy.addr()).await.expect("connect");
    let (server, _) = bound(target.accept()).await.expect("accept");
    Pair {
        proxy,
        target,
        client,
        server,
    }
}

async fn bound<T>(future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.expect("in time")
}

async fn expect_bytes(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    bound(stream.read_exact(&mut read)).await.expect("bytes");
    assert_eq!(read, bytes);
}

async fn expect_reset(stream: &mut TcpStream) {
    let error = bound(stream.read(&mut [0; 8])).await.expect_err("an RST");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn expect_end(stream: &mut TcpStream) {
    assert_eq!(bound(stream.read(&mut [0; 8])).await.expect("a FIN"), 0);
}

fn rule(pattern: &str, when: When, effect: Effect) -> Rule {
    Rule {
        direction: Direction::Up,
        pattern: pattern.into(),
        when,
        effect,
    }
}

#[tokio::test]
async fn it_forwards_both_ways_and_each_close_alone() {
    let mut pair = pair().await;
    let sent: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    let (mut from, mut to) = pair.client.split();
    let (mut read, mut back) = pair.server.split();
    let send = async {
        to.write_all(&sent).await.expect("write");
        to.shutdown().await.expect("shutdown");
    };
    let receive = async {
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.expect("read");
        // The other direction is still open.
        back.write_all(b"late").await.expect("write");
        back.shutdown().await.expect("shutdown");
        all
    };
    let ((), received) = bound(async { tokio::join!(send, receive) }).await;
    assert_eq!(received, sent);
    let mut answer = Vec::new();
    bound(from.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(answer, b"late");
    bound(pair.proxy.until(|progress| progress.ended == 1)).await;
    assert_eq!(pair.proxy.progress().forwarded(Direction::Up), 200_000);
}

#[tokio::test]
async fn a_delay_holds_for_its_direction_only() {
    let mut pair = pair().await;
    let link = Link {
        delay_ms: 60,
        jitter_ms: 20,
        ..Link::default()
    };
    pair.proxy.set_link(Direction::Up, link);
    let started = Instant::now();
    pair.server.write_all(b"down").await.expect("write");
    expect_bytes(&mut pair.client, b"down").await;
    let started_up = Instant::now();
    pair.client.write_all(b"one").await.expect("write");
    expect_bytes(&mut pair.server, b"one").await;
    assert!(started_up.elapsed() >= Duration::from_millis(60));
    assert!(started_up >= started);
    assert_eq!(pair.proxy.progress().forwarded(Direction::Down), 4);
}

#[tokio::test]
async fn jitter_keeps_the_order_of_bytes() {
    let mut pair = pair().await;
    let link = Link {
        jitter_ms: 5,
        ..Link::default()
    };
    pair.proxy.set_links(link);
    for byte in 0..50_u8 {
        pair.client.write_all(&[byte]).await.expect("write");
        tokio::task::yield_now().await;
    }
    let sent: Vec<u8> = (0..50).collect();
    expect_bytes(&mut pair.server, &sent).await;
}

#[tokio::test]
async fn a_cut_resets_both_sides() {
    let mut pair = pair().await;
    pair.proxy.cut();
    expect_reset(&mut pair.client).await;
    expect_reset(&mut pair.server).await;
    // A later connection lives.
    let mut client = TcpStream::connect(pair.proxy.addr())
        .await
        .expect("connect");
    let (mut server, _) = bound(pair.target.accept()).await.expect("accept");
    client.write_all(b"again").await.expect("write");
    expect_bytes(&mut server, b"again").await;
}

#[tokio::test]
async fn refused_connections_are_reset_and_live_ones_stay() {
    let mut pair = pair().await;
    pair.proxy.refuse(true);
    let mut refused = TcpStream::connect(pair.proxy.addr())
        .await
        .expect("connect");
    expect_reset(&mut refused).await;
    assert_eq!(pair.proxy.progress().refused, 1);
    pair.client.write_all(b"live").await.expect("write");
    expect_bytes(&mut pair.server, b"live").await;
    pair.proxy.refuse(false);
    TcpStream::connect(pair.proxy.addr())
        .await
        .expect("connect");
    bound(pair.target.accept()).await.expect("accept");
}

#[tokio::test]
async fn a_drop_is_silent_one_way_and_never_leaves_a_gap() {
    let mut pair = pair().await;
    let drop = Link {
        flow: Flow::Drop,
        ..Link::default()
    };
    pair.proxy.set_link(Direction::Up, drop);
    pair.client.write_all(b"lost").await.expect("write");
    bound(
        pair.proxy
            .until(|progress| progress.dropped(Direction::Up) == 4),
    )
    .await;
    pair.server.write_all(b"back").await.expect("write");
    expect_bytes(&mut pair.client, b"back").await;
    // Healed for others, not for a connection that lost bytes.
    pair.proxy.set_link(Direction::Up, Link::default());
    pair.client.write_all(b"more").await.expect("write");
    bound(
        pair.proxy
            .until(|progress| progress.dropped(Direction::Up) == 8),
    )
    .await;
    let nothing = pair
        .server
        .try_read(&mut [0; 8])
        .map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_stall_holds_bytes_until_it_heals() {
    let mut pair = pair().await;
    let stall = Link {
        flow: Flow::Stall,
        ..Link::default()
    };
    pair.proxy.set_link(Direction::Up, stall);
    pair.client.write_all(b"held").await.expect("write");
    // The other way round proves that the proxy runs meanwhile.
    pair.server.write_all(b"back").await.expect("write");
    expect_bytes(&mut pair.client, b"back").await;
    assert_eq!(pair.proxy.progress().forwarded(Direction::Up), 0);
    pair.proxy.set_link(Direction::Up, Link::default());
    expect_bytes(&mut pair.server, b"held").await;
}

#[tokio::test]
async fn a_limited_link_is_slow() {
    let mut pair = pair().await;
    let slow = Link {
        bytes_per_s: 10_000,
        ..Link::default()
    };
    pair.proxy.set_link(Direction::Down, slow);
    let started = Instant::now();
    pair.server.write_all(&[7; 3_000]).await.expect("write");
    expect_bytes(&mut pair.client, &[7; 3_000]).await;
    // The last thousand bytes are sent when the first two thousand are through.
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_match_after_forwards_the_pattern_and_cuts_the_sender() {
    let mut pair = pair().await;
    let armed = pair
        .proxy
        .on_match(rule("COMMIT", When::After, Effect::Cut));
    assert_eq!(armed, Ok(()));
    pair.client.write_all(b"BEGIN;COMM").await.expect("write");
    pair.client.write_all(b"IT;more").await.expect("write");
    expect_bytes(&mut pair.server, b"BEGIN;COMMIT").await;
    expect_end(&mut pair.server).await;
    expect_reset(&mut pair.client).await;
    assert_eq!(pair.proxy.progress().matched, 1);
}

#[tokio::test]
async fn a_match_before_keeps_the_pattern_from_the_receiver() {
    let mut pair = pair().await;
    let armed = pair
        .proxy
        .on_match(rule("COMMIT", When::Before, Effect::Cut));
    assert_eq!(armed, Ok(()));
    pair.client
        .write_all(b"BEGIN;COMMIT;")
        .await
        .expect("write");
    expect_bytes(&mut pair.server, b"BEGIN;").await;
    expect_reset(&mut pair.server).await;
    expect_reset(&mut pair.client).await;
}

#[tokio::test]
async fn a_match_can_drop_the_rest() {
    let mut pair = pair().await;
    let armed = pair.proxy.on_match(rule("OK", When::After, Effect::Drop));
    assert_eq!(armed, Ok(()));
    pair.client.write_all(b"..OK..").await.expect("write");
    expect_bytes(&mut pair.server, b"..OK").await;
    pair.client.write_all(b"more").await.expect("write");
    bound(
        pair.proxy
            .until(|progress| progress.dropped(Direction::Up) == 6),
    )
    .await;
}

#[tokio::test]
async fn a_match_can_delay_the_rest_once() {
    let mut pair = pair().await;
    let delay = Effect::Delay { delay_ms: 80 };
    let armed = pair.proxy.on_match(rule("go", When::Before, delay));
    assert_eq!(armed, Ok(()));
    let started = Instant::now();
    pair.client.write_all(b"!go").await.expect("write");
    expect_bytes(&mut pair.server, b"!").await;
    expect_bytes(&mut pair.server, b"go").await;
    assert!(started.elapsed() >= Duration::from_millis(80));
    // The rule is used up: the same bytes pass, and no rule matches again.
    pair.client.write_all(b"go").await.expect("write");
    expect_bytes(&mut pair.server, b"go").await;
    assert_eq!(pair.proxy.progress().matched, 1);
}

#[tokio::test]
async fn a_match_can_hold_the_rest_until_it_is_let_go() {
    let mut pair = pair().await;
    let sequence = vec![
        rule("one", When::After, Effect::Delay { delay_ms: 0 }),
        rule("go", When::Before, Effect::Hold),
    ];
    assert_eq!(pair.proxy.on_sequence(sequence), Ok(()));
    // Not its turn yet.
    pair.client.write_all(b"go").await.expect("write");
    expect_bytes(&mut pair.server, b"go").await;
    pair.client.write_all(b"one").await.expect("write");
    expect_bytes(&mut pair.server, b"one").await;
    pair.client.write_all(b"!go").await.expect("write");
    expect_bytes(&mut pair.server, b"!").await;
    bound(pair.proxy.until(|progress| progress.matched == 2)).await;
    let early = pair.server.try_read(&mut [0; 8]);
    assert_eq!(early.expect_err("held").kind(), ErrorKind::WouldBlock);
    // The other direction goes on.
    pair.server.write_all(b"back").await.expect("write");
    expect_bytes(&mut pair.client, b"back").await;
    pair.proxy.let_go();
    expect_bytes(&mut pair.server, b"go").await;
}

#[tokio::test]
async fn patterns_have_a_bound() {
    let pair = pair().await;
    for length in [0, PATTERN_BYTES_MAX + 1] {
        let long = rule(&"x".repeat(length), When::After, Effect::Cut);
        assert_eq!(pair.proxy.on_match(long.clone()), Err(PatternTooLong));
        let short = rule("x", When::After, Effect::Cut);
        let sequence = pair.proxy.on_sequence(vec![short, long]);
        assert_eq!(sequence, Err(PatternTooLong));
    }
}

#[tokio::test]
async fn stopping_ends_connections_in_bounded_time() {
    let mut pair = pair().await;
    let stall = Link {
        flow: Flow::Stall,
        ..Link::default()
    };
    pair.proxy.set_links(stall);
    bound(pair.proxy.stop()).await;
    expect_reset(&mut pair.client).await;
    expect_reset(&mut pair.server).await;
    assert!(TcpStream::connect(pair.proxy.addr()).await.is_err());
}

#[tokio::test]
async fn an_unreachable_target_resets_the_client() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = gone.local_addr().expect("addr");
    drop(gone);
    let proxy = Proxy::start(addr, 1).await.expect("proxy");
    let mut client = TcpStream::connect(proxy.addr()).await.expect("connect");
    expect_reset(&mut client).await;
}

#[tokio::test]
async fn one_of_its_clients_can_be_shut_out() {
    let mut pair = pair().await;
    let other = tokio::net::TcpSocket::new_v4().expect("a socket");
    other
        .bind("127.0.0.2:0".parse().expect("an address"))
        .expect("bound");
    let mut other = other.connect(pair.proxy.addr()).await.expect("connect");
    let (mut server, _) = bound(pair.target.accept()).await.expect("accept");
    pair.proxy
        .shut_out(Some("127.0.0.2".parse().expect("an address")));
    other.write_all(b"late").await.expect("write");
    pair.client.write_all(b"now").await.expect("write");
    expect_bytes(&mut pair.server, b"now").await;
    let forwarded = |progress: &Progress| progress.forwarded(Direction::Up);
    assert_eq!(forwarded(&pair.proxy.progress()), 3);
    pair.proxy.shut_out(None);
    expect_bytes(&mut server, b"late").await;
}
