//! What every business transaction leaves behind: its events, and the answer
//! kept for a repeated command.

use sea_orm_migration::prelude::*;

use crate::columns::{bytes, create, create_index, drop_all, flag, integer, optional, text, user};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        outbox(manager).await?;
        idempotency(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["idempotency", "outbox"]).await
    }
}

async fn outbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("outbox")
            .col(integer("id").primary_key().auto_increment())
            .col(ColumnDef::new("aggregate").string_len(160).not_null())
            .col(integer("version"))
            .col(ColumnDef::new("kind").string_len(64).not_null())
            .col(text("payload"))
            .col(integer("partition_no"))
            .col(integer("created_at"))
            .col(optional(integer("published_at")))
            .col(integer("attempts"))
            .col(integer("next_attempt_at"))
            .col(flag("dead")),
    )
    .await?;
    create_index(
        manager,
        Index::create()
            .name("outbox_aggregate")
            .table("outbox")
            .col("aggregate")
            .col("version")
            .unique()
            .to_owned(),
    )
    .await?;
    // What a relay looks for: the unpublished rows of its partition, in order.
    create_index(
        manager,
        Index::create()
            .name("outbox_pending")
            .table("outbox")
            .col("partition_no")
            .col("dead")
            .col("published_at")
            .col("id")
            .to_owned(),
    )
    .await
}

/// The answer first given to `(user, RPC, key)`; no row while it is unknown.
async fn idempotency(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("idempotency")
            .col(user("user_id"))
            .col(ColumnDef::new("rpc").string_len(64).not_null())
            .col(ColumnDef::new("idempotency_key").string_len(64).not_null())
            .col(bytes("request_hash"))
            .col(bytes("response"))
            .col(integer("created_at"))
            .primary_key(
                Index::create()
                    .col("user_id")
                    .col("rpc")
                    .col("idempotency_key"),
            ),
    )
    .await?;
    create_index(
        manager,
        Index::create()
            .name("idempotency_age")
            .table("idempotency")
            .col("created_at")
            .to_owned(),
    )
    .await
}
