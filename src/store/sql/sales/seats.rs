//! Seats: their states, the counters of their sections, their versions.
//!
//! Every change of state goes through [`shift`], which changes as many rows as
//! the caller counted and no fewer, moves as many units between the sections'
//! counters, and stamps the rows with the performance's next version: one number
//! per change, so that a reader who knows a version can ask for what came after.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::query::{Binds, Row, all, one};
use super::catalog;
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::sale::catalog::{Seat, SeatMap, SeatState};
use crate::domain::time::UnixMs;
use crate::store::sales::{SalesError, SeatsChanged};

const NEXT_VERSION: &str = "\
UPDATE performances SET seats_version = seats_version + 1 WHERE id = $1";

const VERSION: &str = "SELECT seats_version FROM performances WHERE id = $1";

const OPEN_SEATS: &str = "\
SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT) AS n FROM sections WHERE performance_id = $1";

const HELD_BY: &str = "\
SELECT c.name AS section, COUNT(*) AS seats FROM seats s \
JOIN sections c ON c.performance_id = s.performance_id AND c.ordinal = s.section \
WHERE s.performance_id = $1 AND s.reservation_id = $2 AND s.state = 'held' GROUP BY c.name";

/// What a seat map reads. An expired hold shows as AVAILABLE.
const SEATS: &str = "\
SELECT s.id, c.name AS section, s.row_name, s.number, s.price_minor, p.currency, s.state, \
s.held_until, s.reservation_id, s.version \
FROM seats s \
JOIN performances p ON p.id = s.performance_id \
JOIN sections c ON c.performance_id = s.performance_id AND c.ordinal = s.section \
WHERE s.performance_id = $1";

/// Which seats change.
pub enum Which<'a> {
    Of(&'a ResourceId),
    Named(&'a [ResourceId]),
}

/// What they become.
pub enum Change<'a> {
    Hold {
        reservation: &'a ResourceId,
        user: &'a UserId,
        until: UnixMs,
    },
    Sell,
    /// From HELD, SOLD or BLOCKED.
    Free {
        from: SeatState,
    },
    Block,
}

impl Change<'_> {
    fn states(&self) -> (SeatState, SeatState) {
        match self {
            Self::Hold { .. } => (SeatState::Available, SeatState::Held),
            Self::Sell => (SeatState::Held, SeatState::Sold),
            Self::Free { from } => (*from, SeatState::Available),
            Self::Block => (SeatState::Available, SeatState::Blocked),
        }
    }
}

/// How many seats of each section change, by the section's name.
pub type Counts = BTreeMap<String, u64>;

/// Counts `sections`, one for each seat.
pub fn count<'a>(sections: impl Iterator<Item = &'a String>) -> Counts {
    let mut counts = Counts::new();
    for section in sections {
        *counts.entry(section.clone()).or_default() += 1;
    }
    counts
}

/// The seats that a hold has, by section.
pub async fn held_by(
    tx: &Tx,
    performance: &ResourceId,
    reservation: &ResourceId,
) -> Result<Counts, SalesError> {
    let mut counts = Counts::new();
    let values = [performance.as_str().into(), reservation.as_str().into()];
    for row in all(tx, HELD_BY, values).await? {
        counts.insert(row.text("section")?, row.count("seats")?);
    }
    Ok(counts)
}

/// Changes all seats of `which`, as many as `counts` says; the unit fails if
/// they are not all in the state that the change starts from.
pub fn shift(
    tx: &Tx,
    performance: &ResourceId,
    which: &Which<'_>,
    change: &Change<'_>,
    counts: &Counts,
) {
    tx.defer(NEXT_VERSION, [performance.as_str().into()], 1);
    let (from, to) = change.states();
    let mut binds = Binds::default();
    let performance_id = binds.bind(performance.as_str());
    let mut set = format!(
        "state = {}, version = (SELECT seats_version FROM performances WHERE id = {performance_id})",
        binds.bind(to.as_str()),
    );
    let mut live = String::new();
    match change {
        Change::Hold {
            reservation,
            user,
            until,
        } => {
            set += &format!(", reservation_id = {}", binds.bind(reservation.as_str()));
            set += &format!(", user_id = {}", binds.bind(user.as_str()));
            set += &format!(", held_until = {}", binds.bind(time_to_column(*until)));
        }
        Change::Sell => {
            set += ", held_until = NULL, serial = serial + 1";
            // One that ends in this very millisecond cannot be sold any more.
            live = format!(" AND held_until > {}", binds.bind(time_to_column(tx.now())));
        }
        Change::Free { .. } | Change::Block => {
            set += ", reservation_id = NULL, user_id = NULL, held_until = NULL";
        }
    }
    let rows = match which {
        Which::Of(reservation) => format!("reservation_id = {}", binds.bind(reservation.as_str())),
        Which::Named(seats) => format!("id IN ({})", binds.ids(seats)),
    };
    let update = format!(
        "UPDATE seats SET {set} WHERE performance_id = {performance_id} AND state = {} AND {rows}{live}",
        binds.bind(from.as_str()),
    );
    tx.defer(&update, binds.values(), counts.values().sum());
    let (from, to) = (from.as_str(), to.as_str());
    let move_counters = format!(
        "UPDATE sections SET {from} = {from} - $3, {to} = {to} + $3 \
         WHERE performance_id = $1 AND name = $2"
    );
    for (section, seats) in counts {
        let values = [
            performance.as_str().into(),
            section.as_str().into(),
            to_column(*seats).into(),
        ];
        tx.defer(&move_counters, values, 1);
    }
}

