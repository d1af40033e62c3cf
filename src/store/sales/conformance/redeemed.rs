//! Coupons of payments: used once, and given back with the whole purchase.

use futures_util::future::join_all;

use super::coupons::campaign_of;
use super::fixture::{HOLD_TTL_MS, PRICE_MINOR, Sale, id, money, money_of, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::coupon::{Coupon, CouponState, Discount, NewCampaign};
use crate::domain::sale::hold::ReservationState;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::domain::sale::payment::{CouponUse, Payment, PaymentState};
use crate::store::sales::{
    BeginPayment, CancelPerformance, Page, Paid, PayReservation, SalesError, WindUp,
};

impl Sale {
    pub fn paying_with(
        &self,
        who: &str,
        reservation: &ResourceId,
        coupon: &ResourceId,
    ) -> PayReservation {
        PayReservation {
            coupon: Some(coupon.clone()),
            ..self.paying(who, reservation)
        }
    }

    pub async fn pay_with(
        &self,
        who: &str,
        reservation: &ResourceId,
        coupon: &ResourceId,
    ) -> Result<Paid, SalesError> {
        let command = self.paying_with(who, reservation, coupon);
        self.store().pay_reservation(command).await
    }

    pub async fn begin_with(
        &self,
        who: &str,
        reservation: &ResourceId,
        coupon: &ResourceId,
    ) -> Result<ResourceId, SalesError> {
        let command = BeginPayment {
            coupon: Some(coupon.clone()),
            ..self.beginning(who, reservation)
        };
        let begun = self.store().begin_payment(command).await;
        begun.map(|begun| begun.intent.id)
    }

    /// The latest of the user.
    async fn coupon_of(&self, who: &str) -> Coupon {
        let listed = self.store().coupons(user(who), Page::new(1, None)).await;
        listed.unwrap().items.remove(0)
    }

    async fn payment_of(&self, who: &str, payment: &ResourceId) -> Payment {
        let payment = self.store().payment(user(who), payment.clone()).await;
        payment.unwrap()
    }

    /// Of a coupon, in order.
    pub async fn coupon_told(&self, coupon: &ResourceId) -> Vec<String> {
        let told = self.told_of(&format!("coupon:{coupon}")).await.into_iter();
        told.map(|event| event.kind).collect()
    }
}

fn off(amount_minor: i64) -> NewCampaign {
    NewCampaign {
        discount: Discount::Amount(money(amount_minor)),
        ..campaign_of(100)
    }
}

/// A performance, and a coupon of `ann`, who has the money for ten seats.
async fn ready(sale: &Sale, terms: NewCampaign) -> (ResourceId, ResourceId) {
    let performance = sale.performance().await;
    let campaign = sale.campaign(terms).await.id;
    sale.top_up("ann", 10 * PRICE_MINOR).await;
    let coupon = sale.issue("ann", &campaign).await.unwrap().coupon.id;
    (performance, coupon)
}

async fn hold(sale: &Sale, performance: &ResourceId, seats: &[&str]) -> ResourceId {
    sale.hold("ann", performance, seats).await.unwrap().id
}

fn not_applicable<T: std::fmt::Debug>(outcome: Result<T, SalesError>, part: &str) {
    match outcome {
        Err(SalesError::CouponNotApplicable { why }) => assert!(why.contains(part), "{why}"),
        other => panic!("{part}: {other:?}"),
    }
}

pub async fn a_coupon_takes_its_discount_off_and_is_used_once(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    let held = hold(sale, &performance, &["s1-r1-1"]).await;
    let command = sale.paying_with("ann", &held, &coupon);
    let store = sale.store();
    let paid = store.pay_reservation(command.clone()).await.unwrap();
    assert_eq!(paid.payment.amount, money(PRICE_MINOR - 30));
    let used = CouponUse {
        coupon: coupon.clone(),
        discount: money(30),
    };
    assert_eq!(paid.payment.coupon, Some(used));
    assert_eq!(sale.balance("ann").await, 9 * PRICE_MINOR + 30);
    let read = sale.payment_of("ann", &paid.payment.id).await;
    assert_eq!(read, paid.payment);
    let seen = sale.coupon_of("ann").await;
    assert_eq!(seen.state, CouponState::Used);
    assert_eq!(seen.reservation, Some(held.clone()));
    let again = store.pay_reservation(command.clone()).await;
    assert_eq!(again, Ok(paid), "as first answered");
    let without = PayReservation {
        coupon: None,
        ..command
    };
    let reused = store.pay_reservation(without).await;
    assert_eq!(reused, Err(SalesError::IdempotencyKeyReused));
    let other = hold(sale, &performance, &["s1-r1-2"]).await;
    not_applicable(sale.pay_with("ann", &other, &coupon).await, "is used");
    not_applicable(sale.begin_with("ann", &other, &coupon).await, "is used");
    assert_eq!(
        sale.coupon_told(&coupon).await,
        ["coupon.issued", "coupon.redeemed"]
    );
}

pub async fn only_its_owner_uses_a_coupon_within_its_terms(sale: &Sale) {
    let now = sale.now().await;
    let (performance, coupon) = ready(
        sale,
        NewCampaign {
            order_min: Some(money(2 * PRICE_MINOR)),
            valid_from: Some(now.plus_ms(1_000)),
            valid_until: Some(now.plus_ms(2_000)),
            ..off(30)
        },
    )
    .await;
    let one = hold(sale, &performance, &["s1-r1-1"]).await;
    let two = hold(sale, &performance, &["s1-r1-2", "s1-r1-3"]).await;
    not_applicable(sale.pay_with("ann", &two, &coupon).await, "not valid yet");
    sale.advance_ms(1_000).await;
    not_applicable(sale.pay_with("ann", &one, &coupon).await, "larger total");
    sale.top_up("bob", 10 * PRICE_MINOR).await;
    let his = sale
        .hold("bob", &performance, &["s1-r2-1", "s1-r2-2"])
        .await;
    let his = his.unwrap().id;
    for coupon in [&coupon, &id("nowhere")] {
        let stolen = sale.pay_with("bob", &his, coupon).await;
        assert_eq!(stolen, Err(SalesError::NotFound));
        let stolen = sale.begin_with("bob", &his, coupon).await;
        assert_eq!(stolen, Err(SalesError::NotFound));
    }
    let elsewhere = sale.performance().await;
    let only = sale
        .campaign(NewCampaign {
            performances: vec![elsewhere.clone()],
            ..off(30)
        })
        .await;
    let narrow = sale.issue("ann", &only.id).await.unwrap().coupon.id;
    not_applicable(sale.pay_with("ann", &two, &narrow).await, "other concerts");
    let euros = sale
        .campaign(NewCampaign {
            discount: Discount::Amount(money_of("EUR", 30)),
            ..campaign_of(1)
        })
        .await;
    let foreign = sale.issue("ann", &euros.id).await.unwrap().coupon.id;
    not_applicable(sale.pay_with("ann", &two, &foreign).await, "currency");
    sale.advance_ms(1_000).await;
    not_applicable(sale.pay_with("ann", &two, &coupon).await, "any more");
    // Nothing of it was done.
    assert_eq!(sale.balance("ann").await, 10 * PRICE_MINOR);
    let there = hold(sale, &elsewhere, &["s1-r1-1"]).await;
    sale.pay_with("ann", &there, &narrow).await.unwrap();
}

pub async fn of_two_payments_at_once_one_uses_the_coupon(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    let elsewhere = sale.performance().await;
    for n in 1..=4 {
        let seat = format!("s1-r1-{n}");
        let one = hold(sale, &performance, &[&seat]).await;
        let two = hold(sale, &elsewhere, &[&seat]).await;
        let (first, second) = tokio::join!(
            sale.pay_with("ann", &one, &coupon),
            sale.pay_with("ann", &two, &coupon)
        );
        let (paid, loser) = match (first, second) {
            (Ok(paid), Err(refused)) | (Err(refused), Ok(paid)) => (paid, refused),
            both => panic!("{both:?}"),
        };
        not_applicable(Err::<(), _>(loser), "is used");
        assert_eq!(paid.payment.amount, money(PRICE_MINOR - 30));
        for either in [one, two] {
            sale.cancel("ann", &either).await.unwrap();
        }
        assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    }
    // In one batch, too: all of one performance.
    let mut calls = Vec::new();
    for n in 1..=4 {
        let held = hold(sale, &performance, &[&format!("s1-r2-{n}")]).await;
        calls.push(sale.paying_with("ann", &held, &coupon));
    }
    let store = sale.store();
    let outcomes = join_all(calls.into_iter().map(|call| store.pay_reservation(call))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

pub async fn a_coupon_that_takes_all_off_leaves_nothing_to_pay(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(5 * PRICE_MINOR)).await;
    let held = hold(sale, &performance, &["s1-r1-1", "s1-r1-2"]).await;
    let asked = sale.begin_with("ann", &held, &coupon).await;
    assert!(
        matches!(&asked, Err(SalesError::Field(error)) if error.field == "gateway"),
        "{asked:?}"
    );
    let paid = sale.pay_with("ann", &held, &coupon).await.unwrap().payment;
    assert_eq!(paid.amount, money(0));
    assert_eq!(paid.coupon.unwrap().discount, money(2 * PRICE_MINOR));
    assert_eq!(sale.balance("ann").await, 10 * PRICE_MINOR);
    sale.assert_clean_audit("a free reservation").await;
    let part = sale.cancel_some("ann", &held, &["s1-r1-1"]).await.unwrap();
    assert_eq!(part.refunded, None);
    sale.assert_clean_audit("a part of it").await;
    let refund = sale.refunding(&paid.id, None);
    let nothing = sale.store().refund_payment(refund).await;
    assert!(matches!(nothing, Err(SalesError::AmountOutOfRange { .. })));
    let rest = sale.cancel("ann", &held).await.unwrap();
    assert_eq!(rest.refunded, None);
    let after = sale.payment_of("ann", &paid.id).await;
    assert_eq!(after.state, PaymentState::Refunded);
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    assert_eq!(sale.balance("ann").await, 10 * PRICE_MINOR);
}

pub async fn a_coupon_comes_back_with_the_whole_purchase_alone(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(60)).await;
    let held = hold(sale, &performance, &["s1-r1-1", "s1-r1-2", "s1-r1-3"]).await;
    let paid = sale.pay_with("ann", &held, &coupon).await.unwrap().payment;
    assert_eq!(paid.amount, money(3 * PRICE_MINOR - 60));
    let part = sale.cancel_some("ann", &held, &["s1-r1-2"]).await.unwrap();
    assert_eq!(part.refunded, Some(money(PRICE_MINOR - 20)), "what it cost");
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Used);
    let goodwill = sale.refunding(&paid.id, Some(money(10)));
    sale.store().refund_payment(goodwill).await.unwrap();
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Used);
    sale.assert_clean_audit("a part").await;
    sale.cancel("ann", &held).await.unwrap();
    let back = sale.coupon_of("ann").await;
    assert_eq!(
        (back.state, back.reservation),
        (CouponState::Available, None)
    );
    assert_eq!(sale.balance("ann").await, 10 * PRICE_MINOR);
    // It is used again, and comes back when an operator refunds all of it.
    let held = hold(sale, &performance, &["s1-r1-1"]).await;
    let paid = sale.pay_with("ann", &held, &coupon).await.unwrap().payment;
    let refund = sale.refunding(&paid.id, None);
    sale.store().refund_payment(refund).await.unwrap();
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    let told = sale.coupon_told(&coupon).await;
    let expected = [
        "coupon.issued",
        "coupon.redeemed",
        "coupon.returned",
        "coupon.redeemed",
        "coupon.returned",
    ];
    assert_eq!(told, expected);
}

