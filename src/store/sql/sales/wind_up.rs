//! Cancelling a performance.
//!
//! One transaction ends the sale: nobody holds or pays from then on, and the
//! seats that are free are blocked. Holds and tickets end behind it, some
//! reservations per step, each step a transaction that goes by the rows alone:
//! whoever does the next, on whichever node, after whatever crash, does what is
//! left. Every reservation is as before or over, with its money given back, at
//! every commit.
//!
//! What asks for the steps is the outbox. `performance.cancelled` asks for the
//! first, and a step that an event asked for leaves `performance.refunding` to
//! ask for the next while there is one. An event that is delivered again finds
//! the one it left, and does nothing.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::columns::to_column;
use super::super::idempotency::Slot;
use super::super::query::{all, one};
use super::super::{Tx, locks, outbox};
use super::catalog::{self, state_from_name};
use super::seats::{self, Change, Counts, Which};
use super::{cancel, expiry, ledger, redeem, reservations};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::PerformanceState;
use crate::domain::sale::command::FieldError;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, MoneyFor};
use crate::store::sales::{
    CancelPerformance, CancelledPerformance, SalesError, SeatsChanged, WindUp, WoundUp,
};

pub const CANCELLED: &str = "performance.cancelled";
pub const REFUNDING: &str = "performance.refunding";

const CANCEL: &str = "\
UPDATE performances SET state = 'cancelled', version = version + 1 \
WHERE id = $1 AND state = 'scheduled'";

const STATE: &str = "SELECT state, concert_id FROM performances WHERE id = $1";

const FREE: &str = "\
SELECT name, available FROM sections WHERE performance_id = $1 AND available > 0";

const PAID: &str = "\
SELECT COUNT(DISTINCT reservation_id) AS n FROM seats WHERE performance_id = $1 AND state = 'sold'";

/// Every seat that is held or sold names its reservation. In the order of an
/// index, so that no more are read than are asked for.
const TAKEN: &str = "\
SELECT reservation_id FROM seats \
WHERE performance_id = $1 AND state = $2 ORDER BY row_rank, number LIMIT $3";

const FOLLOWED: &str = "\
SELECT id FROM outbox WHERE aggregate = $1 AND version > $2 AND kind = $3 LIMIT 1";

pub async fn cancel(
    tx: &Tx,
    command: &CancelPerformance,
) -> Result<CancelledPerformance, SalesError> {
    let id = &command.performance;
    let slot = Slot::new(&command.once, "CancelPerformance", &(id, &command.reason))?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    tx.is_for(Some(command.once.trace()));
    if command.reason.trim().is_empty() {
        return Err(FieldError::new("reason", "must not be empty").into());
    }
    locks::performances(tx, [id]).await?;
    let before = catalog::performance(tx, id).await?;
    let mut recheck_sold_out = None;
    if before.state == PerformanceState::Scheduled {
        tx.defer(CANCEL, [id.as_str().into()], 1);
        block_free(tx, id).await?;
        let payload = json!({
            "performance_id": id,
            "concert_id": before.terms.concert,
            "reason": command.reason,
        });
        outbox::append(tx, &aggregate(id), CANCELLED, &payload);
        recheck_sold_out = before.room;
    }
    let paid = one(tx, PAID, [id.as_str().into()]).await?;
    let cancelled = CancelledPerformance {
        performance: catalog::performance(tx, id).await?,
        refunds_pending: paid.map_or(Ok(0), |row| row.count("n"))?,
        changed: SeatsChanged {
            performance: id.clone(),
            turned: recheck_sold_out.is_some(),
            recheck_sold_out,
        },
    };
    slot.keep(tx, cancelled)
}

