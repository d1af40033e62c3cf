//! Paying a hold from the wallet: money, seats, tickets, the pass and the events
//! of it in one transaction.

use serde_json::json;

use super::super::columns::time_to_column;
use super::super::idempotency::Slot;
use super::super::query::{Row, changed_meanwhile, execute, one};
use super::super::{Tx, outbox};
use super::catalog;
use super::hold;
use super::ledger::{self, About};
use super::pass;
use super::reservations;
use super::seats::{self, Change, Which};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, Entry, EntryKind};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::store::sales::{Paid, PayReservation, SalesError};

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
    let user = &command.once.user;
    let mut held = reservations::owned(tx, user, &command.reservation).await?;
    held.require_live(tx.now())?;
    let terms = catalog::terms(tx, &held.performance).await?;

    let payment = charge(tx, &command.id, &held).await?;
    held.payment = Some(payment.id.clone());
    confirm(tx, &mut held, &payment).await?;
    let completed = pass::complete(tx, held.activation).await?;
    publish(tx, &held, &payment).await?;
    let changed = seats::changed(tx, &held.performance, terms.room, terms.sold_out).await?;
    slot.keep(
        tx,
        Paid {
            payment,
            changed,
            completed,
        },
    )
    .await
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
    execute(
        tx,
        INSERT_PAYMENT,
        [
            id.as_str().into(),
            held.id.as_str().into(),
            held.user.as_str().into(),
            payment.amount.currency.as_str().into(),
            payment.amount.amount_minor.into(),
            time_to_column(tx.now()).into(),
        ],
    )
    .await?;
    Ok(payment)
}

/// HELD → CONFIRMED, the seats SOLD, a ticket for each.
async fn confirm(tx: &Tx, held: &mut Reservation, payment: &Payment) -> Result<(), SalesError> {
    let now = time_to_column(tx.now());
    let values = [
        held.id.as_str().into(),
        payment.id.as_str().into(),
        now.into(),
    ];
    if execute(tx, CONFIRM, values).await? != 1 {
        return Err(SalesError::HoldExpired);
    }
    let sold = seats::shift(tx, &held.performance, &Which::Of(&held.id), &Change::Sell).await?;
    if usize::try_from(sold) != Ok(held.seats.len()) {
        return Err(changed_meanwhile("seats").into());
    }
    execute(tx, ISSUE_TICKETS, [held.id.as_str().into(), now.into()]).await?;
    held.state = ReservationState::Confirmed;
    held.tickets = reservations::tickets(tx, &held.id).await?;
    Ok(())
}

async fn publish(tx: &Tx, held: &Reservation, payment: &Payment) -> Result<(), SalesError> {
    let aggregate = format!("reservation:{}", held.id);
    outbox::append(tx, &aggregate, "reservation.confirmed", &hold::event(held)).await?;
    let payload = json!({
        "payment_id": payment.id,
        "reservation_id": payment.reservation,
        "user_id": payment.user,
        "amount": payment.amount,
    });
    outbox::append(tx, &aggregate, "payment.succeeded", &payload).await?;
    Ok(())
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
