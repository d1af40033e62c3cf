//! M3: one effect per idempotency key, and one result for all its calls.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{IdempotencyKey, ResourceId, UserId};
use crate::truth::checkers::Violation;
use crate::truth::history::{AdminOp, Amount, Answer, History, PaymentState, SaleOp, Wanted};

/// What a key names: the call with all it asks for, but the pass that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Request<'a> {
    Hold(&'a ResourceId, &'a Wanted),
    Cancel(&'a ResourceId),
    Pay(&'a ResourceId, bool),
    TopUp(&'a Amount),
    Credit(&'a UserId, &'a Amount),
    Refund(&'a ResourceId, &'a Amount),
}

impl Request<'_> {
    fn rpc(&self) -> &'static str {
        match self {
            Self::Hold(..) => "HoldSeats",
            Self::Cancel(_) => "CancelReservation",
            Self::Pay(..) => "PayReservation",
            Self::TopUp(_) => "TopUpWallet",
            Self::Credit(..) => "CreditWallet",
            Self::Refund(..) => "RefundPayment",
        }
    }
}

/// A good reply, as far as a replay repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    /// What the call made; empty for one that makes nothing new.
    made: Option<ResourceId>,
    text: String,
    /// A pending payment may be told again when it is done.
    pending: bool,
    declined: bool,
}

struct Call<'a> {
    record: usize,
    user: &'a UserId,
    key: &'a IdempotencyKey,
    request: Request<'a>,
    reply: Reply,
}

pub(super) fn check(history: &History) -> Vec<Violation> {
    let calls = calls(history);
    let mut found = Vec::new();
    let mut keyed: BTreeMap<(&UserId, &str, &IdempotencyKey), Vec<&Call>> = BTreeMap::new();
    for call in &calls {
        keyed
            .entry((call.user, call.request.rpc(), call.key))
            .or_default()
            .push(call);
    }
    for ((user, rpc, key), calls) in &keyed {
        let first = calls[0];
        if let Some(other) = calls.iter().find(|call| differ(first, call)) {
            let what = if other.request == first.request {
                "two results"
            } else {
                "two requests"
            };
            let text = format!("{rpc} of {user}: key {key} has {what}");
            found.push(Violation::new("M3", text, [first.record, other.record]));
        }
    }
    made_once(&calls, &mut found);
    found
}

fn differ(one: &Call, other: &Call) -> bool {
    if one.request != other.request || one.reply.declined != other.reply.declined {
        return true;
    }
    let told_later = one.reply.pending || other.reply.pending;
    one.reply.made != other.reply.made || (one.reply.text != other.reply.text && !told_later)
}

/// No two keys made the same thing.
fn made_once(calls: &[Call], found: &mut Vec<Violation>) {
    let mut makers: HashMap<(&str, &ResourceId), &Call> = HashMap::new();
    for call in calls {
        let Some(made) = &call.reply.made else {
            continue;
        };
        let maker = makers.entry((call.request.rpc(), made)).or_insert(call);
        if (maker.user, maker.key) != (call.user, call.key) {
            let text = format!("{made} was made by the keys {} and {}", maker.key, call.key);
            found.push(Violation::new("M3", text, [maker.record, call.record]));
        }
    }
}

/// Calls with a stored result, in order.
fn calls(history: &History) -> Vec<Call<'_>> {
    let sales = history.sale().filter_map(|(record, of, op)| {
        let (key, request, reply) = of_sale(op)?;
        Some(Call {
            record,
            user: &of.user,
            key,
            request,
            reply,
        })
    });
    let admins = history.admin().filter_map(|(record, of, op)| {
        let (key, request, reply) = of_admin(op)?;
        Some(Call {
            record,
            user: &of.user,
            key,
            request,
            reply,
        })
    });
    sales.chain(admins).collect()
}

fn of_sale(op: &SaleOp) -> Option<(&IdempotencyKey, Request<'_>, Reply)> {
    match op {
        SaleOp::Hold {
            performance,
            wanted,
            key,
            answer: Answer::Ok(seen),
            ..
        } => {
            let request = Request::Hold(performance, wanted);
            Some((key, request, made(&seen.id, format!("{seen:?}"))))
        }
        SaleOp::Cancel {
            reservation,
            key,
            answer: Answer::Ok(seen),
        } => Some((
            key,
            Request::Cancel(reservation),
            plain(format!("{seen:?}")),
        )),
        SaleOp::Pay {
            reservation,
            from_wallet,
            key,
            answer,
        } => {
            let reply = match answer {
                Answer::Ok(seen) => Reply {
                    pending: seen.state == PaymentState::Pending,
                    declined: seen.state == PaymentState::Declined,
                    ..made(&seen.id, format!("{seen:?}"))
                },
                Answer::Refused(reason) if reason == "PAYMENT_DECLINED" => Reply {
                    declined: true,
                    ..plain(String::new())
                },
                Answer::Refused(_) | Answer::Unknown(_) => return None,
            };
            Some((key, Request::Pay(reservation, *from_wallet), reply))
        }
        SaleOp::TopUp {
            amount,
            key,
            answer: Answer::Ok(entry),
        } => Some((key, Request::TopUp(amount), made(entry, String::new()))),
        _ => None,
    }
}

fn of_admin(op: &AdminOp) -> Option<(&IdempotencyKey, Request<'_>, Reply)> {
    match op {
        AdminOp::CreditWallet {
            user,
            amount,
            key,
            answer: Answer::Ok(entry),
        } => Some((
            key,
            Request::Credit(user, amount),
            made(entry, String::new()),
        )),
        AdminOp::RefundPayment {
            payment,
            amount,
            key,
            answer: Answer::Ok(seen),
            ..
        } => {
            let request = Request::Refund(payment, amount);
            Some((key, request, plain(format!("{seen:?}"))))
        }
        _ => None,
    }
}

fn made(id: &ResourceId, text: String) -> Reply {
    Reply {
        made: Some(id.clone()),
        ..plain(text)
    }
}

fn plain(text: String) -> Reply {
    Reply {
        made: None,
        text,
        pending: false,
        declined: false,
    }
}
