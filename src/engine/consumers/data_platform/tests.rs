//! What a platform is told of an event.

use super::*;
use crate::domain::time::UnixMs;

fn event(payload: &str) -> OutboxEvent {
    OutboxEvent {
        id: "4711".to_owned(),
        aggregate: "reservation:r".to_owned(),
        version: 3,
        kind: "payment.refunded".to_owned(),
        payload: payload.to_owned(),
        created_at: UnixMs(1_700_000_000_123),
        route: None,
        trace: None,
    }
}

#[test]
fn an_event_is_told_as_a_cloud_event() {
    let payload = json!({ "payment_id": "p", "amount": { "currency": "EUR", "amount_minor": 5 } });
    let told = cloud_event(&event(&payload.to_string()), "/eu/usher").unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let expected = json!({
        "specversion": "1.0",
        "id": "4711",
        "source": "/eu/usher",
        "type": "usher.payment.refunded",
        "subject": "reservation:r",
        "time": "2023-11-14T22:13:20.123Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000003",
        "data": payload,
    });
    assert_eq!(told, expected);
}

#[test]
fn what_is_no_object_is_refused() {
    assert!(cloud_event(&event("[1]"), "/usher").is_err());
    assert!(cloud_event(&event("no"), "/usher").is_err());
}
