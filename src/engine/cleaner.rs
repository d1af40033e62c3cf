//! The cleaner: deletes what has had its time, a little at a time.
//!
//! Every kind has its own time, which the operator sets. A pass takes small
//! steps, each a transaction of its own, so that sales come between; it ends
//! after so many, and the next one goes on. Of several nodes one cleans, by a
//! lease that is renewed before each step and only taken when there is work.

use std::sync::Arc;

use crate::store::rooms::{RoomRegistry, RoomsError};
use crate::store::sales::SalesError;
use crate::store::sales::cleaning::{Cleaning, Litter};

/// How often to look.
pub const CLEAN_INTERVAL_MS: u64 = 30_000;
const LEASE: &str = "cleaner";
/// Longer than a step takes.
const LEASE_MS: u64 = 30_000;
/// Items of one step: others wait for it.
const ITEMS_PER_STEP: u32 = 50;
/// Steps of one pass, for each kind.
const STEPS_MAX: u32 = 200;

/// How long each kind is kept; 0: for ever.
#[derive(Debug, Clone, Copy)]
pub struct KeptTimes {
    pub gateway_events_ms: u64,
    pub declined_intents_ms: u64,
    pub ended_holds_ms: u64,
    pub finished_sales_ms: u64,
}

impl KeptTimes {
    /// What is to be deleted at all, in order.
    fn limited(self) -> impl Iterator<Item = (Litter, u64)> {
        let all = [
            (Litter::GatewayEvents, self.gateway_events_ms),
            (Litter::DeclinedIntents, self.declined_intents_ms),
            (Litter::EndedHolds, self.ended_holds_ms),
            (Litter::FinishedSales, self.finished_sales_ms),
        ];
        all.into_iter().filter(|(_, kept_ms)| *kept_ms > 0)
    }
}

pub struct Cleaner {
    pub sales: Arc<dyn Cleaning>,
    pub leases: Arc<dyn RoomRegistry>,
    /// A name for one life of a node.
    pub holder: u64,
    pub kept: KeptTimes,
}

impl Cleaner {
    /// Deletes what is due, and answers how many rows. The app's ticker calls it
    /// every [`CLEAN_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`SalesError::Unavailable`] while SQL is; the next pass goes on.
    pub async fn pass(&self) -> Result<u64, SalesError> {
        let mut rows = 0;
        let mut is_mine = false;
        for (what, kept_ms) in self.kept.limited() {
            // A read: where there is nothing, nothing is written.
            if !self.sales.has_litter(what, kept_ms).await? {
                continue;
            }
            for _step in 0..STEPS_MAX {
                is_mine = match self.leases.lease(LEASE, self.holder, LEASE_MS).await {
                    Err(RoomsError::LeaseHeld) => return Ok(rows),
                    leased => leased.map(|()| true)?,
                };
                let cleaned = self.sales.clean(what, kept_ms, ITEMS_PER_STEP).await?;
                rows += cleaned.rows;
                if !cleaned.has_more {
                    break;
                }
            }
        }
        if is_mine {
            self.leases.release_lease(LEASE, self.holder).await?;
        }
        if rows > 0 {
            tracing::info!(rows, "deleted what had its time");
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tempfile::TempDir;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::UnixMs;
    use crate::store::sales::cleaning::Cleaned;
    use crate::store::sql::SqlStore;

    /// So many items of each kind, and whoever comes between two steps.
    #[derive(Default)]
    struct Litters {
        left: Mutex<u32>,
        asked: Mutex<Vec<Litter>>,
        between: Mutex<Option<Cleaner>>,
        came_between: Mutex<Vec<u64>>,
    }

    #[async_trait]
    impl Cleaning for Litters {
        async fn has_litter(&self, what: Litter, _: u64) -> Result<bool, SalesError> {
            self.asked.lock().unwrap().push(what);
            Ok(*self.left.lock().unwrap() > 0)
        }

        async fn clean(&self, _: Litter, _: u64, items_max: u32) -> Result<Cleaned, SalesError> {
            let between = self.between.lock().unwrap().take();
            if let Some(between) = between {
                let rows = between.pass().await?;
                self.came_between.lock().unwrap().push(rows);
            }
            let mut left = self.left.lock().unwrap();
            let taken = items_max.min(*left);
            *left -= taken;
            Ok(Cleaned {
                rows: u64::from(taken),
                has_more: *left > 0,
            })
        }
    }

    async fn leases() -> (Arc<dyn RoomRegistry>, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, clock).await.unwrap();
        store.migrate_up().await.unwrap();
        (Arc::new(store), dir)
    }

    fn cleaner(sales: &Arc<Litters>, leases: &Arc<dyn RoomRegistry>, holder: u64) -> Cleaner {
        Cleaner {
            sales: Arc::clone(sales) as _,
            leases: Arc::clone(leases),
            holder,
            kept: KeptTimes {
                gateway_events_ms: 0,
                declined_intents_ms: 0,
                ended_holds_ms: 1,
                finished_sales_ms: 0,
            },
        }
    }

    #[tokio::test]
    async fn of_two_nodes_one_cleans_and_the_other_may_go_on() {
        let (leases, _dir) = leases().await;
        let litters = Arc::new(Litters::default());
        *litters.left.lock().unwrap() = 3 * ITEMS_PER_STEP;
        *litters.between.lock().unwrap() = Some(cleaner(&litters, &leases, 2));
        let one = cleaner(&litters, &leases, 1);
        assert_eq!(one.pass().await, Ok(u64::from(3 * ITEMS_PER_STEP)));
        assert_eq!(*litters.came_between.lock().unwrap(), [0]);
        *litters.left.lock().unwrap() = 1;
        assert_eq!(cleaner(&litters, &leases, 2).pass().await, Ok(1));
    }

    #[tokio::test]
    async fn a_pass_ends_and_the_next_one_goes_on() {
        let (leases, _dir) = leases().await;
        let litters = Arc::new(Litters::default());
        *litters.left.lock().unwrap() = STEPS_MAX * ITEMS_PER_STEP + 1;
        let one = cleaner(&litters, &leases, 1);
        let most = u64::from(STEPS_MAX * ITEMS_PER_STEP);
        assert_eq!(one.pass().await, Ok(most));
        assert_eq!(one.pass().await, Ok(1));
        assert_eq!(one.pass().await, Ok(0));
        // What is kept for ever is not looked for.
        assert_eq!(*litters.asked.lock().unwrap(), [Litter::EndedHolds; 3]);
    }
}
