//! Which copies are read, on a real PostgreSQL. A standby that lags, stands still
//! or dies is one of a whole node's tests.

use std::sync::Arc;

use super::super::postgres::tests::{PATIENCE, TestDatabase, open, settings};
use super::*;
use crate::domain::ids::{IdempotencyKey, UserId};
use crate::domain::sale::catalog::NewConcert;
use crate::store::sales::{Catalog, Once};
use crate::store::sql::{DatabaseClock, Pool, ReplicaSettings, SqlError, SqlSettings};

/// Longer than a test takes: only what is not followed is too old.
const LAG_MAX_MS: u64 = 300_000;

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("an id")
}

fn beside(database: &TestDatabase, copy: &TestDatabase) -> SqlSettings {
    SqlSettings {
        replica: Some(ReplicaSettings {
            url: copy.url.clone(),
            connections: 2,
            lag_max_ms: LAG_MAX_MS,
            node: 7,
        }),
        ..settings(&database.url)
    }
}

async fn create(store: &SqlStore, concert: &str) {
    let once = Once {
        user: UserId::parse("root").expect("a user"),
        key: IdempotencyKey::parse(concert).expect("a key"),
        trace: None,
    };
    let new = NewConcert {
        name: concert.to_owned(),
        description: String::new(),
        venue: String::new(),
    };
    let made = store.create_concert(once, id(concert), new).await;
    made.expect("made");
}

fn reads(store: &SqlStore, outcome: &str) -> u64 {
    let figures = store.standby_figures().expect("a standby");
    let found = figures.reads.iter().find(|(name, _)| *name == outcome);
    found.expect("an outcome").1
}

/// Reads until the copy does so.
async fn until(store: &SqlStore, outcome: &str) {
    let reading = async {
        let before = reads(store, outcome);
        while reads(store, outcome) == before {
            store.concerts_shown().await;
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect(outcome);
}

impl SqlStore {
    async fn concerts_shown(&self) -> AsOf<Listing<Concert, ConcertCursor>> {
        Showing::concerts(self, Page::new(10, None))
            .await
            .expect("shown")
    }
}

/// The database itself is the newest copy of it.
#[tokio::test]
async fn a_copy_that_follows_is_read_and_says_of_when_it_is() {
    let database = TestDatabase::new();
    let store = open(beside(&database, &database), DatabaseClock::Server).await;
    assert_eq!(store.connections_max(Pool::Standby), 2);
    create(&store, "first").await;
    store.changed();
    // Whoever answers has what was changed.
    assert_eq!(store.concerts_shown().await.items.len(), 1);
    until(&store, "standby").await;
    let shown = Showing::concert(&store, id("first")).await.expect("shown");
    assert_eq!(shown.value.name, "first");
    assert!(shown.as_of > crate::domain::time::UnixMs(0));
    let figures = store.sales_figures(None).await.expect("shown");
    assert_eq!(figures.value.as_of, figures.as_of, "judged by its beat");
    let dates = Showing::performances(&store, id("first"), Page::new(10, None)).await;
    assert_eq!(dates.expect("shown").items.len(), 0);
    let ranked = Showing::ranked_concerts(&store, RankedBy::Popular, Page::new(10, None)).await;
    assert_eq!(ranked.expect("shown").items.len(), 1);

    let asking = async {
        // A copy that is slow is not asked to the end.
        while reads(&store, "absent") == 0 {
            let nothing = Showing::concert(&store, id("nothing")).await;
            assert_eq!(nothing, Err(SalesError::NotFound));
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("the database was asked");
    assert!(store.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn a_copy_of_another_database_proves_nothing() {
    let (database, other) = (TestDatabase::new(), TestDatabase::new());
    let own = open(beside(&other, &other), DatabaseClock::Server).await;
    create(&own, "theirs").await;
    // A node there beats as ours does, by another name.
    let mut settings = beside(&database, &other);
    settings.replica = settings
        .replica
        .map(|replica| ReplicaSettings { node: 8, ..replica });
    let store = open(settings, DatabaseClock::Server).await;
    create(&store, "ours").await;
    until(&own, "standby").await;
    until(&store, "behind").await;
    for _ in 0..20 {
        let shown = store.concerts_shown().await;
        assert_eq!(shown.items[0].id, id("ours"));
    }
    assert_eq!(reads(&store, "standby"), 0);
    assert!(own.shutdown(PATIENCE).await);
    assert!(store.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn marks_of_nodes_that_ended_are_forgotten() {
    let database = TestDatabase::new();
    let store = open(settings(&database.url), DatabaseClock::Server).await;
    let old = store.write((), |tx, ()| {
        async move {
            super::super::marks::raise(tx, "standby:old", 1).await?;
            Ok::<_, SqlError>(super::super::marks::raise(tx, "other", 1).await?)
        }
        .boxed()
    });
    old.await.expect("written");
    assert!(store.shutdown(PATIENCE).await);
    let store = Arc::new(open(beside(&database, &database), DatabaseClock::Server).await);
    until(&store, "standby").await;
    let left = store.read((), |tx, ()| {
        async move {
            let old = super::super::marks::read(tx, "standby:old").await?;
            Ok::<_, SqlError>((old, super::super::marks::read(tx, "other").await?))
        }
        .boxed()
    });
    assert_eq!(left.await, Ok((0, 2)));
    assert!(store.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn only_a_postgresql_has_a_standby() {
    let database = TestDatabase::new();
    for (url, copy) in [
        ("mysql://u@h/d", database.url.as_str()),
        (database.url.as_str(), "mysql://u@h/d"),
    ] {
        let mut both = beside(&database, &database);
        url.clone_into(&mut both.url);
        if let Some(replica) = &mut both.replica {
            copy.clone_into(&mut replica.url);
        }
        let opened = SqlStore::open(both, DatabaseClock::Server).await;
        assert!(opened.is_err(), "{url} beside {copy}");
    }
}
