//! What only PostgreSQL needs to be asked.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::super::open as open_as;
use super::units::{Notes, TestError, insert, notes};
use super::{TestDatabase, settings, shared};
use crate::store::sql::query::one;
use crate::store::sql::server::{Purpose, what_may_be_lost};

/// As after a switch-over: the server that is asked says that it takes no writes,
/// and another connection finds one that does.
#[tokio::test]
async fn a_server_that_takes_no_writes_any_more_is_left_for_another() {
    let test = Notes::open_with(|settings| settings.write_connections = 1).await;
    let backends = Arc::new(Mutex::new(Vec::new()));
    let written = test.store.write(Arc::clone(&backends), |tx, backends| {
        async move {
            let pid = "SELECT CAST(pg_backend_pid() AS BIGINT) AS pid";
            let pid = one(tx, pid, []).await?.expect("a row").count("pid")?;
            let is_first = {
                let mut backends = backends.lock().expect("whole");
                backends.push(pid);
                backends.len() == 1
            };
            if is_first {
                tx.execute_unprepared("SET TRANSACTION READ ONLY").await?;
            }
            insert(tx, 1).await
        }
        .boxed()
    });
    assert_eq!(written.await, Ok::<_, TestError>(()));
    let backends = backends.lock().expect("whole").clone();
    assert_eq!(backends.len(), 2, "tried again");
    assert_ne!(backends[0], backends[1], "elsewhere");
    assert_eq!(notes(&test.store).await, Ok(1));
}

/// A read that writes is our mistake: nobody connects anew for it.
#[tokio::test]
async fn a_read_that_writes_is_refused_where_it_is() {
    let test = Notes::open_with(|settings| settings.read_connections = 1).await;
    let pid = async || {
        let read = test.store.read((), |tx, ()| {
            async move {
                let pid = "SELECT CAST(pg_backend_pid() AS BIGINT) AS pid";
                Ok::<_, TestError>(one(tx, pid, []).await?.expect("a row").count("pid")?)
            }
            .boxed()
        });
        read.await.expect("reads")
    };
    let before = pid().await;
    let wrote = test.store.read((), |tx, ()| insert(tx, 1).boxed()).await;
    assert!(matches!(wrote, Err(TestError::Sql(_))), "{wrote:?}");
    assert_eq!(pid().await, before);
}

#[tokio::test]
async fn a_migration_and_an_audit_take_as_long_as_they_take() {
    let database = TestDatabase::new();
    let role = format!(
        "ALTER DATABASE {0} SET statement_timeout = 1234; \
         ALTER DATABASE {0} SET idle_in_transaction_session_timeout = 1234",
        database.name
    );
    shared().sql("postgres", &role);
    for purpose in [Purpose::Schema, Purpose::Survey] {
        let connection = open_as(&settings(&database.url), purpose).await;
        let connection = connection.expect("opens");
        let select = "SELECT current_setting('statement_timeout') || ' ' || \
                      current_setting('idle_in_transaction_session_timeout') AS said";
        let asked = Statement::from_string(DbBackend::Postgres, select);
        let row = connection.query_one_raw(asked).await.expect("asks");
        let said = row.expect("a row").try_get::<String>("", "said");
        assert_eq!(said, Ok("0 0".to_owned()), "{purpose:?}");
        connection.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_warned_of() {
    let database = TestDatabase::new();
    for (setting, loses) in [("on", false), ("off", true), ("local", false)] {
        let set = format!(
            "ALTER DATABASE {} SET synchronous_commit = {setting}",
            database.name
        );
        shared().sql("postgres", &set);
        let connection = open_as(&settings(&database.url), Purpose::Write).await;
        let connection = connection.expect("opens");
        let warning = what_may_be_lost(&connection).await.expect("asks");
        assert_eq!(warning.is_some(), loses, "{setting}");
        connection.close().await.expect("closes");
    }
}
