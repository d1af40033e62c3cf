//! Named places in the code at which a test can stop, fail or kill the process.
//!
//! A [`Failpoints`] is a value handed down from the composition root, never a
//! static, so two servers in one test do not disturb each other. With nothing
//! armed a hit is one relaxed load. An armed point passes a number of hits,
//! then acts once (or from then on, with `*`).
//!
//! `USHER_FAILPOINTS="rows_committed=kill@3;claim_committed=delay(50)*"`: kill
//! at the third hit of the one, delay every hit of the other by 50 ms.

mod parse;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

pub use parse::ParseError;

/// The environment variable that arms points at start.
pub const ENV: &str = "USHER_FAILPOINTS";

/// Every failpoint there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// The queue store granted numbers; their rows are not committed.
    NumbersGranted,
    /// Activation rows are committed; the queue store is not told.
    RowsCommitted,
    /// A stream was told of its activation; its client may be gone.
    ActivationTold,
    /// A payment is committed; its slot is not freed.
    PaymentCommitted,
    /// A hold is committed; its reply is not sent.
    HoldCommitted,
    /// A reservation is given back; its reply is not sent.
    CancelCommitted,
    /// A ticket is redeemed; its reply is not sent.
    RedeemCommitted,
    /// A claim is committed; the slot's expiry is not moved.
    ClaimCommitted,
    /// A place is over; how is still to be read.
    EndLookedUp,
    /// A room's epoch is raised; the queue does not have the room yet.
    EpochRaised,
    /// A room's row is changed; the queue is not told.
    RowChanged,
    /// A performance is cancelled; nobody is told, no refund is made.
    PerformanceCancelled,
    /// A step of its refunds is committed; the next is not begun.
    RefundsCommitted,
    /// A consumer was handed events; they have no effect yet.
    EventsCome,
    /// The relay's sink has events; they are not marked as published.
    EventsDelivered,
    /// An intent is committed; the payment provider has not heard of it.
    IntentRecorded,
    /// The payment provider has decided; its answer is not committed.
    ChargeAnswered,
    /// The payment provider has given money back; that is not committed.
    RefundAnswered,
}

impl Point {
    pub const ALL: [Self; 18] = [
        Self::NumbersGranted,
        Self::RowsCommitted,
        Self::ActivationTold,
        Self::PaymentCommitted,
        Self::HoldCommitted,
        Self::CancelCommitted,
        Self::RedeemCommitted,
        Self::ClaimCommitted,
        Self::EndLookedUp,
        Self::EpochRaised,
        Self::RowChanged,
        Self::PerformanceCancelled,
        Self::RefundsCommitted,
        Self::EventsCome,
        Self::EventsDelivered,
        Self::IntentRecorded,
        Self::ChargeAnswered,
        Self::RefundAnswered,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NumbersGranted => "numbers_granted",
            Self::RowsCommitted => "rows_committed",
            Self::ActivationTold => "activation_told",
            Self::PaymentCommitted => "payment_committed",
            Self::HoldCommitted => "hold_committed",
            Self::CancelCommitted => "cancel_committed",
            Self::RedeemCommitted => "redeem_committed",
            Self::ClaimCommitted => "claim_committed",
            Self::EndLookedUp => "end_looked_up",
            Self::EpochRaised => "epoch_raised",
            Self::RowChanged => "row_changed",
            Self::PerformanceCancelled => "performance_cancelled",
            Self::RefundsCommitted => "refunds_committed",
            Self::EventsCome => "events_come",
            Self::EventsDelivered => "events_delivered",
            Self::IntentRecorded => "intent_recorded",
            Self::ChargeAnswered => "charge_answered",
            Self::RefundAnswered => "refund_answered",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

/// What an armed point does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to this process: nothing runs after it, no buffer is flushed.
    Kill,
    /// The hit answers [`Injected`]; the caller fails as it would for its own errors.
    Error,
    Delay {
        delay_ms: u64,
    },
    /// Waits until [`Failpoints::resume`].
    Pause,
}

/// How often an armed point acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Once,
    Always,
}

/// An error made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {}", point.name())]
pub struct Injected {
    pub point: Point,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    action: Action,
    hits_left: u64,
    repeat: Repeat,
}

#[derive(Debug, Default)]
struct State {
    armed: HashMap<Point, Armed>,
    /// Hits that wait at a pause now.
    paused: HashMap<Point, usize>,
    /// Raised by each resume; a paused hit waits for the next.
    resumed: HashMap<Point, u64>,
}

