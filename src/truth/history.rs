//! What clients saw: one [`Record`] per call, stream message and fault.
//!
//! A history is JSON Lines: a header, then records in the order in which they
//! were finished. Times are milliseconds of the recorder's one clock;
//! everything a server said about time is the server's, and is compared with
//! [`Tolerances::clock_leeway_ms`].
//!
//! Invariants the recorder's user keeps: one client's records are in its own
//! order; a call whose reply was lost, or whose code means "may have happened",
//! is [`Answer::Unknown`] and never left out.

mod admin;
mod queue;
mod recorder;
mod sale;

use serde::{Deserialize, Serialize};

use crate::domain::ids::UserId;

pub use admin::{AdminOp, Performance, Policy, RoomSwitch};
pub use queue::{
    Message, PlaceSeen, PlaceState, QueueOp, RoomShown, StreamEnd, StreamId, TurnSeen,
};
pub use recorder::{HISTORY_RECORDS_MAX, HistoryError, Recorder, read, read_from};
pub use sale::{
    Amount, PaymentSeen, PaymentState, ReservationSeen, ReservationState, SaleOp, Wanted,
};

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// It happened, and this is the reply.
    Ok(T),
    /// It did not happen, and this is the reason given.
    Refused(String),
    /// It may have happened, at any time since it was invoked.
    Unknown(String),
}

impl<T> Answer<T> {
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Ok(reply) => Some(reply),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }

    pub fn refused(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Ok(_) | Self::Unknown(_) => None,
        }
    }

    /// It happened, or it may have.
    pub fn may_have_happened(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Queue(QueueOp),
    Sale(SaleOp),
    Admin(AdminOp),
    /// Something was broken on purpose from `invoked_ms` to `returned_ms`.
    Fault {
        what: String,
    },
}

/// One thing a client did or received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When the call began; of a stream's message, when it was received.
    pub invoked_ms: u64,
    /// When its outcome was known.
    pub returned_ms: u64,
    /// One device or tab: its records are in its own order.
    pub client: String,
    /// The server's node and life that answered, where known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub process: String,
    /// Who the caller's token spoke for.
    pub user: UserId,
    pub op: Op,
}

/// What a checker forgives, since clocks and tellings are not instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerances {
    /// Between the recorder's clock and the servers'.
    pub clock_leeway_ms: u64,
    /// From a grant in the queue store to its activation row.
    pub grant_delay_ms: u64,
    /// By which a heartbeat may be late on a busy machine.
    pub silence_ms: u64,
    /// The longest tick of a room.
    pub tick_ms: u64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self {
            clock_leeway_ms: 5,
            grant_delay_ms: 1_000,
            silence_ms: 5_000,
            tick_ms: 100,
        }
    }
}

/// A whole history, as the checkers read it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub records: Vec<Record>,
    pub tolerances: Tolerances,
}

impl History {
    /// A history judged with the default tolerances.
    #[must_use]
    pub fn new(records: Vec<Record>) -> Self {
        Self {
            records,
            tolerances: Tolerances::default(),
        }
    }

    /// Queue records with their index.
    pub fn queue(&self) -> impl Iterator<Item = (usize, &Record, &QueueOp)> {
        self.each(|op| match op {
            Op::Queue(op) => Some(op),
            _ => None,
        })
    }

    /// Sale records with their index.
    pub fn sale(&self) -> impl Iterator<Item = (usize, &Record, &SaleOp)> {
        self.each(|op| match op {
            Op::Sale(op) => Some(op),
            _ => None,
        })
    }

    /// Operators' records with their index.
    pub fn admin(&self) -> impl Iterator<Item = (usize, &Record, &AdminOp)> {
        self.each(|op| match op {
            Op::Admin(op) => Some(op),
            _ => None,
        })
    }

    fn each<'a, T: 'a>(
        &'a self,
        pick: impl Fn(&'a Op) -> Option<&'a T>,
    ) -> impl Iterator<Item = (usize, &'a Record, &'a T)> {
        self.records
            .iter()
            .enumerate()
            .filter_map(move |(index, record)| Some((index, record, pick(&record.op)?)))
    }
}
