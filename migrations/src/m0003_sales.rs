//! Concerts, performances, seats, reservations, tickets, payments, the ledger.

use sea_orm_migration::prelude::*;

use crate::columns::{
    create, create_index, drop_all, flag, id, integer, name_of, optional, refers, text, user, uuid,
};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        catalog(manager).await?;
        seats(manager).await?;
        reservations(manager).await?;
        tickets(manager).await?;
        payments(manager).await?;
        ledger(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(
            manager,
            &[
                "ledger_postings",
                "ledger_entries",
                "accounts",
                "payments",
                "tickets",
                "reservation_seats",
                "reservations",
                "seats",
                "sections",
                "performances",
                "concerts",
            ],
        )
        .await
    }
}

fn currency() -> ColumnDef {
    let mut column = ColumnDef::new("currency");
    column.string_len(3).not_null();
    column
}

async fn index(
    manager: &SchemaManager<'_>,
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
    unique: bool,
) -> Result<(), DbErr> {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    if unique {
        index.unique();
    }
    create_index(manager, index).await
}

async fn catalog(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("concerts")
            .col(id("id").primary_key())
            .col(text("name"))
            .col(text("description"))
            .col(text("venue"))
            .col(integer("version"))
            .col(integer("created_at")),
    )
    .await?;
    create(
        manager,
        Table::create()
            .table("performances")
            .col(id("id").primary_key())
            .col(id("concert_id"))
            .col(integer("starts_at"))
            .col(integer("sale_opens_at"))
            .col(optional(integer("sale_closes_at")))
            .col(name_of("state"))
            .col(currency())
            .col(integer("hold_ttl_ms"))
            .col(integer("hold_total_max_ms"))
            .col(integer("seats_per_user_max"))
            .col(integer("seats_version"))
            .col(integer("version"))
            .col(integer("created_at"))
            .foreign_key(&mut refers("concert_id", "concerts", "id")),
    )
    .await?;
    index(
        manager,
        "performances_of_concert",
        "performances",
        &["concert_id", "starts_at", "id"],
        false,
    )
    .await?;
    sections(manager).await
}

/// With counters of the seats' states: they refuse a sold-out request without a
/// look at the seats, and no counter can go below zero.
async fn sections(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let counted = |name: &'static str| Expr::col(name).gte(0);
    create(
        manager,
        Table::create()
            .table("sections")
            .col(id("performance_id"))
            .col(integer("ordinal"))
            .col(text("name"))
            .col(integer("price_minor"))
            .col(text("rows_json"))
            .col(integer("total"))
            .col(integer("available"))
            .col(integer("held"))
            .col(integer("sold"))
            .col(integer("blocked"))
            .check(counted("available"))
            .check(counted("held"))
            .check(counted("sold"))
            .check(counted("blocked"))
            .primary_key(Index::create().col("performance_id").col("ordinal"))
            .foreign_key(&mut refers("performance_id", "performances", "id")),
    )
    .await
}

/// One row per (performance, seat): the key is the uniqueness of a sale.
async fn seats(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("seats")
            .col(id("performance_id"))
            .col(id("id"))
            .col(integer("section"))
            .col(integer("row_rank"))
            .col(text("row_name"))
            .col(integer("number"))
            .col(integer("row_seats"))
            .col(integer("price_minor"))
            .col(name_of("state"))
            .col(optional(id("reservation_id")))
            .col(optional(user("user_id")))
            .col(optional(integer("held_until")))
            .col(integer("version"))
            .col(integer("serial"))
            .primary_key(Index::create().col("performance_id").col("id"))
            .foreign_key(&mut refers("performance_id", "performances", "id")),
    )
    .await?;
    // Best available reads free seats in the order of the house.
    index(
        manager,
        "seats_free",
        "seats",
        &["performance_id", "state", "row_rank", "number"],
        false,
    )
    .await?;
    let changed = &["performance_id", "version"];
    index(manager, "seats_changed", "seats", changed, false).await?;
    let of_user = &["performance_id", "user_id"];
    index(manager, "seats_of_user", "seats", of_user, false).await?;
    let of_reservation = &["reservation_id"];
    index(
        manager,
        "seats_of_reservation",
        "seats",
        of_reservation,
        false,
    )
    .await
}

