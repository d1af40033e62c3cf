//! Operators let one user in out of turn, and end what one user has.

use futures_util::future::join_all;
use tonic::{Code, Status};
use usher::proto::v1 as wire;
use wire::{EndReason, PlaceState};

use crate::harness::{TestApp, eventually, soon};
use crate::people::{User, reason};
use crate::sale::{PRICE_MINOR, policy, span_ms};

const TTL_MS: u64 = 300_000;

pub fn grant(room: &str, user: &str, key: &str) -> wire::GrantPlaceRequest {
    wire::GrantPlaceRequest {
        room_id: room.to_owned(),
        user_id: user.to_owned(),
        ttl: span_ms(TTL_MS),
        reason: "guest of the house".to_owned(),
        idempotency_key: key.to_owned(),
    }
}

pub fn revoke(room: &str, user: &str, key: &str) -> wire::RevokePlaceRequest {
    wire::RevokePlaceRequest {
        room_id: room.to_owned(),
        user_id: user.to_owned(),
        reason: "a reseller".to_owned(),
        idempotency_key: key.to_owned(),
    }
}

impl User {
    pub async fn grant(&self, request: wire::GrantPlaceRequest) -> Result<wire::Place, Status> {
        let mut operator = self.operator();
        let answer = operator.grant_place(self.ask(request));
        let answer = soon("a grant", answer).await?;
        Ok(answer.into_inner().place.expect("a place"))
    }

    pub async fn revoke(&self, request: wire::RevokePlaceRequest) -> Result<wire::Place, Status> {
        let mut operator = self.operator();
        let answer = operator.revoke_place(self.ask(request));
        let answer = soon("a revocation", answer).await?;
        Ok(answer.into_inner().place.expect("a place"))
    }
}

/// Nobody is activated by the line's own pace.
pub fn slow(capacity: u32) -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity,
        rate: 0.000_001,
        ..policy()
    }
}

