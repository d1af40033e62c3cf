//! S and M invariants, judged from the whole state after every transaction and
//! from what was answered.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{ResourceId, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, EntryKind};
use crate::domain::time::UnixMs;

use super::super::sale::{Answer, Command, Refused, Request, SEATS_PER_USER_MAX, Sale, Seat};
use super::super::sql::Sql;
use super::Oracle;

/// What was answered.
#[derive(Debug, Default)]
pub(in crate::sim) struct Answered {
    /// By user and key: the request, the answer, and the ledger after it.
    first: BTreeMap<(UserId, u64), (Request, Answer)>,
    owners: BTreeMap<ResourceId, UserId>,
    /// Until when each hold was promised.
    ends_at: BTreeMap<ResourceId, UnixMs>,
}

impl Oracle {
    /// One transaction was answered. `entries_before` is the ledger before it.
    pub(in crate::sim) fn sale_answered(
        &mut self,
        command: &Command,
        answer: &Result<Answer, Refused>,
        (sale, sql): (&Sale, &Sql),
        entries_before: usize,
        now: UnixMs,
    ) {
        let once = (command.user.clone(), command.key);
        if let Some((request, first)) = self.answered.first.get(&once).cloned() {
            let is_same = match request == command.request {
                true => *answer == Ok(first),
                false => *answer == Err(Refused::KeyReused),
            };
            self.check(is_same, "M3", || {
                format!("{:?} is answered {answer:?} when repeated", command.request)
            });
            let added = sale.entries.len() - entries_before;
            self.check(added == 0, "M3", || {
                format!("{:?} moved money when repeated", command.request)
            });
            return;
        }
        if let Ok(answer) = answer {
            let kept = (command.request.clone(), answer.clone());
            self.answered.first.insert(once, kept);
            self.effect(command, answer, (sale, sql), now);
        }
    }

    fn effect(
        &mut self,
        command: &Command,
        answer: &Answer,
        (sale, sql): (&Sale, &Sql),
        now: UnixMs,
    ) {
        match answer {
            Answer::Held(held) => {
                let row = held.activation.and_then(|id| sql.rows.get(&id));
                let is_active = row.is_some_and(|row| {
                    row.user == command.user
                        && matches!(row.standing, Standing::Active { expire_time, .. } if now < expire_time)
                });
                self.check(is_active, "S4", || {
                    format!(
                        "{} holds with {:?}",
                        command.user,
                        row.map(|row| row.standing)
                    )
                });
                self.answered
                    .owners
                    .insert(held.id.clone(), held.user.clone());
                self.hold_extended(&held.id, held.expires_at);
            }
            Answer::Paid(payment, completed) => {
                let id = &payment.reservation;
                let ends_at = self.answered.ends_at.get(id).copied().unwrap_or_default();
                self.check(now < ends_at, "S4", || {
                    format!("{id} is paid at {now:?}, held until {ends_at:?}")
                });
                let owner = self.answered.owners.get(id).cloned();
                self.check(owner.as_ref() == Some(&command.user), "S4", || {
                    format!("{id} of {owner:?} is paid by {}", command.user)
                });
                let ended = completed.map(|pass| sql.rows[&pass].standing);
                let is_over = ended.is_none_or(|it| it == Standing::Ended(EndReason::Completed));
                let pass = sale.reservations[id].activation;
                let is_left =
                    completed.is_none() && pass.is_some_and(|pass| sale.completes(sql, pass, now));
                self.check(is_over && !is_left, "Q11", || {
                    format!("the pass of {id} is {ended:?} after payment")
                });
            }
            Answer::Cancelled(..) | Answer::Balance(_) => {}
        }
    }

    pub(in crate::sim) fn hold_extended(&mut self, id: &ResourceId, until: UnixMs) {
        self.answered.ends_at.insert(id.clone(), until);
    }

    /// S1, S2, S3, S5, S7, M1, M2, M7 on the whole state.
    pub(in crate::sim) fn sale_stands(&mut self, sale: &Sale, now: UnixMs) {
        self.seats_stand(sale, now);
        self.payments_stand(sale);
        self.ledger_stands(sale);
    }

