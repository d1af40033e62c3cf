//! What a room is told and what it answers: plain data, shared by the machine
//! and by every store that does the same steps elsewhere.

use std::sync::Arc;

use crate::domain::delta::DrawOrder;
use crate::domain::ids::{ActivationId, Cursor, Incarnation, LaneIndex, Number, PlaceKey, UserId};
use crate::domain::place::{EndReason, Place, RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::rank::PAGE_BITS;

/// Why a step is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the room is closed")]
    Closed,
    #[error("the room is sold out")]
    SoldOut,
    #[error("the room's line is full")]
    Full,
    /// Numbers are frozen for the moment of opening, or the lane is about to be
    /// appended.
    #[error("the room is opening")]
    Opening,
    /// Raise `reserved_to` to at least `reserve_to`, then try again.
    #[error("no reserved number is left in lane {lane}")]
    NumbersExhausted { lane: LaneIndex, reserve_to: Number },
    #[error("no such place")]
    UnknownPlace,
    /// The room was lost, and activation rests until its line had time to come
    /// back.
    #[error("the room is being rebuilt")]
    Rebuilding,
    #[error("no slot is free")]
    NoSlot,
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
    /// Of the row that the room is configured by.
    pub version: u64,
    /// All places in `granting` that this caller should write rows for: those
    /// just picked, and those picked earlier that nobody confirmed in time.
    pub granted: Vec<Granted>,
    /// Activations whose claim window or pass is over by room time.
    pub due: Vec<ActivationId>,
    pub low_numbers: Vec<LowNumbers>,
    /// Nothing to do until something happens: no live place and no slot.
    pub quiet: bool,
    /// There is more to lapse, or to pass over, than one tick does.
    pub has_more: bool,
}

/// An activation whose row is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    pub place: PlaceKey,
    pub user: UserId,
    /// As the row says; `Ended` for one that was over before its place was
    /// confirmed, which takes no slot.
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

impl DepartedPage {
    /// The page of one number, with its bit alone.
    #[must_use]
    pub fn of(place: PlaceKey) -> Self {
        let bit = place.number % PAGE_BITS;
        let byte = usize::try_from(bit / 8).unwrap_or_default();
        let mut bits = vec![0; byte + 1];
        bits[byte] = 1 << (bit % 8);
        Self {
            lane: place.lane,
            page: u32::try_from(place.number / PAGE_BITS).unwrap_or(u32::MAX),
            bits,
        }
    }

    /// The numbers whose bits are set.
    pub fn numbers(&self) -> impl Iterator<Item = Number> + '_ {
        let first = u64::from(self.page) * PAGE_BITS;
        let set = self.bits.iter().enumerate().filter(|(_, bits)| **bits != 0);
        set.flat_map(move |(byte, bits)| {
            (0..8)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| first + byte as u64 * 8 + bit)
        })
    }
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
    /// Of the row: later ones configure the room, earlier ones do not.
    pub version: u64,
    pub policy: Arc<RoomPolicy>,
    pub switches: RoomSwitches,
    pub lanes: Vec<LaneInit>,
    /// Activations that are not over: departed, and each takes a slot.
    pub live: Vec<Confirm>,
    /// Activations that are over: departed.
    pub ended: Vec<PlaceKey>,
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
