//! The catalog as this node keeps it: concerts, dates and seat maps that many
//! ask for, read once for all of them.
//!
//! - Concerts and dates ([`kept`]) are shown for `catalog.cache_ttl_ms` at most.
//!   One caller reads for all who ask for the same; before its time is over one
//!   of them has it read again, without waiting.
//! - A seat map ([`seats`]) is never shown older than the pass check of the call
//!   that asks for it: the check says the number of the last change.
//!
//! What changed is told by the bus. [`CatalogCache::heard`] then counts one
//! generation, which is part of every key: a read that began before the change
//! fills a place where nobody looks any more. A performance that sells out
//! concerns the pages of its concert alone ([`turns`]). This node's own changes
//! are [`overheard`] as they are published, so that whoever made one sees it. A
//! message that another node lost costs at most the time to live.
//!
//! Pages come from [`Showing`], which may lag behind and says by how much: that is
//! part of a page's age. Whatever is heard is told to it first, so that a page
//! that is read again has what was heard of. Seat maps come from the database
//! itself.
//!
//! Nothing here decides a sale: holds and payments read the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bus::{BusEvent, BusMessage, EventBus};
use crate::clock::Clock;
use crate::config::CatalogConfig;
use crate::domain::ids::ResourceId;
use crate::domain::policy::Protects;
use crate::domain::sale::catalog::{Concert, Performance, SeatMap};
use crate::entropy::Entropy;
use crate::metrics::Metrics;
use crate::store::inbox::{RankCursor, RankedBy};
use crate::store::sales::{
    Admission, ConcertCursor, Listing, Page, PerformanceCursor, SalesError, SalesStore,
};
use crate::store::showing::{AsOf, Showing};

mod figures;
mod kept;
mod overheard;
mod seats;
#[cfg(test)]
mod tests;
mod turns;

use figures::Figures;
use kept::{Kept, Lifetimes};
use overheard::Overheard;
use seats::SeatMaps;
use turns::Turns;

type Concerts = Listing<Concert, ConcertCursor>;
type Ranked = Listing<Concert, RankCursor>;
type Performances = Listing<Performance, PerformanceCursor>;

/// The catalog of one node.
pub struct CatalogCache {
    showing: Arc<dyn Showing>,
    generation: AtomicU64,
    turns: Arc<Turns>,
    concerts: Kept<Page<ConcertCursor>, Concerts>,
    ranked: Kept<(RankedBy, Page<RankCursor>), Ranked>,
    concert: Kept<ResourceId, Concert>,
    performances: Kept<(ResourceId, Page<PerformanceCursor>), Performances>,
    seats: SeatMaps,
}

impl CatalogCache {
    /// Keeps nothing if `catalog.cache_ttl_ms` is 0. Seats are of `store`.
    #[must_use]
    pub fn new(
        showing: Arc<dyn Showing>,
        store: Arc<dyn SalesStore>,
        config: &CatalogConfig,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        metrics: &Metrics,
    ) -> Self {
        let turns = Arc::<Turns>::default();
        let lifetimes = Lifetimes {
            ttl_ms: config.cache_ttl_ms,
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            turns: Arc::clone(&turns),
        };
        let items_max = config.cache_items_max;
        let figures = |what| Figures::new(metrics, what);
        Self {
            generation: AtomicU64::new(0),
            turns,
            concerts: Kept::new(
                items_max,
                |page| page.items.len(),
                |_, page| page.items.iter().map(|concert| &concert.id).collect(),
                lifetimes.clone(),
                figures("concerts"),
            ),
            ranked: Kept::new(
                items_max,
                |page| page.items.len(),
                |_, page| page.items.iter().map(|concert| &concert.id).collect(),
                lifetimes.clone(),
                figures("ranked"),
            ),
            concert: Kept::new(
                items_max,
                |_| 1,
                |id, _| vec![id],
                lifetimes.clone(),
                figures("concert"),
            ),
            performances: Kept::new(
                items_max,
                dates_and_sections,
                |(concert, _), _| vec![concert],
                lifetimes,
                figures("performances"),
            ),
            seats: SeatMaps::new(store, config, figures("seat_map")),
            showing,
        }
    }

