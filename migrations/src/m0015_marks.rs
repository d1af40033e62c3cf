//! Counts that only rise, by name: how far something has gone, for whoever must
//! notice that the database was set back, or what was deleted. And since when a
//! finished sale is being deleted.

use sea_orm_migration::prelude::*;

use crate::columns::{add, create, drop_all, drop_column, integer, name_of, optional};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(
            manager,
            Table::create()
                .table("marks")
                .col(name_of("name").primary_key())
                .col(integer("value")),
        )
        .await?;
        add(manager, "performances", optional(integer("archived_at"))).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_column(manager, "performances", "archived_at").await?;
        drop_all(manager, &["marks"]).await
    }
}
