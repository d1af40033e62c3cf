//! How units that run side by side hold each other off.
//!
//! On PostgreSQL a unit reads what was committed when each statement began. So
//! a unit that decides on what it reads first locks what its decision is about,
//! and reads then. What waited for a lock also reads the clock again: a unit
//! never acts at a time before what it waited for.
//!
//! Invariant, which keeps them from waiting in a circle: locks are taken in the
//! order command, room, performances (by id), activations (by id), accounts (by
//! name), aggregates. Two units that get in a circle all the same are told by the
//! database, and one runs again.
//!
//! On SQLite there is one writer: all of it is done by being alone.

use sea_orm::{ConnectionTrait, DbErr};
use sha2::{Digest, Sha256};

use super::Tx;
use super::list::List;
use crate::domain::ids::{ActivationId, ResourceId};

const LOCK_NAME: &str = "SELECT pg_advisory_xact_lock($1)";

const LOCK_PERFORMANCES: &str = "\
SELECT id FROM performances WHERE id IN (SELECT v.id FROM {list}) ORDER BY id FOR NO KEY UPDATE";

const LOCK_ACTIVATIONS: &str = "\
SELECT id FROM activations WHERE id IN (SELECT v.id FROM {list}) ORDER BY id FOR NO KEY UPDATE";

/// Holds off all units that lock the same name. Names need no row.
pub async fn name(tx: &Tx, name: &str) -> Result<(), DbErr> {
    if tx.is_alone() || !tx.takes_lock(name) {
        return Ok(());
    }
    tx.lock(LOCK_NAME, vec![number(name).into()]).await
}

/// As [`name`], once the unit writes. Nothing may be decided on it.
pub fn name_later(tx: &Tx, name: &str) {
    if !tx.is_alone() && tx.takes_lock(name) {
        tx.defer(LOCK_NAME, [number(name).into()], 1);
    }
}

/// Holds off all changes of seats and holds of these performances.
pub async fn performances(
    tx: &Tx,
    ids: impl IntoIterator<Item = &ResourceId>,
) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    rows(tx, "performance", ids, LOCK_PERFORMANCES).await
}

/// Holds off claims and ends of these activations, and sales with their passes.
pub async fn activations(
    tx: &Tx,
    ids: impl IntoIterator<Item = ActivationId>,
) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(|id| id.to_string());
    rows(tx, "activation", ids, LOCK_ACTIVATIONS).await
}

/// Those that are not locked yet, in the order of their ids.
async fn rows(
    tx: &Tx,
    kind: &str,
    ids: impl Iterator<Item = String>,
    lock: &str,
) -> Result<(), DbErr> {
    if tx.is_alone() {
        return Ok(());
    }
    let new: Vec<String> = ids
        .filter(|id| tx.takes_lock(&format!("{kind}:{id}")))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let list = List::of_ids(new.iter().map(String::as_str));
    let (lock, values) = list.statement(tx.get_database_backend(), lock, []);
    tx.lock(&lock, values).await
}

/// What of a name the database is told.
fn number(name: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}
