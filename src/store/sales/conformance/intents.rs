//! Money through a payment provider.

use futures_util::future::join_all;

use super::fixture::{
    EXTEND_MS, HOLD_TTL_MS, LOOK_AFTER_MS, PRICE_MINOR, PROVIDER, Sale, id, money, section, user,
};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::intent::IntentState::{Declined, Pending, Succeeded};
use crate::domain::sale::payment::{Payment, PaymentMethod, PaymentState};
use crate::store::sales::{
    BeginPayment, CancelPerformance, GatewayEvent, SalesError, Settle, Unsettled, WindUp,
};

const SEAT: &str = "s1-r1-1";

async fn held(sale: &Sale, who: &str) -> (ResourceId, Reservation) {
    let performance = sale.performance().await;
    let held = sale.hold(who, &performance, &[SEAT]).await.unwrap();
    (performance, held)
}

async fn payment(sale: &Sale, who: &str, id: &ResourceId) -> Payment {
    let payment = sale.store().payment(user(who), id.clone()).await;
    payment.unwrap()
}

async fn reservation(sale: &Sale, who: &str, id: &ResourceId) -> Reservation {
    let found = sale.store().reservation(user(who), id.clone()).await;
    found.unwrap()
}

/// All that is owed, told as done.
pub(super) async fn make_refunds(sale: &Sale) -> u64 {
    let mut made = 0;
    for refund in sale.store().due_refunds(PROVIDER, 100).await.unwrap() {
        assert_eq!(refund.provider_id, format!("pi-{}", refund.intent));
        made += u64::try_from(refund.amount.amount_minor).unwrap();
        // Told twice: the answer may have been lost.
        for _ in 0..2 {
            sale.store().refund_done(refund.id.clone()).await.unwrap();
        }
    }
    made
}

pub async fn an_intent_holds_off_everyone_until_it_is_decided(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    sale.top_up("ann", 1_000).await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let paying = payment(sale, "ann", &intent).await;
    assert_eq!(
        (paying.state, paying.method, paying.amount),
        (
            PaymentState::Pending,
            PaymentMethod::Gateway,
            money(PRICE_MINOR)
        )
    );
    let seen = reservation(sale, "ann", &held.id).await;
    assert_eq!(seen.payment, Some(intent.clone()));
    sale.assert_clean_audit("an intent").await;

    let busy = Err(SalesError::PaymentInProgress);
    assert_eq!(sale.begin("ann", &held.id).await, busy);
    assert_eq!(
        sale.pay("ann", &held.id).await,
        Err(SalesError::PaymentInProgress)
    );
    assert_eq!(
        sale.cancel("ann", &held.id).await,
        Err(SalesError::PaymentInProgress)
    );
    let refund = sale.refunding(&intent, None);
    assert!(sale.store().refund_payment(refund).await.is_err());
    // Of another's nothing is told.
    assert_eq!(sale.begin("bob", &held.id).await, Err(SalesError::NotFound));
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Held);
    sale.settle(&intent, Declined).await;
    sale.pay("ann", &held.id).await.unwrap();
    let late = sale.begin("ann", &held.id).await;
    assert_eq!(late, Err(SalesError::AlreadyPaid));
}

pub async fn an_intent_is_begun_once(sale: &Sale) {
    let (_, held) = held(sale, "ann").await;
    let command = sale.beginning("ann", &held.id);
    let store = sale.store();
    let calls = (0..20).map(|_| {
        store.begin_payment(BeginPayment {
            id: id(&sale.fresh()),
            ..command.clone()
        })
    });
    let begun: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(begun.iter().filter(|begun| begun.is_new).count(), 1);
    let first = &begun[0].intent.id;
    assert!(begun.iter().all(|begun| begun.intent.id == *first));
    let other = BeginPayment {
        token: "other".to_owned(),
        ..command.clone()
    };
    let reused = store.begin_payment(other).await;
    assert_eq!(reused, Err(SalesError::IdempotencyKeyReused));
    // A declined key stays declined.
    sale.settle(first, Declined).await;
    let again = store.begin_payment(command).await.unwrap();
    assert_eq!((again.intent.state, again.is_new), (Declined, false));
}

pub async fn only_the_first_intent_makes_the_hold_longer(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let longer = held.expires_at.plus_ms(EXTEND_MS);
    for _ in 0..3 {
        let intent = sale.begin("ann", &held.id).await.unwrap();
        let seen = reservation(sale, "ann", &held.id).await;
        assert_eq!((seen.expires_at, seen.extended), (longer, false));
        let seat = sale.seat(&performance, SEAT).await;
        assert_eq!(seat.held_until, Some(longer));
        sale.settle(&intent, Declined).await;
    }
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
    assert_eq!(
        sale.begin("ann", &held.id).await,
        Err(SalesError::HoldExpired)
    );
}

