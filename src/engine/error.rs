//! What a use case of the waiting room can answer instead of a result.

use crate::domain::ids::RoomId;
use crate::domain::policy::PolicyError;
use crate::store::queue::QueueError;
use crate::store::rooms::RoomsError;
use crate::truth::failpoint::Injected;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A store cannot be reached: nobody is activated, and joins wait.
    #[error("the room is degraded")]
    Degraded,
    /// The room is being rebuilt after a loss; try again in a moment.
    #[error("the room is being rebuilt")]
    Rebuilding,
    #[error("it is not this place's turn yet")]
    NotActivated,
    /// The claim window is over.
    #[error("the activation has expired")]
    ActivationExpired,
    /// The activation was completed, left, revoked or ran out.
    #[error("the pass has ended")]
    PassEnded,
    /// The user has no live place in the room.
    #[error("no live place of this user")]
    NoLivePlace,
    /// None was shown where one is needed, or it is not this user's.
    #[error("no access code of this room and user")]
    AccessCodeInvalid,
    #[error("room {0} does not exist")]
    UnknownRoom(RoomId),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Queue(QueueError),
    #[error(transparent)]
    Rooms(RoomsError),
}

impl From<QueueError> for EngineError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Unavailable => Self::Degraded,
            QueueError::Recover
            | QueueError::Building
            | QueueError::Rebuilding
            | QueueError::Opening
            | QueueError::NumbersExhausted { .. } => Self::Rebuilding,
            QueueError::Closed
            | QueueError::SoldOut
            | QueueError::Full
            | QueueError::NoSlot
            | QueueError::UnknownPlace => Self::Queue(error),
        }
    }
}

impl From<RoomsError> for EngineError {
    fn from(error: RoomsError) -> Self {
        match error {
            RoomsError::Unavailable(_) => Self::Degraded,
            RoomsError::Fenced => Self::Rebuilding,
            other => Self::Rooms(other),
        }
    }
}

/// A fault made on purpose looks like a store that is gone.
impl From<Injected> for EngineError {
    fn from(_: Injected) -> Self {
        Self::Degraded
    }
}
