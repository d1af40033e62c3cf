//! Wire messages as the records of a history, for `usher check`.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use prost_types::Timestamp;
use usher::clock::{Clock, SystemClock};
use usher::domain::ids::{ActivationId, Cursor, PlaceKey, ResourceId, UserId};
use usher::domain::place::{EndReason, EndState};
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;
use usher::truth::history::{
    Amount, Message, Op, PaymentSeen, PaymentState, PlaceSeen, PlaceState, Record, Recorder,
    ReservationSeen, ReservationState, RoomShown, StreamId,
};

use crate::error::BenchError;

/// Takes down what every user saw.
pub struct Trace {
    recorder: Recorder,
    streams: AtomicU64,
}

impl Trace {
    pub fn to_file(path: &Path) -> Result<Self, BenchError> {
        Ok(Self {
            recorder: Recorder::to_file(path).map_err(BenchError::failed)?,
            streams: AtomicU64::new(1),
        })
    }

    pub fn stream_id(&self) -> StreamId {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// A call that began at `invoked_ms` and is over.
    pub fn record(&self, user: &UserId, invoked_ms: u64, op: Op) {
        self.recorder.record(Record {
            invoked_ms,
            returned_ms: now_ms(),
            client: user.as_str().to_owned(),
            process: String::new(),
            user: user.clone(),
            op,
        });
    }

    pub fn finish(self) -> Result<(), BenchError> {
        self.recorder.finish().map_err(BenchError::failed)?;
        Ok(())
    }
}

pub fn now_ms() -> u64 {
    SystemClock.now().0
}

fn ms(time: &Timestamp) -> u64 {
    let ms = time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub fn id(text: &str) -> ResourceId {
    // What is no id is seen as such by the checkers: nothing else has this name.
    ResourceId::parse(text).unwrap_or_else(|_| ResourceId::parse("malformed").expect("an id"))
}

pub fn activation(text: &str) -> ActivationId {
    ActivationId(text.parse().unwrap_or_default())
}

pub fn cursor(wire: Option<&wire::Cursor>) -> Cursor {
    wire.map_or_else(Cursor::default, |cursor| Cursor {
        epoch: cursor.epoch,
        revision: cursor.revision,
    })
}

/// This version has one lane per room.
pub fn place_key(place: &wire::Place) -> PlaceKey {
    PlaceKey {
        lane: 0,
        number: place.number,
    }
}

pub fn place(place: &wire::Place) -> PlaceSeen {
    PlaceSeen {
        place: place_key(place),
        cursor: cursor(place.cursor.as_ref()),
        as_of_ms: place.as_of.as_ref().map_or(0, ms),
        state: match place.state() {
            wire::PlaceState::Scheduled => PlaceState::Scheduled,
            wire::PlaceState::Unspecified | wire::PlaceState::Waiting => PlaceState::Waiting,
            wire::PlaceState::Activated => PlaceState::Activated,
            wire::PlaceState::Active => PlaceState::Active,
            wire::PlaceState::Completed => PlaceState::Completed,
            wire::PlaceState::Expired => PlaceState::Expired,
            wire::PlaceState::Left => PlaceState::Left,
        },
        position: place.position.map(signed),
        waiting_total: signed(place.waiting_total),
        activation_id: place.activation_id.as_deref().map(activation),
        claim_by_ms: place.claim_by.as_ref().map(ms),
        expire_ms: place.expire_time.as_ref().map(ms),
    }
}

fn room_state(state: wire::RoomState) -> RoomShown {
    match state {
        wire::RoomState::Scheduled => RoomShown::Scheduled,
        wire::RoomState::Unspecified | wire::RoomState::Open => RoomShown::Open,
        wire::RoomState::Paused => RoomShown::Paused,
        wire::RoomState::Degraded => RoomShown::Degraded,
        wire::RoomState::SoldOut => RoomShown::SoldOut,
        wire::RoomState::Closed => RoomShown::Closed,
    }
}

fn end_reason(reason: wire::EndReason) -> EndReason {
    match reason {
        wire::EndReason::Unclaimed => EndReason::Unclaimed,
        wire::EndReason::Absent => EndReason::Absent,
        wire::EndReason::PassExpired => EndReason::PassExpired,
        wire::EndReason::Unspecified | wire::EndReason::Left => EndReason::Left,
        wire::EndReason::Revoked => EndReason::Revoked,
        wire::EndReason::Completed => EndReason::Completed,
        wire::EndReason::RoomClosed => EndReason::RoomClosed,
    }
}

/// `None` for an event of a later version.
pub fn message(event: &Event) -> Option<Message> {
    Some(match event {
        Event::Snapshot(snapshot) => Message::Snapshot {
            seen: place(snapshot.place.as_ref()?),
            room_state: room_state(snapshot.room_state()),
            resumed: snapshot.resumed,
            heartbeat_interval_ms: snapshot.heartbeat_interval.as_ref().map_or(0, |interval| {
                u64::try_from(interval.seconds * 1_000 + i64::from(interval.nanos) / 1_000_000)
                    .unwrap_or(0)
            }),
        },
        Event::Position(moved) => Message::Position {
            position: signed(moved.position),
            waiting_total: signed(moved.waiting_total),
        },
        Event::Activated(turn) => Message::Activated {
            activation_id: activation(&turn.activation_id),
            claim_by_ms: turn.claim_by.as_ref().map(ms),
            expire_ms: turn.expire_time.as_ref().map(ms),
        },
        Event::RoomChanged(changed) => Message::RoomChanged {
            state: room_state(changed.state()),
        },
        Event::Heartbeat(_) => Message::Heartbeat,
        Event::Drain(_) => Message::Drain,
        Event::Ended(ended) => Message::Ended {
            state: match ended.state() {
                wire::PlaceState::Completed => EndState::Completed,
                wire::PlaceState::Left => EndState::Left,
                _ => EndState::Expired,
            },
            reason: end_reason(ended.reason()),
        },
    })
}

pub fn expire_ms(time: Option<&Timestamp>) -> u64 {
    time.map_or(0, ms)
}

pub fn amount(money: Option<&wire::Money>) -> Amount {
    Amount {
        currency: money.map_or_else(String::new, |money| money.currency_code.clone()),
        minor: money.map_or(0, |money| money.amount_minor),
    }
}

pub fn reservation(seen: &wire::Reservation) -> ReservationSeen {
    ReservationSeen {
        id: id(&seen.id),
        seats: seen.seats.iter().map(|seat| id(&seat.seat_id)).collect(),
        total: amount(seen.total.as_ref()),
        state: match seen.state() {
            wire::ReservationState::Unspecified | wire::ReservationState::Held => {
                ReservationState::Held
            }
            wire::ReservationState::Confirmed => ReservationState::Confirmed,
            wire::ReservationState::Released => ReservationState::Released,
            wire::ReservationState::Expired => ReservationState::Expired,
            wire::ReservationState::Cancelled => ReservationState::Cancelled,
        },
        hold_expire_ms: expire_ms(seen.hold_expire_time.as_ref()),
    }
}

pub fn payment(seen: &wire::Payment) -> PaymentSeen {
    PaymentSeen {
        id: id(&seen.id),
        reservation: id(&seen.reservation_id),
        from_wallet: true,
        amount: amount(seen.amount.as_ref()),
        state: match seen.state() {
            wire::PaymentState::Unspecified | wire::PaymentState::Pending => PaymentState::Pending,
            wire::PaymentState::Succeeded => PaymentState::Succeeded,
            wire::PaymentState::Declined => PaymentState::Declined,
            wire::PaymentState::Refunding => PaymentState::Refunding,
            wire::PaymentState::Refunded => PaymentState::Refunded,
        },
    }
}
