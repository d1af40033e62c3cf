//! Money that goes back to a provider. It is owed, in the ledger too, from the
//! commit on that leaves it here; the provider is told until it says that it is
//! done, under the same id each time.

use super::super::super::columns::time_to_column;
use super::super::super::query::{Row, all, execute, one};
use super::super::super::{Tx, locks};
use super::super::{pay, reservations};
use super::{load, pause_ms};
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::{Intent, IntentPurpose};
use crate::domain::sale::money::Money;
use crate::store::sales::{OwedRefund, SalesError};

const INSERT: &str = "\
INSERT INTO gateway_refunds (id, intent_id, provider, state, currency, amount_minor, created_at, \
tries, next_at) SELECT $1, id, provider, 'pending', $3, $4, $5, 0, $5 FROM payment_intents \
WHERE id = $2";

pub const IS_DUE: &str = "\
SELECT id FROM gateway_refunds \
WHERE provider = $1 AND state = 'pending' AND next_at <= $2 LIMIT 1";

const DUE: &str = "\
SELECT r.id, r.intent_id, r.currency, r.amount_minor, r.tries, i.provider_id \
FROM gateway_refunds r JOIN payment_intents i ON i.id = r.intent_id \
WHERE r.provider = $1 AND r.state = 'pending' AND r.next_at <= $2 ORDER BY r.next_at LIMIT $3";

const TRIED: &str = "\
UPDATE gateway_refunds SET tries = tries + 1, next_at = $2 WHERE id = $1 AND state = 'pending'";

const INTENT_OF: &str = "SELECT intent_id FROM gateway_refunds WHERE id = $1";

const DONE: &str = "\
UPDATE gateway_refunds SET state = 'done', done_at = $2 \
WHERE id = $1 AND state = $3";

const REFUSED: &str = "\
UPDATE gateway_refunds SET state = 'refused', next_at = $2 WHERE id = $1 AND state = 'pending'";

const OTHERS: &str = "\
SELECT id FROM gateway_refunds WHERE intent_id = $1 AND state <> 'done' LIMIT 1";

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

pub async fn due(tx: &Tx, provider: &str, limit: u32) -> Result<Vec<OwedRefund>, SalesError> {
    locks::name(tx, "due refunds").await?;
    let values = [
        provider.into(),
        time_to_column(tx.now()).into(),
        i64::from(limit).into(),
    ];
    let mut due = Vec::new();
    for row in &all(tx, DUE, values).await? {
        let tries = row.count("tries")?;
        let again_at = tx.now().plus_ms(pause_ms(tries, PAUSE_MS_MAX));
        let (id, refund) = (row.text("id")?, read(row, tries));
        let values = [id.as_str().into(), time_to_column(again_at).into()];
        if execute(tx, TRIED, values).await? < 1 {
            continue;
        }
        match refund {
            Ok(refund) => due.push(refund),
            // It keeps nobody from the others.
            Err(error) => {
                tracing::error!(refund.id = %id, error = %error, "a refund cannot be read");
            }
        }
    }
    Ok(due)
}

fn read(row: &Row, tries: u64) -> Result<OwedRefund, SalesError> {
    Ok(OwedRefund {
        id: row.id("id")?,
        intent: row.id("intent_id")?,
        provider_id: row.text("provider_id")?,
        amount: row.money("amount_minor")?,
        tries,
    })
}

/// Nobody asks for it from now on; whether it was pending. It may be closed
/// from then on.
pub async fn refuse(tx: &Tx, id: &ResourceId, from_ms: i64) -> Result<bool, SalesError> {
    let values = [id.as_str().into(), from_ms.into()];
    Ok(execute(tx, REFUSED, values).await? == 1)
}

pub async fn done(tx: &Tx, id: &ResourceId) -> Result<(), SalesError> {
    let row = one(tx, INTENT_OF, [id.as_str().into()]).await?;
    let intent = row.ok_or(SalesError::NotFound)?.id("intent_id")?;
    let intent = load(tx, &intent).await?;
    if intent.purpose == IntentPurpose::Payment {
        // Holds off who gives back more of it.
        let payment = pay::any(tx, &intent.id).await?;
        reservations::lock(tx, &payment.reservation).await?;
    }
    // Given up here, and made all the same: then it is done.
    if !end(tx, id, &intent, "pending").await? {
        end(tx, id, &intent, "refused").await?;
    }
    Ok(())
}

/// Whoever locks the reservation ends it, if it is in this state.
pub async fn end(
    tx: &Tx,
    id: &ResourceId,
    intent: &Intent,
    state: &'static str,
) -> Result<bool, SalesError> {
    let values = [
        id.as_str().into(),
        time_to_column(tx.now()).into(),
        state.into(),
    ];
    if execute(tx, DONE, values).await? == 0 {
        return Ok(false);
    }
    // What was taken by mistake was no payment.
    let is_payment = intent.purpose == IntentPurpose::Payment && intent.taken.is_none();
    let others = one(tx, OTHERS, [intent.id.as_str().into()]).await?;
    if is_payment && others.is_none() {
        tx.defer(ALL_DONE, [intent.id.as_str().into()], 1);
    }
    Ok(true)
}
