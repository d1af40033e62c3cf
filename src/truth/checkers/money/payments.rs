//! M5: a payment resolves once; M7: refunds never exceed their capture.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{IdempotencyKey, ResourceId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::history::{AdminOp, Answer, History, PaymentSeen, PaymentState, SaleOp};

/// One time a payment was seen.
struct Look<'a> {
    record: usize,
    invoked_ms: u64,
    returned_ms: u64,
    seen: &'a PaymentSeen,
    /// A replay may repeat an old state; a read may not.
    is_read: bool,
}

pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut looks: BTreeMap<&ResourceId, Vec<Look>> = BTreeMap::new();
    for (record, of, op) in history.sale() {
        let (seen, is_read) = match op {
            SaleOp::GetPayment {
                answer: Answer::Ok(seen),
                ..
            } => (seen, true),
            SaleOp::Pay {
                answer: Answer::Ok(seen),
                ..
            } => (seen, false),
            _ => continue,
        };
        looks.entry(&seen.id).or_default().push(Look {
            record,
            invoked_ms: of.invoked_ms,
            returned_ms: of.returned_ms,
            seen,
            is_read,
        });
    }
    for (payment, looks) in &looks {
        resolves_once(payment, looks, &mut found);
    }
    refunds(history, &looks, &mut found);
    found
}

fn resolves_once(payment: &ResourceId, looks: &[Look], found: &mut Vec<Violation>) {
    let captured = looks.iter().find(|look| look.seen.state.is_captured());
    let declined = looks
        .iter()
        .find(|look| look.seen.state == PaymentState::Declined);
    if let (Some(captured), Some(declined)) = (captured, declined) {
        let text = format!("{payment} was declined and captured");
        found.push(Violation::new(
            "M5",
            text,
            [declined.record, captured.record],
        ));
        return;
    }
    // What was reached before a read began is not undone in it.
    let mut reached: Vec<(u64, u8, usize)> = looks
        .iter()
        .map(|look| (look.returned_ms, stage(look.seen.state), look.record))
        .collect();
    reached.sort_unstable();
    let mut reads: Vec<&Look> = looks.iter().filter(|look| look.is_read).collect();
    reads.sort_by_key(|look| look.invoked_ms);
    let mut reached = reached.into_iter().peekable();
    let mut furthest: Option<(u8, usize)> = None;
    for read in reads {
        while let Some((_, stage, record)) = reached.next_if(|(ms, ..)| *ms < read.invoked_ms) {
            furthest = furthest.max(Some((stage, record)));
        }
        if let Some((far, record)) = furthest
            && stage(read.seen.state) < far
        {
            let text = format!("{payment} went back to {:?}", read.seen.state);
            found.push(Violation::new("M5", text, [record, read.record]));
            return;
        }
    }
}

/// How far a payment has come.
fn stage(state: PaymentState) -> u8 {
    match state {
        PaymentState::Pending => 0,
        PaymentState::Succeeded | PaymentState::Declined => 1,
        PaymentState::Refunding => 2,
        PaymentState::Refunded => 3,
    }
}

fn refunds(
    history: &History,
    looks: &BTreeMap<&ResourceId, Vec<Look>>,
    found: &mut Vec<Violation>,
) {
    let mut keyed: HashMap<(&UserId, &IdempotencyKey), ()> = HashMap::new();
    let mut sums: BTreeMap<&ResourceId, (i128, Vec<usize>)> = BTreeMap::new();
    for (index, record, op) in history.admin() {
        if let AdminOp::RefundPayment {
            payment,
            amount,
            key,
            answer: Answer::Ok(_),
            ..
        } = op
            && keyed.insert((&record.user, key), ()).is_none()
        {
            let (sum, records) = sums.entry(payment).or_default();
            *sum += i128::from(amount.minor);
            records.push(index);
        }
    }
    for (payment, (sum, records)) in sums {
        let captured = looks.get(payment).and_then(|looks| looks.first());
        if let Some(captured) = captured
            && sum > i128::from(captured.seen.amount.minor)
        {
            let text = format!(
                "{payment}: {sum} refunded of {}",
                captured.seen.amount.minor
            );
            found.push(Violation::new("M7", text, records));
        }
    }
}
