//! Events that wait for what they are about, each for a pause of its own.

use std::collections::BTreeMap;

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::entity::outbox::{Column, Entity};
use super::IDS_PER_STATEMENT;
use crate::store::outbox::{OutboxError, RetryPolicy};

pub async fn put_off(tx: &Tx, ids: &[i64], retry: RetryPolicy) -> Result<(), OutboxError> {
    // Few: pauses end at the longest.
    let mut by_pause: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for ids in ids.chunks(IDS_PER_STATEMENT) {
        let found = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Attempts])
            .filter(Column::Id.is_in(ids.iter().copied()))
            .into_tuple::<(i64, i64)>()
            .all(tx)
            .await?;
        for (id, attempts) in found {
            let times = u32::try_from(attempts).unwrap_or(u32::MAX);
            let pause_ms = retry.pause_ms(times.saturating_add(1));
            let pause_ms = pause_ms.unwrap_or(retry.back_off_max_ms);
            by_pause.entry(pause_ms).or_default().push(id);
        }
    }
    for (pause_ms, ids) in by_pause {
        let at = time_to_column(tx.now().plus_ms(pause_ms));
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            Entity::update_many()
                .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
                .col_expr(Column::NextAttemptAt, Expr::value(at))
                .filter(Column::Id.is_in(ids.iter().copied()))
                .filter(Column::PublishedAt.is_null())
                .filter(Column::Dead.eq(false))
                .exec(tx)
                .await?;
        }
    }
    Ok(())
}
