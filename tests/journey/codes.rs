//! Access codes: into which lane they lead, whose they are, who never sees
//! them.

use tonic::{Code, Status};
use usher::proto::v1 as wire;

use crate::harness::{TestApp, eventually, soon};
use crate::lanes::{change, lane, shown};
use crate::people::{Ticket, User, reason};
use crate::sale::policy;

pub fn coded(name: &str, codes: &[&str]) -> wire::Lane {
    wire::Lane {
        codes: codes.iter().map(|code| (*code).to_owned()).collect(),
        ..lane(name, 1)
    }
}

/// Stands still: everyone waits.
fn by_code(lanes: Vec<wire::Lane>) -> wire::RoomPolicy {
    wire::RoomPolicy {
        access: wire::RoomAccess::Code.into(),
        capacity: 0,
        lanes,
        ..policy()
    }
}

pub async fn join_by(user: &User, room: &str, code: &str) -> Result<Ticket, Status> {
    let request = user.ask(wire::JoinRequest {
        room_id: room.to_owned(),
        access_code: Some(code.to_owned()),
        ..wire::JoinRequest::default()
    });
    let joined = soon("a join", user.queue().join(request))
        .await?
        .into_inner();
    Ok(Ticket {
        token: joined.place_token,
        place: joined.place.expect("a place"),
    })
}

