//! Rooms where nobody is cost nothing, however many there are.
//!
//! The figure that is promised is of 1,000 rooms on 8 nodes; by default a part
//! of that runs. `USHER_TEST_QUIET=8x1000` runs all of it.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use crate::house::House;

/// Nodes and rooms.
const DEFAULT: (usize, usize) = (3, 100);
/// What is measured is how little happens in it.
const SPAN: Duration = Duration::from_secs(6);
/// What the nodes themselves may cost, and 1,000 rooms on 8 of them.
const NODES_PER_S_MAX: f64 = 3.0;
const ROOMS_PER_S_MAX: f64 = 7.0;

fn size() -> (usize, usize) {
    let Ok(size) = std::env::var("USHER_TEST_QUIET") else {
        return DEFAULT;
    };
    let parse = |text: &str| text.parse().expect("NODESxROOMS");
    let (nodes, rooms) = size.split_once('x').expect("NODESxROOMS");
    (parse(nodes), parse(rooms))
}

impl House {
    fn commands(&self) -> u64 {
        let all = self.redis.info("total_commands_processed");
        all.parse().expect("a number")
    }

    /// Commands a second, the reading of the figure apart.
    async fn commands_per_s(&self) -> f64 {
        let first = self.commands();
        let reading = self.commands() - first;
        let (before, began) = (self.commands(), Instant::now());
        tokio::time::sleep(SPAN).await;
        let took = began.elapsed().as_secs_f64();
        (self.commands() - before - reading) as f64 / took
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_rooms_cost_nothing() {
    let (nodes, rooms) = size();
    let mut house = House::build_with(1, 1).await;
    let made = stream::iter(0..rooms).map(|index| {
        let house = &house;
        async move { house.make_room(&format!("room-{index}"), 1).await }
    });
    let ids: Vec<String> = made.buffer_unordered(8).collect().await;
    for node in 1..nodes {
        let began = Instant::now();
        house.start_node().await;
        println!("node {node} started in {:?}", began.elapsed());
    }
    for node in 0..nodes {
        house.await_room(node, &ids[rooms - 1]).await;
    }
    // Someone comes and goes: then the room is quiet again.
    let visitor = house.line_up("visitor", 0, nodes - 1).await;
    let token = &visitor.ticket.token;
    visitor.user.leave(token).await.expect("left");
    drop(visitor);
    let rooms_max = ROOMS_PER_S_MAX * (nodes * rooms) as f64 / 8_000.0;
    // The first spans may still see the last ticks.
    let mut spans = 0;
    loop {
        let per_s = house.commands_per_s().await;
        println!("{rooms} quiet rooms on {nodes} nodes: {per_s:.1} commands a second");
        if per_s < NODES_PER_S_MAX + rooms_max {
            return;
        }
        spans += 1;
        assert!(spans < 3, "{per_s} commands a second");
    }
}
