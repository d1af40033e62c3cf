//! The tables as SeaORM sees them; nothing outside the SQL store does.

pub mod access_code;
pub mod activation;
pub mod code_salt;
pub mod dead_letter;
pub mod departed_page;
pub mod inbox;
pub mod kept_event;
pub mod lane;
pub mod lease;
pub mod outbox;
pub mod protect;
pub mod room;
