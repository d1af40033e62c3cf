//! Ways out for refunds that a provider does not make, by operators.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::super::super::columns::time_to_column;
use super::super::super::query::{Row, all, execute, one, unreadable};
use super::super::super::{SqlStore, Tx};
use super::super::ledger::{self, About};
use super::super::{pay, reservations};
use super::{at, load, refunds};
use crate::domain::ids::ResourceId;
use crate::domain::sale::intent::IntentPurpose;
use crate::domain::sale::ledger::{Account, Entry, EntryKind, MoneyFor};
use crate::store::sales::refunds::STOP_RESTS_MS;
use crate::store::sales::{Instead, OpenRefund, RefundState, Refunds, SalesError};

const OPEN: &str = "\
SELECT r.id, r.intent_id, i.user_id, r.provider, r.state, r.currency, r.amount_minor, r.tries, \
r.created_at FROM gateway_refunds r JOIN payment_intents i ON i.id = r.intent_id \
WHERE r.state <> 'done' ORDER BY r.created_at, r.id LIMIT $1";

/// It was tried before: the provider is looked at first.
const RETRY: &str = "\
UPDATE gateway_refunds SET state = 'pending', tries = 1, next_at = $2 \
WHERE id = $1 AND state = 'refused'";

const REFUSED: &str = "\
SELECT intent_id, currency, amount_minor FROM gateway_refunds \
WHERE id = $1 AND state = 'refused' AND next_at <= $2";

const ADOPT_INTENTS: &str = "UPDATE payment_intents SET provider = $1 WHERE provider IS NULL";

const ADOPT_REFUNDS: &str = "\
UPDATE gateway_refunds SET provider = (\
SELECT i.provider FROM payment_intents i WHERE i.id = gateway_refunds.intent_id) \
WHERE provider IS NULL";

async fn open(tx: &Tx, limit: u32) -> Result<Vec<OpenRefund>, SalesError> {
    let rows = all(tx, OPEN, [i64::from(limit).into()]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<OpenRefund, SalesError> {
    Ok(OpenRefund {
        id: row.id("id")?,
        intent: row.id("intent_id")?,
        user: row.user("user_id")?,
        provider: row.opt_text("provider")?,
        amount: row.money("amount_minor")?,
        state: row.parsed("state", RefundState::from_name)?,
        tries: row.count("tries")?,
        created_at: row.time("created_at")?,
    })
}

async fn retry(tx: &Tx, id: &ResourceId) -> Result<bool, SalesError> {
    let values = [id.as_str().into(), time_to_column(tx.now()).into()];
    Ok(execute(tx, RETRY, values).await? == 1)
}

/// The ledger moved when it was owed, from the seller to the provider; what goes
/// into the wallet comes from there.
async fn close(tx: &Tx, id: &ResourceId, instead: Instead) -> Result<bool, SalesError> {
    let values = [id.as_str().into(), time_to_column(tx.now()).into()];
    let Some(row) = one(tx, REFUSED, values).await? else {
        return Ok(false);
    };
    let intent = load(tx, &row.id("intent_id")?).await?;
    let of = match intent.purpose {
        IntentPurpose::TopUp => MoneyFor::Wallet(intent.user.clone()),
        IntentPurpose::Payment => {
            let payment = pay::any(tx, &intent.id).await?;
            reservations::lock(tx, &payment.reservation).await?;
            let paid = reservations::any(tx, &payment.reservation).await?;
            MoneyFor::Performance(paid.performance)
        }
    };
    if !refunds::end(tx, id, &intent, "refused").await? {
        return Ok(false);
    }
    if instead == Instead::Wallet {
        let (from, to) = (Account::Gateway(of), Account::User(intent.user));
        let amount = row.money("amount_minor")?;
        let entry = Entry::transfer(EntryKind::Credit, from, to, amount)?;
        let about = About {
            reason: "a refund that the payment provider could not make",
            ..About::default()
        };
        let entry_id = ResourceId::parse(&format!("{id}-w")).map_err(|_| unreadable("id"))?;
        ledger::post(tx, &entry_id, &entry, &about).await?;
    }
    Ok(true)
}

async fn adopt(tx: &Tx, provider: &str) -> Result<u64, SalesError> {
    let intents = execute(tx, ADOPT_INTENTS, [provider.into()]).await?;
    Ok(intents + execute(tx, ADOPT_REFUNDS, []).await?)
}

#[async_trait]
impl Refunds for SqlStore {
    async fn open_refunds(&self, limit: u32) -> Result<Vec<OpenRefund>, SalesError> {
        self.read(limit, |tx, limit| open(tx, *limit).boxed()).await
    }

    async fn refund_refused(&self, refund: ResourceId) -> Result<(), SalesError> {
        self.write_background(refund, |tx, refund| {
            async move { refunds::refuse(tx, refund, at(tx, 0)).await.map(|_| ()) }.boxed()
        })
        .await
    }

    async fn retry_refund(&self, refund: ResourceId) -> Result<bool, SalesError> {
        self.write(refund, |tx, refund| retry(tx, refund).boxed())
            .await
    }

    async fn stop_refund(&self, refund: ResourceId) -> Result<bool, SalesError> {
        self.write(refund, |tx, refund| {
            async move { refunds::refuse(tx, refund, at(tx, STOP_RESTS_MS)).await }.boxed()
        })
        .await
    }

    async fn close_refund(&self, refund: ResourceId, instead: Instead) -> Result<bool, SalesError> {
        self.write((refund, instead), |tx, (refund, instead)| {
            close(tx, refund, *instead).boxed()
        })
        .await
    }

    async fn adopt(&self, provider: String) -> Result<u64, SalesError> {
        self.write(provider, |tx, provider| adopt(tx, provider).boxed())
            .await
    }
}
