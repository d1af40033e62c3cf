//! Faults of seats and money.

use crate::truth::history::{
    AdminOp, Answer, History, Op, PaymentSeen, PaymentState, ReservationSeen, SaleOp,
};

use super::buyer::{CREDIT, PRICE, TOP_UP};
use super::clean::{key, money, resource, user};
use super::edit::{all, copy_after, first, is_ended, last, sale_mut};
use super::queue::activation;

pub(super) fn is_hold(op: &Op) -> bool {
    matches!(op, Op::Sale(SaleOp::Hold { .. }))
}

fn is_pay(op: &Op) -> bool {
    matches!(op, Op::Sale(SaleOp::Pay { .. }))
}

fn is_wallet(op: &Op) -> bool {
    matches!(op, Op::Sale(SaleOp::GetWallet { .. }))
}

fn is_payment(op: &Op) -> bool {
    matches!(op, Op::Sale(SaleOp::GetPayment { .. }))
}

/// Every sight of a user's reservation, to be changed.
fn reservations(history: &mut History, who: &str, change: impl Fn(&mut ReservationSeen)) {
    for index in all(history, who, |op| matches!(op, Op::Sale(_))) {
        if let SaleOp::Hold {
            answer: Answer::Ok(seen),
            ..
        }
        | SaleOp::Extend {
            answer: Answer::Ok(seen),
            ..
        }
        | SaleOp::GetReservation {
            answer: Answer::Ok(seen),
            ..
        }
        | SaleOp::Cancel {
            answer: Answer::Ok(seen),
            ..
        } = sale_mut(history, index)
        {
            change(seen);
        }
    }
}

fn payment(history: &mut History, index: usize) -> &mut PaymentSeen {
    match sale_mut(history, index) {
        SaleOp::Pay {
            answer: Answer::Ok(seen),
            ..
        }
        | SaleOp::GetPayment {
            answer: Answer::Ok(seen),
            ..
        } => seen,
        other => panic!("{other:?} is not a payment"),
    }
}

fn change_balance(history: &mut History, index: usize, by: i64) {
    if let SaleOp::GetWallet {
        answer: Answer::Ok(balance),
    } = sale_mut(history, index)
    {
        balance.minor += by;
    }
}

pub(super) fn foreign_pass(history: &mut History) {
    let (_, of_another) = activation(history, "u3");
    let index = first(history, "u5", is_hold);
    if let SaleOp::Hold { pass, .. } = sale_mut(history, index) {
        *pass = Some(of_another);
    }
}

pub(super) fn oversold_seat(history: &mut History) {
    reservations(history, "u5", |seen| seen.seats = vec![resource("seat-3")]);
}

pub(super) fn seat_held_twice(history: &mut History) {
    reservations(history, "u9", |seen| seen.seats = vec![resource("seat-7")]);
    // Nobody but these two takes the seat.
    reservations(history, "u11", |seen| {
        seen.seats = vec![resource("seat-70")]
    });
}

/// A hold of other seats, as a further command of the same user.
pub(super) fn another_hold(op: &mut Op, at_ms: u64) {
    if let Op::Sale(SaleOp::Hold {
        key: named, answer, ..
    }) = op
        && let Answer::Ok(seen) = answer
    {
        *named = key("hold-other");
        seen.id = resource("reservation-other");
        seen.seats = vec![resource("seat-other")];
        seen.hold_expire_ms = at_ms + 1_000;
    }
}

pub(super) fn hold_after_expiry(history: &mut History) {
    let held = first(history, "u7", is_hold);
    let ended = first(history, "u7", is_ended);
    let later_ms = history.records[ended].returned_ms - history.records[held].invoked_ms + 1_000;
    copy_after(history, held, later_ms, |copy| {
        another_hold(&mut copy.op, copy.returned_ms);
    });
}

pub(super) fn hold_before_claim(history: &mut History) {
    let (told, id) = activation(history, "u6");
    let at_ms = history.records[told].returned_ms + 10;
    let held = first(history, "u5", is_hold);
    copy_after(history, held, 0, |copy| {
        copy.user = user("u6");
        (copy.invoked_ms, copy.returned_ms) = (at_ms, at_ms + 2);
        another_hold(&mut copy.op, at_ms);
        if let Op::Sale(SaleOp::Hold { pass, .. }) = &mut copy.op {
            *pass = Some(id);
        }
    });
}

