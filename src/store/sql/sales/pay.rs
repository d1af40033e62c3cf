//! Paying holds from wallets: money, seats, tickets, passes and the events of it
//! in one transaction.
//!
//! Payments that wait are decided together ([`Payments`]): each in memory, on
//! what was read for all of them and what those before it changed.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use serde_json::json;

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::idempotency::{Slot, Slots};
use super::super::list::{Column, List, Others, Update};
use super::super::outbox::{self, Event};
use super::super::query::{Row, one};
use super::super::rooms::activations;
use super::hold;
use super::intents;
use super::lanes::{self, Kind, Outcomes, Wanted};
use super::ledger::{About, Accounts};
use super::pass;
use super::redeem::{self, Redeemables};
use super::reservations::{self, OfOwner};
use super::seats::{self, Sold};
use super::terms::{Asked, Terms};
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::place::EndReason;
use crate::domain::sale::coupon::CouponState;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{Account, Entry, EntryKind};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{CouponUse, Payment, PaymentMethod, PaymentState};
use crate::domain::trace::Trace;
use crate::store::sales::{CompletedPass, Paid, PayReservation, SalesError, SeatsChanged};

const PAYMENTS: &[Column] = &[
    Column::Text("id"),
    Column::Text("reservation"),
    Column::Text("payer"),
    Column::Text("code"),
    Column::Integer("amount"),
    Column::Text("coupon"),
    Column::Integer("discount"),
];

/// Fenced by state and time, so that a hold that ends in this very millisecond
/// cannot be paid.
const CONFIRM: Update = Update {
    table: "reservations",
    set: "state = 'confirmed', payment_id = v.id, version = version + 1",
    on: "reservations.id = v.reservation AND COALESCE(reservations.state, '') = 'held' \
         AND COALESCE(reservations.expires_at, 0) > $1",
};

const CONFIRMED: &[Column] = &[Column::Text("id"), Column::Text("reservation")];

const INSERT_PAYMENTS: &str = "\
INSERT INTO payments (id, reservation_id, user_id, method, state, currency, amount_minor, \
refunded_minor, refunds, live, created_at, coupon_id, discount_minor) \
SELECT v.id, v.reservation, v.payer, 'wallet', 'succeeded', v.code, v.amount, 0, 0, 1, $1, \
v.coupon, v.discount FROM {list}";

const SOLD: &[Column] = &[Column::Text("performance"), Column::Text("seat")];

const ISSUE_TICKETS: &str = "\
INSERT INTO tickets (performance_id, seat_id, serial, reservation_id, user_id, live, issued_at) \
SELECT s.performance_id, s.id, s.serial, s.reservation_id, s.user_id, 1, $1 \
FROM {list} LEFT JOIN seats AS s ON s.performance_id = v.performance AND s.id = v.seat";

const STATES: &str = "\
SELECT p.id, p.state FROM {list} LEFT JOIN payments AS p ON p.id = v.id";

const OWNED: &str = "SELECT * FROM payments WHERE id = $1 AND user_id = $2";

const BY_ID: &str = "SELECT * FROM payments WHERE id = $1";

/// That a provider is about to be asked.
pub const STARTED: &str = "payment.started";

/// `PayReservation`, many at a time.
pub struct Payments;

#[async_trait]
impl Kind for Payments {
    type Command = PayReservation;
    type Answer = Paid;

    async fn lock(
        tx: &Tx,
        commands: &[&PayReservation],
        others: Others,
    ) -> Result<Vec<Option<ResourceId>>, SalesError> {
        let wanted = commands.iter().map(|command| &command.reservation);
        let known = reservations::locked_by(tx, &wanted.collect()).await?;
        let about = commands.iter().map(|command| {
            let (performance, pass) = known.get(&command.reservation)?;
            Some(Wanted {
                performance,
                pass: *pass,
                coupon: command.coupon.as_ref(),
            })
        });
        lanes::lock(tx, &about.collect::<Vec<_>>(), others).await
    }

    async fn run(tx: &Tx, commands: &[&PayReservation]) -> Result<Outcomes<Self>, SalesError> {
        let mut wanted = BTreeSet::new();
        for command in commands {
            wanted.insert(&command.reservation);
        }
        let mut batch = Batch::read(tx, commands, &wanted).await?;
        let mut outcomes = Vec::with_capacity(commands.len());
        for (number, command) in commands.iter().enumerate() {
            let outcome = batch.pay(tx, number, command);
            if let Err(error @ SalesError::Unavailable(_)) = outcome {
                return Err(error);
            }
            outcomes.push(outcome);
        }
        batch.write(tx);
        Ok(outcomes)
    }
}

