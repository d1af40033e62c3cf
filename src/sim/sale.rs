//! The sale as the simulator knows it: the promises of `store::sales`, in
//! memory. Each command is one transaction; what a hold, a payment and a refund
//! may be is decided by `domain::sale`.

mod pay;

use std::collections::BTreeMap;

use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::{HoldRefusal, Reservation, ReservationState, ReservedSeat};
use crate::domain::sale::ledger::{Account, Entry, EntryKind};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::Payment;
use crate::domain::time::UnixMs;

use super::plant::Plant;
use super::sql::Sql;

pub(super) const SEATS: usize = 8;
pub(super) const SEATS_PER_USER_MAX: usize = 3;
const HOLD_TTL_MS: u64 = 4_000;
const HOLD_TOTAL_MAX_MS: u64 = 7_000;

/// What a user asks for, under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Hold(Vec<usize>),
    Pay(ResourceId),
    Cancel(ResourceId),
    /// The first that it has.
    CancelSeat(ResourceId),
    TopUp(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Held(Reservation),
    /// And the pass it completed.
    Paid(Payment, Option<ActivationId>),
    /// And what was given back.
    Cancelled(Reservation, Option<Money>),
    Balance(Money),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    KeyReused,
    Pass,
    SeatUnavailable,
    LimitPerUser,
    Hold(HoldRefusal),
    InsufficientFunds,
    NotFound,
}

/// A command as it reaches SQL.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) user: UserId,
    pub(super) key: u64,
    pub(super) request: Request,
    pub(super) pass: Option<ActivationId>,
}

/// Whose a seat is; a hold past its time is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seat {
    Free,
    Held(ResourceId),
    Sold(ResourceId),
}

#[derive(Debug)]
pub(super) struct Sale {
    pub(super) seats: Vec<Seat>,
    pub(super) reservations: BTreeMap<ResourceId, Reservation>,
    pub(super) payments: BTreeMap<ResourceId, Payment>,
    pub(super) entries: Vec<Entry>,
    kept: BTreeMap<(UserId, u64), (Request, Answer)>,
    currency: Currency,
    performance: ResourceId,
    plant: Option<Plant>,
    next_id: u64,
}

impl Sale {
    pub(super) fn new(plant: Option<Plant>) -> Self {
        Self {
            seats: vec![Seat::Free; SEATS],
            reservations: BTreeMap::new(),
            payments: BTreeMap::new(),
            entries: Vec::new(),
            kept: BTreeMap::new(),
            currency: Currency::parse("EUR").expect("a currency"),
            performance: ResourceId::parse("p").expect("a valid id"),
            plant,
            next_id: 0,
        }
    }

    /// One transaction: the stored answer of its key, or its effect.
    pub(super) fn run(
        &mut self,
        sql: &mut Sql,
        command: &Command,
        now: UnixMs,
    ) -> Result<Answer, Refused> {
        let once = (command.user.clone(), command.key);
        let is_forgotten = self.plant == Some(Plant::RepeatPaysTwice);
        if let Some((request, answer)) = self.kept.get(&once).filter(|_| !is_forgotten) {
            return match *request == command.request {
                true => Ok(answer.clone()),
                false => Err(Refused::KeyReused),
            };
        }
        let user = &command.user;
        let answer = match &command.request {
            Request::Hold(seats) => self.hold(sql, user, command.pass, seats, now)?,
            Request::Pay(id) => self.pay(sql, user, id, now)?,
            Request::Cancel(id) => self.cancel(user, id, now)?,
            Request::CancelSeat(id) => self.cancel_seat(user, id, now)?,
            Request::TopUp(amount) => {
                let amount = Money::new(self.currency, *amount);
                let to = Account::User(user.clone());
                self.post(EntryKind::TopUp, Account::TopUps, to, amount);
                Answer::Balance(self.balance(user))
            }
        };
        let kept = (command.request.clone(), answer.clone());
        self.kept.insert(once, kept);
        Ok(answer)
    }

