//! A question that failed is repeated, and one that was never asked is.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::bus::local::LocalBus;
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{Cursor, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::time::UnixMs;
use crate::engine::cadence::Cadence;
use crate::engine::sale::SoldOutRooms;
use crate::engine::ticker::{Engine, EngineParts, EngineSettings, OpenStreams, Readers};
use crate::entropy::SeededEntropy;
use crate::store::memory::MemoryQueue;
use crate::store::outbox::Outbox;
use crate::store::queue::QueueStore;
use crate::store::sales::conformance::{Sale, Subject};
use crate::store::sales::{BlockSeats, Catalog, SalesError, SalesStore};
use crate::store::sql::SqlStore;
use crate::store::sql::query::execute;
use crate::truth::failpoint::Failpoints;

/// Nobody follows, and nobody is there.
struct Nobody;

#[async_trait]
impl Readers for Nobody {
    fn note_cursor(&self, _: &RoomId, _: Cursor) {}

    async fn follow(&self, _: RoomRef) {}
}

impl OpenStreams for Nobody {
    fn places(&self, _: &RoomId) -> Vec<(PlaceKey, UserId)> {
        Vec::new()
    }
}

struct Sold {
    engine: Arc<Engine>,
    queue: Arc<MemoryQueue>,
    store: Arc<SqlStore>,
    room: RoomId,
    _dir: TempDir,
}

struct Database(Arc<SqlStore>, Arc<ManualClock>);

#[async_trait]
impl Subject for Database {
    fn store(&self) -> Arc<dyn SalesStore> {
        self.0.clone()
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        self.0.clone()
    }

    async fn advance_ms(&self, step_ms: u64) {
        self.1.advance_ms(step_ms);
    }
}

impl Sold {
    /// Everything that the room protects is off sale by now, and nobody has
    /// told the room.
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manual = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let clock: Arc<dyn Clock> = manual.clone();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = SqlStore::connect(&url, Arc::clone(&clock)).await.unwrap();
        store.migrate_up().await.unwrap();
        let store = Arc::new(store);
        let sale = Sale::new(Arc::new(Database(Arc::clone(&store), manual)));
        let performance = sale.performance().await;
        let room = sale.protect(&performance).await.id;
        let queue = Arc::new(MemoryQueue::new(
            Arc::clone(&clock),
            Arc::new(LocalBus::default()),
        ));
        let engine = Engine::new(EngineParts {
            queue: queue.clone(),
            registry: store.clone(),
            bus: Arc::new(LocalBus::new(64)),
            readers: Arc::new(Nobody),
            open_streams: Arc::new(Nobody),
            clock,
            entropy: Arc::new(SeededEntropy::new(1)),
            failpoints: Arc::new(Failpoints::default()),
            tasks: TaskTracker::new(),
            settings: EngineSettings {
                incarnation: Incarnation(1),
                rebuild_pause_ms: 0,
                poll_after_ms: 1_000,
                is_shared: false,
                cadence: Cadence::ALONE,
            },
        });
        engine.start().await.unwrap();
        let map = store.seat_map(performance.clone(), None).await.unwrap();
        let block = BlockSeats {
            performance,
            seats: map.seats.into_iter().map(|seat| seat.id).collect(),
            blocked: true,
            reason: "rain".to_owned(),
        };
        store.block_seats(block).await.unwrap();
        Self {
            engine,
            queue,
            store,
            room,
            _dir: dir,
        }
    }

    async fn run(&self, sql: &'static str) {
        let ran = self.store.write(sql, |tx, sql| {
            async move {
                execute(tx, sql, []).await?;
                Ok::<_, SalesError>(())
            }
            .boxed()
        });
        ran.await.unwrap();
    }

    /// What the row says and what the line was told.
    async fn says(&self) -> (bool, bool) {
        let room = self.engine.rooms().get(&self.room).unwrap();
        let snapshot = self.queue.snapshot(&room.room_ref()).await.unwrap();
        let row = room.record().switches.sold_out;
        (row, snapshot.facts.switches.sold_out)
    }
}

#[tokio::test]
async fn a_recheck_that_failed_is_repeated_until_it_succeeds() {
    let sold = Sold::open().await;
    sold.run("ALTER TABLE seats RENAME TO lost").await;
    sold.engine.recheck(&sold.room).await;
    sold.engine.repeat_sold_out_checks().await;
    assert_eq!(sold.says().await, (false, false));
    sold.run("ALTER TABLE lost RENAME TO seats").await;
    sold.engine.repeat_sold_out_checks().await;
    assert_eq!(sold.says().await, (true, true));
}

#[tokio::test]
async fn a_room_that_nobody_asked_about_is_asked_about_now_and_then() {
    let sold = Sold::open().await;
    sold.engine.repeat_sold_out_checks().await;
    assert_eq!(sold.says().await, (false, false), "nothing has failed");
    sold.engine.check_all_sold_out().await;
    assert_eq!(sold.says().await, (true, true));
}