pub async fn money_that_came_in_time_buys_the_seats(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS - 1).await;
    let settled = sale.settle(&intent, Succeeded).await;
    assert_eq!(settled.payment.unwrap().state, PaymentState::Succeeded);
    assert_eq!(settled.changed.unwrap().performance, performance);
    let seen = reservation(sale, "ann", &held.id).await;
    assert_eq!(seen.state, ReservationState::Confirmed);
    assert_eq!(
        (seen.tickets.len(), seen.payment),
        (1, Some(intent.clone()))
    );
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
    // No wallet has a part in it.
    assert_eq!(sale.balance("ann").await, 0);
    for outcome in [Succeeded, Declined] {
        let again = sale.settle(&intent, outcome).await;
        assert_eq!((again.intent.state, again.changed), (Succeeded, None));
    }
    assert_eq!(
        payment(sale, "ann", &intent).await.state,
        PaymentState::Succeeded
    );
}

pub async fn a_payment_by_a_gateway_completes_the_pass(sale: &Sale) {
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("A", PRICE_MINOR, &[1])])
        .await;
    let room = sale.protect(&made.id).await;
    let pass = sale.activate(&room, "ann", 0, 300_000).await;
    let held = sale
        .hold_with("ann", &made.id, &[SEAT], pass)
        .await
        .unwrap();
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let settled = sale.settle(&intent, Succeeded).await;
    assert_eq!(settled.completed.unwrap().activation, pass);
    assert_eq!(settled.changed.unwrap().recheck_sold_out, Some(room.id));
}

pub async fn a_declined_intent_leaves_the_hold(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let settled = sale.settle(&intent, Declined).await;
    assert_eq!(settled.payment.unwrap().state, PaymentState::Declined);
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Held);
    let seen = reservation(sale, "ann", &held.id).await;
    assert_eq!(
        (seen.state, seen.payment),
        (ReservationState::Held, Some(intent))
    );
    let second = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&second, Succeeded).await;
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
}

pub async fn late_money_gets_its_seats_if_they_are_free(sale: &Sale) {
    for is_swept in [false, true] {
        let (performance, held) = held(sale, "ann").await;
        let intent = sale.begin("ann", &held.id).await.unwrap();
        sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
        // Someone else had them meanwhile, and does not any more.
        let other = sale.hold("bob", &performance, &[SEAT]).await.unwrap();
        sale.advance_ms(HOLD_TTL_MS).await;
        if is_swept {
            sale.sweep_all().await;
        }
        let settled = sale.settle(&intent, Succeeded).await;
        assert_eq!(settled.payment.unwrap().state, PaymentState::Succeeded);
        let seen = reservation(sale, "ann", &held.id).await;
        assert_eq!(
            (seen.state, seen.tickets.len()),
            (ReservationState::Confirmed, 1)
        );
        assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
        let lost = reservation(sale, "bob", &other.id).await;
        assert_eq!(lost.state, ReservationState::Expired);
        assert_eq!(make_refunds(sale).await, 0);
        sale.assert_clean_audit("late money").await;
    }
}

pub async fn late_money_goes_back_if_they_are_not(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
    sale.hold("bob", &performance, &[SEAT]).await.unwrap();
    let settled = sale.settle(&intent, Succeeded).await;
    let late = settled.payment.unwrap();
    assert_eq!(
        (late.state, late.refunded),
        (PaymentState::Refunding, late.amount)
    );
    assert_eq!(settled.changed, None);
    sale.assert_clean_audit("money that goes back").await;
    assert_eq!(payment(sale, "ann", &intent).await, late);
    let seen = reservation(sale, "ann", &held.id).await;
    assert_eq!(seen.state, ReservationState::Expired);
    // Nobody gives it back another time.
    assert!(
        sale.store()
            .refund_payment(sale.refunding(&intent, None))
            .await
            .is_err()
    );
    assert_eq!(make_refunds(sale).await, 100);
    assert_eq!(make_refunds(sale).await, 0);
    assert_eq!(
        payment(sale, "ann", &intent).await.state,
        PaymentState::Refunded
    );
    assert_eq!(sale.balance("ann").await, 0);
}

