//! Whose intents and refunds are, money of another amount, intents that wait for
//! their buyer, and refunds that a provider does not make.

use super::fixture::{
    EXTEND_MS, HOLD_TTL_MS, LOOK_AFTER_MS, PROVIDER, Sale, id, money, money_of, user,
};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::domain::sale::payment::PaymentState;
use crate::store::sales::refunds::STOP_RESTS_MS;
use crate::store::sales::{AwaitBuyer, Elsewhere, Instead, RefundState, SalesError, Settle};

const SEAT: &str = "s1-r1-1";

/// A payment by `ann` that goes back; the intent.
async fn owed(sale: &Sale) -> ResourceId {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &[SEAT]).await.unwrap();
    let intent = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&intent, Succeeded).await;
    sale.cancel("ann", &held.id).await.unwrap();
    intent
}

async fn refund_of(sale: &Sale, state: RefundState) -> ResourceId {
    let open = sale.store().open_refunds(10).await.unwrap();
    assert_eq!((open.len(), open[0].state), (1, state));
    assert_eq!((&open[0].user, open[0].amount), (&user("ann"), money(100)));
    open[0].id.clone()
}

async fn payment_state(sale: &Sale, intent: &ResourceId) -> PaymentState {
    let payment = sale.store().payment(user("ann"), intent.clone()).await;
    payment.unwrap().state
}

pub async fn a_provider_is_asked_about_its_own_alone(sale: &Sale) {
    let store = sale.store();
    owed(sale).await;
    let performance = sale.performance().await;
    let held = sale.hold("bob", &performance, &[SEAT]).await.unwrap();
    sale.begin("bob", &held.id).await.unwrap();
    sale.advance_ms(LOOK_AFTER_MS).await;
    assert!(store.due_intents("other", 10).await.unwrap().is_empty());
    assert!(store.due_refunds("other", 10).await.unwrap().is_empty());
    let theirs = Elsewhere {
        provider: Some(PROVIDER.to_owned()),
        intents: 1,
        refunds: 1,
    };
    for provider in [Some("other"), None] {
        let unsettled = store.unsettled(provider).await.unwrap();
        assert_eq!((unsettled.intents, unsettled.refunds), (0, 0));
        assert_eq!(unsettled.elsewhere, std::slice::from_ref(&theirs));
        assert_eq!(unsettled.check().violations.len(), 1);
    }
    let own = store.unsettled(Some(PROVIDER)).await.unwrap();
    assert_eq!((own.intents, own.refunds, own.elsewhere.len()), (1, 1, 0));
    assert!(own.check().violations.is_empty());
    assert_eq!(store.adopt("other".to_owned()).await, Ok(0), "all are its");
    assert_eq!(store.due_intents(PROVIDER, 10).await.unwrap().len(), 1);
    assert_eq!(store.due_refunds(PROVIDER, 10).await.unwrap().len(), 1);
}

pub async fn another_amount_sells_nothing_and_goes_back(sale: &Sale) {
    let performance = sale.performance().await;
    for (taken, was_declined) in [
        (money(1), false),
        (money(250), true),
        (money_of("EUR", 7), false),
    ] {
        let held = sale.hold("ann", &performance, &[SEAT]).await.unwrap();
        let intent = sale.begin("ann", &held.id).await.unwrap();
        if was_declined {
            sale.settle(&intent, Declined).await;
        }
        let other = Settle {
            taken: Some(taken),
            ..sale.settling(&intent, Succeeded)
        };
        for _ in 0..2 {
            let settled = sale.store().settle(other.clone()).await.unwrap();
            assert_eq!(settled.intent.state, Declined);
            assert_eq!((settled.intent.taken, settled.changed), (Some(taken), None));
        }
        // What is told later changes nothing: the first counts.
        let later = sale.settle(&intent, Succeeded).await;
        assert_eq!(later.intent.state, Declined);
        assert_eq!(payment_state(sale, &intent).await, PaymentState::Declined);
        assert_eq!(sale.state(&performance, SEAT).await, SeatState::Held);
        sale.assert_clean_audit("another amount").await;
        let owed = sale.store().due_refunds(PROVIDER, 10).await.unwrap();
        assert_eq!((owed.len(), owed[0].amount), (1, taken));
        sale.store().refund_done(owed[0].id.clone()).await.unwrap();
        sale.assert_clean_audit("another amount, back").await;
        assert_eq!(payment_state(sale, &intent).await, PaymentState::Declined);
        sale.cancel("ann", &held.id).await.unwrap();
    }
    let top_up = sale.begin_top_up("ann", 50).await.unwrap();
    let other = Settle {
        taken: Some(money(5)),
        ..sale.settling(&top_up, Succeeded)
    };
    sale.store().settle(other).await.unwrap();
    assert_eq!(sale.balance("ann").await, 0);
    assert_eq!(
        sale.store().due_refunds(PROVIDER, 10).await.unwrap().len(),
        1
    );
}

