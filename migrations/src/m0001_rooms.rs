//! Rooms, their lanes, what they protect, and the activations.

use sea_orm_migration::prelude::*;

use crate::columns::{
    bytes, create, create_index, drop_all, flag, id, integer, name_of, optional, refers, text,
    user, uuid,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        rooms(manager).await?;
        lanes(manager).await?;
        protects(manager).await?;
        activations(manager).await?;
        create(
            manager,
            Table::create()
                .table("leases")
                .col(id("name").primary_key())
                .col(integer("holder"))
                .col(integer("expires_at")),
        )
        .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(
            manager,
            &[
                "leases",
                "activations",
                "protects",
                "departed_pages",
                "room_lanes",
                "rooms",
            ],
        )
        .await
    }
}

async fn rooms(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("rooms")
            .col(id("id").primary_key())
            .col(text("display_name"))
            .col(integer("epoch"))
            .col(integer("version"))
            .col(text("policy"))
            .col(flag("opened"))
            .col(flag("paused"))
            .col(flag("sold_out"))
            .col(flag("closed"))
            .col(text("message"))
            .col(optional(bytes("draw_secret")))
            .col(integer("created_at")),
    )
    .await
}

/// `participants` is the draw's N, set once. A page is the bitmap of 32,768
/// numbers that no longer wait.
async fn lanes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("room_lanes")
            .col(id("room_id"))
            .col(integer("lane"))
            .col(integer("reserved_to"))
            .col(optional(integer("participants")))
            .primary_key(Index::create().col("room_id").col("lane"))
            .foreign_key(&mut refers("room_id", "rooms", "id")),
    )
    .await?;
    create(
        manager,
        Table::create()
            .table("departed_pages")
            .col(id("room_id"))
            .col(integer("lane"))
            .col(integer("page"))
            .col(bytes("bits"))
            .primary_key(Index::create().col("room_id").col("lane").col("page"))
            .foreign_key(&mut refers("room_id", "rooms", "id")),
    )
    .await
}

/// The key is the target: no target is named by two rooms.
async fn protects(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("protects")
            .col(name_of("target_kind"))
            .col(id("target_id"))
            .col(id("room_id"))
            .primary_key(Index::create().col("target_kind").col("target_id"))
            .foreign_key(&mut refers("room_id", "rooms", "id")),
    )
    .await?;
    create_index(
        manager,
        Index::create()
            .name("protects_of_room")
            .table("protects")
            .col("room_id")
            .to_owned(),
    )
    .await
}

async fn activations(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("activations")
            .col(uuid("id").primary_key())
            .col(id("room_id"))
            .col(integer("lane"))
            .col(integer("number"))
            .col(user("user_id"))
            .col(name_of("state"))
            .col(optional(name_of("reason")))
            .col(integer("activated_at"))
            .col(optional(integer("claim_by")))
            .col(optional(integer("claimed_at")))
            .col(optional(integer("expire_time")))
            .col(optional(integer("ended_at")))
            .foreign_key(&mut refers("room_id", "rooms", "id")),
    )
    .await?;
    create_index(
        manager,
        Index::create()
            .name("activations_place")
            .table("activations")
            .col("room_id")
            .col("lane")
            .col("number")
            .unique()
            .to_owned(),
    )
    .await?;
    // Live rows of a room, and those among them whose pass is over.
    create_index(
        manager,
        Index::create()
            .name("activations_state")
            .table("activations")
            .col("room_id")
            .col("state")
            .col("expire_time")
            .to_owned(),
    )
    .await
}
