//! M1: a wallet holds what was put in less what was taken out; M2: never less
//! than nothing.
//!
//! A wallet starts empty. For a balance read between two moments, effects
//! known before it count, those begun after it do not, and each of the others
//! may or may not: the balance must be one of the sums this allows.

use std::collections::{BTreeSet, HashMap};

use crate::domain::ids::{IdempotencyKey, ResourceId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::history::{AdminOp, Amount, Answer, History, PaymentSeen, Record, SaleOp};

/// Beyond this many open effects only the bounds of the sum are checked.
const OPEN_EFFECTS_MAX: usize = 14;

/// One change of one wallet.
#[derive(Debug, Clone)]
struct Effect {
    minor: i64,
    from_ms: u64,
    /// Surely done by then; none: it may never happen.
    known_ms: Option<u64>,
    record: usize,
}

type Wallet<'a> = (&'a UserId, &'a str);

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let wallets = Effects::read(history);
    for (index, record, op) in history.sale() {
        let SaleOp::GetWallet {
            answer: Answer::Ok(balance),
        } = op
        else {
            continue;
        };
        if balance.minor < 0 {
            let text = format!("{} has a balance of {}", record.user, balance.minor);
            found.push(Violation::new("M2", text, [index]));
        }
        if wallets.unclear.contains(&record.user) {
            continue;
        }
        let wallet = (&record.user, balance.currency.as_str());
        let effects = wallets.of.get(&wallet).map_or(&[][..], Vec::as_slice);
        if let Some((low, high)) = impossible(effects, record, balance) {
            let text = format!(
                "{} has {} {}, but {low} to {high} is what was put in and taken out",
                record.user, balance.minor, balance.currency
            );
            let mut records: Vec<usize> = effects.iter().map(|effect| effect.record).collect();
            records.push(index);
            found.push(Violation::new("M1", text, records));
        }
    }
    found
}

/// The bounds of the balance, if what was read is not among the possible.
fn impossible(effects: &[Effect], read: &Record, balance: &Amount) -> Option<(i128, i128)> {
    let mut base = 0_i128;
    let mut open = Vec::new();
    for effect in effects {
        if effect.known_ms.is_some_and(|ms| ms < read.invoked_ms) {
            base += i128::from(effect.minor);
        } else if effect.from_ms <= read.returned_ms {
            open.push(i128::from(effect.minor));
        }
    }
    let low = base + open.iter().filter(|minor| **minor < 0).sum::<i128>();
    let high = base + open.iter().filter(|minor| **minor > 0).sum::<i128>();
    let read = i128::from(balance.minor);
    let possible = if open.len() > OPEN_EFFECTS_MAX {
        (low..=high).contains(&read)
    } else {
        let mut sums = BTreeSet::from([base]);
        for minor in open {
            let with: Vec<i128> = sums.iter().map(|sum| sum + minor).collect();
            sums.extend(with);
        }
        sums.contains(&read)
    };
    (!possible).then_some((low, high))
}

/// A payment from a wallet that was captured, or may have been.
struct Taken<'a> {
    user: &'a UserId,
    amount: Option<&'a Amount>,
    payment: Option<&'a ResourceId>,
    reservation: &'a ResourceId,
    effect: Effect,
}

#[derive(Default)]
struct Effects<'a> {
    of: HashMap<Wallet<'a>, Vec<Effect>>,
    /// Wallets whose sums cannot be told from this history.
    unclear: BTreeSet<UserId>,
}

impl<'a> Effects<'a> {
    fn read(history: &'a History) -> Self {
        let mut effects = Self::default();
        effects.put_in(history);
        let taken = taken_out(history);
        for taken in taken.values() {
            match taken.amount {
                Some(amount) => effects.add(taken.user, amount, taken.effect.clone()),
                // Unknown, of a reservation whose price was never told.
                None => effects.lose(taken.user),
            }
        }
        effects.given_back(history, &taken);
        effects
    }

    fn add(&mut self, user: &'a UserId, amount: &'a Amount, effect: Effect) {
        self.of
            .entry((user, &amount.currency))
            .or_default()
            .push(effect);
    }

    fn lose(&mut self, user: &UserId) {
        self.unclear.insert(user.clone());
    }

    /// Top-ups and credits: one effect per key.
    fn put_in(&mut self, history: &'a History) {
        let mut keyed: HashMap<(&UserId, &IdempotencyKey, bool), (&UserId, &Amount, Effect)> =
            HashMap::new();
        let mut take = |index,
                        record: &'a Record,
                        owner,
                        amount: &'a Amount,
                        key,
                        by_operator,
                        answer: &Answer<ResourceId>| {
            if !answer.may_have_happened() {
                return;
            }
            let (_, _, effect) = keyed
                .entry((&record.user, key, by_operator))
                .or_insert_with(|| (owner, amount, unknown(amount.minor, index, record)));
            narrow(effect, record, answer.ok().is_some());
        };
        for (index, record, op) in history.sale() {
            if let SaleOp::TopUp {
                amount,
                key,
                answer,
            } = op
            {
                take(index, record, &record.user, amount, key, false, answer);
            }
        }
        for (index, record, op) in history.admin() {
            if let AdminOp::CreditWallet {
                user,
                amount,
                key,
                answer,
            } = op
            {
                take(index, record, user, amount, key, true, answer);
            }
        }
        for (user, amount, effect) in keyed.into_values() {
            self.add(user, amount, effect);
        }
    }

