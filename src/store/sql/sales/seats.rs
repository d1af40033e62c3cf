//! Seats: their states, the counters of their sections, their versions.
//!
//! Every change of state goes through [`shift`], or through [`hold`], [`sell`] and
//! [`free`] for those of a batch. Each changes as many rows as the caller counted and no
//! fewer, moves as many units between the sections' counters, and stamps the
//! rows with the performance's next version: one number per change, so that a
//! reader who knows a version can ask for what came after.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Tx;
use super::super::columns::{time_to_column, to_column};
use super::super::list::{Column, List, Update};
use super::super::query::{Binds, Row, all, execute, one};
use super::catalog;
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::sale::catalog::{Seat, SeatMap, SeatState};
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::{SalesError, SeatsChanged};

const NEXT_VERSION: &str = "\
UPDATE performances SET seats_version = seats_version + 1 WHERE id = $1";

const VERSION: &str = "SELECT seats_version FROM performances WHERE id = $1";

const OPEN_SEATS: &str = "\
SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT) AS n FROM sections WHERE performance_id = $1";

/// What a seat map reads. An expired hold shows as AVAILABLE.
const SEATS: &str = "\
SELECT s.id, c.name AS section, s.row_name, s.number, s.price_minor, p.currency, s.state, \
s.held_until, s.reservation_id, s.version \
FROM seats s \
JOIN performances p ON p.id = s.performance_id \
JOIN sections c ON c.performance_id = s.performance_id AND c.ordinal = s.section \
WHERE s.performance_id = $1";

const RAISE_VERSIONS: Update = Update {
    table: "performances",
    set: "seats_version = seats_version + 1",
    on: "performances.id = v.id",
};

const HELD_SEATS: &[Column] = &[
    Column::Text("performance"),
    Column::Text("seat"),
    Column::Text("reservation"),
    Column::Text("holder"),
    Column::Integer("until"),
];

const HOLD: Update = Update {
    table: "seats",
    set: "state = 'held', reservation_id = v.reservation, user_id = v.holder, \
          held_until = v.until, \
          version = (SELECT seats_version FROM performances WHERE id = v.performance)",
    on: "seats.performance_id = v.performance AND seats.id = v.seat \
         AND COALESCE(seats.state, '') = 'available'",
};

const SEATS_OF_HOLDS: &[Column] = &[
    Column::Text("performance"),
    Column::Text("seat"),
    Column::Text("reservation"),
];

const SELL: Update = Update {
    table: "seats",
    set: "state = 'sold', held_until = NULL, serial = serial + 1, \
          version = (SELECT seats_version FROM performances WHERE id = v.performance)",
    on: "seats.performance_id = v.performance AND seats.id = v.seat \
         AND COALESCE(seats.state, '') = 'held' \
         AND COALESCE(seats.reservation_id, '') = v.reservation AND seats.held_until > $1",
};

const FREE: Update = Update {
    table: "seats",
    set: "state = 'available', reservation_id = NULL, user_id = NULL, held_until = NULL, \
          version = (SELECT seats_version FROM performances WHERE id = v.performance)",
    on: "seats.performance_id = v.performance AND seats.id = v.seat \
         AND COALESCE(seats.state, '') = 'held' \
         AND COALESCE(seats.reservation_id, '') = v.reservation",
};

const COUNTERS: &[Column] = &[
    Column::Text("performance"),
    Column::Integer("ordinal"),
    Column::Integer("seats"),
];

const HOLD_COUNTERS: Update = Update {
    table: "sections",
    set: "available = available - v.seats, held = held + v.seats",
    on: "sections.performance_id = v.performance AND sections.ordinal = v.ordinal",
};

const SELL_COUNTERS: Update = Update {
    table: "sections",
    set: "held = held - v.seats, sold = sold + v.seats",
    on: "sections.performance_id = v.performance AND sections.ordinal = v.ordinal",
};

const FREE_COUNTERS: Update = Update {
    table: "sections",
    set: "held = held - v.seats, available = available + v.seats",
    on: "sections.performance_id = v.performance AND sections.ordinal = v.ordinal",
};

/// While a seat was sold its section may have got another price.
const SECTION_PRICE: &str = ", price_minor = (SELECT price_minor FROM sections \
WHERE sections.performance_id = seats.performance_id AND sections.ordinal = seats.section)";

const REPRICE: &str = "\
UPDATE seats SET price_minor = $3, \
version = (SELECT seats_version FROM performances WHERE id = $1) \
WHERE performance_id = $1 AND section = $2 AND state <> 'sold'";

