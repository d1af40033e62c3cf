//! What others hear after a command.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{SaleEngine, SaleParts, SaleSettings, SoldOutRooms};
use crate::bus::local::LocalBus;
use crate::bus::{BusEvent, BusMessage, BusSubscription, EventBus};
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{
    ActivationId, IdempotencyKey, PlaceKey, ResourceId, RoomId, RoomRef, UserId,
};
use crate::domain::place::EndReason;
use crate::domain::policy::{Protects, RoomPolicy};
use crate::domain::sale::catalog::{NewConcert, NewPerformance, SeatRow, Section};
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::engine::error::EngineError;
use crate::engine::ticker::SlotReleaser;
use crate::entropy::SeededEntropy;
use crate::metrics::Metrics;
use crate::store::rooms::{NewActivation, NewRoom, RoomRegistry};
use crate::store::sales::{CancelReservation, Catalog, Once, SalesError};
use crate::store::sql::SqlStore;
use crate::truth::failpoint::{Action, Failpoints, Point};

mod charges;
mod coupons;
mod wind_up;

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq)]
enum Told {
    Freed(RoomId, ActivationId, EndReason),
    Recheck(RoomId),
}

struct Listener(mpsc::Sender<Told>);

#[async_trait]
impl SlotReleaser for Listener {
    async fn release(
        &self,
        room: &RoomId,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), EngineError> {
        let told = Told::Freed(room.clone(), id, reason);
        self.0.send(told).await.unwrap();
        Ok(())
    }
}

#[async_trait]
impl SoldOutRooms for Listener {
    async fn recheck(&self, room: &RoomId) {
        self.0.send(Told::Recheck(room.clone())).await.unwrap();
    }
}

struct TestSale {
    sale: SaleEngine,
    store: Arc<SqlStore>,
    clock: Arc<ManualClock>,
    failpoints: Arc<Failpoints>,
    tasks: TaskTracker,
    told: mpsc::Receiver<Told>,
    seats: Box<dyn BusSubscription>,
    keys: u32,
    _dir: TempDir,
}

fn euros(amount_minor: i64) -> Money {
    Money::new(Currency::parse("EUR").unwrap(), amount_minor)
}

impl TestSale {
    async fn open() -> Self {
        Self::open_with(None).await
    }

