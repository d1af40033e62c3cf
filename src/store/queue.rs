//! The seam to the store that holds the lines of all rooms.
//!
//! Each method is **one atomic step** of one room. The store never reads SQL
//! and never tells anyone anything but the room's deltas; the engine writes
//! activation rows between `tick` (who is next) and `confirm` (it is so).
//!
//! Promises of every implementation, held by `store::queue::conformance`:
//! - A step with another epoch than the room's answers [`QueueError::Recover`]
//!   and changes nothing; so does a room that is not there.
//! - Numbers are unique per lane for the life of the room, rise in the order of
//!   joins, and are issued only up to what `reserve` allowed.
//! - Slots in use never exceed the capacity at the time they are taken.
//! - Every change is in exactly one delta, published once on the bus, in order
//!   of revisions without a gap; deltas are kept for `deltas_since`.
//! - `leave`, `grant_place`, `confirm`, `claim`, `free`, `present`, `absent`, `open`,
//!   `configure`, `reserve` and `forget` are idempotent.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::domain::ids::{
    ActivationId, Cursor, Incarnation, LaneIndex, Number, PlaceKey, RoomId, RoomRef, UserId,
};
use crate::domain::place::{EndReason, Place, RoomSwitches};
use crate::domain::policy::RoomPolicy;
pub use crate::domain::room::command::{
    Confirm, DepartedPage, Granted, LaneInit, LaneOpening, LeaveOutcome, LowNumbers, Presence,
    Refusal, RoomCounts, RoomInit, Take, Taken, Tick,
};
pub use crate::domain::room::grant::GrantOutcome;
pub use crate::domain::room::leases::LEASE_MS;
pub use crate::domain::room::steering::Strain;

#[cfg(test)]
pub(crate) mod conformance;

/// What `init` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// The room is as it was given.
    Made,
    /// Another one stays, or was being made: of the same epoch or a newer one.
    Kept,
}

/// What a store has under a room's id, of whatever epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRoom {
    pub epoch: u64,
    /// Up to where numbers were allowed, by lane.
    pub reserved_to: Vec<Number>,
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The store does not have this room in this epoch: recover it from SQL.
    #[error("the room must be recovered")]
    Recover,
    /// Someone makes the room of this epoch now: try again in a moment. Whoever
    /// died at it is answered for by `Recover` after a while.
    #[error("the room is being made")]
    Building,
    #[error("the room is closed")]
    Closed,
    #[error("the room is sold out")]
    SoldOut,
    #[error("the room's line is full")]
    Full,
    /// Numbers are frozen for the moment of opening, or the lane is not there
    /// yet: try again in a moment.
    #[error("the room is opening")]
    Opening,
    /// Reserve more numbers in SQL, `reserve`, and try again.
    #[error("no reserved number is left in lane {lane}")]
    NumbersExhausted { lane: LaneIndex, reserve_to: Number },
    /// The number was never issued, or is another user's.
    #[error("no such place")]
    UnknownPlace,
    /// Activation rests until the line had time to come back.
    #[error("the room is being rebuilt")]
    Rebuilding,
    /// The capacity is in use.
    #[error("no slot is free")]
    NoSlot,
    /// The store cannot be reached; the step may or may not have happened.
    #[error("the queue store is unavailable")]
    Unavailable,
}

impl From<Refusal> for QueueError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::SoldOut => Self::SoldOut,
            Refusal::Full => Self::Full,
            Refusal::Opening => Self::Opening,
            Refusal::NumbersExhausted { lane, reserve_to } => {
                Self::NumbersExhausted { lane, reserve_to }
            }
            Refusal::UnknownPlace => Self::UnknownPlace,
            Refusal::Rebuilding => Self::Rebuilding,
            Refusal::NoSlot => Self::NoSlot,
        }
    }
}