fn assert_invalid(answer: Result<Ticket, Status>, what: &str) {
    let status = answer.err().unwrap_or_else(|| panic!("{what}: joined"));
    assert_eq!(status.code(), Code::PermissionDenied, "{what}");
    assert_eq!(reason(&status), "ACCESS_CODE_INVALID", "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_leads_its_user_into_its_lane_and_nobody_else() {
    let app = TestApp::start().await;
    let lanes = vec![
        coded("members", &["member-1", "member-2"]),
        coded("press", &["press-1"]),
    ];
    let room = app.make_room("room", by_code(lanes)).await;
    let (alice, bob, carol) = (app.user("alice"), app.user("bob"), app.user("carol"));
    assert_invalid(alice.try_join(&room).await, "no code");
    let long = "x".repeat(5_000);
    for wrong in ["member-3", "Member-1", "member-1 ", "\0", "'; --", &long] {
        assert_invalid(join_by(&alice, &room, wrong).await, "a wrong code");
    }

    let ticket = join_by(&alice, &room, "press-1").await.expect("joined");
    assert_eq!(
        (ticket.place.lane.as_str(), ticket.place.number),
        ("press", 1)
    );
    assert_invalid(join_by(&bob, &room, "press-1").await, "another's code");
    let other = join_by(&bob, &room, "member-1").await.expect("joined");
    assert_eq!(
        (other.place.lane.as_str(), other.place.number),
        ("members", 1)
    );
    assert_eq!(other.place.position, Some(1), "positions are of the lane");

    // Who has a live place needs no code, and spends none.
    let again = alice.join(&room).await;
    assert_eq!(
        (again.place.lane.as_str(), again.place.number),
        ("press", 1)
    );
    let again = join_by(&alice, &room, "member-2").await.expect("joined");
    assert_eq!(again.place.lane, "press");
    let third = join_by(&carol, &room, "member-2").await.expect("not spent");
    assert_eq!(
        (third.place.lane.as_str(), third.place.number),
        ("members", 2)
    );

    // After its end the code is still theirs, and is asked for again.
    alice.leave(&ticket.token).await.expect("left");
    assert_invalid(alice.try_join(&room).await, "no code after the end");
    let back = join_by(&alice, &room, "press-1").await.expect("theirs");
    assert_eq!((back.place.lane.as_str(), back.place.number), ("press", 2));

    eventually("each lane tells its own", async || {
        let room = shown(&alice, &room).await;
        let waiting: Vec<_> = room.lanes.iter().map(|lane| lane.waiting_total).collect();
        (waiting == [2, 1]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_theirs_across_refusals_and_restarts() {
    let app = TestApp::start().await;
    let full = wire::RoomPolicy {
        max_waiting: 1,
        ..by_code(vec![coded("members", &["one-1", "two-2"])])
    };
    let room = app.make_room("room", full).await;
    let first = join_by(&app.user("alice"), &room, "one-1").await;
    first.expect("joined");
    // Redeemed, and yet no place: the right is not lost.
    let refused = join_by(&app.user("bob"), &room, "two-2").await;
    assert_eq!(reason(&refused.err().expect("full")), "ROOM_FULL");
    assert_invalid(
        join_by(&app.user("eve"), &room, "two-2").await,
        "bob's code",
    );

    let app = app.restart(&[]).await;
    let root = app.admin();
    let larger = wire::RoomPolicy {
        max_waiting: 9,
        ..by_code(Vec::new())
    };
    let changed = change(&root, &room, larger, &["policy.max_waiting"]).await;
    changed.expect("changed");
    assert_invalid(
        join_by(&app.user("eve"), &room, "two-2").await,
        "bob's code",
    );
    let joined = join_by(&app.user("bob"), &room, "two-2").await;
    assert_eq!(joined.expect("joined").place.lane, "members");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_room_takes_everyone_and_codes_lead_aside() {
    let app = TestApp::start().await;
    let root = app.admin();
    let open = |lanes| wire::RoomPolicy {
        access: wire::RoomAccess::Open.into(),
        ..by_code(lanes)
    };
    let lanes = vec![coded("members", &["member-1"]), lane("rest", 1)];
    let room = app.make_room("room", open(lanes)).await;
    assert_eq!(app.user("alice").join(&room).await.place.lane, "rest");
    assert_invalid(join_by(&app.user("bob"), &room, "guess").await, "a guess");
    let joined = join_by(&app.user("bob"), &room, "member-1").await;
    assert_eq!(joined.expect("joined").place.lane, "members");

    // Codes are added; a lane keeps what it has.
    let more = open(vec![coded("members", &["member-9"]), lane("rest", 1)]);
    let changed = change(&root, &room, more, &["policy.lanes"]).await;
    changed.expect("changed");
    let joined = join_by(&app.user("carol"), &room, "member-9").await;
    assert_eq!(joined.expect("joined").place.lane, "members");

    for (lanes, field) in [
        // Nobody could join without a code any more.
        (
            vec![coded("members", &[]), coded("rest", &["member-7"])],
            "room.policy.lanes",
        ),
        // It leads into the other lane.
        (
            vec![
                coded("members", &[]),
                lane("rest", 1),
                coded("press", &["member-9"]),
            ],
            "room.policy.lanes.codes",
        ),
    ] {
        let refused = change(&root, &room, open(lanes), &["policy.lanes"]).await;
        let status = refused.expect_err("refused");
        assert_eq!(reason(&status), "FIELD_INVALID");
        assert!(status.message().starts_with(field), "{}", status.message());
        assert!(!status.message().contains("member-"), "no code is told");
    }
    assert_invalid(
        join_by(&app.user("dan"), &room, "member-7").await,
        "not given",
    );

    let closed = app
        .make_room("closed", by_code(vec![coded("m", &["code-1"])]))
        .await;
    root.close(&closed).await;
    for code in ["code-1", "wrong"] {
        let refused = join_by(&app.user("dan"), &closed, code).await;
        assert_eq!(reason(&refused.err().expect("closed")), "ROOM_CLOSED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_with_one_code_one_joins() {
    const RIVALS: usize = 50;
    let app = TestApp::start().await;
    let room = app
        .make_room("room", by_code(vec![coded("m", &["only-one"])]))
        .await;
    let users: Vec<_> = (0..RIVALS).map(|n| app.user(&format!("u{n}"))).collect();
    let joins = users.iter().map(|user| join_by(user, &room, "only-one"));
    let answers = futures_util::future::join_all(joins).await;
    let joined = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(joined, 1);
    for answer in answers.into_iter().filter(Result::is_err) {
        assert_invalid(answer, "a rival");
    }
    eventually("one place", async || {
        let room = shown(&users[0], &room).await;
        (room.lanes[0].waiting_total == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_shown_to_nobody() {
    let app = TestApp::start().await;
    let root = app.admin();
    let lanes = vec![
        coded("members", &["sesame-1"]),
        coded("more", &["sesame-2"]),
    ];
    let room = app.make_room("room", by_code(lanes)).await;
    join_by(&app.user("alice"), &room, "sesame-1")
        .await
        .expect("joined");
    let with_more = by_code(vec![coded("members", &["sesame-3"]), coded("more", &[])]);
    let changed = change(&root, &room, with_more, &["policy.lanes"]).await;
    let everything = root.ask(wire::ListRoomsRequest::default());
    let listed = root.queue().list_rooms(everything).await;
    let listed = listed.expect("OK").into_inner();
    let texts = [
        format!("{:?}", changed.expect("changed")),
        format!("{:?}", shown(&root, &room).await),
        format!("{listed:?}"),
    ];
    for text in texts {
        assert!(
            text.contains("members") && !text.contains("sesame"),
            "{text}"
        );
    }
    // Neither the database nor its write-ahead log has one.
    for entry in std::fs::read_dir(app.data_dir()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            let has_code = bytes.windows(6).any(|window| window == b"sesame");
            assert!(!has_code, "{}", path.display());
        }
    }
}