/// The failpoints of one server.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed_count: AtomicUsize,
    state: watch::Sender<State>,
}

impl Failpoints {
    /// Points armed as text says; see the module's example.
    ///
    /// # Errors
    /// [`ParseError`], naming the part that is not understood.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let failpoints = Self::default();
        for armed in parse::parse(text)? {
            failpoints.arm_with(armed.point, armed.action, armed.after_hits, armed.repeat);
        }
        Ok(failpoints)
    }

    /// Lets `after_hits` hits of a point pass and acts at the next, once.
    pub fn arm(&self, point: Point, action: Action, after_hits: u64) {
        self.arm_with(point, action, after_hits, Repeat::Once);
    }

    pub fn arm_with(&self, point: Point, action: Action, after_hits: u64, repeat: Repeat) {
        self.state.send_modify(|state| {
            let armed = Armed {
                action,
                hits_left: after_hits,
                repeat,
            };
            state.armed.insert(point, armed);
            self.armed_count.store(state.armed.len(), Ordering::Relaxed);
        });
    }

    pub fn disarm(&self, point: Point) {
        self.state.send_modify(|state| {
            state.armed.remove(&point);
            self.armed_count.store(state.armed.len(), Ordering::Relaxed);
        });
    }

    /// Lets every hit that is paused at this point go on.
    pub fn resume(&self, point: Point) {
        self.state
            .send_modify(|state| *state.resumed.entry(point).or_default() += 1);
    }

    /// Waits until a hit is paused at this point.
    pub async fn paused(&self, point: Point) {
        self.wait_for(|state| state.paused.get(&point).is_some_and(|&hits| hits > 0))
            .await;
    }

    /// Passes a point: nothing, unless it is armed.
    ///
    /// # Errors
    /// [`Injected`] where the point is armed with [`Action::Error`].
    pub async fn hit(&self, point: Point) -> Result<(), Injected> {
        // Relaxed: a test arms before it acts, and orders the two itself.
        if self.armed_count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match self.due(point) {
            None => Ok(()),
            Some(Action::Kill) => kill_self(),
            Some(Action::Error) => Err(Injected { point }),
            Some(Action::Delay { delay_ms }) => {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                Ok(())
            }
            Some(Action::Pause) => {
                self.pause(point).await;
                Ok(())
            }
        }
    }

    /// Counts one hit; the action, if it is this hit's turn.
    fn due(&self, point: Point) -> Option<Action> {
        let mut due = None;
        self.state.send_if_modified(|state| {
            let Some(armed) = state.armed.get_mut(&point) else {
                return false;
            };
            if armed.hits_left > 0 {
                armed.hits_left -= 1;
                return false;
            }
            due = Some(armed.action);
            if armed.repeat == Repeat::Once {
                state.armed.remove(&point);
                self.armed_count.store(state.armed.len(), Ordering::Relaxed);
            }
            false
        });
        due
    }

    async fn pause(&self, point: Point) {
        let mut seen = 0;
        self.state.send_modify(|state| {
            seen = state.resumed.get(&point).copied().unwrap_or_default();
            *state.paused.entry(point).or_default() += 1;
        });
        // The guard counts the hit out even if its caller is cancelled.
        let _paused = Paused {
            points: self,
            point,
        };
        self.wait_for(|state| state.resumed.get(&point).copied().unwrap_or_default() > seen)
            .await;
    }

    async fn wait_for(&self, is_so: impl FnMut(&State) -> bool) {
        let mut states = self.state.subscribe();
        // The sender lives in `self`: the channel cannot close meanwhile.
        let _ = states.wait_for(is_so).await;
    }
}

struct Paused<'a> {
    points: &'a Failpoints,
    point: Point,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.points.state.send_modify(|state| {
            if let Some(hits) = state.paused.get_mut(&self.point) {
                *hits = hits.saturating_sub(1);
            }
        });
    }
}

/// Ends this process as `kill -9` does. The shell is asked because a signal
/// needs `unsafe` or a crate of its own; without a shell, `abort` is as sudden
/// for our code: no destructor runs, nothing is flushed.
fn kill_self() -> ! {
    let _ = std::process::Command::new("/bin/sh")
        .args(["-c", "kill -KILL $PPID"])
        .status();
    std::process::abort()
}

#[cfg(test)]
mod tests;
