//! Intents: money through a payment provider, see [`crate::store::sales::intents`].
//!
//! - [`begin`]: records an intent before the provider is asked.
//! - [`settle`]: takes what the provider said, once.
//! - [`refunds`]: what it owes back, until it is done; [`closing`]: the ways out.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::super::columns::{time_to_column, to_column};
use super::super::query::{Row, all, execute, one};
use super::super::{SqlStore, Tx, locks};
use super::wallet;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::{
    AwaitBuyer, BeginPayment, BeginTopUp, Begun, Intents, Once, OwedRefund, SalesError, Settle,
    Settled, Unsettled,
};

mod begin;
mod closing;
mod counts;
mod refunds;
mod settle;

#[cfg(test)]
pub use refunds::due as due_refunds;
pub use refunds::leave as leave_refund;

const BY_ID: &str = "SELECT * FROM payment_intents WHERE id = $1";

const IS_DUE: &str = "\
SELECT id FROM payment_intents \
WHERE provider = $1 AND state = 'pending' AND next_at <= $2 LIMIT 1";

const DUE: &str = "\
SELECT * FROM payment_intents \
WHERE provider = $1 AND state = 'pending' AND next_at <= $2 ORDER BY next_at LIMIT $3";

const TRIED: &str = "\
UPDATE payment_intents SET tries = tries + 1, next_at = $2 WHERE id = $1 AND state = 'pending'";

const AWAIT_BUYER: &str = "\
UPDATE payment_intents SET provider_id = $2, action_url = $3, next_at = $4, tries = 0 \
WHERE id = $1 AND state = 'pending'";

/// After the first try.
const PAUSE_MS: u64 = 1_000;
/// Between two looks at an intent, at most.
const LOOK_PAUSE_MS_MAX: u64 = 60_000;
/// While its buyer is asked for something, and waits for the tickets.
const BUYER_PAUSE_MS_MAX: u64 = 10_000;

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
    read(&row.ok_or(SalesError::NotFound)?, tx.now())
}

/// Where the buyer of a pending one goes on.
pub async fn action_url(tx: &Tx, id: &ResourceId) -> Result<Option<String>, SalesError> {
    Ok(load(tx, id).await?.action_url)
}

fn read(row: &Row, now: UnixMs) -> Result<Intent, SalesError> {
    let state = row.parsed("state", IntentState::from_name)?;
    let is_open = state == IntentState::Pending;
    let has_time = row.opt_time("deadline_at")?.is_some_and(|at| at > now);
    Ok(Intent {
        id: row.id("id")?,
        user: row.user("user_id")?,
        purpose: row.parsed("purpose", IntentPurpose::from_name)?,
        state,
        amount: row.money("amount_minor")?,
        provider: row.opt_text("provider")?,
        provider_id: row.opt_text("provider_id")?,
        taken: taken(row)?,
        action_url: row.opt_text("action_url")?.filter(|_| is_open && has_time),
        created_at: row.time("created_at")?,
    })
}

fn taken(row: &Row) -> Result<Option<Money>, SalesError> {
    let currency = row.opt_parsed("taken_currency", |code| Currency::parse(code).ok())?;
    Ok(match currency {
        None => None,
        Some(currency) => Some(Money::new(currency, row.signed("taken_minor")?)),
    })
}

/// Takes them for this node: others see them again after the pause. One that
/// cannot be read keeps nobody from the others.
pub async fn due(tx: &Tx, provider: &str, limit: u32) -> Result<Vec<Intent>, SalesError> {
    locks::name(tx, "due intents").await?;
    let now = tx.now();
    let values = [
        provider.into(),
        time_to_column(now).into(),
        i64::from(limit).into(),
    ];
    let mut due = Vec::new();
    for row in &all(tx, DUE, values).await? {
        let (id, intent) = (row.text("id")?, read(row, now));
        let waits = matches!(&intent, Ok(intent) if intent.action_url.is_some());
        let most_ms = match waits {
            true => BUYER_PAUSE_MS_MAX,
            false => LOOK_PAUSE_MS_MAX,
        };
        let again_at = now.plus_ms(pause_ms(row.count("tries")?, most_ms));
        // No later than its time is over.
        let again_at = match row.opt_time("deadline_at")? {
            Some(deadline) if waits => again_at.min(deadline),
            _ => again_at,
        };
        let values = [id.as_str().into(), time_to_column(again_at).into()];
        // Settled meanwhile: then there is nothing to do.
        if execute(tx, TRIED, values).await? < 1 {
            continue;
        }
        match intent {
            Ok(intent) => due.push(intent),
            Err(error) => {
                tracing::error!(intent.id = %id, error = %error, "an intent cannot be read");
            }
        }
    }
    Ok(due)
}

async fn is_due(tx: &Tx, query: &str, provider: &str) -> Result<bool, SalesError> {
    let now = time_to_column(tx.now());
    let found = one(tx, query, [provider.into(), now.into()]).await?;
    Ok(found.is_some())
}

async fn await_buyer(tx: &Tx, command: &AwaitBuyer) -> Result<(), SalesError> {
    let values = [
        command.intent.as_str().into(),
        command.provider_id.as_str().into(),
        command.action_url.as_str().into(),
        at(tx, PAUSE_MS).into(),
    ];
    execute(tx, AWAIT_BUYER, values).await?;
    Ok(())
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

    async fn await_buyer(&self, command: AwaitBuyer) -> Result<(), SalesError> {
        self.write(command, |tx, command| await_buyer(tx, command).boxed())
            .await
    }

    async fn settle(&self, command: Settle) -> Result<Settled, SalesError> {
        self.write(command, |tx, command| settle::settle(tx, command).boxed())
            .await
    }

    async fn abandon(&self, command: Settle, begun_by: Once) -> Result<Settled, SalesError> {
        self.write((command, begun_by), |tx, (command, begun_by)| {
            settle::abandon(tx, command, begun_by).boxed()
        })
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

    async fn due_intents(&self, provider: &str, limit: u32) -> Result<Vec<Intent>, SalesError> {
        // A read: without any, nothing is written.
        let some = self.read(provider.to_owned(), |tx, provider| {
            is_due(tx, IS_DUE, provider).boxed()
        });
        match some.await? {
            true => {
                let command = (provider.to_owned(), limit);
                self.write_background(command, |tx, (provider, limit)| {
                    due(tx, provider, *limit).boxed()
                })
                .await
            }
            false => Ok(Vec::new()),
        }
    }

    async fn due_refunds(&self, provider: &str, limit: u32) -> Result<Vec<OwedRefund>, SalesError> {
        let some = self.read(provider.to_owned(), |tx, provider| {
            is_due(tx, refunds::IS_DUE, provider).boxed()
        });
        match some.await? {
            true => {
                let command = (provider.to_owned(), limit);
                self.write_background(command, |tx, (provider, limit)| {
                    refunds::due(tx, provider, *limit).boxed()
                })
                .await
            }
            false => Ok(Vec::new()),
        }
    }

    async fn refund_done(&self, refund: ResourceId) -> Result<(), SalesError> {
        self.write_background(refund, |tx, refund| refunds::done(tx, refund).boxed())
            .await
    }

    async fn unsettled(&self, provider: Option<&str>) -> Result<Unsettled, SalesError> {
        self.read(provider.map(str::to_owned), |tx, provider| {
            counts::unsettled(tx, provider.as_deref()).boxed()
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
