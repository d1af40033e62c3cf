//! Redis is away, and comes back: decision 14 as clients see it.

use tokio::time::Instant;

use crate::house::House;
use crate::redis::RedisServer;
use crate::witnesses::Witnesses;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nobody_is_let_in_and_nobody_is_lost() {
    let house = House::on(RedisServer::start()).await;
    let mut witnesses = Witnesses::gather(&house).await;
    house.redis.pause();
    witnesses.see_it_away(&house, Instant::now()).await;
    house.redis.resume();
    witnesses.see_it_back().await;
}
