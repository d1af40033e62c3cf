//! A performance that does not take place, as everybody hears of it.

use tonic::Code;
use usher::proto::v1 as wire;
use wire::{PerformanceState, ReservationState, RoomState, SeatState};

use crate::bad_input::world;
use crate::harness::{TestApp, eventually, soon};
use crate::people::{User, euros, reason};
use crate::sale::{PRICE_MINOR, policy};

async fn cancel(
    root: &User,
    performance: &str,
    key: &str,
) -> Result<wire::CancelPerformanceResponse, tonic::Status> {
    let request = root.ask(wire::CancelPerformanceRequest {
        performance_id: performance.to_owned(),
        reason: "rain".to_owned(),
        idempotency_key: key.to_owned(),
    });
    let answer = soon("an answer", root.operator().cancel_performance(request)).await;
    answer.map(tonic::Response::into_inner)
}

async fn only_concert(user: &User) -> wire::Concert {
    let list: wire::ListConcertsResponse =
        world::read(user, "CatalogService/ListConcerts", ()).await;
    list.concerts.into_iter().next().expect("one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_performance_gives_all_back_and_tells_the_line() {
    let app = TestApp::start().await;
    let root = app.admin();
    let two_at_a_time = wire::RoomPolicy {
        capacity: 2,
        ..policy()
    };
    let house = app.build_house(4, two_at_a_time).await;
    let concert = only_concert(&root).await.id;
    let other = world::make_performance(&root, &concert, "other").await;
    let (alice, bob, carol) = (app.user("alice"), app.user("bob"), app.user("carol"));
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let seats = world::seats_of(&buyer, &house.performance).await;
    let bought = buyer.hold(&house.performance, &[&seats[0]], "hold").await;
    let bought = bought.expect("held").id;
    alice.top_up(PRICE_MINOR, "money").await.expect("money");
    alice.pay(&bought, "pay").await.expect("paid");
    let pass = bob.await_pass(&bob.join(&house.room).await.token).await;
    let holder = bob.clone().with_pass(&pass);
    let held = holder.hold(&house.performance, &[&seats[1]], "hold").await;
    let held = held.expect("held").id;
    bob.top_up(PRICE_MINOR, "money").await.expect("money");
    // Nobody else is let in, so that the line is heard out.
    let still = wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: house.room.clone(),
            policy: Some(wire::RoomPolicy {
                capacity: 0,
                ..policy()
            }),
            ..wire::Room::default()
        }),
        update_mask: world::mask(&["policy.capacity"]),
        etag: room(&root, &house.room).await.etag,
    };
    let _: wire::UpdateRoomResponse = world::read(&root, "AdminService/UpdateRoom", still).await;
    let mut line = carol.watch(&carol.join(&house.room).await.token).await;
    assert_eq!(line.snapshot().await.room_state(), RoomState::Open);

    let answer = cancel(&root, &house.performance, "cancel").await;
    let answer = answer.expect("cancelled");
    let cancelled = answer.performance.clone().expect("one");
    assert_eq!(cancelled.state(), PerformanceState::Cancelled);
    assert_eq!(answer.refunds_pending, 1);
    let late = holder.hold(&house.performance, &[&seats[2]], "late").await;
    let late = late.expect_err("over");
    let not_open = (Code::FailedPrecondition, "SALE_NOT_OPEN".to_owned());
    assert_eq!((late.code(), reason(&late)), not_open);
    let late = bob.pay(&held, "pay").await.expect_err("over");
    assert_eq!(reason(&late), "HOLD_EXPIRED");
    for (user, reservation, expected) in [
        (&alice, &bought, ReservationState::Cancelled),
        (&bob, &held, ReservationState::Released),
    ] {
        eventually("the end", async || {
            (user.reservation(reservation).await.state() == expected).then_some(())
        })
        .await;
        assert_eq!(user.balance().await, PRICE_MINOR);
        assert!(user.reservation(reservation).await.tickets.is_empty());
    }
    let sales = Some(house.performance.as_str());
    app.watched_sales_are(sales, (0, 0, 0)).await;
    let map = holder.seat_map(&house.performance).await.expect("seats");
    let blocked = |seat: &wire::Seat| seat.state() == SeatState::Blocked;
    assert!(map.seats.iter().all(blocked), "{map:?}");
    // The same again is the same answer, and another one finds nothing to do.
    let again = cancel(&root, &house.performance, "cancel").await;
    assert_eq!(again.expect("as first answered"), answer);
    let later = cancel(&root, &house.performance, "later").await;
    let later = later.expect("as it is");
    assert_eq!(
        (later.refunds_pending, later.performance),
        (
            0,
            Some(wire::Performance {
                sold_out: true,
                ..cancelled
            })
        )
    );

    // There is another date, so the line goes on; until that is cancelled, too.
    assert!(!only_concert(&root).await.sold_out);
    assert_eq!(room(&root, &house.room).await.state(), RoomState::Open);
    cancel(&root, &other, "other").await.expect("cancelled");
    line.room_changed(RoomState::SoldOut).await;
    let dave = app.user("dave").try_join(&house.room).await;
    let refused = dave.map(|_| ()).expect_err("nothing is left");
    assert_eq!(reason(&refused), "ROOM_SOLD_OUT");
    let concert = only_concert(&root).await;
    assert!(
        concert.sold_out && concert.sale_opens_at.is_none(),
        "{concert:?}"
    );
    let entries: wire::ListWalletEntriesResponse =
        world::read(&alice, "PaymentService/ListWalletEntries", ()).await;
    let back = &entries.entries[0];
    assert_eq!(back.kind(), wire::WalletEntryKind::Refund);
    assert_eq!(back.amount, Some(euros(PRICE_MINOR)));
    assert_eq!(back.reason, "the performance is cancelled");
    app.assert_audit_is_clean().await;
}

async fn room(root: &User, id: &str) -> wire::Room {
    let of = wire::GetRoomRequest {
        room_id: id.to_owned(),
    };
    let answer: wire::GetRoomResponse = world::read(root, "QueueService/GetRoom", of).await;
    answer.room.expect("a room")
}
