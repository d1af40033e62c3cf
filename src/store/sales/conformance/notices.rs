//! What users are told ahead of time.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::Value;

use super::fixture::{EXTEND_MS, HOLD_TTL_MS, Sale, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::IntentState::Declined;
use crate::domain::time::UnixMs;
use crate::store::sales::CancelPerformance;
use crate::store::sales::notices::{Notice, Noticed, PAY_SOON, REMINDER, Reminded};

const BEFORE_MS: u64 = 10_000;
/// Of the fixture's performances.
const STARTS_IN_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// All that is due, one at a time.
async fn ask(sale: &Sale) -> u64 {
    let (mut events, mut from) = (0, UnixMs(0));
    loop {
        let step = sale.store().pay_soon(BEFORE_MS, from, 1).await.unwrap();
        events += step.events;
        match step.next {
            Some(next) => from = next,
            None => return events,
        }
    }
}

/// All that is due, some tickets at a time.
async fn remind(sale: &Sale, before_ms: u64, tickets_max: u32) -> u64 {
    let (mut events, mut after) = (0, Reminded::default());
    loop {
        let step = sale.store().remind(before_ms, after, tickets_max).await;
        let Noticed { events: more, next } = step.unwrap();
        events += more;
        match next {
            Some(next) => after = next,
            None => return events,
        }
    }
}

async fn notices(sale: &Sale, of: &Reservation, kind: &str) -> Vec<Value> {
    let told = sale.told(&of.id).await.into_iter();
    told.filter(|event| event.kind == kind)
        .map(|event| serde_json::from_str(&event.payload).unwrap())
        .collect()
}

async fn bought(sale: &Sale, who: &str, performance: &ResourceId, seats: &[&str]) -> Reservation {
    sale.top_up(who, 1_000).await;
    let held = sale.hold(who, performance, seats).await.unwrap();
    sale.pay(who, &held.id).await.unwrap();
    held
}

async fn still_asks(sale: &Sale, of: &Reservation) -> bool {
    let reservation = of.id.clone();
    let store = sale.store();
    let still = store.still_is(Notice::PaySoon { reservation }).await;
    still.unwrap()
}

pub async fn a_hold_is_asked_for_once_before_it_ends(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let later = sale.performance().await;
    sale.advance_ms(HOLD_TTL_MS - BEFORE_MS - 1).await;
    let other = sale.hold("bob", &later, &["s1-r1-1"]).await.unwrap();
    assert_eq!(sale.store().has_pay_soon(BEFORE_MS).await, Ok(false));
    assert_eq!(ask(sale).await, 0);
    sale.advance_ms(1).await;
    assert_eq!(sale.store().has_pay_soon(BEFORE_MS).await, Ok(true));
    assert_eq!(ask(sale).await, 1);
    assert_eq!(sale.store().has_pay_soon(BEFORE_MS).await, Ok(false));
    assert_eq!(ask(sale).await, 0);
    let told = notices(sale, &held, PAY_SOON).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["hold_expires_at"], held.expires_at.0);
    assert_eq!(told[0]["seat_ids"][0], "s1-r1-1");
    assert_eq!(told[0]["user_id"], "ann");
    assert!(sale.told(&other.id).await.is_empty());
}

pub async fn a_hold_that_is_made_longer_is_asked_for_once(sale: &Sale) {
    let performance = sale.performance().await;
    let seats = [["s1-r1-1"], ["s1-r1-2"]];
    let mut held = Vec::new();
    for (who, seats) in ["ann", "bob"].into_iter().zip(&seats) {
        held.push(sale.hold(who, &performance, seats).await.unwrap());
    }
    let extend = async |who: &str, of: &Reservation| {
        let extended = sale.store().extend_hold(user(who), of.id.clone()).await;
        extended.unwrap().expires_at
    };
    sale.advance_ms(20_000).await;
    let until = extend("ann", &held[0]).await;
    sale.advance_ms(HOLD_TTL_MS - BEFORE_MS - 20_000).await;
    assert_eq!(ask(sale).await, 1, "bob's, not the longer one");
    let his = extend("bob", &held[1]).await;
    for (ends_at, asked) in [(until, 1), (his, 0)] {
        let left_ms = ends_at.0 - sale.now().await.0;
        sale.advance_ms(left_ms - BEFORE_MS).await;
        assert_eq!(ask(sale).await, asked);
    }
    for of in &held {
        assert_eq!(notices(sale, of, PAY_SOON).await.len(), 1);
    }
    let told = notices(sale, &held[0], PAY_SOON).await;
    assert_eq!(told[0]["hold_expires_at"], until.0);
}

