//! Counts that only rise, by name.

use sea_orm::DbErr;

use super::Tx;
use super::columns::to_column;
use super::query::{execute, one};

/// Raised while nodes share a queue, which is told of it afterwards.
pub const QUEUE: &str = "queue";
/// Events that were published up to then may be deleted.
pub const EVENTS_PRUNED: &str = "events-pruned";

const READ: &str = "SELECT value FROM marks WHERE name = $1";
const BEGIN: &str = "INSERT INTO marks (name, value) VALUES ($1, 0) ON CONFLICT DO NOTHING";
const RAISE: &str = "\
UPDATE marks SET value = CASE WHEN value < $2 THEN $2 ELSE value END + 1 WHERE name = $1";
const FORGET: &str = "DELETE FROM marks WHERE name LIKE $1 AND value < $2";
const LIFT: &str = "UPDATE marks SET value = $2 WHERE name = $1 AND value < $2";

/// 0 before it was ever raised.
pub async fn read(tx: &Tx, name: &str) -> Result<u64, DbErr> {
    let row = one(tx, READ, [name.into()]).await?;
    row.map_or(Ok(0), |row| row.count("value"))
}

/// Raises it above what it is, and above `past`; answers it.
pub async fn raise(tx: &Tx, name: &str, past: u64) -> Result<u64, DbErr> {
    let values = || [name.into(), to_column(past).into()];
    if execute(tx, RAISE, values()).await? == 0 {
        execute(tx, BEGIN, [name.into()]).await?;
        execute(tx, RAISE, values()).await?;
    }
    read(tx, name).await
}

/// Raises it to `to`, unless it is there.
pub async fn lift(tx: &Tx, name: &str, to: u64) -> Result<(), DbErr> {
    let values = || [name.into(), to_column(to).into()];
    if execute(tx, LIFT, values()).await? == 0 {
        execute(tx, BEGIN, [name.into()]).await?;
        execute(tx, LIFT, values()).await?;
    }
    Ok(())
}

/// Those whose names begin so and that stand below `below`.
pub async fn forget(tx: &Tx, prefix: &str, below: u64) -> Result<(), DbErr> {
    let values = [format!("{prefix}%").into(), to_column(below).into()];
    execute(tx, FORGET, values).await?;
    Ok(())
}
