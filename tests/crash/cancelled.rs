//! A performance that is cancelled, and a server that dies before all its money
//! is given back: the next one goes on.

use futures_util::future::join_all;
use usher::proto::v1 as wire;
use usher::truth::failpoint::Point;
use wire::ReservationState;

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, PRICE_MINOR};
use crate::people::{User, reason};
use crate::server::{self, Server};

/// More than two steps of refunds.
const BUYERS: usize = 60;
const HOLDERS: usize = 10;

struct Customer {
    user: User,
    reservation: String,
}

async fn customer(world: &World, performance: &str, index: usize) -> Customer {
    let user = User::new(world.channel.clone(), &format!("user-{index}"));
    let seat = format!("s1-r1-{}", index + 1);
    let held = user.hold(performance, &[&seat], "hold").await;
    let reservation = held.expect("held").id;
    user.top_up(PRICE_MINOR, "money").await.expect("money");
    if index < BUYERS {
        user.pay(&reservation, "pay").await.expect("paid");
    }
    Customer { user, reservation }
}

async fn survive(point: Point, hit: u32) {
    let dir = tempfile::tempdir().expect("a directory");
    let armed = format!("{}=kill@{hit}", point.name());
    let env = [("USHER_FAILPOINTS", armed.as_str())];
    let (mut server, port) = Server::first(dir.path(), &env).await;
    let world = World::new(port);
    let root = User::new(world.channel.clone(), "root").with_admin_role();
    let performance = house::build_open(&root).await;
    let customers = (0..BUYERS + HOLDERS).map(|index| customer(&world, &performance, index));
    let customers = join_all(customers).await;

    let cancel = || {
        let request = root.ask(wire::CancelPerformanceRequest {
            performance_id: performance.clone(),
            reason: "rain".to_owned(),
            idempotency_key: "cancel".to_owned(),
        });
        let mut operator = root.operator();
        async move { operator.cancel_performance(request).await }
    };
    // Answered or not: the server dies behind its commit.
    let _ = soon("an answer or the end", cancel()).await;
    server.died().await;
    let server = Server::again(dir.path(), port, &[]).await;
    let mut first = cancel().await;
    while first.is_err() {
        first = soon("the server", cancel()).await;
    }
    let first = first.expect("answered").into_inner();
    assert_eq!(first.refunds_pending, BUYERS as u64, "as first answered");
    let state = first.performance.expect("one").state();
    assert_eq!(state, wire::PerformanceState::Cancelled);

    for (index, Customer { user, reservation }) in customers.iter().enumerate() {
        let expected = match index < BUYERS {
            true => ReservationState::Cancelled,
            false => ReservationState::Released,
        };
        soon("the refund", async {
            while user.reservation(reservation).await.state() != expected {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(user.balance().await, PRICE_MINOR, "given back once");
    }
    let late = customers[0].user.hold(&performance, &["s1-r1-100"], "late");
    assert_eq!(reason(&late.await.expect_err("over")), "SALE_NOT_OPEN");
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_a_performance_is_cancelled_and_nothing_refunded() {
    survive(Point::PerformanceCancelled, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_two_steps_of_refunds() {
    survive(Point::RefundsCommitted, 2).await;
}
