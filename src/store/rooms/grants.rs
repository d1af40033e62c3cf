//! What operators do to one user's turn: the part of the registry that grants
//! and revokes.
//!
//! Promises, held by `store::rooms::conformance`:
//! - Each is one transaction that checks the epoch, and keeps the request that
//!   asked for it under the row's id: the same request again changes nothing
//!   and answers the same row, as it is now.
//! - A granted row is ACTIVE at once, for its own time.
//! - A revoked place has a row that ended as REVOKED, whether it had its turn
//!   or not: it never gets one again, and the queue hears of it through the
//!   outbox if nobody else tells it.

use async_trait::async_trait;

use crate::domain::ids::{ActivationId, PlaceKey, RoomId, RoomRef, UserId};
use crate::store::sales::Asked;

use super::{ActivationRow, RoomsError};

/// An operator's word about one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorTurn {
    /// Used if the place has no row yet.
    pub id: ActivationId,
    pub place: PlaceKey,
    pub user: UserId,
    /// For the record: it leaves as an event.
    pub reason: String,
    pub asked: Asked,
}

#[async_trait]
pub trait Grants: Send + Sync + 'static {
    /// Writes a granted place's row, ACTIVE for `ttl_ms`. An ACTIVATED row of it
    /// becomes ACTIVE, if its window is open; an ACTIVE one stays as it is; one
    /// that is over is answered, and nothing is kept.
    /// [`RoomsError::KeyReused`] for another request under the key.
    async fn grant_activation(
        &self,
        room: &RoomRef,
        turn: OperatorTurn,
        ttl_ms: u64,
    ) -> Result<ActivationRow, RoomsError>;

    /// The row by which a user has a turn in a room: the newest, if ever there
    /// are two.
    async fn live_activation_of(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<ActivationRow>, RoomsError>;

    /// Ends a place's row as REVOKED; a place that has none gets one that is
    /// over. One that ended for another reason is answered, and nothing is
    /// kept.
    async fn revoke_place(
        &self,
        room: &RoomRef,
        turn: OperatorTurn,
    ) -> Result<ActivationRow, RoomsError>;
}
