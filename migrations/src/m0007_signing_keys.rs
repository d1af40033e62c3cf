//! Signing keys that several nodes share, each wrapped by a key that is not in
//! the database.

use sea_orm_migration::prelude::*;

use crate::columns::{bytes, create, drop_all, integer, name_of};

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
                .table("signing_keys")
                .col(name_of("family"))
                .col(name_of("kid"))
                .col(integer("created_at_s"))
                .col(integer("sign_from_s"))
                .col(name_of("wrap_id"))
                .col(bytes("sealed"))
                .primary_key(Index::create().col("family").col("kid")),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["signing_keys"]).await
    }
}
