//! The clock that all scripts go by jumps.

use std::time::Duration;

use super::trouble;
use crate::house::House;
use crate::redis::RedisServer;

const HOUR_S: i64 = 3_600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jumps_of_rediss_clock_lapse_nobody_and_let_nobody_in() {
    let house = House::on(RedisServer::start_with_a_clock()).await;
    let now_s = || {
        let time = house.redis.cli(&["TIME"]);
        let seconds = time.lines().next().expect("seconds");
        seconds.parse::<i64>().expect("a number")
    };
    let real_s = now_s();
    trouble(&house, "the clock of Redis jumps", async |crowd| {
        for offset_s in [HOUR_S, -HOUR_S, 0] {
            house.redis.shift_clock(offset_s);
            let off_s = now_s() - real_s - offset_s;
            assert!((0..60).contains(&off_s), "it has jumped: {off_s}");
            crowd.pass(Duration::from_millis(1_500)).await;
        }
    })
    .await;
}
