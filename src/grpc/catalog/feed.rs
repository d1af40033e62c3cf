//! The seats of a performance as this node knows them, shared by all who watch.
//!
//! A change is read from the store once per node, by whoever needs it first,
//! and only what changed since the last reading. A feed lives while someone
//! watches. Every seat carries the version of its last change, so any cursor
//! can be answered with a delta.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};

use tokio::sync::{Mutex, watch};

use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Seat, SeatState};
use crate::domain::time::UnixMs;
use crate::store::sales::{SalesError, SalesStore};

/// All feeds of a node.
pub struct SeatFeeds {
    store: Arc<dyn SalesStore>,
    feeds: StdMutex<HashMap<ResourceId, Weak<SeatFeed>>>,
}

impl SeatFeeds {
    #[must_use]
    pub fn new(store: Arc<dyn SalesStore>) -> Self {
        Self {
            store,
            feeds: StdMutex::default(),
        }
    }

    /// The bus says that seats of a performance changed.
    pub fn changed(&self, performance: &ResourceId) {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(performance).and_then(Weak::upgrade) {
            feed.news.send_modify(|count| *count += 1);
        }
    }

    /// The bus may have lost something.
    pub fn all_changed(&self) {
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        for feed in feeds.values().filter_map(Weak::upgrade) {
            feed.news.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn feed(&self, performance: &ResourceId) -> Arc<SeatFeed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(performance).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(SeatFeed {
            store: Arc::clone(&self.store),
            performance: performance.clone(),
            news: watch::Sender::new(1),
            known: Mutex::default(),
        });
        feeds.insert(performance.clone(), Arc::downgrade(&feed));
        feed
    }
}

/// The seats of one performance.
pub(super) struct SeatFeed {
    store: Arc<dyn SalesStore>,
    performance: ResourceId,
    /// Counts what the bus said; 1 at the beginning: nothing was read yet.
    news: watch::Sender<u64>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// News up to here are in `seats`.
    heard: u64,
    version: u64,
    seats: Vec<Seat>,
    index: HashMap<ResourceId, usize>,
}

/// What a watcher is to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct News {
    pub seats: Vec<Seat>,
    pub version: u64,
    /// When the next hold ends by time.
    pub next_expiry: Option<UnixMs>,
}

/// What a watcher was told last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub version: u64,
    pub at: UnixMs,
}

impl SeatFeed {
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What changed since `told`, or everything.
    ///
    /// # Errors
    /// The store's; what is known stays.
    pub async fn read(&self, told: Option<Told>, now: UnixMs) -> Result<News, SalesError> {
        let mut known = self.known.lock().await;
        let heard = *self.news.borrow();
        if known.heard < heard {
            let since = (known.heard > 0).then_some(known.version);
            let map = self.store.seat_map(self.performance.clone(), since).await?;
            known.take_in(map.seats, map.version);
            known.heard = heard;
        }
        Ok(known.news(told, now))
    }
}

impl Known {
    fn take_in(&mut self, seats: Vec<Seat>, version: u64) {
        for seat in seats {
            match self.index.get(&seat.id) {
                Some(index) => self.seats[*index] = seat,
                None => {
                    self.index.insert(seat.id.clone(), self.seats.len());
                    self.seats.push(seat);
                }
            }
        }
        self.version = self.version.max(version);
    }

    /// A hold that ended by time since `told` is news, though no row changed.
    fn news(&self, told: Option<Told>, now: UnixMs) -> News {
        let is_news = |seat: &&Seat| match told {
            None => true,
            Some(told) => {
                let ended = seat.held_until.is_some_and(|at| told.at < at && at <= now);
                seat.version > told.version || (seat.state == SeatState::Held && ended)
            }
        };
        let ends = self.seats.iter().filter_map(|seat| seat.held_until);
        News {
            seats: self
                .seats
                .iter()
                .filter(is_news)
                .map(|seat| seat.at(now))
                .collect(),
            version: self.version,
            next_expiry: ends.filter(|at| *at > now).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::currency::Currency;
    use crate::domain::sale::money::Money;

    fn seat(number: u32, version: u64, held_until: Option<u64>) -> Seat {
        Seat {
            id: ResourceId::parse(&format!("A-{number}")).expect("id"),
            section: "A".to_owned(),
            row: "1".to_owned(),
            number,
            price: Money::new(Currency::parse("EUR").expect("euro"), 100),
            state: match held_until {
                Some(_) => SeatState::Held,
                None => SeatState::Available,
            },
            version,
            held_until: held_until.map(UnixMs),
        }
    }

    fn numbers(news: &News) -> Vec<u32> {
        news.seats.iter().map(|seat| seat.number).collect()
    }

    #[test]
    fn a_watcher_hears_what_changed_and_holds_that_end_by_time() {
        let mut known = Known::default();
        known.take_in(vec![seat(1, 1, None), seat(2, 2, Some(500))], 2);
        let all = known.news(None, UnixMs(100));
        assert_eq!(numbers(&all), [1, 2]);
        assert_eq!((all.version, all.next_expiry), (2, Some(UnixMs(500))));
        let told = |at| {
            Some(Told {
                version: 2,
                at: UnixMs(at),
            })
        };
        assert_eq!(numbers(&known.news(told(100), UnixMs(499))), [0; 0]);
        let ended = known.news(told(100), UnixMs(500));
        assert_eq!(numbers(&ended), [2]);
        assert_eq!(ended.seats[0].state, SeatState::Available);
        assert_eq!(ended.next_expiry, None);
        assert_eq!(numbers(&known.news(told(500), UnixMs(600))), [0; 0]);
        known.take_in(vec![seat(1, 3, Some(900))], 3);
        assert_eq!(numbers(&known.news(told(500), UnixMs(600))), [1]);
    }
}
