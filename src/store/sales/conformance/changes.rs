//! What operators change while it is sold.

use super::fixture::{PRICE_MINOR, Sale, id, money, money_of};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::Performance;
use crate::domain::sale::change::{ConcertChange, PerformanceChange, SectionChange};
use crate::domain::sale::money::Money;
use crate::store::sales::{SalesError, UpdateConcert, UpdatePerformance};

const DEARER_MINOR: i64 = 150;

fn renamed(concert: &ResourceId, version: u64, name: &str) -> UpdateConcert {
    UpdateConcert {
        concert: concert.clone(),
        version,
        change: ConcertChange {
            name: Some(name.to_owned()),
            ..ConcertChange::default()
        },
    }
}

fn repriced(of: &Performance, price: Money) -> UpdatePerformance {
    UpdatePerformance {
        performance: of.id.clone(),
        version: of.version,
        change: PerformanceChange {
            sections: vec![SectionChange {
                name: "Stalls".to_owned(),
                price,
                rows: Vec::new(),
            }],
            ..PerformanceChange::default()
        },
    }
}

fn changed(of: &Performance, change: PerformanceChange) -> UpdatePerformance {
    UpdatePerformance {
        performance: of.id.clone(),
        version: of.version,
        change,
    }
}

pub async fn a_change_is_made_from_the_version_it_names(sale: &Sale) {
    let store = sale.store();
    let concert = sale.concert().await;
    let before = store.concert(concert.clone()).await.unwrap();
    let after = store.update_concert(renamed(&concert, before.version, "Night"));
    let after = after.await.unwrap();
    assert_eq!(
        (after.name.as_str(), after.venue),
        ("Night", before.venue.clone())
    );
    assert_ne!(after.version, before.version);
    for stale in [before.version, 0, u64::MAX] {
        let refused = store.update_concert(renamed(&concert, stale, "Noon")).await;
        assert_eq!(refused, Err(SalesError::Conflict), "{stale}");
    }
    assert_eq!(store.concert(concert).await.unwrap().name, "Night");
    let blank = renamed(&after.id, after.version, " ");
    let refused = store.update_concert(blank).await;
    assert!(matches!(refused, Err(SalesError::Field(_))), "{refused:?}");

    let made = sale.performance_with(|_| {}).await;
    let dearer = repriced(&made, money(DEARER_MINOR));
    let after = store.update_performance(dearer.clone()).await.unwrap();
    assert_eq!(
        after.performance.terms.sections[0].price,
        money(DEARER_MINOR)
    );
    let again = store.update_performance(dearer).await;
    assert_eq!(again, Err(SalesError::Conflict));
    let read = store.performance(made.id.clone()).await.unwrap();
    assert_eq!(read, after.performance);
    let expected = money(0).currency;
    let euros = repriced(&read, money_of("EUR", 1));
    assert_eq!(
        store.update_performance(euros).await,
        Err(SalesError::CurrencyMismatch { expected })
    );

    let nowhere = id("nowhere");
    let unknown = store.update_concert(renamed(&nowhere, 1, "Noon")).await;
    assert_eq!(unknown, Err(SalesError::NotFound));
    let unknown = UpdatePerformance {
        performance: nowhere,
        ..repriced(&read, money(1))
    };
    let unknown = store.update_performance(unknown).await;
    assert_eq!(unknown, Err(SalesError::NotFound));
}

pub async fn a_new_price_is_for_seats_that_nobody_has(sale: &Sale) {
    let store = sale.store();
    let made = sale.performance_with(|_| {}).await;
    let performance = made.id.clone();
    sale.top_up("ann", 1_000).await;
    sale.top_up("bob", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let bought = sale.hold("bob", &performance, &["s1-r1-2"]).await.unwrap();
    sale.pay("bob", &bought.id).await.unwrap();
    let whole = store.seat_map(performance.clone(), None).await.unwrap();

    let dearer = repriced(&made, money(DEARER_MINOR));
    let updated = store.update_performance(dearer).await.unwrap();
    assert_eq!(updated.changed.performance, performance);
    let map = store.seat_map(performance.clone(), Some(whole.version));
    let changed = map.await.unwrap().seats;
    assert_eq!(changed.len(), 9, "all but the sold one");
    assert!(changed.iter().all(|seat| seat.price == money(DEARER_MINOR)));
    let sold = sale.seat(&performance, "s1-r1-2").await;
    assert_eq!(sold.price, money(PRICE_MINOR));

    let paid = sale.pay("ann", &held.id).await.unwrap();
    assert_eq!(paid.payment.amount, money(PRICE_MINOR), "as it was held");
    let next = sale.hold("ann", &performance, &["s1-r1-3"]).await.unwrap();
    assert_eq!(next.total, money(DEARER_MINOR));
    let cancelled = sale.cancel("bob", &bought.id).await.unwrap();
    assert_eq!(
        cancelled.refunded,
        Some(money(PRICE_MINOR)),
        "as it was paid"
    );
    let again = sale.hold("bob", &performance, &["s1-r1-2"]).await.unwrap();
    assert_eq!(again.total, money(DEARER_MINOR), "sold anew");
}

pub async fn the_sale_follows_a_window_that_moves(sale: &Sale) {
    let store = sale.store();
    let made = sale.performance_with(|_| {}).await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &made.id, &["s1-r1-1"]).await.unwrap();
    let now = sale.now().await;
    let later = PerformanceChange {
        sale_opens_at: Some(now.plus_ms(1_000)),
        ..PerformanceChange::default()
    };
    let moved = store.update_performance(changed(&made, later)).await;
    let moved = moved.unwrap().performance;
    let early = sale.hold("bob", &made.id, &["s1-r1-2"]).await;
    assert_eq!(early, Err(SalesError::SaleNotOpen));
    sale.pay("ann", &held.id).await.unwrap();
    sale.advance_ms(1_000).await;
    sale.hold("bob", &made.id, &["s1-r1-2"]).await.unwrap();
    let over = PerformanceChange {
        sale_closes_at: Some(Some(now.plus_ms(1_001))),
        ..PerformanceChange::default()
    };
    let closed = store.update_performance(changed(&moved, over)).await;
    let closed = closed.unwrap().performance;
    sale.advance_ms(1).await;
    let late = sale.hold("cid", &made.id, &["s1-r1-3"]).await;
    assert_eq!(late, Err(SalesError::SaleNotOpen));
    let until_it_begins = PerformanceChange {
        sale_closes_at: Some(None),
        ..PerformanceChange::default()
    };
    let open = store.update_performance(changed(&closed, until_it_begins));
    assert_eq!(open.await.unwrap().performance.terms.sale_closes_at, None);
    sale.hold("cid", &made.id, &["s1-r1-3"]).await.unwrap();
}
