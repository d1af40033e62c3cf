//! What waiting costs: bytes for each, and nothing more per tick.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::domain::ids::{Incarnation, RoomId, RoomRef, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::RoomPolicy;
use crate::store::queue::{LaneInit, Presence, QueueStore as _, RoomInit, Take};

use super::super::RedisQueue;
use super::queue;
use super::servers::RedisServer;

const NODE: Incarnation = Incarnation(7);
/// Of `used_memory`, for a user id of 36 bytes with an open stream.
const WAITER_BYTES_MAX: u64 = 300;

struct House {
    server: RedisServer,
    queue: RedisQueue,
    room: RoomRef,
    joined: u64,
}

impl House {
    async fn new() -> Self {
        let server = RedisServer::start();
        let queue = queue(&server.url(), None);
        let room = RoomRef {
            id: RoomId::parse("large").unwrap(),
            epoch: 1,
        };
        let init = RoomInit {
            policy: Arc::new(RoomPolicy {
                capacity: 0,
                ..RoomPolicy::default()
            }),
            switches: RoomSwitches {
                opened: true,
                ..RoomSwitches::default()
            },
            lanes: vec![LaneInit {
                reserved_to: 1_000_000,
                ..LaneInit::default()
            }],
            live: Vec::new(),
            ended: Vec::new(),
            rebuild_pause_ms: 0,
        };
        queue.init(&room, init).await.unwrap();
        Self {
            server,
            queue,
            room,
            joined: 0,
        }
    }

    async fn join(&mut self, count: u64) {
        let ids: Vec<u64> = (self.joined..self.joined + count).collect();
        self.joined += count;
        for ids in ids.chunks(512) {
            let takes = ids.iter().map(|id| Take {
                user: UserId::parse(&format!("{id:036}")).unwrap(),
                presented: None,
                issue_in: Some(0),
                presence: Presence::Stream(NODE),
            });
            let takes = takes.map(|take| self.queue.take(&self.room, take));
            for taken in join_all(takes).await {
                taken.unwrap();
            }
            self.tick().await;
        }
    }

    async fn tick(&self) {
        self.queue.tick(&self.room, Some(NODE)).await.unwrap();
    }

    fn used_memory(&self) -> u64 {
        self.server.info("used_memory").parse().unwrap()
    }

    /// Microseconds that the server spent in scripts so far.
    fn script_us(&self) -> f64 {
        let stats = self.server.info("cmdstat_evalsha");
        let usec = stats.split("usec=").nth(1).unwrap();
        usec.split(',').next().unwrap().parse().unwrap()
    }

    /// Commands that the server ran so far, those of scripts too.
    fn commands(&self) -> u64 {
        let stats = self.server.cli(&["INFO", "commandstats"]);
        let calls = stats
            .lines()
            .filter(|line| !line.starts_with("cmdstat_info"));
        let calls = calls.filter_map(|line| line.split("calls=").nth(1)?.split(',').next());
        calls.map(|calls| calls.parse::<u64>().unwrap()).sum()
    }

    /// Commands and microseconds of one tick in which nothing happens.
    async fn idle_tick(&self) -> (f64, f64) {
        const TICKS: u32 = 400;
        self.tick().await;
        let (us, commands) = (self.script_us(), self.commands());
        for _ in 0..TICKS {
            self.tick().await;
        }
        let (us, commands) = (self.script_us() - us, self.commands() - commands);
        (commands as f64 / f64::from(TICKS), us / f64::from(TICKS))
    }
}

#[tokio::test]
async fn a_waiter_costs_few_bytes_and_no_work() {
    let mut house = House::new().await;
    house.join(1_000).await;
    let (few_commands, few_us) = house.idle_tick().await;
    let (before, us) = (house.used_memory(), house.script_us());
    house.join(99_000).await;
    let join_us = (house.script_us() - us) / 99_000.0;
    let bytes = (house.used_memory() - before) / 99_000;
    let (commands, us) = house.idle_tick().await;
    println!("{bytes} bytes per waiter, {join_us:.1} us per join");
    println!("a tick with 1,000: {few_commands} commands, {few_us:.1} us");
    println!("a tick with 100,000: {commands} commands, {us:.1} us");
    assert!(bytes <= WAITER_BYTES_MAX, "{bytes} bytes per waiter");
    assert!((commands - few_commands).abs() < 1.0, "{commands}");
    // Time is noisy here; a walk of the room would be a hundredfold.
    assert!(us < 5.0 * few_us, "{us} us against {few_us}");
}
