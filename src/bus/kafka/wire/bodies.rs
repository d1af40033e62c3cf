//! Bodies by the type of their event.

use serde_json::{Map, Value, json};

use crate::domain::place::EndReason as Reason;
use crate::domain::time::UnixMs;
use crate::proto::events::{
    ActivationEvent, Body, CouponEvent, EndReason, Money, OperatorTurn, PaymentEvent,
    PerformanceEvent, PlaceLeft, ReservationEvent, RoomEvent, SeatsEvent, SlotFreed, TicketEvent,
    TicketSerial,
};

use super::{time, unix_ms};

/// The body of a known type, and whether it says all that the payload does.
pub fn encode(kind: &str, payload: &str) -> Option<(Body, bool)> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    let body = body(kind, &Fields(payload.as_object()?))?;
    let is_whole = decode(body.clone()) == payload;
    Some((body, is_whole))
}

/// A payload's members; one that is not as it should be reads as empty.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn read<T>(&self, name: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        read(self.0.get(name)?)
    }

    fn text(&self, name: &str) -> String {
        self.read(name, |value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        self.read(name, Value::as_u64).unwrap_or_default()
    }

    fn lane(&self, name: &str) -> u32 {
        let read = |value: &Value| value.as_u64().and_then(|lane| lane.try_into().ok());
        self.read(name, read).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let read = |value: &Value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        self.read(name, read).unwrap_or_default()
    }

    fn money(&self, name: &str) -> Option<Money> {
        self.read(name, |value| {
            Some(Money {
                currency_code: value.get("currency")?.as_str()?.to_owned(),
                amount_minor: value.get("amount_minor")?.as_i64()?,
            })
        })
    }

    fn moment(&self, name: &str) -> Option<prost_types::Timestamp> {
        self.read(name, |value| value.as_u64().map(|ms| time(UnixMs(ms))))
    }

    fn reason(&self, name: &str) -> i32 {
        let read = |value: &Value| Reason::from_name(value.as_str()?).and_then(told);
        self.read(name, read).unwrap_or_default().into()
    }

    /// Lane and number.
    fn place(&self, name: &str) -> (u32, u64) {
        let read = |value: &Value| {
            let lane = u32::try_from(value.get("lane")?.as_u64()?).ok()?;
            Some((lane, value.get("number")?.as_u64()?))
        };
        self.read(name, read).unwrap_or_default()
    }

    fn tickets(&self, name: &str) -> Vec<TicketSerial> {
        let one = |value: &Value| {
            Some(TicketSerial {
                seat_id: value.get("seat_id")?.as_str()?.to_owned(),
                serial: value.get("serial")?.as_u64()?,
            })
        };
        let read = |value: &Value| value.as_array()?.iter().map(one).collect();
        self.read(name, read).unwrap_or_default()
    }
}

fn body(kind: &str, of: &Fields<'_>) -> Option<Body> {
    let (about, _) = kind.split_once('.')?;
    Some(match (about, kind) {
        ("reservation", _) => Body::Reservation(ReservationEvent {
            reservation_id: of.text("reservation_id"),
            performance_id: of.text("performance_id"),
            user_id: of.text("user_id"),
            seat_ids: of.texts("seat_ids"),
            total: of.money("total"),
            payment_id: of.text("payment_id"),
            hold_expire_time: of.moment("hold_expires_at"),
            performance_start_time: of.moment("starts_at"),
        }),
        ("payment", _) => Body::Payment(PaymentEvent {
            payment_id: of.text("payment_id"),
            reservation_id: of.text("reservation_id"),
            user_id: of.text("user_id"),
            amount: of.money("amount"),
            reason: of.text("reason"),
            performance_id: of.text("performance_id"),
        }),
        ("ticket", _) => Body::Ticket(TicketEvent {
            reservation_id: of.text("reservation_id"),
            performance_id: of.text("performance_id"),
            user_id: of.text("user_id"),
            tickets: of.tickets("tickets"),
        }),
        ("seats", _) => Body::Seats(SeatsEvent {
            performance_id: of.text("performance_id"),
            seat_ids: of.texts("seat_ids"),
            reason: of.text("reason"),
        }),
        ("performance", _) => Body::Performance(PerformanceEvent {
            performance_id: of.text("performance_id"),
            concert_id: of.text("concert_id"),
            reason: of.text("reason"),
        }),
        ("room", _) => Body::Room(RoomEvent {
            room_id: of.text("room_id"),
            message: of.text("message"),
        }),
        ("activation", _) => Body::Activation(ActivationEvent {
            activation_id: of.text("activation_id"),
            room_id: of.text("room_id"),
            lane: of.lane("lane"),
            number: of.number("number"),
            user_id: of.text("user_id"),
            reason: of.reason("reason"),
        }),
        ("coupon", _) => Body::Coupon(CouponEvent {
            coupon_id: of.text("coupon_id"),
            campaign_id: of.text("campaign_id"),
            user_id: of.text("user_id"),
            reservation_id: of.text("reservation_id"),
            discount: of.money("discount"),
        }),
        (_, "slot.freed") => Body::SlotFreed(SlotFreed {
            activation_id: of.text("activation_id"),
            room_id: of.text("room_id"),
            reason: of.reason("reason"),
        }),
        (_, "place.granted" | "place.revoked") => Body::OperatorTurn(OperatorTurn {
            activation_id: of.text("activation_id"),
            room_id: of.text("room_id"),
            lane: of.lane("lane"),
            number: of.number("number"),
            user_id: of.text("user_id"),
            reason: of.text("reason"),
            operator_id: of.text("by"),
        }),
        (_, "place.left") => {
            let (lane, number) = of.place("place");
            Body::PlaceLeft(PlaceLeft {
                room_id: of.text("room_id"),
                lane,
                number,
                user_id: of.text("user_id"),
            })
        }
        _ => return None,
    })
}

