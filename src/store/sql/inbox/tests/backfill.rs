//! Figures of what was sold before it was counted, on each database.

use super::*;
use crate::domain::ids::ResourceId;
use crate::store::sales::Catalog;

struct Seller {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for Seller {
    fn store(&self) -> Arc<dyn SalesStore> {
        self.store.clone()
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.store.clone()
    }

    async fn advance_ms(&self, step_ms: u64) {
        self.clock.advance_ms(step_ms);
    }
}

/// As a server leaves it that has not begun to count.
async fn forget_counts(store: &SqlStore) {
    let forgotten: Result<(), InboxError> = store
        .write((), |tx, ()| {
            async move {
                for table in ["inbox", "sales_figures", "sales_days", "sold_outs"] {
                    tx.execute_unprepared(&format!("DELETE FROM {table}"))
                        .await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await;
    forgotten.expect("deletes");
}

/// Takes back the back-fill and what came after it, and does it again.
async fn backfill(store: &SqlStore) {
    let all = store.migrate_status().await.expect("status");
    let steps = all.iter().filter(|(name, _)| name.as_str() >= "m0014");
    let steps = u32::try_from(steps.count()).expect("few");
    assert!(steps > 0, "{all:?}");
    store.migrate_down(steps).await.expect("down");
    store.migrate_up().await.expect("up");
}

async fn figures(store: &SqlStore, performance: &ResourceId) -> (u64, Vec<i64>) {
    let figures = store.sales_figures(Some(performance)).await;
    let figures = figures.expect("reads").expect("a performance");
    let revenue = figures.revenue.iter().map(|money| money.amount_minor);
    (figures.sold, revenue.collect())
}

async fn project(store: &SqlStore, events: &[OutboxEvent]) -> usize {
    let mut fresh = 0;
    for projection in [Projection::Sales, Projection::Ranking] {
        let projected = store.project(projection, events, Coming::Fresh).await;
        fresh += projected.expect("counts");
    }
    fresh
}

async fn what_was_sold_before_is_counted_and_once(seller: Seller) {
    let store = Arc::clone(&seller.store);
    let sale = Sale::new(Arc::new(seller));
    let performance = sale.performance().await;
    let small = [section("Stalls", 500, &[2])];
    let small = sale
        .performance_with(|terms| terms.sections = small.to_vec())
        .await
        .id;
    sale.top_up("ann", 1_000_000).await;
    let buy = async |performance: &ResourceId, seats: u32| {
        let held = sale.hold_best("ann", performance, best(seats)).await;
        let held = held.expect("held");
        sale.pay("ann", &held.id).await.expect("paid");
        held
    };
    let kept = buy(&performance, 1).await;
    let gone = buy(&performance, 2).await;
    buy(&small, 2).await;
    let published = drain(&store).await;
    sale.cancel("ann", &gone.id).await.expect("cancelled");
    // One was given up since it names no performance, one is still to go.
    let parked = &published[0];
    assert_eq!(store.park("sales", parked, "planted").await, Ok(true));
    forget_counts(&store).await;

    backfill(&store).await;
    let expected = (1, vec![kept.total.amount_minor]);
    let both = async || {
        assert_eq!(figures(&store, &performance).await, expected);
        assert_eq!(figures(&store, &small).await, (2, vec![1_000]));
        // Both were sold on one day, and one is sold out.
        let popular = store.ranked_concerts(RankedBy::Popular, Page::new(1, None));
        let of_small = Catalog::performance(store.as_ref(), small.clone()).await;
        let of_small = of_small.expect("there").terms.concert;
        assert_eq!(popular.await.expect("reads").items[0].id, of_small);
        let fastest = store.ranked_concerts(RankedBy::FastestSoldOut, Page::new(1, None));
        assert_eq!(fastest.await.expect("reads").items[0].id, of_small);
    };
    both().await;
    assert_eq!(store.count_dead_letters().await, Ok(0));
    // They come from a broker, or from the outbox, all the same.
    let waiting = drain(&store).await;
    assert!(!waiting.is_empty());
    project(&store, &published).await;
    project(&store, &waiting).await;
    both().await;
    backfill(&store).await;
    both().await;

    // What is sold from now on counts as ever, by older servers too.
    let held = buy(&performance, 1).await;
    let mut events = drain(&store).await;
    for event in &mut events {
        let mut body: serde_json::Value = serde_json::from_str(&event.payload).expect("a body");
        if event.kind == "payment.succeeded" {
            let body = body.as_object_mut().expect("an object");
            assert!(body.remove("performance_id").is_some());
        }
        event.payload = body.to_string();
    }
    assert!(project(&store, &events).await > 0);
    let revenue = kept.total.amount_minor + held.total.amount_minor;
    assert_eq!(figures(&store, &performance).await, (2, vec![revenue]));
    let nobody = json!({ "reservation_id": "nobody", "amount": money(1) });
    let nobody = [event("99999", "payment.succeeded", nobody)];
    let refused = store
        .project(Projection::Sales, &nobody, Coming::Fresh)
        .await;
    assert!(matches!(refused, Err(InboxError::Refused { .. })));
}

#[tokio::test]
async fn sqlite() {
    let opened = Sqlite::open().await;
    let seller = Seller {
        store: Arc::clone(&opened.store),
        clock: Arc::clone(&opened.clock),
    };
    what_was_sold_before_is_counted_and_once(seller).await;
}

#[tokio::test]
async fn postgres() {
    let now = UnixMs(1_700_000_000_000);
    let (store, clock, _database) = postgres::tests::open_store(now).await;
    what_was_sold_before_is_counted_and_once(Seller { store, clock }).await;
}

#[tokio::test]
async fn mariadb() {
    let now = UnixMs(1_700_000_000_000);
    let (store, clock, _database) = mariadb::tests::open_store(now).await;
    what_was_sold_before_is_counted_and_once(Seller { store, clock }).await;
}
