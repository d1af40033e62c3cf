//! Giving a reservation back, or a part of it: seats free, tickets void, money
//! returned.
//!
//! A seat given back before the rest moves from `reservation_seats` to
//! `returned_seats`, so that the reservation's seats, total and tickets are
//! always those that it still has.
//!
//! A gate redeems a ticket without a lock. So its owner gives it back by an
//! UPDATE that finds it not redeemed: of the two, the first to write wins.

use sea_orm::Value;

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::query::{Binds, all, changed_meanwhile, execute};
use super::super::{Tx, outbox};
use super::hold;
use super::pay;
use super::redeem;
use super::refund;
use super::reservations;
use super::seats::{self, Change, Which};
use super::terms::{Asked, Terms};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::{Parted, Reservation, ReservationState, ReservedSeat};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::Payment;
use crate::store::sales::{CancelReservation, Cancelled, SalesError, SeatsChanged};

const COMMAND: &str = "CancelReservation";

/// Of a refund.
const BY_OWNER: &str = "cancelled by its owner";

const END: &str = "\
UPDATE reservations SET state = $2, ended_at = $3, version = version + 1 \
WHERE id = $1 AND state = $4";

const REDUCE: &str = "\
UPDATE reservations SET total_minor = $2, version = version + 1 \
WHERE id = $1 AND total_minor = $3 AND state = $4";

/// A coupon had taken off all of it.
const GIVE_BACK_NOTHING: &str = "\
UPDATE payments SET state = 'refunded' WHERE id = $1 AND state = 'succeeded' AND amount_minor = 0";

pub async fn cancel(tx: &Tx, command: &CancelReservation) -> Result<Cancelled, SalesError> {
    let CancelReservation {
        once,
        reservation,
        seats,
    } = command;
    let slot = match seats.is_empty() {
        true => Slot::new(once, COMMAND, reservation)?,
        false => Slot::new(once, COMMAND, &(reservation, seats))?,
    };
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    tx.is_for(Some(once.trace()));
    reservations::lock(tx, reservation).await?;
    let before = reservations::owned(tx, &once.user, reservation).await?;
    let part = match seats.is_empty() {
        true => None,
        false => before.part(seats)?,
    };
    let cancelled = match (before.state_at(tx.now()), part) {
        // Of a finished sale whose tickets are deleted, used or not.
        (ReservationState::Confirmed, _) if before.seats.is_empty() => {
            return Err(SalesError::SaleNotOpen);
        }
        (ReservationState::Held, part) => {
            pay::require_none_pending(tx, &before).await?;
            match part {
                None => release(tx, before),
                Some(part) => release_part(tx, &before, part),
            }
        }
        (ReservationState::Confirmed, None) => {
            void_unused(tx, &before, &before.seats).await?;
            give_back(tx, before, BY_OWNER).await?
        }
        (ReservationState::Confirmed, Some(part)) => {
            void_unused(tx, &before, &part.given_back).await?;
            give_back_part(tx, &before, part).await?
        }
        (ReservationState::Expired, _) => return Err(SalesError::HoldExpired),
        // Over already, by another key: what the user wants is so.
        (ReservationState::Released | ReservationState::Cancelled, _) => Cancelled {
            changed: SeatsChanged {
                performance: before.performance.clone(),
                turned: false,
                recheck_sold_out: None,
            },
            reservation: before,
            refunded: None,
        },
    };
    slot.keep(tx, cancelled)
}

/// A hold that was not paid.
pub fn release(tx: &Tx, mut held: Reservation) -> Cancelled {
    end(tx, &mut held, ReservationState::Released);
    free(tx, &held, SeatState::Held);
    Cancelled {
        changed: SeatsChanged {
            performance: held.performance.clone(),
            // Held seats never counted as sold.
            turned: false,
            recheck_sold_out: None,
        },
        reservation: held,
        refunded: None,
    }
}

/// A paid one, whoever was admitted by its tickets.
pub async fn undo(tx: &Tx, paid: Reservation, reason: &str) -> Result<Cancelled, SalesError> {
    void_all(tx, &paid);
    give_back(tx, paid, reason).await
}

