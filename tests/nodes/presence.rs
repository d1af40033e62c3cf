//! Who is there, when streams and calls of one place are on several nodes.

use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;

use crate::house::{House, InLine, policy};

/// A room of one slot in which absences lapse soon.
async fn impatient(house: &House) -> String {
    let policy = wire::RoomPolicy {
        absence_grace: Some(prost_types::Duration {
            seconds: 6,
            nanos: 0,
        }),
        ..policy(1)
    };
    house.make_room_as("impatient", policy).await
}

async fn line_up(house: &House, room: &str, id: &str, node: usize) -> InLine {
    let mut waits = house.line_up_in(room, id, node, node).await;
    waits.stream.snapshot().await;
    waits
}

/// Reads until this place has so many ahead of it.
async fn await_position(waits: &mut InLine, position: u64) {
    let is_there = |event| match event {
        Event::Position(told) if told.position == position => Some(()),
        Event::Activated(_) | Event::Ended(_) => panic!("not yet: {event:?}"),
        _ => None,
    };
    waits.stream.until("the position", is_there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tab_on_another_node_keeps_a_place_when_a_node_dies() {
    let mut house = House::build_with(3, 1).await;
    let room = impatient(&house).await;
    let mut active = line_up(&house, &room, "active", 2).await;
    active.stream.activated().await;
    let mut tabs = line_up(&house, &room, "tabs", 1).await;
    // The later tab's node answers for the place, and is the one that dies.
    let other_tab = house.user(0, "tabs").watch(&tabs.ticket.token).await;
    let alone = line_up(&house, &room, "alone", 0).await;
    let mut behind = line_up(&house, &room, "behind", 2).await;
    house.nodes.remove(0).kill().await;
    drop((other_tab, alone));
    // Whoever was on that node alone lapses, and nobody else.
    await_position(&mut behind, 2).await;
    let token = &active.ticket.token;
    active.user.leave(token).await.expect("left");
    tabs.stream.activated().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_polls_another_node_each_time_is_there() {
    let house = House::build_with(3, 1).await;
    let room = impatient(&house).await;
    let mut active = line_up(&house, &room, "active", 2).await;
    active.stream.activated().await;
    let polls = house.user(0, "polls").join(&room).await;
    house.user(0, "joins-only").join(&room).await;
    let mut behind = house.line_up_in(&room, "behind", 2, 2).await;
    let place = behind.stream.snapshot().await.place.expect("a place");
    // As long as a call vouches for a place, and its grace: until whoever only
    // joined is gone, which may be before this stream began.
    let mut position = place.position;
    for node in (0..3).cycle() {
        if position == Some(2) {
            break;
        }
        // A heartbeat or a position each second.
        if let Event::Position(told) = behind.stream.event().await {
            position = Some(told.position);
        }
        let place = house.user(node, "polls").place(&polls.token).await;
        assert_eq!(place.position, Some(1), "{place:?}");
    }
    let token = &active.ticket.token;
    active.user.leave(token).await.expect("left");
    house.user(1, "polls").await_pass(&polls.token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_takes_nobodys_presence() {
    let house = House::build_with(2, 1).await;
    let room = impatient(&house).await;
    let mut active = line_up(&house, &room, "active", 1).await;
    active.stream.activated().await;
    let mut moves = line_up(&house, &room, "moves", 0).await;
    let alone = line_up(&house, &room, "alone", 0).await;
    let mut behind = line_up(&house, &room, "behind", 1).await;
    house.nodes[0].pause().await;
    // One client notices the silence and goes to the other node.
    let moved = house.user(1, "moves").watch(&moves.ticket.token).await;
    let old = std::mem::replace(&mut moves.stream, moved);
    moves.stream.snapshot().await;
    await_position(&mut behind, 2).await;
    house.nodes[0].resume().await;
    // What it has to say of its streams comes too late to matter.
    drop((old, alone));
    let known = house.user(1, "behind").place(&behind.ticket.token).await;
    let cursor = |place: &wire::Place| place.cursor.map(|at| (at.epoch, at.revision));
    // It answers by what it last knew, until it has heard the rest.
    let mut seen = house.user(0, "behind").place(&behind.ticket.token).await;
    while cursor(&seen) < cursor(&known) {
        seen = house.user(0, "behind").place(&behind.ticket.token).await;
    }
    assert_eq!(seen.position, Some(2));
    let token = &active.ticket.token;
    active.user.leave(token).await.expect("left");
    moves.stream.activated().await;
}
