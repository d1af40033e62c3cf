//! Reservations as buyers saw them, with the times between which their seats
//! were surely taken.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{ActivationId, IdempotencyKey, ResourceId, UserId};
use crate::truth::history::{
    AdminOp, Answer, History, PaymentSeen, Record, ReservationSeen, ReservationState, SaleOp,
};

/// A payment as one key made it.
#[derive(Debug, Clone)]
pub(in crate::truth::checkers) struct Paid {
    pub user: UserId,
    pub payment: ResourceId,
    pub from_wallet: bool,
    /// It took effect between these.
    pub from_ms: u64,
    pub known_ms: u64,
    pub record: usize,
}

#[derive(Debug)]
pub(in crate::truth::checkers) struct Reservation {
    pub id: ResourceId,
    pub user: UserId,
    pub performance: ResourceId,
    pub seats: Vec<ResourceId>,
    pub record: usize,
    /// The hold took effect between these.
    pub from_ms: u64,
    pub known_ms: u64,
    /// The latest expiry that was told.
    pub hold_expire_ms: u64,
    /// Passes shown by the attempts of its key.
    pub passes: Vec<Option<ActivationId>>,
    pub paid: Vec<Paid>,
    /// Its seats may have been freed from here on, by someone's hand.
    pub freed_from_ms: u64,
    /// Surely cancelled by then, and the record.
    pub cancelled: Option<(u64, usize)>,
}

impl Reservation {
    /// When it surely was paid for.
    pub fn sold_ms(&self) -> Option<u64> {
        self.paid.iter().map(|paid| paid.known_ms).min()
    }

    /// Until when its seats were surely taken.
    pub fn until_ms(&self, clock_leeway_ms: u64) -> u64 {
        match self.sold_ms() {
            Some(_) => self.freed_from_ms,
            None => {
                let expires_ms = self.hold_expire_ms.saturating_sub(clock_leeway_ms);
                self.freed_from_ms.min(expires_ms)
            }
        }
    }
}

/// When a key was first used, and the passes its attempts showed.
type Attempts = (u64, Vec<Option<ActivationId>>);

#[derive(Debug, Default)]
pub(in crate::truth::checkers) struct Reservations {
    pub by_id: BTreeMap<ResourceId, Reservation>,
}

impl Reservations {
    pub fn read(history: &History) -> Self {
        let mut reservations = Self::default();
        reservations.holds(history);
        reservations.payments(history);
        for (index, record, op) in history.sale() {
            reservations.follow(index, record, op);
        }
        for (_, record, op) in history.admin() {
            reservations.operators(record, op);
        }
        reservations
    }

    fn holds(&mut self, history: &History) {
        // An attempt that was answered late, or never, may be the one that held.
        let mut attempts: HashMap<(&UserId, &IdempotencyKey), Attempts> = HashMap::new();
        for (_, record, op) in history.sale() {
            if let SaleOp::Hold {
                key, pass, answer, ..
            } = op
                && answer.may_have_happened()
            {
                let (from_ms, passes) = attempts
                    .entry((&record.user, key))
                    .or_insert((u64::MAX, Vec::new()));
                *from_ms = record.invoked_ms.min(*from_ms);
                passes.push(*pass);
            }
        }
        for (index, record, op) in history.sale() {
            let SaleOp::Hold {
                performance,
                key,
                answer: Answer::Ok(seen),
                ..
            } = op
            else {
                continue;
            };
            let Some((from_ms, passes)) = attempts.get(&(&record.user, key)) else {
                continue;
            };
            let reservation = self.by_id.entry(seen.id.clone()).or_insert(Reservation {
                id: seen.id.clone(),
                user: record.user.clone(),
                performance: performance.clone(),
                seats: seen.seats.clone(),
                record: index,
                from_ms: *from_ms,
                known_ms: record.returned_ms,
                hold_expire_ms: 0,
                passes: passes.clone(),
                paid: Vec::new(),
                freed_from_ms: u64::MAX,
                cancelled: None,
            });
            reservation.known_ms = reservation.known_ms.min(record.returned_ms);
        }
    }

