//! The tables as SeaORM sees them; nothing outside the SQL store does.

pub mod activation;
pub mod departed_page;
pub mod lane;
pub mod lease;
pub mod outbox;
pub mod protect;
pub mod room;
