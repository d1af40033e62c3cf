//! One read of a seat map serves all who ask for it at the same time.
//!
//! A caller shares a read only if it starts after the caller asked, so nobody
//! is shown less than what was committed before they asked: while one read is
//! under way the next callers gather, and the first of them reads for all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};

use tokio::sync::Mutex;

use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatMap;
use crate::store::sales::{SalesError, SalesStore};

/// Reads under way, by performance.
#[derive(Default)]
pub struct SeatReads(StdMutex<HashMap<ResourceId, Weak<Reads>>>);

#[derive(Default)]
struct Reads {
    /// Reads ever started.
    started: AtomicU64,
    /// The last one that succeeded, with its number.
    last: Mutex<(u64, Option<Arc<SeatMap>>)>,
}

impl SeatReads {
    /// The whole seat map, as of a moment after this call.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(
        &self,
        store: &dyn SalesStore,
        performance: ResourceId,
    ) -> Result<Arc<SeatMap>, SalesError> {
        let reads = self.reads(&performance);
        let wanted = reads.started.load(Ordering::SeqCst) + 1;
        let mut last = reads.last.lock().await;
        if let (number, Some(map)) = &*last
            && *number >= wanted
        {
            return Ok(Arc::clone(map));
        }
        let number = reads.started.fetch_add(1, Ordering::SeqCst) + 1;
        let map = Arc::new(store.seat_map(performance, None).await?);
        *last = (number, Some(Arc::clone(&map)));
        Ok(map)
    }

    fn reads(&self, performance: &ResourceId) -> Arc<Reads> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reads) = all.get(performance).and_then(Weak::upgrade) {
            return reads;
        }
        all.retain(|_, reads| reads.strong_count() > 0);
        let reads = Arc::new(Reads::default());
        all.insert(performance.clone(), Arc::downgrade(&reads));
        reads
    }
}
