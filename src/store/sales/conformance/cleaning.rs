//! What has had its time goes, a little at a time, and the books stay.

use super::fixture::{HOLD_TTL_MS, Sale, user};
use super::intents::make_refunds;
use crate::domain::ids::ResourceId;
use crate::domain::sale::hold::ReservationState;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::store::sales::cleaning::Litter::{
    self, DeclinedIntents, EndedHolds, FinishedSales, GatewayEvents,
};
use crate::store::sales::{CancelPerformance, GatewayEvent, SalesError, Settle, WindUp};

const KEPT_MS: u64 = 7 * 86_400_000;
const DAY_MS: u64 = 86_400_000;

/// Steps as small as can be, each with a clean audit behind it.
async fn clean(sale: &Sale, what: Litter, kept_ms: u64) -> u64 {
    let store = sale.store();
    let mut rows = 0;
    for _step in 0..200 {
        let cleaned = store.clean(what, kept_ms, 1).await.unwrap();
        sale.assert_clean_audit("a step of the cleaner").await;
        rows += cleaned.rows;
        if !cleaned.has_more {
            let is_left = store.has_litter(what, kept_ms).await;
            assert_eq!(is_left, Ok(false), "{what:?}");
            return rows;
        }
    }
    panic!("{what:?} never ends");
}

async fn is_known(sale: &Sale, who: &str, reservation: &ResourceId) -> bool {
    let store = sale.store();
    match store.reservation(user(who), reservation.clone()).await {
        Ok(_) => true,
        Err(SalesError::NotFound) => false,
        Err(error) => panic!("{error}"),
    }
}

pub async fn holds_that_ended_unpaid_are_deleted_in_time(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 10_000).await;
    let expired = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let released = sale.hold("bob", &performance, &["s1-r1-2"]).await.unwrap();
    sale.cancel("bob", &released.id).await.unwrap();
    let declined = sale.hold("cid", &performance, &["s1-r1-3"]).await.unwrap();
    let attempt = sale.begin("cid", &declined.id).await.unwrap();
    sale.settle(&attempt, Declined).await;
    let late = sale.hold("dan", &performance, &["s1-r1-4"]).await.unwrap();
    let given_up = sale.begin("dan", &late.id).await.unwrap();
    sale.settle(&given_up, Declined).await;
    sale.settle(&given_up, Succeeded).await;
    make_refunds(sale).await;
    let bought = sale.hold("ann", &performance, &["s1-r1-5"]).await.unwrap();
    sale.pay("ann", &bought.id).await.unwrap();
    sale.advance_ms(10 * HOLD_TTL_MS).await;
    sale.sweep_all().await;
    assert_eq!(
        sale.store().has_litter(EndedHolds, KEPT_MS).await,
        Ok(false)
    );
    // Its time is over, and its answer is kept still.
    assert_eq!(sale.store().has_litter(EndedHolds, 1).await, Ok(false));

    sale.advance_ms(KEPT_MS).await;
    sale.sweep_all().await;
    assert!(clean(sale, EndedHolds, KEPT_MS).await >= 3 * 2 + 2);
    for (who, gone) in [("ann", &expired), ("bob", &released), ("cid", &declined)] {
        assert!(!is_known(sale, who, &gone.id).await, "{who}");
    }
    // Money came, if only to go back.
    assert!(is_known(sale, "dan", &late.id).await);
    assert!(is_known(sale, "ann", &bought.id).await);
}

pub async fn what_providers_told_is_forgotten_in_time(sale: &Sale) {
    let store = sale.store();
    let intent = sale.begin_top_up("ann", 70).await.unwrap();
    let tell = async |provider: &str, id: &str, outcome| {
        let event = Some(GatewayEvent {
            provider: provider.to_owned(),
            id: id.to_owned(),
        });
        let told = Settle {
            event,
            ..sale.settling(&intent, outcome)
        };
        store.settle(told).await.unwrap().intent.state
    };
    for (provider, id) in [("one", "e1"), ("one", "e2"), ("other", "e1")] {
        assert_eq!(tell(provider, id, Declined).await, Declined);
    }
    sale.advance_ms(KEPT_MS - 1).await;
    assert_eq!(tell("one", "e3", Declined).await, Declined);
    assert_eq!(store.has_litter(GatewayEvents, KEPT_MS).await, Ok(false));
    sale.advance_ms(1).await;
    assert_eq!(clean(sale, GatewayEvents, KEPT_MS).await, 3);
    // Of what is kept nothing more is heard; of what is not, again.
    assert_eq!(tell("one", "e3", Succeeded).await, Declined);
    assert_eq!(tell("one", "e2", Succeeded).await, Succeeded);
    make_refunds(sale).await;
}