    async fn open_with(gateway: Option<super::Gateway>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(UnixMs(1_700_000_000_000)));
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let url = format!("sqlite://{}/usher.db", dir.path().display());
        let store = Arc::new(SqlStore::connect(&url, shared_clock).await.unwrap());
        store.migrate_up().await.unwrap();
        let (sender, told) = mpsc::channel(16);
        let listener = Arc::new(Listener(sender));
        let bus = Arc::new(LocalBus::new(64));
        let failpoints = Arc::new(Failpoints::default());
        let tasks = TaskTracker::new();
        let currency = euros(0).currency;
        let sale = SaleEngine::new(SaleParts {
            store: store.clone(),
            slots: listener.clone(),
            rooms: listener,
            bus: bus.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
            failpoints: failpoints.clone(),
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            gateway,
            settings: SaleSettings {
                default_currency: currency,
                currencies: vec![currency],
                top_up_minor_max: 10_000,
                balance_minor_max: 20_000,
            },
        });
        Self {
            sale,
            store,
            clock,
            failpoints,
            tasks,
            told,
            seats: bus.subscribe().await.unwrap(),
            keys: 0,
            _dir: dir,
        }
    }

    fn once(&mut self, user: &str) -> Once {
        self.keys += 1;
        Once {
            user: UserId::parse(user).unwrap(),
            key: IdempotencyKey::parse(&format!("k{}", self.keys)).unwrap(),
            trace: None,
        }
    }

    /// One seat, for 10 EUR.
    async fn performance(&mut self) -> ResourceId {
        let concert = NewConcert {
            name: "Evening".to_owned(),
            description: String::new(),
            venue: String::new(),
        };
        let once = self.once("admin");
        let concert = self.sale.create_concert(once, concert).await.unwrap();
        let now = self.clock.now();
        let performance = NewPerformance {
            concert: concert.id,
            starts_at: now.plus_ms(3_600_000),
            sale_opens_at: now,
            sale_closes_at: None,
            sections: vec![Section {
                name: "Box".to_owned(),
                price: euros(1_000),
                rows: vec![SeatRow {
                    name: "A".to_owned(),
                    seat_count: 1,
                }],
            }],
            hold_ttl_ms: 60_000,
            hold_total_max_ms: 60_000,
            seats_per_user_max: 2,
        };
        let once = self.once("admin");
        let made = self.sale.create_performance(once, performance).await;
        let id = made.unwrap().id;
        self.expect_seats_of(&id).await;
        id
    }

    /// A room that protects it, and an active pass of `ann`.
    async fn pass(&self, performance: &ResourceId) -> (RoomId, ActivationId) {
        let room = NewRoom {
            id: RoomId::parse("room").unwrap(),
            display_name: String::new(),
            policy: RoomPolicy {
                protects: Protects {
                    performances: vec![performance.clone()],
                    ..Protects::default()
                },
                ..RoomPolicy::default()
            },
            draw_secret: [0; 32],
            asked: None,
        };
        let room = self.store.create_room(room).await.unwrap();
        let place = NewActivation {
            id: ActivationId(Uuid::from_u128(1)),
            place: PlaceKey { lane: 0, number: 1 },
            user: UserId::parse("ann").unwrap(),
        };
        let room_ref = RoomRef {
            id: room.id.clone(),
            epoch: room.epoch,
        };
        let rows = self
            .store
            .insert_activations(&room_ref, vec![place], 0, 300_000)
            .await;
        (room.id, rows.unwrap()[0].id)
    }

    async fn hold(&mut self, performance: &ResourceId, pass: ActivationId) -> ResourceId {
        let once = self.once("ann");
        let seat = ResourceId::parse("s1-r1-1").unwrap();
        let choice = SeatChoice::Named(vec![seat]);
        let held = self
            .sale
            .hold_seats(once, performance.clone(), choice, Some(pass))
            .await;
        let id = held.unwrap().id;
        self.expect_seats_of(performance).await;
        id
    }

    async fn expect_seats_of(&mut self, expected: &ResourceId) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.seats.next()).await;
            match event.expect("a message in time") {
                Some(BusEvent::Message(BusMessage::Seats { performance })) => {
                    return assert_eq!(performance, *expected);
                }
                Some(BusEvent::Message(
                    BusMessage::CatalogChanged | BusMessage::SoldOutTurned { .. },
                )) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn heard(&mut self) -> Told {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("told in time").expect("a listener")
    }
}

#[tokio::test]
async fn a_payment_rechecks_the_room_and_then_frees_the_slot() {
    let mut test = TestSale::open().await;
    let performance = test.performance().await;
    let (room, pass) = test.pass(&performance).await;
    let held = test.hold(&performance, pass).await;
    let once = test.once("ann");
    test.sale.top_up(once, euros(1_000)).await.unwrap();
    let once = test.once("ann");
    test.sale
        .pay_reservation(once, held.clone(), None)
        .await
        .unwrap();
    test.expect_seats_of(&performance).await;
    let freed = Told::Freed(room.clone(), pass, EndReason::Completed);
    assert_eq!(test.heard().await, Told::Recheck(room.clone()));
    assert_eq!(test.heard().await, freed);

    let once = test.once("ann");
    let command = CancelReservation {
        once,
        reservation: held,
        seats: Vec::new(),
    };
    test.sale.cancel_reservation(command).await.unwrap();
    test.expect_seats_of(&performance).await;
    assert_eq!(test.heard().await, Told::Recheck(room));
}

