//! Units of work on a server: atomic, side by side, deaf to their callers. Run on
//! each: `super` says how a server is spoken to.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::Barrier;

use super::{PATIENCE, TestDatabase, open, pause, settings};
use crate::store::sql::query::{execute, one};
use crate::store::sql::{DatabaseClock, SqlError, SqlSettings, SqlStore, Tx};

#[derive(Debug, PartialEq, Eq)]
pub enum TestError {
    Refused,
    Sql(SqlError),
}

impl From<SqlError> for TestError {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<DbErr> for TestError {
    fn from(error: DbErr) -> Self {
        Self::Sql(error.into())
    }
}

/// A store with a table of notes.
pub struct Notes {
    pub store: SqlStore,
    pub database: TestDatabase,
}

impl Notes {
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub async fn open_with(change: impl FnOnce(&mut SqlSettings)) -> Self {
        let database = TestDatabase::new();
        let mut settings = settings(&database.url);
        change(&mut settings);
        let store = open(settings, DatabaseClock::Server).await;
        make_table(&store).await;
        Self { store, database }
    }
}

pub async fn make_table(store: &SqlStore) {
    let made = store.write((), |tx, ()| {
        async move {
            tx.execute_unprepared("CREATE TABLE notes (n BIGINT PRIMARY KEY, hits BIGINT)")
                .await?;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    made.await.expect("creates");
}

pub async fn insert(tx: &Tx, n: i64) -> Result<(), TestError> {
    execute(tx, "INSERT INTO notes (n, hits) VALUES ($1, 0)", [n.into()]).await?;
    Ok(())
}

pub async fn note(store: &SqlStore, n: i64) -> Result<(), TestError> {
    store.write(n, |tx, n| insert(tx, *n).boxed()).await
}

pub async fn notes(store: &SqlStore) -> Result<u64, TestError> {
    let counted = store.read((), |tx, ()| {
        async move {
            let row = one(tx, "SELECT COUNT(*) AS n FROM notes", []).await?;
            Ok::<_, TestError>(row.expect("a row").count("n")?)
        }
        .boxed()
    });
    counted.await
}

#[tokio::test]
async fn a_refused_unit_changes_nothing_and_the_others_do() {
    let test = Notes::open().await;
    let units = (0..60).map(|n| {
        test.store.write(n, |tx, n| {
            async move {
                insert(tx, *n).await?;
                if n % 3 == 0 {
                    return Err(TestError::Refused);
                }
                Ok(())
            }
            .boxed()
        })
    });
    for (n, outcome) in join_all(units).await.into_iter().enumerate() {
        let refused = Err(TestError::Refused);
        assert_eq!(outcome, if n % 3 == 0 { refused } else { Ok(()) }, "{n}");
    }
    assert_eq!(notes(&test.store).await, Ok(40));
}

#[tokio::test]
async fn a_panicking_unit_fails_alone() {
    let test = Notes::open().await;
    let panicking = test.store.write((), |tx, ()| {
        async move {
            insert(tx, 1).await?;
            panic!("planted");
            #[expect(unreachable_code, reason = "names the type")]
            Ok::<(), TestError>(())
        }
        .boxed()
    });
    assert_eq!(panicking.await, Err(TestError::Sql(SqlError::Panicked)));
    assert_eq!(note(&test.store, 1).await, Ok(()));
    assert_eq!(notes(&test.store).await, Ok(1));
}

/// As an older node meets it, whose statements are prepared, while nodes are replaced.
#[tokio::test]
async fn a_column_that_a_migration_adds_is_not_noticed() {
    let test = Notes::open().await;
    note(&test.store, 1).await.expect("notes");
    let read_whole = |_| {
        test.store.write((), |tx, ()| {
            async move {
                let row = one(tx, "SELECT * FROM notes", []).await?;
                Ok::<_, TestError>(row.expect("a row").count("hits")?)
            }
            .boxed()
        })
    };
    for outcome in join_all((0..40).map(read_whole)).await {
        assert_eq!(outcome, Ok(0));
    }
    let migrated = test.store.write((), |tx, ()| {
        async move {
            tx.execute_unprepared("ALTER TABLE notes ADD COLUMN more BIGINT")
                .await?;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    migrated.await.expect("migrates");
    for outcome in join_all((0..40).map(read_whole)).await {
        assert_eq!(outcome, Ok(0));
    }
}

#[tokio::test]
async fn cancelled_callers_lose_no_commit_and_leave_nothing_open() {
    let test = Notes::open().await;
    for n in 0..100 {
        // Polled once: the unit is queued, or being written. Then the caller goes.
        let mut call = Box::pin(note(&test.store, n));
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    assert!(test.store.shutdown(PATIENCE).await);
    let again = open(settings(&test.database.url), DatabaseClock::Server).await;
    assert_eq!(notes(&again).await, Ok(100));
}

/// Two transactions wait for each other's row: the server undoes one, and it
/// runs again.
#[tokio::test]
async fn a_deadlock_is_hidden() {
    let test = Notes::open().await;
    for n in [1, 2] {
        note(&test.store, n).await.expect("noted");
    }
    let both = Arc::new(Barrier::new(2));
    let hit_both = |first: i64, then: i64| {
        let input = (Arc::clone(&both), first, then);
        test.store.write(input, |tx, (both, first, then)| {
            async move {
                const HIT: &str = "UPDATE notes SET hits = hits + 1 WHERE n = $1";
                execute(tx, HIT, [(*first).into()]).await?;
                // The one that runs again does so alone.
                let _ = tokio::time::timeout(Duration::from_millis(500), both.wait()).await;
                execute(tx, HIT, [(*then).into()]).await?;
                Ok::<_, TestError>(())
            }
            .boxed()
        })
    };
    let (one, other) = tokio::join!(hit_both(1, 2), hit_both(2, 1));
    assert_eq!((one, other), (Ok(()), Ok(())));
    let hits = test.store.read((), |tx, ()| {
        async move {
            let sum = "SELECT CAST(SUM(hits) AS BIGINT) AS n FROM notes";
            Ok::<_, TestError>(one_count(tx, sum).await?)
        }
        .boxed()
    });
    assert_eq!(hits.await, Ok(4));
}

async fn one_count(tx: &Tx, sql: &str) -> Result<u64, DbErr> {
    one(tx, sql, []).await?.expect("a row").count("n")
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_long_wait_is_given_up() {
    let test = Notes::open_with(|settings| {
        settings.write_connections = 1;
        settings.write_queue_max = 4;
        settings.acquire_timeout_ms = 600;
    })
    .await;
    let slow = test.store.write((), |tx, ()| {
        async move {
            pause(tx, 1.5).await?;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let overloaded = Err(TestError::Sql(SqlError::Overloaded));
    let waiting = async {
        // The slow one may still be queued: then one less fits.
        let outcomes = join_all((0..6).map(|n| note(&test.store, n))).await;
        for outcome in outcomes {
            assert_eq!(outcome, overloaded);
        }
    };
    // The server answers others, as it does a node's lease.
    let lease = async {
        for _ in 0..5 {
            let urgent = test.store.write_urgent((), |tx, ()| {
                async move {
                    pause(tx, 0.1).await?;
                    Ok::<_, TestError>(())
                }
                .boxed()
            });
            assert_eq!(urgent.await, Ok(()));
        }
    };
    let (slow, (), ()) = tokio::join!(slow, waiting, lease);
    assert_eq!(slow, Ok(()), "one that runs is waited for");
    assert_eq!(notes(&test.store).await, Ok(0), "who gave up never runs");
}

#[tokio::test]
async fn an_urgent_unit_does_not_wait_behind_a_full_pool() {
    let test = Notes::open_with(|settings| settings.write_connections = 1).await;
    let slow = test.store.write((), |tx, ()| {
        async move {
            pause(tx, 0.5).await?;
            one_count(tx, "SELECT COUNT(*) AS n FROM notes")
                .await
                .map_err(TestError::from)
        }
        .boxed()
    });
    let urgent = test.store.write_urgent(7, |tx, n| insert(tx, *n).boxed());
    let (seen, urgent) = tokio::join!(slow, urgent);
    assert_eq!((seen, urgent), (Ok(1), Ok(())));
}

#[tokio::test]
async fn readers_cannot_write() {
    let test = Notes::open().await;
    let written: Result<(), TestError> = test.store.read(1, |tx, n| insert(tx, *n).boxed()).await;
    assert!(written.is_err());
    let left = test.store.read((), |tx, ()| {
        async move {
            tx.defer("INSERT INTO notes (n) VALUES ($1)", [1.into()], 1);
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    assert!(left.await.is_err());
    assert_eq!(notes(&test.store).await, Ok(0));
}

/// A failed statement ends a transaction on PostgreSQL, whose commit would be
/// answered as if it were one. MariaDB would commit the rest.
#[tokio::test]
async fn a_unit_that_overlooks_a_failure_is_not_believed() {
    let test = Notes::open().await;
    let careless = test.store.write((), |tx, ()| {
        async move {
            insert(tx, 1).await?;
            let _ = tx.execute_unprepared("SELECT nothing FROM nowhere").await;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    assert!(careless.await.is_err());
    assert_eq!(notes(&test.store).await, Ok(0));
}

#[tokio::test]
async fn a_write_that_misses_its_rows_fails_its_unit() {
    let test = Notes::open().await;
    let missed = test.store.write((), |tx, ()| {
        async move {
            tx.defer("INSERT INTO notes (n) VALUES ($1)", [1_i64.into()], 1);
            tx.defer("UPDATE notes SET hits = 3 WHERE n = $1", [2_i64.into()], 1);
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let Err(TestError::Sql(SqlError::Unavailable(why))) = missed.await else {
        panic!("a missed row fails the unit");
    };
    assert!(why.contains("UPDATE notes"), "{why}");
    assert_eq!(notes(&test.store).await, Ok(0));
}

#[tokio::test]
async fn the_clock_is_the_servers_and_moves_while_a_lock_is_waited_for() {
    let test = Notes::open().await;
    let slow = test.store.write((), |tx, ()| {
        async move {
            crate::store::sql::locks::name(tx, "lock").await?;
            pause(tx, 0.4).await?;
            Ok::<_, TestError>(tx.now())
        }
        .boxed()
    });
    let waiting = test.store.write((), |tx, ()| {
        async move {
            // After the slow one, whose transaction begins first.
            pause(tx, 0.1).await?;
            let begun = tx.now();
            crate::store::sql::locks::name(tx, "lock").await?;
            Ok::<_, TestError>(tx.now().0 - begun.0)
        }
        .boxed()
    });
    let (locked_at, waited_ms) = tokio::join!(slow, waiting);
    let locked_at = locked_at.expect("locks");
    assert!(locked_at.0 > 1_700_000_000_000, "{locked_at:?}");
    assert!(waited_ms.expect("locks") >= 350);
}

#[tokio::test]
async fn migrations_go_up_down_and_up_again_and_nodes_do_not_race() {
    let test = Notes::open().await;
    let all = test.store.migrate_status().await.expect("status");
    let steps = u32::try_from(all.len()).expect("few");
    test.store.migrate_down(steps).await.expect("down");
    let none = test.store.migrate_status().await.expect("status");
    assert!(none.iter().all(|(_, applied)| !*applied), "{none:?}");
    let mut nodes = Vec::new();
    for _ in 0..6 {
        nodes.push(open(settings(&test.database.url), DatabaseClock::Server).await);
    }
    for migrated in join_all(nodes.iter().map(SqlStore::migrate_up)).await {
        assert_eq!(migrated, Ok(()));
    }
    let all = test.store.migrate_status().await.expect("status");
    assert!(all.iter().all(|(_, applied)| *applied), "{all:?}");
}

#[tokio::test]
async fn shutdown_finishes_what_waits_and_refuses_what_comes() {
    let test = Notes::open().await;
    let mut calls: Vec<_> = (0..50).map(|n| Box::pin(note(&test.store, n))).collect();
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending());
    }
    assert!(test.store.shutdown(PATIENCE).await);
    for outcome in join_all(calls).await {
        assert_eq!(outcome, Ok(()));
    }
    let late = note(&test.store, 50).await;
    assert_eq!(late, Err(TestError::Sql(SqlError::Stopped)));
}
