//! What users are told ahead of time: a little at a time, by one node.
//!
//! A pass goes once through the holds that end soon, and through the tickets of
//! performances that are near, in small steps, each a transaction of its own. Of
//! several nodes one does it, by a lease that is renewed before each step and
//! only taken when there is something. A pass that ends early loses nothing:
//! what was told is noted with the event.

use std::sync::Arc;

use crate::domain::time::UnixMs;
use crate::store::rooms::{RoomRegistry, RoomsError};
use crate::store::sales::SalesError;
use crate::store::sales::notices::{Notices, Reminded};

/// How often to look.
pub const NOTICE_INTERVAL_MS: u64 = 2_000;
const LEASE: &str = "notices";
/// Longer than a step takes.
const LEASE_MS: u64 = 30_000;
/// Events of one step: a sale of the same performance waits for it.
const EVENTS_PER_STEP: u32 = 50;
/// Steps of one pass, of each kind.
const STEPS_MAX: u32 = 200;

pub struct Noticer {
    pub sales: Arc<dyn Notices>,
    pub leases: Arc<dyn RoomRegistry>,
    /// A name for one life of a node.
    pub holder: u64,
    /// How long before a hold ends its owner is asked to pay; 0: never.
    pub pay_before_ms: u64,
    /// How long before a performance begins; 0: never.
    pub remind_before_ms: u64,
}

impl Noticer {
    /// Leaves what is due, and answers how many events. The app's ticker calls
    /// it every [`NOTICE_INTERVAL_MS`].
    ///
    /// # Errors
    /// [`SalesError`] while SQL is away or busy; the next pass goes on.
    pub async fn pass(&self) -> Result<u64, SalesError> {
        let (before_ms, sales) = (self.pay_before_ms, &self.sales);
        let has_holds = before_ms > 0 && sales.has_pay_soon(before_ms).await?;
        let asked = match has_holds {
            true => self.ask_to_pay().await,
            false => Ok(Some(0)),
        };
        // A performance that stays locked keeps nobody from being reminded.
        let before_ms = self.remind_before_ms;
        let has_performances = before_ms > 0 && sales.has_reminders(before_ms).await?;
        let reminded = match has_performances && asked != Ok(None) {
            true => self.remind().await,
            false => Ok(Some(0)),
        };
        let (asked, reminded) = (asked?, reminded?);
        if (has_holds || has_performances) && asked.is_some() && reminded.is_some() {
            self.leases.release_lease(LEASE, self.holder).await?;
        }
        Ok(asked.unwrap_or_default() + reminded.unwrap_or_default())
    }

    /// Whether this node is the one.
    async fn is_mine(&self) -> Result<bool, SalesError> {
        match self.leases.lease(LEASE, self.holder, LEASE_MS).await {
            Err(RoomsError::LeaseHeld) => Ok(false),
            leased => Ok(leased.map(|()| true)?),
        }
    }

    /// `None`: another node does it.
    async fn ask_to_pay(&self) -> Result<Option<u64>, SalesError> {
        let (mut events, mut from) = (0, UnixMs(0));
        for _step in 0..STEPS_MAX {
            if !self.is_mine().await? {
                return Ok(None);
            }
            let step = self
                .sales
                .pay_soon(self.pay_before_ms, from, EVENTS_PER_STEP);
            let step = step.await?;
            events += step.events;
            match step.next {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(Some(events))
    }

    /// As [`Noticer::ask_to_pay`].
    async fn remind(&self) -> Result<Option<u64>, SalesError> {
        let (mut events, mut after) = (0, Reminded::default());
        for _step in 0..STEPS_MAX {
            if !self.is_mine().await? {
                return Ok(None);
            }
            let step = self
                .sales
                .remind(self.remind_before_ms, after, EVENTS_PER_STEP);
            let step = step.await?;
            events += step.events;
            match step.next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(Some(events))
    }
}

#[cfg(test)]
mod tests;