/// The payload that a body was made of: of a body that says all of it.
pub fn decode(body: Body) -> Value {
    match body {
        Body::Reservation(of) => {
            let mut payload = json!({
                "reservation_id": of.reservation_id,
                "performance_id": of.performance_id,
                "user_id": of.user_id,
                "seat_ids": of.seat_ids,
                "total": money(of.total),
                "payment_id": or_null(of.payment_id),
            });
            if let Some(time) = of.hold_expire_time {
                payload["hold_expires_at"] = unix_ms(time).0.into();
            }
            if let Some(time) = of.performance_start_time {
                payload["starts_at"] = unix_ms(time).0.into();
            }
            payload
        }
        Body::Payment(of) => {
            let mut payload = json!({
                "payment_id": of.payment_id,
                "reservation_id": of.reservation_id,
                "user_id": of.user_id,
                "amount": money(of.amount),
            });
            for (name, text) in [("reason", of.reason), ("performance_id", of.performance_id)] {
                if !text.is_empty() {
                    payload[name] = text.into();
                }
            }
            payload
        }
        Body::Ticket(of) => {
            let tickets = of.tickets.into_iter();
            let tickets: Vec<Value> = tickets
                .map(|ticket| json!({ "seat_id": ticket.seat_id, "serial": ticket.serial }))
                .collect();
            json!({
                "reservation_id": of.reservation_id,
                "performance_id": of.performance_id,
                "user_id": of.user_id,
                "tickets": tickets,
            })
        }
        Body::Seats(of) => json!({
            "performance_id": of.performance_id,
            "seat_ids": of.seat_ids,
            "reason": of.reason,
        }),
        Body::Performance(of) => json!({
            "performance_id": of.performance_id,
            "concert_id": of.concert_id,
            "reason": of.reason,
        }),
        Body::Room(of) => json!({ "room_id": of.room_id, "message": of.message }),
        Body::Activation(of) => json!({
            "activation_id": of.activation_id,
            "room_id": of.room_id,
            "lane": of.lane,
            "number": of.number,
            "user_id": of.user_id,
            "reason": reason(of.reason),
        }),
        Body::Coupon(of) => {
            let mut payload = json!({
                "coupon_id": of.coupon_id,
                "campaign_id": of.campaign_id,
                "user_id": of.user_id,
            });
            if !of.reservation_id.is_empty() {
                payload["reservation_id"] = of.reservation_id.into();
            }
            if of.discount.is_some() {
                payload["discount"] = money(of.discount);
            }
            payload
        }
        Body::SlotFreed(of) => json!({
            "activation_id": of.activation_id,
            "room_id": of.room_id,
            "reason": reason(of.reason),
        }),
        Body::OperatorTurn(of) => json!({
            "activation_id": of.activation_id,
            "room_id": of.room_id,
            "lane": of.lane,
            "number": of.number,
            "user_id": of.user_id,
            "reason": of.reason,
            "by": of.operator_id,
        }),
        Body::PlaceLeft(of) => json!({
            "room_id": of.room_id,
            "place": { "lane": of.lane, "number": of.number },
            "user_id": of.user_id,
        }),
    }
}

fn or_null(text: String) -> Value {
    match text.is_empty() {
        true => Value::Null,
        false => Value::String(text),
    }
}

fn money(amount: Option<Money>) -> Value {
    amount.map_or(
        Value::Null,
        |amount| json!({ "currency": amount.currency_code, "amount_minor": amount.amount_minor }),
    )
}

/// As the contract names it; a merged place has no name in it.
fn told(reason: Reason) -> Option<EndReason> {
    Some(match reason {
        Reason::Unclaimed => EndReason::Unclaimed,
        Reason::Absent => EndReason::Absent,
        Reason::PassExpired => EndReason::PassExpired,
        Reason::Left => EndReason::Left,
        Reason::Revoked => EndReason::Revoked,
        Reason::Completed => EndReason::Completed,
        Reason::RoomClosed => EndReason::RoomClosed,
        Reason::Merged => return None,
    })
}

fn reason(number: i32) -> Value {
    let reason = match EndReason::try_from(number).unwrap_or_default() {
        EndReason::Unspecified => return Value::Null,
        EndReason::Unclaimed => Reason::Unclaimed,
        EndReason::Absent => Reason::Absent,
        EndReason::PassExpired => Reason::PassExpired,
        EndReason::Left => Reason::Left,
        EndReason::Revoked => Reason::Revoked,
        EndReason::Completed => Reason::Completed,
        EndReason::RoomClosed => Reason::RoomClosed,
    };
    reason.as_str().into()
}