#[tokio::test]
async fn a_repeat_after_a_crash_between_payment_and_release_frees_the_slot() {
    let mut test = TestSale::open().await;
    let performance = test.performance().await;
    let (room, pass) = test.pass(&performance).await;
    let held = test.hold(&performance, pass).await;
    let once = test.once("ann");
    test.sale.top_up(once, euros(1_000)).await.unwrap();
    test.failpoints
        .arm(Point::PaymentCommitted, Action::Error, 0);
    let once = test.once("ann");
    let lost = test
        .sale
        .pay_reservation(once.clone(), held.clone(), None)
        .await;
    assert!(matches!(lost, Err(SalesError::Unavailable(_))), "{lost:?}");
    test.sale.pay_reservation(once, held, None).await.unwrap();
    assert_eq!(test.heard().await, Told::Recheck(room.clone()));
    let freed = Told::Freed(room, pass, EndReason::Completed);
    assert_eq!(test.heard().await, freed);
    let wallet = UserId::parse("ann").unwrap();
    let balance = test.sale.store().balance(wallet, euros(0).currency).await;
    assert_eq!(balance, Ok(euros(0)));
}

#[tokio::test]
async fn the_sweep_says_which_seats_came_free() {
    let mut test = TestSale::open().await;
    let performance = test.performance().await;
    let (_, pass) = test.pass(&performance).await;
    test.hold(&performance, pass).await;
    assert_eq!(test.sale.sweep().await, Ok(0));
    test.clock.advance_ms(60_000);
    assert_eq!(test.sale.sweep().await, Ok(1));
    test.expect_seats_of(&performance).await;
    assert_eq!(test.sale.sweep().await, Ok(0));
}

#[tokio::test]
async fn a_payment_runs_to_its_end_without_its_caller() {
    let mut test = TestSale::open().await;
    let performance = test.performance().await;
    let (room, pass) = test.pass(&performance).await;
    let held = test.hold(&performance, pass).await;
    let once = test.once("ann");
    test.sale.top_up(once, euros(1_000)).await.unwrap();
    let once = test.once("ann");
    let sale = test.sale.clone();
    let mut call = Box::pin(sale.pay_reservation(once, held, None));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(test.heard().await, Told::Recheck(room.clone()));
    let freed = Told::Freed(room, pass, EndReason::Completed);
    assert_eq!(test.heard().await, freed);
}

#[tokio::test]
async fn wallets_take_only_the_currencies_served() {
    let mut test = TestSale::open().await;
    let yen = Money::new(Currency::parse("JPY").unwrap(), 5);
    let expected = euros(0).currency;
    let once = test.once("ann");
    let refused = test.sale.top_up(once, yen).await;
    assert_eq!(refused, Err(SalesError::CurrencyMismatch { expected }));
    let once = test.once("admin");
    let id = test.performance().await;
    let found = Catalog::performance(test.store.as_ref(), id).await;
    let mut terms = found.unwrap().terms;
    terms.sections[0].price = yen;
    let refused = test.sale.create_performance(once, terms).await;
    assert_eq!(refused, Err(SalesError::CurrencyMismatch { expected }));
    for code in ["JPY", "eur", "", "E'R"] {
        let refused = test.sale.wallet_currency(Some(code));
        assert!(matches!(refused, Err(SalesError::Field(_))), "{code}");
    }
    assert_eq!(test.sale.wallet_currency(None), Ok(expected));
    assert_eq!(test.sale.wallet_currency(Some("EUR")), Ok(expected));
    let once = test.once("ann");
    let too_much = test.sale.top_up(once, euros(10_001)).await;
    let max_minor = 10_000;
    assert_eq!(too_much, Err(SalesError::AmountOutOfRange { max_minor }));
    let once = test.once("admin");
    let user = UserId::parse("ann").unwrap();
    let silent = test.sale.credit(once, user, euros(1), " ".to_owned());
    assert!(matches!(silent.await, Err(SalesError::Field(_))));
}
