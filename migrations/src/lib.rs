//! The schema of Usher's database.
//!
//! One file per migration, in the order of [`Migrator::migrations`]; a
//! migration that was released is never edited. Types are those that SQLite,
//! PostgreSQL and MariaDB share: times are Unix milliseconds, ids are text that
//! is compared byte by byte, money is in minor units, JSON is text.
//!
//! MariaDB commits each statement that changes the schema by itself, so a
//! migration may be cut short there. It runs again, and passes over what is done
//! already: tables, columns and indexes are made and dropped by [`columns`].

use sea_orm_migration::prelude::*;

mod columns;
mod m0001_rooms;
mod m0002_outbox;
mod m0003_sales;
mod m0004_reservation_room;
mod m0005_resumes_at;
mod m0006_access_codes;
mod m0007_signing_keys;
mod m0008_retention;
mod m0009_key_holders;
mod m0010_consumers;
mod m0011_lock_slots;
mod m0012_after_the_sale;
mod m0013_gateway_payments;
mod m0014_figures;
mod m0015_marks;
mod m0016_whose_money;
mod m0018_settled_intents;
mod m0019_telling;
mod m0020_kept_events;
mod m0021_coupons;

pub use m0011_lock_slots::LOCK_SLOTS;
pub use sea_orm_migration::MigratorTrait;
pub use sea_orm_migration::migrator::MigrationStatus;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_rooms::Migration),
            Box::new(m0002_outbox::Migration),
            Box::new(m0003_sales::Migration),
            Box::new(m0004_reservation_room::Migration),
            Box::new(m0005_resumes_at::Migration),
            Box::new(m0006_access_codes::Migration),
            Box::new(m0007_signing_keys::Migration),
            Box::new(m0008_retention::Migration),
            Box::new(m0009_key_holders::Migration),
            Box::new(m0010_consumers::Migration),
            Box::new(m0011_lock_slots::Migration),
            Box::new(m0012_after_the_sale::Migration),
            Box::new(m0013_gateway_payments::Migration),
            Box::new(m0014_figures::Migration),
            Box::new(m0015_marks::Migration),
            Box::new(m0016_whose_money::Migration),
            Box::new(m0018_settled_intents::Migration),
            Box::new(m0019_telling::Migration),
            Box::new(m0020_kept_events::Migration),
            Box::new(m0021_coupons::Migration),
        ]
    }
}
