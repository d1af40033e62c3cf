//! Joins and leaves at the wrong time, too often, or all at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tonic::Code;
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use wire::PlaceState;

use super::ask::{asking, assert_refused};
use super::world;
use crate::harness::{TestApp, eventually};
use crate::people::reason;
use crate::sale::{PRICE_MINOR, policy};

const PARALLEL: usize = 1_000;
const FLAPS: u64 = 200;

fn standing_still() -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity: 0,
        ..policy()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_joins_of_one_user_at_once_are_one_place() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let alice = app.user("alice");
    let joins = join_all((0..PARALLEL).map(|_| alice.join(&room))).await;
    let numbers: BTreeSet<_> = joins.iter().map(|ticket| ticket.place.number).collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    let bob = app.user("bob").join(&room).await;
    assert_eq!((bob.place.position, bob.place.waiting_total), (Some(2), 2));
    // Any of the tokens is the place.
    for ticket in joins.iter().step_by(100) {
        assert_eq!(alice.place(&ticket.token).await.position, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_and_leaves_again_and_again_moves_nobody() {
    let app = TestApp::start().await;
    let room = app.make_room("room", standing_still()).await;
    let (alice, bob, carol) = (app.user("alice"), app.user("bob"), app.user("carol"));
    let first = bob.join(&room).await;
    let mut last = alice.join(&room).await;
    for _ in 0..FLAPS {
        alice.leave(&last.token).await.expect("left");
        let again = alice.join(&room).await;
        assert!(
            again.place.number > last.place.number,
            "a new place at the tail"
        );
        let over = alice.place(&last.token).await;
        // The token of a place that is over speaks for itself, not for the new one.
        assert_eq!(
            (over.number, over.state()),
            (last.place.number, PlaceState::Left)
        );
        last = again;
    }
    assert_eq!(last.place.number, first.place.number + 1 + FLAPS);
    let behind = carol.join(&room).await;
    eventually("no place is left behind", async || {
        let place = carol.place(&behind.token).await;
        ((place.position, place.waiting_total) == (Some(3), 3)).then_some(())
    })
    .await;
    assert_eq!(bob.place(&first.token).await.position, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_not_used_up_by_who_joins_and_leaves_again_and_again() {
    let app = TestApp::start().await;
    let one = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", one).await;
    let alice = app.user("alice");
    for _ in 0..10 {
        let ticket = alice.join(&room).await;
        alice.await_pass(&ticket.token).await;
        alice.leave(&ticket.token).await.expect("left");
    }
    let bob = app.user("bob");
    bob.await_pass(&bob.join(&room).await.token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_is_answered_by_the_state_of_its_room() {
    let app = TestApp::start().await;
    let (root, alice) = (app.admin(), app.user("alice"));
    let scheduled = wire::RoomPolicy {
        opens_at: Some(prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        }),
        ..policy()
    };
    let scheduled = app.make_room("scheduled", scheduled).await;
    let place = alice.join(&scheduled).await.place;
    assert_eq!(
        (place.state(), place.position),
        (PlaceState::Scheduled, None)
    );

    let paused = app.make_room("paused", policy()).await;
    root.pause(&paused).await;
    let place = alice.join(&paused).await.place;
    assert_eq!(
        (place.state(), place.position),
        (PlaceState::Waiting, Some(1))
    );

    let closed = app.make_room("closed", policy()).await;
    root.close(&closed).await;
    let over = wire::RoomPolicy {
        opens_at: Some(prost_types::Timestamp::default()),
        closes_at: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        ..policy()
    };
    let over = app.make_room("over", over).await;
    for room in [closed, over] {
        let refused = alice.try_join(&room).await.err().expect("closed");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "ROOM_CLOSED");
    }

    let small = wire::RoomPolicy {
        max_waiting: 2,
        ..standing_still()
    };
    let small = app.make_room("small", small).await;
    let hers = alice.join(&small).await;
    app.user("bob").join(&small).await;
    let refused = app
        .user("carol")
        .try_join(&small)
        .await
        .err()
        .expect("full");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "ROOM_FULL")
    );
    assert!(
        refused.get_details_retry_info().is_none(),
        "do not come back for it"
    );
    assert_eq!(
        alice.join(&small).await.place.number,
        hers.place.number,
        "who is in returns"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sold_out_room_refuses_new_people_and_knows_its_own() {
    let app = TestApp::start().await;
    let house = app.build_house(1, policy()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let hers = alice.join(&house.room).await;
    let pass = alice.await_pass(&hers.token).await;
    let his = bob.join(&house.room).await;
    bob.await_pass(&his.token).await;
    let active = bob.join(&house.room).await.place;
    assert_eq!(
        (active.number, active.state()),
        (his.place.number, PlaceState::Active)
    );
    let buyer = alice.clone().with_pass(&pass);
    let held = buyer
        .hold(&house.performance, &["s1-r1-1"], "hold")
        .await
        .expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let mut stream = bob.watch(&his.token).await;
    alice.pay(&held.id, "pay").await.expect("paid");
    stream.room_changed(wire::RoomState::SoldOut).await;
    for user in [&alice, &app.user("carol")] {
        let refused = user.try_join(&house.room).await.err().expect("sold out");
        assert_eq!(reason(&refused), "ROOM_SOLD_OUT");
    }
    let active = bob.join(&house.room).await.place;
    assert_eq!(
        (active.number, active.state()),
        (his.place.number, PlaceState::Active)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_room_says_nothing_about_this_one() {
    let app = TestApp::start().await;
    let here = app.make_room("here", standing_still()).await;
    let there = app.make_room("there", standing_still()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    bob.join(&here).await;
    let elsewhere = alice.join(&there).await;
    let message = wire::JoinRequest {
        room_id: here.clone(),
        place_token: Some(elsewhere.token.clone()),
        ..Default::default()
    };
    let joined: wire::JoinResponse = world::read(&alice, "QueueService/Join", message).await;
    let place = joined.place.expect("a place");
    assert_eq!((place.room_id, place.position), (here.clone(), Some(2)));
    let message = wire::JoinRequest {
        room_id: here,
        place_token: Some(elsewhere.token),
        ..Default::default()
    };
    let answer = asking(&bob, "QueueService/Join", message).await;
    assert_refused(
        answer,
        (Code::PermissionDenied, "TOKEN_USER_MISMATCH"),
        "hers",
    );
}
