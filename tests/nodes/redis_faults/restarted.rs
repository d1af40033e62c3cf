//! Redis ends, and begins again with most of what it had, or with nothing.

use std::time::Duration;

use super::{IN_THE_MIDDLE, outage};
use crate::crowd::{Crowd, CrowdPlan};
use crate::house::House;
use crate::redis::RedisServer;

const AWAY: Duration = Duration::from_secs(3);
const KEPT: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "everysec")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_comes_back_with_its_file_and_loses_nobody() {
    let mut house = House::on(RedisServer::start_with(&KEPT)).await;
    let (seen, _) = outage(
        &mut house,
        "Redis is killed",
        AWAY,
        async |house| house.redis.kill(),
        async |house| house.redis.restart(),
    )
    .await;
    assert!(seen.epochs() >= 2, "rebuilt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_whose_disk_is_lost_loses_nobody() {
    let mut house = House::on(RedisServer::start_with(&KEPT)).await;
    let (seen, _) = outage(
        &mut house,
        "Redis is killed, and its files are gone",
        AWAY,
        async |house| house.redis.kill(),
        async |house| {
            let kept = house.redis.dir().join("appendonlydir");
            std::fs::remove_dir_all(kept).expect("it was there");
            house.redis.restart();
        },
    )
    .await;
    assert!(seen.epochs() >= 2, "rebuilt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_rebuilt_under_a_crowd() {
    let house = House::on(RedisServer::start()).await;
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    crowd.until_over(IN_THE_MIDDLE).await;
    let flushed = crowd.fault("Redis is flushed", async {
        assert_eq!(house.redis.cli(&["FLUSHALL"]), "OK");
        crowd.pass(Duration::from_secs(3)).await;
        // Once more, when the line has just come back.
        assert_eq!(house.redis.cli(&["FLUSHALL"]), "OK");
        crowd.pass(Duration::from_secs(1)).await;
    });
    let flushed = flushed.await;
    let seen = crowd.finish().await;
    seen.no_stream_broke(flushed);
    assert!(seen.epochs() >= 3, "rebuilt twice");
}
