//! Leases: one holder at a time, judged by the database's clock.

use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter};

use crate::store::rooms::RoomsError;
use crate::store::sql::Tx;
use crate::store::sql::columns::time_to_column;
use crate::store::sql::entity::lease;
use crate::store::sql::unit::keep_existing;

pub(super) async fn take(tx: &Tx, name: &str, holder: u64, ttl_ms: u64) -> Result<(), RoomsError> {
    let expires_at = time_to_column(tx.now().plus_ms(ttl_ms));
    let mine_or_over = Condition::any()
        .add(lease::Column::Holder.eq(holder.cast_signed()))
        .add(lease::Column::ExpiresAt.lte(time_to_column(tx.now())));
    let renewed = lease::Entity::update_many()
        .set(lease::ActiveModel {
            holder: Set(holder.cast_signed()),
            expires_at: Set(expires_at),
            ..Default::default()
        })
        .filter(lease::Column::Name.eq(name))
        .filter(mine_or_over)
        .exec(tx)
        .await?;
    if renewed.rows_affected > 0 {
        return Ok(());
    }
    let first = lease::Entity::insert(lease::ActiveModel {
        name: Set(name.to_owned()),
        holder: Set(holder.cast_signed()),
        expires_at: Set(expires_at),
    })
    .on_conflict(keep_existing::<lease::Entity>())
    .exec_without_returning(tx)
    .await?;
    if first == 0 {
        return Err(RoomsError::LeaseHeld);
    }
    Ok(())
}

pub(super) async fn release(tx: &Tx, name: &str, holder: u64) -> Result<(), RoomsError> {
    lease::Entity::delete_many()
        .filter(lease::Column::Name.eq(name))
        .filter(lease::Column::Holder.eq(holder.cast_signed()))
        .exec(tx)
        .await?;
    Ok(())
}
