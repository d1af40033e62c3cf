//! What a stream says, before it is encoded.

use std::sync::Arc;

use crate::domain::ids::{ActivationId, Cursor};
use crate::domain::place::{EndReason, RoomState};
use crate::domain::time::UnixMs;
use crate::view::{PlaceReport, PlaceState, WaitRange};

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The view's cursor: never decreases on a stream.
    pub cursor: Cursor,
    /// The server's clock; in DEGRADED the moment since which the view is stale.
    pub as_of: UnixMs,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Snapshot(Box<Snapshot>),
    Activated(Turn),
    Ended {
        state: PlaceState,
        reason: EndReason,
    },
    RoomChanged(RoomNews),
    Drain {
        reason: DrainReason,
        reconnect_after_ms: u64,
    },
    Position {
        position: u64,
        waiting_total: u64,
        estimated_wait: Option<WaitRange>,
    },
    Heartbeat,
}

impl Body {
    /// Pushed when it happens, rather than by time.
    pub(super) fn is_news(&self) -> bool {
        matches!(
            self,
            Self::Activated(_) | Self::Ended { .. } | Self::RoomChanged(_)
        )
    }
}

/// The whole current state: the first message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub place: PlaceReport,
    pub room_state: ShownState,
    pub resumed: bool,
    pub heartbeat_interval_ms: u64,
    /// The token's place was merged into this one: the client needs its token.
    pub is_merged: bool,
    /// What the operator last told the line.
    pub room_message: String,
    /// Set in PAUSED.
    pub resumes_at: Option<UnixMs>,
}

/// An activation: with `claim_by` in ACTIVATED, with a pass in ACTIVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub activation_id: ActivationId,
    pub claim_by: Option<UnixMs>,
    /// In ACTIVE, when it became so: its pass says so too.
    pub claimed_at: Option<UnixMs>,
    pub pass: Option<Arc<str>>,
    pub expire_time: Option<UnixMs>,
}

impl Turn {
    /// Nothing but whose it is.
    #[must_use]
    pub fn of(activation_id: ActivationId) -> Self {
        Self {
            activation_id,
            claim_by: None,
            claimed_at: None,
            pass: None,
            expire_time: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomNews {
    pub state: ShownState,
    pub reason: RoomReason,
    /// What the operator tells the line.
    pub message: String,
    /// Set in SCHEDULED.
    pub opens_at: Option<UnixMs>,
    /// Set in PAUSED, if the pause ends by itself.
    pub resumes_at: Option<UnixMs>,
}

/// A room's state as this node shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShownState {
    Closed,
    /// A node's view of its stores, never stored.
    Degraded,
    Scheduled,
    SoldOut,
    Paused,
    Open,
}

impl From<RoomState> for ShownState {
    fn from(state: RoomState) -> Self {
        match state {
            RoomState::Closed => Self::Closed,
            RoomState::Scheduled => Self::Scheduled,
            RoomState::SoldOut => Self::SoldOut,
            RoomState::Paused => Self::Paused,
            RoomState::Open => Self::Open,
        }
    }
}

/// What changed a room's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoomReason {
    Schedule,
    Operator,
    Sales,
    /// This node lost a store, or has it back.
    Store,
    /// The room was rebuilt and waits for those who come back, or has waited.
    Recovery,
}

impl RoomReason {
    /// In their order.
    pub(super) const ALL: [Self; 5] = [
        Self::Schedule,
        Self::Operator,
        Self::Sales,
        Self::Store,
        Self::Recovery,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainReason {
    Shutdown,
    Aged,
    /// A newer stream of the same place took its turn.
    Replaced,
}
