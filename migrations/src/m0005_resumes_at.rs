//! When a room's pause ends by itself.

use sea_orm_migration::prelude::*;

use crate::columns::{add, drop_column, integer, optional};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "rooms", optional(integer("resumes_at"))).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_column(manager, "rooms", "resumes_at").await
    }
}
