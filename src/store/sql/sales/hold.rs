//! Holding seats, and holding them longer.
//!
//! Holds that wait are decided together ([`Holds`]): each in memory, on what was
//! read for all of them and what those before it took.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use serde_json::json;

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::idempotency::{Slot, Slots};
use super::super::list::Others;
use super::choose;
use super::lanes::{self, Kind, Outcomes, Wanted};
use super::pass;
use super::reservations;
use super::seats;
use super::stock::{FreeSeat, Stock};
use super::terms::{Asked, Terms};
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::hold::{Reservation, ReservationState, ReservedSeat};
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::{Held, HoldSeats, SalesError, SeatsChanged};

/// Only while the hold lasts, and once: whoever comes second changes nothing.
const EXTEND: &str = "\
UPDATE reservations SET expires_at = $3, extended = TRUE, version = version + 1 \
WHERE id = $1 AND state = 'held' AND expires_at > $2 AND extended = FALSE";

const KEEP_SEATS: &str = "\
UPDATE seats SET held_until = $2, \
version = (SELECT seats_version FROM performances WHERE id = $3) \
WHERE reservation_id = $1 AND state = 'held'";

/// `HoldSeats`, many at a time.
pub struct Holds;

#[async_trait]
impl Kind for Holds {
    type Command = HoldSeats;
    type Answer = Held;

    fn performance(command: &HoldSeats) -> Option<&ResourceId> {
        Some(&command.performance)
    }

    async fn lock(
        tx: &Tx,
        commands: &[&HoldSeats],
        others: Others,
    ) -> Result<Vec<Option<ResourceId>>, SalesError> {
        let about = commands.iter().map(|command| {
            Some(Wanted {
                performance: &command.performance,
                pass: command.activation,
                coupon: None,
            })
        });
        lanes::lock(tx, &about.collect::<Vec<_>>(), others).await
    }

    async fn run(tx: &Tx, commands: &[&HoldSeats]) -> Result<Outcomes<Self>, SalesError> {
        let mut batch = Batch::read(tx, commands).await?;
        let mut outcomes = Vec::with_capacity(commands.len());
        for (number, command) in commands.iter().enumerate() {
            let outcome = batch.hold(tx, number, command).await;
            if let Err(error @ SalesError::Unavailable(_)) = outcome {
                return Err(error);
            }
            outcomes.push(outcome);
        }
        batch.write(tx);
        Ok(outcomes)
    }
}

/// Holds that are decided together.
struct Batch<'a> {
    slots: Slots<'a>,
    terms: Vec<Option<Terms>>,
    stock: Stock,
    /// Seats that the batch gave to each user of each performance.
    given: HashMap<(&'a ResourceId, &'a UserId), u64>,
    made: Vec<Made>,
}

/// A hold to be written.
pub struct Made {
    pub reservation: Reservation,
    /// The room that protects the performance now. It is kept for the audit,
    /// and is the one that the pass was checked against.
    pub protector: Option<RoomId>,
}

