//! Access codes in SQL: the part of the registry that gives and redeems them.
//!
//! Promises, held by `store::rooms::conformance`:
//! - A code is redeemed once, in one transaction, and is its user's from then
//!   on: that user may show it again, nobody else ever may. So a crash between
//!   the redemption and the join takes nothing from anyone.
//! - Codes are stored as salted hashes; no method tells one.
//! - Giving a code again changes nothing, whoever redeemed it.

use async_trait::async_trait;

use crate::domain::access::{LaneCode, ShownCode};
use crate::domain::ids::{LaneIndex, RoomId, UserId};

use super::{NewRoom, RoomRecord, RoomsError};

/// Codes to give with a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCodes {
    pub codes: Vec<LaneCode>,
    /// Random, from the caller; kept if the room has no salt yet.
    pub salt: [u8; 32],
}

#[async_trait]
pub trait AccessCodes: Send + Sync + 'static {
    /// [`super::RoomRegistry::create_room`], and its codes, in one transaction.
    async fn create_room_with_codes(
        &self,
        room: NewRoom,
        codes: NewCodes,
    ) -> Result<RoomRecord, RoomsError>;

    /// [`super::RoomRegistry::update_room`], and further codes, in one
    /// transaction. [`RoomsError::CodeOfAnotherLane`] where the room has one of
    /// them in another lane, [`RoomsError::TooManyCodes`] beyond its limit.
    async fn update_room_with_codes(
        &self,
        room: RoomRecord,
        codes: NewCodes,
    ) -> Result<RoomRecord, RoomsError>;

    /// Redeems a code for a user and answers its lane. `None`: the room has no
    /// such code, or it is another user's. A guess that misses writes nothing.
    async fn redeem_code(
        &self,
        room: &RoomId,
        code: &ShownCode,
        user: &UserId,
    ) -> Result<Option<LaneIndex>, RoomsError>;
}
