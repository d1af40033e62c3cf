//! Money that goes back to a provider. It is owed, in the ledger too, from the
//! commit on that leaves it here; the provider is told until it says that it is
//! done, under the same id each time.

use super::super::super::columns::time_to_column;
use super::super::super::query::{all, execute, one};
use super::super::super::{Tx, locks};
use super::super::{pay, reservations};
use super::{load, pause_ms};
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::IntentPurpose;
use crate::domain::sale::money::Money;
use crate::store::sales::{OwedRefund, SalesError};

const INSERT: &str = "\
INSERT INTO gateway_refunds (id, intent_id, state, currency, amount_minor, created_at, tries, \
next_at) VALUES ($1, $2, 'pending', $3, $4, $5, 0, $5)";

pub const IS_DUE: &str = "\
SELECT id FROM gateway_refunds WHERE state = 'pending' AND next_at <= $1 LIMIT 1";

const DUE: &str = "\
SELECT r.id, r.intent_id, r.currency, r.amount_minor, r.tries, i.provider_id \
FROM gateway_refunds r JOIN payment_intents i ON i.id = r.intent_id \
WHERE r.state = 'pending' AND r.next_at <= $1 ORDER BY r.next_at LIMIT $2";

const TRIED: &str = "\
UPDATE gateway_refunds SET tries = tries + 1, next_at = $2 WHERE id = $1 AND state = 'pending'";

const INTENT_OF: &str = "SELECT intent_id FROM gateway_refunds WHERE id = $1";

const DONE: &str = "\
UPDATE gateway_refunds SET state = 'done', done_at = $2 WHERE id = $1 AND state = 'pending'";

const OTHERS: &str = "\
SELECT id FROM gateway_refunds WHERE intent_id = $1 AND state = 'pending' LIMIT 1";

/// By what it amounts to.
const ALL_DONE: &str = "\
UPDATE payments SET state = \
CASE WHEN refunded_minor = amount_minor THEN 'refunded' ELSE 'succeeded' END \
WHERE id = $1 AND state = 'refunding'";

/// Between two tries, at most.
const PAUSE_MS_MAX: u64 = 600_000;

/// Owes it from now on; `id` is that of the ledger's entry.
pub fn leave(tx: &Tx, id: &ResourceId, intent: &ResourceId, amount: Money) {
    let values = [
        id.as_str().into(),
        intent.as_str().into(),
        amount.currency.as_str().into(),
        amount.amount_minor.into(),
        time_to_column(tx.now()).into(),
    ];
    tx.defer(INSERT, values, 1);
}

pub async fn due(tx: &Tx, limit: u32) -> Result<Vec<OwedRefund>, SalesError> {
    locks::name(tx, "due refunds").await?;
    let values = [time_to_column(tx.now()).into(), i64::from(limit).into()];
    let mut due = Vec::new();
    for row in &all(tx, DUE, values).await? {
        let refund = OwedRefund {
            id: row.id("id")?,
            intent: row.id("intent_id")?,
            provider_id: row.text("provider_id")?,
            amount: row.money("amount_minor")?,
        };
        let again_at = tx
            .now()
            .plus_ms(pause_ms(row.count("tries")?, PAUSE_MS_MAX));
        let values = [refund.id.as_str().into(), time_to_column(again_at).into()];
        if execute(tx, TRIED, values).await? == 1 {
            due.push(refund);
        }
    }
    Ok(due)
}

pub async fn done(tx: &Tx, id: &ResourceId) -> Result<(), SalesError> {
    let row = one(tx, INTENT_OF, [id.as_str().into()]).await?;
    let intent = row.ok_or(SalesError::NotFound)?.id("intent_id")?;
    let intent = load(tx, &intent).await?;
    let is_payment = intent.purpose == IntentPurpose::Payment;
    if is_payment {
        // Holds off who gives back more of it.
        let payment = pay::any(tx, &intent.id).await?;
        reservations::lock(tx, &payment.reservation).await?;
    }
    let values = [id.as_str().into(), time_to_column(tx.now()).into()];
    if execute(tx, DONE, values).await? == 0 {
        return Ok(());
    }
    if is_payment
        && one(tx, OTHERS, [intent.id.as_str().into()])
            .await?
            .is_none()
    {
        tx.defer(ALL_DONE, [intent.id.as_str().into()], 1);
    }
    Ok(())
}
