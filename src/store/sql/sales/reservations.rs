//! Rows of reservations, their seats and tickets.

use std::collections::{BTreeSet, HashMap};

use super::super::columns::time_to_column;
use super::super::list::{Column, List};
use super::super::query::{Row, all, one};
use super::super::{Tx, locks};
use super::hold::Made;
use super::pass;
use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::{Reservation, ReservationState, ReservedSeat, Ticket};
use crate::domain::sale::money::Money;
use crate::store::sales::{Listing, Page, ReservationCursor, SalesError};

const INSERT: &str = "\
INSERT INTO reservations (id, performance_id, user_id, activation_id, state, currency, \
total_minor, created_at, expires_at, extended, version, room_id) \
SELECT v.id, v.performance, v.holder, v.activation, 'held', v.currency, v.total, $1, v.until, \
FALSE, 1, v.room FROM {list}";

const HOLDS: &[Column] = &[
    Column::Text("id"),
    Column::Text("performance"),
    Column::Text("holder"),
    Column::Text("activation"),
    Column::Text("currency"),
    Column::Integer("total"),
    Column::Integer("until"),
    Column::Text("room"),
];

const INSERT_SEATS: &str = "\
INSERT INTO reservation_seats (reservation_id, ordinal, seat_id, price_minor) \
SELECT v.reservation, v.ordinal, v.seat, v.price FROM {list}";

const HELD_SEATS: &[Column] = &[
    Column::Text("reservation"),
    Column::Integer("ordinal"),
    Column::Text("seat"),
    Column::Integer("price"),
];

const OWNED: &str = "SELECT * FROM reservations WHERE id = $1 AND user_id = $2";

const BY_ID: &str = "SELECT * FROM reservations WHERE id = $1";

const LOCKED_BY: &str = "\
SELECT r.id, r.performance_id, r.activation_id FROM {list} LEFT JOIN reservations AS r ON r.id = v.id";

const MANY: &str = "SELECT r.* FROM {list} LEFT JOIN reservations AS r ON r.id = v.id";

const SEATS_OF_MANY: &str = "\
SELECT rs.reservation_id, rs.seat_id, rs.price_minor, s.row_name, s.number, c.ordinal, \
c.name AS section \
FROM {list} \
LEFT JOIN reservations AS r ON r.id = v.id \
LEFT JOIN reservation_seats AS rs ON rs.reservation_id = r.id \
LEFT JOIN seats AS s ON s.performance_id = r.performance_id AND s.id = rs.seat_id \
LEFT JOIN sections AS c ON c.performance_id = s.performance_id AND c.ordinal = s.section \
ORDER BY rs.reservation_id, rs.ordinal";

const PAGE: &str = "\
SELECT * FROM reservations WHERE user_id = $1 \
AND (created_at < $2 OR (created_at = $2 AND id < $3)) \
ORDER BY created_at DESC, id DESC LIMIT $4";

const SEATS: &str = "\
SELECT rs.seat_id, rs.price_minor, s.row_name, s.number, c.name AS section \
FROM reservation_seats rs \
JOIN reservations r ON r.id = rs.reservation_id \
JOIN seats s ON s.performance_id = r.performance_id AND s.id = rs.seat_id \
JOIN sections c ON c.performance_id = s.performance_id AND c.ordinal = s.section \
WHERE rs.reservation_id = $1 ORDER BY rs.ordinal";

const TICKETS: &str = "\
SELECT seat_id, serial FROM tickets WHERE reservation_id = $1 AND live = 1";

pub fn insert(tx: &Tx, holds: &[Made]) {
    let (mut reservations, mut seats) = (List::new(HOLDS), List::new(HELD_SEATS));
    for Made {
        reservation: held,
        protector,
    } in holds
    {
        reservations.push([
            held.id.as_str().into(),
            held.performance.as_str().into(),
            held.user.as_str().into(),
            held.activation.map(|id| id.to_string()).into(),
            held.total.currency.as_str().into(),
            held.total.amount_minor.into(),
            time_to_column(held.expires_at).into(),
            protector.as_ref().map(RoomId::as_str).into(),
        ]);
        for (ordinal, seat) in (0_i64..).zip(&held.seats) {
            seats.push([
                held.id.as_str().into(),
                ordinal.into(),
                seat.seat.as_str().into(),
                seat.price.amount_minor.into(),
            ]);
        }
    }
    reservations.defer(tx, INSERT, [time_to_column(tx.now()).into()]);
    seats.defer(tx, INSERT_SEATS, []);
}

/// Holds off everything that changes the reservation: what is read of it from
/// here on stays so. What it is locked by never changes.
pub async fn lock(tx: &Tx, id: &ResourceId) -> Result<(), SalesError> {
    if tx.is_alone() {
        return Ok(());
    }
    if let Some(row) = one(tx, BY_ID, [id.as_str().into()]).await? {
        let performance = row.id("performance_id")?;
        locks::performances(tx, [&performance]).await?;
        let activation = row.opt_parsed("activation_id", pass::parse)?;
        locks::activations(tx, activation).await?;
    }
    Ok(())
}

/// Of what it is, which never changes.
pub async fn performance_of(tx: &Tx, id: &ResourceId) -> Result<ResourceId, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    Ok(row.ok_or(SalesError::NotFound)?.id("performance_id")?)
}