pub async fn declined_intents_are_deleted_in_time(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    let declined = sale.begin_top_up("ann", 70).await.unwrap();
    sale.settle(&declined, Declined).await;
    let filled = sale.begin_top_up("ann", 5_000).await.unwrap();
    sale.settle(&filled, Succeeded).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let first = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&first, Declined).await;
    let second = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&second, Succeeded).await;
    assert_eq!(store.has_litter(DeclinedIntents, 1).await, Ok(false));

    sale.advance_ms(KEPT_MS).await;
    sale.sweep_all().await;
    assert_eq!(clean(sale, DeclinedIntents, KEPT_MS).await, 3);
    let payment = async |id: &ResourceId| store.payment(user("ann"), id.clone()).await;
    assert_eq!(payment(&first).await.err(), Some(SalesError::NotFound));
    assert!(payment(&second).await.is_ok());
    assert_eq!(sale.balance("ann").await, 5_000);
}

pub async fn a_finished_sale_leaves_its_money(sale: &Sale) {
    let store = sale.store();
    let performance = sale.performance().await;
    sale.top_up("ann", 10_000).await;
    let kept = sale
        .hold("ann", &performance, &["s1-r1-1", "s1-r1-2"])
        .await
        .unwrap();
    let paid = sale.pay("ann", &kept.id).await.unwrap().payment;
    let part = sale.cancel_some("ann", &kept.id, &["s1-r1-2"]).await;
    part.unwrap();
    let back = sale.hold("ann", &performance, &["s1-r1-3"]).await.unwrap();
    sale.pay("ann", &back.id).await.unwrap();
    sale.cancel("ann", &back.id).await.unwrap();
    let begun = sale.performance().await;
    let (balance, now) = (sale.balance("ann").await, sale.now().await);
    let found = store.performance(performance.clone()).await.unwrap();
    let starts_in_ms = found.terms.starts_at.0 - now.0;

    sale.advance_ms(starts_in_ms + KEPT_MS - 1).await;
    sale.sweep_all().await;
    assert_eq!(store.has_litter(FinishedSales, KEPT_MS).await, Ok(false));
    sale.advance_ms(1).await;
    assert!(clean(sale, FinishedSales, KEPT_MS).await > 0);
    let map = store.seat_map(performance.clone(), None).await.unwrap();
    assert!(map.seats.is_empty());
    for performance in [&performance, &begun] {
        let left = store.performance(performance.clone()).await.unwrap();
        assert!(left.terms.sections.is_empty(), "{left:?}");
    }
    // What it was paid for is known, and what became of the money.
    let left = store
        .reservation(user("ann"), kept.id.clone())
        .await
        .unwrap();
    assert_eq!(left.state, ReservationState::Confirmed);
    assert!(is_known(sale, "ann", &back.id).await);
    let payment = store.payment(user("ann"), paid.id.clone()).await.unwrap();
    assert_eq!(payment.amount, paid.amount);
    assert_eq!(sale.balance("ann").await, balance);
    // Nobody knows whether the ticket was used; an operator gives back all the same.
    let by_owner = sale.cancel("ann", &kept.id).await;
    assert_eq!(by_owner, Err(SalesError::SaleNotOpen));
    let refund = sale.refunding(&paid.id, None);
    store.refund_payment(refund).await.unwrap();
    assert_eq!(sale.balance("ann").await, 10_000);
}

pub async fn a_cancelled_sale_is_deleted_when_all_is_refunded(sale: &Sale) {
    let store = sale.store();
    let performance = sale.performance().await;
    sale.top_up("ann", 10_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    sale.pay("ann", &held.id).await.unwrap();
    let command = CancelPerformance {
        once: sale.once("admin"),
        performance: performance.clone(),
        reason: "rain".to_owned(),
    };
    store.cancel_performance(command).await.unwrap();
    sale.advance_ms(30 * DAY_MS).await;
    assert_eq!(store.has_litter(FinishedSales, KEPT_MS).await, Ok(false));
    let step = WindUp {
        performance: performance.clone(),
        reservations_max: 10,
        event: None,
    };
    while store.wind_up(step.clone()).await.unwrap().more {}
    assert_eq!(sale.balance("ann").await, 10_000);
    assert!(clean(sale, FinishedSales, KEPT_MS).await > 0);
    assert_eq!(sale.balance("ann").await, 10_000);
}
