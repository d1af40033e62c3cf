//! Lists of concerts by what was sold, and how soon all was.

use super::*;

/// The concerts of a ranked list, read page by page.
async fn ranked(store: &SqlStore, by: RankedBy) -> Vec<ResourceId> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let listing = store
            .ranked_concerts(by, Page::new(1, after))
            .await
            .expect("reads");
        ids.extend(listing.items.into_iter().map(|concert| concert.id));
        after = listing.next;
        if after.is_none() {
            return ids;
        }
    }
}

#[tokio::test]
async fn concerts_are_ranked_by_what_was_sold_of_late_and_how_soon_all_was() {
    let opened = Arc::new(Sqlite::open().await);
    let store = Arc::clone(&opened.store);
    let sale = Sale::new(Arc::clone(&opened) as Arc<dyn Subject>);
    let mut concerts = Vec::new();
    for seats in [2, 3, 1] {
        let sections = vec![section("Stalls", 1_000, &[seats])];
        let made = sale
            .performance_with(|terms| terms.sections = sections)
            .await;
        concerts.push((made.id, made.terms.concert));
    }
    let [small, large, unsold] = &concerts[..] else {
        panic!("three");
    };
    sale.top_up("ann", 1_000_000).await;
    let follow = async || {
        let events = drain(&store).await;
        let projected = store
            .project(Projection::Ranking, &events, Coming::Fresh)
            .await;
        projected.expect("counts");
    };
    let buy = async |performance: &ResourceId, seats: u32| {
        let held = sale
            .hold_best("ann", performance, best(seats))
            .await
            .expect("held");
        sale.pay("ann", &held.id).await.expect("paid");
        held.id
    };
    sale.advance_ms(1_000).await;
    let bought = buy(&large.0, 3).await;
    sale.advance_ms(5_000).await;
    buy(&small.0, 2).await;
    follow().await;
    let by_seats = [large.1.clone(), small.1.clone(), unsold.1.clone()];
    assert_eq!(ranked(&store, RankedBy::Popular).await, by_seats);
    assert_eq!(ranked(&store, RankedBy::FastestSoldOut).await, by_seats);

    // What was given back is neither sold nor sold out.
    sale.cancel("ann", &bought).await.expect("cancelled");
    follow().await;
    let first = |ids: Vec<ResourceId>| ids[0].clone();
    assert_eq!(first(ranked(&store, RankedBy::Popular).await), small.1);
    assert_eq!(
        first(ranked(&store, RankedBy::FastestSoldOut).await),
        small.1
    );

    // And what was sold long ago is not of late.
    sale.advance_ms(8 * DAY_MS).await;
    let mut ids = ranked(&store, RankedBy::Popular).await;
    ids.sort();
    let mut all: Vec<ResourceId> = by_seats.to_vec();
    all.sort();
    assert_eq!(ids, all);
}

/// A store of a server.
struct Served {
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Subject for Served {
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

#[tokio::test]
async fn who_looks_whether_all_is_sold_overwrites_no_later_look() {
    let now = UnixMs(1_700_000_000_000);
    let (store, clock, _database) = postgres::tests::open_store(now).await;
    looks_side_by_side(Served { store, clock }).await;
    let (store, clock, _database) = mariadb::tests::open_store(now).await;
    looks_side_by_side(Served { store, clock }).await;
}

async fn looks_side_by_side(served: Served) {
    let store = Arc::clone(&served.store);
    let sale = Sale::new(Arc::new(served));
    let sections = vec![section("Stalls", 100, &[1])];
    let made = sale
        .performance_with(|terms| terms.sections = sections)
        .await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold_best("ann", &made.id, best(1)).await;
    let held = held.expect("held").id;
    sale.pay("ann", &held).await.expect("paid");
    let sold_out = drain(&store).await;
    let looked = Arc::new(tokio::sync::Notify::new());
    let goes_on = Arc::new(tokio::sync::Semaphore::new(0));
    let input = (sold_out, Arc::clone(&looked), Arc::clone(&goes_on));
    let early = store.write(input, |tx, (events, looked, goes_on)| {
        async move {
            let events: Vec<&OutboxEvent> = events.iter().collect();
            ranking::count(tx, &events).await?;
            looked.notify_one();
            let _passed = goes_on.acquire().await;
            Ok::<_, InboxError>(())
        }
        .boxed()
    });
    let late = async {
        looked.notified().await;
        let later = async {
            sale.cancel("ann", &held).await.expect("cancelled");
            let events = drain(&store).await;
            let looked = store.project(Projection::Ranking, &events, Coming::Fresh);
            looked.await.expect("counts");
        };
        let mut later = Box::pin(later);
        // It waits for the early look, or would be over.
        let patience = std::time::Duration::from_millis(500);
        let over = tokio::time::timeout(patience, &mut later).await;
        goes_on.add_permits(1);
        if over.is_err() {
            later.await;
        }
    };
    let (early, ()) = tokio::join!(early, late);
    early.expect("counts");
    assert_eq!(sold_outs(&store).await, 0, "it is open again");
}

async fn sold_outs(store: &SqlStore) -> u64 {
    let counted = store.read((), |tx, ()| {
        async move {
            let count = "SELECT COUNT(*) AS n FROM sold_outs";
            let row = crate::store::sql::query::one(tx, count, []).await?;
            Ok::<_, InboxError>(row.expect("a row").count("n")?)
        }
        .boxed()
    });
    counted.await.expect("counts")
}

/// Also while nobody has consumed what followed from it.
#[tokio::test]
async fn a_cancelled_performance_is_not_among_the_fastest() {
    let opened = Arc::new(Sqlite::open().await);
    let store = Arc::clone(&opened.store);
    let sale = Sale::new(Arc::clone(&opened) as Arc<dyn Subject>);
    let mut made = Vec::new();
    sale.top_up("ann", 1_000).await;
    for n in 1..=2 {
        let sections = vec![section("Stalls", 100, &[1])];
        let one = sale
            .performance_with(|terms| terms.sections = sections)
            .await;
        sale.advance_ms(n * 1_000).await;
        let held = sale.hold_best("ann", &one.id, best(1)).await.expect("held");
        sale.pay("ann", &held.id).await.expect("paid");
        made.push(one);
    }
    let events = drain(&store).await;
    let project = |events| {
        let store = Arc::clone(&store);
        async move {
            let looked = store.project(Projection::Ranking, events, Coming::Fresh);
            looked.await.expect("counts");
        }
    };
    project(&events).await;
    let by_time: Vec<ResourceId> = made.iter().map(|one| one.terms.concert.clone()).collect();
    assert_eq!(ranked(&store, RankedBy::FastestSoldOut).await, by_time);
    let cancelled = store.write(made[0].id.clone(), |tx, id| {
        async move {
            let cancel = "UPDATE performances SET state = 'cancelled' WHERE id = $1";
            crate::store::sql::query::execute(tx, cancel, [id.as_str().into()]).await?;
            Ok::<_, InboxError>(())
        }
        .boxed()
    });
    cancelled.await.expect("cancels");
    let now = ranked(&store, RankedBy::FastestSoldOut).await;
    assert_eq!(now[0], by_time[1]);
    assert_eq!(sold_outs(&store).await, 2);
    // Whoever looks again finds none either.
    let mut again = events.clone();
    for event in &mut again {
        event.id = format!("{}-again", event.id);
    }
    project(&again).await;
    assert_eq!(sold_outs(&store).await, 1);
}
