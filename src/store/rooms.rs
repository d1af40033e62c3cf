//! The seam to what SQL knows about rooms: their policy, their epochs, and the
//! activation rows, which decide who has a turn.
//!
//! Promises of every implementation, held by `store::rooms::conformance`:
//! - Each method is one transaction, durable when it answers `Ok`, and runs to
//!   its end even if the caller goes away.
//! - A write that names an epoch other than the room's changes nothing and
//!   answers [`RoomsError::Fenced`].
//! - `(room, lane, number)` has at most one activation, for ever.
//! - An activation leaves a live state exactly once.
//! - Expiry is judged by the database's clock, at the moment of the statement.

use async_trait::async_trait;

use crate::domain::ids::{
    ActivationId, LaneIndex, Number, PlaceKey, ResourceId, RoomId, RoomRef, UserId,
};
use crate::domain::place::{EndReason, RoomSwitches};
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;

use self::codes::AccessCodes;
use self::grants::Grants;
use self::retention::Retention;
use super::queue::{DepartedPage, KeptRoom};
use super::sales::Asked;

pub mod codes;
#[cfg(test)]
pub mod conformance;
pub mod grants;
pub mod retention;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomsError {
    #[error("no such room")]
    UnknownRoom,
    #[error("a room of this id exists")]
    RoomExists,
    #[error("no such activation")]
    UnknownActivation,
    /// The resource was changed since its etag was read.
    #[error("the room was changed meanwhile")]
    EtagMismatch,
    /// Another room protects this target already.
    #[error("{target} is protected by room {room}")]
    ProtectedTwice { target: ResourceId, room: RoomId },
    /// A target of `protects` does not exist.
    #[error("{target} does not exist")]
    UnknownTarget { target: ResourceId },
    /// The room has one of these access codes in another lane.
    #[error("an access code leads into another lane already")]
    CodeOfAnotherLane,
    #[error("the room would have too many access codes")]
    TooManyCodes,
    /// The idempotency key was used with another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// Someone raised the epoch: read the room again.
    #[error("the room's epoch has moved on")]
    Fenced,
    /// Another process holds the lease of these rooms.
    #[error("another process serves these rooms")]
    LeaseHeld,
    /// Too much waits for the database; nothing was changed.
    #[error("the database has too much to do")]
    Overloaded,
    /// The database cannot be reached, or is full; it may have happened.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// A room's row.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomRecord {
    pub id: RoomId,
    /// Title shown to people.
    pub display_name: String,
    pub epoch: u64,
    /// Raised by each change of policy or switches; the `etag`.
    pub version: u64,
    pub policy: RoomPolicy,
    pub switches: RoomSwitches,
    pub draw: Option<DrawRecord>,
    /// Tells a room from a former one of the same id.
    pub created_at: UnixMs,
}

/// The secret of a DRAW room, made with the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawRecord {
    pub secret: [u8; 32],
    /// N per lane, set once by `fix_draw`; empty until then.
    pub participants: Vec<Number>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewRoom {
    pub id: RoomId,
    pub display_name: String,
    pub policy: RoomPolicy,
    /// Random, from the caller; kept only for a DRAW room.
    pub draw_secret: [u8; 32],
    /// The request it is made for. It is kept with the room, under an empty
    /// answer: a repeat is known even if nobody was told, and the room changed.
    pub asked: Option<Asked>,
}

/// What SQL knows of one lane when its room is recovered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneRecord {
    /// Numbers up to here may have been issued in earlier epochs: what
    /// `reserved_to` was before the epoch was raised.
    pub issued_to: Number,
    /// Numbers up to here may be issued now.
    pub reserved_to: Number,
    pub departed: Vec<DepartedPage>,
    pub served: u64,
}

/// Everything from which a room's queue is rebuilt.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveredRoom {
    pub room: RoomRecord,
    pub lanes: Vec<LaneRecord>,
    /// ACTIVATED and ACTIVE rows.
    pub live: Vec<ActivationRow>,
    /// Numbers of all ended activations: departed, whatever the pages say.
    pub ended: Vec<PlaceKey>,
    /// The database's clock.
    pub as_of: UnixMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivationState {
    Activated,
    Active,
    Ended(EndReason),
}

/// A row of `activations`: the truth about a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationRow {
    pub id: ActivationId,
    pub room: RoomId,
    pub place: PlaceKey,
    pub user: UserId,
    pub state: ActivationState,
    /// When it was activated.
    pub activated_at: UnixMs,
    /// End of the claim window; meaningful while ACTIVATED.
    pub claim_by: Option<UnixMs>,
    /// When it became ACTIVE: `iat` of its pass.
    pub claimed_at: Option<UnixMs>,
    /// End of the pass; set once ACTIVE.
    pub expire_time: Option<UnixMs>,
    /// The database's clock at this answer.
    pub as_of: UnixMs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewActivation {
    /// Used if the place has no row yet.
    pub id: ActivationId,
    pub place: PlaceKey,
    pub user: UserId,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// ACTIVE now, or was already: the same pass again.
    Active(ActivationRow),
    /// The claim window is over by the database's clock; the row is ended now
    /// if it was not.
    Late(ActivationRow),
    /// Over for another reason.
    Ended(ActivationRow),
}

