//! Rooms of several lines: made, shown, changed.

use tonic::{Code, Status};
use usher::proto::v1 as wire;

use crate::harness::TestApp;
use crate::people::{User, reason};
use crate::sale::policy;

pub fn lane(name: &str, weight: u32) -> wire::Lane {
    wire::Lane {
        name: name.to_owned(),
        weight,
        codes: Vec::new(),
    }
}

pub async fn shown(user: &User, room: &str) -> wire::Room {
    let request = user.ask(wire::GetRoomRequest {
        room_id: room.to_owned(),
    });
    let answer = user.queue().get_room(request).await.expect("OK");
    answer.into_inner().room.expect("a room")
}

/// Changes what the paths name of a room's policy.
pub async fn change(
    root: &User,
    room: &str,
    policy: wire::RoomPolicy,
    paths: &[&str],
) -> Result<wire::Room, Status> {
    let request = wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room.to_owned(),
            policy: Some(policy),
            ..wire::Room::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        etag: shown(root, room).await.etag,
    };
    let answer = root.operator().update_room(root.ask(request)).await;
    answer.map(|answer| answer.into_inner().room.expect("a room"))
}

fn lines(room: &wire::Room) -> Vec<(&str, u32)> {
    let lanes = &room.policy.as_ref().expect("a policy").lanes;
    lanes
        .iter()
        .map(|lane| (lane.name.as_str(), lane.weight))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_made_weighed_anew_and_appended() {
    let app = TestApp::start().await;
    let root = app.admin();
    let laned = |lanes: Vec<wire::Lane>| wire::RoomPolicy { lanes, ..policy() };
    let given = laned(vec![lane("general", 0), lane("members", 3)]);
    let room = app.make_room("room", given).await;
    let made = shown(&root, &room).await;
    assert_eq!(lines(&made), [("general", 1), ("members", 3)]);
    let names: Vec<_> = made.lanes.iter().map(|lane| lane.lane.as_str()).collect();
    assert_eq!(names, ["general", "members"]);

    let ticket = app.user("alice").join(&room).await;
    assert_eq!(
        (ticket.place.lane.as_str(), ticket.place.number),
        ("general", 1)
    );

    let next = laned(vec![
        lane("general", 2),
        lane("members", 3),
        lane("press", 1),
    ]);
    let changed = change(&root, &room, next, &["policy.lanes"]).await;
    let changed = changed.expect("changed");
    let lines_now = [("general", 2), ("members", 3), ("press", 1)];
    assert_eq!(lines(&changed), lines_now);
    assert_eq!(changed.lanes.len(), 3);

    // A whole policy that does not say lanes leaves them.
    let whole = laned(Vec::new());
    let changed = change(&root, &room, whole, &["policy"]).await.expect("OK");
    assert_eq!(lines(&changed), lines_now);

    for (lanes, field) in [
        (vec![lane("general", 1)], "room.policy.lanes"),
        (
            vec![lane("members", 1), lane("general", 1), lane("press", 1)],
            "room.policy.lanes",
        ),
        (Vec::new(), "room.policy.lanes"),
        (
            vec![
                lane("general", 1),
                lane("members", 1),
                lane("press", 1),
                lane("press", 1),
            ],
            "room.policy.lanes.name",
        ),
    ] {
        let refused = change(&root, &room, laned(lanes), &["policy.lanes"]).await;
        let status = refused.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        assert_eq!(reason(&status), "FIELD_INVALID");
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    assert_eq!(lines(&shown(&root, &room).await), lines_now);

    // They are there after a restart.
    let app = app.restart(&[]).await;
    assert_eq!(lines(&shown(&app.admin(), &room).await), lines_now);
}
