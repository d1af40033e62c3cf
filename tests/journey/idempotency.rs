//! One key, one effect; one seat, one winner.

use futures_util::future::join_all;
use usher::proto::v1 as wire;

use crate::harness::TestApp;
use crate::people::{User, reason};
use crate::sale::{House, PRICE_MINOR, policy};

const PARALLEL: usize = 64;
const RIVALS: usize = 1_000;
/// A client ends a connection on which too many small messages wait for it.
const RIVALS_PER_CONNECTION: usize = 20;

async fn buyer(app: &TestApp, house: &House, id: &str) -> User {
    with_pass(app.user(id), house).await
}

async fn with_pass(user: User, house: &House) -> User {
    let ticket = user.join(&house.room).await;
    let pass = user.await_pass(&ticket.token).await;
    user.with_pass(&pass)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_has_one_effect_and_one_answer() {
    let app = TestApp::start().await;
    let house = app.build_house(10, policy()).await;
    let alice = buyer(&app, &house, "alice").await;
    let map = alice.seat_map(&house.performance).await.expect("seats");
    let seat = map.seats[0].id.as_str();
    // IN_FLIGHT says: ask again. So each of them does, until it is answered.
    let patiently = async |call: &dyn Fn() -> Answer| {
        loop {
            match call().await {
                Err(status) if reason(&status) == "IN_FLIGHT" => {}
                answer => return answer.expect("answered"),
            }
        }
    };
    let top_up = || -> Answer {
        let alice = alice.clone();
        Box::pin(async move {
            alice
                .top_up(PRICE_MINOR, "k")
                .await
                .map(|e| format!("{e:?}"))
        })
    };
    let answers = join_all((0..PARALLEL).map(|_| patiently(&top_up))).await;
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    assert_eq!(alice.balance().await, PRICE_MINOR);

    let (performance, seat_id) = (house.performance.clone(), seat.to_owned());
    let hold = || -> Answer {
        let (alice, performance, seat) = (alice.clone(), performance.clone(), seat_id.clone());
        Box::pin(async move {
            let held = alice.hold(&performance, &[&seat], "k").await;
            held.map(|held| held.id)
        })
    };
    let answers = join_all((0..PARALLEL).map(|_| patiently(&hold))).await;
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    let reservation = answers[0].clone();

    let pay = || -> Answer {
        let (alice, reservation) = (alice.clone(), reservation.clone());
        Box::pin(async move {
            alice
                .pay(&reservation, "k")
                .await
                .map(|paid| format!("{paid:?}"))
        })
    };
    let answers = join_all((0..PARALLEL).map(|_| patiently(&pay))).await;
    assert!(
        answers.windows(2).all(|two| two[0] == two[1]),
        "{answers:?}"
    );
    assert_eq!(alice.balance().await, 0);

    // The result as first given, though the pass is used up by now.
    assert_eq!(patiently(&hold).await, reservation);
    let cancelled = alice.cancel(&reservation, "k").await.expect("cancelled");
    assert_eq!(
        alice.cancel(&reservation, "k").await.expect("again"),
        cancelled
    );
    assert_eq!(alice.balance().await, PRICE_MINOR);
    app.assert_audit_is_clean().await;
}

type Answer = futures_util::future::BoxFuture<'static, Result<String, tonic::Status>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_another_request_is_refused_and_another_users_key_is_another() {
    let app = TestApp::start().await;
    let house = app.build_house(10, policy()).await;
    let alice = buyer(&app, &house, "alice").await;
    let bob = buyer(&app, &house, "bob").await;
    let map = alice.seat_map(&house.performance).await.expect("seats");
    let seats: Vec<_> = map.seats.iter().map(|seat| seat.id.as_str()).collect();
    alice.top_up(10_000, "k").await.expect("topped up");
    let held = alice.hold(&house.performance, &seats[..1], "k").await;
    let held = held.expect("held, by the same key: another RPC");
    let other = alice
        .hold(&house.performance, &seats[1..2], "k2")
        .await
        .expect("held");
    alice.pay(&held.id, "k").await.expect("paid");
    let refused = [
        alice.top_up(10_001, "k").await.map(drop),
        alice
            .hold(&house.performance, &seats[2..3], "k")
            .await
            .map(drop),
        alice.pay(&other.id, "k").await.map(drop),
    ];
    for refused in refused {
        let status = refused.expect_err("reused");
        assert_eq!(status.code(), tonic::Code::AlreadyExists);
        assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    }
    assert_eq!(alice.balance().await, 10_000 - PRICE_MINOR);
    bob.top_up(10_001, "k").await.expect("his own key");
    bob.hold(&house.performance, &seats[2..3], "k")
        .await
        .expect("his own key");
    let twice = alice.pay(&held.id, "k3").await.expect_err("paid");
    assert_eq!(reason(&twice), "ALREADY_PAID");
    let foreign = bob.pay(&other.id, "k4").await.expect_err("hers");
    let unknown = bob.pay("res-unknown", "k5").await.expect_err("nobody's");
    assert_eq!(foreign.code(), tonic::Code::NotFound);
    assert_eq!(foreign.message(), unknown.message());
    app.assert_audit_is_clean().await;
}