/// By which performance and pass each of them is locked.
pub async fn locked_by(
    tx: &Tx,
    ids: &BTreeSet<&ResourceId>,
) -> Result<HashMap<ResourceId, (ResourceId, Option<ActivationId>)>, SalesError> {
    let mut found = HashMap::new();
    if tx.is_alone() {
        return Ok(found);
    }
    let list = List::of_ids(ids.iter().map(|id| id.as_str()));
    for row in &list.all(tx, LOCKED_BY, []).await? {
        if let Some(id) = row.opt_id("id")? {
            let pass = row.opt_parsed("activation_id", pass::parse)?;
            found.insert(id, (row.id("performance_id")?, pass));
        }
    }
    Ok(found)
}

/// A reservation, whoever's it is.
pub struct OfOwner {
    pub reservation: Reservation,
    /// Of its seats, in their order.
    pub sections: Vec<i64>,
}

/// Those of these ids that there are, without their tickets.
pub async fn many(
    tx: &Tx,
    ids: &BTreeSet<&ResourceId>,
) -> Result<HashMap<ResourceId, OfOwner>, SalesError> {
    let list = List::of_ids(ids.iter().map(|id| id.as_str()));
    let mut found = HashMap::new();
    for row in &list.all(tx, MANY, []).await? {
        if row.opt_id("id")?.is_none() {
            continue;
        }
        let of_owner = OfOwner {
            reservation: decode(row, Vec::new(), Vec::new())?,
            sections: Vec::new(),
        };
        found.insert(of_owner.reservation.id.clone(), of_owner);
    }
    for row in &list.all(tx, SEATS_OF_MANY, []).await? {
        if let Some(id) = row.opt_id("reservation_id")?
            && let Some(of) = found.get_mut(&id)
        {
            let currency = of.reservation.total.currency;
            of.reservation.seats.push(reserved_seat(row, currency)?);
            of.sections.push(row.signed("ordinal")?);
        }
    }
    Ok(found)
}

/// The user's own reservation as stored; another's does not exist.
pub async fn owned(tx: &Tx, user: &UserId, id: &ResourceId) -> Result<Reservation, SalesError> {
    let row = one(tx, OWNED, [id.as_str().into(), user.as_str().into()]).await?;
    read(tx, &row.ok_or(SalesError::NotFound)?).await
}

pub async fn any(tx: &Tx, id: &ResourceId) -> Result<Reservation, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    read(tx, &row.ok_or(SalesError::NotFound)?).await
}

/// As its owner sees it now.
pub async fn shown(tx: &Tx, user: &UserId, id: &ResourceId) -> Result<Reservation, SalesError> {
    Ok(as_of_now(tx, owned(tx, user, id).await?))
}

pub async fn list(
    tx: &Tx,
    user: &UserId,
    page: &Page<ReservationCursor>,
) -> Result<Listing<Reservation, ReservationCursor>, SalesError> {
    let (before, id) = page.after.as_ref().map_or((i64::MAX, ""), |after| {
        (time_to_column(after.created_at), after.id.as_str())
    });
    let values = [
        user.as_str().into(),
        before.into(),
        id.into(),
        i64::from(page.size() + 1).into(),
    ];
    let mut found = Vec::new();
    for row in &all(tx, PAGE, values).await? {
        found.push(as_of_now(tx, read(tx, row).await?));
    }
    Ok(page.listing(found, |last| ReservationCursor {
        created_at: last.created_at,
        id: last.id.clone(),
    }))
}

fn as_of_now(tx: &Tx, reservation: Reservation) -> Reservation {
    let state = reservation.state_at(tx.now());
    Reservation {
        state,
        ..reservation
    }
}

async fn read(tx: &Tx, row: &Row) -> Result<Reservation, SalesError> {
    let id = row.id("id")?;
    let state = row.parsed("state", ReservationState::from_name)?;
    // Only what is paid has tickets.
    let tickets = match state {
        ReservationState::Confirmed => tickets(tx, &id).await?,
        _ => Vec::new(),
    };
    let seats = seats(tx, &id, row.currency("currency")?).await?;
    decode(row, seats, tickets)
}

fn decode(
    row: &Row,
    seats: Vec<ReservedSeat>,
    tickets: Vec<Ticket>,
) -> Result<Reservation, SalesError> {
    Ok(Reservation {
        id: row.id("id")?,
        performance: row.id("performance_id")?,
        user: row.user("user_id")?,
        activation: row.opt_parsed("activation_id", pass::parse)?,
        seats,
        total: row.money("total_minor")?,
        state: row.parsed("state", ReservationState::from_name)?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        extended: row.flag("extended")?,
        tickets,
        payment: row.opt_id("payment_id")?,
    })
}

async fn seats(
    tx: &Tx,
    reservation: &ResourceId,
    currency: Currency,
) -> Result<Vec<ReservedSeat>, SalesError> {
    let rows = all(tx, SEATS, [reservation.as_str().into()]).await?;
    rows.iter()
        .map(|row| reserved_seat(row, currency))
        .collect()
}

fn reserved_seat(row: &Row, currency: Currency) -> Result<ReservedSeat, SalesError> {
    Ok(ReservedSeat {
        seat: row.id("seat_id")?,
        section: row.text("section")?,
        row: row.text("row_name")?,
        number: row.small("number")?,
        price: Money::new(currency, row.signed("price_minor")?),
    })
}

/// The live ones, in the order of their seats' ids.
pub async fn tickets(tx: &Tx, reservation: &ResourceId) -> Result<Vec<Ticket>, SalesError> {
    let query = format!("{TICKETS} ORDER BY seat_id");
    let rows = all(tx, &query, [reservation.as_str().into()]).await?;
    let read = |row: &Row| {
        Ok(Ticket {
            seat: row.id("seat_id")?,
            serial: row.count("serial")?,
        })
    };
    rows.iter().map(read).collect()
}
