//! Rows that stand for names, so that a unit can hold off others by a name:
//! MariaDB has no lock on a name that ends with a transaction and takes part in
//! the search for circles. Other databases need none.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::columns::{create, drop_all, integer};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// How many names may be locked at once; two names may share a row.
pub const LOCK_SLOTS: i64 = 4_096;

const DIGITS: &str = "\
(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
UNION SELECT 6 UNION SELECT 7)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::MySql {
            return Ok(());
        }
        create(
            manager,
            Table::create()
                .table("lock_slots")
                .col(integer("id").primary_key()),
        )
        .await?;
        // All combinations of four digits to the base of eight.
        let fill = format!(
            "INSERT IGNORE INTO lock_slots (id) \
             SELECT a.n + 8 * b.n + 64 * c.n + 512 * d.n \
             FROM {DIGITS} AS a, {DIGITS} AS b, {DIGITS} AS c, {DIGITS} AS d"
        );
        let db = manager.get_connection();
        db.execute_unprepared(&fill).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::MySql => drop_all(manager, &["lock_slots"]).await,
            _ => Ok(()),
        }
    }
}
