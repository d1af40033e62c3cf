//! Giving money back: all or part of a payment, never more than it was.

use serde_json::json;

use super::super::idempotency::Slot;
use super::super::query::{one, unreadable};
use super::super::{Tx, outbox};
use super::cancel;
use super::intents;
use super::ledger::{self, About};
use super::pay;
use super::redeem;
use super::reservations;
use crate::domain::ids::ResourceId;
use crate::domain::sale::command::FieldError;
use crate::domain::sale::ledger::{Account, Entry, EntryKind, MoneyFor};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentMethod, PaymentState};
use crate::store::sales::{RefundPayment, Refunded, SalesError};

/// Fenced by what was refunded before; the table refuses more than the amount.
const REFUND: &str = "\
UPDATE payments SET refunded_minor = $3, state = $4, refunds = refunds + 1 \
WHERE id = $1 AND refunded_minor = $2 AND state IN ('succeeded', 'refunding')";

const REFUNDS: &str = "SELECT refunds FROM payments WHERE id = $1";

/// By an operator. Seats and tickets stay while some of the price does: a
/// capture ends as tickets or as money, never as both.
pub async fn refund(tx: &Tx, command: &RefundPayment) -> Result<Refunded, SalesError> {
    let request = (&command.payment, &command.amount, &command.reason);
    let slot = Slot::new(&command.once, "RefundPayment", &request)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    tx.is_for(Some(command.once.trace()));
    if command.reason.trim().is_empty() {
        return Err(FieldError::new("reason", "must not be empty").into());
    }
    // A payment's reservation never changes, all else of it may.
    let reservation = pay::any(tx, &command.payment).await?.reservation;
    reservations::lock(tx, &reservation).await?;
    let payment = pay::any(tx, &command.payment).await?;
    redeem::lock(tx, &payment).await?;
    let amount = payment.refund(command.amount)?;
    let payment = give_back(tx, payment, amount, &command.reason).await?;
    let changed = match payment.refundable().amount_minor {
        0 => cancel::take_back(tx, &payment.reservation).await?,
        _ => None,
    };
    slot.keep(tx, Refunded { payment, changed })
}

/// Moves the money and writes it down; `amount` is at most what is left.
pub async fn give_back(
    tx: &Tx,
    payment: Payment,
    amount: Money,
    reason: &str,
) -> Result<Payment, SalesError> {
    let reservation = reservations::any(tx, &payment.reservation).await?;
    let refunded = payment.refunded.plus(amount)?;
    let (state, back_to) = match payment.method {
        // On its way until the provider says that it is done.
        PaymentMethod::Gateway => {
            let of = MoneyFor::Performance(reservation.performance.clone());
            (PaymentState::Refunding, Account::Gateway(of))
        }
        PaymentMethod::Wallet if refunded == payment.amount => {
            (PaymentState::Refunded, Account::User(payment.user.clone()))
        }
        PaymentMethod::Wallet => (PaymentState::Succeeded, Account::User(payment.user.clone())),
    };
    let values = [
        payment.id.as_str().into(),
        payment.refunded.amount_minor.into(),
        refunded.amount_minor.into(),
        state.as_str().into(),
    ];
    tx.defer(REFUND, values, 1);
    let entry = Entry::transfer(
        EntryKind::Refund,
        Account::Revenue(reservation.performance.clone()),
        back_to,
        amount,
    )?;
    let about = About {
        reservation: Some(&payment.reservation),
        payment: Some(&payment.id),
        reason,
    };
    let entry_id = next_entry(tx, &payment.id).await?;
    ledger::post(tx, &entry_id, &entry, &about).await?;
    if payment.method == PaymentMethod::Gateway {
        intents::leave_refund(tx, &entry_id, &payment.id, amount);
    }
    tell(tx, &payment, &reservation.performance, amount, reason);
    Ok(Payment {
        refunded,
        state,
        ..payment
    })
}

/// Leaves the event of it.
pub fn tell(tx: &Tx, payment: &Payment, performance: &ResourceId, amount: Money, reason: &str) {
    let payload = json!({
        "payment_id": payment.id,
        "reservation_id": payment.reservation,
        "user_id": payment.user,
        "amount": amount,
        "reason": reason,
        "performance_id": performance,
    });
    let aggregate = format!("reservation:{}", payment.reservation);
    outbox::append(tx, &aggregate, "payment.refunded", &payload);
}

/// The payment's id with the refund's number: no refund is posted twice.
async fn next_entry(tx: &Tx, payment: &ResourceId) -> Result<ResourceId, SalesError> {
    let row = one(tx, REFUNDS, [payment.as_str().into()]).await?;
    let number = row.ok_or(SalesError::NotFound)?.count("refunds")?;
    Ok(ResourceId::parse(&format!("{payment}-r{number}")).map_err(|_| unreadable("id"))?)
}
