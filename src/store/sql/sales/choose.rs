//! The best available seats, read and chosen inside the transaction that takes
//! them.
//!
//! Counters refuse first, without a look at the seats. Then free seats are read
//! in the order of the house, a window of whole rows at a time, and only as far
//! as a choice needs them: the choices of a batch share what was read.

use super::super::Tx;
use super::super::columns::to_column;
use super::super::query::{Binds, all};
use super::stock::{Ended, FreeSeat, Stock};
use crate::domain::ids::ResourceId;
use crate::domain::sale::best;
use crate::domain::sale::catalog::SEATS_PER_ROW_MAX;
use crate::domain::sale::command::{BestAvailable, FieldError, SEATS_PER_HOLD_MAX};
use crate::domain::sale::currency::Currency;
use crate::store::sales::SalesError;

/// More than the longest row, so that dropping a cut one leaves some.
const WINDOW_SEATS: usize = SEATS_PER_ROW_MAX as usize + SEATS_PER_HOLD_MAX;
const _: () = assert!(WINDOW_SEATS > SEATS_PER_ROW_MAX as usize);

pub async fn best(
    tx: &Tx,
    stock: &mut Stock,
    performance: &ResourceId,
    currency: Currency,
    wish: &BestAvailable,
) -> Result<Vec<FreeSeat>, SalesError> {
    let max_price_minor = match wish.max_price {
        Some(max_price) => Some(max_price.in_currency(currency)?.amount_minor),
        None => None,
    };
    let section = match &wish.section {
        None => None,
        Some(name) => Some(stock.section(performance, name).ok_or(FieldError::new(
            "best_available.section",
            "must be a section of the performance",
        ))?),
    };
    let Some(max_price_minor) = stock.dearest(performance, section, max_price_minor) else {
        return Err(SalesError::SoldOut);
    };
    let filter = Filter {
        section,
        max_price_minor,
    };
    loop {
        let (available, held) = stock.counters(performance, section);
        if available >= u64::from(wish.count)
            && let Some(seats) = search(tx, stock, performance, filter, wish).await?
        {
            return Ok(seats);
        }
        // Holds that are over by time may give what is missing.
        if held == 0 {
            return Err(SalesError::SoldOut);
        }
        match stock.end_due(tx, performance).await? {
            Ended::Some => {}
            Ended::None => return Err(SalesError::SoldOut),
            Ended::Enough => return Err(SalesError::Overloaded),
        }
    }
}

/// Which seats a choice is among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    section: Option<i64>,
    max_price_minor: Option<i64>,
}

/// Free seats in the order of the house, from the front, in whole rows.
#[derive(Default)]
pub struct Window {
    free: Vec<Placed>,
    after_row: u64,
    is_last: bool,
}

struct Placed {
    at: best::FreeSeat,
    seat: FreeSeat,
}

impl Window {
    pub fn remove(&mut self, seat: &ResourceId) {
        if let Some(at) = self.free.iter().position(|free| free.seat.id == *seat) {
            self.free.remove(at);
        }
    }

    /// `None` if there are none among those read.
    fn choose(&self, wish: &BestAvailable) -> Option<Vec<FreeSeat>> {
        let wanted = usize::try_from(wish.count).unwrap_or(usize::MAX);
        let last = self.free.get(wanted.checked_sub(1)?)?;
        let end = match wish.adjacent {
            true => self.free.len(),
            // A nearer row always wins: those behind need not be looked at.
            false => {
                let in_front = |free: &Placed| free.at.row_rank <= last.at.row_rank;
                self.free.partition_point(in_front)
            }
        };
        let free: Vec<best::FreeSeat> = self.free[..end].iter().map(|free| free.at).collect();
        let chosen = best::choose(&free, wanted, wish.adjacent)?;
        let seats = chosen
            .into_iter()
            .map(|index| self.free[index].seat.clone());
        Some(seats.collect())
    }

    /// Reads the rows behind.
    async fn read_on(
        &mut self,
        tx: &Tx,
        performance: &ResourceId,
        filter: Filter,
    ) -> Result<(), SalesError> {
        let mut binds = Binds::default();
        let mut query = format!(
            "SELECT id, section, row_name, number, price_minor, row_rank, row_seats FROM seats \
             WHERE performance_id = {} AND state = 'available' AND row_rank > {}",
            binds.bind(performance.as_str()),
            binds.bind(to_column(self.after_row)),
        );
        if let Some(section) = filter.section {
            query += &format!(" AND section = {}", binds.bind(section));
        }
        if let Some(max_price_minor) = filter.max_price_minor {
            query += &format!(" AND price_minor <= {}", binds.bind(max_price_minor));
        }
        query += &format!(" ORDER BY row_rank, number LIMIT {WINDOW_SEATS}");
        let rows = all(tx, &query, binds.values()).await?;
        let mut read = Vec::with_capacity(rows.len());
        for row in &rows {
            let seat = FreeSeat::read(row)?;
            let at = best::FreeSeat {
                row_rank: row.count("row_rank")?,
                number: seat.number,
                row_seats: row.small("row_seats")?,
            };
            read.push(Placed { at, seat });
        }
        self.is_last = read.len() < WINDOW_SEATS;
        if !self.is_last
            && let Some(cut) = read.last().map(|placed| placed.at.row_rank)
        {
            read.retain(|placed| placed.at.row_rank < cut);
        }
        if let Some(last) = read.last() {
            self.after_row = last.at.row_rank;
        }
        self.free.extend(read);
        Ok(())
    }
}

async fn search(
    tx: &Tx,
    stock: &mut Stock,
    performance: &ResourceId,
    filter: Filter,
    wish: &BestAvailable,
) -> Result<Option<Vec<FreeSeat>>, SalesError> {
    let mut window = stock.borrow_window(performance, &filter);
    let found = loop {
        let chosen = window.choose(wish);
        if chosen.is_some() || window.is_last {
            break chosen;
        }
        window.read_on(tx, performance, filter).await?;
        let is_left = |free: &Placed| !stock.is_taken(performance, &free.seat.id);
        window.free.retain(is_left);
    };
    stock.give_back(performance, filter, window);
    Ok(found)
}