fn room_named(name: &str) -> wire::CreateRoomRequest {
    wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: name.to_owned(),
            policy: Some(policy()),
            ..wire::Room::default()
        }),
        idempotency_key: "k".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_answered_as_it_was_made_whatever_it_is_now() {
    let app = TestApp::start().await;
    let root = app.admin();
    let make = |name| {
        let request = root.ask(room_named(name));
        let mut operator = root.operator();
        async move { operator.create_room(request).await }
    };
    let made = make("Evening").await.expect("made").into_inner();
    let room = made.room.clone().expect("a room");
    let renamed = wire::UpdateRoomRequest {
        room: Some(wire::Room {
            name: "Night".to_owned(),
            ..room.clone()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned()],
        }),
        etag: room.etag.clone(),
    };
    let renamed = root.operator().update_room(root.ask(renamed)).await;
    let renamed = renamed.expect("renamed").into_inner().room;
    assert_eq!(renamed.expect("a room").name, "Night");
    let again = make("Evening").await.expect("as first given").into_inner();
    assert_eq!(again, made);
    for other in ["Night", "Noon"] {
        let refused = make(other).await.expect_err("another request");
        assert_eq!(reason(&refused), "IDEMPOTENCY_KEY_REUSED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concert_is_answered_as_it_was_made_whatever_protects_it_now() {
    let app = TestApp::start().await;
    let root = app.admin();
    let request = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: "Evening".to_owned(),
            ..wire::Concert::default()
        }),
        idempotency_key: "k".to_owned(),
    };
    let make = || {
        let request = root.ask(request.clone());
        let mut operator = root.operator();
        async move { operator.create_concert(request).await }
    };
    let made = make().await.expect("made").into_inner();
    let concert = made.concert.clone().expect("a concert");
    let protects = wire::Protects {
        concert_ids: vec![concert.id],
        ..wire::Protects::default()
    };
    app.make_room(
        "room",
        wire::RoomPolicy {
            protects: Some(protects),
            ..policy()
        },
    )
    .await;
    assert_eq!(make().await.expect("as first given").into_inner(), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_seat_has_one_winner() {
    let app = TestApp::start().await;
    let wide = wire::RoomPolicy {
        capacity: 1_000,
        rate: 10_000.0,
        ..policy()
    };
    let house = app.build_house(2, wide).await;
    let mut rivals = Vec::new();
    for group in 0..RIVALS / RIVALS_PER_CONNECTION {
        let channel = app.connect().await;
        let group = (0..RIVALS_PER_CONNECTION).map(|index| {
            let id = format!("rival-{group}-{index}");
            with_pass(User::new(channel.clone(), &id), &house)
        });
        rivals.extend(join_all(group).await);
    }
    let map = rivals[0].seat_map(&house.performance).await.expect("seats");
    let seat = [map.seats[0].id.as_str()];
    let tries = rivals
        .iter()
        .map(|rival| rival.hold(&house.performance, &seat, "hot"));
    let answers = join_all(tries).await;
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((winners, answers.len()), (1, RIVALS));
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(reason(refused), "SEAT_UNAVAILABLE", "{refused:?}");
    }
    app.assert_audit_is_clean().await;
}
