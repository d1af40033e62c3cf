//! Which signing keys each of several nodes has, by marks that tell nothing of
//! them: nodes find out here whether they have the same.

use sea_orm_migration::prelude::*;

use crate::columns::{create, drop_all, flag, integer, text};

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
                .table("key_holders")
                .col(integer("node"))
                .col(text("held"))
                .col(flag("is_accepted"))
                .col(integer("signs_since"))
                .col(integer("lives_until"))
                .primary_key(Index::create().col("node")),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["key_holders"]).await
    }
}
