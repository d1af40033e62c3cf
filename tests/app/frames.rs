//! Attacks with single frames. Each ends its own connection or comes to
//! nothing; others are served meanwhile, and nothing is left of it.

use tokio::io::AsyncReadExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Panics, TestApp, soon};
use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, Outcome, PING, PRIORITY, Peer, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, call, frame, literal, request_headers,
};

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Of a frame's flags.
const PADDED: u8 = 8;
/// More than the server forgives on one connection.
const MANY: u32 = 2_000;
/// What an attack must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// GOAWAY, or the end of the connection.
    End,
    /// Nothing: the next call of this very connection is answered.
    Nothing,
}
use Expected::{End, Nothing};

/// Odd numbers, as a client has them.
pub fn id(index: u32) -> u32 {
    2 * index + 1
}

/// A call that is open, and said whole.
fn open(index: u32) -> Vec<u8> {
    call(id(index), WATCH)
}

/// A call whose message is still to come.
pub fn half_open(index: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id(index), &request_headers(CHECK))
}

fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Says this for one stream after the other.
fn each(says: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..MANY).flat_map(says).collect()
}

/// Says it on one stream, again and again.
fn again(first: Vec<u8>, says: &[u8], times: usize) -> Vec<u8> {
    [first, says.repeat(times)].concat()
}

/// Makes the server reset its own streams, by every way there is.
fn made_you_reset() -> Vec<(&'static str, Vec<u8>, Expected)> {
    const MAX: u32 = 0x7fff_ffff;
    let then = |index, frame: Vec<u8>| [open(index), frame].concat();
    let depends_on_itself = |index| {
        let priority = [&id(index).to_be_bytes()[..], &[16]].concat();
        then(index, frame(PRIORITY, 0, id(index), &priority))
    };
    let overflow = |index| then(index, window(id(index), MAX));
    let data_after = |index| then(index, frame(DATA, 0, id(index), &[0; 5]));
    let headers = request_headers(WATCH);
    let headers_after = |index| then(index, frame(HEADERS, END_HEADERS, id(index), &headers));
    let too_much = |index| {
        let full = frame(DATA, 0, id(index), &[0; 16_384]).repeat(5);
        [half_open(index), full].concat()
    };
    vec![
        (
            "a window of nothing",
            each(|index| then(index, window(id(index), 0))),
            End,
        ),
        ("a window too large", each(overflow), End),
        ("DATA after the end", each(data_after), End),
        ("HEADERS after the end", each(headers_after), End),
        ("PRIORITY of itself", each(depends_on_itself), End),
        (
            "PRIORITY too short",
            each(|i| then(i, frame(PRIORITY, 0, id(i), &[0; 4]))),
            End,
        ),
        ("DATA beyond the window", each(too_much), End),
    ]
}

fn header_attacks() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let headers = request_headers(CHECK);
    let begun = || frame(HEADERS, 0, 1, &headers);
    let continued = |bytes: &[u8]| frame(CONTINUATION, 0, 1, bytes);
    // One long header that the table keeps, and then its index, one byte each.
    let mut bomb = vec![0x40];
    bomb.extend(&literal("x-bomb", &[b'a'; 3_900])[1..]);
    let (small, large) = (
        [&headers[..], &bomb, &[0xbe; 8]].concat(),
        [&headers[..], &bomb, &[0xbe; 12_000]].concat(),
    );
    let held = |index| frame(HEADERS, END_HEADERS, id(index), &small);
    vec![
        (
            "CONTINUATION, empty",
            again(begun(), &continued(&[]), 10_000),
            End,
        ),
        (
            "CONTINUATION, a byte",
            again(begun(), &continued(&[0x00]), 10_000),
            End,
        ),
        (
            "CONTINUATION, full",
            again(begun(), &continued(&literal("x", &[b'a'; 16_000])), 300),
            End,
        ),
        (
            "CONTINUATION of another",
            [begun(), frame(CONTINUATION, 4, 3, &[])].concat(),
            End,
        ),
        (
            "another frame between",
            [begun(), frame(PING, 0, 0, &[0; 8])].concat(),
            End,
        ),
        ("a bomb", frame(HEADERS, END_HEADERS, 1, &large), End),
        (
            "small bombs, held",
            (0..200).flat_map(held).collect(),
            Nothing,
        ),
        (
            "an index of nothing",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]),
            End,
        ),
        (
            "a table too large",
            frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0x7f]),
            End,
        ),
    ]
}

