//! Seat maps that are as new as the call that asks.
//!
//! Whoever may see a seat map was checked in the database, and that check said
//! which changes there were ([`SeatVersions`]). A map that has them is shown as
//! it is; else one caller reads, for all who wait, the seats that changed since.
//! A hold that ends by time changes no row, so a map is shown by the check's
//! clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Mutex;

use super::figures::Figures;
use crate::config::CatalogConfig;
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::{Seat, SeatMap};
use crate::store::sales::{SalesError, SalesStore, SeatVersions};

pub struct SeatMaps {
    store: Arc<dyn SalesStore>,
    maps: Option<Cache<ResourceId, Arc<SeatMap>>>,
    /// Who reads, by performance.
    readers: StdMutex<HashMap<ResourceId, Weak<Mutex<()>>>>,
    figures: Figures,
}

impl SeatMaps {
    pub fn new(store: Arc<dyn SalesStore>, config: &CatalogConfig, figures: Figures) -> Self {
        let seats = |_: &ResourceId, map: &Arc<SeatMap>| {
            u32::try_from(map.seats.len().max(1)).unwrap_or(u32::MAX)
        };
        let keeps = config.cache_ttl_ms > 0;
        Self {
            store,
            maps: keeps.then(|| {
                Cache::builder()
                    .max_capacity(config.cache_seats_max)
                    .weigher(seats)
                    // A database that was restored counts its changes anew.
                    .time_to_live(Duration::from_millis(config.cache_ttl_ms))
                    .build()
            }),
            readers: StdMutex::default(),
            figures,
        }
    }

    /// With all changes up to `versions`, and maybe later ones.
    pub async fn read(
        &self,
        performance: &ResourceId,
        versions: SeatVersions,
    ) -> Result<Arc<SeatMap>, SalesError> {
        let Some(maps) = &self.maps else {
            self.figures.miss();
            return self
                .store
                .seat_map(performance.clone(), None)
                .await
                .map(Arc::new);
        };
        let known = |map: &Arc<SeatMap>| versions_of(map).has(versions);
        if let Some(map) = maps.get(performance).filter(known) {
            self.figures.hit(0);
            return Ok(map);
        }
        let reader = self.reader(performance);
        let _alone = reader.lock().await;
        let old = maps.get(performance);
        if let Some(map) = old.as_ref().filter(|map| known(map)) {
            self.figures.hit(0);
            return Ok(Arc::clone(map));
        }
        self.figures.miss();
        let map = self.read_again(performance, old).await?;
        maps.insert(performance.clone(), Arc::clone(&map));
        Ok(map)
    }

    /// Unless it is known.
    pub async fn warm_up(&self, performance: &ResourceId) {
        let _ = self.read(performance, SeatVersions::default()).await;
    }

    async fn read_again(
        &self,
        performance: &ResourceId,
        old: Option<Arc<SeatMap>>,
    ) -> Result<Arc<SeatMap>, SalesError> {
        let since = old.as_ref().map(|map| map.version);
        let mut map = self.store.seat_map(performance.clone(), since).await?;
        let Some(old) = old else {
            return Ok(Arc::new(map));
        };
        if map.performance.version != old.performance.version {
            // Prices may be others, though no seat changed hands.
            let map = self.store.seat_map(performance.clone(), None).await?;
            return Ok(Arc::new(map));
        }
        map.seats = replaced(&old.seats, map.seats);
        map.next_expiry = map.seats.iter().filter_map(|seat| seat.held_until).min();
        Ok(Arc::new(map))
    }

    fn reader(&self, performance: &ResourceId) -> Arc<Mutex<()>> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(performance).and_then(Weak::upgrade) {
            return reader;
        }
        readers.retain(|_, reader| reader.strong_count() > 0);
        let reader = Arc::new(Mutex::default());
        readers.insert(performance.clone(), Arc::downgrade(&reader));
        reader
    }
}

fn versions_of(map: &SeatMap) -> SeatVersions {
    SeatVersions {
        performance: map.performance.version,
        seats: map.version,
    }
}

/// `old` with the seats that changed, in the order of the house. No seat is ever
/// added to a house, or taken from it.
fn replaced(old: &[Seat], changed: Vec<Seat>) -> Vec<Seat> {
    let mut changed: HashMap<ResourceId, Seat> = changed
        .into_iter()
        .map(|seat| (seat.id.clone(), seat))
        .collect();
    old.iter()
        .map(|seat| changed.remove(&seat.id).unwrap_or_else(|| seat.clone()))
        .collect()
}
