//! [`RoomRegistry`] on SQL: each method is one unit of work.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::DbErr;

use crate::domain::ids::{
    ActivationId, LaneIndex, Number, PlaceKey, ResourceId, RoomId, RoomRef, UserId,
};
use crate::domain::time::UnixMs;
use crate::store::queue::{DepartedPage, KeptRoom};
use crate::store::rooms::{
    ActivationRow, Claimed, EndCondition, NewActivation, NewRoom, RecoveredRoom, RoomRecord,
    RoomRegistry, RoomsError,
};

use super::idempotency::Slot;
use super::{SqlError, SqlStore, Tx, leases, marks};

pub mod activations;
mod catch_up;
mod codes;
mod grants;
mod lanes;
mod protects;
pub mod records;
mod recovery;
mod retention;

impl From<SqlError> for RoomsError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Overloaded | SqlError::Contended => Self::Overloaded,
            SqlError::Unsupported(_)
            | SqlError::Stopped
            | SqlError::Panicked
            | SqlError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<DbErr> for RoomsError {
    fn from(error: DbErr) -> Self {
        SqlError::from(error).into()
    }
}

/// A row that this version cannot have written.
fn unreadable(what: &str) -> RoomsError {
    RoomsError::Unavailable(format!("unreadable row: {what}"))
}

async fn create(tx: &Tx, room: &NewRoom) -> Result<RoomRecord, RoomsError> {
    let made = records::create(tx, room).await?;
    if let Some(asked) = &room.asked {
        Slot::of(asked)
            .and_then(|slot| slot.keep(tx, Vec::<u8>::new()))
            .map_err(|_| unreadable("idempotency.request_hash"))?;
    }
    Ok(made)
}

#[async_trait]
impl RoomRegistry for SqlStore {
    async fn now(&self) -> Result<UnixMs, RoomsError> {
        self.read((), |tx, ()| async move { Ok(tx.now()) }.boxed())
            .await
    }

    async fn create_room(&self, room: NewRoom) -> Result<RoomRecord, RoomsError> {
        self.write(room, |tx, room| create(tx, room).boxed()).await
    }

    async fn update_room(&self, room: RoomRecord) -> Result<RoomRecord, RoomsError> {
        self.write(room, |tx, room| records::update(tx, room).boxed())
            .await
    }

    async fn room(&self, id: &RoomId) -> Result<RoomRecord, RoomsError> {
        self.read(id.clone(), |tx, id| records::load(tx, id).boxed())
            .await
    }

    async fn rooms(&self) -> Result<Vec<RoomRecord>, RoomsError> {
        self.read((), |tx, ()| records::load_all(tx).boxed()).await
    }

    async fn protector(&self, target: &ResourceId) -> Result<Option<RoomId>, RoomsError> {
        self.read(target.clone(), |tx, target| {
            protects::protector(tx, target).boxed()
        })
        .await
    }

    async fn is_sold_out(&self, id: &RoomId) -> Result<bool, RoomsError> {
        self.read(id.clone(), |tx, id| protects::is_sold_out(tx, id).boxed())
            .await
    }

    async fn lease(&self, name: &str, holder: u64, ttl_ms: u64) -> Result<(), RoomsError> {
        let input = (name.to_owned(), holder, ttl_ms);
        self.write_urgent(input, |tx, (name, holder, ttl_ms)| {
            async move {
                if leases::take(tx, name, *holder, *ttl_ms).await? {
                    return Ok(());
                }
                Err(RoomsError::LeaseHeld)
            }
            .boxed()
        })
        .await
    }

    async fn outrank(&self, name: &str, holder: u64, ttl_ms: u64) -> Result<(), RoomsError> {
        self.write((name.to_owned(), holder, ttl_ms), |tx, input| {
            let (name, holder, ttl_ms) = input;
            async move {
                match leases::outrank(tx, name, *holder, *ttl_ms).await? {
                    true => Ok(()),
                    false => Err(RoomsError::LeaseHeld),
                }
            }
            .boxed()
        })
        .await
    }

    async fn release_lease(&self, name: &str, holder: u64) -> Result<(), RoomsError> {
        self.write((name.to_owned(), holder), |tx, (name, holder)| {
            async move { Ok(leases::release(tx, name, *holder).await?) }.boxed()
        })
        .await
    }