    fn payments(&mut self, history: &History) {
        // The first attempt of each key, and of the payment it made.
        let mut from: HashMap<(&UserId, &IdempotencyKey), u64> = HashMap::new();
        let mut made: HashMap<&ResourceId, (&UserId, u64)> = HashMap::new();
        for (index, record, op) in history.sale() {
            match op {
                SaleOp::Pay { key, answer, .. } if answer.may_have_happened() => {
                    let from_ms = *from
                        .entry((&record.user, key))
                        .and_modify(|ms| *ms = record.invoked_ms.min(*ms))
                        .or_insert(record.invoked_ms);
                    if let Some(seen) = answer.ok() {
                        made.entry(&seen.id).or_insert((&record.user, from_ms));
                        self.pay(index, record, seen, (&record.user, from_ms));
                    }
                }
                SaleOp::GetPayment {
                    answer: Answer::Ok(seen),
                    ..
                } => {
                    if let Some(made) = made.get(&seen.id) {
                        self.pay(index, record, seen, *made);
                    }
                }
                _ => {}
            }
        }
    }

    fn pay(&mut self, index: usize, record: &Record, seen: &PaymentSeen, made: (&UserId, u64)) {
        let Some(reservation) = self.by_id.get_mut(&seen.reservation) else {
            return;
        };
        let known = reservation.paid.iter().any(|paid| paid.payment == seen.id);
        if seen.state.is_captured() && !known {
            reservation.paid.push(Paid {
                user: made.0.clone(),
                payment: seen.id.clone(),
                from_wallet: seen.from_wallet,
                from_ms: made.1,
                known_ms: record.returned_ms,
                record: index,
            });
        }
    }

    fn follow(&mut self, index: usize, record: &Record, op: &SaleOp) {
        match op {
            SaleOp::Hold {
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
            } => self.look(record, seen),
            SaleOp::Cancel {
                reservation,
                answer,
                ..
            } if answer.may_have_happened() => {
                let Some(reservation) = self.by_id.get_mut(reservation) else {
                    return;
                };
                reservation.freed_from_ms = reservation.freed_from_ms.min(record.invoked_ms);
                let first = reservation
                    .cancelled
                    .is_none_or(|(ms, _)| record.returned_ms < ms);
                if answer.ok().is_some() && first {
                    reservation.cancelled = Some((record.returned_ms, index));
                }
            }
            _ => {}
        }
    }

    fn look(&mut self, record: &Record, seen: &ReservationSeen) {
        let Some(reservation) = self.by_id.get_mut(&seen.id) else {
            return;
        };
        reservation.hold_expire_ms = reservation.hold_expire_ms.max(seen.hold_expire_ms);
        if matches!(
            seen.state,
            ReservationState::Released | ReservationState::Cancelled
        ) {
            // Freed by someone else at a time unknown: nothing later is certain.
            let since_ms = reservation.known_ms;
            if reservation.freed_from_ms > record.returned_ms {
                reservation.freed_from_ms = since_ms;
            }
        }
    }

    fn operators(&mut self, record: &Record, op: &AdminOp) {
        match op {
            AdminOp::CancelPerformance {
                performance,
                answer,
            } if answer.may_have_happened() => {
                for reservation in self
                    .by_id
                    .values_mut()
                    .filter(|reservation| reservation.performance == *performance)
                {
                    reservation.freed_from_ms = reservation.freed_from_ms.min(record.invoked_ms);
                }
            }
            AdminOp::RefundPayment {
                payment, answer, ..
            } if answer.may_have_happened() => {
                for reservation in self.by_id.values_mut().filter(|reservation| {
                    reservation.paid.iter().any(|paid| paid.payment == *payment)
                }) {
                    reservation.freed_from_ms = reservation.freed_from_ms.min(record.invoked_ms);
                }
            }
            _ => {}
        }
    }
}
