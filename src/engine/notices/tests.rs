//! One node gives notice, whoever else tries.

use std::sync::Mutex;

use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::store::sales::notices::{Notice, Noticed};
use crate::store::sql::SqlStore;

/// So many holds, and whoever comes between two steps.
#[derive(Default)]
struct Holds {
    left: Mutex<u32>,
    between: Mutex<Option<Noticer>>,
    came_between: Mutex<Vec<u64>>,
}

#[async_trait]
impl Notices for Holds {
    async fn has_pay_soon(&self, _: u64) -> Result<bool, SalesError> {
        Ok(*self.left.lock().unwrap() > 0)
    }

    async fn pay_soon(
        &self,
        _: u64,
        _: UnixMs,
        events_max: u32,
    ) -> Result<Noticed<UnixMs>, SalesError> {
        let between = self.between.lock().unwrap().take();
        if let Some(between) = between {
            let events = between.pass().await?;
            self.came_between.lock().unwrap().push(events);
        }
        let mut left = self.left.lock().unwrap();
        let taken = events_max.min(*left);
        *left -= taken;
        Ok(Noticed {
            events: u64::from(taken),
            next: (*left > 0).then_some(UnixMs(1)),
        })
    }

    async fn has_reminders(&self, _: u64) -> Result<bool, SalesError> {
        panic!("nobody is to be reminded");
    }

    async fn remind(&self, _: u64, _: Reminded, _: u32) -> Result<Noticed<Reminded>, SalesError> {
        panic!("nobody is to be reminded");
    }

    async fn still_is(&self, _: Notice) -> Result<bool, SalesError> {
        panic!("nobody delivers");
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

fn noticer(sales: &Arc<Holds>, leases: &Arc<dyn RoomRegistry>, holder: u64) -> Noticer {
    Noticer {
        sales: Arc::clone(sales) as _,
        leases: Arc::clone(leases),
        holder,
        pay_before_ms: 1,
        remind_before_ms: 0,
    }
}

#[tokio::test]
async fn of_two_nodes_one_gives_notice_and_the_other_may_go_on() {
    let (leases, _dir) = leases().await;
    let holds = Arc::new(Holds::default());
    *holds.left.lock().unwrap() = 3 * EVENTS_PER_STEP;
    *holds.between.lock().unwrap() = Some(noticer(&holds, &leases, 2));
    let one = noticer(&holds, &leases, 1);
    assert_eq!(one.pass().await, Ok(u64::from(3 * EVENTS_PER_STEP)));
    assert_eq!(*holds.came_between.lock().unwrap(), [0]);
    *holds.left.lock().unwrap() = 1;
    assert_eq!(noticer(&holds, &leases, 2).pass().await, Ok(1));
}

#[tokio::test]
async fn a_pass_ends_and_the_next_one_goes_on() {
    let (leases, _dir) = leases().await;
    let holds = Arc::new(Holds::default());
    *holds.left.lock().unwrap() = STEPS_MAX * EVENTS_PER_STEP + 1;
    let one = noticer(&holds, &leases, 1);
    let most = u64::from(STEPS_MAX * EVENTS_PER_STEP);
    assert_eq!(one.pass().await, Ok(most));
    assert_eq!(one.pass().await, Ok(1));
    assert_eq!(one.pass().await, Ok(0));
}
