//! Wallets: what is in them, what happened to them, and money from outside.

use async_trait::async_trait;

use super::super::Tx;
use super::super::columns::to_column;
use super::super::idempotency::{Slot, Slots};
use super::super::list::Others;
use super::super::query::{Row, all, one};
use super::lanes::{Kind, Outcomes};
use super::ledger::{self, About, Accounts};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::ledger::{Account, Entry, EntryKind, WalletEntry};
use crate::domain::sale::money::Money;
use crate::store::sales::{Deposit, EntryCursor, Listing, Page, SalesError};

const ENTRIES: &str = "\
SELECT e.id, e.kind, e.reservation_id, e.payment_id, e.reason, e.created_at, \
p.currency, p.sequence, p.amount_minor, p.balance_after_minor \
FROM ledger_postings p JOIN ledger_entries e ON e.id = p.entry_id \
WHERE p.account = $1 AND p.currency = $2 AND p.sequence < $3 \
ORDER BY p.sequence DESC LIMIT $4";

const ENTRY: &str = "\
SELECT e.id, e.kind, e.reservation_id, e.payment_id, e.reason, e.created_at, \
p.currency, p.sequence, p.amount_minor, p.balance_after_minor \
FROM ledger_postings p JOIN ledger_entries e ON e.id = p.entry_id \
WHERE p.entry_id = $1 AND p.account = $2";

const TOP_UP: &str = "TopUpWallet";

pub async fn balance(tx: &Tx, user: &UserId, currency: Currency) -> Result<Money, SalesError> {
    ledger::balance(tx, &Account::User(user.clone()), Money::zero(currency)).await
}

pub async fn entries(
    tx: &Tx,
    user: &UserId,
    currency: Currency,
    page: &Page<EntryCursor>,
) -> Result<Listing<WalletEntry, EntryCursor>, SalesError> {
    let before = page.after.as_ref().map_or(u64::MAX, |after| after.sequence);
    let values = [
        Account::User(user.clone()).to_string().into(),
        currency.as_str().into(),
        to_column(before).into(),
        i64::from(page.size() + 1).into(),
    ];
    let rows = all(tx, ENTRIES, values).await?;
    let entries = rows
        .iter()
        .map(read)
        .collect::<Result<Vec<WalletEntry>, SalesError>>()?;
    Ok(page.listing(entries, |last| EntryCursor {
        sequence: last.sequence,
    }))
}

/// One that an intent brought; the entry has its id.
pub async fn entry(
    tx: &Tx,
    user: &UserId,
    id: &ResourceId,
) -> Result<Option<WalletEntry>, SalesError> {
    let wallet = Account::User(user.clone()).to_string();
    let row = one(tx, ENTRY, [id.as_str().into(), wallet.into()]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<WalletEntry, SalesError> {
    Ok(WalletEntry {
        id: row.id("id")?,
        kind: row.parsed("kind", EntryKind::from_name)?,
        amount: row.money("amount_minor")?,
        balance_after: row.money("balance_after_minor")?,
        reservation: row.opt_id("reservation_id")?,
        payment: row.opt_id("payment_id")?,
        reason: row.text("reason")?,
        created_at: row.time("created_at")?,
        sequence: row.count("sequence")?,
    })
}

/// `TopUpWallet`, many at a time: all of a currency post to one account, for which
/// they would wait one after the other.
pub struct TopUps;

#[async_trait]
impl Kind for TopUps {
    type Command = Deposit;
    type Answer = WalletEntry;

    /// Only wallets: the account that it all comes from is everybody's.
    async fn lock(
        tx: &Tx,
        deposits: &[&Deposit],
        others: Others,
    ) -> Result<Vec<Option<ResourceId>>, SalesError> {
        if others == Others::Await {
            return Ok(vec![None; deposits.len()]);
        }
        let wallets: Vec<Account> = deposits.iter().map(|deposit| wallet(deposit)).collect();
        let currencies = deposits.iter().map(|deposit| deposit.amount.currency);
        let busy = ledger::busy(tx, wallets.iter().zip(currencies)).await?;
        let waits = deposits.iter().zip(&wallets).map(|(deposit, wallet)| {
            let key = (wallet.to_string(), deposit.amount.currency);
            busy.contains(&key).then(|| deposit.id.clone())
        });
        Ok(waits.collect())
    }

    async fn run(tx: &Tx, deposits: &[&Deposit]) -> Result<Outcomes<Self>, SalesError> {
        let wallets: Vec<Account> = deposits.iter().map(|deposit| wallet(deposit)).collect();
        let touched = deposits.iter().zip(&wallets).flat_map(|(deposit, wallet)| {
            let currency = deposit.amount.currency;
            [(&Account::TopUps, currency), (wallet, currency)]
        });
        // These hold off repeats.
        let mut accounts = Accounts::read(tx, touched).await?;
        let slots = deposits
            .iter()
            .map(|deposit| Slot::new(&deposit.once, TOP_UP, &deposit.amount));
        let slots = slots.collect::<Result<_, _>>()?;
        let mut slots = Slots::read(tx, TOP_UP, slots).await?;
        let mut outcomes = Vec::with_capacity(deposits.len());
        for (number, deposit) in deposits.iter().enumerate() {
            let outcome = slots.replay(number).and_then(|kept| match kept {
                Some(kept) => Ok(kept),
                None => {
                    let (kind, from) = (EntryKind::TopUp, Account::TopUps);
                    let entry = post(tx, &mut accounts, deposit, kind, from)?;
                    slots.keep(number, entry)
                }
            });
            outcomes.push(outcome);
        }
        accounts.write(tx);
        slots.write(tx);
        Ok(outcomes)
    }
}

pub async fn credit(tx: &Tx, deposit: &Deposit) -> Result<WalletEntry, SalesError> {
    let request = (&deposit.wallet, &deposit.amount, &deposit.reason);
    let slot = Slot::new(&deposit.once, "CreditWallet", &request)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    let (wallet, currency) = (wallet(deposit), deposit.amount.currency);
    let touched = [(&Account::Credits, currency), (&wallet, currency)];
    let mut accounts = Accounts::read(tx, touched).await?;
    let entry = post(
        tx,
        &mut accounts,
        deposit,
        EntryKind::Credit,
        Account::Credits,
    )?;
    accounts.write(tx);
    slot.keep(tx, entry)
}

fn wallet(deposit: &Deposit) -> Account {
    Account::User(deposit.wallet.clone())
}

/// Money for a wallet from outside, or nothing of it.
fn post(
    tx: &Tx,
    accounts: &mut Accounts,
    deposit: &Deposit,
    kind: EntryKind,
    from: Account,
) -> Result<WalletEntry, SalesError> {
    let (amount, wallet) = (deposit.amount, wallet(deposit));
    let balance = accounts.balance(&wallet, Money::zero(amount.currency));
    let room_minor = deposit
        .balance_max_minor
        .saturating_sub(balance.amount_minor);
    amount.charge(room_minor)?;
    let entry = Entry::transfer(kind, from, wallet, amount)?;
    let about = About {
        reason: &deposit.reason,
        ..About::default()
    };
    let posted = accounts.post(&deposit.id, &entry, &about)?;
    let wallet = posted
        .last()
        .map(|posted| (posted.balance, posted.sequence));
    let (balance_after, sequence) = wallet.unwrap_or((amount, 0));
    Ok(WalletEntry {
        id: deposit.id.clone(),
        kind,
        amount,
        balance_after,
        reservation: None,
        payment: None,
        reason: deposit.reason.clone(),
        created_at: tx.now(),
        sequence,
    })
}