/// Whether every seat is SOLD or BLOCKED.
pub async fn is_sold_out(tx: &Tx, performance: &ResourceId) -> Result<bool, SalesError> {
    let row = one(tx, OPEN_SEATS, [performance.as_str().into()]).await?;
    Ok(row.is_none_or(|row| row.signed("n").is_ok_and(|open| open == 0)))
}

/// What to tell others, given whether it was sold out before the change.
pub async fn changed(
    tx: &Tx,
    performance: &ResourceId,
    room: Option<RoomId>,
    was_sold_out: bool,
) -> Result<SeatsChanged, SalesError> {
    let turned = is_sold_out(tx, performance).await? != was_sold_out;
    Ok(SeatsChanged {
        performance: performance.clone(),
        recheck_sold_out: room.filter(|_| turned),
    })
}

pub async fn map(
    tx: &Tx,
    performance: &ResourceId,
    since: Option<u64>,
) -> Result<SeatMap, SalesError> {
    let known = catalog::performance(tx, performance).await?;
    let version = one(tx, VERSION, [performance.as_str().into()]).await?;
    let version = version
        .ok_or(SalesError::NotFound)?
        .count("seats_version")?;
    // Versions count from 1.
    let since = to_column(since.unwrap_or(0));
    let query = format!("{SEATS} AND s.version > $2 ORDER BY s.row_rank, s.number");
    let rows = all(tx, &query, [performance.as_str().into(), since.into()]).await?;
    let seats = rows
        .iter()
        .map(|row| seat(row, tx.now()))
        .collect::<Result<Vec<Seat>, SalesError>>()?;
    let next_expiry = seats.iter().filter_map(|seat| seat.held_until).min();
    Ok(SeatMap {
        performance: known,
        seats,
        version,
        next_expiry,
        as_of: tx.now(),
    })
}

/// Seats that were asked for by id.
pub struct Named {
    /// As they are now; fewer if some do not exist.
    pub seats: Vec<Seat>,
    /// Holds on them that are over by time, and not ended yet.
    pub lapsed: BTreeSet<ResourceId>,
}

pub async fn named(
    tx: &Tx,
    performance: &ResourceId,
    ids: &[ResourceId],
) -> Result<Named, SalesError> {
    let mut binds = Binds::default();
    binds.bind(performance.as_str());
    let query = format!("{SEATS} AND s.id IN ({})", binds.ids(ids));
    let mut found = Named {
        seats: Vec::with_capacity(ids.len()),
        lapsed: BTreeSet::new(),
    };
    for row in &all(tx, &query, binds.values()).await? {
        let seat = seat(row, tx.now())?;
        let stored = row.parsed("state", SeatState::from_name)?;
        if stored == SeatState::Held && seat.state == SeatState::Available {
            found.lapsed.extend(row.opt_id("reservation_id")?);
        }
        found.seats.push(seat);
    }
    Ok(found)
}

fn seat(row: &Row, now: UnixMs) -> Result<Seat, SalesError> {
    let stored = row.parsed("state", SeatState::from_name)?;
    let held_until = row.opt_time("held_until")?.filter(|until| *until > now);
    let state = match stored {
        SeatState::Held if held_until.is_none() => SeatState::Available,
        other => other,
    };
    Ok(Seat {
        id: row.id("id")?,
        section: row.text("section")?,
        row: row.text("row_name")?,
        number: row.small("number")?,
        price: row.money("price_minor")?,
        state,
        version: row.count("version")?,
        held_until,
    })
}
