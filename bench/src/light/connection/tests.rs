use proptest::prelude::*;

use super::*;

/// All that was told, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    messages: Vec<(u32, Vec<u8>)>,
    ends: Vec<(u32, End)>,
}

impl Hear for Told {
    fn message(&mut self, tag: u32, message: &[u8], _at_us: u64) {
        self.messages.push((tag, message.to_vec()));
    }

    fn ended(&mut self, tag: u32, end: End, _at_us: u64) {
        self.ends.push((tag, end));
    }
}

fn ready() -> Connection {
    let mut connection = Connection::new();
    let mut settings = Vec::new();
    frame::put_settings(&mut settings, &[(setting::MAX_CONCURRENT_STREAMS, 1_000)]);
    let heard = connection.hear(&settings, 0, &mut Told::default());
    heard.expect("settings");
    connection
}

fn with_calls(count: u32) -> Connection {
    let mut connection = ready();
    let method = Method::new("/usher.v1.QueueService/Watch", "127.0.0.1:1");
    for tag in 0..count {
        assert!(connection.call(&method, "alice", b"token", tag));
    }
    connection
}

fn status(stream: u32, grpc: &str) -> Vec<u8> {
    let mut block = vec![0, 11];
    block.extend_from_slice(b"grpc-status");
    block.push(u8::try_from(grpc.len()).expect("short"));
    block.extend_from_slice(grpc.as_bytes());
    let mut out = Vec::new();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame::put(&mut out, kind::HEADERS, flags, stream, &block);
    out
}

fn begin(stream: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let block = headers::reply_block();
    frame::put(&mut out, kind::HEADERS, flag::END_HEADERS, stream, &block);
    out
}

#[test]
fn nothing_is_called_before_the_peer_has_said_its_limits() {
    let method = Method::new("/a", "b");
    let mut connection = Connection::new();
    assert!(connection.out.starts_with(frame::PREFACE));
    assert!(!connection.call(&method, "alice", b"", 0));
    let mut settings = Vec::new();
    frame::put_settings(&mut settings, &[(setting::MAX_CONCURRENT_STREAMS, 2)]);
    let heard = connection.hear(&settings, 0, &mut Told::default());
    heard.expect("settings");
    let calls = [0, 1, 2].map(|tag| connection.call(&method, "alice", b"", tag));
    assert_eq!(calls, [true, true, false]);
    let heard = connection.hear(&status(1, "0"), 0, &mut Told::default());
    heard.expect("trailers");
    assert!(connection.call(&method, "alice", b"", 3));
}

#[test]
fn a_window_that_is_used_up_stops_calls_until_it_is_given_back() {
    let method = Method::new("/a", "b");
    let (mut connection, message) = (ready(), [7; 16_000]);
    let calls = [0, 1, 2, 3, 4].map(|tag| connection.call(&method, "alice", &message, tag));
    assert_eq!(calls, [true, true, true, true, false]);
    let mut more = Vec::new();
    frame::put(
        &mut more,
        kind::WINDOW_UPDATE,
        0,
        0,
        &64_000_u32.to_be_bytes(),
    );
    connection
        .hear(&more, 0, &mut Told::default())
        .expect("more");
    assert!(connection.call(&method, "alice", &message, 5));
}

#[test]
fn every_way_to_end_is_told_once() {
    let mut connection = with_calls(6);
    let mut bytes = [status(3, "14"), status(3, "0")].concat();
    frame::put(&mut bytes, kind::RST_STREAM, 0, 5, &8_u32.to_be_bytes());
    frame::put(&mut bytes, kind::DATA, flag::END_STREAM, 7, &[]);
    let goaway = [9_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    frame::put(&mut bytes, kind::GOAWAY, 0, 0, &goaway);
    let mut told = Told::default();
    connection.hear(&bytes, 0, &mut told).expect("frames");
    assert_eq!((connection.open(), connection.is_leaving()), (2, true));
    connection.lose(0, &mut told);
    let expected = [
        (1, End::Status(14)),
        (2, End::Reset(8)),
        (3, End::NoStatus),
        (5, End::NotTaken),
        (0, End::Lost),
        (4, End::Lost),
    ];
    assert_eq!(told.ends, expected);
}

#[test]
fn a_ping_is_answered_and_windows_are_given_back() {
    let mut connection = with_calls(1);
    connection.out.clear();
    let mut bytes = Vec::new();
    frame::put(&mut bytes, kind::PING, 0, 0, b"whatever");
    connection
        .hear(&bytes, 0, &mut Told::default())
        .expect("a ping");
    let mut pong = Vec::new();
    frame::put(&mut pong, kind::PING, flag::ACK, 0, b"whatever");
    assert_eq!(connection.out, pong);
    connection.out.clear();
    let mut data = Vec::new();
    frame::put_message(&mut data, 0, 1, &[0; 16_000]);
    for _ in 0..66 {
        connection
            .hear(&data, 0, &mut Told::default())
            .expect("data");
    }
    assert_eq!(connection.out[3], kind::WINDOW_UPDATE);
}

proptest! {
    #[test]
    fn a_peers_bytes_in_any_pieces_say_the_same(
        sent in prop::collection::vec((0..5_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        frame_bytes in 1..30_usize,
        cuts in prop::collection::vec(1..50_usize, 1..100),
    ) {
        let mut bytes: Vec<u8> = (0..5).flat_map(|nth| begin(2 * nth + 1)).collect();
        for (tag, message) in &sent {
            // One message over several frames.
            let length = u32::try_from(message.len()).expect("short").to_be_bytes();
            let whole = [&[0], &length[..], message].concat();
            for piece in whole.chunks(frame_bytes) {
                frame::put(&mut bytes, kind::DATA, 0, 2 * tag + 1, piece);
            }
        }
        bytes.extend((0..5).flat_map(|nth| status(2 * nth + 1, "0")));
        let (mut connection, mut told) = (with_calls(5), Told::default());
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let cut = rest.len().min(*cuts.next().unwrap_or(&1));
            connection.hear(&rest[..cut], 0, &mut told).expect("frames");
            rest = &rest[cut..];
        }
        prop_assert_eq!(told.messages, sent);
        let ends: Vec<_> = (0..5).map(|tag| (tag, End::Status(0))).collect();
        prop_assert_eq!(told.ends, ends);
        prop_assert_eq!(connection.open(), 0);
    }
}