pub async fn only_a_hold_that_waits_for_its_payment_is_asked_for(sale: &Sale) {
    let short = sale.performance_with(|terms| terms.hold_ttl_ms = BEFORE_MS);
    let (short, over) = (short.await.id, sale.performance().await);
    let performance = sale.performance().await;
    let gone = sale.hold("bob", &performance, &["s1-r1-2"]).await.unwrap();
    sale.cancel("bob", &gone.id).await.unwrap();
    bought(sale, "cat", &performance, &["s1-r1-3"]).await;
    let paying = sale.hold("dan", &performance, &["s1-r1-4"]).await.unwrap();
    let intent = sale.begin("dan", &paying.id).await.unwrap();
    sale.hold("eve", &over, &["s1-r1-1"]).await.unwrap();
    let cancel = CancelPerformance {
        once: sale.once("admin"),
        performance: over,
        reason: "rain".to_owned(),
    };
    sale.store().cancel_performance(cancel).await.unwrap();
    sale.advance_ms(HOLD_TTL_MS + EXTEND_MS - BEFORE_MS).await;
    sale.hold("fay", &short, &["s1-r1-1"]).await.unwrap();
    assert_eq!(ask(sale).await, 0);
    // Nobody decides about it any more, so its owner does.
    sale.settle(&intent, Declined).await;
    assert_eq!(ask(sale).await, 1);
    assert_eq!(notices(sale, &paying, PAY_SOON).await.len(), 1);
}

pub async fn a_request_to_pay_is_true_until_it_is_paid(sale: &Sale) {
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    assert!(still_asks(sale, &held).await);
    let intent = sale.begin("ann", &held.id).await.unwrap();
    assert!(!still_asks(sale, &held).await, "a provider is asked");
    sale.settle(&intent, Declined).await;
    assert!(still_asks(sale, &held).await);
    let left = sale.hold("bob", &performance, &["s1-r1-2"]).await.unwrap();
    sale.top_up("ann", 1_000).await;
    sale.pay("ann", &held.id).await.unwrap();
    assert!(!still_asks(sale, &held).await, "it is paid");
    sale.advance_ms(HOLD_TTL_MS).await;
    assert!(!still_asks(sale, &left).await, "it is over");
}

pub async fn who_has_tickets_is_reminded_once(sale: &Sale) {
    let near = sale.performance().await;
    let far = sale.performance_with(|terms| terms.starts_at = terms.starts_at.plus_ms(DAY_MS));
    let far = far.await.id;
    // The seats of one are apart.
    let hers = bought(sale, "ann", &near, &["s1-r1-1", "s1-r2-5"]).await;
    let his = bought(sale, "bob", &near, &["s1-r1-2"]).await;
    let held = sale.hold("cat", &near, &["s1-r1-3"]).await.unwrap();
    let later = bought(sale, "dan", &far, &["s1-r1-1"]).await;
    assert_eq!(
        sale.store().has_reminders(STARTS_IN_MS - 1_000_000).await,
        Ok(false)
    );
    assert_eq!(remind(sale, STARTS_IN_MS - 1_000_000, 2).await, 0);
    assert_eq!(sale.store().has_reminders(STARTS_IN_MS).await, Ok(true));
    assert_eq!(remind(sale, STARTS_IN_MS, 2).await, 2);
    assert_eq!(sale.store().has_reminders(STARTS_IN_MS).await, Ok(false));
    assert_eq!(remind(sale, STARTS_IN_MS, 2).await, 0);
    let starts_at = sale
        .store()
        .performance(near)
        .await
        .unwrap()
        .terms
        .starts_at;
    for of in [&hers, &his] {
        let told = notices(sale, of, REMINDER).await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["starts_at"], starts_at.0);
        assert_eq!(
            told[0]["seat_ids"].as_array().unwrap().len(),
            of.seats.len()
        );
    }
    for of in [&held, &later] {
        assert!(notices(sale, of, REMINDER).await.is_empty());
    }
    sale.advance_ms(DAY_MS).await;
    assert_eq!(remind(sale, STARTS_IN_MS, 100).await, 1);
    assert_eq!(notices(sale, &later, REMINDER).await.len(), 1);
}