fn floods() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let empty = frame(DATA, 0, 1, &[]);
    let small = frame(DATA, 0, 1, &[0]);
    let padded = frame(DATA, PADDED, 1, &[255; 256]);
    let resets = |index| [half_open(index), frame(RST_STREAM, 0, id(index), &[0; 4])].concat();
    let padded_resets = |index| {
        let headers = [&[200][..], &request_headers(CHECK), &[0; 200]].concat();
        let headers = frame(HEADERS, END_HEADERS | PADDED, id(index), &headers);
        [headers, frame(RST_STREAM, 0, id(index), &[0; 4])].concat()
    };
    let table = |size: u32| [&[0, 1][..], &size.to_be_bytes()].concat();
    let tables = [
        frame(SETTINGS, 0, 0, &table(0)),
        frame(SETTINGS, 0, 0, &table(4_096)),
    ]
    .concat();
    let refused = || frame(HEADERS, END_HEADERS, 1, &request_headers("/nothing"));
    vec![
        ("DATA, empty", again(half_open(0), &empty, 100_000), End),
        ("DATA, a byte", again(half_open(0), &small, 60_000), End),
        (
            "DATA, all padding",
            again(half_open(0), &padded, 5_000),
            End,
        ),
        (
            "DATA, empty, for nobody",
            again(refused(), &empty, 100_000),
            End,
        ),
        ("HEADERS and RST_STREAM", each(resets), End),
        (
            "HEADERS and padding, and RST_STREAM",
            each(padded_resets),
            End,
        ),
        (
            "SETTINGS",
            frame(SETTINGS, 0, 0, &[]).repeat(20_000),
            Nothing,
        ),
        ("SETTINGS of the table", tables.repeat(10_000), Nothing),
        ("PING", frame(PING, 0, 0, &[7; 8]).repeat(20_000), Nothing),
        (
            "PING answers",
            frame(PING, 1, 0, &[7; 8]).repeat(20_000),
            Nothing,
        ),
        (
            "PRIORITY",
            frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]).repeat(20_000),
            Nothing,
        ),
        (
            "unknown frames",
            frame(0xfa, 0, 1, &[0; 64]).repeat(20_000),
            Nothing,
        ),
        ("windows", again(open(0), &window(1, 1), 20_000), Nothing),
    ]
}

/// What HTTP/2 forbids on a whole connection.
fn forbidden() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let headers = request_headers(CHECK);
    let setting = |key: u8, value: u32| [&[0, key][..], &value.to_be_bytes()].concat();
    vec![
        (
            "an even stream",
            frame(HEADERS, END_HEADERS, 2, &headers),
            End,
        ),
        ("stream 0", frame(HEADERS, END_HEADERS, 0, &headers), End),
        (
            "an older stream",
            [half_open(4), half_open(1)].concat(),
            End,
        ),
        ("DATA of no stream", frame(DATA, 0, 1, &[0; 5]), End),
        (
            "RST_STREAM of no stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            End,
        ),
        (
            "RST_STREAM too short",
            [half_open(0), frame(RST_STREAM, 0, 1, &[0])].concat(),
            End,
        ),
        ("a frame too long", frame(DATA, 0, 1, &[0; 16_385]), End),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2]), End),
        ("PING too short", frame(PING, 0, 0, &[0; 7]), End),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), End),
        ("SETTINGS cut", frame(SETTINGS, 0, 0, &[0; 5]), End),
        (
            "a window setting too large",
            frame(SETTINGS, 0, 0, &setting(4, u32::MAX)),
            End,
        ),
        (
            "a frame setting too small",
            frame(SETTINGS, 0, 0, &setting(5, 1)),
            End,
        ),
        (
            "the window too large",
            window(0, 0x7fff_ffff).repeat(2),
            End,
        ),
        ("a window of nothing", window(0, 0), End),
        ("padding longer than all", frame(DATA, 8, 1, &[9, 0]), End),
    ]
}

/// Says it all while reading what is answered; then what became of it.
async fn attack(app: &TestApp, bytes: &[u8]) -> Expected {
    // One more call, of a stream that no attack has used.
    let last = id(1 << 20);
    let bytes = [bytes, &call(last, CHECK)].concat();
    let peer = Peer::connect(app.addr).await;
    let (mut from, mut to) = peer.stream.into_split();
    let speaking = async move {
        // Unsaid is what the server did not want to hear.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut to, &bytes).await;
        to
    };
    let hearing = async move {
        let outcome = Peer::outcome_of(&mut from, last).await;
        let mut rest = [0; 1];
        if outcome.is_end() {
            while matches!(from.read(&mut rest).await, Ok(1..)) {}
            return End;
        }
        assert_eq!(outcome, Outcome::Answered);
        Nothing
    };
    let both = async { tokio::join!(speaking, hearing).1 };
    soon("the end of an attack", both).await
}

async fn assert_each(attacks: Vec<(&'static str, Vec<u8>, Expected)>) {
    let panics = Panics::watch();
    let app = TestApp::start(&[]).await;
    let mut other = HealthClient::new(app.channel().await);
    let mut surprises = Vec::new();
    for (name, bytes, expected) in attacks {
        let mut attacking = std::pin::pin!(attack(&app, &bytes));
        // At least once for each attack, and as often as there is time for.
        let got = loop {
            let check = other.check(HealthCheckRequest::default());
            tokio::select! {
                got = &mut attacking => break got,
                answer = soon(name, check) => drop(answer.expect("others are served")),
            }
        };
        if got != expected {
            surprises.push((name, got));
        }
        let answer = soon(name, other.check(HealthCheckRequest::default())).await;
        answer.expect("others are served");
    }
    drop(other);
    assert!(surprises.is_empty(), "{surprises:?}");
    app.counts("usher_rpc_active 0").await;
    app.counts("usher_connections_open 0").await;
    panics.assert_none();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_ends_the_connection_and_no_other() {
    assert_each(made_you_reset()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_floods_and_bombs_end_the_connection_and_no_other() {
    assert_each(header_attacks()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_hold_up_nobody_else() {
    assert_each(floods()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http_2_forbids_ends_the_connection_and_no_other() {
    assert_each(forbidden()).await;
}
