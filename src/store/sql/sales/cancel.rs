//! Giving a reservation back: seats free, tickets void, money returned.

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::query::changed_meanwhile;
use super::super::{Tx, outbox};
use super::hold;
use super::pay;
use super::refund;
use super::reservations;
use super::seats::{self, Change, Which};
use super::terms::{Asked, Terms};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::money::Money;
use crate::store::sales::{Cancelled, Once, SalesError, SeatsChanged};

const END: &str = "\
UPDATE reservations SET state = $2, ended_at = $3, version = version + 1 \
WHERE id = $1 AND state = $4";

const VOID_TICKETS: &str = "\
UPDATE tickets SET live = NULL, voided_at = $2 WHERE reservation_id = $1 AND live = 1";

pub async fn cancel(
    tx: &Tx,
    once: &Once,
    reservation: &ResourceId,
) -> Result<Cancelled, SalesError> {
    let slot = Slot::new(once, "CancelReservation", reservation)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    reservations::lock(tx, reservation).await?;
    let before = reservations::owned(tx, &once.user, reservation).await?;
    let cancelled = match before.state_at(tx.now()) {
        ReservationState::Held => release(tx, before),
        ReservationState::Confirmed => undo(tx, before).await?,
        ReservationState::Expired => return Err(SalesError::HoldExpired),
        // Over already, by another key: what the user wants is so.
        ReservationState::Released | ReservationState::Cancelled => Cancelled {
            changed: SeatsChanged {
                performance: before.performance.clone(),
                recheck_sold_out: None,
            },
            reservation: before,
            refunded: None,
        },
    };
    slot.keep(tx, cancelled)
}

/// A hold that was not paid.
fn release(tx: &Tx, mut held: Reservation) -> Cancelled {
    end(tx, &mut held, ReservationState::Released);
    free(tx, &held, SeatState::Held);
    Cancelled {
        changed: SeatsChanged {
            performance: held.performance.clone(),
            // Held seats never counted as sold.
            recheck_sold_out: None,
        },
        reservation: held,
        refunded: None,
    }
}

/// A paid one.
async fn undo(tx: &Tx, mut paid: Reservation) -> Result<Cancelled, SalesError> {
    let refunded = refund_rest(tx, &paid).await?;
    Ok(Cancelled {
        changed: void(tx, &mut paid).await?,
        reservation: paid,
        refunded,
    })
}

/// Cancels a reservation whose payment was given back whole.
pub async fn take_back(tx: &Tx, id: &ResourceId) -> Result<Option<SeatsChanged>, SalesError> {
    let mut paid = reservations::any(tx, id).await?;
    match paid.state {
        ReservationState::Confirmed => Ok(Some(void(tx, &mut paid).await?)),
        ReservationState::Held
        | ReservationState::Released
        | ReservationState::Expired
        | ReservationState::Cancelled => Ok(None),
    }
}

/// Frees the seats and voids the tickets; the money is the caller's matter.
async fn void(tx: &Tx, paid: &mut Reservation) -> Result<SeatsChanged, SalesError> {
    let terms = Terms::read(tx, &paid.performance, &Asked::default()).await?;
    end(tx, paid, ReservationState::Cancelled);
    free(tx, paid, SeatState::Sold);
    let now = time_to_column(tx.now());
    let values = [paid.id.as_str().into(), now.into()];
    tx.defer(VOID_TICKETS, values, seats_of(paid));
    paid.tickets.clear();
    let aggregate = format!("reservation:{}", paid.id);
    outbox::append(tx, &aggregate, "reservation.cancelled", &hold::event(paid));
    Ok(SeatsChanged {
        performance: paid.performance.clone(),
        recheck_sold_out: terms.room.clone().filter(|_| terms.sold_out()),
    })
}

/// An operator may have given back some or all of it before.
async fn refund_rest(tx: &Tx, paid: &Reservation) -> Result<Option<Money>, SalesError> {
    let Some(payment) = &paid.payment else {
        return Err(changed_meanwhile("payments").into());
    };
    let payment = pay::any(tx, payment).await?;
    let left = payment.refundable();
    if left.amount_minor == 0 {
        return Ok(None);
    }
    refund::give_back(tx, payment, left, "cancelled by its owner").await?;
    Ok(Some(left))
}

fn end(tx: &Tx, reservation: &mut Reservation, to: ReservationState) {
    let values = [
        reservation.id.as_str().into(),
        to.as_str().into(),
        time_to_column(tx.now()).into(),
        reservation.state.as_str().into(),
    ];
    tx.defer(END, values, 1);
    reservation.state = to;
}

fn free(tx: &Tx, reservation: &Reservation, from: SeatState) {
    let sections = seats::count(reservation.seats.iter().map(|seat| &seat.section));
    let which = Which::Of(&reservation.id);
    let change = Change::Free { from };
    seats::shift(tx, &reservation.performance, &which, &change, &sections);
}

fn seats_of(reservation: &Reservation) -> u64 {
    u64::try_from(reservation.seats.len()).unwrap_or(u64::MAX)
}
