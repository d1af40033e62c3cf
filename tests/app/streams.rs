//! Streams in numbers that no client needs.

use std::collections::HashSet;

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;

use crate::call::framed;
use crate::harness::{Panics, soon};
use crate::raw::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, Peer, RST_STREAM, call, frame,
    literals, read_frame, request_headers,
};
use crate::whole::{Caller, GET_PLACE, WATCH, Whole, watch};

/// How many streams are opened and reset at once; more by `USHER_TEST_RESETS`.
const RESETS: u32 = 10_000;
/// Of one burst: a connection does not live longer under this.
const BURST: u32 = 100;
const REFUSED_STREAM: u32 = 7;
const TOP_UP: &str = "/usher.v1.PaymentService/TopUpWallet";

fn resets() -> u32 {
    let told = std::env::var("USHER_TEST_RESETS").ok();
    told.map_or(RESETS, |told| told.parse().expect("a number"))
}

/// A whole `Watch` of alice.
fn watching(id: u32, token: &str) -> Vec<u8> {
    commanding(id, WATCH, &watch(token))
}

/// One command of alice, whole.
fn commanding(id: u32, path: &str, message: &impl Message) -> Vec<u8> {
    let headers: [(&str, &[u8]); 6] = [
        (":method", b"POST"),
        (":scheme", b"http"),
        (":path", path.as_bytes()),
        (":authority", b"test"),
        ("content-type", b"application/grpc"),
        ("x-user-id", b"alice"),
    ];
    let head = frame(HEADERS, END_HEADERS, id, &literals(&headers));
    let body = framed(&message.encode_to_vec());
    [head, frame(DATA, END_STREAM, id, &body)].concat()
}

/// Alice, second in line, and her token.
async fn waiting_alice(app: &Whole) -> (Caller, String) {
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    Caller::named(&channel, "first").join(&room).await;
    let alice = Caller::named(&channel, "alice");
    let token = alice.join(&room).await.place_token;
    (alice, token)
}

async fn place(alice: &Caller, token: &str) -> wire::Place {
    let get = wire::GetPlaceRequest {
        place_token: token.to_owned(),
    };
    let answer = alice.call(GET_PLACE).message(&get).send(&alice.channel);
    let answer: wire::GetPlaceResponse = answer.await.ok();
    answer.place.expect("a place")
}

