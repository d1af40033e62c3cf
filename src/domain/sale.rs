//! What is sold and how it is paid: seats, holds, money, the ledger.
//!
//! Pure decisions only. The store makes them inside its transactions: it reads
//! rows, asks a function here, and writes the answer back under a condition
//! that fails if the rows have changed. Invariants S1–S7 and M1–M7 are stated
//! where they are decided:
//! - [`money`]: amounts never wrap and never meet another currency.
//! - [`ledger`]: an entry that does not sum to zero cannot be built.
//! - [`hold`]: a hold lives until its expiry by the database's clock, whatever
//!   its row says, and is extended once at most.
//! - [`coupon`]: a coupon takes off no more than the total.
//! - [`best`]: which free seats a request without names gets.

pub mod best;
pub mod catalog;
pub mod change;
pub mod command;
pub mod coupon;
pub mod currency;
pub mod hold;
pub mod intent;
pub mod ledger;
pub mod money;
pub mod payment;
