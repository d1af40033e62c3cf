//! Units of work on SQLite: atomic, gathered, deaf to their callers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr};

use super::*;
use crate::clock::ManualClock;
use crate::domain::time::UnixMs;

#[derive(Debug, PartialEq, Eq)]
enum TestError {
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

struct TestStore {
    store: SqlStore,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

impl TestStore {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl FnOnce(&mut SqlSettings)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let mut settings = SqlSettings::new(&url_in(&dir));
        change(&mut settings);
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let store = SqlStore::connect_with(settings, shared_clock)
            .await
            .expect("opens");
        store.migrate_up().await.expect("migrates");
        store
            .write((), |tx, ()| {
                async move {
                    tx.execute_unprepared("CREATE TABLE notes (n INTEGER PRIMARY KEY)")
                        .await?;
                    Ok::<_, TestError>(())
                }
                .boxed()
            })
            .await
            .expect("creates");
        Self { store, clock, dir }
    }

    async fn note(&self, n: i64) -> Result<(), TestError> {
        self.store.write(n, |tx, n| insert(tx, *n).boxed()).await
    }

    async fn notes(&self) -> i64 {
        self.store
            .read((), |tx, ()| count(tx).boxed())
            .await
            .expect("reads")
    }
}

fn url_in(dir: &tempfile::TempDir) -> String {
    format!("sqlite://{}/usher.db", dir.path().display())
}

async fn insert(tx: &Tx, n: i64) -> Result<(), TestError> {
    tx.execute_unprepared(&format!("INSERT INTO notes VALUES ({n})"))
        .await?;
    Ok(())
}

async fn count(tx: &Tx) -> Result<i64, TestError> {
    let statement = sea_orm::Statement::from_string(
        tx.get_database_backend(),
        "SELECT COUNT(*) AS n FROM notes",
    );
    let row = tx.query_one_raw(statement).await?.expect("a row");
    Ok(row.try_get("", "n")?)
}

#[tokio::test]
async fn each_unit_of_a_batch_has_its_own_outcome() {
    let test = TestStore::open().await;
    let units = (0..300).map(|n| {
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
        let expected = if n % 3 == 0 {
            Err(TestError::Refused)
        } else {
            Ok(())
        };
        assert_eq!(outcome, expected, "unit {n}");
    }
    assert_eq!(test.notes().await, 200);
}

#[tokio::test]
async fn a_panicking_unit_fails_alone() {
    let test = TestStore::open().await;
    let panicking = test.store.write((), |tx, ()| {
        async move {
            insert(tx, 1).await?;
            panic!("planted");
            #[expect(unreachable_code, reason = "names the type")]
            Ok::<(), TestError>(())
        }
        .boxed()
    });
    let (before, panicked, after) = tokio::join!(test.note(2), panicking, test.note(3));
    assert_eq!(before, Ok(()));
    assert_eq!(panicked, Err(TestError::Sql(SqlError::Panicked)));
    assert_eq!(after, Ok(()));
    assert_eq!(test.notes().await, 2);
}

#[tokio::test]
async fn two_hundred_cancelled_callers_lose_no_commit_and_leave_nothing_open() {
    let test = TestStore::open().await;
    let mut abandoned = 0;
    for n in 0..200 {
        // Polled once: the unit is queued, or being written. Then the caller goes.
        let mut call = Box::pin(test.note(n));
        abandoned += u32::from(futures_util::poll!(&mut call).is_pending());
    }
    assert!(
        abandoned > 100,
        "{abandoned} callers went before their answer"
    );
    assert_eq!(test.note(200).await, Ok(()), "the writer still writes");
    assert_eq!(test.notes().await, 201);

    // Another connection gets the write lock: nothing is left open.
    let clock: Arc<dyn Clock> = test.clock.clone();
    let other = SqlStore::connect_with(
        SqlSettings {
            busy_timeout_ms: 1_000,
            ..SqlSettings::new(&url_in(&test.dir))
        },
        clock,
    )
    .await
    .expect("opens");
    let written: Result<(), TestError> = other.write(201, |tx, n| insert(tx, *n).boxed()).await;
    assert_eq!(written, Ok(()));
}

#[tokio::test]
async fn a_cancelled_reader_gives_its_connection_back() {
    let test = TestStore::open_with(|settings| settings.read_connections = 1).await;
    for _ in 0..200 {
        let read = test.store.read((), |tx, ()| count(tx).boxed());
        let mut read = Box::pin(read);
        let _ = futures_util::poll!(&mut read);
    }
    assert_eq!(test.notes().await, 0, "the only connection is free again");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let test = TestStore::open_with(|settings| {
        settings.write_queue_max = 4;
        settings.batch_units_max = 1;
    })
    .await;
    let outcomes = join_all((0..200).map(|n| test.note(n))).await;
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes
        .iter()
        .filter(|outcome| **outcome == Err(TestError::Sql(SqlError::Overloaded)))
        .count();
    assert!(refused > 0, "200 units do not fit into a queue of 4");
    assert_eq!(written + refused, 200);
    assert_eq!(test.notes().await, i64::try_from(written).expect("small"));
}

#[tokio::test]
async fn an_urgent_unit_goes_ahead_of_a_full_queue() {
    let test = TestStore::open_with(|settings| settings.write_queue_max = 4).await;
    let (running, mut runs) = tokio::sync::mpsc::channel::<()>(1);
    let go_on = CancellationToken::new();
    let input = (running, go_on.clone());
    let long = test.store.write(input, |_, (running, go_on)| {
        async move {
            let _ = running.send(()).await;
            go_on.cancelled().await;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let (long, ()) = tokio::join!(long, async {
        runs.recv().await.expect("it runs");
        let mut waiting: Vec<_> = (0..4).map(|n| Box::pin(test.note(n))).collect();
        for note in &mut waiting {
            assert!(futures_util::poll!(note).is_pending());
        }
        let refused = test.note(4).await;
        assert_eq!(refused, Err(TestError::Sql(SqlError::Overloaded)));
        let urgent = test.store.write_urgent((), |tx, ()| count(tx).boxed());
        let mut urgent = Box::pin(urgent);
        assert!(futures_util::poll!(&mut urgent).is_pending());
        go_on.cancel();
        assert_eq!(urgent.await, Ok(0), "none of those who wait came before");
        for note in join_all(waiting).await {
            assert_eq!(note, Ok(()));
        }
    });
    assert_eq!(long, Ok(()));
}

#[tokio::test]
async fn a_full_disk_fails_the_batch_and_the_writer_recovers() {
    let test = TestStore::open().await;
    let fill = test.store.write((), |tx, ()| {
        async move {
            tx.execute_unprepared("PRAGMA max_page_count = 1").await?;
            tx.execute_unprepared("CREATE TABLE bulk AS SELECT randomblob(1000000) AS b")
                .await?;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let full = fill.await;
    assert!(
        matches!(full, Err(TestError::Sql(SqlError::Unavailable(_)))),
        "{full:?}"
    );
    // The limit was the old connection's if SQLite ended the transaction, else
    // the unit alone failed; either way the next units are written.
    assert_eq!(test.note(1).await, Ok(()));
    assert_eq!(test.notes().await, 1);
}

#[tokio::test]
async fn a_transaction_ended_by_the_database_fails_the_batch_as_unknown() {
    let test = TestStore::open().await;
    let ending = test.store.write((), |tx, ()| {
        async move {
            tx.execute_unprepared("ROLLBACK").await?;
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let (before, ended) = tokio::join!(test.note(1), ending);
    assert!(ended.is_err(), "{ended:?}");
    let kept = i64::from(before.is_ok());
    assert_eq!(test.note(2).await, Ok(()), "the connection was replaced");
    assert_eq!(test.notes().await, kept + 1);
}

#[tokio::test]
async fn what_a_reader_leaves_to_be_written_is_refused() {
    let test = TestStore::open().await;
    let left = test.store.read((), |tx, ()| {
        async move {
            tx.defer("INSERT INTO notes (n) VALUES ($1)", [1.into()], 1);
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let refused = left.await;
    assert!(
        matches!(refused, Err(TestError::Sql(SqlError::Unavailable(_)))),
        "{refused:?}"
    );
    assert_eq!(test.notes().await, 0);
}

#[tokio::test]
async fn a_write_that_missed_its_rows_says_so_without_its_text() {
    let test = TestStore::open().await;
    let missed = test.store.write((), |tx, ()| {
        async move {
            tx.defer("INSERT INTO notes (n) VALUES ($1)", [1.into()], 1);
            tx.defer("UPDATE notes SET n = 3 WHERE n = $1", [2.into()], 1);
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    let Err(TestError::Sql(SqlError::Unavailable(why))) = missed.await else {
        panic!("a missed row fails the unit");
    };
    assert!(
        why.ends_with("1 rows changed where 2 should have: INSERT notes, UPDATE notes"),
        "{why}"
    );
    assert_eq!(test.notes().await, 0);
}

#[tokio::test]
async fn readers_cannot_write() {
    let test = TestStore::open().await;
    let written: Result<(), TestError> = test.store.read(1, |tx, n| insert(tx, *n).boxed()).await;
    assert!(written.is_err());
    assert_eq!(test.notes().await, 0);
}

#[tokio::test]
async fn shutdown_finishes_what_waits_and_refuses_what_comes() {
    let test = TestStore::open().await;
    let mut calls: Vec<_> = (0..50).map(|n| Box::pin(test.note(n))).collect();
    for call in &mut calls {
        let _ = futures_util::poll!(call);
    }
    assert!(test.store.shutdown(Duration::from_secs(10)).await);
    for outcome in join_all(calls).await {
        assert_eq!(outcome, Ok(()));
    }
    assert_eq!(test.note(50).await, Err(TestError::Sql(SqlError::Stopped)));
}

#[tokio::test]
async fn migrations_go_up_down_and_up_again() {
    let test = TestStore::open().await;
    let all = test.store.migrate_status().await.expect("status");
    assert!(all.iter().all(|(_, applied)| *applied), "{all:?}");
    let steps = u32::try_from(all.len()).expect("few");
    test.store.migrate_down(steps).await.expect("down");
    let none = test.store.migrate_status().await.expect("status");
    assert!(none.iter().all(|(_, applied)| !*applied), "{none:?}");
    test.store.migrate_up().await.expect("up again");
}

#[tokio::test]
async fn a_database_that_is_not_shared_is_refused() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UnixMs(0)));
    for url in ["sqlite::memory:", "sqlite://x?mode=memory", "oracle://h/d"] {
        let opened = SqlStore::connect(url, Arc::clone(&clock)).await;
        assert!(matches!(opened, Err(SqlError::Unsupported(_))), "{url}");
    }
}

#[tokio::test]
async fn waits_for_a_turn_are_counted_of_reads_and_of_writes() {
    let test = TestStore::open().await;
    let look = |pool| test.store.recent_waits(pool).look().p95_ms();
    // What opening the store took is forgotten.
    for pool in Pool::ALL {
        while look(pool).is_some() {}
    }
    test.note(1).await.expect("writes");
    assert!(look(Pool::Writes).is_some());
    assert_eq!(look(Pool::Reads), None);
    assert_eq!(test.notes().await, 1);
    assert!(look(Pool::Reads).is_some());
    assert_eq!(look(Pool::Background), None);
    let sweep = test
        .store
        .write_background((), |_, ()| async move { Ok::<_, TestError>(()) }.boxed());
    sweep.await.expect("writes");
    assert!(look(Pool::Background).is_some());
}
