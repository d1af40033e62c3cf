//! Records of the waiting room.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivationId, Cursor, PlaceKey, RoomId};
use crate::domain::place::{EndReason, EndState};

use super::Answer;

/// One open stream, named by the recorder; never used twice in a history.
pub type StreamId = u64;

/// A place's state, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    Scheduled,
    Waiting,
    Activated,
    Active,
    Completed,
    Expired,
    Left,
}

impl PlaceState {
    /// In line: neither its turn nor over.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Scheduled | Self::Waiting)
    }

    #[must_use]
    pub fn has_turn(self) -> bool {
        matches!(self, Self::Activated | Self::Active)
    }

    #[must_use]
    pub fn is_over(self) -> bool {
        !self.waits() && !self.has_turn()
    }

    #[must_use]
    pub fn of_end(state: EndState) -> Self {
        match state {
            EndState::Completed => Self::Completed,
            EndState::Expired => Self::Expired,
            EndState::Left => Self::Left,
        }
    }
}

/// A room's state, as the API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomShown {
    Scheduled,
    Open,
    Paused,
    Degraded,
    SoldOut,
    Closed,
}

/// A `Place` of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceSeen {
    pub place: PlaceKey,
    pub cursor: Cursor,
    /// The server's time for which it holds.
    pub as_of_ms: u64,
    pub state: PlaceState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<i64>,
    #[serde(default)]
    pub waiting_total: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_id: Option<ActivationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_by_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_ms: Option<u64>,
}

/// A claimed activation: what its pass says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnSeen {
    pub activation_id: ActivationId,
    pub expire_ms: u64,
}

/// The event of one `WatchResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    Snapshot {
        seen: PlaceSeen,
        room_state: RoomShown,
        resumed: bool,
        heartbeat_interval_ms: u64,
    },
    Position {
        position: i64,
        waiting_total: i64,
    },
    Activated {
        activation_id: ActivationId,
        /// Set in ACTIVATED.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claim_by_ms: Option<u64>,
        /// Set in ACTIVE.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire_ms: Option<u64>,
    },
    RoomChanged {
        state: RoomShown,
    },
    Heartbeat,
    Drain,
    Ended {
        state: EndState,
        reason: EndReason,
    },
}

/// How a stream ended for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamEnd {
    /// Status OK.
    Ok,
    /// Another status, by its reason or code.
    Status(String),
    /// The connection broke, without a status.
    Broken,
    /// The client went away.
    Dropped,
}

/// What a client of the queue did or received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOp {
    Join {
        room: RoomId,
        /// The place of the token that was sent along.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        presented: Option<PlaceKey>,
        /// The access code that was sent along.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        answer: Answer<PlaceSeen>,
    },
    GetPlace {
        room: RoomId,
        place: PlaceKey,
        answer: Answer<PlaceSeen>,
    },
    Claim {
        room: RoomId,
        place: PlaceKey,
        answer: Answer<TurnSeen>,
    },
    Leave {
        room: RoomId,
        place: PlaceKey,
        answer: Answer<()>,
    },
    /// A `Watch` was sent.
    StreamOpened {
        stream: StreamId,
        room: RoomId,
        place: PlaceKey,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<Cursor>,
    },
    StreamMessage {
        stream: StreamId,
        cursor: Cursor,
        as_of_ms: u64,
        message: Message,
    },
    StreamClosed {
        stream: StreamId,
        end: StreamEnd,
    },
}
