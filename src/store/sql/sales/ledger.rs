//! Writing the ledger: append-only postings, and per account the balance they
//! fold to. The only place that moves money.

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::query::{changed_meanwhile, execute, one};
use crate::domain::ids::ResourceId;
use crate::domain::sale::ledger::{Account, Entry, Posting};
use crate::domain::sale::money::Money;
use crate::store::sales::SalesError;

const INSERT_ENTRY: &str = "\
INSERT INTO ledger_entries (id, kind, reservation_id, payment_id, reason, created_at) \
VALUES ($1, $2, $3, $4, $5, $6)";

const ACCOUNT: &str = "\
SELECT currency, balance_minor, postings FROM accounts WHERE name = $1 AND currency = $2";

const INSERT_ACCOUNT: &str = "\
INSERT INTO accounts (name, currency, balance_minor, postings) VALUES ($1, $2, 0, 0)";

/// The count of postings is the version: nobody else posted since it was read.
const UPDATE_ACCOUNT: &str = "\
UPDATE accounts SET balance_minor = $3, postings = $4 + 1 \
WHERE name = $1 AND currency = $2 AND postings = $4";

const INSERT_POSTING: &str = "\
INSERT INTO ledger_postings (account, currency, sequence, entry_id, amount_minor, \
balance_after_minor) VALUES ($1, $2, $3, $4, $5, $6)";

/// What an entry is about.
#[derive(Default)]
pub struct About<'a> {
    pub reservation: Option<&'a ResourceId>,
    pub payment: Option<&'a ResourceId>,
    pub reason: &'a str,
}

/// An account after a posting.
pub struct Posted {
    pub balance: Money,
    pub sequence: u64,
}

/// Posts an entry; answers each account after it, in the entry's order.
pub async fn post(
    tx: &Tx,
    id: &ResourceId,
    entry: &Entry,
    about: &About<'_>,
) -> Result<Vec<Posted>, SalesError> {
    execute(
        tx,
        INSERT_ENTRY,
        [
            id.as_str().into(),
            entry.kind().as_str().into(),
            about.reservation.map(ResourceId::as_str).into(),
            about.payment.map(ResourceId::as_str).into(),
            about.reason.into(),
            time_to_column(tx.now()).into(),
        ],
    )
    .await?;
    let mut posted = Vec::with_capacity(entry.postings().len());
    for posting in entry.postings() {
        posted.push(post_one(tx, id, posting).await?);
    }
    Ok(posted)
}

async fn post_one(tx: &Tx, entry: &ResourceId, posting: &Posting) -> Result<Posted, SalesError> {
    let name = posting.account.to_string();
    let currency = posting.amount.currency;
    let (before, postings) = account(tx, &name, Money::zero(currency)).await?;
    let after = before.plus(posting.amount)?;
    let taken = posting.amount.amount_minor < 0;
    if taken && after.amount_minor < 0 && !posting.account.may_be_negative() {
        return Err(SalesError::InsufficientFunds);
    }
    let values = [
        name.as_str().into(),
        currency.as_str().into(),
        after.amount_minor.into(),
        to_column(postings).into(),
    ];
    if execute(tx, UPDATE_ACCOUNT, values).await? != 1 {
        return Err(changed_meanwhile("accounts").into());
    }
    let sequence = postings + 1;
    execute(
        tx,
        INSERT_POSTING,
        [
            name.into(),
            currency.as_str().into(),
            to_column(sequence).into(),
            entry.as_str().into(),
            posting.amount.amount_minor.into(),
            after.amount_minor.into(),
        ],
    )
    .await?;
    Ok(Posted {
        balance: after,
        sequence,
    })
}

/// Balance and count of postings; the account is made if it is new.
async fn account(tx: &Tx, name: &str, zero: Money) -> Result<(Money, u64), SalesError> {
    let key = || [name.into(), zero.currency.as_str().into()];
    if let Some(row) = one(tx, ACCOUNT, key()).await? {
        return Ok((row.money("balance_minor")?, row.count("postings")?));
    }
    execute(tx, INSERT_ACCOUNT, key()).await?;
    Ok((zero, 0))
}

/// 0 if it was never used.
pub async fn balance(tx: &Tx, account: &Account, zero: Money) -> Result<Money, SalesError> {
    let key = [account.to_string().into(), zero.currency.as_str().into()];
    match one(tx, ACCOUNT, key).await? {
        Some(row) => Ok(row.money("balance_minor")?),
        None => Ok(zero),
    }
}
