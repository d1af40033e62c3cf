//! A small sale to try promises on: commands with short names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::Subject;
use crate::bus::OutboxEvent;
use crate::domain::ids::{
    ActivationId, IdempotencyKey, PlaceKey, ResourceId, RoomId, RoomRef, UserId,
};
use crate::domain::place::EndReason;
use crate::domain::policy::{Protects, RoomPolicy};
use crate::domain::sale::catalog::{
    NewConcert, NewPerformance, Performance, Seat, SeatRow, SeatState, Section,
};
use crate::domain::sale::command::{BestAvailable, SeatChoice};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::intent::IntentState;
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::outbox::partition_of;
use crate::store::rooms::{EndCondition, NewActivation, NewRoom};
use crate::store::sales::{
    BeginPayment, BeginTopUp, CancelReservation, Cancelled, Deposit, Held, HoldSeats, Once, Paid,
    PayReservation, RefundPayment, SalesError, SalesStore, Settle, Settled,
};

pub const PRICE_MINOR: i64 = 100;
pub const HOLD_TTL_MS: u64 = 60_000;
pub const HOLD_TOTAL_MAX_MS: u64 = 100_000;
pub const LIMIT: u32 = 4;
/// Of the first intent of a hold.
pub const EXTEND_MS: u64 = 20_000;
pub const LOOK_AFTER_MS: u64 = 5_000;
pub const PROVIDER: &str = "stub";

pub struct Sale {
    subject: Arc<dyn Subject>,
    next: AtomicU64,
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

pub fn ids(texts: &[&str]) -> Vec<ResourceId> {
    texts.iter().map(|text| id(text)).collect()
}

pub fn money(amount_minor: i64) -> Money {
    money_of("KRW", amount_minor)
}

pub fn money_of(code: &str, amount_minor: i64) -> Money {
    Money::new(Currency::parse(code).unwrap(), amount_minor)
}

pub fn best(count: u32) -> BestAvailable {
    BestAvailable {
        count,
        section: None,
        max_price: None,
        adjacent: false,
    }
}

pub fn section(name: &str, price_minor: i64, rows: &[u32]) -> Section {
    let rows = rows.iter().zip('A'..).map(|(seat_count, name)| SeatRow {
        name: name.to_string(),
        seat_count: *seat_count,
    });
    Section {
        name: name.to_owned(),
        price: money(price_minor),
        rows: rows.collect(),
    }
}

impl Sale {
    pub fn new(subject: Arc<dyn Subject>) -> Self {
        Self {
            subject,
            next: AtomicU64::new(1),
        }
    }

    pub fn store(&self) -> Arc<dyn SalesStore> {
        self.subject.store()
    }

    pub async fn advance_ms(&self, step_ms: u64) {
        self.subject.advance_ms(step_ms).await;
    }

    pub async fn now(&self) -> UnixMs {
        self.store().now().await.unwrap()
    }

