//! One line over three nodes, also when one of them dies or stops.

use futures_util::future::join_all;
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;

use crate::harness::soon;
use crate::house::{House, InLine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_told_on_the_node_where_its_user_watches() {
    let house = House::build(1).await;
    let mut first = house.line_up("first", 0, 1).await;
    first.stream.snapshot().await;
    first.stream.activated().await;
    let mut second = house.line_up("second", 1, 2).await;
    let snapshot = second.stream.snapshot().await;
    assert_eq!(snapshot.place.expect("a place").position, Some(1));
    // Claimed and left on nodes where nobody of them watches.
    let first = first.user.on(house.nodes[2].channel.clone());
    first.claim_and_leave(&house, "first").await;
    second.stream.activated().await;
}

impl crate::people::User {
    async fn claim_and_leave(&self, house: &House, id: &str) {
        let ticket = self.join(&house.room).await;
        assert_eq!(self.id, id);
        self.claim(&ticket.token).await.expect("claimed");
        self.leave(&ticket.token).await.expect("left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_paused_on_one_node_is_paused_for_all() {
    let house = House::build(1).await;
    let mut streams = Vec::new();
    for node in 0..3 {
        let mut waits = house.line_up(&format!("user-{node}"), node, node).await;
        waits.stream.snapshot().await;
        streams.push(waits.stream);
    }
    let root = house.user(2, "root").with_admin_role();
    root.pause(&house.room).await;
    for stream in &mut streams {
        let changed = stream.room_changed(wire::RoomState::Paused).await;
        assert_eq!(changed.message, "back soon");
    }
    // The next change is made on another node, of what it knows by now.
    let root = house.user(0, "root").with_admin_role();
    root.resume(&house.room).await;
    for stream in &mut streams {
        stream.room_changed(wire::RoomState::Open).await;
    }
}

/// Everyone in line, in order, with a stream.
async fn line_of(house: &House, people: usize) -> Vec<InLine> {
    let mut line = Vec::new();
    for index in 0..people {
        let id = format!("user-{index}");
        let mut waits = house.line_up(&id, index % 3, index % 3).await;
        waits.stream.snapshot().await;
        line.push(waits);
    }
    line
}

/// The place of a new stream on another node.
async fn come_back(house: &House, waits: &mut InLine, node: usize) -> wire::Place {
    let user = house.user(node, &waits.user.id);
    waits.stream = user.watch(&waits.ticket.token).await;
    waits.user = user;
    let snapshot = waits.stream.snapshot().await;
    snapshot.place.expect("a place")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_loses_nobody_and_the_line_goes_on() {
    let mut house = House::build(1).await;
    let mut line = line_of(&house, 31).await;
    let mut active = line.remove(0);
    active.stream.activated().await;
    house.nodes.remove(0).kill().await;
    // Nodes are numbered from what is left.
    let back = line.iter_mut().enumerate().map(|(index, waits)| {
        let house = &house;
        async move {
            let place = come_back(house, waits, index % 2).await;
            assert_eq!(place.number, waits.ticket.place.number);
            assert_eq!(place.position, Some(index as u64 + 1));
        }
    });
    join_all(back).await;
    // The first one watched on the node that died.
    let mut active = Some(house.user(0, &active.user.id));
    let token = line[0].ticket.token.clone();
    drop(token);
    for waits in line.iter_mut().take(5) {
        let user = active.take().expect("someone is active");
        let ticket = user.join(&house.room).await;
        user.leave(&ticket.token).await.expect("left");
        waits.stream.activated().await;
        active = Some(waits.user.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_the_room_to_the_others() {
    let mut house = House::build(1).await;
    let mut active = house.line_up("active", 1, 1).await;
    active.stream.snapshot().await;
    active.stream.activated().await;
    let mut waits = house.line_up("waits", 0, 0).await;
    waits.stream.snapshot().await;
    let stopping = house.nodes.remove(0).terminate();
    let (drain, ()) = tokio::join!(waits.stream.drain(), stopping);
    assert_eq!(drain.reason(), wire::DrainReason::Shutdown);
    let place = come_back(&house, &mut waits, 1).await;
    assert_eq!(place.number, waits.ticket.place.number);
    // Joins go on: nobody froze the room's numbers.
    let ticket = house.user(0, "late").join(&house.room).await;
    assert_eq!(ticket.place.number, waits.ticket.place.number + 1);
    active
        .user
        .on(house.nodes[1].channel.clone())
        .leave(&active.ticket.token)
        .await
        .expect("left");
    waits.stream.activated().await;
    // A new node serves what the others made.
    house.start_node().await;
    let place = come_back(&house, &mut waits, 2).await;
    assert!(place.activation_id.is_some());
    let event = waits.stream.event().await;
    assert!(matches!(event, Event::Activated(_)), "{event:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concert_made_on_one_node_is_listed_by_all() {
    let house = House::build(1).await;
    let listed = async |node: usize| {
        let visitor = house.user(node, "visitor");
        let request = wire::ListConcertsRequest {
            page_size: 100,
            ..wire::ListConcertsRequest::default()
        };
        let page = visitor.catalog().list_concerts(visitor.ask(request)).await;
        let concerts = page.expect("a page").into_inner().concerts;
        concerts
            .into_iter()
            .map(|concert| concert.id)
            .collect::<Vec<_>>()
    };
    // From now on each node keeps the page.
    for node in 0..3 {
        listed(node).await;
    }
    let root = house.user(1, "root").with_admin_role();
    let request = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: "Late addition".to_owned(),
            ..wire::Concert::default()
        }),
        idempotency_key: "late".to_owned(),
    };
    let made = root.operator().create_concert(root.ask(request)).await;
    let id = made.expect("made").into_inner().concert.expect("it").id;
    assert!(listed(1).await.contains(&id), "at once where it was made");
    for node in [0, 2] {
        soon("the bus brings it", async {
            while !listed(node).await.contains(&id) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