/// The first activation that a room's rate gives at once, out of the way.
pub async fn spend_first_token(app: &TestApp, room: &str) {
    let early = app.user("early-bird");
    let ticket = early.join(room).await;
    early.await_pass(&ticket.token).await;
    early.leave(&ticket.token).await.expect("left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_a_pass_out_of_turn_on_the_users_own_place() {
    let app = TestApp::start().await;
    let root = app.admin();
    let house = app.build_house(10, slow(1)).await;
    spend_first_token(&app, &house.room).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    alice.join(&house.room).await;
    let ticket = bob.join(&house.room).await;
    let mut stream = bob.watch(&ticket.token).await;
    stream.snapshot().await;

    let granted = root
        .grant(grant(&house.room, "bob", "g1"))
        .await
        .expect("OK");
    assert_eq!(granted.state(), PlaceState::Active);
    assert_eq!(granted.number, ticket.place.number);
    let told = stream.activated().await;
    assert_eq!(Some(&told.activation_id), granted.activation_id.as_ref());
    assert_eq!(told.expire_time, granted.expire_time);
    assert_eq!(told.claim_by, None, "there is no claim window");
    let pass = told.pass.expect("a pass");
    assert_eq!(bob.claim(&ticket.token).await.expect("the same").pass, pass);
    let shown = bob.place(&ticket.token).await;
    assert_eq!(shown.state(), PlaceState::Active);

    // The same again is the same answer; the capacity is in use.
    let again = root
        .grant(grant(&house.room, "bob", "g1"))
        .await
        .expect("OK");
    assert_eq!(again, granted);
    let other_key = root.grant(grant(&house.room, "bob", "g2")).await;
    let other_key = other_key.expect("has it already");
    assert_eq!(other_key.activation_id, granted.activation_id);
    assert_eq!(other_key.expire_time, granted.expire_time);
    let full = root.grant(grant(&house.room, "alice", "g3")).await;
    let full = full.expect_err("no slot");
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert_eq!(reason(&full), "ROOM_FULL");
    let other = wire::GrantPlaceRequest {
        ttl: span_ms(TTL_MS + 1),
        ..grant(&house.room, "bob", "g1")
    };
    let reused = root.grant(other).await.expect_err("another request");
    assert_eq!(reason(&reused), "IDEMPOTENCY_KEY_REUSED");

    // It sells as any pass does, and its slot comes back.
    let bob = bob.with_pass(&pass);
    let seat = bob.seat_map(&house.performance).await.expect("a map").seats[0]
        .id
        .clone();
    let held = bob
        .hold(&house.performance, &[&seat], "h")
        .await
        .expect("held");
    bob.top_up(PRICE_MINOR, "t").await.expect("topped up");
    bob.pay(&held.id, "p").await.expect("paid");
    let completed = stream.ended().await;
    assert_eq!(completed.reason(), EndReason::Completed);
    let late = root.grant(grant(&house.room, "bob", "g1")).await;
    assert_eq!(late.expect("as first given"), granted);
    root.grant(grant(&house.room, "alice", "g4"))
        .await
        .expect("a slot is free");
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_to_who_never_joined_is_a_fresh_number_that_never_waits() {
    let app = TestApp::start().await;
    let root = app.admin();
    let full = wire::RoomPolicy {
        max_waiting: 1,
        ..slow(3)
    };
    let room = app.make_room("room", full).await;
    spend_first_token(&app, &room).await;
    let alice = app.user("alice");
    let waiting = alice.join(&room).await;
    let granted = root.grant(grant(&room, "bob", "g")).await.expect("OK");
    assert_eq!(granted.state(), PlaceState::Active);
    assert_eq!(granted.number, waiting.place.number + 1);
    let bob = app.user("bob");
    let ticket = bob.join(&room).await;
    assert_eq!(ticket.place.number, granted.number);
    assert_eq!(ticket.place.activation_id, granted.activation_id);
    let claimed = bob.claim(&ticket.token).await.expect("the pass");
    assert_eq!(claimed.expire_time, granted.expire_time);
    let shown = alice.place(&waiting.token).await;
    assert_eq!((shown.position, shown.waiting_total), (Some(1), 1));

    // Before an opening and in a pause too; not in a closed room.
    let opens_later = wire::RoomPolicy {
        opens_at: Some(prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        }),
        ..slow(1)
    };
    let early = app.make_room("early", opens_later).await;
    let granted = root.grant(grant(&early, "bob", "e")).await.expect("OK");
    assert_eq!(granted.state(), PlaceState::Active);
    root.close(&room).await;
    let closed = root.grant(grant(&room, "carol", "c")).await;
    assert_eq!(reason(&closed.expect_err("closed")), "ROOM_CLOSED");
    let nowhere = root.grant(grant("no-such-room", "bob", "n")).await;
    assert_eq!(nowhere.expect_err("unknown").code(), Code::NotFound);
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_at_once_never_exceed_the_capacity() {
    const CAPACITY: u32 = 5;
    let app = TestApp::start().await;
    let root = app.admin();
    let room = app.make_room("room", slow(CAPACITY)).await;
    spend_first_token(&app, &room).await;
    let grants = (0..40).map(|n| root.grant(grant(&room, &format!("u{n}"), &format!("k{n}"))));
    let answers = join_all(grants).await;
    let granted: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(granted.len(), CAPACITY as usize);
    let full = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(full.map(reason).all(|reason| reason == "ROOM_FULL"));
    // One key at once is one place.
    let lucky = answers.iter().position(Result::is_ok).expect("one");
    let freed = root.revoke(revoke(&room, &format!("u{lucky}"), "r")).await;
    freed.expect("revoked");
    let twins = join_all((0..10).map(|_| root.grant(grant(&room, "twin", "twin")))).await;
    let first = twins[0].as_ref().expect("granted");
    assert!(
        twins.iter().flatten().all(|twin| twin == first),
        "{twins:?}"
    );
    assert_eq!(twins.iter().flatten().count(), 10);
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_place_survives_a_restart() {
    let app = TestApp::start().await;
    let room = app.make_room("room", slow(1)).await;
    let granted = app
        .admin()
        .grant(grant(&room, "bob", "g"))
        .await
        .expect("OK");
    let app = app.restart(&[]).await;
    let ticket = app.user("bob").join(&room).await;
    assert_eq!(ticket.place.activation_id, granted.activation_id);
    assert_eq!(ticket.place.expire_time, granted.expire_time);
    let again = app.admin().grant(grant(&room, "bob", "g")).await;
    assert_eq!(again.expect("OK"), granted);
    let full = app.admin().grant(grant(&room, "carol", "c")).await;
    assert_eq!(reason(&full.expect_err("its slot counts")), "ROOM_FULL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_pass_is_refused_at_once_and_its_holds_stay() {
    let app = TestApp::start().await;
    let root = app.admin();
    let one = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let house = app.build_house(10, one).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let ticket = alice.join(&house.room).await;
    let pass = alice.await_pass(&ticket.token).await;
    let mut stream = alice.watch(&ticket.token).await;
    let behind = bob.join(&house.room).await;
    let mut next = bob.watch(&behind.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let seats = buyer
        .seat_map(&house.performance)
        .await
        .expect("a map")
        .seats;
    let held = buyer.hold(&house.performance, &[&seats[0].id], "h1").await;
    let held = held.expect("held");

    let revoked = root.revoke(revoke(&house.room, "alice", "r1")).await;
    let revoked = revoked.expect("OK");
    assert_eq!(revoked.state(), PlaceState::Expired);
    assert_eq!(revoked.number, ticket.place.number);
    let refused = buyer.hold(&house.performance, &[&seats[1].id], "h2").await;
    assert_eq!(reason(&refused.expect_err("refused")), "PASS_ENDED");
    let refused = alice.claim(&ticket.token).await.expect_err("refused");
    assert_eq!(reason(&refused), "PASS_ENDED");
    let ended = stream.ended().await;
    assert_eq!(
        (ended.state(), ended.reason()),
        (PlaceState::Expired, EndReason::Revoked)
    );
    next.activated().await;

    // The hold is alice's still, and needs no pass.
    alice.top_up(PRICE_MINOR, "t").await.expect("topped up");
    alice.pay(&held.id, "p").await.expect("paid");
    // The same request again, though there is nothing left to revoke.
    let again = root.revoke(revoke(&house.room, "alice", "r1")).await;
    assert_eq!(again.expect("OK"), revoked);
    let nothing = root.revoke(revoke(&house.room, "alice", "r2")).await;
    assert_eq!(nothing.expect_err("no live place").code(), Code::NotFound);
    let back = alice.join(&house.room).await;
    assert_eq!(back.place.number, behind.place.number + 1, "at the end");
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_place_in_the_line_is_over_for_good() {
    let app = TestApp::start().await;
    let root = app.admin();
    let still = wire::RoomPolicy {
        capacity: 0,
        ..policy()
    };
    let room = app.make_room("room", still.clone()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let (first, second) = (alice.join(&room).await, bob.join(&room).await);
    let mut stream = alice.watch(&first.token).await;
    stream.snapshot().await;
    let revoked = root.revoke(revoke(&room, "alice", "r")).await.expect("OK");
    assert_eq!(
        (revoked.state(), revoked.position),
        (PlaceState::Expired, None)
    );
    assert_eq!(revoked.activation_id, None, "it never had a turn");
    assert_eq!(stream.ended().await.reason(), EndReason::Revoked);
    eventually("bob moves up", async || {
        let place = bob.place(&second.token).await;
        (place.position == Some(1)).then_some(())
    })
    .await;
    let claim = alice.claim(&first.token).await.expect_err("over");
    assert_eq!(reason(&claim), "PASS_ENDED");
    let nobody = root.revoke(revoke(&room, "never-came", "n")).await;
    assert_eq!(nobody.expect_err("no place").code(), Code::NotFound);

    // A crash would not bring it back: its row says that it is over.
    let app = app.restart(&[]).await;
    let shown = app.user("alice").place(&first.token).await;
    assert_eq!(shown.state(), PlaceState::Expired);
    let mut stream = app.user("alice").watch(&first.token).await;
    assert_eq!(stream.ended().await.reason(), EndReason::Revoked);
    let again = app.user("alice").join(&room).await;
    assert!(again.place.number > second.place.number);
    app.assert_audit_is_clean().await;
}
