//! Payment, cancellation and the ledger of the simulated sale.

use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::domain::sale::hold::{HoldRefusal, Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, Entry, EntryKind};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentMethod, PaymentState};
use crate::domain::time::UnixMs;

use super::super::plant::Plant;
use super::super::sql::Sql;
use super::{Answer, Refused, Sale, Seat};

impl Sale {
    /// Money, seats, tickets and the pass together.
    pub(super) fn pay(
        &mut self,
        sql: &mut Sql,
        user: &UserId,
        id: &ResourceId,
        now: UnixMs,
    ) -> Result<Answer, Refused> {
        let plant = self.plant;
        let held = self.owned(user, id)?.clone();
        match held.require_live(now) {
            Err(HoldRefusal::Ended)
                if plant == Some(Plant::ExpiredHoldPayable)
                    && held.state == ReservationState::Held => {}
            Err(HoldRefusal::AlreadyPaid) if plant == Some(Plant::RepeatPaysTwice) => {}
            judged => judged.map_err(Refused::Hold)?,
        }
        let has = self.balance(user).amount_minor;
        if has < held.total.amount_minor && plant != Some(Plant::WalletOverdrawn) {
            return Err(Refused::InsufficientFunds);
        }
        let (from, to) = (
            Account::User(user.clone()),
            Account::Revenue(self.performance.clone()),
        );
        self.post(EntryKind::Payment, from, to, held.total);
        let payment = Payment {
            action_url: None,
            id: self.new_id("pay"),
            reservation: id.clone(),
            user: user.clone(),
            method: PaymentMethod::Wallet,
            amount: held.total,
            coupon: None,
            refunded: Money::zero(self.currency),
            state: PaymentState::Succeeded,
            created_at: now,
        };
        self.payments.insert(payment.id.clone(), payment.clone());
        let paid = self.owned(user, id)?;
        paid.state = ReservationState::Confirmed;
        paid.payment = Some(payment.id.clone());
        for seat in &held.seats {
            self.seats[seat.number as usize] = Seat::Sold(id.clone());
        }
        let completed = held
            .activation
            .filter(|pass| self.completes(sql, *pass, now));
        if let Some(pass) = completed {
            sql.end(pass, EndReason::Completed);
        }
        Ok(Answer::Paid(payment, completed))
    }

    /// Another live hold keeps its pass; one past its time is the room's to end.
    pub(in crate::sim) fn completes(&self, sql: &Sql, pass: ActivationId, now: UnixMs) -> bool {
        let standing = sql.rows.get(&pass).map(|row| row.standing);
        let lives =
            matches!(standing, Some(Standing::Active { expire_time, .. }) if now < expire_time);
        lives
            && !self
                .reservations
                .values()
                .any(|it| it.activation == Some(pass) && it.state_at(now) == ReservationState::Held)
    }

    pub(super) fn cancel(
        &mut self,
        user: &UserId,
        id: &ResourceId,
        now: UnixMs,
    ) -> Result<Answer, Refused> {
        let plant = self.plant;
        let it = self.owned(user, id)?;
        let to = match it.state_at(now) {
            ReservationState::Held => ReservationState::Released,
            ReservationState::Confirmed => ReservationState::Cancelled,
            ReservationState::Expired => return Err(Refused::Hold(HoldRefusal::Ended)),
            ReservationState::Cancelled if plant == Some(Plant::RefundedTwice) => {
                ReservationState::Cancelled
            }
            // Over already, by another key: what the user wants is so.
            ReservationState::Released | ReservationState::Cancelled => {
                return Ok(Answer::Cancelled(it.clone(), None));
            }
        };
        it.state = to;
        let it = it.clone();
        self.free(&it);
        let paid = it.payment.clone();
        let refunded = paid.and_then(|id| self.refund(&id, None));
        Ok(Answer::Cancelled(it, refunded))
    }

    /// One seat, and what was paid for it; with the last of them all is over.
    pub(super) fn cancel_seat(
        &mut self,
        user: &UserId,
        id: &ResourceId,
        now: UnixMs,
    ) -> Result<Answer, Refused> {
        let before = self.owned(user, id)?.clone();
        let first = before.seats.first().ok_or(Refused::NotFound)?;
        let part = before.part(std::slice::from_ref(&first.seat));
        let Some(part) = part.map_err(|_| Refused::NotFound)? else {
            return self.cancel(user, id, now);
        };
        match before.state_at(now) {
            ReservationState::Held | ReservationState::Confirmed => {}
            ReservationState::Expired => return Err(Refused::Hold(HoldRefusal::Ended)),
            ReservationState::Released | ReservationState::Cancelled => {
                return Ok(Answer::Cancelled(before, None));
            }
        }
        let gone = Reservation {
            seats: part.given_back,
            ..before.clone()
        };
        self.free(&gone);
        let cost = match self.plant {
            Some(Plant::PartRefundedWhole) => before.total,
            _ => part.cost,
        };
        let refunded = before.payment.as_ref().and_then(|id| {
            let share = self.payments[id].share(cost, before.total);
            self.refund(id, Some(share))
        });
        *self.owned(user, id)? = part.rest.clone();
        Ok(Answer::Cancelled(part.rest, refunded))
    }

    fn refund(&mut self, id: &ResourceId, asked: Option<Money>) -> Option<Money> {
        let is_planted = self.plant == Some(Plant::RefundedTwice);
        let payment = self.payments.get_mut(id)?;
        let given = match payment.refund(asked) {
            Err(_) if is_planted => payment.amount,
            given => given.ok()?,
        };
        payment.refunded = payment.refunded.plus(given).ok()?;
        if payment.refunded == payment.amount {
            payment.state = PaymentState::Refunded;
        }
        let (to, from) = (
            Account::User(payment.user.clone()),
            Account::Revenue(self.performance.clone()),
        );
        self.post(EntryKind::Refund, from, to, given);
        Some(given)
    }

    pub(super) fn post(&mut self, kind: EntryKind, from: Account, to: Account, amount: Money) {
        let entry = Entry::transfer(kind, from, to, amount).expect("a small amount");
        self.entries.push(entry);
    }

    /// The fold of the ledger.
    pub(in crate::sim) fn balance(&self, user: &UserId) -> Money {
        let account = Account::User(user.clone());
        let postings = self.entries.iter().flat_map(|entry| entry.postings());
        let sum = postings
            .filter(|posting| posting.account == account)
            .map(|posting| posting.amount.amount_minor)
            .sum();
        Money::new(self.currency, sum)
    }
}
