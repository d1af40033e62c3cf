//! From what a server said to what a history says.

use usher::domain::ids::{ActivationId, Cursor, PlaceKey, ResourceId};
use usher::domain::place::{EndReason, EndState};
use usher::proto::v1 as wire;
use usher::truth::history::{
    Amount, Message, PaymentSeen, PaymentState, PlaceSeen, PlaceState, ReservationSeen,
    ReservationState, RoomShown,
};
use wire::watch_response::Event;

pub fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("an id")
}

pub fn ms(time: prost_types::Timestamp) -> u64 {
    u64::try_from(time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)).expect("after 1970")
}

pub fn activation(text: &str) -> ActivationId {
    ActivationId(uuid::Uuid::parse_str(text).expect("a UUID"))
}

pub fn cursor(cursor: Option<wire::Cursor>) -> Cursor {
    let cursor = cursor.expect("a cursor");
    Cursor {
        epoch: cursor.epoch,
        revision: cursor.revision,
    }
}

pub fn place(place: &wire::Place) -> PlaceSeen {
    let state = match place.state() {
        wire::PlaceState::Scheduled => PlaceState::Scheduled,
        wire::PlaceState::Waiting => PlaceState::Waiting,
        wire::PlaceState::Activated => PlaceState::Activated,
        wire::PlaceState::Active => PlaceState::Active,
        wire::PlaceState::Completed => PlaceState::Completed,
        wire::PlaceState::Expired => PlaceState::Expired,
        wire::PlaceState::Left => PlaceState::Left,
        wire::PlaceState::Unspecified => panic!("a state: {place:?}"),
    };
    PlaceSeen {
        place: PlaceKey {
            lane: 0,
            number: place.number,
        },
        cursor: cursor(place.cursor),
        as_of_ms: ms(place.as_of.expect("a time")),
        state,
        position: place.position.map(|position| position as i64),
        waiting_total: place.waiting_total as i64,
        activation_id: place.activation_id.as_deref().map(activation),
        claim_by_ms: place.claim_by.map(ms),
        expire_ms: place.expire_time.map(ms),
    }
}

pub fn message(event: &Event) -> Message {
    match event {
        Event::Snapshot(snapshot) => Message::Snapshot {
            seen: place(snapshot.place.as_ref().expect("a place")),
            room_state: room(snapshot.room_state()),
            resumed: snapshot.resumed,
            heartbeat_interval_ms: snapshot
                .heartbeat_interval
                .map_or(0, |span| span.seconds as u64 * 1_000),
        },
        Event::Position(told) => Message::Position {
            position: told.position as i64,
            waiting_total: told.waiting_total as i64,
        },
        Event::Activated(told) => Message::Activated {
            activation_id: activation(&told.activation_id),
            claim_by_ms: told.claim_by.map(ms),
            expire_ms: told.expire_time.map(ms),
        },
        Event::RoomChanged(changed) => Message::RoomChanged {
            state: room(changed.state()),
        },
        Event::Heartbeat(_) => Message::Heartbeat,
        Event::Drain(_) => Message::Drain,
        Event::Ended(ended) => Message::Ended {
            state: match ended.state() {
                wire::PlaceState::Completed => EndState::Completed,
                wire::PlaceState::Left => EndState::Left,
                _ => EndState::Expired,
            },
            reason: match ended.reason() {
                wire::EndReason::Unclaimed => EndReason::Unclaimed,
                wire::EndReason::Absent => EndReason::Absent,
                wire::EndReason::PassExpired => EndReason::PassExpired,
                wire::EndReason::Left => EndReason::Left,
                wire::EndReason::Revoked => EndReason::Revoked,
                wire::EndReason::Completed => EndReason::Completed,
                wire::EndReason::RoomClosed => EndReason::RoomClosed,
                wire::EndReason::Unspecified => panic!("a reason: {ended:?}"),
            },
        },
    }
}

fn room(state: wire::RoomState) -> RoomShown {
    match state {
        wire::RoomState::Scheduled => RoomShown::Scheduled,
        wire::RoomState::Open => RoomShown::Open,
        wire::RoomState::Paused => RoomShown::Paused,
        wire::RoomState::Degraded => RoomShown::Degraded,
        wire::RoomState::SoldOut => RoomShown::SoldOut,
        wire::RoomState::Closed => RoomShown::Closed,
        wire::RoomState::Unspecified => panic!("a state of the room"),
    }
}

pub fn amount(money: Option<&wire::Money>) -> Amount {
    let money = money.expect("an amount");
    Amount {
        currency: money.currency_code.clone(),
        minor: money.amount_minor,
    }
}

pub fn reservation(seen: &wire::Reservation) -> ReservationSeen {
    ReservationSeen {
        id: id(&seen.id),
        seats: seen.seats.iter().map(|seat| id(&seat.seat_id)).collect(),
        total: amount(seen.total.as_ref()),
        state: match seen.state() {
            wire::ReservationState::Held => ReservationState::Held,
            wire::ReservationState::Confirmed => ReservationState::Confirmed,
            wire::ReservationState::Released => ReservationState::Released,
            wire::ReservationState::Expired => ReservationState::Expired,
            wire::ReservationState::Cancelled => ReservationState::Cancelled,
            wire::ReservationState::Unspecified => panic!("a state: {seen:?}"),
        },
        hold_expire_ms: seen.hold_expire_time.map_or(0, ms),
    }
}

pub fn payment(seen: &wire::Payment) -> PaymentSeen {
    PaymentSeen {
        id: id(&seen.id),
        reservation: id(&seen.reservation_id),
        from_wallet: true,
        amount: amount(seen.amount.as_ref()),
        state: match seen.state() {
            wire::PaymentState::Succeeded => PaymentState::Succeeded,
            other => panic!("paid from the wallet: {other:?}"),
        },
    }
}
