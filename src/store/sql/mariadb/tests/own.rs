//! What only MariaDB needs to be asked.

use futures_util::FutureExt;

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::super::{lock_schema_within, open as open_as};
use super::units::{Notes, TestError};
use super::{TestDatabase, open, server, settings};
use crate::store::sql::query::{all, execute, one};
use crate::store::sql::server::{Purpose, what_may_be_lost};
use crate::store::sql::{DatabaseClock, Tx};

/// MariaDB commits each statement that changes the schema: a migration that is
/// cut short leaves what it had made.
#[tokio::test]
async fn a_migration_that_was_cut_short_is_taken_up() {
    let database = TestDatabase::new();
    let before = schema(&database.name);
    let sql = |statement: &str| server::shared().sql(&database.name, statement);
    sql("DELETE FROM seaql_migrations");
    sql("DROP INDEX seats_free ON seats");
    sql("DROP TABLE access_codes");
    sql("ALTER TABLE rooms DROP COLUMN forgotten_at");
    sql("DELETE FROM lock_slots WHERE id > 7");
    let store = open(settings(&database.url), DatabaseClock::Server).await;
    store.migrate_up().await.expect("takes up");
    assert_eq!(schema(&database.name), before);
    // And so is a way back.
    sql("DROP TABLE lock_slots");
    sql("ALTER TABLE rooms DROP COLUMN closed_at");
    let all = store.migrate_status().await.expect("status");
    let steps = u32::try_from(all.len()).expect("few");
    store.migrate_down(steps).await.expect("down");
    assert_eq!(sql("SHOW TABLES").trim(), "seaql_migrations");
}

/// Columns and indexes, by table and name, and how many names can be locked.
fn schema(database: &str) -> String {
    let columns = format!(
        "SELECT table_name, column_name, column_type, collation_name, is_nullable \
         FROM information_schema.columns WHERE table_schema = '{database}' \
         AND table_name <> 'seaql_migrations' ORDER BY table_name, column_name; \
         SELECT table_name, index_name, seq_in_index, column_name, non_unique \
         FROM information_schema.statistics WHERE table_schema = '{database}' \
         ORDER BY table_name, index_name, seq_in_index; \
         SELECT COUNT(*), MIN(id), MAX(id) FROM lock_slots"
    );
    let told = server::shared().sql(database, &columns);
    assert!(told.contains("utf8mb4_nopad_bin"), "{told}");
    assert!(told.contains("4096\t0\t4095"), "{told}");
    assert!(!told.contains("latin1"), "{told}");
    told
}

#[tokio::test]
async fn texts_are_compared_byte_by_byte_and_may_be_long() {
    let test = Notes::open().await;
    let long = "ü".repeat(50_000);
    let written = test.store.write(long.clone(), |tx, long| {
        async move {
            for name in ["a", "A", "a ", "ä", "b", "😀"] {
                let insert = "INSERT INTO concerts (id, name, description, venue, version, \
                              created_at) VALUES ($1, $2, $2, $2, 1, 0)";
                execute(tx, insert, [name.into(), long.as_str().into()]).await?;
            }
            Ok::<_, TestError>(())
        }
        .boxed()
    });
    written.await.expect("six names");
    let read = test.store.read((), |tx, ()| {
        async move {
            let rows = all(tx, "SELECT id, name FROM concerts ORDER BY id", []).await?;
            let texts = rows
                .iter()
                .map(|row| Ok((row.text("id")?, row.text("name")?)));
            Ok::<_, TestError>(texts.collect::<Result<Vec<_>, sea_orm::DbErr>>()?)
        }
        .boxed()
    });
    let (ids, names): (Vec<_>, Vec<_>) = read.await.expect("reads").into_iter().unzip();
    assert_eq!(ids, ["A", "a", "a ", "b", "ä", "😀"]);
    assert!(names.iter().all(|name| *name == long));
}