/// How to end an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCondition {
    /// Whatever its time.
    Always(EndReason),
    /// Only if its claim window (UNCLAIMED) or pass (PASS_EXPIRED) is over.
    IfExpired,
}

#[async_trait]
pub trait RoomRegistry: AccessCodes + Grants + Retention + Send + Sync + 'static {
    /// The database's clock.
    async fn now(&self) -> Result<UnixMs, RoomsError>;

    async fn create_room(&self, room: NewRoom) -> Result<RoomRecord, RoomsError>;

    /// Replaces policy, name and switches if `version` is still the row's.
    async fn update_room(&self, room: RoomRecord) -> Result<RoomRecord, RoomsError>;

    async fn room(&self, id: &RoomId) -> Result<RoomRecord, RoomsError>;

    /// All rooms, by id.
    async fn rooms(&self) -> Result<Vec<RoomRecord>, RoomsError>;

    /// The room that protects a performance or campaign: named itself, else
    /// through its concert.
    async fn protector(&self, target: &ResourceId) -> Result<Option<RoomId>, RoomsError>;

    /// Whether everything the room protects is sold: at least one seat, and
    /// every one SOLD or BLOCKED.
    async fn is_sold_out(&self, id: &RoomId) -> Result<bool, RoomsError>;

    /// Takes or renews the lease `name` for `ttl_ms`. [`RoomsError::LeaseHeld`]
    /// while another holder's has not run out. Never waits behind other writes
    /// that are not begun: an overload takes no lease away.
    async fn lease(&self, name: &str, holder: u64, ttl_ms: u64) -> Result<(), RoomsError>;

    /// As [`Self::lease`], but a higher holder takes it from a lower one.
    async fn outrank(&self, name: &str, holder: u64, ttl_ms: u64) -> Result<(), RoomsError>;

    /// Gives the lease up, if `holder` has it.
    async fn release_lease(&self, name: &str, holder: u64) -> Result<(), RoomsError>;

    /// Raises the epoch from `room.epoch`, and `reserved_to` of each lane by a
    /// block; answers what the queue is rebuilt from. `Fenced` to the loser.
    async fn raise_epoch(&self, room: &RoomRef, block: u64) -> Result<RecoveredRoom, RoomsError>;

    /// A count of SQL's own life: a copy of the database that was taken before
    /// has a lower one.
    async fn mark(&self) -> Result<u64, RoomsError>;

    /// Raises the mark above what it is, and above `past`; answers it.
    async fn raise_mark(&self, past: u64) -> Result<u64, RoomsError>;

    /// Whether a queue has gone further with a room than its row says.
    async fn is_behind(&self, room: &RoomId, kept: &KeptRoom) -> Result<bool, RoomsError>;

    /// Brings the row as far as the queue has gone: its epoch, the numbers that
    /// are reserved. Answers the room as it is then.
    async fn catch_up(&self, room: &RoomId, kept: &KeptRoom) -> Result<RoomRef, RoomsError>;

    /// Raises a lane's `reserved_to` to at least `to`; answers what it is now.
    async fn reserve_numbers(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        to: Number,
    ) -> Result<Number, RoomsError>;

    /// At a clean stop: numbers above the highest issued were never given.
    async fn return_numbers(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        issued_to: Number,
    ) -> Result<(), RoomsError>;

    /// Merges pages of departed numbers (bitwise or).
    async fn save_departed(
        &self,
        room: &RoomRef,
        pages: Vec<DepartedPage>,
    ) -> Result<(), RoomsError>;

    /// Someone who waits left while the queue is away: their number departs
    /// here, and an event has the queue told.
    async fn note_left(
        &self,
        room: &RoomRef,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<(), RoomsError>;

    /// Fixes N per lane, once: a later call answers the first one's.
    async fn fix_draw(&self, room: &RoomRef, n: Vec<Number>) -> Result<Vec<Number>, RoomsError>;

    /// Writes rows for granted places in one transaction that checks the
    /// epoch. With `claim_window_ms` 0 they are ACTIVE at once. A place that
    /// has a row keeps it. Answers all rows, in the order asked.
    async fn insert_activations(
        &self,
        room: &RoomRef,
        places: Vec<NewActivation>,
        claim_window_ms: u64,
        pass_ttl_ms: u64,
    ) -> Result<Vec<ActivationRow>, RoomsError>;

    /// ACTIVATED → ACTIVE, if its window is open.
    async fn claim_activation(
        &self,
        id: ActivationId,
        pass_ttl_ms: u64,
    ) -> Result<Claimed, RoomsError>;

    /// Ends it if the condition holds; answers the row as it is now. The slot's
    /// release is left in the outbox in the same transaction when it ended now.
    async fn end_activation(
        &self,
        id: ActivationId,
        condition: EndCondition,
    ) -> Result<ActivationRow, RoomsError>;

    async fn activation(&self, id: ActivationId) -> Result<ActivationRow, RoomsError>;

    /// The activation of a place, if it ever had one.
    async fn activation_of(
        &self,
        room: &RoomId,
        place: PlaceKey,
    ) -> Result<Option<ActivationRow>, RoomsError>;
}
