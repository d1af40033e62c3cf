//! What a receiver is told, and what becomes of what it does not take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::time::UnixMs;
use crate::engine::consumers::PostError;
use crate::store::sql::SqlStore;

fn event(id: &str, reservation: &str, kind: &str) -> OutboxEvent {
    OutboxEvent {
        id: id.to_owned(),
        aggregate: format!("reservation:{reservation}"),
        version: 1,
        kind: kind.to_owned(),
        payload: json!({ "reservation_id": reservation, "user_id": "alice" }).to_string(),
        created_at: UnixMs(7),
        route: None,
        trace: None,
    }
}

/// Notes ids and bodies; answers some as told.
#[derive(Default)]
struct Told {
    took: Mutex<Vec<(String, Value)>>,
    errors: Mutex<BTreeMap<String, PostError>>,
}

impl Told {
    fn fails(&self, id: &str, error: PostError) {
        self.errors.lock().unwrap().insert(id.to_owned(), error);
    }

    fn took(&self) -> Vec<String> {
        let took = self.took.lock().unwrap();
        took.iter().map(|(id, _)| id.clone()).collect()
    }
}

#[async_trait]
impl Post for Told {
    async fn post(&self, id: &str, body: String) -> Result<(), PostError> {
        if let Some(error) = self.errors.lock().unwrap().get(id) {
            return Err(error.clone());
        }
        let body = serde_json::from_str(&body).unwrap();
        self.took.lock().unwrap().push((id.to_owned(), body));
        Ok(())
    }
}

async fn notifier() -> (Notifier, Arc<Told>, Arc<SqlStore>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let store = Arc::new(SqlStore::connect(&url, clock).await.unwrap());
    store.migrate_up().await.unwrap();
    let receiver = Arc::new(Told::default());
    let notifier = Notifier::new(
        Arc::clone(&receiver) as _,
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
        4,
    );
    (notifier, receiver, store, dir)
}

#[tokio::test]
async fn a_user_is_told_once_what_happened() {
    let (notifier, receiver, _store, _dir) = notifier().await;
    let events = [
        event("1", "r", "reservation.confirmed"),
        event("2", "r", "payment.refunded"),
        event("1", "r", "reservation.confirmed"),
    ];
    assert_eq!(notifier.consume(&events, Coming::Fresh).await, Ok(2));
    assert_eq!(notifier.consume(&events, Coming::Fresh).await, Ok(0));
    assert_eq!(receiver.took(), ["1", "2"]);
    let took = receiver.took.lock().unwrap();
    let paid = json!({
        "id": "1", "type": "paid", "create_time_ms": 7,
        "reservation_id": "r", "user_id": "alice",
    });
    assert_eq!(took[0].1, paid);
    assert_eq!(took[1].1["type"], "refunded");
    assert!(notifier.wants("reservation.cancelled") && !notifier.wants("slot.freed"));
}

#[tokio::test]
async fn what_fails_holds_back_its_reservation_and_others_are_told() {
    let (notifier, receiver, _store, _dir) = notifier().await;
    receiver.fails("1", PostError::Refused("410".to_owned()));
    receiver.fails("4", PostError::Away("no answer".to_owned()));
    let events = [
        event("1", "first", "reservation.confirmed"),
        event("2", "first", "reservation.cancelled"),
        event("3", "second", "reservation.confirmed"),
        event("4", "third", "reservation.confirmed"),
    ];
    let refused = ConsumeError::Refused {
        id: "1".to_owned(),
        why: "410".to_owned(),
    };
    assert_eq!(notifier.consume(&events, Coming::Fresh).await, Err(refused));
    assert_eq!(receiver.took(), ["3"]);
    let away = ConsumeError::Unavailable("no answer".to_owned());
    assert_eq!(
        notifier.consume(&events[3..], Coming::Fresh).await,
        Err(away)
    );
}

#[tokio::test]
async fn a_parked_notification_goes_out_when_it_is_redriven() {
    let (notifier, receiver, store, _dir) = notifier().await;
    let events = [event("1", "r", "reservation.confirmed")];
    store.park(NOTIFIER, &events[0], "410").await.unwrap();
    assert_eq!(notifier.consume(&events, Coming::Fresh).await, Ok(0));
    assert_eq!(notifier.consume(&events, Coming::Redriven).await, Ok(1));
    assert_eq!(notifier.consume(&events, Coming::Redriven).await, Ok(0));
    assert_eq!(receiver.took(), ["1"]);
    assert_eq!(store.count_dead_letters().await, Ok(0));
    let none: BTreeSet<String> = BTreeSet::new();
    let open = store.unconsumed(NOTIFIER, &events, Coming::Fresh).await;
    assert_eq!(open, Ok(none));
}

#[tokio::test]
async fn what_is_no_longer_so_is_not_told() {
    let (notifier, receiver, _store, _dir) = notifier().await;
    let reminder = OutboxEvent {
        payload: json!({ "reservation_id": "r", "user_id": "alice", "starts_at": 9 }).to_string(),
        ..event("2", "r", REMINDER)
    };
    let events = [
        event("1", "r", PAY_SOON),
        reminder,
        event("3", "r", "reservation.confirmed"),
    ];
    // There is no such reservation any more.
    assert_eq!(notifier.consume(&events, Coming::Fresh).await, Ok(3));
    assert_eq!(receiver.took(), ["3"]);
    let dateless = [event("4", "r", REMINDER)];
    let dateless = notifier.consume(&dateless, Coming::Fresh).await;
    assert!(matches!(dateless, Err(ConsumeError::Refused { id, .. }) if id == "4"));
}
