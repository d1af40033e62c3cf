//! A node that starts while Redis is away: it sells to those whose turn it was,
//! and takes part in the lines once Redis is back.

use tonic::Code;
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;

use crate::harness::soon;
use crate::house::House;
use crate::people::euros;

const PRICE_MINOR: i64 = 4_500;

/// Seats that a pass of a room of their own buys: the performance, the room.
async fn put_on_sale(house: &House) -> (String, String) {
    let root = house.user(0, "root").with_admin_role();
    let mut operator = root.operator();
    let concert = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: "Night of Lanterns".to_owned(),
            ..wire::Concert::default()
        }),
        idempotency_key: "concert".to_owned(),
    };
    let concert = operator.create_concert(root.ask(concert)).await;
    let concert = concert.expect("made").into_inner().concert;
    let concert_id = concert.expect("a concert").id;
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let performance = wire::CreatePerformanceRequest {
        performance: Some(wire::Performance {
            concert_id: concert_id.clone(),
            starts_at: at(4_000_000_000),
            sale_opens_at: at(1_000_000_000),
            sections: vec![wire::Section {
                name: "Stalls".to_owned(),
                price: Some(euros(PRICE_MINOR)),
                rows: vec![wire::SeatRow {
                    name: "A".to_owned(),
                    seat_count: 10,
                }],
            }],
            seats_per_user_max: 1,
            ..wire::Performance::default()
        }),
        idempotency_key: "performance".to_owned(),
    };
    let performance = operator.create_performance(root.ask(performance)).await;
    let performance = performance.expect("made").into_inner().performance;
    let protects = wire::Protects {
        concert_ids: vec![concert_id],
        ..wire::Protects::default()
    };
    let room = house.make_room_of("sale", 1, protects).await;
    (performance.expect("one").id, room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_without_redis_sells_and_keeps_the_line() {
    let mut house = House::build(1).await;
    let (performance, room) = put_on_sale(&house).await;
    house.room = room;
    let mut called = house.line_up("called", 0, 0).await;
    called.stream.activated().await;
    let waits = house.line_up("waits", 1, 1).await;
    house.redis.kill();
    house.start_node().await;
    let new = house.nodes.len() - 1;

    // Ready: it does for whoever is inside all that any node can.
    let ready = house.nodes[new].get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let body = ready.rsplit("\r\n").next().expect("a body");
    assert!(
        body.starts_with("ready; ") && body.contains("redis"),
        "{ready}"
    );
    let buyer = house.user(new, "called");
    let pass = buyer
        .claim(&called.ticket.token)
        .await
        .expect("claimed")
        .pass;
    let buyer = buyer.with_pass(&pass);
    let seats = buyer.seat_map(&performance).await.expect("shown").seats;
    let held = buyer.hold(&performance, &[&seats[0].id], "hold").await;
    buyer.top_up(PRICE_MINOR, "money").await.expect("credited");
    let paid = buyer.pay(&held.expect("held").id, "pay").await;
    assert_eq!(paid.expect("paid").state(), wire::PaymentState::Succeeded);
    // Nobody is let in, and whoever is in line keeps their place.
    let refused = house.user(new, "late").try_join(&house.room).await;
    assert_eq!(refused.err().expect("refused").code(), Code::Unavailable);
    let mut stream = house.user(new, "waits").watch(&waits.ticket.token).await;
    let snapshot = stream.snapshot().await;
    assert_eq!(snapshot.room_state(), wire::RoomState::Degraded);
    let place = snapshot.place.expect("a place");
    assert_eq!(place.number, waits.ticket.place.number);

    house.redis.restart();
    let turn = async {
        loop {
            match stream.event().await {
                Event::Activated(_) => return,
                Event::Ended(ended) => panic!("{ended:?}"),
                _ => {}
            }
        }
    };
    // Who paid gave the slot back.
    soon("the next one's turn on the new node", turn).await;
    let ready = house.nodes[new].get("/readyz").await;
    assert!(ready.ends_with("\r\nready\n"), "{ready}");
}
