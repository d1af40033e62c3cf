//! What a stream says, as a message.

use crate::domain::time::UnixMs;
use crate::fanout::event::{Body, DrainReason, Event, RoomNews, RoomReason, ShownState, Turn};
use crate::proto::v1 as wire;
use crate::proto::v1::watch_response::Event as Wire;
use crate::view::PlaceReport;

use super::place::{place_state, wait};
use super::{cursor, duration, end_reason, timestamp};

/// `place` and `place_token` are for a snapshot, the latter of a merged place.
#[must_use]
pub fn event(
    event: Event,
    place: impl FnOnce(&PlaceReport, UnixMs) -> wire::Place,
    place_token: Option<String>,
) -> wire::WatchResponse {
    let body = match event.body {
        Body::Snapshot(snapshot) => Wire::Snapshot(wire::Snapshot {
            place: Some(place(&snapshot.place, event.as_of)),
            room_state: shown_state(snapshot.room_state).into(),
            resumed: snapshot.resumed,
            heartbeat_interval: Some(duration(snapshot.heartbeat_interval_ms)),
            place_token,
            room_message: snapshot.room_message,
            resumes_at: snapshot.resumes_at.map(timestamp),
        }),
        Body::Activated(turn) => Wire::Activated(activated(turn)),
        Body::Ended { state, reason } => Wire::Ended(wire::Ended {
            state: place_state(state).into(),
            reason: end_reason(reason).into(),
        }),
        Body::RoomChanged(news) => Wire::RoomChanged(room_changed(news)),
        Body::Drain {
            reason,
            reconnect_after_ms,
        } => Wire::Drain(wire::Drain {
            reason: drain_reason(reason).into(),
            reconnect_after: Some(duration(reconnect_after_ms)),
        }),
        Body::Position {
            position,
            waiting_total,
            estimated_wait,
        } => Wire::Position(wire::PositionChanged {
            position,
            waiting_total,
            estimated_wait: estimated_wait.map(wait),
        }),
        Body::Heartbeat => Wire::Heartbeat(wire::Heartbeat {}),
    };
    wire::WatchResponse {
        cursor: Some(cursor(event.cursor)),
        as_of: Some(timestamp(event.as_of)),
        event: Some(body),
    }
}

fn activated(turn: Turn) -> wire::Activated {
    wire::Activated {
        activation_id: turn.activation_id.to_string(),
        claim_by: turn.claim_by.map(timestamp),
        pass: turn.pass.map(|pass| pass.as_ref().to_owned()),
        expire_time: turn.expire_time.map(timestamp),
    }
}

fn room_changed(news: RoomNews) -> wire::RoomChanged {
    let reason = match news.reason {
        RoomReason::Schedule => wire::RoomChangeReason::Schedule,
        RoomReason::Operator => wire::RoomChangeReason::Operator,
        RoomReason::Sales => wire::RoomChangeReason::Sales,
        RoomReason::Store => wire::RoomChangeReason::Store,
        RoomReason::Recovery => wire::RoomChangeReason::Recovery,
    };
    wire::RoomChanged {
        state: shown_state(news.state).into(),
        reason: reason.into(),
        message: news.message,
        opens_at: news.opens_at.map(timestamp),
        resumes_at: news.resumes_at.map(timestamp),
    }
}

#[must_use]
pub fn shown_state(state: ShownState) -> wire::RoomState {
    match state {
        ShownState::Closed => wire::RoomState::Closed,
        ShownState::Degraded => wire::RoomState::Degraded,
        ShownState::Scheduled => wire::RoomState::Scheduled,
        ShownState::SoldOut => wire::RoomState::SoldOut,
        ShownState::Paused => wire::RoomState::Paused,
        ShownState::Open => wire::RoomState::Open,
    }
}

fn drain_reason(reason: DrainReason) -> wire::DrainReason {
    match reason {
        DrainReason::Shutdown => wire::DrainReason::Shutdown,
        DrainReason::Aged => wire::DrainReason::Aged,
        DrainReason::Replaced => wire::DrainReason::Replaced,
    }
}
