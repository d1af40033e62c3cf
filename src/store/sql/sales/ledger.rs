//! Writing the ledger: append-only postings, and per account the balance they
//! fold to. The only place that moves money.

use std::collections::BTreeMap;

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::query::{Binds, all, execute, one};
use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::ledger::{Account, Entry, Posting};
use crate::domain::sale::money::Money;
use crate::store::sales::SalesError;

const INSERT_ENTRY: &str = "\
INSERT INTO ledger_entries (id, kind, reservation_id, payment_id, reason, created_at) \
VALUES ($1, $2, $3, $4, $5, $6)";

const ACCOUNTS: &str = "SELECT name, currency, balance_minor, postings FROM accounts";

const ACCOUNT: &str = "\
SELECT currency, balance_minor FROM accounts WHERE name = $1 AND currency = $2";

const INSERT_ACCOUNT: &str = "\
INSERT INTO accounts (name, currency, balance_minor, postings) VALUES ($1, $2, 0, 0)";

const INSERT_MISSING: &str =
    "INSERT INTO accounts (name, currency, balance_minor, postings) VALUES";

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

/// An account after its last posting.
#[derive(Clone, Copy)]
pub struct Posted {
    pub balance: Money,
    /// How many postings it has.
    pub sequence: u64,
}

/// Holds off all other postings to these accounts: their balances stay as they
/// are read from here on. Those that are missing are made, since nobody can
/// wait for what is not there.
pub async fn lock(
    tx: &Tx,
    accounts: impl IntoIterator<Item = (&Account, Currency)>,
) -> Result<(), SalesError> {
    if tx.is_alone() {
        return Ok(());
    }
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (account, currency) in accounts {
        let name = account.to_string();
        if tx.takes_lock(&format!("account:{name}/{currency}")) {
            wanted.push((name, currency.as_str().to_owned()));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.sort_unstable();
    if lock_rows(tx, &wanted).await? < wanted.len() {
        let mut binds = Binds::default();
        let rows: Vec<String> = wanted
            .iter()
            .map(|(name, currency)| {
                let (name, currency) = (binds.bind(name.as_str()), binds.bind(currency.as_str()));
                format!("({name}, {currency}, 0, 0)")
            })
            .collect();
        let insert = format!(
            "{INSERT_MISSING} {} ON CONFLICT DO NOTHING",
            rows.join(", ")
        );
        execute(tx, &insert, binds.values()).await?;
        lock_rows(tx, &wanted).await?;
    }
    Ok(())
}

/// How many of them there are.
async fn lock_rows(tx: &Tx, wanted: &[(String, String)]) -> Result<usize, SalesError> {
    let mut binds = Binds::default();
    let any: Vec<String> = wanted
        .iter()
        .map(|(name, currency)| {
            let (name, currency) = (binds.bind(name.as_str()), binds.bind(currency.as_str()));
            format!("(name = {name} AND currency = {currency})")
        })
        .collect();
    let query = format!(
        "{ACCOUNTS} WHERE {} ORDER BY name, currency FOR NO KEY UPDATE",
        any.join(" OR ")
    );
    Ok(all(tx, &query, binds.values()).await?.len())
}

/// Posts an entry; answers each account after it, in the entry's order.
pub async fn post(
    tx: &Tx,
    id: &ResourceId,
    entry: &Entry,
    about: &About<'_>,
) -> Result<Vec<Posted>, SalesError> {
    let touched = entry.postings().iter();
    lock(tx, touched.map(|one| (&one.account, one.amount.currency))).await?;
    tx.defer(
        INSERT_ENTRY,
        [
            id.as_str().into(),
            entry.kind().as_str().into(),
            about.reservation.map(ResourceId::as_str).into(),
            about.payment.map(ResourceId::as_str).into(),
            about.reason.into(),
            time_to_column(tx.now()).into(),
        ],
        1,
    );
    let mut accounts = accounts(tx, entry).await?;
    let postings = entry.postings().iter();
    postings
        .map(|posting| post_one(tx, id, posting, &mut accounts))
        .collect()
}

fn post_one(
    tx: &Tx,
    entry: &ResourceId,
    posting: &Posting,
    accounts: &mut BTreeMap<(String, Currency), Posted>,
) -> Result<Posted, SalesError> {
    let name = posting.account.to_string();
    let currency = posting.amount.currency;
    let key = (name.clone(), currency);
    let before = match accounts.get(&key) {
        Some(known) => *known,
        None => {
            tx.defer(
                INSERT_ACCOUNT,
                [name.as_str().into(), currency.as_str().into()],
                1,
            );
            Posted {
                balance: Money::zero(currency),
                sequence: 0,
            }
        }
    };
    let after = Posted {
        balance: before.balance.plus(posting.amount)?,
        sequence: before.sequence + 1,
    };
    let taken = posting.amount.amount_minor < 0;
    if taken && after.balance.amount_minor < 0 && !posting.account.may_be_negative() {
        return Err(SalesError::InsufficientFunds);
    }
    let update = [
        name.as_str().into(),
        currency.as_str().into(),
        after.balance.amount_minor.into(),
        to_column(before.sequence).into(),
    ];
    tx.defer(UPDATE_ACCOUNT, update, 1);
    tx.defer(
        INSERT_POSTING,
        [
            name.into(),
            currency.as_str().into(),
            to_column(after.sequence).into(),
            entry.as_str().into(),
            posting.amount.amount_minor.into(),
            after.balance.amount_minor.into(),
        ],
        1,
    );
    accounts.insert(key, after);
    Ok(after)
}

/// The accounts of an entry as they are; those that are new are missing.
async fn accounts(
    tx: &Tx,
    entry: &Entry,
) -> Result<BTreeMap<(String, Currency), Posted>, SalesError> {
    let mut binds = Binds::default();
    let wanted: Vec<String> = entry
        .postings()
        .iter()
        .map(|posting| {
            let name = binds.bind(posting.account.to_string());
            let currency = binds.bind(posting.amount.currency.as_str());
            format!("(name = {name} AND currency = {currency})")
        })
        .collect();
    let query = format!("{ACCOUNTS} WHERE {}", wanted.join(" OR "));
    let mut accounts = BTreeMap::new();
    for row in all(tx, &query, binds.values()).await? {
        let known = Posted {
            balance: row.money("balance_minor")?,
            sequence: row.count("postings")?,
        };
        accounts.insert((row.text("name")?, known.balance.currency), known);
    }
    Ok(accounts)
}

/// 0 if it was never used.
pub async fn balance(tx: &Tx, account: &Account, zero: Money) -> Result<Money, SalesError> {
    let key = [account.to_string().into(), zero.currency.as_str().into()];
    match one(tx, ACCOUNT, key).await? {
        Some(row) => Ok(row.money("balance_minor")?),
        None => Ok(zero),
    }
}
