//! What is left to hold, for each command of a batch in turn: the counters and
//! seats as they were read, less what the commands before it took.
//!
//! Counters come first: a house that is sold out refuses without a look at its
//! seats. Holds on wanted seats that are over by time are ended on the way, also
//! if in the end nobody takes the seats.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::Tx;
use super::super::list::{Column, List};
use super::super::query::Row;
use super::choose::{Filter, Window};
use super::expiry;
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::command::SeatChoice;
use crate::domain::time::UnixMs;
use crate::store::sales::{HoldSeats, SalesError};

const SECTIONS: &str = "\
SELECT c.performance_id, c.ordinal, c.name, c.available, c.held \
FROM {list} LEFT JOIN sections AS c ON c.performance_id = v.id";

const NAMED: &str = "\
SELECT s.performance_id, s.id, s.section, s.row_name, s.number, s.price_minor, s.state, \
s.held_until, s.reservation_id \
FROM {list} LEFT JOIN seats AS s ON s.performance_id = v.performance AND s.id = v.seat";

const SEATS: &[Column] = &[Column::Text("performance"), Column::Text("seat")];

/// A seat that can be taken.
#[derive(Debug, Clone)]
pub struct FreeSeat {
    pub id: ResourceId,
    pub section: i64,
    pub row: String,
    pub number: u32,
    pub price_minor: i64,
}

impl FreeSeat {
    pub fn read(row: &Row) -> Result<Self, SalesError> {
        Ok(Self {
            id: row.id("id")?,
            section: row.signed("section")?,
            row: row.text("row_name")?,
            number: row.small("number")?,
            price_minor: row.signed("price_minor")?,
        })
    }
}

/// A section as it was read.
struct Section {
    name: String,
    available: u64,
    held: u64,
}

/// One performance.
#[derive(Default)]
struct House {
    /// By ordinal.
    sections: BTreeMap<i64, Section>,
    /// Those that were named; `None` if someone has it.
    named: HashMap<ResourceId, Option<FreeSeat>>,
    /// What the batch took.
    taken: HashSet<ResourceId>,
    taken_of_section: BTreeMap<i64, u64>,
    windows: Vec<(Filter, Window)>,
    has_ended_holds: bool,
}

impl House {
    fn is_sold_out(&self) -> bool {
        let mut sections = self.sections.values();
        sections.all(|section| section.available + section.held == 0)
    }
}

pub struct Stock(BTreeMap<ResourceId, House>);

impl Stock {
    pub async fn read(tx: &Tx, commands: &[&HoldSeats]) -> Result<Self, SalesError> {
        let of = commands.iter().map(|command| command.performance.clone());
        let mut stock = Self(of.map(|id| (id, House::default())).collect());
        let all: Vec<ResourceId> = stock.0.keys().cloned().collect();
        stock.count(tx, &all).await?;
        let lapsed = stock.look_at_named(tx, commands).await?;
        for (performance, holds) in &lapsed {
            expiry::end_holds(tx, performance, holds).await?;
        }
        let changed: Vec<ResourceId> = lapsed.into_keys().collect();
        stock.count(tx, &changed).await?;
        Ok(stock)
    }

    /// Reads the counters of these performances.
    async fn count(&mut self, tx: &Tx, of: &[ResourceId]) -> Result<(), SalesError> {
        let list = List::of_ids(of.iter().map(ResourceId::as_str));
        for row in &list.all(tx, SECTIONS, []).await? {
            let Some(performance) = row.opt_id("performance_id")? else {
                continue;
            };
            let section = Section {
                name: row.text("name")?,
                available: row.count("available")?,
                held: row.count("held")?,
            };
            let house = self.0.entry(performance).or_default();
            house.sections.insert(row.signed("ordinal")?, section);
        }
        Ok(())
    }

    /// Reads the seats that are named, where there is one left. Answers the
    /// holds on them that are over by time.
    async fn look_at_named(
        &mut self,
        tx: &Tx,
        commands: &[&HoldSeats],
    ) -> Result<BTreeMap<ResourceId, BTreeSet<ResourceId>>, SalesError> {
        let mut wanted: BTreeSet<(&ResourceId, &ResourceId)> = BTreeSet::new();
        for command in commands {
            if let SeatChoice::Named(seats) = &command.choice
                && !self.is_sold_out(&command.performance)
            {
                wanted.extend(seats.iter().map(|seat| (&command.performance, seat)));
            }
        }
        let mut list = List::new(SEATS);
        for (performance, seat) in wanted {
            list.push([performance.as_str().into(), seat.as_str().into()]);
        }
        let mut lapsed: BTreeMap<ResourceId, BTreeSet<ResourceId>> = BTreeMap::new();
        for row in &list.all(tx, NAMED, []).await? {
            let Some(performance) = row.opt_id("performance_id")? else {
                continue;
            };
            let seat = FreeSeat::read(row)?;
            let (is_free, over) = state(row, tx.now())?;
            if let Some(over) = over {
                lapsed.entry(performance.clone()).or_default().insert(over);
            }
            let house = self.0.entry(performance).or_default();
            house.named.insert(seat.id.clone(), is_free.then_some(seat));
        }
        Ok(lapsed)
    }

