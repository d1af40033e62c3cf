//! The database is away: rooms stand still and say so, nobody is lost, and all
//! goes on by itself.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Statement};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use usher::store::sql::SqlError;
use wire::watch_response::Event;
use wire::{EndReason, PaymentState, PlaceState, RoomState};

use crate::deadlines::within;
use crate::harness::{TestApp, eventually, soon};
use crate::outage::Outage;
use crate::people::{Ticket, User, Watching, reason};
use crate::sale::{PRICE_MINOR, policy};

const T_DEGRADED: Duration = Duration::from_secs(2);
/// Positions and heartbeats come within a second.
const LIVELY: [(&str, &str); 1] = [("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")];

fn assert_is_degraded(refused: &Status) {
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(reason(refused), "DEGRADED");
    assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
}

async fn room_state(user: &User, room: &str) -> RoomState {
    let request = user.ask(wire::GetRoomRequest {
        room_id: room.to_owned(),
    });
    let answer = soon("a room", user.queue().get_room(request)).await;
    answer.expect("OK").into_inner().room.expect("one").state()
}

async fn assert_is_sound(app: &TestApp) {
    let checked = app.sql.read((), |tx, ()| {
        Box::pin(async move {
            let check = Statement::from_string(tx.get_database_backend(), "PRAGMA integrity_check");
            let row = tx.query_one_raw(check).await?.expect("a row");
            row.try_get::<String>("", "integrity_check").map_err(lost)
        })
    });
    assert_eq!(checked.await.expect("read"), "ok");
    app.assert_audit_is_clean().await;
}

fn lost(error: DbErr) -> SqlError {
    error.into()
}

struct Waiting {
    user: User,
    ticket: Ticket,
    stream: Watching,
    position: u64,
}

async fn line_of(app: &TestApp, room: &str, count: usize) -> Vec<Waiting> {
    let mut line = Vec::new();
    for index in 0..count {
        let user = app.user(&format!("user-{index}"));
        let ticket = user.join(room).await;
        let mut stream = user.watch(&ticket.token).await;
        let place = stream.snapshot().await.place.expect("a place");
        line.push(Waiting {
            user,
            ticket,
            stream,
            position: place.position.expect("in line"),
        });
    }
    line
}

async fn hears_heartbeats(stream: &mut Watching, count: usize) {
    let mut heard = 0;
    while heard < count {
        match stream.event().await {
            Event::Heartbeat(_) => heard += 1,
            // Rendered before the room stood still.
            Event::Position(_) => {}
            other => panic!("nothing happens meanwhile: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_in_time_and_loses_nobody() {
    let app = TestApp::start_with(&LIVELY).await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", one_at_a_time).await;
    let first = app.user("first");
    let turn = first.join(&room).await;
    first.watch(&turn.token).await.activated().await;
    let mut line = line_of(&app, &room, 5).await;

    let outage = Outage::begin(&app.database_url()).await;
    let told = async {
        for waiting in &mut line {
            waiting.stream.room_changed(RoomState::Degraded).await;
        }
    };
    within("DEGRADED", T_DEGRADED, told).await;

    let refused = app.user("late").try_join(&room).await;
    assert_is_degraded(&refused.err().expect("no join"));
    assert_eq!(room_state(&first, &room).await, RoomState::Degraded);
    let mut told_as_of = Vec::new();
    for waiting in &mut line {
        let place = waiting.user.place(&waiting.ticket.token).await;
        assert_eq!(place.state(), PlaceState::Waiting);
        assert_eq!(place.position, Some(waiting.position), "as last known");
        assert_eq!(place.estimated_wait, None, "nothing is invented");
        hears_heartbeats(&mut waiting.stream, 2).await;
        told_as_of.push(place.as_of.expect("a time"));
    }
    // Who comes back meanwhile has the place, and the same news.
    let back = &line[2];
    let mut second_tab = back.user.watch(&back.ticket.token).await;
    let snapshot = second_tab.snapshot().await;
    assert_eq!(snapshot.room_state(), RoomState::Degraded);
    let place = snapshot.place.expect("a place");
    assert_eq!(place.position, Some(back.position));
    assert_eq!(place.estimated_wait, None);
    // Asked seconds apart: what is told is of the outage's beginning.
    told_as_of.push(place.as_of.expect("a time"));
    assert!(
        told_as_of.iter().all(|as_of| *as_of == told_as_of[0]),
        "{told_as_of:?}"
    );
    // Leaving needs no row: it is answered, and acts on return.
    let gone = line.remove(0);
    gone.user.leave(&gone.ticket.token).await.expect("left");

    drop(outage);
    for waiting in &mut line {
        waiting.stream.room_changed(RoomState::Open).await;
    }
    let ended = gone_for_good(gone.stream).await;
    assert_eq!(ended, EndReason::Left);
    for waiting in &mut line {
        let (before, expected) = (waiting.position, waiting.position - 1);
        let better = |event| match event {
            // One of before may be told again: the leave acts a little later.
            Event::Position(told) if told.position < before => Some(told.position),
            Event::Ended(ended) => panic!("lost: {ended:?}"),
            _ => None,
        };
        assert_eq!(waiting.stream.until("a position", better).await, expected);
    }
    app.user("late").join(&room).await;
    first.leave(&turn.token).await.expect("left");
    line[0].stream.activated().await;
    assert_is_sound(&app).await;
}

async fn gone_for_good(mut stream: Watching) -> EndReason {
    stream.ended().await.reason()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_in_an_outage_is_repeated_by_its_key() {
    let app = TestApp::start().await;
    let house = app.build_house(2, policy()).await;
    let alice = app.user("alice");
    let pass = alice.await_pass(&alice.join(&house.room).await.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let (seat, other_seat) = ([map.seats[0].id.as_str()], [map.seats[1].id.as_str()]);
    let held = buyer.hold(&house.performance, &seat, "hold").await;
    let held = held.expect("held");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");

    let outage = Outage::begin(&app.database_url()).await;
    // Longer than SQLite waits for a lock: each is refused, none is done.
    let (unpaid, unheld) = tokio::join!(
        alice.pay(&held.id, "pay"),
        buyer.hold(&house.performance, &other_seat, "hold-2"),
    );
    assert_is_degraded(&unpaid.expect_err("no payment"));
    assert_is_degraded(&unheld.expect_err("no hold"));
    // Reads go on.
    assert_eq!(alice.balance().await, PRICE_MINOR);

    drop(outage);
    let paid = eventually("the payment", async || {
        match alice.pay(&held.id, "pay").await {
            Ok(paid) => Some(paid),
            Err(refused) => {
                assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
                None
            }
        }
    });
    let paid = paid.await;
    assert_eq!(paid.state(), PaymentState::Succeeded);
    assert_eq!(alice.balance().await, 0, "paid once");
    assert_is_sound(&app).await;
}
