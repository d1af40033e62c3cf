//! Money that a payment provider takes and gives back.

use sea_orm_migration::prelude::*;

use crate::columns::{create, create_index, drop_all, id, integer, name_of, optional, user};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        intents(manager).await?;
        refunds(manager).await?;
        events(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = ["gateway_events", "gateway_refunds", "payment_intents"];
        drop_all(manager, &tables).await
    }
}

/// An id that someone else made.
fn foreign(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    column.string_len(128).not_null();
    column
}

fn currency() -> ColumnDef {
    let mut column = ColumnDef::new("currency");
    column.string_len(3).not_null();
    column
}

async fn due(
    manager: &SchemaManager<'_>,
    name: &'static str,
    table: &'static str,
) -> Result<(), DbErr> {
    let index = Index::create()
        .name(name)
        .table(table)
        .col("state")
        .col("next_at")
        .to_owned();
    create_index(manager, index).await
}

/// One for each attempt to take money: of a payment it has the id, of a top-up
/// the id of its entry in the ledger. `next_at`: when to ask the provider.
async fn intents(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("payment_intents")
            .col(id("id").primary_key())
            .col(user("user_id"))
            .col(name_of("purpose"))
            .col(name_of("state"))
            .col(currency())
            .col(integer("amount_minor"))
            .col(optional(foreign("provider_id")))
            .col(integer("created_at"))
            .col(optional(integer("settled_at")))
            .col(integer("tries"))
            .col(integer("next_at")),
    )
    .await?;
    due(manager, "payment_intents_due", "payment_intents").await
}

/// One for each entry by which money goes back to the provider, with its id.
async fn refunds(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("gateway_refunds")
            .col(id("id").primary_key())
            .col(id("intent_id"))
            .col(name_of("state"))
            .col(currency())
            .col(integer("amount_minor"))
            .col(integer("created_at"))
            .col(optional(integer("done_at")))
            .col(integer("tries"))
            .col(integer("next_at")),
    )
    .await?;
    due(manager, "gateway_refunds_due", "gateway_refunds").await?;
    let of_intent = Index::create()
        .name("gateway_refunds_of_intent")
        .table("gateway_refunds")
        .col("intent_id")
        .to_owned();
    create_index(manager, of_intent).await
}

/// What a provider said, by its own ids: told again, it has no effect.
async fn events(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("gateway_events")
            .col(name_of("provider"))
            .col(foreign("id"))
            .col(integer("received_at"))
            .primary_key(Index::create().col("provider").col("id")),
    )
    .await?;
    let age = Index::create()
        .name("gateway_events_age")
        .table("gateway_events")
        .col("received_at")
        .to_owned();
    create_index(manager, age).await
}
