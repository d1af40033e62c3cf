//! How units that run side by side hold each other off.
//!
//! On a server a unit reads what was committed when each statement began. So
//! a unit that decides on what it reads first locks what its decision is about,
//! and reads then. What waited for a lock also reads the clock again: a unit
//! never acts at a time before what it waited for.
//!
//! Invariant, which keeps them from waiting in a circle: locks are taken in the
//! order command, room, performances (by id), campaigns (by id), activations (by
//! id), coupons (by id), accounts (by name), aggregates. Two units that get in a circle all the same are told by the
//! database, and one runs again. Who takes what is free and leaves the rest waits
//! for nobody, and may do so in any order.
//!
//! Names need no row on PostgreSQL. MariaDB has locks on names too, but they are
//! a session's and not a transaction's, and a circle of them and of rows would
//! not be seen: there a name is one of many rows that are there for that
//! (`lock_slots`). Two names may share one, and then wait for each other without
//! need.
//!
//! On SQLite there is one writer: all of it is done by being alone.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sha2::{Digest, Sha256};

use super::Tx;
use super::list::{List, Others, Rows};
use crate::domain::ids::{ActivationId, ResourceId};

const LOCK_NAME: &str = "SELECT pg_advisory_xact_lock($1)";

const LOCK_SLOT: &str = "SELECT id FROM lock_slots WHERE id = $1 FOR UPDATE";

/// As a write, whose rows are counted.
const LOCK_SLOT_LATER: &str = "UPDATE lock_slots SET id = id WHERE id = $1";

const PERFORMANCES: Rows = Rows {
    table: "performances",
    key: &["id"],
    columns: &["id"],
};

const CAMPAIGNS: Rows = Rows {
    table: "campaigns",
    key: &["id"],
    columns: &["id"],
};

const COUPONS: Rows = Rows {
    table: "coupons",
    key: &["id"],
    columns: &["id"],
};

const ACTIVATIONS: Rows = Rows {
    table: "activations",
    key: &["id"],
    columns: &["id"],
};

/// Holds off all units that lock the same name.
pub async fn name(tx: &Tx, name: &str) -> Result<(), DbErr> {
    if tx.is_alone() || !tx.takes_lock(name) {
        return Ok(());
    }
    match tx.get_database_backend() {
        DbBackend::MySql => tx.lock(LOCK_SLOT, vec![slot(name).into()]).await,
        _ => tx.lock(LOCK_NAME, vec![number(name).into()]).await,
    }
}

/// As [`name`], once the unit writes. Nothing may be decided on it.
pub fn name_later(tx: &Tx, name: &str) {
    if tx.is_alone() || !tx.takes_lock(name) {
        return;
    }
    match tx.get_database_backend() {
        DbBackend::MySql => tx.defer(LOCK_SLOT_LATER, [slot(name).into()], 1),
        _ => tx.defer(LOCK_NAME, [number(name).into()], 1),
    }
}

/// Holds off all changes of seats and holds of these performances.
pub async fn performances(
    tx: &Tx,
    ids: impl IntoIterator<Item = &ResourceId>,
) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    rows(tx, ids, &PERFORMANCES).await
}

/// Holds off whatever issues coupons of these campaigns, or changes them.
pub async fn campaigns(tx: &Tx, ids: impl IntoIterator<Item = &ResourceId>) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    rows(tx, ids, &CAMPAIGNS).await
}

/// Holds off claims and ends of these activations, and sales with their passes.
pub async fn activations(
    tx: &Tx,
    ids: impl IntoIterator<Item = ActivationId>,
) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(|id| id.to_string());
    rows(tx, ids, &ACTIVATIONS).await
}

/// Holds off all else that would use these coupons, or give them back.
pub async fn coupons(tx: &Tx, ids: impl IntoIterator<Item = &ResourceId>) -> Result<(), DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    rows(tx, ids, &COUPONS).await
}

/// As [`performances`], of those that nobody else has locked, and so without
/// waiting: answers the ids of the others.
pub async fn free_performances(
    tx: &Tx,
    ids: impl IntoIterator<Item = &ResourceId>,
) -> Result<BTreeSet<String>, DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    free_rows(tx, ids, &PERFORMANCES).await
}

/// As [`free_performances`], of activations.
pub async fn free_activations(
    tx: &Tx,
    ids: impl IntoIterator<Item = ActivationId>,
) -> Result<BTreeSet<String>, DbErr> {
    let ids = ids.into_iter().map(|id| id.to_string());
    free_rows(tx, ids, &ACTIVATIONS).await
}

/// As [`free_performances`], of coupons.
pub async fn free_coupons(
    tx: &Tx,
    ids: impl IntoIterator<Item = &ResourceId>,
) -> Result<BTreeSet<String>, DbErr> {
    let ids = ids.into_iter().map(ResourceId::to_string);
    free_rows(tx, ids, &COUPONS).await
}

async fn free_rows(
    tx: &Tx,
    ids: impl Iterator<Item = String>,
    of: &Rows,
) -> Result<BTreeSet<String>, DbErr> {
    if tx.is_alone() {
        return Ok(BTreeSet::new());
    }
    let name = |id: &str| format!("{}:{id}", of.table);
    let mut left: BTreeSet<String> = ids.filter(|id| !tx.has_lock(&name(id))).collect();
    if left.is_empty() {
        return Ok(left);
    }
    let list = List::of_ids(left.iter().map(String::as_str));
    let (lock, values) = list.lock(tx.get_database_backend(), of, Others::Skip);
    for id in tx.lock_free(&lock, values).await? {
        tx.takes_lock(&name(&id));
        left.remove(&id);
    }
    // What is not there is not locked either.
    let list = List::of_ids(left.iter().map(String::as_str));
    let there = format!(
        "SELECT t.id FROM {{list}} LEFT JOIN {} AS t ON t.id = v.id",
        of.table
    );
    let mut locked = BTreeSet::new();
    for row in &list.all(tx, &there, []).await? {
        locked.extend(row.opt_text("id")?);
    }
    Ok(locked)
}

/// Those that are not locked yet, in the order of their ids.
async fn rows(tx: &Tx, ids: impl Iterator<Item = String>, of: &Rows) -> Result<(), DbErr> {
    if tx.is_alone() {
        return Ok(());
    }
    let mut new: Vec<String> = ids
        .filter(|id| tx.takes_lock(&format!("{}:{id}", of.table)))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    new.sort_unstable();
    let list = List::of_ids(new.iter().map(String::as_str));
    let (lock, values) = list.lock(tx.get_database_backend(), of, Others::Await);
    tx.lock(&lock, values).await
}

/// Its row in `lock_slots`.
fn slot(name: &str) -> i64 {
    number(name).rem_euclid(migrations::LOCK_SLOTS)
}

/// What of a name the database is told.
fn number(name: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}
