//! How often a room is ticked on this node, counted in steps of the app's
//! ticker.
//!
//! A node that has work in a room (someone joined here, a turn was given here)
//! ticks it at every step for a while: deltas wait for a tick, and so do tokens
//! of the rate. Where others do the work it looks at leisure, so that a lost
//! last delta is noticed and nobody's slot stays with a node that died. A quiet
//! room is not ticked at all.

use std::sync::atomic::{AtomicU64, Ordering};

/// A delta goes out at the first tick after [`crate::domain::room::TICK_MS`]:
/// steps until that is over, whenever the last one was.
const AFTER_WORK_STEPS: u64 = 12;
/// The longest pause of a room that is not quiet.
const IDLE_MS: u64 = 500;
/// After a turn was given, or a slot freed: the next may follow soon.
const BUSY_MS: u64 = 1_500;

/// Pauses between ticks of a room that is not quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    idle_steps: u64,
    busy_steps: u64,
}

impl Cadence {
    /// One node has all the work.
    pub const ALONE: Self = Self {
        idle_steps: 1,
        busy_steps: 0,
    };

    /// One of several nodes, whose steps are `tick_ms` apart.
    #[must_use]
    pub fn shared(tick_ms: u64) -> Self {
        let steps = |ms: u64| (ms / tick_ms.max(1)).max(1);
        Self {
            idle_steps: steps(IDLE_MS),
            busy_steps: steps(BUSY_MS),
        }
    }
}

const NEVER: u64 = u64::MAX;
const NOW: u64 = 0;

/// When one room is due.
#[derive(Debug)]
pub(super) struct Pace {
    due_at: AtomicU64,
    busy_until: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            due_at: AtomicU64::new(NEVER),
            busy_until: AtomicU64::new(0),
        }
    }
}

impl Pace {
    pub(super) fn wake(&self) {
        self.due_at.store(NOW, Ordering::SeqCst);
    }

    /// Another node did something: look at leisure whether it needs ticks.
    pub(super) fn look_by(&self, step: u64, cadence: Cadence) {
        self.due_at
            .fetch_min(step + cadence.idle_steps, Ordering::SeqCst);
    }

    pub(super) fn is_due(&self, step: u64) -> bool {
        self.due_at.load(Ordering::SeqCst) <= step
    }

    /// Cleared **before** the tick that decides whether it is set again, so
    /// that a join during the tick is not forgotten.
    pub(super) fn begin(&self, step: u64) {
        if self.due_at.swap(NEVER, Ordering::SeqCst) == NOW {
            self.stay_busy(step + AFTER_WORK_STEPS);
        }
    }

    /// The tick found someone there. `spread` tells nodes apart.
    pub(super) fn plan(&self, step: u64, cadence: Cadence, has_worked: bool, spread: u64) {
        if has_worked {
            self.stay_busy(step + cadence.busy_steps);
        }
        let pause = match step < self.busy_until.load(Ordering::SeqCst) {
            true => 1,
            false => cadence.idle_steps - spread % (cadence.idle_steps / 4 + 1),
        };
        self.due_at.fetch_min(step + pause, Ordering::SeqCst);
    }

    fn stay_busy(&self, until: u64) {
        self.busy_until.fetch_max(until, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps at which a room that is never quiet is ticked.
    fn ticks(
        pace: &Pace,
        cadence: Cadence,
        steps: std::ops::Range<u64>,
        work_at: &[u64],
    ) -> Vec<u64> {
        let mut ticks = Vec::new();
        for step in steps {
            if pace.is_due(step) {
                ticks.push(step);
                pace.begin(step);
                pace.plan(step, cadence, work_at.contains(&step), step);
            }
        }
        ticks
    }

    #[test]
    fn alone_a_room_is_ticked_at_each_step_until_it_is_quiet() {
        let pace = Pace::default();
        assert!(!pace.is_due(1_000));
        pace.wake();
        assert_eq!(ticks(&pace, Cadence::ALONE, 1..50, &[]).len(), 49);
        pace.begin(50);
        assert!(!pace.is_due(1_000));
    }

    #[test]
    fn among_others_it_is_ticked_often_only_while_this_node_has_work() {
        let cadence = Cadence::shared(100);
        let pace = Pace::default();
        pace.wake();
        let busy = ticks(&pace, cadence, 1..13, &[]);
        assert_eq!(busy.len(), 12);
        let idle = ticks(&pace, cadence, 13..113, &[]);
        assert!((20..=26).contains(&idle.len()), "{idle:?}");
        assert!(
            idle.windows(2).all(|pair| pair[1] - pair[0] <= 5),
            "{idle:?}"
        );
        // A turn was given: the next may follow at any step.
        let step = idle.last().unwrap() + 5;
        let busy = ticks(&pace, cadence, step - 5..step + 10, &[step, step - 1]);
        assert!(busy.len() >= 10, "{busy:?}");
    }

    #[test]
    fn news_of_others_are_looked_at_within_half_a_second() {
        let cadence = Cadence::shared(100);
        let pace = Pace::default();
        pace.look_by(10, cadence);
        assert!(!pace.is_due(14));
        assert!(pace.is_due(15));
        pace.wake();
        pace.look_by(10, cadence);
        assert!(pace.is_due(10));
    }
}
