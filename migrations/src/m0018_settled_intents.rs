//! When intents were settled, for the cleaner: of all those that are declined it
//! wants the oldest.

use sea_orm_migration::prelude::*;

use crate::columns::create_index;

#[derive(DeriveMigrationName)]
pub struct Migration;

const NAME: &str = "payment_intents_settled";
const TABLE: &str = "payment_intents";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut index = Index::create();
        for column in ["state", "settled_at", "id"] {
            index.col(column);
        }
        create_index(manager, index.name(NAME).table(TABLE).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name(NAME).table(TABLE).to_owned();
        manager.drop_index(index).await
    }
}
