//! Paying a hold from the wallet: money, seats, tickets, the pass and the events
//! of it in one transaction.

use serde_json::json;

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::query::{Row, one};
use super::super::{Tx, outbox};
use super::hold;
use super::ledger::{self, About};
use super::pass;
use super::reservations;
use super::seats::{self, Change, Which};
use super::terms::{Asked, Terms};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, Entry, EntryKind};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::store::sales::{Paid, PayReservation, SalesError, SeatsChanged};

/// Fenced by state and time, so that a hold that ends in this very millisecond
/// cannot be paid.
const CONFIRM: &str = "\
UPDATE reservations SET state = 'confirmed', payment_id = $2, version = version + 1 \
WHERE id = $1 AND state = 'held' AND expires_at > $3";

const INSERT_PAYMENT: &str = "\
INSERT INTO payments (id, reservation_id, user_id, method, state, currency, amount_minor, \
refunded_minor, refunds, live, created_at) \
VALUES ($1, $2, $3, 'wallet', 'succeeded', $4, $5, 0, 0, 1, $6)";

const ISSUE_TICKETS: &str = "\
INSERT INTO tickets (performance_id, seat_id, serial, reservation_id, user_id, live, issued_at) \
SELECT performance_id, id, serial, reservation_id, user_id, 1, $2 \
FROM seats WHERE reservation_id = $1 AND state = 'sold'";

const OWNED: &str = "SELECT * FROM payments WHERE id = $1 AND user_id = $2";

const BY_ID: &str = "SELECT * FROM payments WHERE id = $1";

pub async fn pay(tx: &Tx, command: &PayReservation) -> Result<Paid, SalesError> {
    let slot = Slot::new(&command.once, "PayReservation", &command.reservation)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    reservations::lock(tx, &command.reservation).await?;
    let user = &command.once.user;
    let mut held = reservations::owned(tx, user, &command.reservation).await?;
    held.require_live(tx.now())?;
    let asked = Asked {
        user: Some(user),
        activation: held.activation,
        reservation: Some(&held.id),
    };
    let terms = Terms::read(tx, &held.performance, &asked).await?;

    let payment = charge(tx, &command.id, &held).await?;
    held.payment = Some(payment.id.clone());
    confirm(tx, &mut held, &payment);
    let completed = pass::complete(tx, &terms);
    publish(tx, &held, &payment);
    let changed = SeatsChanged {
        performance: held.performance.clone(),
        recheck_sold_out: terms.room.filter(|_| terms.open_seats == seats_of(&held)),
    };
    slot.keep(
        tx,
        Paid {
            payment,
            changed,
            completed,
        },
    )
}

/// Takes the money and writes the payment.
async fn charge(tx: &Tx, id: &ResourceId, held: &Reservation) -> Result<Payment, SalesError> {
    let payment = Payment {
        id: id.clone(),
        reservation: held.id.clone(),
        user: held.user.clone(),
        amount: held.total,
        refunded: Money::zero(held.total.currency),
        state: PaymentState::Succeeded,
        created_at: tx.now(),
    };
    let entry = Entry::transfer(
        EntryKind::Payment,
        Account::User(held.user.clone()),
        Account::Revenue(held.performance.clone()),
        payment.amount,
    )?;
    let about = About {
        reservation: Some(&held.id),
        payment: Some(id),
        reason: "",
    };
    ledger::post(tx, id, &entry, &about).await?;
    tx.defer(
        INSERT_PAYMENT,
        [
            id.as_str().into(),
            held.id.as_str().into(),
            held.user.as_str().into(),
            payment.amount.currency.as_str().into(),
            payment.amount.amount_minor.into(),
            time_to_column(tx.now()).into(),
        ],
        1,
    );
    Ok(payment)
}

/// HELD → CONFIRMED, the seats SOLD, a ticket for each.
fn confirm(tx: &Tx, held: &mut Reservation, payment: &Payment) {
    let now = time_to_column(tx.now());
    let values = [
        held.id.as_str().into(),
        payment.id.as_str().into(),
        now.into(),
    ];
    tx.defer(CONFIRM, values, 1);
    let sections = seats::count(held.seats.iter().map(|seat| &seat.section));
    let which = Which::Of(&held.id);
    seats::shift(tx, &held.performance, &which, &Change::Sell, &sections);
    let values = [held.id.as_str().into(), now.into()];
    tx.defer(ISSUE_TICKETS, values, seats_of(held));
    held.state = ReservationState::Confirmed;
}

fn seats_of(held: &Reservation) -> u64 {
    u64::try_from(held.seats.len()).unwrap_or(u64::MAX)
}

fn publish(tx: &Tx, held: &Reservation, payment: &Payment) {
    let aggregate = format!("reservation:{}", held.id);
    outbox::append(tx, &aggregate, "reservation.confirmed", &hold::event(held));
    let payload = json!({
        "payment_id": payment.id,
        "reservation_id": payment.reservation,
        "user_id": payment.user,
        "amount": payment.amount,
    });
    outbox::append(tx, &aggregate, "payment.succeeded", &payload);
}

/// The user's own payment; another's does not exist.
pub async fn shown(tx: &Tx, user: &UserId, id: &ResourceId) -> Result<Payment, SalesError> {
    let row = one(tx, OWNED, [id.as_str().into(), user.as_str().into()]).await?;
    read(&row.ok_or(SalesError::NotFound)?)
}

pub async fn any(tx: &Tx, id: &ResourceId) -> Result<Payment, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    read(&row.ok_or(SalesError::NotFound)?)
}

fn read(row: &Row) -> Result<Payment, SalesError> {
    Ok(Payment {
        id: row.id("id")?,
        reservation: row.id("reservation_id")?,
        user: row.user("user_id")?,
        amount: row.money("amount_minor")?,
        refunded: row.money("refunded_minor")?,
        state: row.parsed("state", PaymentState::from_name)?,
        created_at: row.time("created_at")?,
    })
}
