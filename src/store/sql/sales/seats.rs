//! Seats: their states, the counters of their sections, their versions.
//!
//! Every change of state goes through [`shift`], which finds the rows by state,
//! moves as many units between the section's counters, and stamps the rows with
//! the performance's next version: one number per change, so that a reader who
//! knows a version can ask for what came after.

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::query::{Binds, Row, all, changed_meanwhile, execute, one};
use super::catalog;
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::sale::catalog::{Seat, SeatMap, SeatState};
use crate::domain::time::UnixMs;
use crate::store::sales::{SalesError, SeatsChanged};

const NEXT_VERSION: &str = "\
UPDATE performances SET seats_version = seats_version + 1 WHERE id = $1";

const VERSION: &str = "SELECT seats_version FROM performances WHERE id = $1";

const OPEN_SEATS: &str = "\
SELECT COALESCE(SUM(available + held), 0) AS n FROM sections WHERE performance_id = $1";

/// What a seat map reads. An expired hold shows as AVAILABLE.
const SEATS: &str = "\
SELECT s.id, c.name AS section, s.row_name, s.number, s.price_minor, p.currency, s.state, \
s.held_until, s.version \
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

/// Changes all of the named rows that are in the state it starts from; answers
/// how many those were. The caller compares and refuses, which undoes it.
pub async fn shift(
    tx: &Tx,
    performance: &ResourceId,
    which: &Which<'_>,
    change: &Change<'_>,
) -> Result<u64, SalesError> {
    let (from, to) = change.states();
    let version = next_version(tx, performance).await?;
    let mut binds = Binds::default();
    let mut set = format!(
        "state = {}, version = {}",
        binds.bind(to.as_str()),
        binds.bind(to_column(version))
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
        "UPDATE seats SET {set} WHERE performance_id = {} AND state = {} AND {rows}{live}",
        binds.bind(performance.as_str()),
        binds.bind(from.as_str()),
    );
    let values = binds.values();
    let changed = execute(tx, &update, values).await?;
    move_counters(tx, performance, version, from, to).await?;
    Ok(changed)
}

async fn next_version(tx: &Tx, performance: &ResourceId) -> Result<u64, SalesError> {
    execute(tx, NEXT_VERSION, [performance.as_str().into()]).await?;
    let row = one(tx, VERSION, [performance.as_str().into()]).await?;
    Ok(row.ok_or(SalesError::NotFound)?.count("seats_version")?)
}

/// The rows of this change are those with its version.
async fn move_counters(
    tx: &Tx,
    performance: &ResourceId,
    version: u64,
    from: SeatState,
    to: SeatState,
) -> Result<(), SalesError> {
    let (from, to) = (from.as_str(), to.as_str());
    let sections = all(
        tx,
        "SELECT section, COUNT(*) AS n FROM seats \
         WHERE performance_id = $1 AND version = $2 GROUP BY section",
        [performance.as_str().into(), to_column(version).into()],
    )
    .await?;
    let update = format!(
        "UPDATE sections SET {from} = {from} - $3, {to} = {to} + $3 \
         WHERE performance_id = $1 AND ordinal = $2"
    );
    for row in sections {
        let values = [
            performance.as_str().into(),
            row.signed("section")?.into(),
            row.signed("n")?.into(),
        ];
        if execute(tx, &update, values).await? != 1 {
            return Err(changed_meanwhile("sections").into());
        }
    }
    Ok(())
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

/// The seats of these ids, as they are now; fewer if some do not exist.
pub async fn named(
    tx: &Tx,
    performance: &ResourceId,
    ids: &[ResourceId],
) -> Result<Vec<Seat>, SalesError> {
    let mut binds = Binds::default();
    binds.bind(performance.as_str());
    let query = format!("{SEATS} AND s.id IN ({})", binds.ids(ids));
    let rows = all(tx, &query, binds.values()).await?;
    rows.iter().map(|row| seat(row, tx.now())).collect()
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
