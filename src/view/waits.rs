//! How fast the lanes of a view move, and what that says of a wait.
//!
//! Deltas are only counted here; once a second [`Waits::observe`] turns the
//! counts into one observation per lane, so that time in which nothing happens
//! counts too. Whatever hides what happened (a hole, a new epoch, a pause, a
//! store that is away) is passed on as a break, across which nothing is
//! concluded; what was measured before it stays.

use crate::domain::delta::{RoomDelta, RoomFacts};
use crate::domain::estimate::{Estimator, Observation, Wait};
use crate::domain::ids::LaneIndex;

/// A lane between two observations.
#[derive(Debug, Default)]
struct LaneWaits {
    estimator: Estimator,
    activated: u64,
    /// All that departed, those activated among them.
    departed: u64,
    /// Its part of the room when last observed.
    share: f64,
}

#[derive(Debug, Default)]
pub(super) struct Waits {
    lanes: Vec<LaneWaits>,
    /// Something may have happened that was not counted.
    broken: bool,
    /// The view is known to lack something.
    pub is_behind: bool,
    /// The last observation's time, and whether the node could be believed.
    last: Option<(u64, bool)>,
}

/// The room as it is observed.
pub(super) struct Seen<'a> {
    /// It activates people now.
    pub serves: bool,
    pub facts: &'a RoomFacts,
    /// Of each lane; a lane that is not in it weighs 1.
    pub weights: &'a [u32],
    pub waiting: &'a [u64],
}

impl Waits {
    pub fn count(&mut self, delta: &RoomDelta) {
        for lane in &delta.lanes {
            self.lane(lane.lane).departed += lane.departed.len() as u64;
        }
        for (place, _) in &delta.activated {
            self.lane(place.lane).activated += 1;
        }
    }

    /// Nothing will be concluded from what lies between the last observation
    /// and the next.
    pub fn interrupt(&mut self) {
        self.broken = true;
    }

    /// Capacity, rate or time per slot are others now: acts at once.
    pub fn policy_changed(&mut self, seen: &Seen) {
        self.interrupt();
        for lane in &mut self.lanes {
            lane.estimator.policy_changed();
        }
        if let Some((now_ms, is_believed)) = self.last {
            self.observe(now_ms, is_believed, seen);
        }
    }

    pub fn observe(&mut self, now_ms: u64, is_believed: bool, seen: &Seen) {
        let broken = std::mem::take(&mut self.broken);
        let serving = seen.serves && is_believed && !self.is_behind;
        self.last = Some((now_ms, is_believed));
        for index in 0..seen.waiting.len() {
            let share = share(index, seen);
            let lane = self.lane(LaneIndex::try_from(index).unwrap_or(LaneIndex::MAX));
            let observation = lane.observation(share, serving, seen, seen.waiting[index]);
            // Another share of the slots is another lane.
            if broken || lane.share.to_bits() != share.to_bits() {
                lane.share = share;
                lane.estimator.observe(
                    now_ms,
                    &Observation {
                        serving: false,
                        ..observation
                    },
                );
            }
            lane.estimator.observe(now_ms, &observation);
        }
    }

    pub fn estimate(&self, lane: LaneIndex, position: u64) -> Option<Wait> {
        let lane = self.lanes.get(usize::from(lane))?;
        lane.estimator.estimate(position)
    }

    fn lane(&mut self, index: LaneIndex) -> &mut LaneWaits {
        let index = usize::from(index);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, LaneWaits::default);
        }
        &mut self.lanes[index]
    }
}

impl LaneWaits {
    /// What was counted, once.
    #[expect(clippy::cast_precision_loss, reason = "a share of a few slots")]
    fn observation(
        &mut self,
        share: f64,
        serving: bool,
        seen: &Seen,
        waiting_total: u64,
    ) -> Observation {
        let (activated, departed) = (self.activated, self.departed);
        (self.activated, self.departed) = (0, 0);
        let part = |slots: u64| (slots as f64 * share).round() as u64;
        let facts = seen.facts;
        Observation {
            activated,
            departed_unactivated: departed.saturating_sub(activated),
            waiting_total,
            slots_in_use: part(facts.slots_in_use),
            capacity: part(facts.capacity),
            rate_per_s: facts.rate_per_s * share,
            slot_ms_max: facts.claim_window_ms.saturating_add(facts.pass_ttl_ms),
            serving,
        }
    }
}

/// A lane's part of the room's slots: its weight among the lanes in which
/// someone waits.
fn share(index: usize, seen: &Seen) -> f64 {
    let weight = |index: usize| seen.weights.get(index).map_or(1, |weight| (*weight).max(1));
    let all: u64 = (0..seen.waiting.len())
        .filter(|&other| other == index || seen.waiting[other] > 0)
        .map(|other| u64::from(weight(other)))
        .sum();
    f64::from(weight(index)) / all as f64
}
