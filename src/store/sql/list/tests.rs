//! Lists arrive as they were sent, on each database.

use futures_util::FutureExt;

use super::*;
use crate::domain::time::UnixMs;
use crate::store::sales::SalesError;
use crate::store::sql::SqlStore;
use crate::store::sql::{mariadb::tests as mariadb, postgres::tests as postgres};

const COLUMNS: &[Column] = &[Column::Integer("n"), Column::Long("a"), Column::Bytes("b")];

type Read = (Option<String>, Option<Vec<u8>>);

fn hard_rows() -> Vec<Read> {
    let texts = [
        "",
        "NULL",
        "null",
        "a,b",
        "{}",
        "\"",
        "\\",
        "'",
        "$1",
        "{list}",
        "ünï 좌석",
        "a\nb\t\u{1}",
        "1",
        " ",
    ];
    let mut rows: Vec<Read> = texts
        .iter()
        .map(|text| (Some((*text).to_owned()), Some(text.as_bytes().to_vec())))
        .collect();
    rows.push((None, None));
    rows.push((Some(String::new()), Some((0..=255).collect())));
    rows
}

async fn echo(store: &SqlStore, rows: Vec<Read>) -> Vec<Read> {
    let echoed = store.read(rows, |tx, rows: &Vec<Read>| {
        async move {
            let mut list = List::new(COLUMNS);
            for (n, (a, b)) in (0_i64..).zip(rows) {
                list.push([n.into(), a.clone().into(), b.clone().into()]);
            }
            let query = "SELECT v.n, v.a, v.b FROM {list} WHERE v.n >= $1 ORDER BY v.n";
            let found = list.all(tx, query, [0_i64.into()]).await?;
            let read = |row: &Row| Ok((row.opt_text("a")?, row.opt_bytes("b")?));
            found
                .iter()
                .map(read)
                .collect::<Result<Vec<Read>, DbErr>>()
                .map_err(SalesError::from)
        }
        .boxed()
    });
    echoed.await.expect("reads")
}

#[tokio::test]
async fn a_list_arrives_as_it_was_sent() {
    let sqlite = crate::store::sql::sales::tests::Sqlite::open().await;
    assert_eq!(echo(&sqlite.store, hard_rows()).await, hard_rows());
    let (postgres, _clock, _database) = postgres::open_store(UnixMs(1)).await;
    assert_eq!(echo(&postgres, hard_rows()).await, hard_rows());
    let (mariadb, _clock, _database) = mariadb::open_store(UnixMs(1)).await;
    assert_eq!(echo(&mariadb, hard_rows()).await, hard_rows());
}

#[test]
fn a_statement_keeps_its_own_values_in_front() {
    let mut list = List::new(&[Column::Text("id"), Column::Integer("k")]);
    list.push(["a\"b".into(), 1.into()]);
    list.push([Cell::Null, Cell::Null]);
    let sql = "SELECT $1 FROM {list}";
    let (text, values) = list.statement(DbBackend::Postgres, sql, [7.into()]);
    assert_eq!(
        text,
        "SELECT $1 FROM unnest(CAST($2 AS text[]), CAST($3 AS bigint[])) AS v (id, k)"
    );
    assert_eq!(
        values,
        [7.into(), r#"{"a\"b",NULL}"#.into(), "{1,NULL}".into()]
    );
    let (text, values) = list.statement(DbBackend::Sqlite, sql, [7.into()]);
    assert_eq!(
        text,
        "SELECT $1 FROM (SELECT value ->> 0 AS id, value ->> 1 AS k FROM json_each($2)) AS v"
    );
    assert_eq!(values, [7.into(), r#"[["a\"b",1],[null,null]]"#.into()]);
    let (text, values) = list.statement(DbBackend::MySql, sql, [7.into()]);
    assert_eq!(
        text,
        "SELECT $1 FROM (SELECT id, k FROM JSON_TABLE($2, '$[*]' COLUMNS \
         (id VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PATH '$[0]', \
         k BIGINT PATH '$[1]')) AS j) AS v"
    );
    assert_eq!(values, [7.into(), r#"[["a\"b",1],[null,null]]"#.into()]);
}