    fn seats_stand(&mut self, sale: &Sale, now: UnixMs) {
        let in_state = |state| {
            sale.reservations
                .values()
                .filter(move |it| it.state_at(now) == state)
        };
        let numbers =
            |it: &Reservation| it.seats.iter().map(|seat| seat.number).collect::<Vec<_>>();
        let sold: Vec<u32> = in_state(ReservationState::Confirmed)
            .flat_map(numbers)
            .collect();
        let held: Vec<u32> = in_state(ReservationState::Held).flat_map(numbers).collect();
        let distinct = |seats: &[u32]| seats.iter().collect::<BTreeSet<_>>().len();
        self.check(distinct(&sold) == sold.len(), "S1", || {
            format!("a seat is sold twice: {sold:?}")
        });
        let is_once = distinct(&held) == held.len() && !held.iter().any(|it| sold.contains(it));
        self.check(is_once, "S2", || {
            format!("a seat is held twice or sold: {held:?}, {sold:?}")
        });
        for (number, seat) in (0_u32..).zip(&sale.seats) {
            let agrees = match seat {
                Seat::Sold(_) => sold.contains(&number),
                Seat::Held(_) => !sold.contains(&number),
                Seat::Free => !sold.contains(&number) && !held.contains(&number),
            };
            self.check(agrees, "S3", || format!("seat {number} is {seat:?}"));
        }
        let users: BTreeSet<&UserId> = sale.reservations.values().map(|it| &it.user).collect();
        for user in users {
            let has = sale.seats_of(user, now);
            self.check(has <= SEATS_PER_USER_MAX, "S5", || {
                format!("{user} has {has} seats")
            });
        }
    }

    fn payments_stand(&mut self, sale: &Sale) {
        for payment in sale.payments.values() {
            let id = &payment.reservation;
            let refunded = payment.refunded.amount_minor;
            self.check(refunded <= payment.amount.amount_minor, "M7", || {
                format!("{refunded} of {:?} is given back", payment.amount)
            });
            let is_settled = match sale.reservations[id].state {
                // What it keeps is what the seats that stayed cost.
                ReservationState::Confirmed => {
                    let kept = payment.amount.amount_minor - refunded;
                    kept == sale.reservations[id].total.amount_minor
                }
                ReservationState::Cancelled => refunded == payment.amount.amount_minor,
                ReservationState::Held | ReservationState::Released | ReservationState::Expired => {
                    false
                }
            };
            let state = sale.reservations[id].state;
            self.check(is_settled, "S7", || {
                format!("{id} is {state:?}, paid and given back {refunded}")
            });
        }
        let paid = sale.payments.values().map(|payment| &payment.reservation);
        let distinct = paid.collect::<BTreeSet<_>>().len();
        self.check(distinct == sale.payments.len(), "S7", || {
            "a reservation is paid twice".to_owned()
        });
    }

    fn ledger_stands(&mut self, sale: &Sale) {
        let mut balances: BTreeMap<String, i64> = BTreeMap::new();
        let mut came_in = 0;
        for entry in &sale.entries {
            for posting in entry.postings() {
                let account = posting.account.to_string();
                *balances.entry(account).or_default() += posting.amount.amount_minor;
            }
            if entry.kind() == EntryKind::TopUp {
                came_in += entry.postings()[1].amount.amount_minor;
            }
        }
        let sum: i64 = balances.values().sum();
        self.check(sum == 0, "M1", || format!("the ledger sums to {sum}"));
        let external = balances.get(&Account::TopUps.to_string()).copied();
        self.check(external.unwrap_or_default() == -came_in, "M1", || {
            format!("{came_in} came in, {external:?} is booked")
        });
        for (account, balance) in &balances {
            let is_bounded = account.starts_with("user:");
            self.check(!is_bounded || *balance >= 0, "M2", || {
                format!("{account} stands at {balance}")
            });
        }
    }
}
