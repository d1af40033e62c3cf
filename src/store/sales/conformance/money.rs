//! Wallets, payments, refunds.

use super::fixture::{PRICE_MINOR, Sale, id, money, money_of, section, user};
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::ReservationState;
use crate::domain::sale::ledger::EntryKind;
use crate::domain::sale::payment::PaymentState;
use crate::store::sales::{Deposit, Page, RefundPayment, SalesError};

pub async fn a_top_up_is_between_one_and_the_cap(sale: &Sale) {
    let store = sale.store();
    for bad in [0, -1, i64::MIN, i64::MAX, 1_000_001] {
        let refused = store.top_up(sale.deposit("ann", money(bad))).await;
        let max_minor = 1_000_000;
        assert_eq!(
            refused,
            Err(SalesError::AmountOutOfRange { max_minor }),
            "{bad}"
        );
    }
    for _ in 0..2 {
        sale.top_up("ann", 1_000_000).await;
    }
    let full = store.top_up(sale.deposit("ann", money(1))).await;
    assert_eq!(full, Err(SalesError::AmountOutOfRange { max_minor: 0 }));
    assert_eq!(sale.balance("ann").await, 2_000_000);

    let deposit = Deposit {
        once: sale.once("admin"),
        reason: "sorry".to_owned(),
        ..sale.deposit("bob", money(7))
    };
    let entry = store.credit(deposit).await.unwrap();
    assert_eq!((entry.kind, entry.amount), (EntryKind::Credit, money(7)));
    assert_eq!(entry.reason, "sorry");
    assert_eq!(sale.balance("bob").await, 7);
}

pub async fn only_what_the_wallet_has_is_spent(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let command = sale.paying("ann", &held.id);
    let store = sale.store();
    let poor = Err(SalesError::InsufficientFunds);
    assert_eq!(store.pay_reservation(command.clone()).await, poor);
    sale.top_up("ann", PRICE_MINOR - 1).await;
    assert_eq!(store.pay_reservation(command.clone()).await, poor);
    assert_eq!(sale.state(&performance, "s1-r1-1").await, SeatState::Held);
    sale.top_up("ann", 1).await;
    // The refusal was not kept: the same key may be tried again.
    store.pay_reservation(command).await.unwrap();
    assert_eq!(sale.balance("ann").await, 0);
}

pub async fn a_paid_reservation_is_paid_once(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1", "s1-r1-2"]);
    let held = held.await.unwrap();
    let paid = sale.pay("ann", &held.id).await.unwrap();
    assert_eq!(paid.payment.state, PaymentState::Succeeded);
    assert_eq!(paid.payment.amount, money(2 * PRICE_MINOR));
    assert_eq!(
        sale.pay("ann", &held.id).await,
        Err(SalesError::AlreadyPaid)
    );
    let extended = sale.store().extend_hold(user("ann"), held.id.clone()).await;
    assert_eq!(extended, Err(SalesError::AlreadyPaid));
    assert_eq!(sale.balance("ann").await, 1_000 - 2 * PRICE_MINOR);
    let seen = sale
        .store()
        .reservation(user("ann"), held.id)
        .await
        .unwrap();
    assert_eq!(seen.payment, Some(paid.payment.id));
    let serials: Vec<u64> = seen.tickets.iter().map(|ticket| ticket.serial).collect();
    assert_eq!(serials, [1, 1]);
}

