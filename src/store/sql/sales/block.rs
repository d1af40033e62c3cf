//! Taking seats out of the sale, and putting them back.

use serde_json::json;

use super::super::{Tx, locks, outbox};
use super::expiry;
use super::seats::{self, Change, Which};
use super::terms::{Asked, Terms};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::command::{FieldError, SeatChoice};
use crate::store::sales::{BlockSeats, Blocked, SalesError};

pub async fn block(tx: &Tx, command: &BlockSeats) -> Result<Blocked, SalesError> {
    SeatChoice::Named(command.seats.clone()).validate()?;
    if command.reason.trim().is_empty() {
        return Err(FieldError::new("reason", "must not be empty").into());
    }
    let performance = &command.performance;
    locks::performances(tx, [performance]).await?;
    let terms = Terms::read(tx, performance, &Asked::default()).await?;
    if terms.cancelled {
        return Err(SalesError::SaleNotOpen);
    }
    let seats::Named {
        seats: found,
        lapsed,
    } = seats::named(tx, performance, &command.seats).await?;
    let unknown: Vec<ResourceId> =
        missing(&command.seats, |id| found.iter().any(|seat| seat.id == *id));
    if !unknown.is_empty() {
        return Err(SalesError::SeatNotInPerformance { seats: unknown });
    }
    let in_state = |state: SeatState| -> Vec<ResourceId> {
        let seats = found.iter().filter(|seat| seat.state == state);
        seats.map(|seat| seat.id.clone()).collect()
    };
    let taken: Vec<ResourceId> = [SeatState::Held, SeatState::Sold]
        .into_iter()
        .flat_map(in_state)
        .collect();
    if !taken.is_empty() {
        return Err(SalesError::SeatUnavailable { seats: taken });
    }
    let (rows, change) = if command.blocked {
        (in_state(SeatState::Available), Change::Block)
    } else {
        let from = SeatState::Blocked;
        (in_state(from), Change::Free { from })
    };
    if !rows.is_empty() {
        expiry::end_holds(tx, performance, &lapsed).await?;
        let changing = found.iter().filter(|seat| rows.contains(&seat.id));
        let sections = seats::count(changing.map(|seat| &seat.section));
        seats::shift(tx, performance, &Which::Named(&rows), &change, &sections);
        let kind = if command.blocked {
            "seats.blocked"
        } else {
            "seats.unblocked"
        };
        let payload = json!({
            "performance_id": performance,
            "seat_ids": rows,
            "reason": command.reason,
        });
        outbox::append(tx, &format!("performance:{performance}"), kind, &payload);
    }
    Ok(Blocked {
        seats: seats::named(tx, performance, &command.seats).await?.seats,
        changed: seats::changed(tx, performance, terms.room.clone(), terms.sold_out()).await?,
    })
}

fn missing(ids: &[ResourceId], is_known: impl Fn(&ResourceId) -> bool) -> Vec<ResourceId> {
    ids.iter().filter(|id| !is_known(id)).cloned().collect()
}
