//! Whose an intent and its refunds are, and how an intent may end otherwise than
//! by a yes or a no: its buyer is asked for something, or another amount was
//! taken than was asked for.

use sea_orm_migration::prelude::*;

use crate::columns::{add, create_index, drop_column, integer, name_of, optional, text};

#[derive(DeriveMigrationName)]
pub struct Migration;

const INTENTS: &str = "payment_intents";
const REFUNDS: &str = "gateway_refunds";

/// Indexes: a name, its table, its columns.
const INDEXES: [(&str, &str, &[&str]); 3] = [
    (
        "payment_intents_due_at",
        INTENTS,
        &["provider", "state", "next_at"],
    ),
    (
        "gateway_refunds_due_at",
        REFUNDS,
        &["provider", "state", "next_at"],
    ),
    ("payment_intents_of_user", INTENTS, &["user_id", "state"]),
];

/// NULL where a server that knows nothing of it wrote the row.
fn columns() -> [(&'static str, ColumnDef); 6] {
    let mut currency = ColumnDef::new("taken_currency");
    currency.string_len(3);
    [
        (INTENTS, optional(name_of("provider"))),
        // Where its buyer goes on, until when.
        (INTENTS, optional(text("action_url"))),
        (INTENTS, optional(integer("deadline_at"))),
        // If it is not what was asked for.
        (INTENTS, optional(integer("taken_minor"))),
        (INTENTS, optional(currency)),
        (REFUNDS, optional(name_of("provider"))),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            add(manager, table, column).await?;
        }
        for (name, table, columns) in INDEXES {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            create_index(manager, index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table, _) in INDEXES {
            let index = Index::drop().name(name).table(table).to_owned();
            manager.drop_index(index).await?;
        }
        drop_column(manager, REFUNDS, "provider").await?;
        for column in [
            "taken_currency",
            "taken_minor",
            "deadline_at",
            "action_url",
            "provider",
        ] {
            drop_column(manager, INTENTS, column).await?;
        }
        Ok(())
    }
}
