//! One buyer of the clean history: joins, waits, claims, holds, pays. Each of
//! the twelve has a habit of its own.

use crate::domain::ids::{ActivationId, Cursor, ResourceId};
use crate::domain::place::EndReason;
use crate::truth::history::{
    AdminOp, Answer, Message, Op, PaymentSeen, PaymentState, QueueOp, ReservationSeen,
    ReservationState, SaleOp, StreamEnd, Wanted,
};

use super::clean::{
    CLAIM_WINDOW_MS, Model, PASS_TTL_MS, START_MS, ended, key, money, performance, place, resource,
    room, turn, user,
};

const HOLD_TTL_MS: u64 = 4_000;
pub(super) const TOP_UP: i64 = 5_000;
pub(super) const CREDIT: i64 = 700;
pub(super) const PRICE: i64 = 1_000;
pub(super) const REFUND: i64 = 300;

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    New,
    Waiting,
    Activated,
    Active,
    Held,
    Done,
}

#[derive(Debug)]
pub(super) struct Buyer {
    pub index: u64,
    pub name: String,
    pub number: u64,
    pub phase: Phase,
    /// When the phase began.
    since_ms: u64,
    pub activation: Option<ActivationId>,
    pub claim_by_ms: u64,
    pub expire_ms: u64,
    hold_expire_ms: u64,
    balance: i64,
    pub stream: Option<u64>,
    /// What the stream must be told next.
    pub due: Option<Message>,
    pub told: Cursor,
    pub heard_ms: u64,
    reconnected: bool,
    cancelled: bool,
}

/// What a buyer must know of the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others {
    /// The hold of the one who never pays has expired.
    pub seat_7_free: bool,
    /// The one who changes their mind has cancelled.
    pub seat_8_free: bool,
}

impl Buyer {
    pub fn new(index: u64) -> Self {
        Self {
            index,
            name: format!("u{index}"),
            number: 0,
            phase: Phase::New,
            since_ms: START_MS,
            activation: None,
            claim_by_ms: 0,
            expire_ms: 0,
            hold_expire_ms: 0,
            balance: 0,
            stream: None,
            due: None,
            told: Cursor::default(),
            heard_ms: 0,
            reconnected: false,
            cancelled: false,
        }
    }

    pub fn others(buyers: &[Self], now_ms: u64) -> Others {
        let expires_ms = buyers[6].hold_expire_ms;
        Others {
            seat_7_free: expires_ms > 0 && expires_ms < now_ms,
            seat_8_free: buyers[7].cancelled,
        }
    }

    pub fn holds_slot(&self) -> bool {
        matches!(self.phase, Phase::Activated | Phase::Active | Phase::Held)
    }

    pub fn activate(&mut self, id: ActivationId, now_ms: u64) {
        self.enter(Phase::Activated, now_ms);
        self.activation = Some(id);
        self.claim_by_ms = now_ms + CLAIM_WINDOW_MS;
        self.due = Some(Message::Activated {
            activation_id: id,
            claim_by_ms: Some(self.claim_by_ms),
            expire_ms: None,
        });
    }

