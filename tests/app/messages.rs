//! Messages that no generated client writes.

use bytes::Bytes;
use prost::Message as _;
use tonic::Code;

use crate::call::{Call, framed};
use crate::whole::{Caller, JOIN, Whole, join};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// `limits.request_bytes_max`
const MESSAGE_BYTES_MAX: usize = 65_536;
const FOUR_MIB: usize = 4 << 20;

/// A message of exactly so many bytes: what it has, and a field that nobody
/// knows.
fn padded(message: &[u8], bytes: usize) -> Bytes {
    let mut padded = message.to_vec();
    let filling = bytes - padded.len() - 1 - 1 - 3;
    // Field 15, length-delimited; the length takes three bytes here.
    padded.push(15 << 3 | 2);
    let length = u32::try_from(filling + 1).expect("short");
    for shift in [0, 7, 14] {
        let more = if shift < 14 || bytes > 1 << 21 {
            128
        } else {
            0
        };
        padded.push(u8::try_from(length >> shift & 127).expect("seven bits") | more);
    }
    if bytes > 1 << 21 {
        padded.push(u8::try_from(length >> 21).expect("seven bits"));
    } else {
        padded.push(b'x');
    }
    padded.resize(bytes, b'x');
    framed(&padded)
}

/// Groups, a form that no file of ours uses, one in the other.
fn groups(deep: usize) -> Vec<u8> {
    let (open, close) = (15 << 3 | 3, 15 << 3 | 4);
    [vec![open; deep], vec![close; deep]].concat()
}

/// Bodies that are no message, and what each gets.
fn bad_bodies(good: &[u8]) -> Vec<(&'static str, Bytes, Code)> {
    let mut flagged = framed(good).to_vec();
    flagged[0] = 1;
    let mut strange = framed(good).to_vec();
    strange[0] = 2;
    let mut long = framed(good).to_vec();
    long[4] += 1;
    let mut endless = framed(good).to_vec();
    endless[1..5].fill(0xff);
    let after = |bytes: &[u8]| framed(&[good, bytes].concat());
    let negative = [&[0x0a][..], &[0xff; 9], &[0x01]].concat();
    vec![
        ("no message", Bytes::new(), Code::Internal),
        ("half a prefix", framed(good).slice(..3), Code::Internal),
        ("a prefix alone", framed(good).slice(..5), Code::Internal),
        ("cut", framed(good).slice(..9), Code::Internal),
        ("longer than it is", long.into(), Code::Internal),
        ("4 GiB, it says", endless.into(), Code::OutOfRange),
        ("compressed, by nothing", flagged.into(), Code::Internal),
        ("an unknown flag", strange.into(), Code::Internal),
        ("an endless varint", after(&[0xff; 16]), Code::Internal),
        ("a varint cut", after(&[0x0a, 0xff]), Code::Internal),
        ("a field cut", after(&[0x0a, 5, b'a']), Code::Internal),
        ("a negative length", after(&negative), Code::Internal),
        ("field 0", after(&[0x02, 0]), Code::Internal),
        ("wire type 7", after(&[0x0f]), Code::Internal),
        ("a number for a text", after(&[0x08, 1]), Code::Internal),
        ("a group never opened", after(&[0x7c]), Code::Internal),
        ("a group never closed", after(&[0x7b]), Code::Internal),
        (
            "a group closed by another",
            after(&[0x7b, 0x74]),
            Code::Internal,
        ),
        ("groups 100 deep", after(&groups(101)), Code::Internal),
        ("groups 10,000 deep", after(&groups(10_000)), Code::Internal),
        ("not UTF-8", after(&[0x0a, 2, 0xc3, 0x28]), Code::Internal),
        (
            "an id with NUL",
            after(&[0x0a, 1, 0]),
            Code::InvalidArgument,
        ),
        ("empty", framed(&[]), Code::InvalidArgument),
        (
            "too long by one",
            padded(good, MESSAGE_BYTES_MAX + 1),
            Code::OutOfRange,
        ),
        ("4 MiB", padded(good, FOUR_MIB), Code::OutOfRange),
        (
            "4 MiB and one",
            padded(good, FOUR_MIB + 1),
            Code::OutOfRange,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_refused_and_has_no_effect() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    let alice = Caller::named(&channel, "alice");
    let good = join(&room).encode_to_vec();
    for (name, body, code) in bad_bodies(&good) {
        let answer = alice.call(JOIN).bytes(body).send(&channel).await;
        assert_eq!(answer.code, Some(code), "{name}: {answer:?}");
        assert!(answer.body.is_empty(), "{name}");
        assert!(answer.text.len() < 400, "{name}: no echo");
    }
    for encoding in ["gzip", "deflate", "zstd", "br", "bogus"] {
        let mut body = framed(&good).to_vec();
        body[0] = 1;
        let call = alice.call(JOIN).header("grpc-encoding", encoding);
        let answer = call.bytes(body).send(&channel).await;
        assert_eq!(answer.code, Some(Code::Unimplemented), "{encoding}");
    }
    // The first number is still to be had.
    assert_eq!(alice.number(&room).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_may_have_more_than_we_know() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    let good = join(&room).encode_to_vec();
    let other = join("another-room").encode_to_vec();
    for (name, body) in [
        ("as long as it may be", padded(&good, MESSAGE_BYTES_MAX)),
        (
            "the last value wins",
            framed(&[other, good.clone()].concat()),
        ),
        ("groups", framed(&[good.clone(), groups(50)].concat())),
        ("a varint in ten bytes", {
            let mut long = vec![15 << 3];
            long.extend([0x80; 9]);
            long.push(0x01);
            framed(&[good.clone(), long].concat())
        }),
    ] {
        let call = Caller::named(&channel, "alice").call(JOIN).bytes(body);
        let joined: usher::proto::v1::JoinResponse = call.send(&channel).await.ok();
        assert_eq!(joined.place.expect("a place").number, 1, "{name}");
    }
}

/// They need no credentials, so they must be no cheaper way to fill memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_take_no_longer_messages_than_ours() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    for (path, bytes, code) in [
        (CHECK, MESSAGE_BYTES_MAX, Code::Ok),
        (CHECK, MESSAGE_BYTES_MAX + 1, Code::OutOfRange),
        (CHECK, FOUR_MIB, Code::OutOfRange),
        // Reflection ends a stream that it cannot read, and says no word.
        (REFLECT, MESSAGE_BYTES_MAX + 1, Code::Ok),
        (REFLECT, FOUR_MIB, Code::Ok),
    ] {
        let call = Call::new(path).bytes(padded(&[], bytes));
        let answer = call.send(&channel).await;
        assert_eq!(answer.code, Some(code), "{path} {bytes}: {answer:?}");
        let is_taken = path == CHECK && code == Code::Ok;
        assert_eq!(!answer.body.is_empty(), is_taken, "{path} {bytes}");
    }
}
