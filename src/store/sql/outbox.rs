//! The outbox: events that leave in the transaction that caused them.
//!
//! Each event has a version, counted per aggregate from 1, and a partition that
//! follows from its aggregate. A relay that keeps the order within a partition
//! keeps it within every aggregate.

use sea_orm::{ConnectionTrait, DbErr, Statement};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Tx;
use super::columns::time_to_column;

/// Shares of the outbox that relays lease one by one; a change would re-order
/// events that wait.
pub const OUTBOX_PARTITIONS: u8 = 16;

/// The next version is taken in the insert itself. Published rows may be
/// deleted, but never the last one of an aggregate.
const APPEND: &str = "\
INSERT INTO outbox (aggregate, version, kind, payload, partition_no, created_at, \
                    attempts, next_attempt_at, dead) \
SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3, $4, $5, 0, 0, FALSE \
FROM outbox WHERE aggregate = $1";

/// Leaves an event in the unit's transaction. `aggregate` is what the event
/// speaks of, as `kind/id`: events of one aggregate arrive in order.
///
/// # Errors
/// [`DbErr`] when the database refuses.
pub async fn append(tx: &Tx, aggregate: &str, kind: &str, payload: &Value) -> Result<(), DbErr> {
    tx.execute_raw(Statement::from_sql_and_values(
        tx.get_database_backend(),
        APPEND,
        [
            aggregate.into(),
            kind.into(),
            payload.to_string().into(),
            i64::from(partition_of(aggregate)).into(),
            time_to_column(tx.now()).into(),
        ],
    ))
    .await?;
    Ok(())
}

/// The partition an aggregate's events always go to.
#[must_use]
pub fn partition_of(aggregate: &str) -> u8 {
    Sha256::digest(aggregate)[0] % OUTBOX_PARTITIONS
}