    /// Ends what is over by the clock.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let reason = match self.phase {
            Phase::Activated if now_ms >= self.claim_by_ms => EndReason::Unclaimed,
            Phase::Active | Phase::Held if now_ms >= self.expire_ms => EndReason::PassExpired,
            _ => return false,
        };
        self.finish(reason, now_ms);
        true
    }

    /// What this buyer does between two ticks.
    pub fn act(&mut self, model: &mut Model, now_ms: u64, others: Others) {
        let since_ms = now_ms.saturating_sub(self.since_ms);
        match self.phase {
            Phase::New if now_ms == START_MS + 500 => self.fill_wallet(model, now_ms),
            Phase::New if now_ms == START_MS + 1_000 => self.join(model, now_ms),
            Phase::Waiting => self.wait(model, now_ms),
            // The sixth never answers.
            Phase::Activated if since_ms >= 200 && self.index != 6 => self.claim(model, now_ms),
            Phase::Active if since_ms >= 300 && self.may_hold(others) => {
                self.hold(model, now_ms);
            }
            // The seventh never pays.
            Phase::Held if since_ms >= 300 && self.index != 7 => self.pay(model, now_ms),
            Phase::Done => self.look_back(model, now_ms, since_ms),
            _ => {}
        }
    }

    fn may_hold(&self, others: Others) -> bool {
        match self.index {
            11 => others.seat_7_free,
            12 => others.seat_8_free,
            _ => true,
        }
    }

    fn fill_wallet(&mut self, model: &mut Model, now_ms: u64) {
        let top_up = |answer| {
            Op::Sale(SaleOp::TopUp {
                amount: money(TOP_UP),
                key: key(&format!("top-up-{}", self.index)),
                answer,
            })
        };
        let entry = Answer::Ok(resource(&format!("entry-{}", self.index)));
        if self.index == 3 {
            let lost = Answer::Unknown("UNAVAILABLE".to_owned());
            model.push(&self.name, now_ms + 1, now_ms + 2, top_up(lost));
        }
        model.push(&self.name, now_ms + 3, now_ms + 5, top_up(entry));
        self.balance = TOP_UP;
        if self.index == 9 {
            let credit = AdminOp::CreditWallet {
                user: user(&self.name),
                amount: money(CREDIT),
                key: key("credit-9"),
                answer: Answer::Ok(resource("entry-credit-9")),
            };
            model.push("admin", now_ms + 6, now_ms + 8, Op::Admin(credit));
            self.balance += CREDIT;
        }
        self.read_wallet(model, now_ms + 10);
    }

    fn join(&mut self, model: &mut Model, now_ms: u64) {
        let at_ms = now_ms + self.index * 5;
        let join = |answer| {
            Op::Queue(QueueOp::Join {
                room: room(),
                presented: None,
                code: None,
                answer,
            })
        };
        if self.index == 5 {
            let lost = Answer::Unknown("DEADLINE_EXCEEDED".to_owned());
            model.push(&self.name, at_ms, at_ms + 1, join(lost));
        }
        self.number = model.issue();
        let seen = model.seen(self);
        model.push(&self.name, at_ms + 1, at_ms + 3, join(Answer::Ok(seen)));
        self.enter(Phase::Waiting, now_ms);
        // The fourth polls.
        if self.index != 4 {
            model.watch(self, at_ms + 3, None);
        }
    }

    fn wait(&mut self, model: &mut Model, now_ms: u64) {
        let at_ms = now_ms + 20 + self.index;
        match self.index {
            2 if now_ms == START_MS + 1_500 => {
                let leave = QueueOp::Leave {
                    room: room(),
                    place: place(self.number),
                    answer: Answer::Ok(()),
                };
                model.push(&self.name, at_ms, at_ms + 2, Op::Queue(leave));
                model.leave(self.number);
                self.finish(EndReason::Left, now_ms);
            }
            4 => self.poll(model, at_ms),
            9 if !self.reconnected && now_ms >= START_MS + 1_800 => {
                self.reconnected = true;
                if let Some(stream) = self.stream.take() {
                    let closed = QueueOp::StreamClosed {
                        stream,
                        end: StreamEnd::Broken,
                    };
                    model.push(&self.name, at_ms, at_ms, Op::Queue(closed));
                }
                model.watch(self, at_ms + 5, Some(self.told));
            }
            _ => {}
        }
    }

    fn poll(&self, model: &mut Model, at_ms: u64) {
        let poll = QueueOp::GetPlace {
            room: room(),
            place: place(self.number),
            answer: Answer::Ok(model.seen(self)),
        };
        model.push(&self.name, at_ms, at_ms + 2, Op::Queue(poll));
    }

    fn claim(&mut self, model: &mut Model, now_ms: u64) {
        let at_ms = now_ms + 20 + self.index;
        if self.index == 4 {
            self.poll(model, at_ms - 10);
        }
        self.expire_ms = at_ms + 1 + PASS_TTL_MS;
        self.enter(Phase::Active, now_ms);
        let Some(turn) = turn(self) else { return };
        let claim = QueueOp::Claim {
            room: room(),
            place: place(self.number),
            answer: Answer::Ok(turn),
        };
        model.push(&self.name, at_ms, at_ms + 3, Op::Queue(claim));
        model.touch();
        self.due = Some(Message::Activated {
            activation_id: turn.activation_id,
            claim_by_ms: None,
            expire_ms: Some(self.expire_ms),
        });
    }

    fn seat(&self) -> ResourceId {
        match self.index {
            11 => resource("seat-7"),
            12 => resource("seat-8"),
            index => resource(&format!("seat-{index}")),
        }
    }

    fn reservation(&self, state: ReservationState) -> ReservationSeen {
        ReservationSeen {
            id: resource(&format!("reservation-{}", self.index)),
            seats: vec![self.seat()],
            total: money(PRICE),
            state,
            hold_expire_ms: self.hold_expire_ms,
        }
    }

    fn hold(&mut self, model: &mut Model, now_ms: u64) {
        let at_ms = now_ms + 20 + self.index;
        self.hold_expire_ms = at_ms + 1 + HOLD_TTL_MS;
        self.enter(Phase::Held, now_ms);
        let hold = SaleOp::Hold {
            performance: performance(),
            wanted: Wanted::Seats(vec![self.seat()]),
            key: key(&format!("hold-{}", self.index)),
            pass: self.activation,
            answer: Answer::Ok(self.reservation(ReservationState::Held)),
        };
        model.push(&self.name, at_ms, at_ms + 4, Op::Sale(hold.clone()));
        if self.index == 10 {
            model.push(&self.name, at_ms + 5, at_ms + 6, Op::Sale(hold));
        }
        if self.index == 9 {
            self.hold_expire_ms += HOLD_TTL_MS;
            let extend = SaleOp::Extend {
                reservation: self.reservation(ReservationState::Held).id,
                answer: Answer::Ok(self.reservation(ReservationState::Held)),
            };
            model.push(&self.name, at_ms + 5, at_ms + 6, Op::Sale(extend));
        }
    }

    fn payment(&self, state: PaymentState) -> PaymentSeen {
        PaymentSeen {
            id: resource(&format!("payment-{}", self.index)),
            reservation: self.reservation(ReservationState::Held).id,
            // The tenth pays through a gateway.
            from_wallet: self.index != 10,
            amount: money(PRICE),
            state,
        }
    }

    fn pay(&mut self, model: &mut Model, now_ms: u64) {
        let at_ms = now_ms + 20 + self.index;
        let by_gateway = self.index == 10;
        let first = if by_gateway {
            PaymentState::Pending
        } else {
            PaymentState::Succeeded
        };
        let pay = SaleOp::Pay {
            reservation: self.reservation(ReservationState::Held).id,
            from_wallet: !by_gateway,
            key: key(&format!("pay-{}", self.index)),
            answer: Answer::Ok(self.payment(first)),
        };
        model.push(&self.name, at_ms, at_ms + 4, Op::Sale(pay));
        if by_gateway {
            self.read_payment(model, at_ms + 6, PaymentState::Pending);
            self.read_payment(model, at_ms + 20, PaymentState::Succeeded);
        } else {
            self.balance -= PRICE;
        }
        let confirmed = SaleOp::GetReservation {
            reservation: self.reservation(ReservationState::Held).id,
            answer: Answer::Ok(self.reservation(ReservationState::Confirmed)),
        };
        model.push(&self.name, at_ms + 24, at_ms + 25, Op::Sale(confirmed));
        self.read_wallet(model, at_ms + 26);
        model.touch();
        self.finish(EndReason::Completed, now_ms);
    }

    fn read_payment(&self, model: &mut Model, at_ms: u64, state: PaymentState) {
        let read = SaleOp::GetPayment {
            payment: self.payment(state).id,
            answer: Answer::Ok(self.payment(state)),
        };
        model.push(&self.name, at_ms, at_ms + 1, Op::Sale(read));
    }

    fn read_wallet(&self, model: &mut Model, at_ms: u64) {
        let read = SaleOp::GetWallet {
            answer: Answer::Ok(money(self.balance)),
        };
        model.push(&self.name, at_ms, at_ms + 1, Op::Sale(read));
    }

    /// After the turn: one cancels, one is refunded in part.
    fn look_back(&mut self, model: &mut Model, now_ms: u64, since_ms: u64) {
        if since_ms != 500 {
            return;
        }
        let at_ms = now_ms + 20 + self.index;
        if self.index == 8 {
            let cancel = SaleOp::Cancel {
                reservation: self.reservation(ReservationState::Held).id,
                key: key("cancel-8"),
                answer: Answer::Ok(self.reservation(ReservationState::Cancelled)),
            };
            model.push(&self.name, at_ms, at_ms + 3, Op::Sale(cancel));
            self.balance += PRICE;
            self.cancelled = true;
        }
        if self.index == 1 {
            let refund = AdminOp::RefundPayment {
                user: user(&self.name),
                payment: self.payment(PaymentState::Succeeded).id,
                amount: money(REFUND),
                key: key("refund-1"),
                answer: Answer::Ok(self.payment(PaymentState::Succeeded)),
            };
            model.push("admin", at_ms, at_ms + 3, Op::Admin(refund));
            self.balance += REFUND;
        }
        self.read_wallet(model, at_ms + 10);
    }

    fn finish(&mut self, reason: EndReason, now_ms: u64) {
        self.enter(Phase::Done, now_ms);
        self.due = Some(ended(reason));
    }

    fn enter(&mut self, phase: Phase, now_ms: u64) {
        self.phase = phase;
        self.since_ms = now_ms;
    }
}
