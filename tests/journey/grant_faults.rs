//! A grant and a revocation that break off between two of their steps.

use tonic::Code;
use usher::proto::v1 as wire;
use usher::truth::failpoint::{Action, Point};
use wire::{EndReason, PlaceState};

use crate::grants::{grant, revoke, slow, spend_first_token};
use crate::harness::{TestApp, eventually};
use crate::people::reason;
use crate::sale::policy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_broke_off_is_done_by_its_repeat_or_by_a_tick() {
    for point in [Point::NumbersGranted, Point::RowsCommitted] {
        let app = TestApp::start().await;
        let root = app.admin();
        let room = app.make_room("room", slow(1)).await;
        spend_first_token(&app, &room).await;
        let bob = app.user("bob");
        let ticket = bob.join(&room).await;
        app.failpoints.arm(point, Action::Error, 0);
        let broken = root.grant(grant(&room, "bob", "g")).await;
        let broken = broken.expect_err("broken off");
        assert_eq!(broken.code(), Code::Unavailable, "{point:?}");
        // Its slot is taken, whatever comes next.
        let full = root.grant(grant(&room, "carol", "c")).await;
        assert_eq!(reason(&full.expect_err("no slot")), "ROOM_FULL");
        let granted = root.grant(grant(&room, "bob", "g")).await.expect("again");
        assert_eq!(granted.state(), PlaceState::Active, "{point:?}");
        assert_eq!(granted.number, ticket.place.number);
        let shown = bob.place(&ticket.token).await;
        assert_eq!(shown.activation_id, granted.activation_id, "{point:?}");
        assert_eq!(shown.expire_time, granted.expire_time, "{point:?}");
        app.assert_audit_is_clean().await;
    }
    // Nobody asks again: a tick writes the row.
    let app = TestApp::start().await;
    let room = app.make_room("room", slow(1)).await;
    spend_first_token(&app, &room).await;
    let (root, bob) = (app.admin(), app.user("bob"));
    app.failpoints.arm(Point::NumbersGranted, Action::Error, 0);
    let broken = root.grant(grant(&room, "bob", "g")).await;
    assert_eq!(broken.expect_err("broken").code(), Code::Unavailable);
    let ticket = bob.join(&room).await;
    bob.await_pass(&ticket.token).await;
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_broke_off_is_told_by_the_outbox() {
    let app = TestApp::start().await;
    let root = app.admin();
    let still = wire::RoomPolicy {
        capacity: 0,
        ..policy()
    };
    let room = app.make_room("room", still).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let (first, second) = (alice.join(&room).await, bob.join(&room).await);
    let mut stream = alice.watch(&first.token).await;
    stream.snapshot().await;
    app.failpoints.arm(Point::RowsCommitted, Action::Error, 0);
    let broken = root.revoke(revoke(&room, "alice", "r")).await;
    assert_eq!(broken.expect_err("broken").code(), Code::Unavailable);
    let ended = stream.ended().await;
    assert_eq!(ended.reason(), EndReason::Revoked);
    eventually("bob moves up", async || {
        let place = bob.place(&second.token).await;
        (place.position == Some(1)).then_some(())
    })
    .await;
    let again = root.revoke(revoke(&room, "alice", "r")).await;
    assert_eq!(again.expect("the same").number, first.place.number);
    app.assert_audit_is_clean().await;
}