    /// A name that was not given before.
    pub fn fresh(&self) -> String {
        format!("n{}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    pub fn once(&self, user_name: &str) -> Once {
        Self::once_as(user_name, &self.fresh())
    }

    pub fn once_as(user_name: &str, key: &str) -> Once {
        Once {
            user: user(user_name),
            key: IdempotencyKey::parse(key).unwrap(),
            trace: None,
        }
    }

    pub async fn concert(&self) -> ResourceId {
        let concert = NewConcert {
            name: "Evening".to_owned(),
            description: String::new(),
            venue: String::new(),
        };
        let store = self.store();
        let id = id(&self.fresh());
        let made = store.create_concert(self.once("admin"), id, concert).await;
        made.unwrap().id
    }

    /// On sale now: one section of two rows with five seats each.
    pub async fn terms(&self, concert: ResourceId) -> NewPerformance {
        let now = self.now().await;
        NewPerformance {
            concert,
            starts_at: now.plus_ms(3_600_000),
            sale_opens_at: now,
            sale_closes_at: None,
            sections: vec![section("Stalls", PRICE_MINOR, &[5, 5])],
            hold_ttl_ms: HOLD_TTL_MS,
            hold_total_max_ms: HOLD_TOTAL_MAX_MS,
            seats_per_user_max: LIMIT,
        }
    }

    pub async fn performance(&self) -> ResourceId {
        self.performance_with(|_| {}).await.id
    }

    pub async fn performance_with(&self, change: impl FnOnce(&mut NewPerformance)) -> Performance {
        let mut terms = self.terms(self.concert().await).await;
        change(&mut terms);
        let id = id(&self.fresh());
        let store = self.store();
        let made = store.create_performance(self.once("admin"), id, terms);
        made.await.unwrap()
    }

    pub fn holding(&self, who: &str, performance: &ResourceId, choice: SeatChoice) -> HoldSeats {
        HoldSeats {
            once: self.once(who),
            id: id(&self.fresh()),
            performance: performance.clone(),
            choice,
            activation: None,
        }
    }

    pub async fn hold(
        &self,
        who: &str,
        performance: &ResourceId,
        seats: &[&str],
    ) -> Result<Reservation, SalesError> {
        let command = self.holding(who, performance, SeatChoice::Named(ids(seats)));
        self.run_hold(command).await
    }

    pub async fn hold_best(
        &self,
        who: &str,
        performance: &ResourceId,
        wish: BestAvailable,
    ) -> Result<Reservation, SalesError> {
        let command = self.holding(who, performance, SeatChoice::BestAvailable(wish));
        self.run_hold(command).await
    }

    pub async fn run_hold(&self, command: HoldSeats) -> Result<Reservation, SalesError> {
        let held: Result<Held, SalesError> = self.store().hold_seats(command).await;
        held.map(|held| held.reservation)
    }

    pub fn paying(&self, who: &str, reservation: &ResourceId) -> PayReservation {
        PayReservation {
            once: self.once(who),
            id: id(&self.fresh()),
            reservation: reservation.clone(),
            coupon: None,
        }
    }

    pub async fn pay(&self, who: &str, reservation: &ResourceId) -> Result<Paid, SalesError> {
        let command = self.paying(who, reservation);
        self.store().pay_reservation(command).await
    }

    /// No seats: all.
    pub fn cancelling(
        &self,
        who: &str,
        reservation: &ResourceId,
        seats: &[&str],
    ) -> CancelReservation {
        CancelReservation {
            once: self.once(who),
            reservation: reservation.clone(),
            seats: ids(seats),
        }
    }

    pub async fn cancel_some(
        &self,
        who: &str,
        reservation: &ResourceId,
        seats: &[&str],
    ) -> Result<Cancelled, SalesError> {
        let command = self.cancelling(who, reservation, seats);
        self.store().cancel_reservation(command).await
    }

    pub async fn cancel(
        &self,
        who: &str,
        reservation: &ResourceId,
    ) -> Result<Cancelled, SalesError> {
        self.store()
            .cancel_reservation(self.cancelling(who, reservation, &[]))
            .await
    }

    pub fn deposit(&self, who: &str, amount: Money) -> Deposit {
        Deposit {
            once: self.once(who),
            id: id(&self.fresh()),
            wallet: user(who),
            amount,
            amount_max_minor: 1_000_000,
            balance_max_minor: 2_000_000,
            reason: String::new(),
        }
    }

    pub async fn top_up(&self, who: &str, amount_minor: i64) -> WalletEntry {
        let deposit = self.deposit(who, money(amount_minor));
        self.store().top_up(deposit).await.unwrap()
    }

    pub fn refunding(&self, payment: &ResourceId, amount: Option<Money>) -> RefundPayment {
        RefundPayment {
            once: self.once("admin"),
            payment: payment.clone(),
            amount,
            reason: "goodwill".to_owned(),
        }
    }

    pub fn beginning(&self, who: &str, reservation: &ResourceId) -> BeginPayment {
        BeginPayment {
            once: self.once(who),
            id: id(&self.fresh()),
            reservation: reservation.clone(),
            coupon: None,
            provider: PROVIDER.to_owned(),
            token: "tok".to_owned(),
            extend_ms: EXTEND_MS,
            look_after_ms: LOOK_AFTER_MS,
        }
    }

    /// A payment through a provider; answers its intent.
    pub async fn begin(
        &self,
        who: &str,
        reservation: &ResourceId,
    ) -> Result<ResourceId, SalesError> {
        let command = self.beginning(who, reservation);
        let begun = self.store().begin_payment(command).await;
        begun.map(|begun| begun.intent.id)
    }

    pub async fn begin_top_up(
        &self,
        who: &str,
        amount_minor: i64,
    ) -> Result<ResourceId, SalesError> {
        let command = BeginTopUp {
            deposit: self.deposit(who, money(amount_minor)),
            provider: PROVIDER.to_owned(),
            token: "tok".to_owned(),
            open_ms: EXTEND_MS,
            look_after_ms: LOOK_AFTER_MS,
        };
        let begun = self.store().begin_top_up(command).await;
        begun.map(|begun| begun.intent.id)
    }

    pub fn settling(&self, intent: &ResourceId, outcome: IntentState) -> Settle {
        Settle {
            intent: intent.clone(),
            outcome,
            provider_id: Some(format!("pi-{intent}")),
            taken: None,
            event: None,
            balance_max_minor: 2_000_000,
        }
    }

    pub async fn settle(&self, intent: &ResourceId, outcome: IntentState) -> Settled {
        let settled = self.store().settle(self.settling(intent, outcome)).await;
        settled.unwrap()
    }

    pub async fn balance(&self, who: &str) -> i64 {
        let currency = money(0).currency;
        let balance = self.store().balance(user(who), currency).await;
        balance.unwrap().amount_minor
    }

    pub async fn seat(&self, performance: &ResourceId, seat: &str) -> Seat {
        let map = self.store().seat_map(performance.clone(), None).await;
        let seats = map.unwrap().seats;
        seats.into_iter().find(|s| s.id.as_str() == seat).unwrap()
    }

    pub async fn state(&self, performance: &ResourceId, seat: &str) -> SeatState {
        self.seat(performance, seat).await.state
    }

    /// A room that protects the performance.
    pub async fn protect(&self, performance: &ResourceId) -> RoomRef {
        self.protect_all(Protects {
            performances: vec![performance.clone()],
            ..Protects::default()
        })
        .await
    }

    pub async fn protect_all(&self, protects: Protects) -> RoomRef {
        let room = NewRoom {
            id: RoomId::parse(&self.fresh()).unwrap(),
            display_name: "Room".to_owned(),
            policy: RoomPolicy {
                protects,
                ..RoomPolicy::default()
            },
            draw_secret: [0; 32],
            asked: None,
        };
        let made = self.store().create_room(room).await.unwrap();
        RoomRef {
            id: made.id,
            epoch: made.epoch,
        }
    }

    /// ACTIVATED with a claim window, else ACTIVE at once.
    pub async fn activate(
        &self,
        room: &RoomRef,
        who: &str,
        claim_window_ms: u64,
        pass_ttl_ms: u64,
    ) -> ActivationId {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let place = NewActivation {
            id: ActivationId(Uuid::from_u128(u128::from(number))),
            place: PlaceKey { lane: 0, number },
            user: user(who),
        };
        let store = self.store();
        let rows = store.insert_activations(room, vec![place], claim_window_ms, pass_ttl_ms);
        rows.await.unwrap()[0].id
    }

    pub async fn end(&self, pass: ActivationId, reason: EndReason) {
        let store = self.store();
        let ended = store.end_activation(pass, EndCondition::Always(reason));
        ended.await.unwrap();
    }

    pub async fn hold_with(
        &self,
        who: &str,
        performance: &ResourceId,
        seats: &[&str],
        pass: ActivationId,
    ) -> Result<Reservation, SalesError> {
        let command = HoldSeats {
            activation: Some(pass),
            ..self.holding(who, performance, SeatChoice::Named(ids(seats)))
        };
        self.run_hold(command).await
    }

    /// What was told of a reservation, in order.
    pub async fn told(&self, reservation: &ResourceId) -> Vec<OutboxEvent> {
        self.told_of(&format!("reservation:{reservation}")).await
    }

    pub async fn told_of(&self, aggregate: &str) -> Vec<OutboxEvent> {
        let (outbox, partition) = (self.subject.outbox(), partition_of(aggregate));
        let events = outbox.claim_batch(partition, 1, 5_000, 10_000).await;
        let mut events = events.unwrap();
        events.retain(|event| event.aggregate == aggregate);
        events
    }

    /// As [`Sale::told`], the types.
    pub async fn kinds_told(&self, reservation: &ResourceId) -> Vec<String> {
        let told = self.told(reservation).await.into_iter();
        told.map(|event| event.kind).collect()
    }

    pub async fn sweep_all(&self) {
        while self.store().sweep(100).await.unwrap().more {}
    }

    pub async fn assert_clean_audit(&self, after: &str) {
        let report = self.store().audit().await.unwrap();
        let broken = report.broken();
        assert!(
            broken.is_empty(),
            "after {after}: {broken:?} in {report:#?}"
        );
    }
}
