//! Redis may write no more: its disk is full, or its memory.
//!
//! A step is refused as a whole: Redis judges a script's first write, and lets
//! it go on once one was done (`every_step_is_refused_whole_when_memory_is_full`).

use std::time::Duration;

use super::outage;
use crate::house::House;
use crate::redis::{RedisServer, until};

const AWAY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let kept = [("appendonly", "yes"), ("appendfsync", "everysec")];
    let mut house = House::on(RedisServer::start_with(&kept)).await;
    let (seen, _) = outage(
        &mut house,
        "the disk is full",
        AWAY,
        async |house| {
            house.redis.limit_files("1");
            until("Redis has noticed", || {
                house.redis.cli(&["SET", "a", "1"]).starts_with("MISCONF")
            });
        },
        async |house| house.redis.limit_files("unlimited"),
    )
    .await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_that_ends_redis_loses_nobody() {
    let kept = [("appendonly", "yes"), ("appendfsync", "always")];
    let mut house = House::on(RedisServer::start_with(&kept)).await;
    let (seen, _) = outage(
        &mut house,
        "the disk is full, and Redis ends",
        AWAY,
        async |house| {
            house.redis.limit_files("1");
            house.redis.await_end();
        },
        async |house| house.redis.restart(),
    )
    .await;
    assert!(seen.epochs() >= 2, "rebuilt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_refuses_joins_and_evicts_nobody() {
    let mut house = House::on(RedisServer::start()).await;
    let (seen, _) = outage(
        &mut house,
        "memory is full",
        AWAY,
        async |house| set_memory(house, "1mb"),
        async |house| set_memory(house, "0"),
    )
    .await;
    assert_eq!(house.redis.info("evicted_keys"), "0");
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

fn set_memory(house: &House, bytes: &str) {
    let set = house.redis.cli(&["CONFIG", "SET", "maxmemory", bytes]);
    assert_eq!(set, "OK");
}
