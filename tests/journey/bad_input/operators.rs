//! What operators ask for that cannot be, by more than one field or by what
//! was before.

use prost::Message;
use prost_types::Timestamp;
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, asking, assert_refused, fields_of};
use super::coverage::implemented;
use super::world::{self, World};
use crate::harness::TestApp;
use crate::people::{User, reason};
use crate::sale::{policy, span_ms};

const FIELD_INVALID: (Code, &str) = (Code::InvalidArgument, "FIELD_INVALID");
const YEAR_9999: i64 = 253_402_300_799;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn change(room: &wire::Room, policy: wire::RoomPolicy, paths: &[&str]) -> wire::UpdateRoomRequest {
    wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room.id.clone(),
            policy: Some(policy),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        etag: room.etag.clone(),
    }
}

async fn room_of(root: &User, id: &str) -> wire::Room {
    let message = wire::GetRoomRequest {
        room_id: id.to_owned(),
    };
    let answer: wire::GetRoomResponse = world::read(root, "QueueService/GetRoom", message).await;
    answer.room.expect("a room")
}

async fn refused(root: &User, rpc: &'static str, message: impl Message, field: &str) {
    let status = assert_refused(asking(root, rpc, message).await, FIELD_INVALID, field);
    assert_eq!(fields_of(&status), [field]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_rpcs_are_for_operators() {
    let world = World::build().await;
    let before = world.state().await;
    let rpcs: Vec<_> = implemented()
        .into_iter()
        .filter(|rpc| rpc.starts_with("Admin"))
        .collect();
    assert!(rpcs.len() >= 10, "{rpcs:?}");
    for rpc in rpcs {
        let answer = ask(&world.app.user("alice"), &rpc, Vec::new()).await;
        assert_refused(answer, (Code::PermissionDenied, "ROLE_REQUIRED"), &rpc);
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_be_are_refused_at_creation_and_at_a_change() {
    let app = TestApp::start().await;
    let root = app.admin();
    let room = app.make_room("room", policy()).await;
    let draw = wire::RoomPolicy {
        order: wire::RoomOrder::Draw.into(),
        opens_at: at(4_000_000_000),
        ..policy()
    };
    let beacon = |value: Option<&str>| {
        Some(wire::DrawBeacon {
            description: "a lottery".to_owned(),
            value: value.map(str::to_owned),
        })
    };
    let span = |pass_ttl, claim_window, absence_grace| wire::RoomPolicy {
        pass_ttl: span_ms(pass_ttl),
        claim_window: span_ms(claim_window),
        absence_grace: span_ms(absence_grace),
        ..policy()
    };
    const DAY_MS: u64 = 86_400_000;
    let at_creation = [
        ("room.policy.pass_ttl", span(999, 0, 1_000)),
        ("room.policy.pass_ttl", span(DAY_MS + 1, 0, 1_000)),
        ("room.policy.claim_window", span(1_000, DAY_MS + 1, 1_000)),
        ("room.policy.absence_grace", span(1_000, 0, 999)),
        ("room.policy.absence_grace", span(1_000, 0, DAY_MS + 1)),
        (
            "room.policy.opens_at",
            wire::RoomPolicy {
                opens_at: None,
                ..draw.clone()
            },
        ),
        (
            "room.policy.closes_at",
            wire::RoomPolicy {
                opens_at: at(4_000_000_000),
                closes_at: at(4_000_000_000),
                ..policy()
            },
        ),
        (
            "room.policy.draw_beacon",
            wire::RoomPolicy {
                draw_beacon: beacon(None),
                ..policy()
            },
        ),
        (
            "room.policy.draw_beacon.value",
            wire::RoomPolicy {
                draw_beacon: beacon(Some("known beforehand")),
                ..draw.clone()
            },
        ),
    ];
    for (field, policy) in at_creation {
        refused(
            &root,
            "AdminService/CreateRoom",
            world::new_room(policy, "bad"),
            field,
        )
        .await;
    }
    let open = room_of(&root, &room).await;
    let moved = wire::RoomPolicy {
        opens_at: at(4_000_000_000),
        ..policy()
    };
    let message = change(&open, moved, &["policy.opens_at"]);
    refused(
        &root,
        "AdminService/UpdateRoom",
        message,
        "room.policy.opens_at",
    )
    .await;
    app.user("alice").join(&room).await;
    let message = change(&open, draw.clone(), &["policy.order", "policy.opens_at"]);
    refused(
        &root,
        "AdminService/UpdateRoom",
        message,
        "room.policy.opens_at",
    )
    .await;
    // Early values, once there is a draw to wait for one.
    let waiting = wire::RoomPolicy {
        draw_beacon: beacon(None),
        ..draw
    };
    let drawn = app.make_room("draw", waiting.clone()).await;
    app.user("alice").join(&drawn).await;
    let drawn = room_of(&root, &drawn).await;
    for (field, policy) in [
        (
            "room.policy.draw_beacon.value",
            wire::RoomPolicy {
                draw_beacon: beacon(Some("too early")),
                ..waiting.clone()
            },
        ),
        (
            "room.policy.draw_beacon",
            wire::RoomPolicy {
                draw_beacon: None,
                ..waiting.clone()
            },
        ),
    ] {
        let message = change(&drawn, policy, &["policy.draw_beacon"]);
        refused(&root, "AdminService/UpdateRoom", message, field).await;
    }
    let fifo = wire::RoomPolicy {
        draw_beacon: None,
        ..policy()
    };
    let message = change(&drawn, fifo, &["policy.order", "policy.draw_beacon"]);
    refused(
        &root,
        "AdminService/UpdateRoom",
        message,
        "room.policy.order",
    )
    .await;
    assert_eq!(
        room_of(&root, &room).await.etag,
        open.etag,
        "nothing was changed"
    );
    assert_eq!(room_of(&root, &drawn.id).await.etag, drawn.etag);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_furthest_times_and_the_largest_numbers_are_taken() {
    let app = TestApp::start().await;
    let far = wire::RoomPolicy {
        opens_at: at(YEAR_9999 - 1),
        closes_at: at(YEAR_9999),
        capacity: 100_000_000,
        max_waiting: 100_000_000,
        rate: 100_000.0,
        pass_ttl: span_ms(86_400_000),
        claim_window: span_ms(86_400_000),
        absence_grace: span_ms(86_400_000),
        ..policy()
    };
    let room = app.make_room("far", far.clone()).await;
    let place = app.user("alice").join(&room).await.place;
    assert_eq!(place.state(), wire::PlaceState::Scheduled);
    assert_eq!(place.opens_at, far.opens_at);
    let slow = wire::RoomPolicy {
        opens_at: at(0),
        rate: f64::MIN_POSITIVE,
        capacity: 0,
        ..policy()
    };
    let room = app.make_room("slow", slow).await;
    let place = app.user("alice").join(&room).await.place;
    assert_eq!(place.state(), wire::PlaceState::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_target_is_named_by_two_rooms() {
    let app = TestApp::start().await;
    let root = app.admin();
    let concert = world::make_concert(&root, "concert").await;
    let performance = world::make_performance(&root, &concert, "performance").await;
    let of_concert = || wire::RoomPolicy {
        protects: Some(wire::Protects {
            concert_ids: vec![concert.clone()],
            ..Default::default()
        }),
        ..policy()
    };
    let of_performance = || wire::RoomPolicy {
        protects: Some(wire::Protects {
            performance_ids: vec![performance.clone()],
            ..Default::default()
        }),
        ..policy()
    };
    app.make_room("concert-room", of_concert()).await;
    app.make_room("performance-room", of_performance()).await;
    let third = app.make_room("third", policy()).await;
    let third = room_of(&root, &third).await;
    let unknown = wire::RoomPolicy {
        protects: Some(wire::Protects {
            campaign_ids: vec!["unknown-1".to_owned()],
            ..Default::default()
        }),
        ..policy()
    };
    let field = "room.policy.protects";
    for bad in [of_concert(), of_performance(), unknown] {
        let new = world::new_room(bad.clone(), "bad");
        refused(&root, "AdminService/CreateRoom", new, field).await;
        let message = change(&third, bad, &["policy.protects"]);
        refused(&root, "AdminService/UpdateRoom", message, field).await;
    }
    assert_eq!(room_of(&root, &third.id).await.etag, third.etag);
    // What was refused left no room behind: its key is free.
    app.make_room("bad", policy()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_edits_of_one_version_one_is_a_conflict() {
    let app = TestApp::start().await;
    let root = app.admin();
    let room = app.make_room("room", policy()).await;
    let room = room_of(&root, &room).await;
    let edit = |capacity| {
        let policy = wire::RoomPolicy {
            capacity,
            ..policy()
        };
        let message = change(&room, policy, &["policy.capacity"]);
        asking(&root, "AdminService/UpdateRoom", message)
    };
    let edits = futures_util::future::join_all((20..30).map(edit)).await;
    let won = edits.iter().filter(|edit| edit.is_ok()).count();
    assert_eq!(won, 1);
    for lost in edits.into_iter().filter_map(Result::err) {
        assert_eq!(
            (lost.code(), reason(&lost).as_str()),
            (Code::Aborted, "CONFLICT")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_resuming_and_closing_twice_change_nothing_more() {
    let app = TestApp::start().await;
    let root = app.admin();
    let room = app.make_room("room", policy()).await;
    for _ in 0..2 {
        root.pause(&room).await;
    }
    for _ in 0..2 {
        root.resume(&room).await;
    }
    for _ in 0..2 {
        root.close(&room).await;
    }
    let closed = (Code::FailedPrecondition, "ROOM_CLOSED");
    let pause = wire::PauseRoomRequest {
        room_id: room.clone(),
        ..Default::default()
    };
    let resume = wire::ResumeRoomRequest {
        room_id: room.clone(),
        message: None,
    };
    let answer = asking(&root, "AdminService/PauseRoom", pause).await;
    assert_refused(answer, closed, "pause what is closed");
    let answer = asking(&root, "AdminService/ResumeRoom", resume).await;
    assert_refused(answer, closed, "resume what is closed");
    assert_eq!(room_of(&root, &room).await.state(), wire::RoomState::Closed);
}

/// With all that the server chooses, chosen by the client.
fn presumptuous(room: wire::Room) -> wire::Room {
    wire::Room {
        state: wire::RoomState::Closed.into(),
        opens_at: at(4_000_000_000),
        lanes: vec![wire::LaneStatus {
            lane: "mine".to_owned(),
            waiting_total: 7,
            estimated_wait: None,
        }],
        draw: Some(wire::Draw {
            secret: Some(vec![0; 32]),
            ..Default::default()
        }),
        resumes_at: at(4_000_000_000),
        message: "\0".to_owned(),
        etag: "x".to_owned(),
        as_of: at(4_000_000_000),
        ..room
    }
}

/// A room with nobody in it.
fn assert_is_as_the_server_says(room: &wire::Room) {
    assert_ne!(room.state(), wire::RoomState::Closed);
    assert_eq!((room.opens_at, room.resumes_at), (None, None));
    assert_eq!((room.message.as_str(), &room.draw), ("", &None));
    let lanes = room.lanes.iter();
    let lanes: Vec<_> = lanes.map(|lane| lane.waiting_total).collect();
    assert_eq!(lanes, [0], "{:?}", room.lanes);
    assert_ne!(room.lanes[0].lane, "mine");
    assert_ne!(room.etag, "x");
    let as_of = room.as_of.expect("a time");
    assert!(as_of.seconds < 4_000_000_000, "{as_of:?}");
}

async fn room_as_the_server_says(root: &User) -> String {
    let mut message = world::new_room(policy(), "room");
    message.room = message.room.map(|room| wire::Room {
        id: "a{b}".to_owned(),
        ..presumptuous(room)
    });
    let made: wire::CreateRoomResponse =
        world::read(root, "AdminService/CreateRoom", message).await;
    let made = made.room.expect("a room");
    assert_ne!(made.id, "a{b}");
    assert_is_as_the_server_says(&made);
    let mut message = change(&made, policy(), &["name", "policy"]);
    message.room = message.room.map(|room| wire::Room {
        name: "Another name".to_owned(),
        ..presumptuous(room)
    });
    let changed: wire::UpdateRoomResponse =
        world::read(root, "AdminService/UpdateRoom", message).await;
    let changed = changed.room.expect("a room");
    let later = room_of(root, &made.id).await;
    for room in [changed, later] {
        assert_eq!((&room.id, room.name.as_str()), (&made.id, "Another name"));
        assert_is_as_the_server_says(&room);
    }
    made.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_chooses_is_ignored() {
    let app = TestApp::start().await;
    let root = app.admin();
    let room = room_as_the_server_says(&root).await;
    let message = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            id: "mine".to_owned(),
            sale_opens_at: at(4_000_000_000),
            room_id: room.clone(),
            sold_out: true,
            etag: "x".to_owned(),
            ..crate::sale::concert()
        }),
        idempotency_key: "concert".to_owned(),
    };
    let concert: wire::CreateConcertResponse =
        world::read(&root, "AdminService/CreateConcert", message).await;
    let concert = concert.concert.expect("a concert");
    assert!(concert.id != "mine" && concert.etag != "x", "{concert:?}");
    assert_eq!((concert.room_id.as_str(), concert.sold_out), ("", false));
    assert_eq!(concert.sale_opens_at, None, "it has no performance");
    let message = wire::CreatePerformanceRequest {
        performance: Some(wire::Performance {
            id: "mine".to_owned(),
            state: wire::PerformanceState::Cancelled.into(),
            sold_out: true,
            room_id: room,
            etag: "x".to_owned(),
            ..crate::sale::performance(&concert.id, 1)
        }),
        idempotency_key: "performance".to_owned(),
    };
    let made: wire::CreatePerformanceResponse =
        world::read(&root, "AdminService/CreatePerformance", message).await;
    let made = made.performance.expect("a performance");
    assert!(made.id != "mine" && made.etag != "x", "{made:?}");
    assert_eq!(made.state(), wire::PerformanceState::Scheduled);
    assert_eq!((made.room_id.as_str(), made.sold_out), ("", false));
    let seats = world::seats_of(&app.user("alice"), &made.id).await;
    assert_eq!(seats.len(), 1, "open to all: no room protects it");
}
