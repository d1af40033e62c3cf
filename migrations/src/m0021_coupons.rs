//! Campaigns, the coupons that they issue, and which of them a payment used.

use sea_orm_migration::prelude::*;

use crate::columns::{
    add, create, create_index, drop_all, drop_column, id, integer, name_of, optional, refers, text,
    user,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        campaigns(manager).await?;
        coupons(manager).await?;
        // NULL: none was used, and nothing was taken off.
        add(manager, "payments", optional(id("coupon_id"))).await?;
        add(manager, "payments", optional(integer("discount_minor"))).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["discount_minor", "coupon_id"] {
            drop_column(manager, "payments", column).await?;
        }
        drop_all(manager, &["coupons", "campaigns"]).await
    }
}

/// Amounts are in `currency`, which is NULL where there is none. `concerts` and
/// `performances` are lists of ids.
async fn campaigns(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut currency = ColumnDef::new("currency");
    currency.string_len(3);
    create(
        manager,
        Table::create()
            .table("campaigns")
            .col(id("id").primary_key())
            .col(text("name"))
            .col(integer("stock"))
            .col(integer("issued"))
            .col(optional(integer("percent")))
            .col(optional(integer("amount_off_minor")))
            .col(optional(integer("discount_max_minor")))
            .col(optional(integer("order_min_minor")))
            .col(optional(currency))
            .col(optional(integer("valid_from")))
            .col(optional(integer("valid_until")))
            .col(text("concerts"))
            .col(text("performances"))
            .col(integer("version"))
            .col(integer("created_at"))
            .check(Expr::col("issued").gte(0))
            .check(Expr::col("issued").lte(Expr::col("stock"))),
    )
    .await
}

/// One of a campaign for each user, for ever.
async fn coupons(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("coupons")
            .col(id("id").primary_key())
            .col(id("campaign_id"))
            .col(user("user_id"))
            .col(name_of("state"))
            .col(integer("issued_at"))
            .col(optional(id("payment_id")))
            .col(optional(id("reservation_id")))
            .col(optional(integer("used_at")))
            .foreign_key(&mut refers("campaign_id", "campaigns", "id")),
    )
    .await?;
    let one_each = Index::create()
        .name("coupons_one_each")
        .table("coupons")
        .col("campaign_id")
        .col("user_id")
        .unique()
        .to_owned();
    create_index(manager, one_each).await?;
    let of_user = Index::create()
        .name("coupons_of_user")
        .table("coupons")
        .col("user_id")
        .col("issued_at")
        .col("id")
        .to_owned();
    create_index(manager, of_user).await
}