/// Which seats change.
pub enum Which<'a> {
    Of(&'a ResourceId),
    /// Some of a reservation's.
    Part(&'a ResourceId, &'a [ResourceId]),
    Named(&'a [ResourceId]),
    /// All of the performance.
    All,
}

/// What they become.
pub enum Change {
    /// From HELD, SOLD or BLOCKED.
    Free {
        from: SeatState,
    },
    Block,
}

impl Change {
    fn states(&self) -> (SeatState, SeatState) {
        match self {
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

/// Changes all seats of `which`, as many as `counts` says; the unit fails if
/// they are not all in the state that the change starts from.
pub fn shift(
    tx: &Tx,
    performance: &ResourceId,
    which: &Which<'_>,
    change: &Change,
    counts: &Counts,
) {
    raise_version(tx, performance);
    let (from, to) = change.states();
    let mut binds = Binds::default();
    let performance_id = binds.bind(performance.as_str());
    let mut set = format!(
        "state = {}, version = (SELECT seats_version FROM performances WHERE id = {performance_id}), \
         reservation_id = NULL, user_id = NULL, held_until = NULL",
        binds.bind(to.as_str()),
    );
    if matches!(
        change,
        Change::Free {
            from: SeatState::Sold
        }
    ) {
        set += SECTION_PRICE;
    }
    let rows = match which {
        Which::Of(reservation) => format!("reservation_id = {}", binds.bind(reservation.as_str())),
        Which::Part(reservation, seats) => format!(
            "reservation_id = {} AND id IN ({})",
            binds.bind(reservation.as_str()),
            binds.ids(seats)
        ),
        Which::Named(seats) => format!("id IN ({})", binds.ids(seats)),
        Which::All => "1 = 1".to_owned(),
    };
    let update = format!(
        "UPDATE seats SET {set} WHERE performance_id = {performance_id} AND state = {} AND {rows}",
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

/// Takes the free seats of these holds; `sections` has the seats of each section,
/// by performance and ordinal.
pub fn hold<'a>(
    tx: &Tx,
    holds: impl Iterator<Item = &'a Reservation>,
    sections: &BTreeMap<(&ResourceId, i64), u64>,
) {
    let mut seats = List::new(HELD_SEATS);
    for held in holds {
        for seat in &held.seats {
            seats.push([
                held.performance.as_str().into(),
                seat.seat.as_str().into(),
                held.id.as_str().into(),
                held.user.as_str().into(),
                time_to_column(held.expires_at).into(),
            ]);
        }
    }
    raise_versions(tx, sections.keys().map(|(performance, _)| *performance));
    seats.update(tx, &HOLD, []);
    move_counters(tx, &HOLD_COUNTERS, sections);
}

/// A held seat that is sold now.
pub struct Sold<'a> {
    pub performance: &'a ResourceId,
    pub seat: &'a ResourceId,
    pub reservation: &'a ResourceId,
    /// Of the section.
    pub ordinal: i64,
}

/// Sells held seats, unless their hold ends in this very millisecond.
pub fn sell(tx: &Tx, sold: &[Sold<'_>]) {
    let mut seats = List::new(SEATS_OF_HOLDS);
    let mut sections: BTreeMap<(&ResourceId, i64), u64> = BTreeMap::new();
    for seat in sold {
        seats.push([
            seat.performance.as_str().into(),
            seat.seat.as_str().into(),
            seat.reservation.as_str().into(),
        ]);
        *sections
            .entry((seat.performance, seat.ordinal))
            .or_default() += 1;
    }
    raise_versions(tx, sections.keys().map(|(performance, _)| *performance));
    seats.update(tx, &SELL, [time_to_column(tx.now()).into()]);
    move_counters(tx, &SELL_COUNTERS, &sections);
}

/// A seat that a hold has which is over.
pub struct Held {
    pub performance: ResourceId,
    pub seat: ResourceId,
    pub reservation: ResourceId,
    /// Of the section.
    pub ordinal: i64,
}

/// Gives held seats back.
pub fn free(tx: &Tx, held: &[Held]) {
    let mut seats = List::new(SEATS_OF_HOLDS);
    let mut sections: BTreeMap<(&ResourceId, i64), u64> = BTreeMap::new();
    for seat in held {
        seats.push([
            seat.performance.as_str().into(),
            seat.seat.as_str().into(),
            seat.reservation.as_str().into(),
        ]);
        *sections
            .entry((&seat.performance, seat.ordinal))
            .or_default() += 1;
    }
    raise_versions(tx, sections.keys().map(|(performance, _)| *performance));
    seats.update(tx, &FREE, []);
    move_counters(tx, &FREE_COUNTERS, &sections);
}

/// A change of one performance.
pub fn raise_version(tx: &Tx, performance: &ResourceId) {
    tx.defer(NEXT_VERSION, [performance.as_str().into()], 1);
}

/// One change each, however many seats of it change.
fn raise_versions<'a>(tx: &Tx, of: impl Iterator<Item = &'a ResourceId>) {
    let performances: BTreeSet<&str> = of.map(ResourceId::as_str).collect();
    List::of_ids(performances).update(tx, &RAISE_VERSIONS, []);
}

fn move_counters(tx: &Tx, update: &Update, sections: &BTreeMap<(&ResourceId, i64), u64>) {
    let mut counters = List::new(COUNTERS);
    for ((performance, ordinal), seats) in sections {
        let seats = to_column(*seats);
        counters.push([performance.as_str().into(), (*ordinal).into(), seats.into()]);
    }
    counters.update(tx, update, []);
}

/// Sets the price of a section's seats, but for those sold. Whoever holds one
/// pays what it cost when it was held.
pub async fn reprice(
    tx: &Tx,
    performance: &ResourceId,
    section: usize,
    price: Money,
) -> Result<(), SalesError> {
    tx.defer(NEXT_VERSION, [performance.as_str().into()], 1);
    let values = [
        performance.as_str().into(),
        i64::try_from(section).unwrap_or(i64::MAX).into(),
        price.amount_minor.into(),
    ];
    execute(tx, REPRICE, values).await?;
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
        turned,
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
