//! What becomes of seats and tickets after they were taken: seats given back
//! one by one, tickets redeemed at a gate, voided tickets in the order in which
//! gates read them.

use sea_orm_migration::prelude::*;

use crate::columns::{
    add, create, create_index, drop_all, drop_column, flag, id, integer, optional, refers,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    /// Seats that are given back move here from `reservation_seats`: whoever
    /// reads that table knows nothing of them, an older server too.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(
            manager,
            Table::create()
                .table("returned_seats")
                .col(id("reservation_id"))
                .col(id("seat_id"))
                .col(integer("price_minor"))
                .col(flag("paid"))
                .col(integer("returned_at"))
                .primary_key(Index::create().col("reservation_id").col("seat_id"))
                .foreign_key(&mut refers("reservation_id", "reservations", "id")),
        )
        .await?;
        add(manager, "tickets", optional(integer("redeemed_at"))).await?;
        let voided = Index::create()
            .name("tickets_voided")
            .table("tickets")
            .col("performance_id")
            .col("voided_at")
            .col("seat_id")
            .col("serial")
            .to_owned();
        create_index(manager, voided).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(
                Index::drop()
                    .name("tickets_voided")
                    .table("tickets")
                    .to_owned(),
            )
            .await?;
        drop_column(manager, "tickets", "redeemed_at").await?;
        drop_all(manager, &["returned_seats"]).await
    }
}