#[async_trait]
pub trait QueueStore: Send + Sync + 'static {
    /// Finds the user's live place, else restores the presented one, else
    /// issues a number. If the user has a live place and presents another that
    /// waits, the lower order stays and the other departs; an activation wins
    /// over both. A presented number up to `issued_to` that is not departed is
    /// waiting, whoever had it: its token was signed.
    async fn take(&self, room: &RoomRef, take: Take) -> Result<Taken, QueueError>;

    /// Ends the user's waiting place.
    async fn leave(
        &self,
        room: &RoomRef,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<LeaveOutcome, QueueError>;

    /// The user's live place, if any. Does not count as presence.
    async fn find(&self, room: &RoomRef, user: &UserId) -> Result<Option<Place>, QueueError>;

    /// Advances room time; lapses; picks who is next; proposes what is due;
    /// publishes a delta if one is due. Any node may call it at any time; its
    /// name renews its lease, without which its streams are no presence after
    /// [`LEASE_MS`] of room time.
    async fn tick(&self, room: &RoomRef, node: Option<Incarnation>) -> Result<Tick, QueueError>;

    /// This node says how strained its sale is, about twice a second. The worst
    /// word of all nodes lowers the rate, or lets it rise, never above the
    /// policy's; a silence of [`LEASE_MS`] gives the policy's back. Answers the
    /// rate in effect.
    async fn steer(&self, room: &RoomRef, strain: Strain) -> Result<f64, QueueError>;

    /// Takes a slot for one user, out of turn and whatever the rate. In this
    /// order: a CLOSED room answers `Closed`; a live place that has its turn is
    /// answered as `HasTurn`, one in `granting` as `Granting` again; a room that
    /// is being rebuilt answers `Rebuilding`; with no slot free, `NoSlot`. Then
    /// the live waiting place, else a fresh number of `issue_in` (as a join's,
    /// but for SOLD_OUT and `max_waiting`; it counts as no join), moves to
    /// `granting`, is one more that its lane was served, and takes no token of
    /// the rate. Write its row, then `confirm`; `tick` hands it out again like
    /// any pick that nobody brought back. Works in every other state.
    async fn grant_place(
        &self,
        room: &RoomRef,
        user: &UserId,
        issue_in: LaneIndex,
    ) -> Result<GrantOutcome, QueueError>;

    /// The rows of these activations are committed: they depart from the line
    /// and one delta says so. Answers the activations whose user left
    /// meanwhile: end their rows as LEFT, then `free` them. A row that is over
    /// ends its place wherever that stands, waiting or in `granting`, with its
    /// reason; of a place that has its turn or is over it says nothing.
    async fn confirm(
        &self,
        room: &RoomRef,
        rows: Vec<Confirm>,
    ) -> Result<Vec<ActivationId>, QueueError>;

    /// The row became ACTIVE: the slot lives until the pass ends.
    async fn claim(&self, room: &RoomRef, row: Confirm) -> Result<(), QueueError>;

    /// A proposal that the database did not agree with: ask again in a while.
    async fn rearm(
        &self,
        room: &RoomRef,
        id: ActivationId,
        remaining_ms: u64,
    ) -> Result<(), QueueError>;

    /// The row has ended: the slot goes back to the room, once.
    async fn free(
        &self,
        room: &RoomRef,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), QueueError>;

    /// These places have a stream on this node. Unknown and ended ones are
    /// passed over.
    async fn present(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError>;

    /// The last stream of these places ended here; nothing where another node
    /// has taken over.
    async fn absent(
        &self,
        room: &RoomRef,
        places: Vec<(PlaceKey, UserId)>,
        owner: Incarnation,
    ) -> Result<(), QueueError>;

    /// Stops issuing numbers and answers the highest one issued per lane: the
    /// N of a draw. Joins answer `Opening` until `open` follows.
    async fn freeze(&self, room: &RoomRef) -> Result<Vec<Number>, QueueError>;

    /// Opens a room, whose N per lane SQL already has. A lane that awaits its
    /// beacon issues numbers again and keeps the room SCHEDULED; call again
    /// with the draw.
    async fn open(&self, room: &RoomRef, lanes: Vec<LaneOpening>) -> Result<(), QueueError>;

    /// Policy and switches of the row of this version; changes nothing if the
    /// room has those of the same or a later one. `Closed` ends all waiting
    /// places.
    async fn configure(
        &self,
        room: &RoomRef,
        version: u64,
        policy: Arc<RoomPolicy>,
        switches: RoomSwitches,
    ) -> Result<(), QueueError>;

    /// Allows numbers up to `reserved_to`, which SQL already has.
    async fn reserve(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        reserved_to: Number,
    ) -> Result<(), QueueError>;

    /// Makes the room of this epoch. An older epoch is replaced; the same or a
    /// newer one stays as it is, and the answer says so.
    async fn init(&self, room: &RoomRef, init: RoomInit) -> Result<Built, QueueError>;

    /// Whole state, for a reader that starts.
    async fn snapshot(&self, room: &RoomRef) -> Result<RoomSnapshot, QueueError>;

    /// Deltas after a cursor, oldest first; `None` if some are no longer kept.
    async fn deltas_since(
        &self,
        room: &RoomRef,
        cursor: Cursor,
    ) -> Result<Option<Vec<Arc<RoomDelta>>>, QueueError>;

    /// Pages of departed numbers that changed after `revision`, with the
    /// revision up to which they are complete.
    async fn departed_pages(
        &self,
        room: &RoomRef,
        revision: u64,
    ) -> Result<(u64, Vec<DepartedPage>), QueueError>;

    async fn counts(&self, room: &RoomRef) -> Result<RoomCounts, QueueError>;

    /// Removes all that is kept of a room of this epoch, or of an older one; a
    /// newer one is [`QueueError::Recover`]. Says nothing to anyone: SQL does not
    /// know the room any more.
    async fn forget(&self, room: &RoomRef) -> Result<(), QueueError>;

    /// Where a queue can be left behind and not know it: rises whenever another
    /// took its place, as far as it has heard.
    fn generation(&self) -> Option<u64> {
        None
    }

    /// Another node knows of a higher generation: look before the next step.
    fn look_again(&self) {}

    /// What is there of a room, where more than one process may have left it.
    async fn kept(&self, _room: &RoomId) -> Result<Option<KeptRoom>, QueueError> {
        Ok(None)
    }

    /// The mark that was left last; 0: none, or nothing here outlives a process.
    async fn mark(&self) -> Result<u64, QueueError> {
        Ok(0)
    }

    /// Leaves a mark that SQL has already.
    async fn leave_mark(&self, _mark: u64) -> Result<(), QueueError> {
        Ok(())
    }
}