pub async fn a_cancelled_performance_gives_coupons_back(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    let held = hold(sale, &performance, &["s1-r1-1"]).await;
    sale.pay_with("ann", &held, &coupon).await.unwrap();
    let cancel = CancelPerformance {
        once: sale.once("admin"),
        performance: performance.clone(),
        reason: "rain".to_owned(),
    };
    let store = sale.store();
    store.cancel_performance(cancel).await.unwrap();
    let step = WindUp {
        performance,
        reservations_max: 10,
        event: None,
    };
    store.wind_up(step).await.unwrap();
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    assert_eq!(sale.balance("ann").await, 10 * PRICE_MINOR);
}

pub async fn a_provider_reserves_the_coupon_until_it_decides(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    let held = hold(sale, &performance, &["s1-r1-1"]).await;
    let other = hold(sale, &performance, &["s1-r1-2"]).await;
    let intent = sale.begin_with("ann", &held, &coupon).await.unwrap();
    let seen = sale.coupon_of("ann").await;
    assert_eq!(seen.state, CouponState::Reserved);
    assert_eq!(seen.reservation, Some(held.clone()));
    not_applicable(sale.pay_with("ann", &other, &coupon).await, "is used");
    sale.assert_clean_audit("a payment that is not decided")
        .await;
    sale.settle(&intent, Declined).await;
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    let intent = sale.begin_with("ann", &held, &coupon).await.unwrap();
    let settled = sale.settle(&intent, Succeeded).await;
    assert_eq!(settled.payment.unwrap().amount, money(PRICE_MINOR - 30));
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Used);
    assert_eq!(
        sale.coupon_told(&coupon).await,
        ["coupon.issued", "coupon.redeemed"]
    );
    sale.cancel("ann", &held).await.unwrap();
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
}