    fn hold(
        &mut self,
        sql: &Sql,
        user: &UserId,
        pass: Option<ActivationId>,
        seats: &[usize],
        now: UnixMs,
    ) -> Result<Answer, Refused> {
        let row = pass.and_then(|id| sql.rows.get(&id));
        let is_good = row.is_some_and(|row| {
            let lives =
                matches!(row.standing, Standing::Active { expire_time, .. } if now < expire_time);
            let is_revoked = row.standing == Standing::Ended(EndReason::Revoked);
            let is_planted = match self.plant {
                Some(Plant::EndedPassHolds) => true,
                Some(Plant::RevokedPassHolds) => is_revoked,
                _ => false,
            };
            row.user == *user && (lives || is_planted)
        });
        if !is_good {
            return Err(Refused::Pass);
        }
        let has = self.seats_of(user, now);
        if has + seats.len() > SEATS_PER_USER_MAX && self.plant != Some(Plant::LimitIgnored) {
            return Err(Refused::LimitPerUser);
        }
        if !seats.iter().all(|seat| self.is_free(*seat, now)) {
            return Err(Refused::SeatUnavailable);
        }
        self.sweep(now);
        let reserved: Vec<ReservedSeat> = seats.iter().map(|seat| self.reserved(*seat)).collect();
        let prices: Vec<Money> = reserved.iter().map(|seat| seat.price).collect();
        let reservation = Reservation {
            id: self.new_id("r"),
            performance: self.performance.clone(),
            user: user.clone(),
            activation: pass,
            seats: reserved,
            total: Money::total(self.currency, &prices).expect("small prices"),
            state: ReservationState::Held,
            created_at: now,
            expires_at: now.plus_ms(HOLD_TTL_MS),
            extended: false,
            tickets: Vec::new(),
            payment: None,
        };
        for seat in seats {
            self.seats[*seat] = Seat::Held(reservation.id.clone());
        }
        self.reservations
            .insert(reservation.id.clone(), reservation.clone());
        Ok(Answer::Held(reservation))
    }

    fn is_free(&self, seat: usize, now: UnixMs) -> bool {
        match &self.seats[seat] {
            Seat::Free => true,
            Seat::Held(id) => self.reservations[id].state_at(now) != ReservationState::Held,
            Seat::Sold(_) => self.plant == Some(Plant::SoldSeatHeldAgain),
        }
    }

    fn reserved(&self, seat: usize) -> ReservedSeat {
        ReservedSeat {
            seat: ResourceId::parse(&format!("s{seat}")).expect("a valid id"),
            section: String::new(),
            row: String::new(),
            number: u32::try_from(seat).unwrap_or_default(),
            price: Money::new(self.currency, 10 + seat as i64),
        }
    }

    /// Held and bought.
    pub(super) fn seats_of(&self, user: &UserId, now: UnixMs) -> usize {
        let counts = [ReservationState::Held, ReservationState::Confirmed];
        self.reservations
            .values()
            .filter(|it| it.user == *user && counts.contains(&it.state_at(now)))
            .map(|it| it.seats.len())
            .sum()
    }

    pub(super) fn extend(
        &mut self,
        user: &UserId,
        id: &ResourceId,
        now: UnixMs,
    ) -> Result<UnixMs, Refused> {
        let held = self.owned(user, id)?;
        held.expires_at = held
            .extended_until(now, HOLD_TTL_MS, HOLD_TOTAL_MAX_MS)
            .map_err(Refused::Hold)?;
        held.extended = true;
        Ok(held.expires_at)
    }

    fn owned(&mut self, user: &UserId, id: &ResourceId) -> Result<&mut Reservation, Refused> {
        self.reservations
            .get_mut(id)
            .filter(|it| it.user == *user)
            .ok_or(Refused::NotFound)
    }

    /// Seats that are still its own.
    fn free(&mut self, reservation: &Reservation) {
        for seat in &reservation.seats {
            let row = &mut self.seats[seat.number as usize];
            let id = &reservation.id;
            if *row == Seat::Held(id.clone()) || *row == Seat::Sold(id.clone()) {
                *row = Seat::Free;
            }
        }
    }

    /// Ends holds whose time is over; how many.
    pub(super) fn sweep(&mut self, now: UnixMs) -> usize {
        let due: Vec<ResourceId> = self
            .reservations
            .values()
            .filter(|it| it.state != it.state_at(now))
            .map(|it| it.id.clone())
            .collect();
        for id in &due {
            if let Some(it) = self.reservations.get_mut(id) {
                it.state = ReservationState::Expired;
                let it = it.clone();
                self.free(&it);
            }
        }
        due.len()
    }

    fn new_id(&mut self, kind: &str) -> ResourceId {
        self.next_id += 1;
        ResourceId::parse(&format!("{kind}{}", self.next_id)).expect("a valid id")
    }
}