pub async fn a_cancellation_refunds_and_voids(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let paid = sale.pay("ann", &held.id).await.unwrap();
    let cancelled = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(cancelled.refunded, Some(money(PRICE_MINOR)));
    assert_eq!(cancelled.reservation.state, ReservationState::Cancelled);
    assert!(cancelled.reservation.tickets.is_empty());
    assert_eq!(sale.balance("ann").await, 1_000);
    assert_eq!(
        sale.state(&performance, "s1-r1-1").await,
        SeatState::Available
    );
    let payment = sale.store().payment(user("ann"), paid.payment.id).await;
    let payment = payment.unwrap();
    assert_eq!(payment.state, PaymentState::Refunded);
    assert_eq!(payment.refunded, payment.amount);

    let again = sale.cancel("ann", &held.id).await.unwrap();
    assert_eq!(again.refunded, None);
    assert_eq!(
        sale.pay("ann", &held.id).await,
        Err(SalesError::HoldExpired)
    );
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn a_resold_seat_has_a_higher_serial(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    for serial in 1..=3 {
        let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
        sale.pay("ann", &held.id).await.unwrap();
        let seen = sale.store().reservation(user("ann"), held.id.clone()).await;
        assert_eq!(seen.unwrap().tickets[0].serial, serial);
        if serial < 3 {
            sale.cancel("ann", &held.id).await.unwrap();
        }
    }
}

pub async fn refunds_never_exceed_the_payment(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let payment = sale.pay("ann", &held.id).await.unwrap().payment.id;
    let store = sale.store();
    let give = |amount: i64| store.refund_payment(sale.refunding(&payment, Some(money(amount))));

    for bad in [0, -1, i64::MIN, PRICE_MINOR + 1] {
        let refused = give(bad).await;
        let max_minor = PRICE_MINOR;
        assert_eq!(
            refused,
            Err(SalesError::AmountOutOfRange { max_minor }),
            "{bad}"
        );
    }
    let euros = sale.refunding(&payment, Some(money_of("EUR", 1)));
    let expected = money(0).currency;
    assert_eq!(
        store.refund_payment(euros).await,
        Err(SalesError::CurrencyMismatch { expected })
    );
    let partly = give(30).await.unwrap().payment;
    assert_eq!(
        (partly.state, partly.refunded),
        (PaymentState::Succeeded, money(30))
    );
    assert!(give(PRICE_MINOR - 29).await.is_err());
    // A part is money only: the seat stays sold.
    assert_eq!(sale.state(&performance, "s1-r1-1").await, SeatState::Sold);
    let rest = store.refund_payment(sale.refunding(&payment, None)).await;
    assert_eq!(rest.unwrap().payment.state, PaymentState::Refunded);
    assert!(give(1).await.is_err());
    assert_eq!(sale.balance("ann").await, 1_000);

    let nothing = sale.refunding(&id("nothing"), None);
    assert_eq!(
        store.refund_payment(nothing).await,
        Err(SalesError::NotFound)
    );
    let silent = RefundPayment {
        reason: String::new(),
        ..sale.refunding(&payment, None)
    };
    let refused = store.refund_payment(silent).await;
    assert!(matches!(refused, Err(SalesError::Field(_))));
}

pub async fn a_refund_of_all_takes_back_seats_and_tickets(sale: &Sale) {
    let performance = sale
        .performance_with(|terms| terms.sections = vec![section("A", PRICE_MINOR, &[1])])
        .await
        .id;
    let room = sale.protect(&performance).await;
    let pass = sale.activate(&room, "ann", 0, 300_000).await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold_with("ann", &performance, &["s1-r1-1"], pass);
    let held = held.await.unwrap();
    let payment = sale.pay("ann", &held.id).await.unwrap().payment.id;
    let store = sale.store();
    let part = sale.refunding(&payment, Some(money(30)));
    assert_eq!(store.refund_payment(part).await.unwrap().changed, None);
    let seen = store.reservation(user("ann"), held.id.clone()).await;
    assert_eq!(seen.unwrap().tickets.len(), 1);

    let rest = sale.refunding(&payment, None);
    let refunded = store.refund_payment(rest.clone()).await.unwrap();
    let changed = refunded.changed.clone().unwrap();
    // Sold out no longer.
    assert_eq!(changed.recheck_sold_out, Some(room.id));
    let seen = store.reservation(user("ann"), held.id.clone()).await;
    let seen = seen.unwrap();
    assert_eq!(seen.state, ReservationState::Cancelled);
    assert!(seen.tickets.is_empty());
    let state = sale.state(&performance, "s1-r1-1").await;
    assert_eq!(state, SeatState::Available);
    assert_eq!(store.refund_payment(rest).await, Ok(refunded), "a repeat");
    assert_eq!(sale.cancel("ann", &held.id).await.unwrap().refunded, None);
    assert_eq!(sale.balance("ann").await, 1_000);
}

pub async fn a_cancellation_gives_back_what_is_left(sale: &Sale) {
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let store = sale.store();
    for (given, left) in [(40, Some(money(PRICE_MINOR - 40))), (PRICE_MINOR, None)] {
        let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
        let payment = sale.pay("ann", &held.id).await.unwrap().payment.id;
        let refund = sale.refunding(&payment, Some(money(given)));
        store.refund_payment(refund).await.unwrap();
        let cancelled = sale.cancel("ann", &held.id).await.unwrap();
        assert_eq!(cancelled.refunded, left);
        assert_eq!(sale.balance("ann").await, 1_000);
    }
}

pub async fn the_price_is_the_one_of_the_hold(sale: &Sale) {
    let made = sale
        .performance_with(|terms| {
            terms.sections = vec![section("A", 300, &[1]), section("B", 50, &[1])];
        })
        .await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &made.id, &["s1-r1-1", "s2-r1-1"]).await;
    let held = held.unwrap();
    let prices: Vec<i64> = held.seats.iter().map(|s| s.price.amount_minor).collect();
    assert_eq!(prices, [300, 50]);
    assert_eq!(held.total, money(350));
    let paid = sale.pay("ann", &held.id).await.unwrap();
    assert_eq!(paid.payment.amount, money(350));
    assert_eq!(sale.balance("ann").await, 650);
}

pub async fn wallets_have_one_balance_per_currency(sale: &Sale) {
    let store = sale.store();
    sale.top_up("ann", 10).await;
    sale.top_up("bob", 5).await;
    let euros = sale.deposit("ann", money_of("EUR", 20));
    store.top_up(euros).await.unwrap();
    assert_eq!(sale.balance("ann").await, 10);
    let currency = money_of("EUR", 0).currency;
    let balance = store.balance(user("ann"), currency).await;
    assert_eq!(balance, Ok(money_of("EUR", 20)));
    let page = Page::new(10, None);
    let entries = store.wallet_entries(user("ann"), currency, page).await;
    let entries = entries.unwrap().items;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].balance_after, money_of("EUR", 20));
    assert_eq!(sale.balance("nobody").await, 0);
}
