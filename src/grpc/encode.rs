//! From inner types to wire types: total functions without decisions.

use crate::domain::ids::Cursor;
use crate::domain::place::{EndReason, EndState, RoomState};
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;

pub mod coupon;
pub mod event;
pub mod place;
pub mod room;
pub mod sale;

#[must_use]
pub fn timestamp(at: UnixMs) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX),
        nanos: sub_second_nanos(at.0),
    }
}

#[must_use]
pub fn duration(span_ms: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span_ms / 1_000).unwrap_or(i64::MAX),
        nanos: sub_second_nanos(span_ms),
    }
}

fn sub_second_nanos(millis: u64) -> i32 {
    i32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000
}

#[must_use]
pub fn money(money: Money) -> wire::Money {
    wire::Money {
        currency_code: money.currency.as_str().to_owned(),
        amount_minor: money.amount_minor,
    }
}

#[must_use]
pub fn cursor(cursor: Cursor) -> wire::Cursor {
    wire::Cursor {
        epoch: cursor.epoch,
        revision: cursor.revision,
    }
}

#[must_use]
pub fn room_state(state: RoomState) -> wire::RoomState {
    match state {
        RoomState::Closed => wire::RoomState::Closed,
        RoomState::Scheduled => wire::RoomState::Scheduled,
        RoomState::SoldOut => wire::RoomState::SoldOut,
        RoomState::Paused => wire::RoomState::Paused,
        RoomState::Open => wire::RoomState::Open,
    }
}

#[must_use]
pub fn end_state(state: EndState) -> wire::PlaceState {
    match state {
        EndState::Completed => wire::PlaceState::Completed,
        EndState::Expired => wire::PlaceState::Expired,
        EndState::Left => wire::PlaceState::Left,
    }
}

#[must_use]
pub fn end_reason(reason: EndReason) -> wire::EndReason {
    match reason {
        EndReason::Unclaimed => wire::EndReason::Unclaimed,
        EndReason::Absent => wire::EndReason::Absent,
        EndReason::PassExpired => wire::EndReason::PassExpired,
        EndReason::Left => wire::EndReason::Left,
        EndReason::Revoked => wire::EndReason::Revoked,
        EndReason::Completed => wire::EndReason::Completed,
        EndReason::RoomClosed => wire::EndReason::RoomClosed,
        // Never told: such a token is answered for the surviving place.
        EndReason::Merged => wire::EndReason::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::decode;

    #[test]
    fn times_and_spans_survive_the_wire() {
        for millis in [0, 1, 999, 1_000, 1_700_000_000_123, 253_402_300_799_999] {
            let at = timestamp(UnixMs(millis));
            assert_eq!(decode::timestamp("t", at), Ok(UnixMs(millis)));
            let span = duration(millis);
            assert_eq!(decode::duration_ms("d", span), Ok(millis));
        }
    }
}
