//! The whole sale, and the house that is sold in these tests.

use std::time::Duration;

use tonic::Code;
use usher::proto::v1 as wire;
use wire::{EndReason, PlaceState, ReservationState, RoomState, SeatState};

use crate::harness::{TestApp, eventually};
use crate::people::{User, euros, reason};

pub const PRICE_MINOR: i64 = 2_500;

/// A concert with one performance, and a room in front of it.
pub struct House {
    pub performance: String,
    pub room: String,
}

pub fn span_ms(ms: u64) -> Option<prost_types::Duration> {
    let span = Duration::from_millis(ms);
    Some(prost_types::Duration::try_from(span).expect("a span"))
}

pub fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Lets people in at once, for as long as a test may take.
pub fn policy() -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity: 10,
        rate: 1_000.0,
        pass_ttl: span_ms(600_000),
        claim_window: span_ms(600_000),
        absence_grace: span_ms(600_000),
        ..wire::RoomPolicy::default()
    }
}

pub fn performance(concert: &str, seats: u32) -> wire::Performance {
    wire::Performance {
        concert_id: concert.to_owned(),
        starts_at: at(4_000_000_000),
        sale_opens_at: at(1_000_000_000),
        sections: vec![wire::Section {
            name: "Stalls".to_owned(),
            price: Some(euros(PRICE_MINOR)),
            rows: vec![wire::SeatRow {
                name: "A".to_owned(),
                seat_count: seats,
            }],
        }],
        seats_per_user_max: 4,
        ..wire::Performance::default()
    }
}

pub fn concert() -> wire::Concert {
    wire::Concert {
        name: "Night of Lanterns".to_owned(),
        venue: "Garden Theatre".to_owned(),
        ..wire::Concert::default()
    }
}

impl TestApp {
    /// Makes a concert with one performance of so many seats, and a room that
    /// protects it.
    pub async fn build_house(&self, seats: u32, policy: wire::RoomPolicy) -> House {
        self.build_house_as(&self.admin(), seats, policy).await
    }

    pub async fn build_house_as(&self, root: &User, seats: u32, policy: wire::RoomPolicy) -> House {
        let made = root
            .operator()
            .create_concert(root.ask(wire::CreateConcertRequest {
                concert: Some(concert()),
                idempotency_key: "concert".to_owned(),
            }))
            .await;
        let made = made.expect("made").into_inner();
        let concert = made.concert.expect("a concert").id;
        let made = root
            .operator()
            .create_performance(root.ask(wire::CreatePerformanceRequest {
                performance: Some(performance(&concert, seats)),
                idempotency_key: "performance".to_owned(),
            }))
            .await;
        let made = made.expect("made");
        let performance = made.into_inner().performance.expect("one").id;
        let policy = wire::RoomPolicy {
            protects: Some(wire::Protects {
                concert_ids: vec![concert.clone()],
                ..wire::Protects::default()
            }),
            ..policy
        };
        let room = self.make_room_as(root, "room", policy).await;
        House { performance, room }
    }

    pub async fn make_room(&self, key: &str, policy: wire::RoomPolicy) -> String {
        self.make_room_as(&self.admin(), key, policy).await
    }

    async fn make_room_as(&self, root: &User, key: &str, policy: wire::RoomPolicy) -> String {
        let made = root
            .operator()
            .create_room(root.ask(wire::CreateRoomRequest {
                room: Some(wire::Room {
                    name: "The waiting room".to_owned(),
                    policy: Some(policy),
                    ..wire::Room::default()
                }),
                idempotency_key: key.to_owned(),
            }))
            .await;
        let made = made.expect("made").into_inner();
        made.room.expect("a room").id
    }

