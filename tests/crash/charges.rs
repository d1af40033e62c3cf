//! `kill -9` around a payment provider: it is asked about what was lost, and
//! nobody is charged twice, or for nothing.

use std::time::Duration;

use usher::proto::v1 as wire;
use usher::truth::failpoint::Point;
use wire::{PaymentState, ReservationState};

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, PRICE_MINOR};
use crate::people::User;
use crate::server::{self, Server};
use crate::stub::{Charge, StubGateway};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Buys with `token`, gives back if `cancels`, and meets a kill at the point;
/// answers how the payment and its reservation end, and the provider's charge.
async fn survive(
    point: Point,
    token: &str,
    cancels: bool,
    end: PaymentState,
) -> (ReservationState, Charge) {
    let dir = tempfile::tempdir().expect("a directory");
    let stub = StubGateway::start().await;
    let settings = stub.settings();
    let env: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let armed = format!("{}=kill", point.name());
    let (mut server, port) = {
        let mut armed_env = env.clone();
        armed_env.push(("USHER_FAILPOINTS", &armed));
        Server::first(dir.path(), &armed_env).await
    };
    let world = World::new(port);
    let house = house::build(&world).await;
    let alice = User::new(world.channel.clone(), "alice");
    let ticket = alice.join(house.room.as_str()).await;
    let pass = alice.await_pass(&ticket.token).await;
    let buyer = alice.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let held = buyer
        .hold(&house.performance, &[&map.seats[0].id], "hold")
        .await;
    let held = held.expect("held").id;
    // Its answer may be lost with the server.
    let _ = alice.pay_by_gateway(&held, token, "pay").await;
    if cancels {
        let _ = alice.cancel(&held, "cancel").await;
    }
    server.died().await;
    let server = Server::again(dir.path(), port, &env).await;
    let payment = alice
        .reservation(&held)
        .await
        .payment_id
        .expect("an attempt");
    soon(end.as_str_name(), async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while alice.payment(&payment).await.state() != end {
            looks.tick().await;
        }
    })
    .await;
    let again = alice.pay_by_gateway(&held, token, "pay").await;
    assert_eq!(again.is_ok(), end != PaymentState::Declined, "{again:?}");
    let state = alice.reservation(&held).await.state();
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
    (state, stub.charge(&payment))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_an_intent_is_recorded_and_the_provider_not_asked() {
    let end = PaymentState::Declined;
    let (state, charge) = survive(Point::IntentRecorded, "ok", false, end).await;
    assert_eq!(state, ReservationState::Held);
    // Nobody can confirm it any more.
    assert_eq!((charge.state.as_str(), charge.captures), ("cancelled", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_the_provider_has_charged_and_nothing_is_committed() {
    let end = PaymentState::Succeeded;
    let (state, charge) = survive(Point::ChargeAnswered, "ok", false, end).await;
    assert_eq!(state, ReservationState::Confirmed);
    assert_eq!((charge.captures, charge.refunded_minor), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_the_provider_has_declined_and_nothing_is_committed() {
    let end = PaymentState::Declined;
    let (state, charge) = survive(Point::ChargeAnswered, "declined", false, end).await;
    assert_eq!((state, charge.captures), (ReservationState::Held, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_when_the_provider_has_given_back_and_nothing_is_committed() {
    let end = PaymentState::Refunded;
    let (state, charge) = survive(Point::RefundAnswered, "ok", true, end).await;
    assert_eq!(state, ReservationState::Cancelled);
    assert_eq!((charge.captures, charge.refunded_minor), (1, PRICE_MINOR));
}