/// Payments that are decided together.
struct Batch<'a> {
    slots: Slots<'a>,
    /// As they are after the payments before.
    reservations: HashMap<ResourceId, OfOwner>,
    /// Payments of these that a provider has not decided.
    pending: HashSet<ResourceId>,
    terms: HashMap<ResourceId, Terms>,
    coupons: Redeemables,
    accounts: Accounts,
    /// Seats that the batch sold of each performance.
    sold: HashMap<ResourceId, u64>,
    /// Holds that the batch confirmed under each pass.
    confirmed: HashMap<ActivationId, u64>,
    paid: Vec<(Payment, Trace)>,
    completed: Vec<(CompletedPass, Option<Trace>)>,
}

impl<'a> Batch<'a> {
    async fn read(
        tx: &Tx,
        commands: &[&'a PayReservation],
        wanted: &BTreeSet<&ResourceId>,
    ) -> Result<Self, SalesError> {
        let mut slots = Vec::with_capacity(commands.len());
        for command in commands {
            let (once, reservation) = (&command.once, &command.reservation);
            slots.push(match &command.coupon {
                None => Slot::new(once, "PayReservation", reservation)?,
                // Like no payment by the gateway, whose token is a text beside it.
                Some(coupon) => Slot::new(once, "PayReservation", &(reservation, [coupon]))?,
            });
        }
        let slots = Slots::read(tx, "PayReservation", slots).await?;
        let reservations = reservations::many(tx, wanted).await?;
        let pending = pending(tx, reservations.values()).await?;
        // Of those that can be paid.
        let live: Vec<&Reservation> = reservations
            .values()
            .map(|of_owner| &of_owner.reservation)
            .filter(|held| held.require_live(tx.now()).is_ok())
            .collect();
        let asked: Vec<(&ResourceId, Asked<'_>)> = live
            .iter()
            .map(|held| {
                let asked = Asked {
                    user: None,
                    activation: held.activation,
                    reservation: Some(&held.id),
                    skips_counts: false,
                };
                (&held.performance, asked)
            })
            .collect();
        let mut terms = HashMap::new();
        for (held, of) in live.iter().zip(Terms::read_all(tx, &asked).await?) {
            if let Some(of) = of {
                terms.insert(held.id.clone(), of);
            }
        }
        let coupons = commands.iter().filter_map(|it| it.coupon.as_ref());
        let coupons = Redeemables::read_locked(tx, coupons.collect()).await?;
        let touched = live.iter().flat_map(|held| {
            let currency = held.total.currency;
            [(payer(held), currency), (payee(held), currency)]
        });
        let touched: Vec<(Account, _)> = touched.collect();
        let touched = touched
            .iter()
            .map(|(account, currency)| (account, *currency));
        let accounts = Accounts::read(tx, touched).await?;
        Ok(Self {
            slots,
            reservations,
            pending,
            terms,
            coupons,
            accounts,
            sold: HashMap::new(),
            confirmed: HashMap::new(),
            paid: Vec::new(),
            completed: Vec::new(),
        })
    }

    fn pay(
        &mut self,
        tx: &Tx,
        number: usize,
        command: &PayReservation,
    ) -> Result<Paid, SalesError> {
        if let Some(kept) = self.slots.replay(number)? {
            return Ok(kept);
        }
        let known = self.reservations.get(&command.reservation);
        let held = known.map(|known| &known.reservation);
        let held = held.filter(|held| held.user == command.once.user);
        let held = held.ok_or(SalesError::NotFound)?;
        held.require_live(tx.now())?;
        if held.payment.iter().any(|id| self.pending.contains(id)) {
            return Err(SalesError::PaymentInProgress);
        }
        let terms = self.terms.get(&held.id).ok_or(SalesError::NotFound)?;
        if terms.cancelled {
            return Err(SalesError::HoldExpired);
        }

        let user = &command.once.user;
        let purchase = redeem::purchase(held, &terms.concert);
        let coupon = command.coupon.as_ref();
        let coupon = coupon.map(|id| self.coupons.judge(id, user, &purchase, tx.now()));
        let payment = charge(
            tx,
            &mut self.accounts,
            &command.id,
            held,
            coupon.transpose()?,
        )?;
        let seats = u64::try_from(held.seats.len()).unwrap_or(u64::MAX);
        let sold = self.sold.entry(held.performance.clone()).or_default();
        let open_seats = terms.open_seats.saturating_sub(*sold);
        *sold += seats;
        let completed = held.activation.and_then(|pass| {
            let confirmed = self.confirmed.entry(pass).or_default();
            let other_holds = terms.other_holds.saturating_sub(*confirmed);
            *confirmed += 1;
            pass::completed(terms, other_holds, tx.now())
        });
        let trace = command.once.trace();
        self.coupons.take(&payment, CouponState::Used, Some(trace));
        let traced = completed.clone().map(|pass| (pass, Some(trace)));
        self.completed.extend(traced);
        let paid = Paid {
            payment: payment.clone(),
            changed: SeatsChanged {
                performance: held.performance.clone(),
                turned: open_seats == seats,
                recheck_sold_out: terms.room.clone().filter(|_| open_seats == seats),
            },
            completed,
        };
        self.paid.push((payment.clone(), trace));
        if let Some(known) = self.reservations.get_mut(&command.reservation) {
            known.reservation.state = ReservationState::Confirmed;
            known.reservation.payment = Some(payment.id);
        }
        self.slots.keep(number, paid)
    }

    fn write(self, tx: &Tx) {
        let now = time_to_column(tx.now());
        let mut payments = List::new(PAYMENTS);
        let mut confirmed = Vec::with_capacity(self.paid.len());
        for (payment, trace) in &self.paid {
            payments.push([
                payment.id.as_str().into(),
                payment.reservation.as_str().into(),
                payment.user.as_str().into(),
                payment.amount.currency.as_str().into(),
                payment.amount.amount_minor.into(),
                payment.coupon.as_ref().map(|it| it.coupon.as_str()).into(),
                discount_minor(payment).into(),
            ]);
            if let Some(of_owner) = self.reservations.get(&payment.reservation) {
                confirmed.push((payment, of_owner, Some(*trace)));
            }
        }
        self.accounts.write(tx);
        payments.defer(tx, INSERT_PAYMENTS, [now.into()]);
        confirm(tx, &confirmed, &self.completed);
        self.coupons.write(tx);
        self.slots.write(tx);
    }
}

/// Gives live holds to those who paid: seats, tickets, the ends of their passes
/// and the events of it. Money and payments are the caller's matter.
/// Each with the trace of its request, or else the unit's.
pub fn confirm(
    tx: &Tx,
    paid: &[(&Payment, &OfOwner, Option<Trace>)],
    completed: &[(CompletedPass, Option<Trace>)],
) {
    let now = time_to_column(tx.now());
    let (mut confirmed, mut tickets) = (List::new(CONFIRMED), List::new(SOLD));
    let (mut sold, mut events) = (Vec::new(), Vec::new());
    for (payment, of_owner, trace) in paid {
        let paid = &of_owner.reservation;
        confirmed.push([payment.id.as_str().into(), paid.id.as_str().into()]);
        for (seat, ordinal) in paid.seats.iter().zip(&of_owner.sections) {
            tickets.push([paid.performance.as_str().into(), seat.seat.as_str().into()]);
            sold.push(Sold {
                performance: &paid.performance,
                seat: &seat.seat,
                reservation: &paid.id,
                ordinal: *ordinal,
            });
        }
        events.extend(events_of(paid, payment, *trace));
    }
    confirmed.update(tx, &CONFIRM, [now.into()]);
    seats::sell(tx, &sold);
    tickets.defer(tx, ISSUE_TICKETS, [now.into()]);
    let passes = completed.iter();
    let passes = passes.map(|(pass, _)| (pass.activation, &pass.room));
    let ended = activations::end_active(tx, passes, EndReason::Completed);
    let traced = ended.into_iter().zip(completed);
    events.extend(traced.map(|(event, (_, trace))| event.traced(*trace)));
    outbox::append_all(tx, &events);
}

/// Those of the latest payments that a provider has not decided. Few are by one.
async fn pending(
    tx: &Tx,
    of: impl Iterator<Item = &OfOwner>,
) -> Result<HashSet<ResourceId>, SalesError> {
    let held = of.map(|of| &of.reservation);
    let held = held.filter(|of| of.state == ReservationState::Held);
    let ids: Vec<&str> = held
        .filter_map(|held| held.payment.as_ref().map(ResourceId::as_str))
        .collect();
    let mut pending = HashSet::new();
    for row in &List::of_ids(ids).all(tx, STATES, []).await? {
        let state = row.opt_parsed("state", PaymentState::from_name)?;
        if state == Some(PaymentState::Pending) {
            pending.extend(row.opt_id("id")?);
        }
    }
    Ok(pending)
}

/// That no provider still decides about the latest payment of a hold.
pub async fn require_none_pending(tx: &Tx, held: &Reservation) -> Result<(), SalesError> {
    match &held.payment {
        Some(latest) if any(tx, latest).await?.state == PaymentState::Pending => {
            Err(SalesError::PaymentInProgress)
        }
        _ => Ok(()),
    }
}

fn payer(held: &Reservation) -> Account {
    Account::User(held.user.clone())
}

fn payee(held: &Reservation) -> Account {
    Account::Revenue(held.performance.clone())
}

/// Of the coupon that it used; it is stored beside it.
pub fn discount_minor(payment: &Payment) -> Option<i64> {
    let used = payment.coupon.as_ref();
    used.map(|used| used.discount.amount_minor)
}

/// What is left to pay.
pub fn reduced(total: Money, coupon: Option<&CouponUse>) -> Result<Money, SalesError> {
    match coupon {
        None => Ok(total),
        Some(used) => Ok(total.minus(used.discount)?),
    }
}

/// Takes the money, if any is left to pay.
fn charge(
    tx: &Tx,
    accounts: &mut Accounts,
    id: &ResourceId,
    held: &Reservation,
    coupon: Option<CouponUse>,
) -> Result<Payment, SalesError> {
    let payment = Payment {
        id: id.clone(),
        reservation: held.id.clone(),
        user: held.user.clone(),
        method: PaymentMethod::Wallet,
        amount: reduced(held.total, coupon.as_ref())?,
        coupon,
        refunded: Money::zero(held.total.currency),
        state: PaymentState::Succeeded,
        action_url: None,
        created_at: tx.now(),
    };
    if payment.amount.amount_minor == 0 {
        return Ok(payment);
    }
    let entry = Entry::transfer(EntryKind::Payment, payer(held), payee(held), payment.amount)?;
    let about = About {
        reservation: Some(&held.id),
        payment: Some(id),
        reason: "",
    };
    accounts.post(id, &entry, &about)?;
    Ok(payment)
}

fn events_of(paid: &Reservation, payment: &Payment, trace: Option<Trace>) -> [Event; 2] {
    let confirmed = Event {
        aggregate: format!("reservation:{}", paid.id),
        kind: "reservation.confirmed",
        payload: hold::event(paid),
        trace,
    };
    [
        confirmed,
        succeeded(payment, &paid.performance).traced(trace),
    ]
}

/// That the money was taken.
pub fn succeeded(payment: &Payment, performance: &ResourceId) -> Event {
    told("payment.succeeded", payment, performance)
}

/// Of a payment, all of it.
pub fn told(kind: &'static str, payment: &Payment, performance: &ResourceId) -> Event {
    Event {
        aggregate: format!("reservation:{}", payment.reservation),
        kind,
        payload: json!({
            "payment_id": payment.id,
            "reservation_id": payment.reservation,
            "user_id": payment.user,
            "amount": payment.amount,
            "performance_id": performance,
        }),
        trace: None,
    }
}

/// The user's own payment; another's does not exist.
pub async fn shown(tx: &Tx, user: &UserId, id: &ResourceId) -> Result<Payment, SalesError> {
    let row = one(tx, OWNED, [id.as_str().into(), user.as_str().into()]).await?;
    let payment = read(&row.ok_or(SalesError::NotFound)?)?;
    let action_url = match (payment.method, payment.state) {
        (PaymentMethod::Gateway, PaymentState::Pending) => intents::action_url(tx, id).await?,
        _ => None,
    };
    Ok(Payment {
        action_url,
        ..payment
    })
}

pub async fn any(tx: &Tx, id: &ResourceId) -> Result<Payment, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    read(&row.ok_or(SalesError::NotFound)?)
}

fn read(row: &Row) -> Result<Payment, SalesError> {
    Ok(Payment {
        id: row.id("id")?,
        reservation: row.id("reservation_id")?,
        user: row.user("user_id")?,
        method: row.parsed("method", PaymentMethod::from_name)?,
        amount: row.money("amount_minor")?,
        coupon: match row.opt_id("coupon_id")? {
            None => None,
            Some(coupon) => Some(CouponUse {
                coupon,
                discount: row.money("discount_minor")?,
            }),
        },
        refunded: row.money("refunded_minor")?,
        state: row.parsed("state", PaymentState::from_name)?,
        action_url: None,
        created_at: row.time("created_at")?,
    })
}
