//! A place as it is told to its user.

pub use crate::domain::estimate::Wait as WaitRange;
use crate::domain::ids::{ActivationId, Cursor, PlaceKey};
use crate::domain::place::{EndReason, EndState};
use crate::domain::time::UnixMs;

/// States of a place as clients see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Expired | Self::Left)
    }
}

impl From<EndState> for PlaceState {
    fn from(state: EndState) -> Self {
        match state {
            EndState::Completed => Self::Completed,
            EndState::Expired => Self::Expired,
            EndState::Left => Self::Left,
        }
    }
}

/// Everything a view says about one place, as of its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceReport {
    pub place: PlaceKey,
    pub state: PlaceState,
    /// Set with a final state.
    pub end: Option<EndReason>,
    /// Where it waits; unset in every other state.
    pub position: Option<u64>,
    /// Waiting places of its lane; never less than `position`.
    pub waiting_total: u64,
    pub estimated_wait: Option<WaitRange>,
    pub activation_id: Option<ActivationId>,
    pub claim_by: Option<UnixMs>,
    pub expire_time: Option<UnixMs>,
    /// Set in SCHEDULED.
    pub opens_at: Option<UnixMs>,
    pub cursor: Cursor,
}