pub async fn late_money_goes_back_beyond_a_users_limit(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
    let others = ["s1-r2-1", "s1-r2-2", "s1-r2-3", "s1-r2-4"];
    sale.hold("ann", &performance, &others).await.unwrap();
    let settled = sale.settle(&intent, Succeeded).await;
    assert_eq!(settled.payment.unwrap().state, PaymentState::Refunding);
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Available);
}

pub async fn money_after_a_decline_goes_back(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let declined = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&declined, Declined).await;
    let second = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&second, Succeeded).await;
    let settled = sale.settle(&declined, Succeeded).await;
    assert_eq!(settled.payment.unwrap().state, PaymentState::Refunding);
    sale.assert_clean_audit("two captures").await;
    assert_eq!(make_refunds(sale).await, 100);
    assert_eq!(
        payment(sale, "ann", &declined).await.state,
        PaymentState::Refunded
    );
    assert_eq!(
        payment(sale, "ann", &second).await.state,
        PaymentState::Succeeded
    );
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
    // Before anyone paid, too: its buyer was told that nothing was.
    let (performance, held) = self::held(sale, "bob").await;
    let declined = sale.begin("bob", &held.id).await.unwrap();
    sale.settle(&declined, Declined).await;
    sale.settle(&declined, Succeeded).await;
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Held);
    assert_eq!(make_refunds(sale).await, 100);
}