impl<'a> Batch<'a> {
    async fn read(tx: &Tx, commands: &[&'a HoldSeats]) -> Result<Self, SalesError> {
        let mut slots = Vec::with_capacity(commands.len());
        let mut asked = Vec::with_capacity(commands.len());
        for command in commands {
            let request = (&command.performance, &command.choice);
            slots.push(Slot::new(&command.once, "HoldSeats", &request)?);
            let about = Asked {
                user: Some(&command.once.user),
                activation: command.activation,
                reservation: None,
                skips_counts: true,
            };
            asked.push((&command.performance, about));
        }
        Ok(Self {
            slots: Slots::read(tx, "HoldSeats", slots).await?,
            terms: Terms::read_all(tx, &asked).await?,
            stock: Stock::read(tx, commands).await?,
            given: HashMap::new(),
            made: Vec::new(),
        })
    }

    async fn hold(
        &mut self,
        tx: &Tx,
        number: usize,
        command: &'a HoldSeats,
    ) -> Result<Held, SalesError> {
        if let Some(kept) = self.slots.replay(number)? {
            return Ok(kept);
        }
        let (performance, user) = (&command.performance, &command.once.user);
        let terms = self.terms[number].as_ref().ok_or(SalesError::NotFound)?;
        pass::judge(terms, user, command.activation, tx.now())?;
        if !terms.on_sale {
            return Err(SalesError::SaleNotOpen);
        }
        let wants = u64::try_from(command.choice.count()).unwrap_or(u64::MAX);
        let given = self.given.get(&(performance, user)).copied().unwrap_or(0);
        let has = terms.seats_of_user.saturating_add(given);
        if has.saturating_add(wants) > u64::from(terms.seats_per_user_max) {
            return Err(SalesError::LimitPerUser {
                seats_max: terms.seats_per_user_max,
            });
        }
        let stock = &mut self.stock;
        let chosen = match &command.choice {
            SeatChoice::Named(ids) => stock.named(performance, ids)?,
            SeatChoice::BestAvailable(wish) => {
                choose::best(tx, stock, performance, terms.currency, wish).await?
            }
        };
        let reservation = reservation(tx, command, terms, stock, &chosen)?;
        let held = Held {
            reservation: reservation.clone(),
            changed: SeatsChanged {
                performance: performance.clone(),
                // A hold sells nothing.
                turned: false,
                recheck_sold_out: None,
            },
        };
        let held = self.slots.keep(number, held)?;
        // From here on nothing is refused.
        stock.take(performance, &chosen);
        *self.given.entry((performance, user)).or_default() += wants;
        self.made.push(Made {
            reservation,
            protector: terms.room.clone(),
        });
        Ok(held)
    }

    fn write(self, tx: &Tx) {
        let mut sections = BTreeMap::new();
        for (performance, ordinal, seats) in self.stock.taken() {
            sections.insert((performance, ordinal), seats);
        }
        let reservations = self.made.iter().map(|made| &made.reservation);
        seats::hold(tx, reservations, &sections);
        reservations::insert(tx, &self.made);
        self.slots.write(tx);
    }
}

fn reservation(
    tx: &Tx,
    command: &HoldSeats,
    terms: &Terms,
    stock: &Stock,
    chosen: &[FreeSeat],
) -> Result<Reservation, SalesError> {
    let price = |seat: &FreeSeat| Money::new(terms.currency, seat.price_minor);
    let prices: Vec<Money> = chosen.iter().map(price).collect();
    let seats = chosen.iter().map(|seat| ReservedSeat {
        seat: seat.id.clone(),
        section: stock.section_name(&command.performance, seat.section),
        row: seat.row.clone(),
        number: seat.number,
        price: price(seat),
    });
    Ok(Reservation {
        id: command.id.clone(),
        performance: command.performance.clone(),
        user: command.once.user.clone(),
        activation: command.activation.filter(|_| terms.room.is_some()),
        seats: seats.collect(),
        total: Money::total(terms.currency, &prices)?,
        state: ReservationState::Held,
        created_at: tx.now(),
        expires_at: tx.now().plus_ms(terms.hold_ttl_ms),
        extended: false,
        tickets: Vec::new(),
        payment: None,
    })
}

pub async fn extend(
    tx: &Tx,
    user: &UserId,
    reservation: &ResourceId,
) -> Result<Reservation, SalesError> {
    reservations::lock(tx, reservation).await?;
    let mut held = reservations::owned(tx, user, reservation).await?;
    let terms = Terms::read(tx, &held.performance, &Asked::default()).await?;
    if terms.cancelled {
        return Err(SalesError::HoldExpired);
    }
    held.expires_at = held.extended_until(tx.now(), terms.hold_ttl_ms, terms.hold_total_max_ms)?;
    held.extended = true;
    let values = [
        reservation.as_str().into(),
        time_to_column(tx.now()).into(),
        time_to_column(held.expires_at).into(),
    ];
    tx.defer(EXTEND, values, 1);
    keep_seats(tx, &held, held.expires_at);
    Ok(held)
}

/// Keeps held seats until then; whoever knows them hears of it.
pub fn keep_seats(tx: &Tx, held: &Reservation, until: UnixMs) {
    seats::raise_version(tx, &held.performance);
    let seats = u64::try_from(held.seats.len()).unwrap_or(u64::MAX);
    let values = [
        held.id.as_str().into(),
        time_to_column(until).into(),
        held.performance.as_str().into(),
    ];
    tx.defer(KEEP_SEATS, values, seats);
}

/// The body of an event about a reservation.
pub fn event(reservation: &Reservation) -> serde_json::Value {
    let seats: Vec<&ResourceId> = reservation.seats.iter().map(|seat| &seat.seat).collect();
    json!({
        "reservation_id": reservation.id,
        "performance_id": reservation.performance,
        "user_id": reservation.user,
        "seat_ids": seats,
        "total": reservation.total,
        "payment_id": reservation.payment,
    })
}
