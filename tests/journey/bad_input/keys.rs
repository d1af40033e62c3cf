//! One key, one request: the same again gets the first answer, another one is
//! refused, and neither another RPC nor another user is met.

use prost::Message;
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, assert_refused, fields_of};
use super::coverage::asked_in;
use super::fields::KEYS;
use super::world::{self, World};
use crate::coupons::campaign;
use crate::grants;
use crate::people::euros;
use crate::sale::{PRICE_MINOR, concert, performance, policy};

const KEY: &str = "one-key";

struct Command {
    rpc: &'static str,
    first: Vec<u8>,
    other: Vec<u8>,
}

fn command(rpc: &'static str, first: impl Message, other: impl Message) -> Command {
    Command {
        rpc,
        first: first.encode_to_vec(),
        other: other.encode_to_vec(),
    }
}

fn new_concert(name: &str) -> wire::CreateConcertRequest {
    wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: name.to_owned(),
            ..concert()
        }),
        idempotency_key: KEY.to_owned(),
    }
}

/// One of each RPC with a key, all under the same. In `room` there are slots,
/// and dora; of `doomed` nothing is sold.
fn commands(world: &World, room: &str, doomed: &str) -> Vec<Command> {
    let (here, seats) = (world.performance.as_str(), &world.seats);
    let new_performance = |seats| wire::CreatePerformanceRequest {
        performance: Some(performance(&world.concert, seats)),
        idempotency_key: KEY.to_owned(),
    };
    let refund_all = wire::RefundPaymentRequest {
        amount: None,
        ..world::refund(&world.payment, KEY)
    };
    vec![
        command(
            "AdminService/GrantPlace",
            grants::grant(room, "bob", KEY),
            grants::grant(room, "carol", KEY),
        ),
        command(
            "AdminService/RevokePlace",
            grants::revoke(room, "dora", KEY),
            grants::revoke(room, "bob", KEY),
        ),
        command(
            "PaymentService/TopUpWallet",
            world::top_up(Some(euros(PRICE_MINOR)), KEY),
            world::top_up(Some(euros(PRICE_MINOR + 1)), KEY),
        ),
        command(
            "ReservationService/HoldSeats",
            world::hold(here, &[&seats[7]], KEY),
            world::hold(here, &[&seats[7], &seats[8]], KEY),
        ),
        command(
            "PaymentService/PayReservation",
            world::pay(&world.held, KEY),
            world::pay(&world.paid, KEY),
        ),
        command(
            "AdminService/RefundPayment",
            world::refund(&world.payment, KEY),
            refund_all,
        ),
        command(
            "ReservationService/CancelReservation",
            world::cancel(&world.paid, KEY),
            world::cancel(&world.held, KEY),
        ),
        command(
            "AdminService/CreditWallet",
            world::credit("bob", Some(euros(1)), KEY),
            world::credit("carol", Some(euros(1)), KEY),
        ),
        command(
            "AdminService/CancelPerformance",
            world::call_off(doomed, KEY),
            wire::CancelPerformanceRequest {
                reason: "snow".to_owned(),
                ..world::call_off(doomed, KEY)
            },
        ),
        command(
            "AdminService/CreateCampaign",
            world::new_campaign(campaign(5), KEY),
            world::new_campaign(campaign(6), KEY),
        ),
        command(
            "AdminService/CreateConcert",
            new_concert("One"),
            new_concert("Two"),
        ),
        command(
            "AdminService/CreatePerformance",
            new_performance(10),
            new_performance(11),
        ),
        command(
            "AdminService/CreateRoom",
            world::new_room(policy(), KEY),
            world::new_room(
                wire::RoomPolicy {
                    capacity: 11,
                    ..policy()
                },
                KEY,
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_with_a_key_takes_it_for_one_request() {
    let world = World::build().await;
    let room = world.app.make_room("with-slots", policy()).await;
    world.app.user("dora").join(&room).await;
    let doomed = world::make_performance(&world.root, &world.concert, "doomed").await;
    let commands = commands(&world, &room, &doomed);
    let named: Vec<_> = commands.iter().map(|command| command.rpc).collect();
    asked_in(KEYS)
        .iter()
        .for_each(|rpc| assert!(named.contains(rpc), "{rpc}"));
    let mut answers = Vec::new();
    for Command { rpc, first, .. } in &commands {
        let answer = ask(&world.root, rpc, first.clone()).await;
        let answer = answer.unwrap_or_else(|status| panic!("{rpc}: {status:?}"));
        answers.push(answer);
    }
    let state = world.state().await;
    for (Command { rpc, first, other }, answer) in commands.iter().zip(&answers) {
        let again = ask(&world.root, rpc, first.clone()).await.expect(rpc);
        assert_eq!(again, *answer, "{rpc}");
        let expected = (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
        let status = assert_refused(ask(&world.root, rpc, other.clone()).await, expected, rpc);
        assert_eq!(fields_of(&status), ["idempotency_key"], "{rpc}");
    }
    world.assert_unchanged(&state).await;
    assert_eq!(world.app.user("carol").balance().await, 0);
    // Another operator's key is another key.
    let other = world.app.user("other").with_admin_role();
    for Command { rpc, first, .. } in &commands {
        let answer = ask(&other, rpc, first.clone()).await;
        match *rpc {
            // Not hers: the key is not looked up before the owner.
            "PaymentService/PayReservation" | "ReservationService/CancelReservation" => {
                drop(assert_refused(answer, (Code::NotFound, ""), rpc));
            }
            // Ended by the first.
            "AdminService/RevokePlace" => {
                drop(assert_refused(answer, (Code::NotFound, ""), rpc));
            }
            // Taken, or all given back, by the first.
            "ReservationService/HoldSeats" => {
                let expected = (Code::FailedPrecondition, "SEAT_UNAVAILABLE");
                drop(assert_refused(answer, expected, rpc));
            }
            "AdminService/RefundPayment" => {
                let expected = (Code::InvalidArgument, "AMOUNT_OUT_OF_RANGE");
                drop(assert_refused(answer, expected, rpc));
            }
            _ => drop(answer.expect(rpc)),
        }
    }
    assert_eq!(world.app.user("bob").balance().await, 2);
    world.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_was_changed_is_still_the_answer_to_its_key() {
    let world = World::build().await;
    let asked = world::new_room(policy(), KEY);
    let make = async || -> wire::CreateRoomResponse {
        world::read(&world.root, "AdminService/CreateRoom", asked.clone()).await
    };
    let first = make().await;
    let room = first.room.clone().expect("a room");
    let renamed = wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room.id,
            name: "Another name".to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned()],
        }),
        etag: room.etag,
    };
    let _: wire::UpdateRoomResponse =
        world::read(&world.root, "AdminService/UpdateRoom", renamed).await;
    assert_eq!(make().await, first);
}
