//! Since when a room is closed, and since when it is being forgotten.

use sea_orm_migration::prelude::*;

use crate::columns::{add, drop_column, integer, optional};

#[derive(DeriveMigrationName)]
pub struct Migration;

const COLUMNS: [&str; 2] = ["closed_at", "forgotten_at"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    /// A room that was closed before counts from when a server first looks.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            add(manager, "rooms", optional(integer(column))).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            drop_column(manager, "rooms", column).await?;
        }
        Ok(())
    }
}
