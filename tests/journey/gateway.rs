//! Money through a payment provider that is slow, loses answers, declines,
//! confirms late and tells things twice.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use usher::clock::{Clock as _, SystemClock};
use usher::proto::v1 as wire;
use wire::{PaymentState, ReservationState, SeatState};

use crate::harness::{TestApp, eventually};
use crate::people::{User, euros, reason};
use crate::sale::{PRICE_MINOR, concert, performance, span_ms};
use crate::stub::{StubGateway, send, sign};

/// Longer than any test.
pub const LONG_MS: u64 = 600_000;
/// A hold that is soon over.
const SHORT_MS: u64 = 5_000;

pub struct Shop {
    pub app: TestApp,
    pub stub: StubGateway,
    pub hall: String,
    pub seats: Vec<String>,
}

impl Shop {
    pub async fn open(hold_ttl_ms: u64, more: &[(&'static str, &str)]) -> Self {
        let stub = StubGateway::start().await;
        let settings = stub.settings();
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
        let app = TestApp::start_with(&settings).await;
        let root = app.admin();
        let made = root
            .operator()
            .create_concert(root.ask(wire::CreateConcertRequest {
                concert: Some(concert()),
                idempotency_key: "concert".to_owned(),
            }))
            .await;
        let made = made.expect("made").into_inner();
        let concert = made.concert.expect("a concert").id;
        let terms = wire::Performance {
            hold_ttl: span_ms(hold_ttl_ms),
            ..performance(&concert, 5)
        };
        let made = root
            .operator()
            .create_performance(root.ask(wire::CreatePerformanceRequest {
                performance: Some(terms),
                idempotency_key: "performance".to_owned(),
            }))
            .await;
        let made = made.expect("made").into_inner();
        let hall = made.performance.expect("one").id;
        let map = root.seat_map(&hall).await.expect("seats");
        let seats = map.seats.into_iter().map(|seat| seat.id).collect();
        Self {
            app,
            stub,
            hall,
            seats,
        }
    }

    pub async fn hold(&self, who: &User, seat: usize) -> wire::Reservation {
        let held = who.hold(&self.hall, &[&self.seats[seat]], "hold").await;
        held.expect("held")
    }

    pub async fn seat(&self, seat: usize) -> SeatState {
        let map = self.app.admin().seat_map(&self.hall).await.expect("seats");
        map.seats[seat].state()
    }

    /// Waits until the payment is so.
    pub async fn await_state(&self, who: &User, payment: &str, state: PaymentState) {
        eventually(state.as_str_name(), async || {
            let seen = who.payment(payment).await.state();
            (seen == state).then_some(())
        })
        .await;
    }

    /// What the provider took is where the books say.
    pub async fn close(self) {
        self.app.assert_audit_is_clean().await;
        for charge in self.stub.charges() {
            assert!(charge.captures <= 1, "charged twice: {charge:?}");
        }
    }
}

pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.expect_err("refused"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_by_the_gateway_buys_the_seats() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let paid = alice
        .pay_by_gateway(&held.id, "ok", "pay")
        .await
        .expect("paid");
    assert_eq!(paid.state(), PaymentState::Succeeded);
    assert_eq!(paid.amount, Some(euros(PRICE_MINOR)));
    assert_eq!(paid.poll_after, None);
    let mine = alice.reservation(&held.id).await;
    assert_eq!(
        (mine.state(), mine.tickets.len()),
        (ReservationState::Confirmed, 1)
    );
    let again = alice.pay_by_gateway(&held.id, "ok", "pay").await;
    assert_eq!(again.expect("as first answered"), paid);
    let other = alice.pay_by_gateway(&held.id, "ok", "other").await;
    assert_eq!(refused(other), "ALREADY_PAID");
    let reused = alice.pay_by_gateway(&held.id, "lost", "pay").await;
    assert_eq!(refused(reused), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(
        refused(alice.pay(&held.id, "pay").await),
        "IDEMPOTENCY_KEY_REUSED"
    );
    assert_eq!(alice.balance().await, 0);
    let charge = shop.stub.charge(&paid.id);
    assert_eq!((charge.captures, charge.amount_minor), (1, PRICE_MINOR));

    // It goes back where it came from.
    let cancelled = alice.cancel(&held.id, "cancel").await.expect("cancelled");
    assert_eq!(cancelled.refunded, Some(euros(PRICE_MINOR)));
    shop.await_state(&alice, &paid.id, PaymentState::Refunded)
        .await;
    assert_eq!(shop.stub.charge(&paid.id).refunded_minor, PRICE_MINOR);
    assert_eq!(alice.balance().await, 0);
    for bad in ["", " ", "ü", &"x".repeat(513)] {
        let answer = alice.pay_by_gateway(&held.id, bad, "bad").await;
        assert_eq!(
            answer.expect_err("refused").code(),
            Code::InvalidArgument,
            "{bad}"
        );
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_key_stays_declined_and_another_may_pay() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    for _ in 0..2 {
        let declined = alice.pay_by_gateway(&held.id, "declined", "pay").await;
        assert_eq!(refused(declined), "PAYMENT_DECLINED");
    }
    let unusable = alice.pay_by_gateway(&held.id, "unusable", "pay-2").await;
    assert_eq!(refused(unusable), "PAYMENT_DECLINED");
    assert_eq!(shop.stub.charges().len(), 2);
    assert_eq!(shop.seat(0).await, SeatState::Held);
    let paid = alice.pay_by_gateway(&held.id, "ok", "pay-3").await;
    assert_eq!(paid.expect("paid").state(), PaymentState::Succeeded);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_gateway_leaves_the_payment_pending_until_it_tells() {
    let shop = Shop::open(LONG_MS, &[("USHER_GATEWAY__ANSWER_WITHIN_MS", "100")]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let pending = alice
        .pay_by_gateway(&held.id, "slow", "pay")
        .await
        .expect("pending");
    assert_eq!(pending.state(), PaymentState::Pending);
    assert!(pending.poll_after.is_some());
    let again = alice
        .pay_by_gateway(&held.id, "slow", "pay")
        .await
        .expect("pending");
    assert_eq!(again, pending);
    for other in [
        alice.pay_by_gateway(&held.id, "ok", "other").await,
        alice.pay(&held.id, "wallet").await,
    ] {
        let busy = other.expect_err("refused");
        assert_eq!(
            (busy.code(), reason(&busy).as_str()),
            (Code::Aborted, "PAYMENT_IN_PROGRESS")
        );
    }
    let given_back = alice.cancel(&held.id, "cancel").await;
    assert_eq!(refused(given_back), "PAYMENT_IN_PROGRESS");
    eventually("the provider decides", async || {
        (shop.stub.charge(&pending.id).state == "processing").then_some(())
    })
    .await;
    shop.stub.decide(&pending.id, "succeeded");
    let address = shop.app.address();
    for _ in 0..3 {
        assert_eq!(shop.stub.tell(&address, &pending.id, "evt-1").await, 200);
    }
    let paid = alice
        .pay_by_gateway(&held.id, "slow", "pay")
        .await
        .expect("paid");
    assert_eq!(
        (paid.state(), paid.poll_after),
        (PaymentState::Succeeded, None)
    );
    assert_eq!(shop.seat(0).await, SeatState::Sold);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_out_and_nothing_is_charged_twice() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let pending = alice
        .pay_by_gateway(&held.id, "lost", "pay")
        .await
        .expect("pending");
    assert_eq!(pending.state(), PaymentState::Pending);
    shop.await_state(&alice, &pending.id, PaymentState::Succeeded)
        .await;
    assert_eq!(shop.stub.charge(&pending.id).captures, 1);
    assert_eq!(shop.seat(0).await, SeatState::Sold);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_money_gets_free_seats_or_goes_back() {
    let more = [("USHER_GATEWAY__ANSWER_WITHIN_MS", "100")];
    let shop = Shop::open(SHORT_MS, &more).await;
    let (alice, bob, carol) = (
        shop.app.user("alice"),
        shop.app.user("bob"),
        shop.app.user("carol"),
    );
    let (hers, his) = (shop.hold(&alice, 0).await, shop.hold(&bob, 1).await);
    let first = alice
        .pay_by_gateway(&hers.id, "slow", "pay")
        .await
        .expect("pending");
    let second = bob
        .pay_by_gateway(&his.id, "slow", "pay")
        .await
        .expect("pending");
    eventually("both holds end", async || {
        let (hers, his) = (
            alice.reservation(&hers.id).await,
            bob.reservation(&his.id).await,
        );
        let over = ReservationState::Expired;
        (hers.state() == over && his.state() == over).then_some(())
    })
    .await;
    carol.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let taken = shop.hold(&carol, 1).await;
    carol.pay(&taken.id, "pay").await.expect("paid");
    shop.stub.lose_refunds(1);
    let address = shop.app.address();
    for late in [&first, &second] {
        shop.stub.decide(&late.id, "succeeded");
        let event = format!("evt-{}", late.id);
        assert_eq!(shop.stub.tell(&address, &late.id, &event).await, 200);
    }
    let mine = alice.reservation(&hers.id).await;
    assert_eq!(
        (mine.state(), mine.tickets.len()),
        (ReservationState::Confirmed, 1)
    );
    shop.await_state(&bob, &second.id, PaymentState::Refunded)
        .await;
    let refunded = bob.payment(&second.id).await.refunded;
    assert_eq!(refunded, Some(euros(PRICE_MINOR)));
    let charge = shop.stub.charge(&second.id);
    assert_eq!((charge.captures, charge.refunded_minor), (1, PRICE_MINOR));
    assert_eq!(
        bob.reservation(&his.id).await.state(),
        ReservationState::Expired
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_is_filled_once_the_money_is_captured() {
    let shop = Shop::open(LONG_MS, &[("USHER_GATEWAY__ANSWER_WITHIN_MS", "5000")]).await;
    let alice = shop.app.user("alice");
    let filled = alice
        .top_up_by_gateway(700, "ok", "one")
        .await
        .expect("filled");
    let entry = filled.entry.expect("an entry");
    assert_eq!(entry.amount, Some(euros(700)));
    assert_eq!(filled.poll_after, None);
    let again = alice
        .top_up_by_gateway(700, "ok", "one")
        .await
        .expect("as first answered");
    assert_eq!(again.entry.as_ref(), Some(&entry));
    let declined = alice.top_up_by_gateway(700, "declined", "two").await;
    assert_eq!(refused(declined), "PAYMENT_DECLINED");
    let pending = alice
        .top_up_by_gateway(50, "lost", "three")
        .await
        .expect("pending");
    assert_eq!((pending.entry, pending.poll_after.is_some()), (None, true));
    eventually("the wallet is filled", async || {
        (alice.balance().await == 750).then_some(())
    })
    .await;
    let out_of_range = alice.top_up_by_gateway(0, "ok", "four").await;
    assert_eq!(refused(out_of_range), "AMOUNT_OUT_OF_RANGE");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_are_not_the_providers_change_nothing() {
    let shop = Shop::open(LONG_MS, &[("USHER_GATEWAY__ANSWER_WITHIN_MS", "100")]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let pending = alice
        .pay_by_gateway(&held.id, "slow", "pay")
        .await
        .expect("pending");
    eventually("the provider decides", async || {
        (shop.stub.charge(&pending.id).state == "processing").then_some(())
    })
    .await;
    let address = shop.app.address();
    let now = SystemClock.now().0 / 1_000;
    let honest = shop.stub.event(&pending.id, "evt-1");
    let body = honest.replace("processing", "succeeded");
    let amount = body.replace(&PRICE_MINOR.to_string(), "1");
    let unknown = body.replace(&pending.id, "unknown");
    for (what, provider, signature, body, status) in [
        ("no signature", "stub", String::new(), &body, 401),
        ("another body's", "stub", sign(&honest, now), &body, 401),
        ("an old one", "stub", sign(&body, now - 3_600), &body, 401),
        ("one to come", "stub", sign(&body, now + 3_600), &body, 401),
        ("of another provider", "other", sign(&body, now), &body, 404),
        ("no event", "stub", sign("{", now), &"{".to_owned(), 400),
        ("another amount", "stub", sign(&amount, now), &amount, 422),
        (
            "an unknown intent",
            "stub",
            sign(&unknown, now),
            &unknown,
            404,
        ),
        ("nothing decided", "stub", sign(&honest, now), &honest, 200),
    ] {
        assert_eq!(
            send(&address, provider, &signature, body).await,
            status,
            "{what}"
        );
    }
    let large = format!("{body}{}", " ".repeat(65_600));
    let signature = sign(&large, now);
    assert_eq!(send(&address, "stub", &signature, &large).await, 413);
    assert_eq!(
        alice.payment(&pending.id).await.state(),
        PaymentState::Pending
    );
    let good = sign(&body, now);
    assert_eq!(send(&address, "stub", &good, &body).await, 200);
    assert_eq!(
        alice.payment(&pending.id).await.state(),
        PaymentState::Succeeded
    );
    // It was not so at the provider; what was signed counts.
    shop.stub.decide(&pending.id, "succeeded");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_away_is_told_at_once_and_found_again() {
    let more = [
        ("USHER_GATEWAY__BREAKER_OPEN_MS", "60000"),
        ("USHER_GATEWAY__BREAKER_FAILURES", "2"),
    ];
    let shop = Shop::open(LONG_MS, &more).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    shop.stub.set_away(true);
    for key in ["pay", "pay", "other", "pay"] {
        let away = alice.pay_by_gateway(&held.id, "ok", key).await;
        let away = away.expect_err("away");
        let told = (away.code(), reason(&away));
        assert_eq!(told, (Code::Unavailable, "DEGRADED".to_owned()));
        assert!(away.get_details_retry_info().is_some(), "{away:?}");
        assert!(away.message().contains("nothing was charged"), "{away:?}");
    }
    // The breaker kept the rest away.
    assert_eq!(shop.stub.calls(), 2);
    assert_eq!(shop.seat(0).await, SeatState::Held);
    let away = alice.top_up_by_gateway(50, "ok", "pay").await;
    assert_eq!(refused(away), "DEGRADED");
    alice.top_up(PRICE_MINOR, "money").await.expect("topped up");
    alice.pay(&held.id, "wallet").await.expect("paid");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_changes_nothing_about_its_payment() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let alice = shop.app.user("alice");
    let held = shop.hold(&alice, 0).await;
    let mut call = Box::pin(alice.pay_by_gateway(&held.id, "lost", "pay"));
    let begun = eventually("the provider is asked", async || {
        let _ = futures_util::poll!(&mut call);
        shop.stub
            .charges()
            .into_iter()
            .find(|charge| charge.captures == 1)
    })
    .await;
    drop(call);
    assert_eq!(begun.amount_minor, PRICE_MINOR);
    eventually("the seat is sold", async || {
        (shop.seat(0).await == SeatState::Sold).then_some(())
    })
    .await;
    let paid = alice
        .pay_by_gateway(&held.id, "lost", "pay")
        .await
        .expect("paid");
    assert_eq!(paid.state(), PaymentState::Succeeded);
    shop.close().await;
}