pub async fn an_intent_waits_for_its_buyer_until_its_hold_ends(sale: &Sale) {
    let store = sale.store();
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &[SEAT]).await.unwrap();
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let asks = AwaitBuyer {
        intent: intent.clone(),
        provider_id: format!("pi-{intent}"),
        action_url: "https://bank.example/1".to_owned(),
    };
    store.await_buyer(asks.clone()).await.unwrap();
    let shown = store.payment(user("ann"), intent.clone()).await.unwrap();
    let url = Some(asks.action_url.clone());
    assert_eq!(
        (shown.state, &shown.action_url),
        (PaymentState::Pending, &url)
    );
    // It is looked at, and not given up.
    sale.advance_ms(1_000).await;
    let due = store.due_intents(PROVIDER, 10).await.unwrap();
    assert_eq!((due.len(), &due[0].action_url), (1, &url));
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS - 1_001).await;
    let last = store.due_intents(PROVIDER, 10).await.unwrap();
    assert_eq!((last.len(), &last[0].action_url), (1, &url));
    sale.advance_ms(1).await;
    let over = store.due_intents(PROVIDER, 10).await.unwrap();
    assert_eq!((over.len(), &over[0].action_url), (1, &None));
    assert_eq!(
        over[0].provider_id.as_deref(),
        Some(asks.provider_id.as_str())
    );
    sale.settle(&intent, Declined).await;
    store.await_buyer(asks).await.unwrap();
    let shown = store.payment(user("ann"), intent).await.unwrap();
    assert_eq!(
        (shown.state, shown.action_url),
        (PaymentState::Declined, None)
    );
}

pub async fn a_user_has_few_undecided_intents(sale: &Sale) {
    let mut intents = Vec::new();
    for _ in 0..4 {
        intents.push(sale.begin_top_up("ann", 5).await.unwrap());
    }
    let busy = Err(SalesError::PaymentInProgress);
    assert_eq!(sale.begin_top_up("ann", 5).await, busy);
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &[SEAT]).await.unwrap();
    assert_eq!(sale.begin("ann", &held.id).await, busy);
    sale.begin_top_up("bob", 5).await.unwrap();
    sale.settle(&intents[0], Declined).await;
    sale.begin("ann", &held.id).await.unwrap();
}

pub async fn a_refused_refund_is_tried_again_or_closed_once(sale: &Sale) {
    let store = sale.store();
    for instead in [Instead::Wallet, Instead::ByHand] {
        let before = sale.balance("ann").await;
        let intent = owed(sale).await;
        let refund = refund_of(sale, RefundState::Pending).await;
        let close = || store.close_refund(refund.clone(), instead);
        assert_eq!(close().await, Ok(false), "it may still be made");
        assert_eq!(store.retry_refund(refund.clone()).await, Ok(false));
        store.refund_refused(refund.clone()).await.unwrap();
        assert_eq!(refund_of(sale, RefundState::Refused).await, refund);
        assert_eq!(store.unsettled(Some(PROVIDER)).await.unwrap().refused, 1);
        sale.advance_ms(86_400_000).await;
        assert!(store.due_refunds(PROVIDER, 10).await.unwrap().is_empty());
        sale.assert_clean_audit("a refused refund").await;
        assert_eq!(payment_state(sale, &intent).await, PaymentState::Refunding);

        assert_eq!(store.retry_refund(refund.clone()).await, Ok(true));
        let again = store.due_refunds(PROVIDER, 10).await.unwrap();
        assert_eq!((again.len(), again[0].tries), (1, 1));
        assert_eq!(store.stop_refund(refund.clone()).await, Ok(true));
        assert_eq!(close().await, Ok(false), "a call may be under way");
        sale.advance_ms(STOP_RESTS_MS).await;
        assert_eq!(close().await, Ok(true));
        assert_eq!(close().await, Ok(false), "once");
        // Made all the same, and heard of late.
        store.refund_done(refund.clone()).await.unwrap();
        assert!(store.open_refunds(10).await.unwrap().is_empty());
        assert_eq!(payment_state(sale, &intent).await, PaymentState::Refunded);
        let into_wallet = if instead == Instead::Wallet { 100 } else { 0 };
        assert_eq!(sale.balance("ann").await, before + into_wallet);
        sale.assert_clean_audit("a closed refund").await;
    }
    assert_eq!(
        store.close_refund(id("unknown"), Instead::ByHand).await,
        Ok(false)
    );
}

pub async fn a_refund_that_was_made_all_the_same_is_done(sale: &Sale) {
    let intent = owed(sale).await;
    let refund = refund_of(sale, RefundState::Pending).await;
    assert_eq!(sale.store().stop_refund(refund.clone()).await, Ok(true));
    sale.store().refund_done(refund.clone()).await.unwrap();
    assert_eq!(payment_state(sale, &intent).await, PaymentState::Refunded);
    sale.advance_ms(STOP_RESTS_MS).await;
    let closed = sale.store().close_refund(refund, Instead::Wallet).await;
    assert_eq!((closed, sale.balance("ann").await), (Ok(false), 0));
}
