//! What each database says about how it will find rows.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};

use super::super::Tx;

/// Tables that grow with what is sold; the others are small.
const GROWING: [&str; 16] = [
    "seats",
    "reservations",
    "reservation_seats",
    "tickets",
    "payments",
    "ledger_entries",
    "ledger_postings",
    "accounts",
    "activations",
    "outbox",
    "idempotency",
    "returned_seats",
    "payment_intents",
    "gateway_refunds",
    "gateway_events",
    "coupons",
];
/// How a table's primary key is called here.
pub const KEY: &str = "its key";
/// Reads the oldest first and stops.
const BOUNDED: &str = "ORDER BY created_at LIMIT";

#[derive(Debug)]
pub struct Plan {
    pub sql: String,
    /// Growing tables that are read from end to end.
    pub scans: Vec<String>,
    pub indexes: BTreeSet<String>,
    #[expect(dead_code, reason = "shown when a test fails")]
    told: Vec<String>,
}

/// One line of a plan.
#[derive(Default)]
struct Step {
    /// By its name in the statement.
    scan: Option<String>,
    index: Option<String>,
    told: String,
}

/// The plans of all that was asked since the last time.
///
/// # Errors
/// What the database said.
pub async fn explained(tx: &Tx) -> Result<Vec<Plan>, DbErr> {
    let backend = tx.get_database_backend();
    let explain = match backend {
        DbBackend::Sqlite => "EXPLAIN QUERY PLAN",
        _ => "EXPLAIN",
    };
    let mut plans = Vec::new();
    for statement in tx.take_asked().await? {
        let sql = statement.sql.clone();
        if sql.starts_with("INSERT") && sql.contains("VALUES") {
            continue;
        }
        let question = Statement {
            sql: format!("{explain} {sql}"),
            ..statement
        };
        let mut steps = Vec::new();
        for row in tx.query_all_raw(question).await? {
            steps.push(match backend {
                DbBackend::Postgres => of_postgres(&row)?,
                DbBackend::MySql => of_mariadb(&row)?,
                _ => of_sqlite(&row)?,
            });
        }
        plans.push(plan(sql, steps));
    }
    // The questions themselves.
    tx.take_asked().await?;
    Ok(plans)
}

fn plan(sql: String, steps: Vec<Step>) -> Plan {
    let named = names(&sql);
    let scanned = steps.iter().filter_map(|step| step.scan.as_ref());
    let growing = scanned.filter(|name| named.contains(*name));
    let scans = match sql.contains(BOUNDED) {
        true => Vec::new(),
        false => growing.cloned().collect(),
    };
    Plan {
        scans,
        indexes: steps.iter().filter_map(|step| step.index.clone()).collect(),
        told: steps.into_iter().map(|step| step.told).collect(),
        sql,
    }
}

/// What a statement calls growing tables: their names, and the names that it
/// gives them.
fn names(sql: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = sql
        .split(|c: char| !is_name(c))
        .filter(|word| !word.is_empty())
        .collect();
    let mut names: BTreeSet<String> = GROWING.map(str::to_owned).into();
    for (at, word) in words.iter().enumerate() {
        if GROWING.contains(word) {
            let given = words[at + 1..].iter().find(|word| **word != "AS");
            names.extend(given.map(|given| (*given).to_owned()));
        }
    }
    names
}

fn index(name: &str) -> Option<String> {
    let is_key = name == "PRIMARY" || name.ends_with("_pkey") || name.starts_with("sqlite_auto");
    Some(if is_key { KEY } else { name }.to_owned())
}

/// Lines such as `->  Index Scan using seats_free on seats s  (cost=…`.
fn of_postgres(row: &QueryResult) -> Result<Step, DbErr> {
    let told: String = row.try_get_by_index(0)?;
    let after = |what: &str| {
        let (_, rest) = told.split_once(what)?;
        rest.split([' ', '(']).next().map(str::to_owned)
    };
    let by = after(" using ").or_else(|| after("Bitmap Index Scan on "));
    Ok(Step {
        scan: after("Seq Scan on "),
        index: by.as_deref().and_then(index),
        told,
    })
}

fn of_mariadb(row: &QueryResult) -> Result<Step, DbErr> {
    let text = |column: &str| -> Result<String, DbErr> {
        let value: Option<String> = row.try_get("", column)?;
        Ok(value.unwrap_or_default())
    };
    let (kind, how) = (text("select_type")?, text("type")?);
    let (table, key) = (text("table")?, text("key")?);
    // What is inserted into is listed as if it were read.
    let is_scan = kind != "INSERT" && matches!(how.as_str(), "ALL" | "index");
    // The second of two is a filter on what the first finds.
    let found_by = key.split('|').next().filter(|key| !key.is_empty());
    Ok(Step {
        index: found_by.and_then(index),
        told: format!("{kind} {table} {how} {key} {}", text("Extra")?),
        scan: is_scan.then_some(table),
    })
}

/// Lines such as `SEARCH s USING INDEX seats_free (performance_id=?)`.
fn of_sqlite(row: &QueryResult) -> Result<Step, DbErr> {
    let told: String = row.try_get("", "detail")?;
    let scan = told.strip_prefix("SCAN ").map(|rest| {
        let name = rest.split(' ').next().unwrap_or_default();
        name.to_owned()
    });
    let by = told
        .split_once("INDEX ")
        .and_then(|(_, rest)| rest.split(' ').next());
    let by = by.or_else(|| told.contains("PRIMARY KEY").then_some("PRIMARY"));
    Ok(Step {
        index: by.and_then(index),
        scan,
        told,
    })
}
