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
//! - `leave`, `confirm`, `claim`, `free`, `present`, `absent`, `open`,
//!   `configure` and `reserve` are idempotent.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::delta::{DrawOrder, RoomDelta, RoomSnapshot};
use crate::domain::ids::{
    ActivationId, Cursor, Incarnation, LaneIndex, Number, PlaceKey, RoomRef, UserId,
};
use crate::domain::place::{EndReason, Place, RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The store does not have this room in this epoch: recover it from SQL.
    #[error("the room must be recovered")]
    Recover,
    #[error("the room is closed")]
    Closed,
    #[error("the room is sold out")]
    SoldOut,
    #[error("the room's line is full")]
    Full,
    /// Numbers are frozen for the moment of opening: try again in a moment.
    #[error("the room is opening")]
    Opening,
    /// Reserve more numbers in SQL, `reserve`, and try again.
    #[error("no reserved number is left in lane {lane}")]
    NumbersExhausted { lane: LaneIndex },
    /// The number was never issued, or is another user's.
    #[error("no such place")]
    UnknownPlace,
    /// The store cannot be reached; the step may or may not have happened.
    #[error("the queue store is unavailable")]
    Unavailable,
}

/// Who vouches that a user is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A call counts as presence until this long after it.
    Call { for_ms: u64 },
    /// An open stream on this node, until `absent`.
    Stream(Incarnation),
}

/// `join` and `restore` in one: find or make the user's one live place.
#[derive(Debug, Clone)]
pub struct Take {
    pub user: UserId,
    /// The place of a token the caller showed; believed, since it was signed.
    pub presented: Option<PlaceKey>,
    /// The lane in which to issue a number if the user has no live place;
    /// `None` never issues one.
    pub issue_in: Option<LaneIndex>,
    pub presence: Presence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The user's live place, or the ended one that was presented.
    pub place: Place,
    /// The presented place was merged into this one, or it is new.
    pub needs_token: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveOutcome {
    /// The place has left the line, now or earlier.
    Ended(EndReason),
    /// Its activation is being written; whoever writes it ends it as LEFT.
    Marked,
    /// End the activation's row first, then `free` the slot.
    EndRowFirst(ActivationId),
}

/// How one lane opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneOpening {
    Fifo,
    /// The draw's N is fixed, its seed not yet known.
    AwaitBeacon {
        n: Number,
    },
    Draw(DrawOrder),
}

/// A place that was moved to `granting` and took a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub place: PlaceKey,
    pub user: UserId,
}

/// A lane that runs short of reserved numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowNumbers {
    pub lane: LaneIndex,
    /// Raise `reserved_to` to at least this.
    pub reserve_to: Number,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tick {
    pub cursor: Cursor,
    /// All places in `granting` that this caller should write rows for: those
    /// just picked, and those picked earlier that nobody confirmed in time.
    pub granted: Vec<Granted>,
    /// Activations whose claim window or pass is over by room time.
    pub due: Vec<ActivationId>,
    pub low_numbers: Vec<LowNumbers>,
    /// Nothing to do until something happens: no live place and no slot.
    pub quiet: bool,
}

/// An activation whose row is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    pub place: PlaceKey,
    pub user: UserId,
    /// `Activated` or `Active`, as the row says.
    pub standing: Standing,
    /// Until the row's `claim_by` or `expire_time`, by the database's clock.
    pub remaining_ms: u64,
}

/// The departed numbers of 32,768 consecutive numbers, as a bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartedPage {
    pub lane: LaneIndex,
    pub page: u32,
    /// Little-endian words; shorter than a page means zeros.
    pub bits: Vec<u8>,
}

/// What SQL knows of a lane when its room is recovered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneInit {
    /// Numbers up to here may have been issued in earlier epochs.
    pub issued_to: Number,
    /// Numbers up to here may be issued now.
    pub reserved_to: Number,
    pub opening: Option<LaneOpening>,
    pub departed: Vec<DepartedPage>,
    /// Activations this lane was served, ended ones too.
    pub served: u64,
}

/// A room as it is built from SQL.
#[derive(Debug, Clone)]
pub struct RoomInit {
    pub policy: Arc<RoomPolicy>,
    pub switches: RoomSwitches,
    pub lanes: Vec<LaneInit>,
    /// Activations that are not over. Numbers of all activations are departed.
    pub live: Vec<Confirm>,
    /// Activation rests, and nobody lapses, for this long.
    pub rebuild_pause_ms: u64,
}

/// Counters of a room, for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomCounts {
    pub waiting: u64,
    pub absent: u64,
    pub granting: u64,
    pub activated: u64,
    pub active: u64,
    /// Since the epoch began; a reader forms rates from differences.
    pub joins_total: u64,
    pub activations_total: u64,
    pub unclaimed_total: u64,
    pub departures_total: u64,
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
    async fn leave(&self, room: &RoomRef, place: PlaceKey) -> Result<LeaveOutcome, QueueError>;

    /// The user's live place, if any. Does not count as presence.
    async fn find(&self, room: &RoomRef, user: &UserId) -> Result<Option<Place>, QueueError>;

    /// Advances room time; lapses; picks who is next; proposes what is due;
    /// publishes a delta if one is due. Any node may call it at any time.
    async fn tick(&self, room: &RoomRef) -> Result<Tick, QueueError>;

    /// The rows of these activations are committed: they depart from the line
    /// and one delta says so. Answers the activations whose user left
    /// meanwhile: end their rows as LEFT, then `free` them.
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
        places: Vec<PlaceKey>,
        owner: Incarnation,
    ) -> Result<(), QueueError>;

    /// Stops issuing numbers and answers the highest one issued per lane: the
    /// N of a draw. Joins answer `Opening` until `open` follows.
    async fn freeze(&self, room: &RoomRef) -> Result<Vec<Number>, QueueError>;

    /// Opens a room, whose N per lane SQL already has. A lane that awaits its
    /// beacon issues numbers again and keeps the room SCHEDULED; call again
    /// with the draw.
    async fn open(&self, room: &RoomRef, lanes: Vec<LaneOpening>) -> Result<(), QueueError>;

    /// New policy and switches. `Closed` ends all waiting places.
    async fn configure(
        &self,
        room: &RoomRef,
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
    /// newer one stays as it is.
    async fn init(&self, room: &RoomRef, init: RoomInit) -> Result<(), QueueError>;

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
}