    /// Every seat was sold or blocked when the batch began.
    fn is_sold_out(&self, performance: &ResourceId) -> bool {
        self.0.get(performance).is_none_or(House::is_sold_out)
    }

    /// The seats of these ids, all of them free.
    pub fn named(
        &self,
        performance: &ResourceId,
        ids: &[ResourceId],
    ) -> Result<Vec<FreeSeat>, SalesError> {
        let Some(house) = self.0.get(performance).filter(|house| !house.is_sold_out()) else {
            return Err(SalesError::SeatUnavailable {
                seats: ids.to_vec(),
            });
        };
        let is_unknown = |id: &&ResourceId| !house.named.contains_key(*id);
        let unknown: Vec<ResourceId> = ids.iter().filter(is_unknown).cloned().collect();
        if !unknown.is_empty() {
            return Err(SalesError::SeatNotInPerformance { seats: unknown });
        }
        let (mut free, mut taken) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            match house.named.get(id) {
                Some(Some(seat)) if !house.taken.contains(id) => free.push(seat.clone()),
                _ => taken.push(id.clone()),
            }
        }
        match taken.is_empty() {
            true => Ok(free),
            false => Err(SalesError::SeatUnavailable { seats: taken }),
        }
    }

    /// The section of this name.
    pub fn section(&self, performance: &ResourceId, name: &str) -> Option<i64> {
        let mut sections = self.0.get(performance)?.sections.iter();
        sections.find_map(|(ordinal, section)| (section.name == name).then_some(*ordinal))
    }

    pub fn section_name(&self, performance: &ResourceId, ordinal: i64) -> String {
        let section = self
            .0
            .get(performance)
            .and_then(|house| house.sections.get(&ordinal));
        section.map_or_else(String::new, |section| section.name.clone())
    }

    /// Seats that are free, and seats in holds from before the batch.
    pub fn counters(&self, performance: &ResourceId, section: Option<i64>) -> (u64, u64) {
        let Some(house) = self.0.get(performance) else {
            return (0, 0);
        };
        let (mut available, mut held) = (0, 0);
        for (ordinal, counted) in &house.sections {
            if section.is_none_or(|wanted| wanted == *ordinal) {
                let taken = house.taken_of_section.get(ordinal).copied().unwrap_or(0);
                available += counted.available.saturating_sub(taken);
                held += counted.held;
            }
        }
        (available, held)
    }

    /// Ends all holds of the performance that are over by time, once; whether
    /// there may be more seats than before.
    pub async fn end_due(&mut self, tx: &Tx, performance: &ResourceId) -> Result<bool, SalesError> {
        let Some(house) = self.0.get_mut(performance) else {
            return Ok(false);
        };
        if std::mem::replace(&mut house.has_ended_holds, true)
            || !expiry::end_all_due(tx, performance).await?
        {
            return Ok(false);
        }
        house.windows.clear();
        self.count(tx, std::slice::from_ref(performance)).await?;
        Ok(true)
    }

    /// The free seats of a choice as far as they were read. To be given back.
    pub fn borrow_window(&mut self, performance: &ResourceId, filter: &Filter) -> Window {
        let Some(house) = self.0.get_mut(performance) else {
            return Window::default();
        };
        let known = house.windows.iter().position(|(of, _)| of == filter);
        known.map_or_else(Window::default, |at| house.windows.swap_remove(at).1)
    }

    pub fn give_back(&mut self, performance: &ResourceId, filter: Filter, window: Window) {
        if let Some(house) = self.0.get_mut(performance) {
            house.windows.push((filter, window));
        }
    }

    pub fn is_taken(&self, performance: &ResourceId, seat: &ResourceId) -> bool {
        let house = self.0.get(performance);
        house.is_some_and(|house| house.taken.contains(seat))
    }

    /// Nobody behind it gets these.
    pub fn take(&mut self, performance: &ResourceId, seats: &[FreeSeat]) {
        let Some(house) = self.0.get_mut(performance) else {
            return;
        };
        for seat in seats {
            house.taken.insert(seat.id.clone());
            *house.taken_of_section.entry(seat.section).or_default() += 1;
            for (_, window) in &mut house.windows {
                window.remove(&seat.id);
            }
        }
    }

    /// How many seats were taken of each section: performance, ordinal, seats.
    pub fn taken(&self) -> impl Iterator<Item = (&ResourceId, i64, u64)> {
        self.0.iter().flat_map(|(performance, house)| {
            let taken = house.taken_of_section.iter();
            taken.map(move |(ordinal, seats)| (performance, *ordinal, *seats))
        })
    }
}

/// Whether a seat is free, and the hold on it that is over by time.
fn state(row: &Row, now: UnixMs) -> Result<(bool, Option<ResourceId>), SalesError> {
    let until = row.opt_time("held_until")?;
    Ok(match row.parsed("state", SeatState::from_name)? {
        SeatState::Available => (true, None),
        SeatState::Held if until.is_none_or(|until| until <= now) => {
            (true, row.opt_id("reservation_id")?)
        }
        SeatState::Held | SeatState::Sold | SeatState::Blocked => (false, None),
    })
}
