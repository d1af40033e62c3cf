//! The audit: each invariant as a query for the rows that break it.
//!
//! It reads one snapshot and nothing but tables, so it works beside a running
//! server and on a stopped one's file. It judges by a time read after the
//! snapshot was taken: by an earlier one, holds that ended in between would
//! live beside what came after them. It does not trust the conditions under
//! which rows are written: what two tables say must agree.

use serde_json::Value;

use super::super::columns::{time_to_column, to_column};
use super::super::query::{Row, all, one};
use super::super::{Tx, marks};
use crate::domain::sale::money::AMOUNT_MINOR_MAX;
use crate::domain::time::UnixMs;
use crate::store::outbox::PUBLISHED_KEPT_MS;
use crate::store::sales::audit::VIOLATIONS_TOLD_MAX;
use crate::store::sales::{AuditCheck, AuditReport, SalesError};

/// What `$1` of a query is.
enum Given {
    Nothing,
    Now,
    /// Events published before may be gone.
    Pruned,
    AmountMax,
}

struct Check {
    id: &'static str,
    statement: &'static str,
    query: &'static str,
    given: Given,
}

macro_rules! check {
    ($id:literal, $statement:literal, $file:literal, $given:ident) => {
        Check {
            id: $id,
            statement: $statement,
            query: include_str!(concat!("audit/", $file)),
            given: Given::$given,
        }
    };
}

const CHECKS: &[Check] = &[
    check!("S1", "no seat is sold twice", "s1.sql", Nothing),
    check!("S2", "a seat has at most one live hold", "s2.sql", Now),
    check!(
        "S3",
        "available, held, sold and blocked seats add up in each section",
        "s3.sql",
        Nothing
    ),
    check!(
        "S4",
        "only an active pass holds, and only the owner of a live hold pays",
        "s4.sql",
        Nothing
    ),
    check!("S5", "no user has more seats than allowed", "s5.sql", Now),
    check!("S6", "an ended hold has no seats", "s6.sql", Nothing),
    check!(
        "S7",
        "no paid order without seats, no ticket without payment, every capture issued or refunded",
        "s7.sql",
        Nothing
    ),
    check!(
        "M1",
        "per currency all postings sum to zero",
        "m1.sql",
        Nothing
    ),
    check!("M2", "no wallet is below zero", "m2.sql", Nothing),
    check!("M3", "a command has one effect", "m3.sql", Nothing),
    check!(
        "M4",
        "amounts are in range, in one currency, and the server's prices",
        "m4.sql",
        AmountMax
    ),
    check!(
        "M5",
        "a payment is resolved at most once",
        "m5.sql",
        Nothing
    ),
    check!(
        "M6",
        "the ledger is append-only, and balances are its fold",
        "m6.sql",
        Nothing
    ),
    check!(
        "M7",
        "refunds of a payment never exceed it",
        "m7.sql",
        Nothing
    ),
    check!(
        "M8",
        "what a payment provider took is where its intent says, or on its way back",
        "m8.sql",
        Nothing
    ),
    check!(
        "C1",
        "a campaign issues no more than its stock, and counts what it issued",
        "c1.sql",
        Nothing
    ),
    check!(
        "C2",
        "a user has one coupon of a campaign",
        "c2.sql",
        Nothing
    ),
    check!(
        "C3",
        "a used coupon has one payment, and takes off what that says",
        "c3.sql",
        Nothing
    ),
    check!(
        "Q11",
        "every activation is active or ended once, and its slot freed once",
        "q11.sql",
        Pruned
    ),
];

/// The first statement of a transaction takes its snapshot.
const TAKE_SNAPSHOT: &str = "SELECT id FROM reservations LIMIT 1";

pub async fn audit(tx: &Tx) -> Result<AuditReport, SalesError> {
    one(tx, TAKE_SNAPSHOT, []).await?;
    tx.read_clock().await?;
    let now = tx.now();
    let mut checks = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        let mut violations = violations(tx, check, now).await?;
        if check.id == "M3" {
            lost_effects(tx, &mut violations).await?;
        }
        checks.push(AuditCheck {
            id: check.id.to_owned(),
            statement: check.statement.to_owned(),
            violations: told(violations),
        });
    }
    Ok(AuditReport { checks })
}