pub async fn who_gave_tickets_back_is_not_reminded(sale: &Sale) {
    let performance = sale.performance().await;
    let gone = bought(sale, "ann", &performance, &["s1-r1-1"]).await;
    sale.cancel("ann", &gone.id).await.unwrap();
    let part = bought(sale, "bob", &performance, &["s1-r1-2", "s1-r1-3"]).await;
    sale.cancel_some("bob", &part.id, &["s1-r1-2"])
        .await
        .unwrap();
    let over = sale.performance().await;
    let refunded = bought(sale, "cat", &over, &["s1-r1-1"]).await;
    let cancel = CancelPerformance {
        once: sale.once("admin"),
        performance: over,
        reason: "rain".to_owned(),
    };
    sale.store().cancel_performance(cancel).await.unwrap();
    assert_eq!(remind(sale, DAY_MS, 1).await, 1);
    let told = notices(sale, &part, REMINDER).await;
    assert_eq!(told[0]["seat_ids"], serde_json::json!(["s1-r1-3"]));
    assert!(notices(sale, &refunded, REMINDER).await.is_empty());
}

pub async fn a_reminder_is_true_for_one_date(sale: &Sale) {
    let performance = sale.performance().await;
    let starts_at = sale.store().performance(performance.clone()).await;
    let starts_at = starts_at.unwrap().terms.starts_at;
    let bought = bought(sale, "ann", &performance, &["s1-r1-1"]).await;
    let still = async |starts_at: UnixMs| {
        let reservation = bought.id.clone();
        let notice = Notice::Reminder {
            reservation,
            starts_at,
        };
        sale.store().still_is(notice).await.unwrap()
    };
    assert!(still(starts_at).await);
    assert!(!still(starts_at.plus_ms(1)).await, "another date");
    sale.cancel("ann", &bought.id).await.unwrap();
    assert!(!still(starts_at).await, "no ticket");
}

pub async fn steps_at_once_leave_one_notice_each(sale: &Sale) {
    let performance = sale.performance().await;
    let mut all = Vec::new();
    for n in 1..=4 {
        let seat = format!("s1-r1-{n}");
        let who = format!("u{n}");
        all.push(match n {
            1 | 2 => bought(sale, &who, &performance, &[&seat]).await,
            _ => sale.hold(&who, &performance, &[&seat]).await.unwrap(),
        });
    }
    sale.advance_ms(HOLD_TTL_MS - BEFORE_MS).await;
    let store = sale.store();
    let asking = (0..4).map(|_| store.pay_soon(BEFORE_MS, UnixMs(0), 10));
    let reminding = (0..4).map(|_| store.remind(DAY_MS, Reminded::default(), 10));
    let (asked, reminded) = tokio::join!(join_all(asking), join_all(reminding));
    let asked: u64 = asked.into_iter().map(|step| step.unwrap().events).sum();
    let reminded: u64 = reminded.into_iter().map(|step| step.unwrap().events).sum();
    assert_eq!((asked, reminded), (2, 2));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for of in &all {
        for kind in sale.kinds_told(&of.id).await {
            *counts.entry(kind).or_default() += 1;
        }
    }
    assert_eq!((counts[PAY_SOON], counts[REMINDER]), (2, 2));
}
