//! Leases: one holder at a time, judged by the database's clock.

use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter};

use super::Tx;
use super::columns::time_to_column;
use super::entity::lease;
use super::unit::insert_missing;

/// Takes or renews a lease; `false` while another holder has it.
pub(super) async fn take(tx: &Tx, name: &str, holder: u64, ttl_ms: u64) -> Result<bool, DbErr> {
    let mine = lease::Column::Holder.eq(holder.cast_signed());
    take_if(tx, name, holder, ttl_ms, mine).await
}

/// The same, and a higher holder takes it from a lower one.
pub(super) async fn outrank(tx: &Tx, name: &str, holder: u64, ttl_ms: u64) -> Result<bool, DbErr> {
    let not_higher = lease::Column::Holder.lte(holder.cast_signed());
    take_if(tx, name, holder, ttl_ms, not_higher).await
}

async fn take_if(
    tx: &Tx,
    name: &str,
    holder: u64,
    ttl_ms: u64,
    may_take: Expr,
) -> Result<bool, DbErr> {
    let expires_at = time_to_column(tx.now().plus_ms(ttl_ms));
    let mine_or_over = Condition::any()
        .add(may_take)
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
        return Ok(true);
    }
    let first = lease::ActiveModel {
        name: Set(name.to_owned()),
        holder: Set(holder.cast_signed()),
        expires_at: Set(expires_at),
    };
    Ok(insert_missing(tx, [first]).await? > 0)
}

/// Of these leases: those that `holder` has for at least so long, and those that
/// it might take or must renew.
pub(super) async fn sort(
    tx: &Tx,
    names: Vec<String>,
    holder: u64,
    left_ms: u64,
) -> Result<(Vec<String>, Vec<String>), DbErr> {
    let now = time_to_column(tx.now());
    let until = time_to_column(tx.now().plus_ms(left_ms));
    let found = lease::Entity::find()
        .filter(lease::Column::Name.is_in(names.clone()))
        .all(tx)
        .await?;
    let (mut lasting, mut open) = (Vec::new(), names);
    for lease in found {
        let is_mine = lease.holder == holder.cast_signed();
        if is_mine && lease.expires_at < until || !is_mine && lease.expires_at <= now {
            continue;
        }
        open.retain(|name| *name != lease.name);
        if is_mine {
            lasting.push(lease.name);
        }
    }
    Ok((lasting, open))
}

/// Gives a lease up, if `holder` has it.
pub(super) async fn release(tx: &Tx, name: &str, holder: u64) -> Result<(), DbErr> {
    lease::Entity::delete_many()
        .filter(lease::Column::Name.eq(name))
        .filter(lease::Column::Holder.eq(holder.cast_signed()))
        .exec(tx)
        .await?;
    Ok(())
}
