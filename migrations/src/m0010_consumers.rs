//! What consumers of events keep: which they have consumed, which they gave up,
//! and what two of them count. And how an event was routed when it was
//! published, which the next one of its aggregate follows.

use sea_orm_migration::prelude::*;

use crate::columns::{
    add, create, create_index, drop_all, drop_column, id, integer, name_of, optional, text,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "outbox", optional(integer("route"))).await?;
        inbox(manager).await?;
        dead_letters(manager).await?;
        sales_figures(manager).await?;
        sales_days(manager).await?;
        sold_outs(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "sold_outs",
            "sales_days",
            "sales_figures",
            "dead_letters",
            "inbox",
        ];
        drop_all(manager, &tables).await?;
        drop_column(manager, "outbox", "route").await
    }
}

/// One row per event that a consumer has consumed, or given up.
async fn inbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("inbox")
            .col(name_of("consumer"))
            .col(id("event_id"))
            .col(integer("received_at"))
            .primary_key(Index::create().col("consumer").col("event_id")),
    )
    .await?;
    create_index(
        manager,
        Index::create()
            .name("inbox_age")
            .table("inbox")
            .col("received_at")
            .to_owned(),
    )
    .await
}

async fn dead_letters(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("dead_letters")
            .col(name_of("consumer"))
            .col(id("event_id"))
            .col(ColumnDef::new("aggregate").string_len(255).not_null())
            .col(integer("version"))
            .col(ColumnDef::new("kind").string_len(64).not_null())
            .col(text("payload"))
            .col(integer("created_at"))
            .col(text("why"))
            .col(integer("parked_at"))
            .primary_key(Index::create().col("consumer").col("event_id")),
    )
    .await
}

/// Seats sold and money taken, less what was given back.
async fn sales_figures(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("sales_figures")
            .col(id("performance_id"))
            .col(ColumnDef::new("currency").string_len(3).not_null())
            .col(integer("sold"))
            .col(integer("revenue_minor"))
            .primary_key(Index::create().col("performance_id").col("currency")),
    )
    .await
}

/// Seats sold on each day, as days since 1970.
async fn sales_days(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("sales_days")
            .col(id("performance_id"))
            .col(integer("day"))
            .col(integer("sold"))
            .primary_key(Index::create().col("performance_id").col("day")),
    )
    .await
}

/// When a performance was first without a seat, while it still is.
async fn sold_outs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("sold_outs")
            .col(id("performance_id").primary_key())
            .col(integer("sold_out_at")),
    )
    .await
}
