//! Intents: money through a payment provider, see [`crate::store::sales::intents`].
//!
//! - [`begin`]: records an intent before the provider is asked.
//! - [`settle`]: takes what the provider said, once.
//! - [`refunds`]: what it owes back, until it is done.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::super::columns::{time_to_column, to_column};
use super::super::query::{Row, all, execute, one};
use super::super::{SqlStore, Tx, locks};
use super::wallet;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::ledger::WalletEntry;
use crate::store::sales::{
    BeginPayment, BeginTopUp, Begun, Intents, OwedRefund, SalesError, Settle, Settled, Unsettled,
};

mod begin;
mod refunds;
mod settle;

pub use refunds::leave as leave_refund;

const BY_ID: &str = "SELECT * FROM payment_intents WHERE id = $1";

const IS_DUE: &str = "\
SELECT id FROM payment_intents WHERE state = 'pending' AND next_at <= $1 LIMIT 1";

const DUE: &str = "\
SELECT * FROM payment_intents WHERE state = 'pending' AND next_at <= $1 ORDER BY next_at LIMIT $2";

const TRIED: &str = "\
UPDATE payment_intents SET tries = tries + 1, next_at = $2 WHERE id = $1 AND state = 'pending'";

const COUNTS: &str = "\
SELECT (SELECT COUNT(*) FROM payment_intents WHERE state = 'pending') AS intents, \
(SELECT COUNT(*) FROM gateway_refunds WHERE state = 'pending') AS refunds";

/// After the first try.
const PAUSE_MS: u64 = 1_000;
/// Between two looks at an intent, at most.
const LOOK_PAUSE_MS_MAX: u64 = 60_000;

/// Doubles from try to try.
fn pause_ms(tries: u64, most_ms: u64) -> u64 {
    let doubled = u32::try_from(tries)
        .ok()
        .and_then(|by| 1_u64.checked_shl(by));
    let pause = doubled.and_then(|factor| PAUSE_MS.checked_mul(factor));
    pause.unwrap_or(most_ms).min(most_ms)
}

async fn load(tx: &Tx, id: &ResourceId) -> Result<Intent, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    read(&row.ok_or(SalesError::NotFound)?)
}

fn read(row: &Row) -> Result<Intent, SalesError> {
    Ok(Intent {
        id: row.id("id")?,
        user: row.user("user_id")?,
        purpose: row.parsed("purpose", IntentPurpose::from_name)?,
        state: row.parsed("state", IntentState::from_name)?,
        amount: row.money("amount_minor")?,
        provider_id: row.opt_text("provider_id")?,
        created_at: row.time("created_at")?,
    })
}

/// Takes them for this node: others see them again after the pause.
async fn due(tx: &Tx, limit: u32) -> Result<Vec<Intent>, SalesError> {
    locks::name(tx, "due intents").await?;
    let values = [time_to_column(tx.now()).into(), i64::from(limit).into()];
    let mut due = Vec::new();
    for row in &all(tx, DUE, values).await? {
        let pause_ms = pause_ms(row.count("tries")?, LOOK_PAUSE_MS_MAX);
        let intent = read(row)?;
        let again_at = time_to_column(tx.now().plus_ms(pause_ms));
        // Settled meanwhile: then there is nothing to do.
        if execute(tx, TRIED, [intent.id.as_str().into(), again_at.into()]).await? == 1 {
            due.push(intent);
        }
    }
    Ok(due)
}

async fn is_due(tx: &Tx, query: &str) -> Result<bool, SalesError> {
    let now = time_to_column(tx.now());
    Ok(one(tx, query, [now.into()]).await?.is_some())
}

/// When something is to be done next.
fn at(tx: &Tx, after_ms: u64) -> i64 {
    to_column(tx.now().0.saturating_add(after_ms))
}

#[async_trait]
impl Intents for SqlStore {
    async fn begin_payment(&self, command: BeginPayment) -> Result<Begun, SalesError> {
        self.write(command, |tx, command| begin::payment(tx, command).boxed())
            .await
    }

    async fn begin_top_up(&self, command: BeginTopUp) -> Result<Begun, SalesError> {
        let deposit = &command.deposit;
        deposit.amount.charge(deposit.amount_max_minor)?;
        self.write(command, |tx, command| begin::top_up(tx, command).boxed())
            .await
    }

    async fn settle(&self, command: Settle) -> Result<Settled, SalesError> {
        self.write(command, |tx, command| settle::settle(tx, command).boxed())
            .await
    }

    async fn intent(&self, id: ResourceId) -> Result<Intent, SalesError> {
        self.read(id, |tx, id| load(tx, id).boxed()).await
    }

    async fn top_up_entry(
        &self,
        user: UserId,
        intent: ResourceId,
    ) -> Result<Option<WalletEntry>, SalesError> {
        self.read((user, intent), |tx, (user, intent)| {
            wallet::entry(tx, user, intent).boxed()
        })
        .await
    }

    async fn due_intents(&self, limit: u32) -> Result<Vec<Intent>, SalesError> {
        // A read: without any, nothing is written.
        let some = self.read((), |tx, ()| is_due(tx, IS_DUE).boxed());
        match some.await? {
            true => {
                self.write_background(limit, |tx, limit| due(tx, *limit).boxed())
                    .await
            }
            false => Ok(Vec::new()),
        }
    }

    async fn due_refunds(&self, limit: u32) -> Result<Vec<OwedRefund>, SalesError> {
        let some = self.read((), |tx, ()| is_due(tx, refunds::IS_DUE).boxed());
        match some.await? {
            true => {
                self.write_background(limit, |tx, limit| refunds::due(tx, *limit).boxed())
                    .await
            }
            false => Ok(Vec::new()),
        }
    }

    async fn refund_done(&self, refund: ResourceId) -> Result<(), SalesError> {
        self.write_background(refund, |tx, refund| refunds::done(tx, refund).boxed())
            .await
    }

    async fn unsettled(&self) -> Result<Unsettled, SalesError> {
        self.read((), |tx, ()| {
            async move {
                let row = one(tx, COUNTS, []).await?;
                let row = row.ok_or(SalesError::NotFound)?;
                Ok(Unsettled {
                    intents: row.count("intents")?,
                    refunds: row.count("refunds")?,
                })
            }
            .boxed()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u64> = [0, 1, 2, 5, 6, 63, 64, u64::MAX]
            .map(|tries| pause_ms(tries, 60_000))
            .into();
        let most = 60_000;
        assert_eq!(
            pauses,
            [1_000, 2_000, 4_000, 32_000, most, most, most, most]
        );
    }
}
