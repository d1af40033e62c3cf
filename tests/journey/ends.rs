//! A stream whose place is over, on a node that has forgotten how.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;
use usher::domain::ids::{PlaceKey, RoomId, UserId};
use usher::domain::place::EndReason;
use usher::fanout::event::Body;
use usher::fanout::{StreamSpec, Subscription};
use usher::proto::v1 as wire;
use usher::truth::failpoint::{Action, Point};

use crate::harness::TestApp;
use crate::sale::policy;

/// Far below the heartbeat interval, at which a stream is looked at anyway.
const SOON: Duration = Duration::from_secs(10);

async fn body(stream: &mut Subscription) -> Body {
    let next = timeout(SOON, poll_fn(|cx| stream.poll_next(cx))).await;
    let event = next.expect("it is asked again").expect("not over");
    event.expect("no error").body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_could_not_be_read_is_asked_for_again() {
    let app = TestApp::start().await;
    let still = wire::RoomPolicy {
        capacity: 0,
        ..policy()
    };
    let room = app.make_room("room", still).await;
    let alice = app.user("alice");
    let ticket = alice.join(&room).await;
    alice.leave(&ticket.token).await.expect("left");
    // A new life knows that the number departed, and not how.
    let app = app.restart(&[]).await;
    app.failpoints.arm(Point::EndLookedUp, Action::Error, 0);
    let spec = StreamSpec {
        room: RoomId::parse(&room).expect("an id"),
        place: PlaceKey {
            lane: 0,
            number: ticket.place.number,
        },
        user: UserId::parse("alice").expect("an id"),
        resume: None,
        min_update_interval_ms: None,
        max_duration_ms: None,
        end_on_activation: false,
        known_end: None,
        is_merged: false,
    };
    let mut stream = app.node.hub.open(spec).expect("a stream");
    assert!(matches!(body(&mut stream).await, Body::Snapshot(_)));
    let Body::Ended { reason, .. } = body(&mut stream).await else {
        panic!("it is over");
    };
    assert!(
        matches!(reason, EndReason::Left | EndReason::Absent),
        "{reason:?}"
    );
    // Whoever asked first took the fault: the point is not armed any more.
    let left = app.failpoints.hit(Point::EndLookedUp).await;
    assert_eq!(left, Ok(()), "it could be read at once");
}
