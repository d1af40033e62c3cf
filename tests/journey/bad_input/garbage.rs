//! Bytes that are no message, for every RPC that answers.

use prost::Message as _;
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, assert_refused};
use super::coverage::implemented;
use super::world::World;
use crate::sale::policy;

/// RPCs that need to be told nothing.
const NEED_NOTHING: [&str; 8] = [
    "AdminService/WatchSales",
    "CatalogService/ListConcerts",
    "CouponService/ListCoupons",
    "PaymentService/GetWallet",
    "PaymentService/ListWalletEntries",
    "QueueService/GetPublicKeys",
    "QueueService/ListRooms",
    "ReservationService/ListReservations",
];

/// One request message's limit, by default.
const REQUEST_BYTES_MAX: usize = 65_536;

fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    // Field 100 is in no request.
    let unknown_group = [0xa3, 0x06];
    vec![
        ("a tag without its value", vec![0x0a]),
        ("a varint that does not end", vec![0xff; 16]),
        ("a varint cut off", vec![0xa0, 0x06, 0x80]),
        ("a length beyond the end", vec![0xa2, 0x06, 0x7f, b'x']),
        (
            "a negative length",
            [&[0xa2, 0x06][..], &[0xff; 9], &[0x01]].concat(),
        ),
        ("field number 0", vec![0x02, 0x00]),
        ("wire type 6", vec![0xa6, 0x06]),
        ("wire type 7", vec![0xa7, 0x06]),
        ("a group that does not end", unknown_group.to_vec()),
        ("an end without its group", vec![0xa4, 0x06]),
        ("200 groups in each other", unknown_group.repeat(200)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_are_refused_by_every_rpc() {
    let world = World::build().await;
    let before = world.state().await;
    let rpcs = implemented();
    assert!(rpcs.len() > 30, "{rpcs:?}");
    for rpc in &rpcs {
        for (what, bytes) in garbage() {
            let answer = ask(&world.root, rpc, bytes).await;
            assert_refused(answer, (Code::Internal, ""), &format!("{rpc}: {what}"));
        }
        let long = [
            vec![0xa2, 0x06, 0xfd, 0xff, 0x03],
            vec![b'a'; REQUEST_BYTES_MAX - 3],
        ]
        .concat();
        assert!(long.len() > REQUEST_BYTES_MAX);
        let answer = ask(&world.root, rpc, long).await;
        assert_refused(answer, (Code::OutOfRange, ""), &format!("{rpc}: too long"));
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_message_misses_a_field_or_is_answered() {
    let world = World::build().await;
    let before = world.state().await;
    let unknown_field = vec![0xa2, 0x06, 0x01, b'x'];
    for rpc in implemented() {
        for message in [Vec::new(), unknown_field.clone()] {
            let answer = ask(&world.root, &rpc, message).await;
            if NEED_NOTHING.contains(&rpc.as_str()) {
                answer.unwrap_or_else(|status| panic!("{rpc}: {status:?}"));
            } else {
                let expected = (Code::InvalidArgument, "FIELD_INVALID");
                assert_refused(answer, expected, &rpc);
            }
        }
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_not_utf_8_is_no_message() {
    let world = World::build().await;
    for rpc in [
        "QueueService/Join",
        "QueueService/GetRoom",
        "PaymentService/GetPayment",
    ] {
        for bad in [
            &[0xff][..],
            &[0xc0, 0x80],
            &[0xed, 0xa0, 0x80],
            &[0xe2, 0x82],
        ] {
            let length = u8::try_from(bad.len()).expect("short");
            let message = [&[0x0a, length], bad].concat();
            let answer = ask(&world.root, rpc, message).await;
            assert_refused(answer, (Code::Internal, ""), &format!("{rpc}: {bad:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_comes_twice_is_the_last_one() {
    let world = World::build().await;
    let of = |room: &str| {
        let message = wire::GetRoomRequest {
            room_id: room.to_owned(),
        };
        message.encode_to_vec()
    };
    let other = world.app.make_room("other", policy()).await;
    let twice = [of(&world.room), of(&other)].concat();
    let answer = ask(&world.root, "QueueService/GetRoom", twice).await;
    let answer = wire::GetRoomResponse::decode(&answer.expect("OK")[..]).expect("an answer");
    assert_eq!(answer.room.expect("a room").id, other);
    let hostile_last = [of(&world.room), of("a{b}")].concat();
    let answer = ask(&world.root, "QueueService/GetRoom", hostile_last).await;
    assert_refused(
        answer,
        (Code::InvalidArgument, "FIELD_INVALID"),
        "the last one",
    );
}