pub async fn refunds_go_back_where_the_money_came_from(sale: &Sale) {
    let (performance, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    sale.settle(&intent, Succeeded).await;
    let part = sale.refunding(&intent, Some(money(30)));
    let given = sale.store().refund_payment(part).await.unwrap();
    assert_eq!(
        (given.payment.state, given.payment.refunded),
        (PaymentState::Refunding, money(30))
    );
    sale.assert_clean_audit("a refund on its way").await;
    assert_eq!(make_refunds(sale).await, 30);
    assert_eq!(
        payment(sale, "ann", &intent).await.state,
        PaymentState::Succeeded
    );
    assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
    let second = sale.refunding(&intent, Some(money(20)));
    sale.store().refund_payment(second).await.unwrap();
    let cancelled = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(cancelled.refunded, Some(money(50)));
    // One of two is done: it is still on its way.
    let owed = sale.store().due_refunds(PROVIDER, 100).await.unwrap();
    assert_eq!(owed.len(), 2);
    sale.store().refund_done(owed[0].id.clone()).await.unwrap();
    assert_eq!(
        payment(sale, "ann", &intent).await.state,
        PaymentState::Refunding
    );
    sale.assert_clean_audit("one of two refunds").await;
    sale.store().refund_done(owed[1].id.clone()).await.unwrap();
    assert_eq!(
        payment(sale, "ann", &intent).await.state,
        PaymentState::Refunded
    );
    assert_eq!(sale.balance("ann").await, 0);
}

pub async fn an_event_is_taken_once(sale: &Sale) {
    let (_, held) = held(sale, "ann").await;
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let event = |id: &str| GatewayEvent {
        provider: "gateway".to_owned(),
        id: id.to_owned(),
    };
    let told = |outcome, id: &str| Settle {
        event: Some(event(id)),
        ..sale.settling(&intent, outcome)
    };
    let store = sale.store();
    let calls = (0..10).map(|_| store.settle(told(Declined, "evt-1")));
    for settled in join_all(calls).await {
        assert_eq!(settled.unwrap().intent.state, Declined);
    }
    // The same event with other words: it was taken already.
    let replayed = store.settle(told(Succeeded, "evt-1")).await.unwrap();
    assert_eq!(replayed.intent.state, Declined);
    let other = store.settle(told(Succeeded, "evt-2")).await.unwrap();
    assert_eq!(other.intent.state, Succeeded);
    // One that could not be taken may come again.
    let unknown = Settle {
        intent: id("unknown"),
        ..told(Succeeded, "evt-3")
    };
    assert_eq!(
        store.settle(unknown.clone()).await,
        Err(SalesError::NotFound)
    );
    assert_eq!(store.settle(unknown).await, Err(SalesError::NotFound));
}

pub async fn what_nobody_told_is_due_after_a_while(sale: &Sale) {
    let (_, held) = held(sale, "ann").await;
    let store = sale.store();
    let intent = sale.begin("ann", &held.id).await.unwrap();
    let due = || async { store.due_intents(PROVIDER, 10).await.unwrap().len() };
    assert_eq!(due().await, 0);
    sale.advance_ms(LOOK_AFTER_MS).await;
    let found = store.due_intents(PROVIDER, 10).await.unwrap();
    assert_eq!(
        (found.len(), &found[0].id, found[0].state),
        (1, &intent, Pending)
    );
    for pause_ms in [1_000, 2_000, 4_000] {
        assert_eq!(due().await, 0, "it was just asked");
        sale.advance_ms(pause_ms - 1).await;
        assert_eq!(due().await, 0);
        sale.advance_ms(1).await;
        assert_eq!(due().await, 1, "{pause_ms}");
    }
    let one = Unsettled {
        intents: 1,
        ..Unsettled::default()
    };
    assert_eq!(store.unsettled(Some(PROVIDER)).await, Ok(one));
    sale.settle(&intent, Declined).await;
    sale.advance_ms(600_000).await;
    assert_eq!(due().await, 0);
    sale.settle(&intent, Succeeded).await;
    assert_eq!(store.due_refunds(PROVIDER, 10).await.unwrap().len(), 1);
    assert_eq!(store.due_refunds(PROVIDER, 10).await.unwrap().len(), 0);
    sale.advance_ms(1_000).await;
    assert_eq!(store.due_refunds(PROVIDER, 10).await.unwrap().len(), 1);
    let one = Unsettled {
        refunds: 1,
        ..Unsettled::default()
    };
    assert_eq!(store.unsettled(Some(PROVIDER)).await, Ok(one));
}

pub async fn of_outcomes_at_once_the_first_counts(sale: &Sale) {
    for round in 0..10 {
        let (performance, held) = held(sale, "ann").await;
        let intent = sale.begin("ann", &held.id).await.unwrap();
        if round % 2 == 1 {
            sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
        }
        let settling = sale.settling(&intent, Succeeded);
        let store = sale.store();
        let outcomes = join_all((0..8).map(|_| store.settle(settling.clone())));
        let (outcomes, swept) = tokio::join!(outcomes, store.sweep(10));
        swept.unwrap();
        let took = outcomes.into_iter().map(Result::unwrap);
        assert_eq!(took.filter(|settled| settled.changed.is_some()).count(), 1);
        assert_eq!(sale.state(&performance, SEAT).await, SeatState::Sold);
    }
}

pub async fn a_cancelled_performance_gives_back_to_the_provider(sale: &Sale) {
    let (performance, bought) = held(sale, "ann").await;
    let paid = sale.begin("ann", &bought.id).await.unwrap();
    sale.settle(&paid, Succeeded).await;
    let mut pending = Vec::new();
    for (who, seat) in [("bob", "s1-r1-2"), ("cid", "s1-r1-3")] {
        let held = sale.hold(who, &performance, &[seat]).await.unwrap();
        pending.push(sale.begin(who, &held.id).await.unwrap());
    }
    let store = sale.store();
    let cancelled = store.cancel_performance(CancelPerformance {
        once: sale.once("admin"),
        performance: performance.clone(),
        reason: "rain".to_owned(),
    });
    cancelled.await.unwrap();
    // Its hold is still there, and not for sale.
    let early = sale.settle(&pending[0], Succeeded).await;
    assert_eq!(early.payment.unwrap().state, PaymentState::Refunding);
    sale.assert_clean_audit("money for a cancelled performance")
        .await;
    let step = WindUp {
        performance,
        reservations_max: 10,
        event: None,
    };
    assert!(!store.wind_up(step).await.unwrap().more);
    let late = sale.settle(&pending[1], Succeeded).await;
    assert_eq!(late.payment.unwrap().state, PaymentState::Refunding);
    let given_back = payment(sale, "ann", &paid).await;
    assert_eq!(given_back.state, PaymentState::Refunding);
    sale.assert_clean_audit("refunds on their way").await;
    assert_eq!(make_refunds(sale).await, 300);
    assert_eq!(sale.balance("ann").await, 0);
}

pub async fn late_money_and_another_hold_never_share_a_seat(sale: &Sale) {
    for _ in 0..10 {
        let (performance, held) = held(sale, "ann").await;
        let intent = sale.begin("ann", &held.id).await.unwrap();
        sale.advance_ms(HOLD_TTL_MS + EXTEND_MS).await;
        let (settled, other) = tokio::join!(
            sale.settle(&intent, Succeeded),
            sale.hold("bob", &performance, &[SEAT])
        );
        let state = settled.payment.unwrap().state;
        match other {
            Ok(_) => assert_eq!(state, PaymentState::Refunding),
            Err(SalesError::SeatUnavailable { .. }) => assert_eq!(state, PaymentState::Succeeded),
            Err(error) => panic!("{error:?}"),
        }
        sale.assert_clean_audit("a race").await;
    }
}
