//! Use cases: what happens when someone joins, claims, leaves, and when time
//! passes.
//!
//! The engine is where the queue store and SQL meet. Its one rule: **an
//! activation exists when SQL says so**. [`ticker`] writes the rows of those
//! the queue picked, and only then confirms them; [`line`] serves the people;
//! [`recovery`] rebuilds a room from SQL; [`rooms`] knows which rooms there
//! are; [`operator`] changes them, [`grants`] lets one user in or out. [`sale`] is what people wait for: seats and
//! their payment; [`sold_out`] tells a room when nothing is left of it. [`relay`]
//! carries events away, and [`consumers`] follow from them.

mod access;
pub mod cadence;
pub mod cleaner;
pub mod consumers;
pub mod error;
mod generation;
pub mod grants;
pub mod health;
pub mod lease;
mod leave;
pub mod line;
pub mod notices;
pub mod opening;
pub mod operator;
pub mod peers;
pub mod presence;
pub mod recovery;
pub mod relay;
pub mod retention;
pub mod rooms;
pub mod sale;
pub mod set_back;
pub mod sold_out;
pub mod steering;
pub mod ticker;
