//! Events that are kept for a consumer, where no broker keeps them: those of a
//! consumer whose receiver is slow or away hold up nobody else's.

use sea_orm_migration::prelude::*;

use crate::columns::{create, drop_all, integer, name_of, text};

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
                .table("kept_events")
                .col(name_of("consumer"))
                .col(integer("event_id"))
                .col(ColumnDef::new("aggregate").string_len(255).not_null())
                .col(integer("version"))
                .col(ColumnDef::new("kind").string_len(64).not_null())
                .col(text("payload"))
                .col(integer("created_at"))
                .primary_key(Index::create().col("consumer").col("event_id")),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["kept_events"]).await
    }
}
