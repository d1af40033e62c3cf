//! Redis answers nothing for a while, and its connections stay open.

use std::time::Duration;

use crate::crowd::{Crowd, CrowdPlan};
use crate::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_outlasts_a_redis_that_stands_still() {
    let house = House::build(1).await;
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    crowd.until_over(10).await;
    let away = crowd.fault("Redis stands still", async {
        house.redis.pause();
        crowd.pass(Duration::from_secs(10)).await;
        house.redis.resume();
    });
    let away = away.await;
    let seen = crowd.finish().await;
    seen.nobody_was_let_in(away);
    seen.streams_were_told(away);
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}
