//! Rows of reservations, their seats and tickets.

use super::super::columns::time_to_column;
use super::super::query::{Binds, Row, all, one};
use super::super::{Tx, locks};
use super::pass;
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::{Reservation, ReservationState, ReservedSeat, Ticket};
use crate::domain::sale::money::Money;
use crate::store::sales::{Listing, Page, ReservationCursor, SalesError};

const INSERT: &str = "\
INSERT INTO reservations (id, performance_id, user_id, activation_id, state, currency, \
total_minor, created_at, expires_at, extended, version, room_id) \
VALUES ($1, $2, $3, $4, 'held', $5, $6, $7, $8, FALSE, 1, $9)";

const OWNED: &str = "SELECT * FROM reservations WHERE id = $1 AND user_id = $2";

const BY_ID: &str = "SELECT * FROM reservations WHERE id = $1";

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

/// `protector`: the room that protects the performance now. It is kept for the
/// audit, and is the one that the pass was checked against.
pub fn insert(tx: &Tx, reservation: &Reservation, protector: Option<&RoomId>) {
    let activation = reservation.activation.map(|id| id.to_string());
    tx.defer(
        INSERT,
        [
            reservation.id.as_str().into(),
            reservation.performance.as_str().into(),
            reservation.user.as_str().into(),
            activation.into(),
            reservation.total.currency.as_str().into(),
            reservation.total.amount_minor.into(),
            time_to_column(reservation.created_at).into(),
            time_to_column(reservation.expires_at).into(),
            protector.map(RoomId::as_str).into(),
        ],
        1,
    );
    let mut binds = Binds::default();
    let id = binds.bind(reservation.id.as_str());
    let mut rows = Vec::with_capacity(reservation.seats.len());
    for (ordinal, seat) in (0_i64..).zip(&reservation.seats) {
        rows.push(format!(
            "({id}, {}, {}, {})",
            binds.bind(ordinal),
            binds.bind(seat.seat.as_str()),
            binds.bind(seat.price.amount_minor),
        ));
    }
    let insert = format!(
        "INSERT INTO reservation_seats (reservation_id, ordinal, seat_id, price_minor) VALUES {}",
        rows.join(", ")
    );
    let seats = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    tx.defer(&insert, binds.values(), seats);
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
        locks::activation(tx, activation).await?;
    }
    Ok(())
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
    let currency = row.currency("currency")?;
    let state = row.parsed("state", ReservationState::from_name)?;
    // Only what is paid has tickets.
    let tickets = match state {
        ReservationState::Confirmed => tickets(tx, &id).await?,
        _ => Vec::new(),
    };
    Ok(Reservation {
        performance: row.id("performance_id")?,
        user: row.user("user_id")?,
        activation: row.opt_parsed("activation_id", pass::parse)?,
        seats: seats(tx, &id, currency).await?,
        total: row.money("total_minor")?,
        state,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        extended: row.flag("extended")?,
        tickets,
        payment: row.opt_id("payment_id")?,
        id,
    })
}

async fn seats(
    tx: &Tx,
    reservation: &ResourceId,
    currency: Currency,
) -> Result<Vec<ReservedSeat>, SalesError> {
    let rows = all(tx, SEATS, [reservation.as_str().into()]).await?;
    let read = |row: &Row| {
        Ok(ReservedSeat {
            seat: row.id("seat_id")?,
            section: row.text("section")?,
            row: row.text("row_name")?,
            number: row.small("number")?,
            price: Money::new(currency, row.signed("price_minor")?),
        })
    };
    rows.iter().map(read).collect()
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
