//! Holding seats, and holding them longer.

use serde_json::json;

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::query::{changed_meanwhile, execute, one};
use super::super::{Tx, columns::to_column};
use super::catalog::{self, Terms};
use super::choose;
use super::expiry;
use super::pass;
use super::reservations;
use super::seats::{self, Change, Which};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::catalog::{Seat, SeatState};
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::hold::{Reservation, ReservationState, ReservedSeat};
use crate::domain::sale::money::Money;
use crate::store::sales::{Held, HoldSeats, SalesError, SeatsChanged};

const SEATS_OF_USER: &str = "\
SELECT COUNT(*) AS n FROM seats WHERE performance_id = $1 AND user_id = $2 \
AND (state = 'sold' OR (state = 'held' AND held_until > $3))";

/// Fenced by the version that was read.
const EXTEND: &str = "\
UPDATE reservations SET expires_at = $3, extended = TRUE, version = version + 1 \
WHERE id = $1 AND state = 'held' AND expires_at > $2 AND extended = FALSE";

const EXTEND_SEATS: &str = "\
UPDATE seats SET held_until = $2 WHERE reservation_id = $1 AND state = 'held'";

pub async fn hold(tx: &Tx, command: &HoldSeats) -> Result<Held, SalesError> {
    let performance = &command.performance;
    let slot = Slot::new(&command.once, "HoldSeats", &(performance, &command.choice))?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    let terms = catalog::terms(tx, performance).await?;
    let user = &command.once.user;
    pass::check(tx, user, performance, command.activation).await?;
    if !terms.on_sale {
        return Err(SalesError::SaleNotOpen);
    }
    require_within_limit(tx, command, &terms).await?;
    let chosen = match &command.choice {
        SeatChoice::Named(ids) => named(tx, performance, ids).await?,
        SeatChoice::BestAvailable(wish) => {
            choose::best(tx, performance, terms.currency, wish).await?
        }
    };
    let reservation = take(tx, command, &terms, chosen).await?;
    slot.keep(
        tx,
        Held {
            reservation,
            changed: SeatsChanged {
                performance: performance.clone(),
                // A hold sells nothing.
                recheck_sold_out: None,
            },
        },
    )
    .await
}

/// Held and bought together, counted in the transaction that adds to them.
async fn require_within_limit(
    tx: &Tx,
    command: &HoldSeats,
    terms: &Terms,
) -> Result<(), SalesError> {
    let values = [
        command.performance.as_str().into(),
        command.once.user.as_str().into(),
        time_to_column(tx.now()).into(),
    ];
    let row = one(tx, SEATS_OF_USER, values).await?;
    let has = row.map_or(Ok(0), |row| row.count("n"))?;
    let wants = u64::try_from(command.choice.count()).unwrap_or(u64::MAX);
    if has.saturating_add(wants) > u64::from(terms.seats_per_user_max) {
        return Err(SalesError::LimitPerUser {
            seats_max: terms.seats_per_user_max,
        });
    }
    Ok(())
}

/// The seats of these ids, all free now; expired holds on them are ended.
async fn named(
    tx: &Tx,
    performance: &ResourceId,
    ids: &[ResourceId],
) -> Result<Vec<Seat>, SalesError> {
    let found = seats::named(tx, performance, ids).await?;
    let mut ordered = Vec::with_capacity(ids.len());
    let mut unknown = Vec::new();
    for id in ids {
        match found.iter().find(|seat| seat.id == *id) {
            Some(seat) => ordered.push(seat.clone()),
            None => unknown.push(id.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(SalesError::SeatNotInPerformance { seats: unknown });
    }
    let taken: Vec<ResourceId> = ordered
        .iter()
        .filter(|seat| seat.state != SeatState::Available)
        .map(|seat| seat.id.clone())
        .collect();
    if !taken.is_empty() {
        return Err(SalesError::SeatUnavailable { seats: taken });
    }
    expiry::end_holds_on(tx, performance, ids).await?;
    Ok(ordered)
}

/// Takes free seats, all or none.
async fn take(
    tx: &Tx,
    command: &HoldSeats,
    terms: &Terms,
    chosen: Vec<Seat>,
) -> Result<Reservation, SalesError> {
    let prices: Vec<Money> = chosen.iter().map(|seat| seat.price).collect();
    let ids: Vec<ResourceId> = chosen.iter().map(|seat| seat.id.clone()).collect();
    let seats = chosen.into_iter().map(|seat| ReservedSeat {
        seat: seat.id,
        section: seat.section,
        row: seat.row,
        number: seat.number,
        price: seat.price,
    });
    let reservation = Reservation {
        id: command.id.clone(),
        performance: command.performance.clone(),
        user: command.once.user.clone(),
        activation: command.activation.filter(|_| terms.room.is_some()),
        seats: seats.collect(),
        total: Money::total(terms.currency, &prices)?,
        state: ReservationState::Held,
        created_at: tx.now(),
        expires_at: tx.now().plus_ms(terms.hold_ttl_ms),
        extended: false,
        tickets: Vec::new(),
        payment: None,
    };
    let change = Change::Hold {
        reservation: &reservation.id,
        user: &reservation.user,
        until: reservation.expires_at,
    };
    let taken = seats::shift(tx, &command.performance, &Which::Named(&ids), &change).await?;
    if to_column(taken) != i64::try_from(ids.len()).unwrap_or(i64::MAX) {
        return Err(SalesError::SeatUnavailable { seats: ids });
    }
    reservations::insert(tx, &reservation, terms.room.as_ref()).await?;
    Ok(reservation)
}

pub async fn extend(
    tx: &Tx,
    user: &UserId,
    reservation: &ResourceId,
) -> Result<Reservation, SalesError> {
    let mut held = reservations::owned(tx, user, reservation).await?;
    let terms = catalog::terms(tx, &held.performance).await?;
    held.expires_at = held.extended_until(tx.now(), terms.hold_ttl_ms, terms.hold_total_max_ms)?;
    held.extended = true;
    let until = time_to_column(held.expires_at);
    let values = [
        reservation.as_str().into(),
        time_to_column(tx.now()).into(),
        until.into(),
    ];
    if execute(tx, EXTEND, values).await? != 1 {
        return Err(changed_meanwhile("reservations").into());
    }
    execute(
        tx,
        EXTEND_SEATS,
        [reservation.as_str().into(), until.into()],
    )
    .await?;
    Ok(held)
}

/// The body of an event about a reservation.
pub fn event(reservation: &Reservation) -> serde_json::Value {
    let seats: Vec<&ResourceId> = reservation.seats.iter().map(|seat| &seat.seat).collect();
    json!({
        "reservation_id": reservation.id,
        "performance_id": reservation.performance,
        "user_id": reservation.user,
        "seat_ids": seats,
        "total": reservation.total,
        "payment_id": reservation.payment,
    })
}
