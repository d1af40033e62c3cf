//! Payment providers that are changed, take another amount, ask buyers for
//! something, are busy, do not make refunds, or say nothing.

use usher::proto::v1 as wire;
use usher::store::sales::{Instead, Intents as _, RefundState, Refunds as _};
use wire::{PaymentState, ReservationState, SeatState};

use crate::bad_input::world;
use crate::gateway::{LONG_MS, Shop, refused};
use crate::harness::{TestApp, eventually};
use crate::people::User;
use crate::sale::PRICE_MINOR;
use crate::stub::{ACTION_URL, StubGateway};

/// The same data, with another configuration.
async fn restart(shop: Shop, settings: &[(&'static str, String)]) -> Shop {
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = settings.collect();
    let app = shop.app.restart(&settings).await;
    Shop { app, ..shop }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_elses_provider_is_asked_and_what_is_left_is_told() {
    let mut shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay").await;
    let paid = paid.expect("paid").id;
    let other = StubGateway::start().await;
    let mut of_other = other.settings();
    of_other.push(("USHER_GATEWAY__PROVIDER", "other".to_owned()));
    let calls = shop.stub.calls();
    for (settings, provider) in [(Vec::new(), None), (of_other, Some("other"))] {
        shop = restart(shop, &settings).await;
        let alice = shop.app.user("alice");
        let cancelled = alice.cancel(&held.id, "cancel").await.expect("cancelled");
        assert!(cancelled.refunded.is_some());
        let unsettled = shop.app.sql.unsettled(provider).await.expect("counted");
        assert_eq!((unsettled.refunds, unsettled.elsewhere.len()), (0, 1));
        let elsewhere = &unsettled.elsewhere[0];
        let theirs = (elsewhere.provider.as_deref(), elsewhere.refunds);
        assert_eq!(theirs, (Some("stub"), 1));
        assert!(!unsettled.check().violations.is_empty());
        // One of its own goes through meanwhile: the resolver was there.
        if provider.is_some() {
            let own = alice.top_up_by_gateway(50, "lost", "own").await;
            assert_eq!(own.expect("pending").entry, None);
            eventually("its own is found", async || {
                (alice.balance().await == 50).then_some(())
            })
            .await;
        }
        let payment = alice.payment(&paid).await;
        assert_eq!(payment.state(), PaymentState::Refunding);
    }
    assert_eq!((other.charges().len(), shop.stub.calls()), (1, calls));
    let settings = shop.stub.settings();
    shop = restart(shop, &settings).await;
    let alice = shop.app.user("alice");
    shop.await_state(&alice, &paid, PaymentState::Refunded)
        .await;
    assert_eq!(shop.stub.charge(&paid).refunded_minor, PRICE_MINOR);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_amount_is_declined_and_given_back() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let other = alice.pay_by_gateway(&held.id, "less", "pay").await;
    assert_eq!(refused(other), "PAYMENT_DECLINED");
    assert_eq!(shop.seat(0).await, SeatState::Held);
    eventually("it goes back", async || {
        let charges = shop.stub.charges();
        (charges[0].refunded_minor == 1).then_some(())
    })
    .await;
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay-2").await;
    assert_eq!(paid.expect("paid").state(), PaymentState::Succeeded);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_another_amount_is_not_sold_later() {
    let shop = Shop::open(LONG_MS, &[("USHER_GATEWAY__ANSWER_WITHIN_MS", "100")]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let pending = alice.pay_by_gateway(&held.id, "slow", "pay").await;
    let pending = pending.expect("pending").id;
    eventually("the provider decides", async || {
        (shop.stub.charge(&pending).state == "processing").then_some(())
    })
    .await;
    shop.stub.take_only(&pending, 1);
    shop.stub.decide(&pending, "succeeded");
    let address = shop.app.address();
    assert_eq!(shop.stub.tell(&address, &pending, "evt-1").await, 422);
    shop.await_state(&alice, &pending, PaymentState::Declined)
        .await;
    assert_eq!(shop.seat(0).await, SeatState::Held);
    eventually("it goes back", async || {
        (shop.stub.charge(&pending).refunded_minor == 1).then_some(())
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_is_asked_for_something_has_time() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let asked = alice.pay_by_gateway(&held.id, "ask", "pay").await;
    let asked = asked.expect("pending");
    assert_eq!(asked.state(), PaymentState::Pending);
    assert_eq!(asked.action_url.as_deref(), Some(ACTION_URL));
    // The resolver looks, and leaves it alone.
    let calls = shop.stub.calls();
    eventually("a look", async || (shop.stub.calls() > calls).then_some(())).await;
    assert_eq!(shop.stub.charge(&asked.id).state, "open");
    assert_eq!(alice.payment(&asked.id).await.action_url, asked.action_url);
    shop.stub.confirm_by_buyer(&asked.id);
    shop.await_state(&alice, &asked.id, PaymentState::Succeeded)
        .await;
    assert_eq!(alice.payment(&asked.id).await.action_url, None);
    assert_eq!(shop.seat(0).await, SeatState::Sold);
    let filling = alice.top_up_by_gateway(70, "ask", "top-up").await;
    let filling = filling.expect("pending");
    assert_eq!(filling.action_url.as_deref(), Some(ACTION_URL));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_that_is_asked_for_something_may_do_something_else() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let (first, second) = (shop.hold(&alice, 0).await, {
        let held = alice.hold(&shop.hall, &[&shop.seats[1]], "hold-2").await;
        held.expect("held")
    });
    let mut asked = Vec::new();
    for held in [&first, &second] {
        let key = format!("ask-{}", held.id);
        let answer = alice.pay_by_gateway(&held.id, "ask", &key).await;
        asked.push(answer.expect("pending").id);
    }
    alice.cancel(&first.id, "cancel").await.expect("given back");
    let paid = alice.pay_by_gateway(&second.id, "ok", "other").await;
    assert_eq!(paid.expect("paid").state(), PaymentState::Succeeded);
    for intent in &asked {
        assert_eq!(shop.stub.charge(intent).state, "cancelled");
        let payment = alice.payment(intent).await;
        assert_eq!(payment.state(), PaymentState::Declined);
    }
    let states = (shop.seat(0).await, shop.seat(1).await);
    assert_eq!(states, (SeatState::Available, SeatState::Sold));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_certainly_not_charged_is_over_at_once() {
    let shop = Shop::open(LONG_MS, &[("USHER_GATEWAY__BREAKER_FAILURES", "1")]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    // Busy for a moment: it is asked again, and the breaker stays closed.
    shop.stub.answer_busy(2);
    let paid = alice.pay_by_gateway(&held.id, "open", "pay").await;
    assert_eq!(refused(paid), "PAYMENT_DECLINED");
    assert_eq!(shop.stub.charges()[0].state, "cancelled");
    // Away when it is asked to confirm: that is found out later.
    shop.stub.go_away_after(1);
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay-2").await;
    assert_eq!(paid.expect("unknown").state(), PaymentState::Pending);
    shop.stub.set_away(false);
    eventually("it is free again", async || {
        let paid = alice.pay_by_gateway(&held.id, "ok", "pay-3").await;
        paid.is_ok_and(|paid| paid.state() == PaymentState::Succeeded)
            .then_some(())
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_is_looked_up_until_it_is_made() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay").await;
    let paid = paid.expect("paid").id;
    shop.stub.set_refunds("pending");
    alice.cancel(&held.id, "cancel").await.expect("cancelled");
    eventually("it is on its way", async || {
        let refunds = shop.stub.charge(&paid).refunds;
        refunds
            .values()
            .any(|state| state == "pending")
            .then_some(())
    })
    .await;
    // Who repeats the request hears "pending" for ever.
    shop.stub.end_refunds("succeeded");
    shop.await_state(&alice, &paid, PaymentState::Refunded)
        .await;
    assert_eq!(shop.stub.charge(&paid).refunded_minor, PRICE_MINOR);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_is_refused_ends_by_an_operator() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    for (seat, state, tries) in [(0, "refused", 1), (1, "failed", 1)] {
        let held = alice
            .hold(&shop.hall, &[&shop.seats[seat]], &format!("hold-{seat}"))
            .await
            .expect("held");
        let paid = alice
            .pay_by_gateway(&held.id, "ok", &format!("pay-{seat}"))
            .await
            .expect("paid");
        shop.stub.set_refunds(state);
        let key = format!("cancel-{seat}");
        alice.cancel(&held.id, &key).await.expect("cancelled");
        let refused = eventually("nobody tries any more", async || {
            let open = shop.app.sql.open_refunds(10).await.expect("read");
            let found = open.into_iter().find(|it| it.intent.as_str() == paid.id);
            found.filter(|it| it.state == RefundState::Refused)
        })
        .await;
        assert_eq!(refused.tries, tries, "{state}");
        let before = alice.balance().await;
        let closed = shop.app.sql.close_refund(refused.id, Instead::Wallet);
        assert_eq!(closed.await, Ok(true));
        assert_eq!(alice.balance().await, before + PRICE_MINOR);
        shop.await_state(&alice, &paid.id, PaymentState::Refunded)
            .await;
        let mine = alice.reservation(&held.id).await;
        assert_eq!(mine.state(), ReservationState::Cancelled);
        shop.stub.set_refunds("");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_at_once_are_limited() {
    let more = [
        ("USHER_GATEWAY__PAYMENTS_MAX", "1"),
        ("USHER_GATEWAY__CALL_TIMEOUT_MS", "5000"),
        ("USHER_GATEWAY__TIME_LIMIT_MS", "60000"),
        ("USHER_GATEWAY__ANSWER_WITHIN_MS", "50"),
    ];
    let shop = Shop::open(LONG_MS, &more).await;
    let alice = shop.app.user("alice");
    shop.stub.fall_silent();
    let first = alice.top_up_by_gateway(50, "ok", "one").await;
    assert_eq!(first.expect("pending").entry, None);
    let bob = shop.app.user("bob");
    let second = bob.top_up_by_gateway(50, "ok", "two").await;
    assert_eq!(refused(second), "OVERLOADED");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_only_gives_back_takes_nothing() {
    let mut shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay").await;
    let paid = paid.expect("paid").id;
    let mut settings = shop.stub.settings();
    settings.push(("USHER_GATEWAY__REFUNDS_ONLY", "true".to_owned()));
    shop = restart(shop, &settings).await;
    let alice = shop.app.user("alice");
    let more = alice.top_up_by_gateway(50, "ok", "top-up").await;
    assert_eq!(
        more.expect_err("refused").code(),
        tonic::Code::Unimplemented
    );
    alice.cancel(&held.id, "cancel").await.expect("cancelled");
    shop.await_state(&alice, &paid, PaymentState::Refunded)
        .await;
    shop.close().await;
}

async fn until(buyer: &User, payment: &str, state: PaymentState) {
    eventually(state.as_str_name(), async || {
        (buyer.payment(payment).await.state() == state).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_is_tried_out_without_a_provider() {
    let memory = [("USHER_GATEWAY__URL", "memory:")];
    let app = TestApp::start_with(&memory).await;
    let root = app.admin();
    let concert = world::make_concert(&root, "concert").await;
    let hall = world::make_performance(&root, &concert, "performance").await;
    let seats = world::seats_of(&root, &hall).await;
    let mut paid = Vec::new();
    for (seat, token) in ["ok", "slow", "ask", "ask-declined"]
        .into_iter()
        .enumerate()
    {
        let buyer = app.user(token);
        let held = buyer.hold(&hall, &[&seats[seat]], "hold").await;
        let held = held.expect("held");
        match buyer.pay_by_gateway(&held.id, "declined", "no").await {
            Err(declined) => assert_eq!(refused::<()>(Err(declined)), "PAYMENT_DECLINED"),
            // A machine that stood still.
            Ok(pending) => until(&buyer, &pending.id, PaymentState::Declined).await,
        }
        let payment = buyer.pay_by_gateway(&held.id, token, "pay").await;
        let payment = payment.expect("begun");
        let asks = token.starts_with("ask") && payment.state() == PaymentState::Pending;
        assert_eq!(payment.action_url.is_some(), asks, "{payment:?}");
        paid.push((token, held.id, payment.id));
    }
    for (token, _, payment) in &paid {
        let end = match *token {
            "ask-declined" => PaymentState::Declined,
            _ => PaymentState::Succeeded,
        };
        until(&app.user(token), payment, end).await;
    }
    // What it forgot is given back.
    let app = app.restart(&memory).await;
    let (token, held, payment) = &paid[0];
    let buyer = app.user(token);
    buyer.cancel(held, "cancel").await.expect("cancelled");
    until(&buyer, payment, PaymentState::Refunded).await;
    app.assert_audit_is_clean().await;
}
