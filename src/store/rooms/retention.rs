//! Forgetting rooms that are over: the part of the registry that makes tables
//! small again.
//!
//! Promises, held by `store::rooms::conformance`:
//! - A room is *finished* once it has been closed for as long as is asked, none
//!   of its activations is live, and nothing that it protects can be sold any
//!   more: whoever forgets it opens no sale to those who never waited.
//! - A forgotten room is unknown to every other method from then on, so nobody
//!   makes it anew, or writes a row of it.
//! - Its row goes last. Whoever stopped half way, or could not remove it from
//!   the queue yet, finds it again.
//! - What was sold stays as it is.

use async_trait::async_trait;

use crate::domain::ids::{RoomId, RoomRef};

use super::RoomsError;

/// A room that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub room: RoomRef,
    /// By [`Retention::forget`], and its rows are not gone yet.
    pub is_forgotten: bool,
}

/// How far the rows of a forgotten room are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// There are more; go on.
    More,
    /// The rest waits for its time (an event that is not delivered, or young),
    /// and the room's row with it.
    Waits,
    /// Nothing is left.
    Done,
}

#[async_trait]
pub trait Retention {
    /// Rooms that finished at least `retain_ms` ago, forgotten ones first.
    async fn finished_rooms(
        &self,
        retain_ms: u64,
        rooms_max: u32,
    ) -> Result<Vec<Finished>, RoomsError>;

    /// Forgets the room if it is finished still; what it protected is free for
    /// another. [`RoomsError::Fenced`] if it is of another epoch;
    /// [`RoomsError::UnknownRoom`] if it is not finished, or forgotten already.
    async fn forget(&self, room: &RoomRef, retain_ms: u64) -> Result<(), RoomsError>;

    /// Deletes up to about `rows_max` rows of each kind of a forgotten room.
    async fn delete_forgotten(&self, room: &RoomId, rows_max: u32) -> Result<Deletion, RoomsError>;
}
