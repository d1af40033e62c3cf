//! Access codes, as salted hashes: a code is one user's once it is redeemed.

use sea_orm_migration::prelude::*;

use crate::columns::{bytes, create, drop_all, id, integer, optional, refers, user};

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
                .table("code_salts")
                .col(id("room_id").primary_key())
                .col(bytes("salt"))
                .foreign_key(&mut refers("room_id", "rooms", "id")),
        )
        .await?;
        create(
            manager,
            Table::create()
                .table("access_codes")
                .col(id("room_id"))
                .col(id("code_hash"))
                .col(integer("lane"))
                .col(optional(user("user_id")))
                .col(optional(integer("redeemed_at")))
                .primary_key(Index::create().col("room_id").col("code_hash"))
                .foreign_key(&mut refers("room_id", "rooms", "id")),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["access_codes", "code_salts"]).await
    }
}
