//! What a room requires of user tokens.

use tonic::{Code, Status};
use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::people::{User, reason};
use crate::sale::policy;

/// Tokens of the server's own key: an admin's carries the claim `role`, a
/// user's does not.
const OWN_TOKENS: [(&str, &str); 2] = [
    ("USHER_AUTH__MODE", "jwt"),
    ("USHER_AUTH__ACCEPT_OWN_TOKENS", "true"),
];

fn assert_unauthenticated<T>(what: &str, answer: Result<T, Status>) {
    let status = answer.err().expect(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status:?}");
    assert_eq!(reason(&status), "", "{what}");
}

async fn require(root: &User, room: &wire::Room, claims: &[&str]) {
    let mut room = room.clone();
    let policy = room.policy.as_mut().expect("a policy");
    policy.required_claims = claims.iter().map(|&claim| claim.to_owned()).collect();
    let update = wire::UpdateRoomRequest {
        etag: room.etag.clone(),
        room: Some(room),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["policy.required_claims".to_owned()],
        }),
    };
    let updated = root.operator().update_room(root.ask(update)).await;
    updated.expect("updated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_takes_a_user_token_for_a_room_asks_for_its_claims() {
    let app = TestApp::start_with(&OWN_TOKENS).await;
    let (root, alice) = (app.token_user("root", true), app.token_user("alice", false));
    let house = app.build_house_as(&root, 5, policy()).await;
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let with_pass = alice.clone().with_pass(&pass);
    with_pass.seat_map(&house.performance).await.expect("seats");
    let get = wire::GetRoomRequest {
        room_id: house.room.clone(),
    };
    let shown = root.queue().get_room(root.ask(get)).await;
    let room = shown.expect("OK").into_inner().room.expect("a room");
    require(&root, &room, &["role"]).await;

    assert_unauthenticated("Join", alice.try_join(&house.room).await);
    let watch = wire::WatchRequest {
        place_token: ticket.token.clone(),
        ..wire::WatchRequest::default()
    };
    assert_unauthenticated("Watch", alice.watch_as(watch).await.map(drop));
    let place = alice.ask(wire::GetPlaceRequest {
        place_token: ticket.token.clone(),
    });
    let place = soon("a place", alice.queue().get_place(place)).await;
    assert_unauthenticated("GetPlace", place);
    assert_unauthenticated("Claim", alice.claim(&ticket.token).await);
    let map = with_pass.seat_map(&house.performance).await;
    assert_unauthenticated("GetSeatMap", map);
    let seats = with_pass.ask(wire::WatchSeatMapRequest {
        performance_id: house.performance.clone(),
        resume_cursor: None,
    });
    let seats = with_pass.catalog().watch_seat_map(seats).await;
    assert_unauthenticated("WatchSeatMap", seats.map(drop));
    let hold = with_pass.hold(&house.performance, &["A-1"], "hold");
    assert_unauthenticated("HoldSeats", hold.await);
    alice.leave(&ticket.token).await.expect("always");

    // Who carries the claim is served.
    let ticket = root.join(&house.room).await;
    let pass = root.await_pass(&ticket.token).await;
    let seats = root.clone().with_pass(&pass);
    seats.seat_map(&house.performance).await.expect("seats");
}
