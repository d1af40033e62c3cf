//! The room that protected the performance when its seats were held.

use sea_orm_migration::prelude::*;

use crate::columns::{add, drop_column, id, optional};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Rows from before: a hold was only ever made with a pass of the room that
/// protected it then.
const FROM_ACTIVATIONS: &str = "\
UPDATE reservations SET room_id = \
(SELECT room_id FROM activations WHERE activations.id = reservations.activation_id) \
WHERE activation_id IS NOT NULL";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "reservations", optional(id("room_id"))).await?;
        let db = manager.get_connection();
        db.execute_unprepared(FROM_ACTIVATIONS).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_column(manager, "reservations", "room_id").await
    }
}