    /// Refunds by operators, and by cancelling what was paid.
    fn given_back(&mut self, history: &'a History, taken: &HashMap<TakenKey<'a>, Taken<'a>>) {
        let by_payment: HashMap<&ResourceId, &Taken> = taken
            .values()
            .filter_map(|taken| Some((taken.payment?, taken)))
            .collect();
        let mut refunds: HashMap<(&UserId, &IdempotencyKey), (&ResourceId, &Amount, Effect)> =
            HashMap::new();
        for (index, record, op) in history.admin() {
            match op {
                AdminOp::RefundPayment {
                    payment,
                    amount,
                    key,
                    answer,
                    ..
                } if answer.may_have_happened() && by_payment.contains_key(payment) => {
                    let (_, _, effect) = refunds
                        .entry((&record.user, key))
                        .or_insert_with(|| (payment, amount, unknown(amount.minor, index, record)));
                    narrow(effect, record, answer.ok().is_some());
                }
                // Refunds everyone in its own time.
                AdminOp::CancelPerformance { answer, .. } if answer.may_have_happened() => {
                    taken.values().for_each(|taken| self.lose(taken.user));
                }
                _ => {}
            }
        }
        let mut refunded: HashMap<&ResourceId, i64> = HashMap::new();
        let mut unsure: BTreeSet<&ResourceId> = BTreeSet::new();
        for (payment, amount, effect) in refunds.into_values() {
            if effect.known_ms.is_some() {
                *refunded.entry(payment).or_default() += amount.minor;
            } else {
                unsure.insert(payment);
            }
            self.add(by_payment[payment].user, amount, effect);
        }
        self.cancelled(history, taken, &refunded, &unsure);
    }

    /// A cancellation gives back what no refund gave back before.
    fn cancelled(
        &mut self,
        history: &'a History,
        taken: &HashMap<TakenKey<'a>, Taken<'a>>,
        refunded: &HashMap<&ResourceId, i64>,
        unsure: &BTreeSet<&ResourceId>,
    ) {
        let mut cancels: HashMap<&ResourceId, Effect> = HashMap::new();
        for (index, record, op) in history.sale() {
            if let SaleOp::Cancel {
                reservation,
                answer,
                ..
            } = op
                && answer.may_have_happened()
            {
                let effect = cancels
                    .entry(reservation)
                    .or_insert_with(|| unknown(0, index, record));
                narrow(effect, record, answer.ok().is_some());
            }
        }
        for taken in taken.values() {
            let Some(cancel) = cancels.get(taken.reservation) else {
                continue;
            };
            let (Some(payment), Some(amount)) = (taken.payment, taken.amount) else {
                self.lose(taken.user);
                continue;
            };
            if unsure.contains(payment) {
                self.lose(taken.user);
                continue;
            }
            let back = amount.minor - refunded.get(payment).copied().unwrap_or_default();
            let effect = Effect {
                minor: back.max(0),
                ..cancel.clone()
            };
            self.add(taken.user, amount, effect);
        }
    }
}

type TakenKey<'a> = (&'a UserId, &'a IdempotencyKey);

fn taken_out(history: &History) -> HashMap<TakenKey<'_>, Taken<'_>> {
    let mut prices: HashMap<&ResourceId, &Amount> = HashMap::new();
    let mut captured: HashMap<&ResourceId, (&PaymentSeen, u64)> = HashMap::new();
    for (_, record, op) in history.sale() {
        match op {
            SaleOp::Hold {
                answer: Answer::Ok(seen),
                ..
            } => {
                prices.insert(&seen.id, &seen.total);
            }
            SaleOp::GetPayment {
                answer: Answer::Ok(seen),
                ..
            } if seen.state.is_captured() => {
                captured
                    .entry(&seen.id)
                    .or_insert((seen, record.returned_ms));
            }
            _ => {}
        }
    }
    let mut taken: HashMap<TakenKey, Taken> = HashMap::new();
    for (index, record, op) in history.sale() {
        let SaleOp::Pay {
            reservation,
            from_wallet: true,
            key,
            answer,
        } = op
        else {
            continue;
        };
        if !answer.may_have_happened() {
            continue;
        }
        let taken = taken.entry((&record.user, key)).or_insert_with(|| Taken {
            user: &record.user,
            amount: prices.get(reservation).copied(),
            payment: None,
            reservation,
            effect: unknown(0, index, record),
        });
        let done = answer.ok().is_some_and(|seen| seen.state.is_captured());
        narrow(&mut taken.effect, record, done);
        if let Some(seen) = answer.ok() {
            taken.amount = Some(&seen.amount);
            taken.payment = Some(&seen.id);
            if let (None, Some((_, ms))) = (taken.effect.known_ms, captured.get(&seen.id)) {
                taken.effect.known_ms = Some(*ms);
            }
        }
        taken.effect.minor = taken.amount.map_or(0, |amount| -amount.minor);
    }
    taken
}

fn unknown(minor: i64, index: usize, record: &Record) -> Effect {
    Effect {
        minor,
        from_ms: record.invoked_ms,
        known_ms: None,
        record: index,
    }
}

fn narrow(effect: &mut Effect, record: &Record, done: bool) {
    effect.from_ms = effect.from_ms.min(record.invoked_ms);
    if done {
        let known_ms = effect.known_ms.unwrap_or(u64::MAX);
        effect.known_ms = Some(known_ms.min(record.returned_ms));
    }
}
