//! The seam to what consumers of events keep in the database.
//!
//! Events arrive at least once; the inbox makes their effects happen once: the
//! effect and the note that the event was consumed are one transaction.
//!
//! Promises of every implementation:
//! - An event's effect is there once, however often it is handed over, and
//!   however many nodes are handed it at the same time.
//! - A batch is consumed whole or not at all.
//! - A parked event has no effect, and counts as consumed, until it is redriven;
//!   then its effect and the end of its record are one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::Concert;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::{Listing, Page};

/// What is counted from events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Seats sold and revenue, by performance.
    Sales,
    /// Seats sold by day, and when performances sold out.
    Ranking,
}

impl Projection {
    /// The consumer's name, in the inbox and as a group's.
    #[must_use]
    pub fn consumer(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Ranking => "ranking",
        }
    }
}

/// How a batch comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    /// From the relay or a broker: perhaps once more.
    Fresh,
    /// Parked before: only what still is.
    Redriven,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// Nothing was changed: this event can have no effect.
    #[error("event {id} cannot be consumed: {why}")]
    Refused { id: String, why: String },
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// An event that a consumer gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub consumer: String,
    pub event: OutboxEvent,
    pub why: String,
    pub parked_at: UnixMs,
}

/// What was sold, less what was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalesFigures {
    /// The database's clock.
    pub as_of: UnixMs,
    pub sold: u64,
    pub held: u64,
    /// By currency.
    pub revenue: Vec<Money>,
}

/// What concerts may be listed by, besides the opening of their sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RankedBy {
    /// The most seats sold in the last [`POPULAR_DAYS`] days.
    Popular,
    /// The shortest time from the opening of a sale to its last seat.
    FastestSoldOut,
}

/// This day and those before it.
pub const POPULAR_DAYS: u64 = 7;

/// Where a ranked list goes on. Concerts that change their rank meanwhile may be
/// passed over or come twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RankCursor {
    pub rank: i64,
    pub id: ResourceId,
}

#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Counts those of a batch that were not consumed before; answers how many.
    async fn project(
        &self,
        projection: Projection,
        events: &[OutboxEvent],
        coming: Coming,
    ) -> Result<usize, InboxError>;

    /// Which of these a consumer has still to consume, by their ids: for an
    /// effect outside of the database, which is [`Inbox::settle`]d after it.
    async fn unconsumed(
        &self,
        consumer: &str,
        events: &[OutboxEvent],
        coming: Coming,
    ) -> Result<BTreeSet<String>, InboxError>;

    /// An event had its effect; idempotent.
    async fn settle(
        &self,
        consumer: &str,
        event_id: &str,
        coming: Coming,
    ) -> Result<(), InboxError>;

    /// Gives an event up for a consumer; `false` if it was consumed before.
    async fn park(
        &self,
        consumer: &str,
        event: &OutboxEvent,
        why: &str,
    ) -> Result<bool, InboxError>;

    /// Those that were parked first, of all consumers or of one; behind `after`,
    /// if it is given.
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        after: Option<&DeadLetter>,
        letters_max: u32,
    ) -> Result<Vec<DeadLetter>, InboxError>;

    /// Ends the records of an event that is parked, of all consumers or of one: it
    /// will have no effect. Answers how many.
    async fn discard(&self, consumer: Option<&str>, event_id: &str) -> Result<u64, InboxError>;

    async fn count_dead_letters(&self) -> Result<u64, InboxError>;

    /// Forgets notes that are older than so long, at most `rows_max`.
    async fn prune_inbox(&self, kept_ms: u64, rows_max: u32) -> Result<u64, InboxError>;

    /// Of one performance, or of all; `None` for one that is not there. As it is
    /// now: who only shows it asks [`super::showing`], as for the ranking.
    async fn sales_figures(
        &self,
        performance: Option<&ResourceId>,
    ) -> Result<Option<SalesFigures>, InboxError>;

    async fn ranked_concerts(
        &self,
        by: RankedBy,
        page: Page<RankCursor>,
    ) -> Result<Listing<Concert, RankCursor>, InboxError>;
}
