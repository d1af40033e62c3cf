//! Redis ends, and begins again with most of what it had, or with nothing.

use std::time::Duration;

use super::{IN_THE_MIDDLE, outage};
use crate::crowd::{Crowd, CrowdPlan, Seen, Span};
use crate::house::House;
use crate::redis::RedisServer;

const AWAY: Duration = Duration::from_secs(3);
/// T_recover of a Redis that lost everything: until everyone in line has a
/// fresh position.
const RECOVERED_MS: u64 = 10_000;
/// The machine that runs this has other things to do.
const SLACK: u64 = 3;
const KEPT: [(&str, &str); 2] = [("appendonly", "yes"), ("appendfsync", "everysec")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_comes_back_with_its_file_and_loses_nobody() {
    let mut house = House::on(RedisServer::start_with(&KEPT)).await;
    let (seen, away) = outage(
        &mut house,
        "Redis is killed",
        AWAY,
        async |house| house.redis.kill(),
        async |house| house.redis.restart(),
    )
    .await;
    assert!(seen.epochs() >= 2, "rebuilt");
    is_fresh_in_time(&seen, away, away.to_ms - away.from_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_whose_disk_is_lost_loses_nobody() {
    let mut house = House::on(RedisServer::start_with(&KEPT)).await;
    let (seen, away) = outage(
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
    is_fresh_in_time(&seen, away, away.to_ms - away.from_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_rebuilt_under_a_crowd() {
    let house = House::on(RedisServer::start()).await;
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    crowd.until_over(IN_THE_MIDDLE).await;
    let flush = async |seconds| {
        let flushed = crowd.fault("Redis is flushed", async {
            assert_eq!(house.redis.cli(&["FLUSHALL"]), "OK");
            crowd.pass(Duration::from_secs(seconds)).await;
        });
        flushed.await
    };
    // Once more, when the line has just come back.
    let flushed = [flush(3).await, flush(1).await];
    let seen = crowd.finish().await;
    for flushed in flushed {
        seen.no_stream_broke(flushed);
        is_fresh_in_time(&seen, flushed, 0);
    }
    assert!(seen.epochs() >= 3, "rebuilt twice");
}

/// From the loss, or from when Redis was back, so long after it.
fn is_fresh_in_time(seen: &Seen, loss: Span, away_ms: u64) {
    let fresh_ms = seen.fresh_after_ms(loss).saturating_sub(away_ms);
    println!("all fresh after {fresh_ms} ms");
    assert!(fresh_ms <= SLACK * RECOVERED_MS, "{fresh_ms} ms");
}
