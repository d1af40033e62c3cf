//! Seams to what must be kept: the queue store and the sales store.

pub mod inbox;
pub mod kept;
pub mod memory;
pub mod outbox;
pub mod queue;
pub mod redis;
pub mod rooms;
pub mod sales;
pub mod showing;
pub mod signing;
pub mod sql;
