//! Recording an intent: from the commit on, someone finds out how it went,
//! whatever becomes of the node that made it.

use serde::{Deserialize, Serialize};

use super::super::super::columns::time_to_column;
use super::super::super::idempotency::Slot;
use super::super::super::query::one;
use super::super::super::{Tx, locks, outbox};
use super::super::redeem::{self, Redeemables};
use super::super::terms::{Asked, Terms};
use super::super::{hold, ledger, pay, reservations};
use super::{at, load};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::command::FieldError;
use crate::domain::sale::coupon::CouponState;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::ledger::Account;
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentMethod, PaymentState};
use crate::domain::time::UnixMs;
use crate::store::sales::{BeginPayment, BeginTopUp, Begun, SalesError};

/// By the commands' names their answers are kept.
pub const PAY: &str = "PayReservation";
pub const TOP_UP: &str = "TopUpWallet";

const INSERT: &str = "\
INSERT INTO payment_intents (id, user_id, purpose, state, currency, amount_minor, created_at, \
tries, next_at, provider, deadline_at) VALUES ($1, $2, $3, 'pending', $4, $5, $6, 0, $7, $8, $9)";

const PENDING_OF_USER: &str = "\
SELECT COUNT(*) AS n FROM payment_intents WHERE user_id = $1 AND state = 'pending'";

/// Each is a call to the provider, and a guess of a token.
const PENDING_PER_USER_MAX: u64 = 4;

const INSERT_PAYMENT: &str = "\
INSERT INTO payments (id, reservation_id, user_id, method, state, currency, amount_minor, \
refunded_minor, refunds, live, created_at, coupon_id, discount_minor) \
VALUES ($1, $2, $3, 'gateway', 'pending', $4, $5, 0, 0, 1, $6, $7, $8)";

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
    let (reservation, token) = (&command.reservation, &command.token);
    let slot = match &command.coupon {
        None => Slot::new(&command.once, PAY, &(reservation, token))?,
        Some(coupon) => Slot::new(&command.once, PAY, &(reservation, token, coupon))?,
    };
    if let Some(begun) = repeated(tx, &slot).await? {
        return Ok(begun);
    }
    tx.is_for(Some(command.once.trace()));
    let user = &command.once.user;
    reservations::lock(tx, &command.reservation).await?;
    // It may take a while, in which the hold ends.
    locks::coupons(tx, &command.coupon).await?;
    let held = reservations::owned(tx, user, &command.reservation).await?;
    held.require_live(tx.now())?;
    let terms = Terms::read(tx, &held.performance, &Asked::default()).await?;
    if terms.cancelled {
        return Err(SalesError::HoldExpired);
    }
    pay::require_none_pending(tx, &held).await?;
    require_few_pending(tx, user).await?;
    let mut coupons = Redeemables::read(tx, command.coupon.iter().collect()).await?;
    let purchase = redeem::purchase(&held, &terms.concert);
    let coupon = command.coupon.as_ref();
    let coupon = coupon.map(|id| coupons.judge(id, user, &purchase, tx.now()));
    let coupon = coupon.transpose()?;
    let amount = pay::reduced(held.total, coupon.as_ref())?;
    if amount.amount_minor == 0 {
        let why = "must not be asked for nothing: with this coupon wallet pays it";
        return Err(FieldError::new("gateway", why).into());
    }
    let until = hold_on(tx, &held, command).await?;
    let payment = Payment {
        id: command.id.clone(),
        reservation: held.id.clone(),
        user: user.clone(),
        method: PaymentMethod::Gateway,
        amount,
        coupon,
        refunded: Money::zero(amount.currency),
        state: PaymentState::Pending,
        action_url: None,
        created_at: tx.now(),
    };
    insert(tx, &payment);
    coupons.take(&payment, CouponState::Reserved, None);
    coupons.write(tx);
    let started = pay::told(pay::STARTED, &payment, &held.performance);
    outbox::append(tx, &started.aggregate, started.kind, &started.payload);
    let intent = Intent {
        id: command.id.clone(),
        user: user.clone(),
        purpose: IntentPurpose::Payment,
        state: IntentState::Pending,
        amount,
        provider: Some(command.provider.clone()),
        provider_id: None,
        taken: None,
        action_url: None,
        created_at: tx.now(),
    };
    begin(tx, &slot, intent, command.look_after_ms, until)
}

fn insert(tx: &Tx, payment: &Payment) {
    let values = [
        payment.id.as_str().into(),
        payment.reservation.as_str().into(),
        payment.user.as_str().into(),
        payment.amount.currency.as_str().into(),
        payment.amount.amount_minor.into(),
        time_to_column(payment.created_at).into(),
        payment.coupon.as_ref().map(|it| it.coupon.as_str()).into(),
        pay::discount_minor(payment).into(),
    ];
    tx.defer(INSERT_PAYMENT, values, 1);
}

/// Counted without a lock: a few more at once do no harm.
async fn require_few_pending(tx: &Tx, user: &UserId) -> Result<(), SalesError> {
    let row = one(tx, PENDING_OF_USER, [user.as_str().into()]).await?;
    match row.ok_or(SalesError::NotFound)?.count("n")? < PENDING_PER_USER_MAX {
        true => Ok(()),
        false => Err(SalesError::PaymentInProgress),
    }
}

/// Names the attempt in the reservation. The first makes the hold longer: the
/// provider's time is not the buyer's. Answers its end.
async fn hold_on(
    tx: &Tx,
    held: &Reservation,
    command: &BeginPayment,
) -> Result<UnixMs, SalesError> {
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
    Ok(until)
}

pub async fn top_up(tx: &Tx, command: &BeginTopUp) -> Result<Begun, SalesError> {
    let deposit = &command.deposit;
    let request = (&deposit.amount, &command.token);
    let slot = Slot::new(&deposit.once, TOP_UP, &request)?;
    if let Some(begun) = repeated(tx, &slot).await? {
        return Ok(begun);
    }
    require_few_pending(tx, &deposit.wallet).await?;
    let (amount, wallet) = (deposit.amount, Account::User(deposit.wallet.clone()));
    let balance = ledger::balance(tx, &wallet, Money::zero(amount.currency)).await?;
    // By others meanwhile it may get too much: that is seen when it is posted.
    let room_minor = deposit
        .balance_max_minor
        .saturating_sub(balance.amount_minor);
    amount.charge(room_minor)?;
    let intent = Intent {
        id: deposit.id.clone(),
        user: deposit.wallet.clone(),
        purpose: IntentPurpose::TopUp,
        state: IntentState::Pending,
        amount,
        provider: Some(command.provider.clone()),
        provider_id: None,
        taken: None,
        action_url: None,
        created_at: tx.now(),
    };
    let until = tx.now().plus_ms(command.open_ms);
    begin(tx, &slot, intent, command.look_after_ms, until)
}

fn begin(
    tx: &Tx,
    slot: &Slot<'_>,
    intent: Intent,
    look_after_ms: u64,
    deadline: UnixMs,
) -> Result<Begun, SalesError> {
    let values = [
        intent.id.as_str().into(),
        intent.user.as_str().into(),
        intent.purpose.as_str().into(),
        intent.amount.currency.as_str().into(),
        intent.amount.amount_minor.into(),
        time_to_column(intent.created_at).into(),
        at(tx, look_after_ms).into(),
        intent.provider.as_deref().into(),
        time_to_column(deadline).into(),
    ];
    tx.defer(INSERT, values, 1);
    slot.keep(
        tx,
        Kept {
            intent: intent.id.clone(),
        },
    )?;
    Ok(Begun {
        intent,
        is_new: true,
    })
}