pub(super) fn hold_without_pass(history: &mut History) {
    let index = first(history, "u5", is_hold);
    if let SaleOp::Hold { pass, .. } = sale_mut(history, index) {
        *pass = None;
    }
}

pub(super) fn paid_after_expiry(history: &mut History) {
    let paid = first(history, "u5", is_pay);
    let expired_ms = history.records[paid].invoked_ms - 50;
    reservations(history, "u5", |seen| seen.hold_expire_ms = expired_ms);
}

pub(super) fn paid_by_stranger(history: &mut History) {
    for index in all(history, "u10", |op| is_pay(op) || is_payment(op)) {
        history.records[index].user = user("u3");
    }
}

pub(super) fn limit_exceeded(history: &mut History) {
    reservations(history, "u5", |seen| {
        seen.seats = ["seat-51", "seat-52", "seat-53"].map(resource).to_vec();
    });
}

pub(super) fn paid_twice(history: &mut History) {
    let paid = first(history, "u10", is_pay);
    copy_after(history, paid, 5, |copy| {
        if let Op::Sale(SaleOp::Pay {
            key: named,
            answer: Answer::Ok(seen),
            ..
        }) = &mut copy.op
        {
            *named = key("pay-again");
            seen.id = resource("payment-again");
            seen.state = PaymentState::Succeeded;
        }
    });
}

pub(super) fn double_charge(history: &mut History) {
    let paid = first(history, "u5", is_pay);
    for index in all(history, "u5", is_wallet) {
        if index > paid {
            change_balance(history, index, -PRICE);
        }
    }
}

pub(super) fn double_refund(history: &mut History) {
    let index = last(history, "u8", is_wallet);
    change_balance(history, index, PRICE);
}

pub(super) fn lost_credit(history: &mut History) {
    let index = last(history, "u9", is_wallet);
    change_balance(history, index, -CREDIT);
}

/// A wallet with less than the price pays it all the same.
pub(super) fn negative_balance(history: &mut History) {
    let had = PRICE - 1;
    for index in all(history, "u5", |op| {
        matches!(op, Op::Sale(SaleOp::TopUp { .. }))
    }) {
        if let SaleOp::TopUp { amount, .. } = sale_mut(history, index) {
            *amount = money(had);
        }
    }
    for index in all(history, "u5", is_wallet) {
        change_balance(history, index, had - TOP_UP);
    }
}

pub(super) fn replay_differs(history: &mut History) {
    let index = last(history, "u10", is_hold);
    if let SaleOp::Hold {
        answer: Answer::Ok(seen),
        ..
    } = sale_mut(history, index)
    {
        seen.total = money(PRICE - 1);
    }
}

pub(super) fn key_reused_accepted(history: &mut History) {
    let index = first(history, "u9", |op| {
        matches!(op, Op::Sale(SaleOp::TopUp { .. }))
    });
    copy_after(history, index, 3, |copy| {
        if let Op::Sale(SaleOp::TopUp { amount, .. }) = &mut copy.op {
            *amount = money(TOP_UP + 1);
        }
    });
}

pub(super) fn declined_then_captured(history: &mut History) {
    let index = first(history, "u10", is_payment);
    payment(history, index).state = PaymentState::Declined;
}

pub(super) fn payment_goes_back(history: &mut History) {
    let index = last(history, "u10", is_payment);
    copy_after(history, index, 3, |copy| {
        if let Op::Sale(SaleOp::GetPayment {
            answer: Answer::Ok(seen),
            ..
        }) = &mut copy.op
        {
            seen.state = PaymentState::Pending;
        }
    });
}

pub(super) fn refund_beyond_capture(history: &mut History) {
    let is_refund = |op: &Op| matches!(op, Op::Admin(AdminOp::RefundPayment { .. }));
    let index = first(history, "admin", is_refund);
    if let Op::Admin(AdminOp::RefundPayment { amount, .. }) = &mut history.records[index].op {
        amount.minor += PRICE;
    }
    for wallet in all(history, "u1", is_wallet) {
        if wallet > index {
            change_balance(history, wallet, PRICE);
        }
    }
}
