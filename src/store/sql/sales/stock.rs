//! What is left to hold, for each command of a batch in turn: the counters and
//! seats as they were read, less what the commands before it took.
//!
//! Counters come first: a house that is sold out refuses without a look at its
//! seats. Holds on wanted seats that are over by time are ended on the way, also
//! if in the end nobody takes the seats; but not more than [`ENDED_MAX`] by one
//! batch, so that it stays one. Whoever would need more ended is told to come again,
//! and finds them ended by the batches before or by the sweep.

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
SELECT c.performance_id, c.ordinal, c.name, c.price_minor, c.available, c.held \
FROM {list} LEFT JOIN sections AS c ON c.performance_id = v.id";

const NAMED: &str = "\
SELECT s.performance_id, s.id, s.section, s.row_name, s.number, s.price_minor, s.state, \
s.held_until, s.reservation_id \
FROM {list} LEFT JOIN seats AS s ON s.performance_id = v.performance AND s.id = v.seat";

const SEATS: &[Column] = &[Column::Text("performance"), Column::Text("seat")];

/// Holds that are over by time and ended by one batch.
const ENDED_MAX: u32 = 1_000;
/// Ended before the seats are looked at again.
const ENDED_PER_STEP: u32 = 250;

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
    /// Of all its seats but those sold.
    price_minor: i64,
    available: u64,
    held: u64,
}

/// A seat that was named, as it was read.
enum Named {
    Free(FreeSeat),
    Taken,
    /// In a hold that is over by time, and not ended by this batch.
    Due,
}

/// What came of ending holds that are over by time.
pub enum Ended {
    /// There may be more seats than before.
    Some,
    /// There were none.
    None,
    /// There may be more, which this batch leaves alone.
    Enough,
}

/// One performance.
#[derive(Default)]
struct House {
    /// By ordinal.
    sections: BTreeMap<i64, Section>,
    /// Those that were named.
    named: HashMap<ResourceId, Named>,
    /// What the batch took.
    taken: HashSet<ResourceId>,
    taken_of_section: BTreeMap<i64, u64>,
    windows: Vec<(Filter, Window)>,
    has_ended_all: bool,
}

impl House {
    fn is_sold_out(&self) -> bool {
        let mut sections = self.sections.values();
        sections.all(|section| section.available + section.held == 0)
    }
}

pub struct Stock {
    houses: BTreeMap<ResourceId, House>,
    /// Holds that the batch may still end.
    ends_left: u32,
}