    pub async fn assert_audit_is_clean(&self) {
        use usher::store::sales::Audit as _;
        let report = self.sql.audit().await.expect("audited");
        assert!(report.is_clean(), "{report:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_sale_from_joining_the_line_to_the_paid_seat() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let house = app.build_house(10, one_at_a_time).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));

    let first = alice.join(&house.room).await;
    let mut her_stream = alice.watch(&first.token).await;
    let snapshot = her_stream.snapshot().await;
    assert_eq!(snapshot.room_state(), RoomState::Open);
    let place = snapshot.place.expect("a place");
    assert_eq!(
        (place.room_id.as_str(), place.number),
        (house.room.as_str(), 1)
    );
    let turn = her_stream.activated().await;
    assert!(turn.claim_by.is_some() && turn.pass.is_none(), "{turn:?}");

    let second = bob.join(&house.room).await;
    let mut his_stream = bob.watch(&second.token).await;
    let snapshot = his_stream.snapshot().await;
    let place = snapshot.place.expect("a place");
    assert_eq!(
        (place.state(), place.position),
        (PlaceState::Waiting, Some(1))
    );
    let early = bob.claim(&second.token).await.expect_err("not his turn");
    assert_eq!(reason(&early), "NOT_ACTIVATED");

    let claimed = alice.claim(&first.token).await.expect("claimed");
    let told = her_stream.activated().await;
    assert_eq!(told.activation_id, turn.activation_id);
    assert_eq!(told.expire_time, claimed.expire_time);
    assert!(told.pass.is_some() && told.claim_by.is_none(), "{told:?}");
    let again = alice.claim(&first.token).await.expect("the same pass");
    assert_eq!(again, claimed);

    let buyer = alice.clone().with_pass(&claimed.pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    assert_eq!(map.seats.len(), 10);
    assert!(
        map.seats
            .iter()
            .all(|seat| seat.state() == SeatState::Available)
    );
    let (one, two) = (map.seats[3].id.as_str(), map.seats[4].id.as_str());
    let held = buyer.hold(&house.performance, &[one, two], "hold").await;
    let held = held.expect("held");
    assert_eq!(held.state(), ReservationState::Held);
    assert_eq!(held.total, Some(euros(2 * PRICE_MINOR)));

    let poor = alice
        .pay(&held.id, "too-early")
        .await
        .expect_err("no money");
    assert_eq!(reason(&poor), "INSUFFICIENT_FUNDS");
    alice.top_up(6_000, "money").await.expect("topped up");
    let paid = alice.pay(&held.id, "pay").await.expect("paid");
    assert_eq!(paid.state(), wire::PaymentState::Succeeded);
    assert_eq!(alice.balance().await, 6_000 - 2 * PRICE_MINOR);

    let mine = alice.reservation(&held.id).await;
    assert_eq!(mine.state(), ReservationState::Confirmed);
    let mut seats: Vec<_> = mine
        .tickets
        .iter()
        .map(|ticket| ticket.seat_id.as_str())
        .collect();
    seats.sort_unstable();
    assert_eq!(seats, [one, two]);
    assert!(mine.tickets.iter().all(|ticket| !ticket.code.is_empty()));

    let ended = her_stream.ended().await;
    assert_eq!(
        (ended.state(), ended.reason()),
        (PlaceState::Completed, EndReason::Completed)
    );
    his_stream.activated().await;

    let used = buyer
        .hold(&house.performance, &[&map.seats[5].id], "again")
        .await;
    let used = used.expect_err("the pass is used up");
    assert_eq!(
        (used.code(), reason(&used).as_str()),
        (Code::FailedPrecondition, "PASS_ENDED")
    );
    let used = buyer
        .seat_map(&house.performance)
        .await
        .expect_err("used up");
    assert_eq!(reason(&used), "PASS_ENDED");
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_reservation_gives_back_money_and_seats() {
    let app = TestApp::start().await;
    let house = app.build_house(2, policy()).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let held = buyer
        .hold(&house.performance, &[&map.seats[0].id], "hold")
        .await;
    let held = held.expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    alice.pay(&held.id, "pay").await.expect("paid");
    let cancelled = alice.cancel(&held.id, "cancel").await.expect("cancelled");
    assert_eq!(cancelled.refunded, Some(euros(PRICE_MINOR)));
    assert_eq!(alice.balance().await, PRICE_MINOR);
    let mine = alice.reservation(&held.id).await;
    assert_eq!(mine.state(), ReservationState::Cancelled);
    app.assert_audit_is_clean().await;

    // A new place, a new pass, and the seat is free again.
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.with_pass(&pass);
    let seat = [map.seats[0].id.as_str()];
    buyer
        .hold(&house.performance, &seat, "hold-2")
        .await
        .expect("held again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sold_is_still_sold_after_a_restart() {
    let app = TestApp::start().await;
    let house = app.build_house(2, policy()).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let hers = alice.join(&house.room).await;
    let pass = alice.await_pass(&hers.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let held = buyer
        .hold(&house.performance, &[&map.seats[0].id], "hold")
        .await;
    let held = held.expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let paid = alice.pay(&held.id, "pay").await.expect("paid");
    let his = bob.join(&house.room).await;
    let his_pass = bob.await_pass(&his.token).await;

    let app = app.restart(&[]).await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    assert_eq!(alice.pay(&held.id, "pay").await.expect("as before"), paid);
    let over = alice.watch(&hers.token).await.ended().await;
    assert_eq!(over.reason(), EndReason::Completed);
    assert_eq!(
        bob.claim(&his.token).await.expect("still his").pass,
        his_pass
    );
    let bob = bob.with_pass(&his_pass);
    let taken = bob
        .hold(&house.performance, &[&map.seats[0].id], "hold")
        .await;
    assert_eq!(reason(&taken.expect_err("sold")), "SEAT_UNAVAILABLE");
    bob.hold(&house.performance, &[&map.seats[1].id], "hold-2")
        .await
        .expect("held");
    eventually("a clean audit", async || {
        app.assert_audit_is_clean().await;
        Some(())
    })
    .await;
}
