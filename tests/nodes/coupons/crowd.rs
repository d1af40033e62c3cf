//! Thousands at once; a node and Redis are killed in the middle, and stay so.

use super::stage::Stage;
use super::{Crowd, number};
use crate::databases::Kind;
use crate::harness::soon;

/// Users; a quarter of them press on two nodes. `USHER_COUPON_USERS` says more.
const USERS: usize = 3_000;
const AT_ONCE: usize = 500;

async fn thousands(kind: Kind) {
    let users = number("USHER_COUPON_USERS", USERS);
    let mut stage = Stage::open(kind).await;
    let stock = users as u64 / 2;
    let mut crowd = Crowd::of(&stage, "crowd-", stock, users).await;
    crowd.at_once = AT_ONCE;
    let doors = stage.doors();
    let faults = async {
        crowd.answered(users / 8).await;
        stage.kill(1).await;
        crowd.answered(users / 4).await;
        stage.redis.kill();
    };
    let began = tokio::time::Instant::now();
    let storm = async { tokio::join!(crowd.press(&doors), faults).0 };
    let pressed = soon("all answers", storm).await;
    let took = began.elapsed();
    let issued = crowd.compare(&stage, &pressed);
    println!(
        "{} presses in {took:?}, {} of them again; {stock} coupons",
        pressed.len(),
        issued.repeated
    );
    assert!(
        issued.repeated > 0,
        "nobody was at the node that was killed"
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_get_the_stock_though_a_node_and_redis_die_on_postgres() {
    thousands(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_get_the_stock_though_a_node_and_redis_die_on_mariadb() {
    thousands(Kind::MariaDb).await;
}
