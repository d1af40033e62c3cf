//! States of a place and of a room, and the reasons for their ends.

use serde::{Deserialize, Serialize};

use super::ids::{ActivationId, PlaceKey, UserId};
use super::time::UnixMs;

/// How a place stands. SCHEDULED is not here: it is WAITING in a room that has
/// not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// In line; also while its activation is being written (`granting`).
    Waiting,
    /// Its turn, not yet answered.
    Activated { id: ActivationId, claim_by: UnixMs },
    /// Answered at `claimed_at`: holds a pass until `expire_time`.
    Active {
        id: ActivationId,
        claimed_at: UnixMs,
        expire_time: UnixMs,
    },
    /// Over, for ever.
    Ended(EndReason),
}

impl Standing {
    #[must_use]
    pub fn activation_id(&self) -> Option<ActivationId> {
        match self {
            Self::Activated { id, .. } | Self::Active { id, .. } => Some(*id),
            Self::Waiting | Self::Ended(_) => None,
        }
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Ended(_))
    }
}

/// Why a place is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The claim window passed.
    Unclaimed,
    /// Away for longer than the grace.
    Absent,
    /// The pass's time is over.
    PassExpired,
    /// The user left.
    Left,
    /// An operator ended it.
    Revoked,
    /// The pass was used.
    Completed,
    /// The room closed before its turn.
    RoomClosed,
    /// The user had an earlier place; this one's token answers for that one.
    Merged,
}

/// Final states as clients see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    Completed,
    Expired,
    Left,
}

impl EndReason {
    #[must_use]
    pub fn state(self) -> EndState {
        match self {
            Self::Completed => EndState::Completed,
            Self::Left => EndState::Left,
            Self::Unclaimed
            | Self::Absent
            | Self::PassExpired
            | Self::Revoked
            | Self::RoomClosed
            | Self::Merged => EndState::Expired,
        }
    }

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::Absent => "absent",
            Self::PassExpired => "pass_expired",
            Self::Left => "left",
            Self::Revoked => "revoked",
            Self::Completed => "completed",
            Self::RoomClosed => "room_closed",
            Self::Merged => "merged",
        }
    }

    /// The reason stored under a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Unclaimed,
            Self::Absent,
            Self::PassExpired,
            Self::Left,
            Self::Revoked,
            Self::Completed,
            Self::RoomClosed,
            Self::Merged,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == name)
    }
}

/// A place with its owner, as the queue store answers for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub key: PlaceKey,
    pub user: UserId,
    pub standing: Standing,
}

/// States of a room, shown by precedence (`Closed` first).
///
/// DEGRADED is not here: it is a node's view of its stores, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    Closed,
    Scheduled,
    SoldOut,
    Paused,
    Open,
}

/// The stored switches behind [`RoomState`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoomSwitches {
    pub opened: bool,
    pub paused: bool,
    pub sold_out: bool,
    pub closed: bool,
    /// What the operator last told the line.
    pub message: String,
    /// When a pause ends by itself. It stays when the pause has ended so, and
    /// tells that from an operator's resume, which clears it.
    pub resumes_at: Option<UnixMs>,
}

impl RoomSwitches {
    /// An operator stops activation, until `resumes_at` if it is given.
    pub fn pause(&mut self, message: String, resumes_at: Option<UnixMs>) {
        self.paused = true;
        self.message = message;
        self.resumes_at = resumes_at;
    }

    /// An operator lets activation go on.
    pub fn resume(&mut self, message: String) {
        self.paused = false;
        self.message = message;
        self.resumes_at = None;
    }

    /// The pause whose time has come, if any, is over: what was said with it
    /// no longer holds.
    pub fn resume_if_due(&mut self, now: UnixMs) {
        if self.is_resume_due(now) {
            self.paused = false;
            self.message.clear();
        }
    }

    #[must_use]
    pub fn is_resume_due(&self, now: UnixMs) -> bool {
        self.pause_ends_at().is_some_and(|at| now >= at)
    }

    /// When the present pause ends by itself; never in a closed room.
    #[must_use]
    pub fn pause_ends_at(&self) -> Option<UnixMs> {
        self.resumes_at.filter(|_| self.paused && !self.closed)
    }

    #[must_use]
    pub fn state(&self) -> RoomState {
        match self {
            Self { closed: true, .. } => RoomState::Closed,
            Self { opened: false, .. } => RoomState::Scheduled,
            Self { sold_out: true, .. } => RoomState::SoldOut,
            Self { paused: true, .. } => RoomState::Paused,
            _ => RoomState::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_room_does_not_say_when_its_pause_ends() {
        let mut switches = RoomSwitches::default();
        switches.pause(String::new(), Some(UnixMs(5)));
        assert_eq!(switches.pause_ends_at(), Some(UnixMs(5)));
        assert!(!switches.is_resume_due(UnixMs(4)));
        assert!(switches.is_resume_due(UnixMs(5)));
        switches.closed = true;
        assert_eq!(switches.pause_ends_at(), None);
        assert!(!switches.is_resume_due(UnixMs(5)));
    }
}