pub async fn money_that_bought_nothing_uses_no_coupon(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    // Too late: the seat is another's.
    let held = hold(sale, &performance, &["s1-r1-1"]).await;
    let late = sale.begin_with("ann", &held, &coupon).await.unwrap();
    sale.advance_ms(10 * HOLD_TTL_MS).await;
    sale.hold("bob", &performance, &["s1-r1-1"]).await.unwrap();
    sale.settle(&late, Succeeded).await;
    assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    // After a decline: the coupon has bought something else by now.
    let held = hold(sale, &performance, &["s1-r1-2"]).await;
    let declined = sale.begin_with("ann", &held, &coupon).await.unwrap();
    sale.settle(&declined, Declined).await;
    let paid = sale.pay_with("ann", &held, &coupon).await.unwrap();
    sale.settle(&declined, Succeeded).await;
    let seen = sale.coupon_of("ann").await;
    assert_eq!(
        (seen.state, seen.reservation),
        (CouponState::Used, Some(held.clone()))
    );
    let kept = sale.store().reservation(user("ann"), held).await.unwrap();
    assert_eq!(kept.state, ReservationState::Confirmed);
    assert_eq!(kept.payment, Some(paid.payment.id));
}

pub async fn a_wallet_and_a_provider_do_not_share_a_coupon(sale: &Sale) {
    let (performance, coupon) = ready(sale, off(30)).await;
    let elsewhere = sale.performance().await;
    for n in 1..=3 {
        let seat = format!("s1-r1-{n}");
        let one = hold(sale, &performance, &[&seat]).await;
        let two = hold(sale, &elsewhere, &[&seat]).await;
        let (wallet, provider) = tokio::join!(
            sale.pay_with("ann", &one, &coupon),
            sale.begin_with("ann", &two, &coupon)
        );
        assert!(
            wallet.is_ok() != provider.is_ok(),
            "{wallet:?} {provider:?}"
        );
        if let Ok(intent) = provider {
            sale.settle(&intent, Declined).await;
        }
        if wallet.is_ok() {
            sale.cancel("ann", &one).await.unwrap();
        }
        assert_eq!(sale.coupon_of("ann").await.state, CouponState::Available);
    }
}