async fn give_back(tx: &Tx, mut paid: Reservation, reason: &str) -> Result<Cancelled, SalesError> {
    let payment = payment_of(tx, &paid).await?;
    redeem::lock(tx, &payment).await?;
    let refunded = refund_rest(tx, payment, reason).await?;
    Ok(Cancelled {
        changed: take_seats(tx, &mut paid).await?,
        reservation: paid,
        refunded,
    })
}

/// Some seats of a hold: it goes on with the others.
fn release_part(tx: &Tx, held: &Reservation, part: Parted) -> Cancelled {
    take_out(tx, held, &part, SeatState::Held);
    Cancelled {
        changed: SeatsChanged {
            performance: held.performance.clone(),
            turned: false,
            recheck_sold_out: None,
        },
        reservation: part.rest,
        refunded: None,
    }
}

/// Some seats of a paid one: what was paid for them goes back.
async fn give_back_part(
    tx: &Tx,
    paid: &Reservation,
    part: Parted,
) -> Result<Cancelled, SalesError> {
    let terms = Terms::read(tx, &paid.performance, &Asked::default()).await?;
    let payment = payment_of(tx, paid).await?;
    let share = payment.share(part.cost, paid.total);
    // With goodwill before it, next to nothing may have been paid for them.
    let refunded = (share.amount_minor > 0).then_some(share);
    if let Some(share) = refunded {
        refund::give_back(tx, payment, share, BY_OWNER).await?;
    }
    take_out(tx, paid, &part, SeatState::Sold);
    // Of the seats that it is about, as when all of them go.
    let gone = Reservation {
        seats: part.given_back,
        total: part.cost,
        ..paid.clone()
    };
    let aggregate = format!("reservation:{}", paid.id);
    outbox::append(tx, &aggregate, "reservation.cancelled", &hold::event(&gone));
    Ok(Cancelled {
        changed: SeatsChanged {
            performance: paid.performance.clone(),
            turned: terms.sold_out(),
            recheck_sold_out: terms.room.clone().filter(|_| terms.sold_out()),
        },
        reservation: part.rest,
        refunded,
    })
}

/// Frees the seats, and writes down that the reservation had them.
fn take_out(tx: &Tx, before: &Reservation, part: &Parted, from: SeatState) {
    let values = [
        before.id.as_str().into(),
        part.rest.total.amount_minor.into(),
        before.total.amount_minor.into(),
        before.state.as_str().into(),
    ];
    tx.defer(REDUCE, values, 1);
    let seats = ids(&part.given_back);
    let sections = seats::count(part.given_back.iter().map(|seat| &seat.section));
    let which = Which::Part(&before.id, &seats);
    let change = Change::Free { from };
    seats::shift(tx, &before.performance, &which, &change, &sections);
    let mut binds = Binds::default();
    let id = binds.bind(before.id.as_str());
    let delete = format!(
        "DELETE FROM reservation_seats WHERE reservation_id = {id} AND seat_id IN ({})",
        binds.ids(&seats)
    );
    tx.defer(&delete, binds.values(), count(&part.given_back));
    let mut binds = Binds::default();
    let id = binds.bind(before.id.as_str());
    let paid = binds.bind(from == SeatState::Sold);
    let now = binds.bind(time_to_column(tx.now()));
    let rows = part.given_back.iter().map(|seat| {
        let (seat_id, price) = (seat.seat.as_str(), seat.price.amount_minor);
        let (seat_id, price) = (binds.bind(seat_id), binds.bind(price));
        format!("({id}, {seat_id}, {price}, {paid}, {now})")
    });
    let rows: Vec<String> = rows.collect();
    let insert = format!(
        "INSERT INTO returned_seats (reservation_id, seat_id, price_minor, paid, returned_at) \
         VALUES {}",
        rows.join(", ")
    );
    tx.defer(&insert, binds.values(), count(&part.given_back));
}

fn ids(seats: &[ReservedSeat]) -> Vec<ResourceId> {
    seats.iter().map(|seat| seat.seat.clone()).collect()
}

fn count(seats: &[ReservedSeat]) -> u64 {
    u64::try_from(seats.len()).unwrap_or(u64::MAX)
}

