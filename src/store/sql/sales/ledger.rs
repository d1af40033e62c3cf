//! Writing the ledger: append-only postings, and per account the balance they
//! fold to. The only place that moves money.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::list::{Column, List, Others, Rows, Update};
use super::super::query::{all, execute, one, unreadable};
use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::ledger::{Account, Entry, Posting};
use crate::domain::sale::money::Money;
use crate::store::sales::SalesError;

const ACCOUNT: &str = "\
SELECT currency, balance_minor FROM accounts WHERE name = $1 AND currency = $2";

const NAMES: &[Column] = &[Column::Text("name"), Column::Text("currency")];

const ACCOUNTS: Rows = Rows {
    table: "accounts",
    key: &["name", "currency"],
    columns: &["name", "currency", "balance_minor", "postings"],
};

const THERE: &str = "\
SELECT a.name, a.currency FROM {list} \
LEFT JOIN accounts AS a ON a.name = v.name AND a.currency = v.currency";

const INSERT_MISSING: &str = "\
INSERT INTO accounts (name, currency, balance_minor, postings) \
SELECT v.name, v.currency, 0, 0 FROM {list} WHERE TRUE ON CONFLICT DO NOTHING";

const INSERT_ENTRIES: &str = "\
INSERT INTO ledger_entries (id, kind, reservation_id, payment_id, reason, created_at) \
SELECT v.id, v.kind, v.reservation, v.payment, v.reason, $1 FROM {list}";

const ENTRIES: &[Column] = &[
    Column::Text("id"),
    Column::Text("kind"),
    Column::Text("reservation"),
    Column::Text("payment"),
    Column::Long("reason"),
];

const INSERT_POSTINGS: &str = "\
INSERT INTO ledger_postings (account, currency, sequence, entry_id, amount_minor, \
balance_after_minor) \
SELECT v.account, v.currency, v.place, v.entry, v.amount, v.balance FROM {list}";

const POSTINGS: &[Column] = &[
    Column::Text("account"),
    Column::Text("currency"),
    Column::Integer("place"),
    Column::Text("entry"),
    Column::Integer("amount"),
    Column::Integer("balance"),
];

const CHANGES: &[Column] = &[
    Column::Text("account"),
    Column::Text("code"),
    Column::Integer("balance"),
    Column::Integer("was"),
    Column::Integer("becomes"),
];

/// The count of postings is the version: nobody else posted since it was read.
const UPDATE_ACCOUNTS: Update = Update {
    table: "accounts",
    set: "balance_minor = v.balance, postings = v.becomes",
    on: "accounts.name = v.account AND accounts.currency = v.code AND accounts.postings = v.was",
};

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

/// Accounts that nobody else posts to until the transaction is over: each as it
/// was read, and as it is after what was posted since.
pub struct Accounts {
    known: BTreeMap<(String, Currency), Known>,
    entries: List,
    postings: List,
}

struct Known {
    /// Postings when it was read.
    before: u64,
    now: Posted,
}

impl Accounts {
    /// Those that are missing are made, since nobody can wait for what is not
    /// there.
    pub async fn read<'a>(
        tx: &Tx,
        accounts: impl IntoIterator<Item = (&'a Account, Currency)>,
    ) -> Result<Self, SalesError> {
        let wanted: BTreeSet<(String, Currency)> = accounts
            .into_iter()
            .map(|(account, currency)| (account.to_string(), currency))
            .collect();
        let mut known = rows(tx, wanted.iter(), Others::Await).await?;
        let is_missing = |key: &&(String, Currency)| !known.contains_key(*key);
        let missing: Vec<&(String, Currency)> = wanted.iter().filter(is_missing).collect();
        if !missing.is_empty() {
            let missing = names(missing.into_iter());
            let backend = tx.get_database_backend();
            let (insert, values) = missing.statement(backend, INSERT_MISSING, []);
            execute(tx, &insert, values).await?;
            known = rows(tx, wanted.iter(), Others::Await).await?;
        }
        Ok(Self {
            known,
            entries: List::new(ENTRIES),
            postings: List::new(POSTINGS),
        })
    }

    /// Posts an entry, or nothing of it; answers each account after it, in the
    /// entry's order.
    pub fn post(
        &mut self,
        id: &ResourceId,
        entry: &Entry,
        about: &About<'_>,
    ) -> Result<Vec<Posted>, SalesError> {
        let mut after = Vec::with_capacity(entry.postings().len());
        for posting in entry.postings() {
            // Its two accounts are different ones.
            after.push(self.after(posting)?);
        }
        for (posting, after) in entry.postings().iter().zip(&after) {
            let key = key_of(posting);
            self.postings.push([
                key.0.as_str().into(),
                key.1.as_str().into(),
                to_column(after.sequence).into(),
                id.as_str().into(),
                posting.amount.amount_minor.into(),
                after.balance.amount_minor.into(),
            ]);
            if let Some(known) = self.known.get_mut(&key) {
                known.now = *after;
            }
        }
        self.entries.push([
            id.as_str().into(),
            entry.kind().as_str().into(),
            about.reservation.map(ResourceId::as_str).into(),
            about.payment.map(ResourceId::as_str).into(),
            about.reason.into(),
        ]);
        Ok(after)
    }

