//! Holding seats, and holding them longer.

use serde_json::json;

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::{Tx, locks};
use super::choose;
use super::expiry;
use super::pass;
use super::reservations;
use super::seats::{self, Change, Which};
use super::terms::{Asked, Terms};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::catalog::{Seat, SeatState};
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::hold::{Reservation, ReservationState, ReservedSeat};
use crate::domain::sale::money::Money;
use crate::store::sales::{Held, HoldSeats, SalesError, SeatsChanged};

/// Only while the hold lasts, and once: whoever comes second changes nothing.
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
    locks::performances(tx, [performance]).await?;
    locks::activation(tx, command.activation).await?;
    let user = &command.once.user;
    let asked = Asked {
        user: Some(user),
        activation: command.activation,
        reservation: None,
    };
    let terms = Terms::read(tx, performance, &asked).await?;
    pass::judge(&terms, user, command.activation, tx.now())?;
    if !terms.on_sale {
        return Err(SalesError::SaleNotOpen);
    }
    require_within_limit(command, &terms)?;
    let chosen = match &command.choice {
        SeatChoice::Named(ids) => named(tx, performance, ids).await?,
        SeatChoice::BestAvailable(wish) => {
            choose::best(tx, performance, terms.currency, wish).await?
        }
    };
    let reservation = take(tx, command, &terms, chosen)?;
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
}

/// Held and bought together, counted in the transaction that adds to them.
fn require_within_limit(command: &HoldSeats, terms: &Terms) -> Result<(), SalesError> {
    let wants = u64::try_from(command.choice.count()).unwrap_or(u64::MAX);
    if terms.seats_of_user.saturating_add(wants) > u64::from(terms.seats_per_user_max) {
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
        match found.seats.iter().find(|seat| seat.id == *id) {
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
    expiry::end_holds(tx, performance, &found.lapsed).await?;
    Ok(ordered)
}

/// Takes free seats, all or none.
fn take(
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
    let sections = seats::count(reservation.seats.iter().map(|seat| &seat.section));
    let which = Which::Named(&ids);
    seats::shift(tx, &command.performance, &which, &change, &sections);
    reservations::insert(tx, &reservation, terms.room.as_ref());
    Ok(reservation)
}

pub async fn extend(
    tx: &Tx,
    user: &UserId,
    reservation: &ResourceId,
) -> Result<Reservation, SalesError> {
    reservations::lock(tx, reservation).await?;
    let mut held = reservations::owned(tx, user, reservation).await?;
    let terms = Terms::read(tx, &held.performance, &Asked::default()).await?;
    held.expires_at = held.extended_until(tx.now(), terms.hold_ttl_ms, terms.hold_total_max_ms)?;
    held.extended = true;
    let until = time_to_column(held.expires_at);
    let values = [
        reservation.as_str().into(),
        time_to_column(tx.now()).into(),
        until.into(),
    ];
    tx.defer(EXTEND, values, 1);
    let seats = u64::try_from(held.seats.len()).unwrap_or(u64::MAX);
    let values = [reservation.as_str().into(), until.into()];
    tx.defer(EXTEND_SEATS, values, seats);
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