async fn settings_of(tx: &Tx) -> Result<String, TestError> {
    let select = "SELECT @@tx_isolation || ' ' || @@tx_read_only || ' ' || @@time_zone || ' ' \
                  || @@max_statement_time || ' ' || @@innodb_lock_wait_timeout || ' ' \
                  || @@idle_transaction_timeout || ' ' || @@sql_mode AS said";
    Ok(one(tx, select, []).await?.expect("a row").text("said")?)
}

/// The server of these tests defaults to the contrary of most of it.
#[tokio::test]
async fn a_session_says_for_itself_what_it_needs() {
    let test = Notes::open_with(|settings| {
        settings.statement_timeout_ms = 3_250;
        settings.lock_timeout_ms = 2_001;
    })
    .await;
    let mode = "PIPES_AS_CONCAT,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION";
    let writes = test.store.write((), |tx, ()| settings_of(tx).boxed()).await;
    let expected = format!("READ-COMMITTED OFF +00:00 3.250000 3 4 {mode}");
    assert_eq!(writes, Ok(expected));
    let reads = test.store.read((), |tx, ()| settings_of(tx).boxed()).await;
    let expected = format!("REPEATABLE-READ ON +00:00 3.250000 3 4 {mode}");
    assert_eq!(reads, Ok(expected));
}

/// The server of these tests ends statements after a while where nobody says
/// otherwise.
#[tokio::test]
async fn a_migration_and_an_audit_take_as_long_as_they_take() {
    let database = TestDatabase::new();
    for purpose in [Purpose::Schema, Purpose::Survey] {
        let settings = settings(&database.url);
        let connection = open_as(&settings, purpose).await.expect("opens");
        let select = "SELECT CAST(@@max_statement_time = 0 AND @@idle_transaction_timeout = 0 \
                      AS INT) AS endless";
        let asked = Statement::from_string(DbBackend::MySql, select);
        let row = connection.query_one_raw(asked).await.expect("asks");
        let endless = row.expect("a row").try_get::<i32>("", "endless");
        assert_eq!(endless, Ok(1), "{purpose:?}");
        connection.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_lock_of_the_schema_that_another_has_is_not_taken_for_got() {
    let database = TestDatabase::new();
    let settings = settings(&database.url);
    let first = open_as(&settings, Purpose::Schema).await.expect("opens");
    let second = open_as(&settings, Purpose::Schema).await.expect("opens");
    lock_schema_within(&first, 0).await.expect("is free");
    lock_schema_within(&second, 0)
        .await
        .expect_err("another has it");
    first.close().await.expect("closes");
    // The server notices the close a moment later.
    lock_schema_within(&second, 30).await.expect("is free");
    second.close().await.expect("closes");
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_warned_of() {
    let server = server::Server::start();
    let name = server.create(None);
    let settings = settings(&server.url(&name));
    let connection = open_as(&settings, Purpose::Write).await.expect("opens");
    assert_eq!(what_may_be_lost(&connection).await, Ok(None));
    server.sql(&name, "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    let warning = what_may_be_lost(&connection).await.expect("asks");
    assert!(warning.is_some_and(|text| text.contains("may lose seats")));
    connection.close().await.expect("closes");
}

/// Nothing is cut, and an update counts what it found.
#[tokio::test]
async fn what_does_not_fit_is_refused_and_what_is_so_already_counts() {
    let test = Notes::open().await;
    let too_long = test.store.write("x".repeat(65), |tx, id| {
        async move {
            let insert = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, 1, 1)";
            Ok::<_, TestError>(execute(tx, insert, [id.as_str().into()]).await?)
        }
        .boxed()
    });
    assert!(too_long.await.is_err());
    let same = test.store.write((), |tx, ()| {
        async move {
            execute(tx, "INSERT INTO notes (n, hits) VALUES (1, 5)", []).await?;
            let same = "UPDATE notes SET hits = 5 WHERE n = $1";
            Ok::<_, TestError>(execute(tx, same, [1.into()]).await?)
        }
        .boxed()
    });
    assert_eq!(same.await, Ok(1));
}
