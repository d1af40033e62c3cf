//! Lists and their pages.

use super::fixture::{LIMIT, PRICE_MINOR, Sale, id, money, section, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{NewPerformance, PerformanceState};
use crate::domain::sale::ledger::EntryKind;
use crate::domain::time::UnixMs;
use crate::store::sales::{Listing, Page, SalesError};

const HOUR_MS: u64 = 3_600_000;

async fn opening_at(sale: &Sale, opens_at: UnixMs) -> ResourceId {
    let made = sale.performance_with(|terms| {
        terms.sale_opens_at = opens_at;
        terms.starts_at = opens_at.plus_ms(10 * HOUR_MS);
    });
    made.await.terms.concert
}

pub async fn concerts_come_by_the_opening_of_their_sale(sale: &Sale) {
    let now = sale.now().await;
    let without = sale.concert().await;
    let later = opening_at(sale, now.plus_ms(2 * HOUR_MS)).await;
    let open_long = opening_at(sale, UnixMs(now.0 - 2 * HOUR_MS)).await;
    let soon = opening_at(sale, now.plus_ms(HOUR_MS)).await;
    let just_open = opening_at(sale, now).await;
    let over = opening_at(sale, UnixMs(now.0 - 20 * HOUR_MS)).await;

    let store = sale.store();
    let all = store.concerts(Page::new(100, None)).await.unwrap();
    let order: Vec<&ResourceId> = all.items.iter().map(|concert| &concert.id).collect();
    let none = [without.clone().min(over.clone()), without.max(over)];
    let expected = [&just_open, &open_long, &soon, &later, &none[0], &none[1]];
    assert_eq!(order, expected);
    assert_eq!(all.next, None);

    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = store.concerts(Page::new(2, after)).await.unwrap();
        paged.extend(page.items.into_iter().map(|concert| concert.id));
        // What opens meanwhile does not move between the pages.
        sale.advance_ms(HOUR_MS).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(paged.iter().collect::<Vec<_>>(), expected);
    let one = store.concert(soon.clone()).await.unwrap();
    assert_eq!((one.id, one.name.as_str()), (soon, "Evening"));
    let nothing = store.concert(id("nothing")).await;
    assert_eq!(nothing, Err(SalesError::NotFound));
}

pub async fn pages_meet_without_a_gap_or_a_repeat(sale: &Sale) {
    let concert = sale.concert().await;
    let store = sale.store();
    let mut made = Vec::new();
    for hours in [3, 1, 2, 2, 2] {
        let mut terms = sale.terms(concert.clone()).await;
        terms.starts_at = terms.sale_opens_at.plus_ms(hours * HOUR_MS);
        let id = id(&sale.fresh());
        let created = store.create_performance(sale.once("admin"), id, terms);
        let created = created.await.unwrap();
        made.push((created.terms.starts_at, created.id));
    }
    made.sort();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.performances(concert.clone(), Page::new(2, after));
        let Listing { items, next } = page.await.unwrap();
        seen.extend(items.into_iter().map(|p| (p.terms.starts_at, p.id)));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, made);
    let nowhere = store.performances(id("nowhere"), Page::new(2, None)).await;
    assert!(matches!(nowhere, Err(SalesError::NotFound)));
    reservations_and_entries(sale, &made[0].1).await;
}

async fn reservations_and_entries(sale: &Sale, performance: &ResourceId) {
    let store = sale.store();
    sale.top_up("ann", 1_000).await;
    let mut made = Vec::new();
    for seat in ["s1-r1-1", "s1-r1-2", "s1-r1-3"] {
        // All in one millisecond: the id decides.
        made.push(sale.hold("ann", performance, &[seat]).await.unwrap().id);
    }
    sale.hold("bob", performance, &["s1-r1-4"]).await.unwrap();
    sale.pay("ann", &made[0]).await.unwrap();
    made.sort();
    made.reverse();
    let first = store.reservations(user("ann"), Page::new(2, None)).await;
    let first = first.unwrap();
    let second = store.reservations(user("ann"), Page::new(2, first.next.clone()));
    let second = second.await.unwrap();
    assert!(first.next.is_some() && second.next.is_none());
    let seen = first.items.into_iter().chain(second.items);
    assert_eq!(seen.map(|r| r.id).collect::<Vec<_>>(), made);

    let currency = money(0).currency;
    let latest = store.wallet_entries(user("ann"), currency, Page::new(1, None));
    let latest = latest.await.unwrap();
    assert_eq!(latest.items[0].kind, EntryKind::Payment);
    assert_eq!(latest.items[0].amount, money(-PRICE_MINOR));
    assert_eq!(latest.items[0].balance_after, money(1_000 - PRICE_MINOR));
    let rest = store.wallet_entries(user("ann"), currency, Page::new(1, latest.next));
    let rest = rest.await.unwrap();
    assert_eq!(rest.items[0].kind, EntryKind::TopUp);
    assert_eq!(rest.next, None);
}

pub async fn a_performance_is_read_as_it_was_created(sale: &Sale) {
    let concert = sale.concert().await;
    let now = sale.now().await;
    let terms = NewPerformance {
        concert,
        starts_at: now.plus_ms(10 * HOUR_MS),
        sale_opens_at: now.plus_ms(HOUR_MS),
        sale_closes_at: Some(now.plus_ms(2 * HOUR_MS)),
        sections: vec![
            section("Front", 500, &[3, 70]),
            section("Back", 200, &[1_000]),
        ],
        hold_ttl_ms: 1_000,
        hold_total_max_ms: 2_000,
        seats_per_user_max: LIMIT,
    };
    let store = sale.store();
    let once = sale.once("admin");
    let id = id(&sale.fresh());
    let made = store.create_performance(once.clone(), id.clone(), terms.clone());
    let made = made.await.unwrap();
    assert_eq!(made.terms, terms);
    assert_eq!(made.state, PerformanceState::Scheduled);
    assert!(!made.sold_out);
    let read = store.performance(id.clone()).await.unwrap();
    assert_eq!(read, made);
    let again = store.create_performance(once.clone(), id, terms.clone());
    assert_eq!(again.await, Ok(made.clone()));
    let map = store.seat_map(made.id, None).await.unwrap();
    assert_eq!(map.seats.len(), 1_073);
    assert_eq!(map.seats[0].section, "Front");
    assert_eq!(map.seats[1_072].price, money(200));

    let other = NewPerformance {
        seats_per_user_max: LIMIT + 1,
        ..terms
    };
    let reused = store.create_performance(once, super::fixture::id("x"), other);
    assert_eq!(reused.await, Err(SalesError::IdempotencyKeyReused));
}