    /// # Errors
    /// As `Showing::concerts`.
    pub async fn concerts(
        &self,
        page: Page<ConcertCursor>,
    ) -> Result<Arc<AsOf<Concerts>>, SalesError> {
        let showing = Arc::clone(&self.showing);
        let wanted = page.clone();
        let read = move || {
            let (showing, page) = (Arc::clone(&showing), wanted.clone());
            async move { showing.concerts(page).await }
        };
        self.concerts.get(self.generation(), page, read).await
    }

    /// As counted from events: new ranks are seen when their page is read again.
    ///
    /// # Errors
    /// As `Showing::ranked_concerts`.
    pub async fn ranked_concerts(
        &self,
        by: RankedBy,
        page: Page<RankCursor>,
    ) -> Result<Arc<AsOf<Ranked>>, SalesError> {
        let showing = Arc::clone(&self.showing);
        let wanted = page.clone();
        let read = move || {
            let (showing, page) = (Arc::clone(&showing), wanted.clone());
            async move { showing.ranked_concerts(by, page).await }
        };
        self.ranked.get(self.generation(), (by, page), read).await
    }

    /// # Errors
    /// As `Showing::concert`.
    pub async fn concert(&self, id: ResourceId) -> Result<Arc<AsOf<Concert>>, SalesError> {
        let showing = Arc::clone(&self.showing);
        let wanted = id.clone();
        let read = move || {
            let (showing, id) = (Arc::clone(&showing), wanted.clone());
            async move { showing.concert(id).await }
        };
        self.concert.get(self.generation(), id, read).await
    }

    /// # Errors
    /// As `Showing::performances`.
    pub async fn performances(
        &self,
        concert: ResourceId,
        page: Page<PerformanceCursor>,
    ) -> Result<Arc<AsOf<Performances>>, SalesError> {
        let showing = Arc::clone(&self.showing);
        let wanted = (concert, page);
        let key = wanted.clone();
        let read = move || {
            let (showing, (concert, page)) = (Arc::clone(&showing), wanted.clone());
            async move { showing.performances(concert, page).await }
        };
        self.performances.get(self.generation(), key, read).await
    }

    /// All seats, with every change that `admission` knows of.
    ///
    /// # Errors
    /// As `Catalog::seat_map`.
    pub async fn seat_map(
        &self,
        performance: &ResourceId,
        admission: &Admission,
    ) -> Result<Arc<SeatMap>, SalesError> {
        self.seats.read(performance, admission.versions).await
    }

    /// Reads what those ask for first who come to a room that protects this. What
    /// is kept already is left alone; what cannot be read now is read later.
    pub async fn warm_up(&self, protects: &Protects) {
        let _ = self.concerts(Page::new(0, None)).await;
        let mut performances = protects.performances.clone();
        for concert in &protects.concerts {
            let _ = self.concert(concert.clone()).await;
            let dates = self.performances(concert.clone(), Page::new(0, None)).await;
            let dates = dates.iter().flat_map(|dates| dates.items.iter());
            performances.extend(dates.map(|date| date.id.clone()));
        }
        for performance in &performances {
            self.seats.warm_up(performance).await;
        }
    }

    /// What the bus brings, and what this node publishes.
    pub fn heard(&self, event: &BusEvent) {
        match event {
            BusEvent::Message(BusMessage::CatalogChanged) | BusEvent::Gap => self.forget_all(),
            BusEvent::Message(BusMessage::SoldOutTurned { concert, mark }) => {
                self.showing.changed();
                if !self.turns.note(concert, *mark) {
                    self.forget_all();
                }
            }
            // Seat maps are asked for by the number of their last change. What a
            // room protects is a change of the catalog.
            BusEvent::Message(
                BusMessage::Room(..)
                | BusMessage::RoomChanged(_)
                | BusMessage::Seats { .. }
                | BusMessage::CampaignChanged { .. },
            )
            | BusEvent::RoomGap(_) => {}
        }
    }

    fn forget_all(&self) {
        // First: who reads for the new generation reads what was changed.
        self.showing.changed();
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// The bus, for those of this node who publish.
    #[must_use]
    pub fn overhear(self: &Arc<Self>, bus: Arc<dyn EventBus>) -> Arc<dyn EventBus> {
        Arc::new(Overheard {
            bus,
            catalog: Arc::clone(self),
        })
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

fn dates_and_sections(page: &Performances) -> usize {
    let sections = |date: &Performance| date.terms.sections.len();
    page.items.iter().map(|date| 1 + sections(date)).sum()
}