impl Stock {
    pub async fn read(tx: &Tx, commands: &[&HoldSeats]) -> Result<Self, SalesError> {
        let of = commands.iter().map(|command| command.performance.clone());
        let mut stock = Self {
            houses: of.map(|id| (id, House::default())).collect(),
            ends_left: ENDED_MAX,
        };
        let all: Vec<ResourceId> = stock.houses.keys().cloned().collect();
        stock.count(tx, &all).await?;
        let lapsed = stock.look_at_named(tx, commands).await?;
        if !lapsed.is_empty() {
            expiry::end(tx, &lapsed).await?;
            let changed: BTreeSet<ResourceId> = lapsed.into_iter().map(|(of, _)| of).collect();
            let changed: Vec<ResourceId> = changed.into_iter().collect();
            stock.count(tx, &changed).await?;
        }
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
                price_minor: row.signed("price_minor")?,
                available: row.count("available")?,
                held: row.count("held")?,
            };
            let house = self.houses.entry(performance).or_default();
            house.sections.insert(row.signed("ordinal")?, section);
        }
        Ok(())
    }

    /// Reads the seats that are named, where there is one left. Answers the
    /// holds on them that are over by time and to be ended.
    async fn look_at_named(
        &mut self,
        tx: &Tx,
        commands: &[&HoldSeats],
    ) -> Result<BTreeSet<(ResourceId, ResourceId)>, SalesError> {
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
        let mut lapsed = BTreeSet::new();
        for row in &list.all(tx, NAMED, []).await? {
            let Some(performance) = row.opt_id("performance_id")? else {
                continue;
            };
            let seat = FreeSeat::read(row)?;
            let (is_free, over) = state(row, tx.now())?;
            let is_left = over.is_some_and(|over| !self.may_end(&mut lapsed, &performance, over));
            let (id, named) = match (is_free, is_left) {
                (_, true) => (seat.id, Named::Due),
                (true, false) => (seat.id.clone(), Named::Free(seat)),
                (false, false) => (seat.id, Named::Taken),
            };
            let house = self.houses.entry(performance).or_default();
            house.named.insert(id, named);
        }
        Ok(lapsed)
    }

    /// Takes note of a hold to be ended, unless there are too many.
    fn may_end(
        &mut self,
        lapsed: &mut BTreeSet<(ResourceId, ResourceId)>,
        performance: &ResourceId,
        over: ResourceId,
    ) -> bool {
        let key = (performance.clone(), over);
        if lapsed.contains(&key) {
            return true;
        }
        if self.ends_left == 0 {
            return false;
        }
        self.ends_left -= 1;
        lapsed.insert(key)
    }

    /// Every seat was sold or blocked when the batch began.
    fn is_sold_out(&self, performance: &ResourceId) -> bool {
        self.houses.get(performance).is_none_or(House::is_sold_out)
    }

    /// The seats of these ids, all of them free.
    pub fn named(
        &self,
        performance: &ResourceId,
        ids: &[ResourceId],
    ) -> Result<Vec<FreeSeat>, SalesError> {
        let Some(house) = self
            .houses
            .get(performance)
            .filter(|house| !house.is_sold_out())
        else {
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
        let mut is_due = false;
        for id in ids {
            match house.named.get(id) {
                Some(Named::Free(seat)) if !house.taken.contains(id) => free.push(seat.clone()),
                Some(Named::Due) => is_due = true,
                _ => taken.push(id.clone()),
            }
        }
        match (taken.is_empty(), is_due) {
            (true, false) => Ok(free),
            (true, true) => Err(SalesError::Overloaded),
            (false, _) => Err(SalesError::SeatUnavailable { seats: taken }),
        }
    }

    /// The section of this name.
    pub fn section(&self, performance: &ResourceId, name: &str) -> Option<i64> {
        let mut sections = self.houses.get(performance)?.sections.iter();
        sections.find_map(|(ordinal, section)| (section.name == name).then_some(*ordinal))
    }

    pub fn section_name(&self, performance: &ResourceId, ordinal: i64) -> String {
        let section = self
            .houses
            .get(performance)
            .and_then(|house| house.sections.get(&ordinal));
        section.map_or_else(String::new, |section| section.name.clone())
    }

    /// Seats that are free, and seats in holds from before the batch.
    pub fn counters(&self, performance: &ResourceId, section: Option<i64>) -> (u64, u64) {
        let Some(house) = self.houses.get(performance) else {
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

    /// The dearest of the prices that a limit allows in these sections: clients
    /// choose limits, and those that allow the same seats are one. `Some(None)` if
    /// all prices are allowed, `None` if none is.
    pub fn dearest(
        &self,
        performance: &ResourceId,
        section: Option<i64>,
        max_price_minor: Option<i64>,
    ) -> Option<Option<i64>> {
        let Some(max_price_minor) = max_price_minor else {
            return Some(None);
        };
        let sections = self.houses.get(performance)?.sections.iter();
        let wanted = sections.filter(|(ordinal, _)| section.is_none_or(|one| one == **ordinal));
        let (allowed, too_dear): (Vec<i64>, Vec<i64>) = wanted
            .map(|(_, section)| section.price_minor)
            .partition(|price| *price <= max_price_minor);
        let dearest = allowed.into_iter().max()?;
        Some((!too_dear.is_empty()).then_some(dearest))
    }

    /// Ends some holds of the performance that are over by time.
    pub async fn end_due(
        &mut self,
        tx: &Tx,
        performance: &ResourceId,
    ) -> Result<Ended, SalesError> {
        let Some(house) = self.houses.get_mut(performance) else {
            return Ok(Ended::None);
        };
        if house.has_ended_all {
            return Ok(Ended::None);
        }
        let limit = ENDED_PER_STEP.min(self.ends_left);
        if limit == 0 {
            return Ok(Ended::Enough);
        }
        let ended = expiry::end_due(tx, performance, limit).await?;
        self.ends_left -= ended.min(limit);
        house.has_ended_all = ended < limit;
        if ended == 0 {
            return Ok(Ended::None);
        }
        house.windows.clear();
        self.count(tx, std::slice::from_ref(performance)).await?;
        Ok(Ended::Some)
    }

    /// The free seats of a choice as far as they were read. To be given back.
    pub fn borrow_window(&mut self, performance: &ResourceId, filter: &Filter) -> Window {
        let Some(house) = self.houses.get_mut(performance) else {
            return Window::default();
        };
        let known = house.windows.iter().position(|(of, _)| of == filter);
        known.map_or_else(Window::default, |at| house.windows.swap_remove(at).1)
    }

    pub fn give_back(&mut self, performance: &ResourceId, filter: Filter, window: Window) {
        if let Some(house) = self.houses.get_mut(performance) {
            house.windows.push((filter, window));
        }
    }

    pub fn is_taken(&self, performance: &ResourceId, seat: &ResourceId) -> bool {
        let house = self.houses.get(performance);
        house.is_some_and(|house| house.taken.contains(seat))
    }

    /// Nobody behind it gets these.
    pub fn take(&mut self, performance: &ResourceId, seats: &[FreeSeat]) {
        let Some(house) = self.houses.get_mut(performance) else {
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
        self.houses.iter().flat_map(|(performance, house)| {
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