async fn reservations(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("reservations")
            .col(id("id").primary_key())
            .col(id("performance_id"))
            .col(user("user_id"))
            .col(optional(uuid("activation_id")))
            .col(name_of("state"))
            .col(currency())
            .col(integer("total_minor"))
            .col(integer("created_at"))
            .col(integer("expires_at"))
            .col(flag("extended"))
            .col(optional(id("payment_id")))
            .col(optional(integer("ended_at")))
            .col(integer("version"))
            .foreign_key(&mut refers("performance_id", "performances", "id")),
    )
    .await?;
    let of_user = &["user_id", "created_at", "id"];
    index(
        manager,
        "reservations_of_user",
        "reservations",
        of_user,
        false,
    )
    .await?;
    let due = &["state", "expires_at"];
    index(manager, "reservations_due", "reservations", due, false).await?;
    let of_pass = &["activation_id", "state"];
    index(
        manager,
        "reservations_of_pass",
        "reservations",
        of_pass,
        false,
    )
    .await?;
    create(
        manager,
        Table::create()
            .table("reservation_seats")
            .col(id("reservation_id"))
            .col(integer("ordinal"))
            .col(id("seat_id"))
            .col(integer("price_minor"))
            .primary_key(Index::create().col("reservation_id").col("ordinal"))
            .foreign_key(&mut refers("reservation_id", "reservations", "id")),
    )
    .await
}

/// `live` is 1 or NULL, and a unique index takes any number of NULLs on every
/// database: at most one live ticket per seat, for ever.
async fn tickets(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("tickets")
            .col(id("performance_id"))
            .col(id("seat_id"))
            .col(integer("serial"))
            .col(id("reservation_id"))
            .col(user("user_id"))
            .col(optional(integer("live")))
            .col(integer("issued_at"))
            .col(optional(integer("voided_at")))
            .primary_key(
                Index::create()
                    .col("performance_id")
                    .col("seat_id")
                    .col("serial"),
            )
            .foreign_key(&mut refers("reservation_id", "reservations", "id")),
    )
    .await?;
    let live = &["performance_id", "seat_id", "live"];
    index(manager, "tickets_live", "tickets", live, true).await?;
    let of_reservation = &["reservation_id"];
    index(
        manager,
        "tickets_of_reservation",
        "tickets",
        of_reservation,
        false,
    )
    .await
}

/// `live` as with tickets: at most one payment of a reservation that is not
/// declined.
async fn payments(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    create(
        manager,
        Table::create()
            .table("payments")
            .col(id("id").primary_key())
            .col(id("reservation_id"))
            .col(user("user_id"))
            .col(name_of("method"))
            .col(name_of("state"))
            .col(currency())
            .col(integer("amount_minor"))
            .col(integer("refunded_minor"))
            .col(integer("refunds"))
            .col(optional(integer("live")))
            .col(integer("created_at"))
            .check(Expr::col("refunded_minor").gte(0))
            .check(Expr::col("refunded_minor").lte(Expr::col("amount_minor")))
            .foreign_key(&mut refers("reservation_id", "reservations", "id")),
    )
    .await?;
    let live = &["reservation_id", "live"];
    index(manager, "payments_live", "payments", live, true).await
}

/// Entries and postings are only ever inserted. `sequence` counts an account's
/// postings without a gap, so that a missing one shows.
async fn ledger(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let account = |name: &'static str| {
        let mut column = ColumnDef::new(name);
        column.string_len(160).not_null();
        column
    };
    create(
        manager,
        Table::create()
            .table("accounts")
            .col(account("name"))
            .col(currency())
            .col(integer("balance_minor"))
            .col(integer("postings"))
            .primary_key(Index::create().col("name").col("currency")),
    )
    .await?;
    create(
        manager,
        Table::create()
            .table("ledger_entries")
            .col(id("id").primary_key())
            .col(name_of("kind"))
            .col(optional(id("reservation_id")))
            .col(optional(id("payment_id")))
            .col(text("reason"))
            .col(integer("created_at")),
    )
    .await?;
    let of_payment = &["payment_id"];
    index(
        manager,
        "ledger_entries_of_payment",
        "ledger_entries",
        of_payment,
        false,
    )
    .await?;
    create(
        manager,
        Table::create()
            .table("ledger_postings")
            .col(account("account"))
            .col(currency())
            .col(integer("sequence"))
            .col(id("entry_id"))
            .col(integer("amount_minor"))
            .col(integer("balance_after_minor"))
            .primary_key(
                Index::create()
                    .col("account")
                    .col("currency")
                    .col("sequence"),
            )
            .foreign_key(&mut refers("entry_id", "ledger_entries", "id")),
    )
    .await?;
    let of_entry = &["entry_id"];
    index(
        manager,
        "ledger_postings_of_entry",
        "ledger_postings",
        of_entry,
        false,
    )
    .await
}
