//! What goes with events, and what of a sale was told ahead of time. NULL: not
//! known, not told, or written by a server that knows nothing of it.

use sea_orm_migration::prelude::*;

use crate::columns::{add, drop_column, integer, optional};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The trace of the request that caused an event; when a hold was asked for; of
/// which date a reservation was reminded, and all of a performance.
fn columns() -> [(&'static str, ColumnDef); 4] {
    // 32 digits, a hyphen, two digits.
    let mut trace = ColumnDef::new("trace");
    trace.string_len(35);
    [
        ("outbox", trace),
        ("reservations", optional(integer("pay_asked_at"))),
        ("reservations", optional(integer("reminded_for"))),
        ("performances", optional(integer("reminded_for"))),
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
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_column(manager, "performances", "reminded_for").await?;
        drop_column(manager, "reservations", "reminded_for").await?;
        drop_column(manager, "reservations", "pay_asked_at").await?;
        drop_column(manager, "outbox", "trace").await
    }
}
