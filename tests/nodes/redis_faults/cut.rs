//! What lies between nodes and Redis fails: it is silent, swallows answers,
//! resets connections, or loses messages.

use std::time::Duration;

use usher::truth::proxy::{Direction, Flow, Link};

use super::{outage, trouble};
use crate::house::House;
use crate::redis::RedisServer;

const AWAY: Duration = Duration::from_secs(4);

fn link(flow: Flow) -> Link {
    Link {
        flow,
        ..Link::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_partition_loses_nobody() {
    let (mut house, proxy) = House::behind_a_proxy().await;
    let (seen, _) = outage(
        &mut house,
        "nothing comes through",
        AWAY,
        async |_| proxy.set_links(link(Flow::Stall)),
        async |_| proxy.set_links(link(Flow::Pass)),
    )
    .await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

/// Each step is done, and nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_whose_answers_are_lost_are_done_once() {
    let (mut house, proxy) = House::behind_a_proxy().await;
    let (seen, _) = outage(
        &mut house,
        "answers are lost",
        AWAY,
        async |_| proxy.set_link(Direction::Down, link(Flow::Drop)),
        async |_| proxy.set_link(Direction::Down, link(Flow::Pass)),
    )
    .await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_again_and_again_are_hardly_noticed() {
    let (house, proxy) = House::behind_a_proxy().await;
    trouble(&house, "connections are reset", async |crowd| {
        for _ in 0..3 {
            proxy.cut();
            crowd.pass(Duration::from_secs(2)).await;
        }
        let killed = house
            .redis
            .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert_ne!(killed, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_dropped_are_made_up_for() {
    let house = House::on(RedisServer::start()).await;
    trouble(&house, "messages are dropped", async |crowd| {
        for _ in 0..8 {
            house.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            crowd.pass(Duration::from_millis(300)).await;
        }
        // Whoever is sent one is cut off instead.
        let limit = [
            "CONFIG",
            "SET",
            "client-output-buffer-limit",
            "pubsub 1 0 0",
        ];
        assert_eq!(house.redis.cli(&limit), "OK");
        let made = || house.redis.info("total_connections_received");
        let made = || made().parse::<u64>().expect("a number");
        let before = made();
        crate::redis::until("readers are cut off", || made() > before + 20);
        // For good: the last messages of the room are among the lost.
    })
    .await;
}