/// Cancels a reservation whose payment was given back whole.
pub async fn take_back(tx: &Tx, id: &ResourceId) -> Result<Option<SeatsChanged>, SalesError> {
    let mut paid = reservations::any(tx, id).await?;
    match paid.state {
        ReservationState::Confirmed => {
            void_all(tx, &paid);
            Ok(Some(take_seats(tx, &mut paid).await?))
        }
        ReservationState::Held
        | ReservationState::Released
        | ReservationState::Expired
        | ReservationState::Cancelled => Ok(None),
    }
}

/// By an operator: redeemed ones too, which keeps the time of that.
fn void_all(tx: &Tx, paid: &Reservation) {
    if paid.seats.is_empty() {
        return;
    }
    let (void, values) = void(tx, paid, &ids(&paid.seats));
    tx.defer(&void, values, count(&paid.seats));
}

/// By their owner: at once, so that no gate admits them from here on.
async fn void_unused(
    tx: &Tx,
    paid: &Reservation,
    seats: &[ReservedSeat],
) -> Result<(), SalesError> {
    let (void, values) = void(tx, paid, &ids(seats));
    let unused = format!("{void} AND redeemed_at IS NULL");
    if execute(tx, &unused, values).await? == count(seats) {
        return Ok(());
    }
    let mut binds = Binds::default();
    let id = binds.bind(paid.id.as_str());
    let redeemed = format!(
        "SELECT seat_id FROM tickets WHERE reservation_id = {id} AND redeemed_at IS NOT NULL \
         AND seat_id IN ({}) ORDER BY seat_id",
        binds.ids(&ids(seats))
    );
    let rows = all(tx, &redeemed, binds.values()).await?;
    let seats = rows.iter().map(|row| row.id("seat_id"));
    Err(SalesError::TicketRedeemed {
        seats: seats.collect::<Result<_, _>>()?,
    })
}

/// Later than any other of the performance, whatever the clock says: who has seen
/// the last one voided has missed none. Nobody else voids one meanwhile.
fn void(tx: &Tx, paid: &Reservation, seats: &[ResourceId]) -> (String, Vec<Value>) {
    let mut binds = Binds::default();
    let now = binds.bind(time_to_column(tx.now()));
    let performance = binds.bind(paid.performance.as_str());
    let id = binds.bind(paid.id.as_str());
    let void = format!(
        "UPDATE tickets SET live = NULL, voided_at = (\
         SELECT CASE WHEN seen.latest >= {now} THEN seen.latest + 1 ELSE {now} END FROM (\
         SELECT COALESCE(MAX(voided_at), 0) AS latest FROM tickets \
         WHERE performance_id = {performance}) AS seen) \
         WHERE reservation_id = {id} AND live = 1 AND seat_id IN ({})",
        binds.ids(seats)
    );
    (void, binds.values())
}

/// Frees the seats, and the coupon; money and tickets are the caller's matter.
async fn take_seats(tx: &Tx, paid: &mut Reservation) -> Result<SeatsChanged, SalesError> {
    let terms = Terms::read(tx, &paid.performance, &Asked::default()).await?;
    redeem::give_back(tx, &payment_of(tx, paid).await?).await?;
    end(tx, paid, ReservationState::Cancelled);
    free(tx, paid, SeatState::Sold);
    paid.tickets.clear();
    let aggregate = format!("reservation:{}", paid.id);
    outbox::append(tx, &aggregate, "reservation.cancelled", &hold::event(paid));
    Ok(SeatsChanged {
        performance: paid.performance.clone(),
        turned: terms.sold_out(),
        recheck_sold_out: terms.room.clone().filter(|_| terms.sold_out()),
    })
}

/// An operator may have given back some or all of it before.
async fn refund_rest(tx: &Tx, payment: Payment, reason: &str) -> Result<Option<Money>, SalesError> {
    let left = payment.refundable();
    if left.amount_minor == 0 {
        if payment.amount.amount_minor == 0 {
            tx.defer(GIVE_BACK_NOTHING, [payment.id.as_str().into()], 1);
        }
        return Ok(None);
    }
    refund::give_back(tx, payment, left, reason).await?;
    Ok(Some(left))
}

async fn payment_of(tx: &Tx, paid: &Reservation) -> Result<Payment, SalesError> {
    match &paid.payment {
        Some(payment) => pay::any(tx, payment).await,
        None => Err(changed_meanwhile("payments").into()),
    }
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