async fn violations(tx: &Tx, check: &Check, now: UnixMs) -> Result<Vec<String>, SalesError> {
    let given = match check.given {
        Given::Nothing => None,
        Given::Now => Some(time_to_column(now).into()),
        Given::Pruned => {
            // Not every database says how far it went.
            let before = match marks::read(tx, marks::EVENTS_PRUNED).await? {
                0 => now.0.saturating_sub(PUBLISHED_KEPT_MS),
                mark => mark,
            };
            Some(to_column(before).into())
        }
        Given::AmountMax => Some(AMOUNT_MINOR_MAX.into()),
    };
    let rows = all(tx, check.query, given).await?;
    let mut violations = Vec::with_capacity(rows.len());
    for row in rows {
        // A text is NULL where a part of it is: broken rows may lack anything.
        let text = row.opt_text("violation")?;
        violations.push(text.unwrap_or_else(|| "a row lacks a value".to_owned()));
    }
    Ok(violations)
}

/// A broken store may break often: tell some, and how many more there are.
fn told(mut violations: Vec<String>) -> Vec<String> {
    if violations.len() > VIOLATIONS_TOLD_MAX {
        let more = violations.len() - VIOLATIONS_TOLD_MAX;
        violations.truncate(VIOLATIONS_TOLD_MAX);
        violations.push(format!("and {more} more"));
    }
    violations
}

/// Answers kept by one page of [`KEPT`].
const KEPT_PER_PAGE: usize = 1_000;

const KEPT: &str = "\
SELECT user_id, rpc, idempotency_key, response FROM idempotency \
WHERE user_id > $1 OR (user_id = $1 AND (rpc > $2 OR (rpc = $2 AND idempotency_key > $3))) \
ORDER BY user_id, rpc, idempotency_key LIMIT 1000";

/// Answers that were kept for an effect that is not there.
async fn lost_effects(tx: &Tx, violations: &mut Vec<String>) -> Result<(), SalesError> {
    let mut after = [String::new(), String::new(), String::new()];
    loop {
        let rows = all(tx, KEPT, after.each_ref().map(|part| part.as_str().into())).await?;
        for row in &rows {
            if let Some(violation) = lost_effect(tx, row).await? {
                violations.push(violation);
            }
        }
        match rows.last() {
            Some(last) if rows.len() == KEPT_PER_PAGE => {
                after = [
                    last.text("user_id")?,
                    last.text("rpc")?,
                    last.text("idempotency_key")?,
                ];
            }
            _ => return Ok(()),
        }
    }
}

async fn lost_effect(tx: &Tx, row: &Row) -> Result<Option<String>, SalesError> {
    let command = row.text("rpc")?;
    let answer: Option<Value> = serde_json::from_slice(&row.bytes("response")?).ok();
    let named = |path| {
        answer
            .as_ref()
            .and_then(|answer| answer.pointer(path)?.as_str())
    };
    // Where the answer names its effect, and the table that has it.
    let (path, table) = match command.as_str() {
        // By a payment provider.
        "PayReservation" | "TopUpWallet" if named("/intent").is_some() => {
            ("/intent", "payment_intents")
        }
        "HoldSeats" => ("/reservation/id", "reservations"),
        "PayReservation" => ("/payment/id", "payments"),
        "TopUpWallet" | "CreditWallet" => ("/id", "ledger_entries"),
        _ => return Ok(None),
    };
    let lookup = format!("SELECT id FROM {table} WHERE id = $1");
    let found = match named(path) {
        Some(id) => one(tx, &lookup, [id.into()]).await?.is_some(),
        None => false,
    };
    if found {
        return Ok(None);
    }
    let (user, key) = (row.user("user_id")?, row.text("idempotency_key")?);
    Ok(Some(format!(
        "{command} of {user} under key {key} was answered, its effect is not there"
    )))
}

#[cfg(test)]
mod tests;
