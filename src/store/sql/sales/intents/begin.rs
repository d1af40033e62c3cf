//! Recording an intent: from the commit on, someone finds out how it went,
//! whatever becomes of the node that made it.

use serde::{Deserialize, Serialize};

use super::super::super::Tx;
use super::super::super::columns::time_to_column;
use super::super::super::idempotency::Slot;
use super::super::super::query::one;
use super::super::terms::{Asked, Terms};
use super::super::{hold, ledger, pay, reservations};
use super::{at, load};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::ledger::Account;
use crate::domain::sale::money::Money;
use crate::store::sales::{BeginPayment, BeginTopUp, Begun, SalesError};

const INSERT: &str = "\
INSERT INTO payment_intents (id, user_id, purpose, state, currency, amount_minor, created_at, \
tries, next_at) VALUES ($1, $2, $3, 'pending', $4, $5, $6, 0, $7)";

const INSERT_PAYMENT: &str = "\
INSERT INTO payments (id, reservation_id, user_id, method, state, currency, amount_minor, \
refunded_minor, refunds, live, created_at) \
VALUES ($1, $2, $3, 'gateway', 'pending', $4, $5, 0, 0, 1, $6)";

const EARLIER: &str = "\
SELECT id FROM payments WHERE reservation_id = $1 AND method = 'gateway' LIMIT 1";

/// Only while the hold lasts.
const ATTEMPT: &str = "\
UPDATE reservations SET payment_id = $3, expires_at = $4, version = version + 1 \
WHERE id = $1 AND state = 'held' AND expires_at > $2";

/// The answer kept under the key: what became of the intent is told by its row.
#[derive(Serialize, Deserialize)]
struct Kept {
    intent: ResourceId,
}

async fn repeated(tx: &Tx, slot: &Slot<'_>) -> Result<Option<Begun>, SalesError> {
    match slot.replay::<Kept>(tx).await? {
        None => Ok(None),
        Some(kept) => Ok(Some(Begun {
            intent: load(tx, &kept.intent).await?,
            is_new: false,
        })),
    }
}

pub async fn payment(tx: &Tx, command: &BeginPayment) -> Result<Begun, SalesError> {
    let request = (&command.reservation, &command.token);
    let slot = Slot::new(&command.once, "PayReservation", &request)?;
    if let Some(begun) = repeated(tx, &slot).await? {
        return Ok(begun);
    }
    let user = &command.once.user;
    reservations::lock(tx, &command.reservation).await?;
    let held = reservations::owned(tx, user, &command.reservation).await?;
    held.require_live(tx.now())?;
    let terms = Terms::read(tx, &held.performance, &Asked::default()).await?;
    if terms.cancelled {
        return Err(SalesError::HoldExpired);
    }
    pay::require_none_pending(tx, &held).await?;
    hold_on(tx, &held, command).await?;
    let amount = held.total;
    let values = [
        command.id.as_str().into(),
        held.id.as_str().into(),
        user.as_str().into(),
        amount.currency.as_str().into(),
        amount.amount_minor.into(),
        time_to_column(tx.now()).into(),
    ];
    tx.defer(INSERT_PAYMENT, values, 1);
    let (id, purpose) = (&command.id, IntentPurpose::Payment);
    begin(tx, &slot, id, user, purpose, amount, command.look_after_ms)
}

/// Names the attempt in the reservation. The first makes the hold longer: the
/// provider's time is not the buyer's.
async fn hold_on(tx: &Tx, held: &Reservation, command: &BeginPayment) -> Result<(), SalesError> {
    let until = match one(tx, EARLIER, [held.id.as_str().into()]).await? {
        None => held.expires_at.plus_ms(command.extend_ms),
        Some(_) => held.expires_at,
    };
    let values = [
        held.id.as_str().into(),
        time_to_column(tx.now()).into(),
        command.id.as_str().into(),
        time_to_column(until).into(),
    ];
    tx.defer(ATTEMPT, values, 1);
    hold::keep_seats(tx, held, until);
    Ok(())
}

pub async fn top_up(tx: &Tx, command: &BeginTopUp) -> Result<Begun, SalesError> {
    let deposit = &command.deposit;
    let request = (&deposit.amount, &command.token);
    let slot = Slot::new(&deposit.once, "TopUpWallet", &request)?;
    if let Some(begun) = repeated(tx, &slot).await? {
        return Ok(begun);
    }
    let (amount, wallet) = (deposit.amount, Account::User(deposit.wallet.clone()));
    let balance = ledger::balance(tx, &wallet, Money::zero(amount.currency)).await?;
    // By others meanwhile it may get too much: that is seen when it is posted.
    let room_minor = deposit
        .balance_max_minor
        .saturating_sub(balance.amount_minor);
    amount.charge(room_minor)?;
    let (id, user, purpose) = (&deposit.id, &deposit.wallet, IntentPurpose::TopUp);
    begin(tx, &slot, id, user, purpose, amount, command.look_after_ms)
}

fn begin(
    tx: &Tx,
    slot: &Slot<'_>,
    id: &ResourceId,
    user: &UserId,
    purpose: IntentPurpose,
    amount: Money,
    look_after_ms: u64,
) -> Result<Begun, SalesError> {
    let values = [
        id.as_str().into(),
        user.as_str().into(),
        purpose.as_str().into(),
        amount.currency.as_str().into(),
        amount.amount_minor.into(),
        time_to_column(tx.now()).into(),
        at(tx, look_after_ms).into(),
    ];
    tx.defer(INSERT, values, 1);
    slot.keep(tx, Kept { intent: id.clone() })?;
    Ok(Begun {
        intent: Intent {
            id: id.clone(),
            user: user.clone(),
            purpose,
            state: IntentState::Pending,
            amount,
            provider_id: None,
            created_at: tx.now(),
        },
        is_new: true,
    })
}