    fn after(&self, posting: &Posting) -> Result<Posted, SalesError> {
        let known = self.known.get(&key_of(posting));
        let before = known.ok_or_else(|| unreadable("account"))?.now;
        let after = Posted {
            balance: before.balance.plus(posting.amount)?,
            sequence: before.sequence + 1,
        };
        let taken = posting.amount.amount_minor < 0;
        if taken && after.balance.amount_minor < 0 && !posting.account.may_be_negative() {
            return Err(SalesError::InsufficientFunds);
        }
        Ok(after)
    }

    pub fn balance(&self, account: &Account, zero: Money) -> Money {
        let known = self.known.get(&(account.to_string(), zero.currency));
        known.map_or(zero, |known| known.now.balance)
    }

    /// Leaves it all to be written.
    pub fn write(self, tx: &Tx) {
        self.entries
            .defer(tx, INSERT_ENTRIES, [time_to_column(tx.now()).into()]);
        let mut changes = List::new(CHANGES);
        for ((name, currency), account) in self.known {
            if account.now.sequence > account.before {
                changes.push([
                    name.into(),
                    currency.as_str().into(),
                    account.now.balance.amount_minor.into(),
                    to_column(account.before).into(),
                    to_column(account.now.sequence).into(),
                ]);
            }
        }
        changes.update(tx, &UPDATE_ACCOUNTS, []);
        self.postings.defer(tx, INSERT_POSTINGS, []);
    }
}

fn key_of(posting: &Posting) -> (String, Currency) {
    (posting.account.to_string(), posting.amount.currency)
}

fn names<'a>(accounts: impl Iterator<Item = &'a (String, Currency)>) -> List {
    let mut list = List::new(NAMES);
    for (name, currency) in accounts {
        list.push([name.as_str().into(), currency.as_str().into()]);
    }
    list
}

/// Those of these accounts that somebody else has locked; the others are this unit's
/// from here on.
pub async fn busy(
    tx: &Tx,
    accounts: impl IntoIterator<Item = (&Account, Currency)>,
) -> Result<BTreeSet<(String, Currency)>, SalesError> {
    if tx.is_alone() {
        return Ok(BTreeSet::new());
    }
    let wanted: BTreeSet<(String, Currency)> = accounts
        .into_iter()
        .map(|(account, currency)| (account.to_string(), currency))
        .collect();
    let got = rows(tx, wanted.iter(), Others::Skip).await?;
    let left: Vec<_> = wanted
        .iter()
        .filter(|key| !got.contains_key(*key))
        .collect();
    // What is not there is not locked either.
    let mut busy = BTreeSet::new();
    for row in &names(left.into_iter()).all(tx, THERE, []).await? {
        if let Some(name) = row.opt_text("name")? {
            busy.insert((name, row.currency("currency")?));
        }
    }
    Ok(busy)
}

/// Locks those that are there, by name, and reads them.
async fn rows<'a>(
    tx: &Tx,
    accounts: impl Iterator<Item = &'a (String, Currency)>,
    others: Others,
) -> Result<BTreeMap<(String, Currency), Known>, SalesError> {
    let mut known = BTreeMap::new();
    let names = names(accounts);
    if names.rows() == 0 {
        return Ok(known);
    }
    let (query, values) = names.lock(tx.get_database_backend(), &ACCOUNTS, others);
    for row in &all(tx, &query, values).await? {
        let now = Posted {
            balance: row.money("balance_minor")?,
            sequence: row.count("postings")?,
        };
        let account = Known {
            before: now.sequence,
            now,
        };
        known.insert((row.text("name")?, now.balance.currency), account);
    }
    Ok(known)
}

/// For units that post several entries one by one: in the order of the names,
/// as all others lock them.
pub async fn lock(
    tx: &Tx,
    accounts: impl IntoIterator<Item = (&Account, Currency)>,
) -> Result<(), SalesError> {
    if !tx.is_alone() {
        Accounts::read(tx, accounts).await?;
    }
    Ok(())
}

/// Posts one entry; answers each account after it, in the entry's order.
pub async fn post(
    tx: &Tx,
    id: &ResourceId,
    entry: &Entry,
    about: &About<'_>,
) -> Result<Vec<Posted>, SalesError> {
    let touched = entry.postings().iter();
    let touched = touched.map(|one| (&one.account, one.amount.currency));
    let mut accounts = Accounts::read(tx, touched).await?;
    let posted = accounts.post(id, entry, about)?;
    accounts.write(tx);
    Ok(posted)
}

/// 0 if it was never used.
pub async fn balance(tx: &Tx, account: &Account, zero: Money) -> Result<Money, SalesError> {
    let key = [account.to_string().into(), zero.currency.as_str().into()];
    match one(tx, ACCOUNT, key).await? {
        Some(row) => Ok(row.money("balance_minor")?),
        None => Ok(zero),
    }
}