    async fn raise_epoch(&self, room: &RoomRef, block: u64) -> Result<RecoveredRoom, RoomsError> {
        self.write((room.clone(), block), |tx, (room, block)| {
            recovery::raise_epoch(tx, room, *block).boxed()
        })
        .await
    }

    async fn mark(&self) -> Result<u64, RoomsError> {
        self.read((), |tx, ()| {
            async move { Ok(marks::read(tx, marks::QUEUE).await?) }.boxed()
        })
        .await
    }

    async fn raise_mark(&self, past: u64) -> Result<u64, RoomsError> {
        self.write(past, |tx, past| {
            async move { Ok(marks::raise(tx, marks::QUEUE, *past).await?) }.boxed()
        })
        .await
    }

    async fn is_behind(&self, room: &RoomId, kept: &KeptRoom) -> Result<bool, RoomsError> {
        self.read((room.clone(), kept.clone()), |tx, (room, kept)| {
            async move { Ok(catch_up::behind(tx, room, kept).await?.is_some()) }.boxed()
        })
        .await
    }

    async fn catch_up(&self, room: &RoomId, kept: &KeptRoom) -> Result<RoomRef, RoomsError> {
        self.write((room.clone(), kept.clone()), |tx, (room, kept)| {
            catch_up::catch_up(tx, room, kept).boxed()
        })
        .await
    }

    async fn reserve_numbers(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        to: Number,
    ) -> Result<Number, RoomsError> {
        self.write((room.clone(), lane, to), |tx, (room, lane, to)| {
            lanes::reserve(tx, room, *lane, *to).boxed()
        })
        .await
    }

    async fn return_numbers(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        issued_to: Number,
    ) -> Result<(), RoomsError> {
        let input = (room.clone(), lane, issued_to);
        self.write(input, |tx, (room, lane, issued_to)| {
            lanes::give_back(tx, room, *lane, *issued_to).boxed()
        })
        .await
    }

    async fn save_departed(
        &self,
        room: &RoomRef,
        pages: Vec<DepartedPage>,
    ) -> Result<(), RoomsError> {
        self.write_background((room.clone(), pages), |tx, (room, pages)| {
            lanes::save_departed(tx, room, pages).boxed()
        })
        .await
    }

    async fn note_left(
        &self,
        room: &RoomRef,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<(), RoomsError> {
        let input = (room.clone(), place, user.clone());
        self.write(input, |tx, (room, place, user)| {
            lanes::note_left(tx, room, *place, user).boxed()
        })
        .await
    }

    async fn fix_draw(&self, room: &RoomRef, n: Vec<Number>) -> Result<Vec<Number>, RoomsError> {
        self.write((room.clone(), n), |tx, (room, n)| {
            lanes::fix_draw(tx, room, n).boxed()
        })
        .await
    }

    async fn insert_activations(
        &self,
        room: &RoomRef,
        places: Vec<NewActivation>,
        claim_window_ms: u64,
        pass_ttl_ms: u64,
    ) -> Result<Vec<ActivationRow>, RoomsError> {
        let terms = activations::Terms {
            claim_window_ms,
            pass_ttl_ms,
        };
        self.write(
            (room.clone(), places, terms),
            |tx, (room, places, terms)| activations::insert(tx, room, places, *terms).boxed(),
        )
        .await
    }

    async fn claim_activation(
        &self,
        id: ActivationId,
        pass_ttl_ms: u64,
    ) -> Result<Claimed, RoomsError> {
        self.write((id, pass_ttl_ms), |tx, (id, pass_ttl_ms)| {
            activations::claim(tx, *id, *pass_ttl_ms).boxed()
        })
        .await
    }

    async fn end_activation(
        &self,
        id: ActivationId,
        condition: EndCondition,
    ) -> Result<ActivationRow, RoomsError> {
        self.write((id, condition), |tx, (id, condition)| {
            activations::end(tx, *id, *condition).boxed()
        })
        .await
    }

    async fn activation(&self, id: ActivationId) -> Result<ActivationRow, RoomsError> {
        self.read(id, |tx, id| activations::load(tx, *id).boxed())
            .await
    }

    async fn activation_of(
        &self,
        room: &RoomId,
        place: PlaceKey,
    ) -> Result<Option<ActivationRow>, RoomsError> {
        self.read((room.clone(), place), |tx, (room, place)| {
            activations::find(tx, room, *place).boxed()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
