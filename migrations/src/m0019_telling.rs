//! The trace of the request that caused an event, beside the event. NULL where
//! no request is known, or a server that knows nothing of it wrote the row.

use sea_orm_migration::prelude::*;

use crate::columns::{add, drop_column};

#[derive(DeriveMigrationName)]
pub struct Migration;

const TABLE: &str = "outbox";
const COLUMN: &str = "trace";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // 32 digits, a hyphen, two digits.
        let mut trace = ColumnDef::new(COLUMN);
        trace.string_len(35);
        add(manager, TABLE, trace).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_column(manager, TABLE, COLUMN).await
    }
}