pub async fn step(tx: &Tx, step: &WindUp) -> Result<WoundUp, SalesError> {
    let id = &step.performance;
    locks::performances(tx, [id]).await?;
    let row = one(tx, STATE, [id.as_str().into()]).await?;
    let found = row.ok_or(SalesError::NotFound)?;
    let is_over = found.parsed("state", state_from_name)? == PerformanceState::Cancelled;
    if !is_over || was_done(tx, step).await? {
        return Ok(WoundUp::default());
    }
    let taken = taken(tx, id, step.reservations_max).await?;
    let payments: Vec<ResourceId> = taken.iter().filter_map(|it| it.payment.clone()).collect();
    redeem::lock_all(tx, &payments).await?;
    lock_accounts(tx, &taken).await?;
    for reservation in &taken {
        end(tx, reservation).await?;
    }
    // What just came free, and what its owner or the sweep freed meanwhile.
    block_free(tx, id).await?;
    let more = !taken_ids(tx, id, 1).await?.is_empty();
    if more && step.event.is_some() {
        let concert = found.id("concert_id")?;
        let payload = json!({ "performance_id": id, "concert_id": concert, "reason": "" });
        outbox::append(tx, &aggregate(id), REFUNDING, &payload);
    }
    Ok(WoundUp {
        reservations: u64::try_from(taken.len()).unwrap_or(u64::MAX),
        more,
    })
}

fn aggregate(performance: &ResourceId) -> String {
    format!("performance:{performance}")
}

/// Whether the event that asks was delivered before, and left the next.
async fn was_done(tx: &Tx, step: &WindUp) -> Result<bool, SalesError> {
    let Some(version) = step.event else {
        return Ok(false);
    };
    let values = [
        aggregate(&step.performance).into(),
        to_column(version).into(),
        REFUNDING.into(),
    ];
    Ok(one(tx, FOLLOWED, values).await?.is_some())
}

async fn taken_ids(
    tx: &Tx,
    performance: &ResourceId,
    limit: u32,
) -> Result<Vec<ResourceId>, SalesError> {
    let mut ids = BTreeSet::new();
    for state in ["sold", "held"] {
        let left = i64::from(limit) - i64::try_from(ids.len()).unwrap_or(i64::MAX);
        if left < 1 {
            break;
        }
        let values = [performance.as_str().into(), state.into(), left.into()];
        for row in &all(tx, TAKEN, values).await? {
            ids.insert(row.id("reservation_id")?);
        }
    }
    Ok(ids.into_iter().collect())
}

async fn taken(
    tx: &Tx,
    performance: &ResourceId,
    limit: u32,
) -> Result<Vec<Reservation>, SalesError> {
    let mut taken = Vec::new();
    for id in taken_ids(tx, performance, limit).await? {
        taken.push(reservations::any(tx, &id).await?);
    }
    Ok(taken)
}

/// All at once: one by one they would be locked in the order of the
/// reservations, and others lock them in that of their names.
async fn lock_accounts(tx: &Tx, taken: &[Reservation]) -> Result<(), SalesError> {
    let paid = taken
        .iter()
        .filter(|it| it.state == ReservationState::Confirmed);
    let mut accounts = Vec::new();
    for reservation in paid {
        let currency = reservation.total.currency;
        let of = MoneyFor::Performance(reservation.performance.clone());
        // The provider may have taken some of it; nobody else posts there.
        accounts.push((Account::Gateway(of), currency));
        accounts.push((Account::User(reservation.user.clone()), currency));
        accounts.push((Account::Revenue(reservation.performance.clone()), currency));
    }
    ledger::lock(tx, accounts.iter().map(|(name, of)| (name, *of))).await
}

async fn end(tx: &Tx, reservation: &Reservation) -> Result<(), SalesError> {
    match reservation.state_at(tx.now()) {
        ReservationState::Held => {
            cancel::release(tx, reservation.clone());
        }
        ReservationState::Confirmed => {
            cancel::undo(tx, reservation.clone(), "the performance is cancelled").await?;
        }
        ReservationState::Expired | ReservationState::Released | ReservationState::Cancelled => {
            let lapsed = [reservation.id.clone()].into();
            expiry::end_holds(tx, &reservation.performance, &lapsed).await?;
        }
    }
    Ok(())
}

/// Nobody buys them, and a seat map and a room are to say so.
async fn block_free(tx: &Tx, performance: &ResourceId) -> Result<(), SalesError> {
    let mut free = Counts::new();
    for row in all(tx, FREE, [performance.as_str().into()]).await? {
        free.insert(row.text("name")?, row.count("available")?);
    }
    if !free.is_empty() {
        seats::shift(tx, performance, &Which::All, &Change::Block, &free);
    }
    Ok(())
}