/// What a whole stream said.
fn events(mut body: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let [_, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let message = wire::WatchResponse::decode(&rest[..length]).expect("a message");
        events.push(message.event.expect("an event"));
        body = &rest[length..];
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_and_reset_at_once_leave_nothing_behind() {
    let panics = Panics::watch();
    let app = Whole::start(&[]).await;
    let (alice, token) = waiting_alice(&app).await;
    let burst = |index: u32| {
        let id = 2 * index + 1;
        let reset = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
        [watching(id, &token), reset].concat()
    };
    let burst: Vec<u8> = (0..BURST).flat_map(burst).collect();
    for _ in 0..resets() / BURST {
        let mut peer = Peer::connect(app.addr).await;
        peer.send(&burst).await;
        // Cut off for it, or heard to the end.
        let last = 2 * BURST + 1;
        peer.send(&call(last, "/grpc.health.v1.Health/Check")).await;
        peer.outcome(last).await;
    }
    let alice_now = place(&alice, &token).await;
    assert_eq!(
        (alice_now.number, alice_now.state()),
        (2, wire::PlaceState::Waiting)
    );
    app.counts("usher_rpc_active 0").await;
    // Her own stream is one of three, however many there were.
    let call = alice.call(WATCH).message(&watch(&token));
    let mut open = call.open(&alice.channel).await.expect("a stream");
    let first = soon("a snapshot", open.body_mut().frame()).await;
    let first = first.expect("a message").expect("no error");
    let said = events(&first.into_data().expect("data"));
    assert!(matches!(said[0], Event::Snapshot(_)), "{said:?}");
    drop(open);
    app.counts("usher_rpc_active 0").await;
    panics.assert_none();
}

/// More of them than a connection may have errors of its own making.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_refused_before_they_are_whole_end_no_connection() {
    let app = Whole::start(&[]).await;
    let mut peer = Peer::connect(app.addr).await;
    let ids = |round: u32| (0..BURST).map(move |nth| 2 * (round * BURST + nth) + 1);
    let rounds = 10;
    for round in 0..rounds {
        // Nobody says who they are: no more than the heads is needed to refuse them.
        let head = |id| frame(HEADERS, END_HEADERS, id, &request_headers(GET_PLACE));
        let body = |id| frame(DATA, END_STREAM, id, &framed(&[]));
        let calls = ids(round).flat_map(head).chain(ids(round).flat_map(body));
        peer.send(&calls.collect::<Vec<_>>()).await;
        let mut unanswered: HashSet<u32> = ids(round).collect();
        while !unanswered.is_empty() {
            let read = read_frame(&mut peer.stream).await;
            let read = read.expect("an open connection");
            assert_ne!(read.kind, GOAWAY);
            if read.kind == HEADERS {
                unanswered.remove(&read.stream);
            }
        }
    }
    let last = 2 * rounds * BURST + 1;
    peer.send(&call(last, "/grpc.health.v1.Health/Check")).await;
    assert_eq!(peer.outcome(last).await, Outcome::Answered);
    app.counts("usher_rpc_active 0").await;
}

/// Browsers speak HTTP/2 too: their streams are framed for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_watches_over_http_2() {
    let app = Whole::start(&[]).await;
    let (alice, token) = waiting_alice(&app).await;
    let request = wire::WatchRequest {
        max_duration: Some(prost_types::Duration {
            seconds: 0,
            nanos: 300_000_000,
        }),
        ..watch(&token)
    };
    let call = alice.call(WATCH).message(&request).without("content-type");
    let call = call.header("content-type", "application/grpc-web+proto");
    let answer = call.send(&alice.channel).await;
    assert_eq!(answer.headers["content-type"], "application/grpc-web+proto");
    let mut trailers_at = 0;
    while answer.body[trailers_at] != 0x80 {
        let length = &answer.body[trailers_at + 1..trailers_at + 5];
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        trailers_at += 5 + length as usize;
    }
    let (said, trailers) = answer.body.split_at(trailers_at);
    assert!(matches!(events(said)[0], Event::Snapshot(_)));
    let trailers = String::from_utf8_lossy(&trailers[5..]);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    app.counts("usher_rpc_active 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_of_one_place_are_three() {
    let app = Whole::start(&[]).await;
    let (alice, token) = waiting_alice(&app).await;
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let call = alice.call(WATCH).message(&watch(&token));
        streams.push(call.open(&alice.channel).await.expect("a stream"));
    }
    let live = streams.split_off(997);
    let ended = streams.into_iter().map(|stream| async {
        let whole = stream.into_body().collect().await.expect("a whole stream");
        let trailers = whole.trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        let said = events(&whole.to_bytes());
        let Some(Event::Drain(drain)) = said.last() else {
            panic!("{said:?}");
        };
        assert_eq!(drain.reason(), wire::DrainReason::Replaced);
    });
    soon("the end of the oldest", join_all(ended)).await;
    app.counts("usher_rpc_active 3").await;
    drop(live);
    app.counts("usher_rpc_active 0").await;
    assert_eq!(place(&alice, &token).await.number, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_as_many_streams_as_it_was_told() {
    let app = Whole::start(&[]).await;
    let mut peer = Peer::connect(app.addr).await;
    let watch = |index: u32| call(2 * index + 1, "/grpc.health.v1.Health/Watch");
    let watches = |indices: std::ops::Range<u32>| indices.flat_map(watch).collect::<Vec<_>>();
    peer.send(&watches(0..300)).await;
    let (mut answered, mut refused) = (HashSet::new(), HashSet::new());
    while answered.len() + refused.len() < 300 {
        let next = read_frame(&mut peer.stream).await.expect("a frame");
        match next.kind {
            HEADERS => answered.insert(next.stream),
            RST_STREAM => refused.insert(next.stream),
            _ => false,
        };
    }
    assert_eq!((answered.len(), refused.len()), (256, 44));
    // One that ends makes room for one.
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    peer.send(&reset).await;
    peer.send(&watch(300)).await;
    assert_eq!(peer.outcome(601).await, Outcome::Answered);
    peer.send(&watch(301)).await;
    assert_eq!(peer.outcome(603).await, Outcome::Reset(REFUSED_STREAM));
    // Who does not listen loses all of them.
    peer.send(&watches(302..1_300)).await;
    assert!(peer.outcome(u32::MAX).await.is_end());
    app.counts("usher_rpc_active 0").await;
    let mut other = HealthClient::new(app.channel().await);
    let answer = other.check(HealthCheckRequest::default()).await;
    answer.expect("others are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_can_be_watched_ten_thousand_times() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    for _ in 0..100 {
        let watches = (0..100).map(|_| async {
            let mut health = HealthClient::new(channel.clone());
            let watch = health.watch(HealthCheckRequest::default()).await;
            let told = watch.expect("OK").into_inner().message().await;
            assert_eq!(told.expect("OK").expect("a status").status, 1);
        });
        soon("a hundred watches", join_all(watches)).await;
    }
    app.counts("usher_rpc_active 0").await;
    let unknown = Caller::named(&channel, "alice").call("/grpc.health.v1.Health/List");
    let answer = unknown.send(&channel).await.code;
    assert!(matches!(answer, Some(Code::Ok | Code::Unimplemented)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_sent_64_times_in_one_packet_has_one_effect() {
    const COPIES: u32 = 64;
    let app = Whole::start(&[]).await;
    let top_up = wire::TopUpWalletRequest {
        amount: Some(wire::Money {
            currency_code: "EUR".to_owned(),
            amount_minor: 700,
        }),
        source: Some(wire::top_up_wallet_request::Source::Sandbox(
            wire::SandboxSource::default(),
        )),
        idempotency_key: "once".to_owned(),
    };
    let copy = |index: u32| commanding(2 * index + 1, TOP_UP, &top_up);
    let packet: Vec<u8> = (0..COPIES).flat_map(copy).collect();
    let mut peer = Peer::connect(app.addr).await;
    assert!(peer.send(&packet).await);
    let (mut answers, mut ended) = (Vec::new(), HashSet::new());
    while ended.len() < COPIES as usize {
        let next = read_frame(&mut peer.stream).await.expect("a frame");
        assert!(![RST_STREAM, GOAWAY].contains(&next.kind), "{next:?}");
        if next.kind == DATA && !next.payload.is_empty() {
            answers.push(next.payload);
        } else if next.kind == HEADERS && next.flags & END_STREAM != 0 {
            ended.insert(next.stream);
        }
    }
    // Who came while the first was under way was told so, without an answer.
    assert!(!answers.is_empty());
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let alice = Caller::named(&app.channel().await, "alice");
    let wallet = alice.call("/usher.v1.PaymentService/GetWallet");
    let wallet: wire::GetWalletResponse = wallet.send(&alice.channel).await.ok();
    let balance = wallet.wallet.expect("a wallet").balance.expect("a balance");
    assert_eq!(balance.amount_minor, 700);
}
