//! The replica of one room.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::delta::{RoomDelta, RoomFacts, RoomSnapshot};
use crate::domain::ids::{Cursor, LaneIndex, PlaceKey};
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::policy::RoomPolicy;

use super::ends::{End, RecentEnds};
use super::lane::{DrawReady, DrawRemap, LaneView};
use super::report::{PlaceReport, PlaceState, WaitRange};
use super::waits::{Seen, Waits};

/// What became of a delta.
#[derive(Debug, Clone)]
pub enum Applied {
    /// The view moved on by one revision.
    Changed(Changes),
    /// It was known already.
    Covered,
    /// Revisions, or a whole epoch, lie between: read the store.
    Gap,
}

/// What readers of a view should look at.
#[derive(Debug, Clone)]
pub enum Changes {
    /// The places the delta names, and the room if its state or facts changed.
    Delta {
        delta: Arc<RoomDelta>,
        room_changed: bool,
    },
    /// A new snapshot, or an opened draw: anything may be different.
    Whole {
        new_epoch: bool,
        /// Deltas were not seen, and with them who was called absent.
        has_skipped: bool,
    },
}

/// A snapshot made ready to be read. Mapping a draw is work for a thread that
/// may block; taking the result in is not.
#[derive(Debug)]
pub struct PreparedSnapshot(RoomView);

impl PreparedSnapshot {
    #[must_use]
    pub fn new(snapshot: RoomSnapshot) -> Self {
        let mut view = RoomView {
            cursor: snapshot.cursor,
            policy: snapshot.policy,
            facts: snapshot.facts,
            lanes: Vec::new(),
            live: HashMap::new(),
            ends: RecentEnds::default(),
            waits: Waits::default(),
            opening_since: None,
        };
        for lane in snapshot.lanes {
            let index = lane.lane;
            *view.lane_mut(index) = LaneView::prepare(lane);
        }
        view.live.extend(snapshot.live);
        Self(view)
    }

    #[must_use]
    pub fn into_view(self) -> RoomView {
        self.0
    }
}

#[derive(Debug)]
pub struct RoomView {
    cursor: Cursor,
    policy: Arc<RoomPolicy>,
    facts: RoomFacts,
    lanes: Vec<LaneView>,
    /// ACTIVATED and ACTIVE places.
    live: HashMap<PlaceKey, Standing>,
    ends: RecentEnds,
    waits: Waits,
    /// The cursor before an opened draw that is not yet mapped.
    opening_since: Option<Cursor>,
}

impl RoomView {
    /// What is applied.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The cursor to tell with what this view says: behind [`Self::cursor`]
    /// while an opened draw is not yet mapped, so that the first positions come
    /// with a larger one than the last that was told without.
    #[must_use]
    pub fn told_cursor(&self) -> Cursor {
        self.opening_since.unwrap_or(self.cursor)
    }

    /// The cursor to tell with what is said of a place. A turn or an end holds
    /// whatever its order will be: told behind its delta, another node could
    /// tell an older state, waiting, with a larger cursor.
    #[must_use]
    pub fn told_cursor_of(&self, place: PlaceKey) -> Cursor {
        match self.standing(place) {
            // A merged place is told as its survivor, which may wait.
            None | Some(Standing::Waiting | Standing::Ended(EndReason::Merged)) => {
                self.told_cursor()
            }
            Some(Standing::Activated { .. } | Standing::Active { .. } | Standing::Ended(_)) => {
                self.cursor
            }
        }
    }

    #[must_use]
    pub fn facts(&self) -> &RoomFacts {
        &self.facts
    }

    /// The policy as of the last snapshot; `facts` has what may change.
    #[must_use]
    pub fn policy(&self) -> &Arc<RoomPolicy> {
        &self.policy
    }

    /// SCHEDULED also while an opened draw is not yet mapped.
    #[must_use]
    pub fn state(&self) -> RoomState {
        match self.facts.switches.state() {
            RoomState::Closed => RoomState::Closed,
            _ if self.is_opening() => RoomState::Scheduled,
            state => state,
        }
    }

    fn is_opening(&self) -> bool {
        self.lanes.iter().any(LaneView::is_opening)
    }

    /// Replaces everything but the memory of ends. `None`: not newer than what
    /// is here. The old state is given back so that it is dropped elsewhere.
    pub fn apply_snapshot(
        &mut self,
        prepared: PreparedSnapshot,
    ) -> Option<(Changes, Option<RoomView>)> {
        let mut newer = prepared.0;
        if newer.cursor <= self.cursor {
            return None;
        }
        newer.ends = std::mem::take(&mut self.ends);
        newer.waits = std::mem::take(&mut self.waits);
        newer.waits.interrupt();
        let new_epoch = newer.cursor.epoch != self.cursor.epoch;
        if new_epoch {
            newer.forget_undone_ends();
        }
        let old = std::mem::replace(self, newer);
        let changes = Changes::Whole {
            new_epoch,
            has_skipped: true,
        };
        Some((changes, Some(old)))
    }

    /// A loss may undo ends: such a place waits or has its turn again, and what
    /// merges now may merge the other way round.
    fn forget_undone_ends(&mut self) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.retain(|place| {
            let lane = self.lane(place.lane);
            let has_departed = lane.is_some_and(|lane| lane.has_departed(place.number));
            has_departed && !self.live.contains_key(&place)
        });
        self.ends = ends;
    }

    pub fn apply(&mut self, delta: &Arc<RoomDelta>) -> Applied {
        if delta.cursor <= self.cursor {
            return Applied::Covered;
        }
        let next = self.cursor.revision + 1;
        if delta.cursor.epoch != self.cursor.epoch || delta.cursor.revision != next {
            return Applied::Gap;
        }
        let before = std::mem::replace(&mut self.cursor, delta.cursor);
        for lane in &delta.lanes {
            self.lane_mut(lane.lane).apply(lane);
        }
        if self.is_opening() {
            self.opening_since.get_or_insert(before);
        }
        self.waits.count(delta);
        self.live.extend(delta.activated.iter().copied());
        self.live.extend(delta.claimed.iter().copied());
        for ended in &delta.ended {
            self.live.remove(&ended.place);
            self.ends.insert(ended);
        }
        let room_changed = self.tells_differently(&delta.facts);
        let served = self.serves();
        let serves_differently = self.serves_differently(&delta.facts);
        self.facts.clone_from(&delta.facts);
        if serves_differently {
            self.with_waits(Waits::policy_changed);
        } else if !(served && self.serves()) {
            self.waits.interrupt();
        }
        Applied::Changed(Changes::Delta {
            delta: Arc::clone(delta),
            room_changed,
        })
    }

    /// Whether users hear of the difference between two sets of facts.
    fn tells_differently(&self, facts: &RoomFacts) -> bool {
        self.facts.switches != facts.switches
            || self.facts.opens_at != facts.opens_at
            || self.facts.rebuilding != facts.rebuilding
            || self.facts.granting != facts.granting
    }

    /// Whether people wait differently between two sets of facts.
    fn serves_differently(&self, facts: &RoomFacts) -> bool {
        self.facts.capacity != facts.capacity
            || self.facts.rate_per_s.to_bits() != facts.rate_per_s.to_bits()
            || self.facts.pass_ttl_ms != facts.pass_ttl_ms
            || self.facts.claim_window_ms != facts.claim_window_ms
            || self.facts.lane_weights != facts.lane_weights
    }

    /// Whether the room activates people, as far as it is known here.
    fn serves(&self) -> bool {
        self.state() == RoomState::Open && !self.facts.rebuilding
    }

    /// Looks at the line, about once a second: what happened since, and that
    /// time has passed. `now_ms` is monotone; not believed: this node is cut
    /// off from a store, or was asleep.
    pub fn observe(&mut self, now_ms: u64, is_believed: bool) {
        self.with_waits(|waits, seen| waits.observe(now_ms, is_believed, seen));
    }

    fn with_waits(&mut self, look: impl FnOnce(&mut Waits, &Seen)) {
        let waiting: Vec<u64> = self.lanes.iter().map(LaneView::waiting_total).collect();
        let seen = Seen {
            serves: self.serves(),
            facts: &self.facts,
            weights: &self.facts.lane_weights,
            waiting: &waiting,
        };
        look(&mut self.waits, &seen);
    }

    /// The view is known to lack something, or has it.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.waits.is_behind = is_behind;
    }

    /// The mapping an opened DRAW waits for, if there is one to do.
    #[must_use]
    pub fn prepare_draw(&self) -> Option<DrawRemap> {
        DrawRemap::of(self.cursor.epoch, &self.lanes)
    }

    /// Takes a mapping in; `None` if the view has gone another way meanwhile.
    pub fn install(&mut self, ready: DrawReady) -> Option<Changes> {
        let is_current = ready.epoch == self.cursor.epoch;
        if !is_current || !ready.install(&mut self.lanes) {
            return None;
        }
        if !self.is_opening() {
            self.opening_since = None;
        }
        Some(Changes::Whole {
            new_epoch: false,
            has_skipped: false,
        })
    }

    /// How a place stands; `None`: over, and how is no longer remembered.
    #[must_use]
    pub fn standing(&self, place: PlaceKey) -> Option<Standing> {
        if let Some(standing) = self.live.get(&place) {
            return Some(*standing);
        }
        if let Some(End { reason, .. }) = self.ends.get(place) {
            return Some(Standing::Ended(reason));
        }
        if self.lane(place.lane)?.has_departed(place.number) {
            return None;
        }
        let over_with_room = self.facts.switches.closed && !self.facts.granting.contains(&place);
        Some(match over_with_room {
            true => Standing::Ended(EndReason::RoomClosed),
            false => Standing::Waiting,
        })
    }

    /// The place into which a merged one went, while it is remembered.
    #[must_use]
    pub fn survivor(&self, place: PlaceKey) -> Option<PlaceKey> {
        self.ends.get(place)?.survivor
    }

    /// 1 + the waiting places ahead. Meaningful for a waiting place of an
    /// opened room; a lane that does not exist yet has nobody in it.
    #[must_use]
    pub fn position(&self, place: PlaceKey) -> u64 {
        self.lane(place.lane)
            .map_or(place.number, |lane| lane.position(place.number))
    }

    /// Issued and not departed; the caller raises it to the position it tells.
    #[must_use]
    pub fn waiting_total(&self, lane: LaneIndex) -> u64 {
        self.lane(lane).map_or(0, LaneView::waiting_total)
    }

    /// The wait at a position, while it can be told honestly.
    #[must_use]
    pub fn estimate(&self, lane: LaneIndex, position: u64) -> Option<WaitRange> {
        self.serves()
            .then(|| self.waits.estimate(lane, position))
            .flatten()
    }

    /// Everything about a place. `known_end` is what the caller was told of
    /// its end, for one that the view no longer remembers; `None` when neither
    /// knows.
    #[must_use]
    pub fn report(&self, place: PlaceKey, known_end: Option<EndReason>) -> Option<PlaceReport> {
        let standing = match known_end {
            Some(reason) => Standing::Ended(reason),
            None => self.standing(place)?,
        };
        let mut report = PlaceReport {
            place,
            state: PlaceState::Waiting,
            end: None,
            position: None,
            waiting_total: self.waiting_total(place.lane),
            estimated_wait: None,
            activation_id: standing.activation_id(),
            claim_by: None,
            expire_time: None,
            opens_at: None,
            cursor: self.told_cursor_of(place),
        };
        match standing {
            Standing::Waiting if self.state() == RoomState::Scheduled => {
                report.state = PlaceState::Scheduled;
                report.opens_at = self.facts.opens_at;
            }
            Standing::Waiting => {
                let position = self.position(place);
                report.position = Some(position);
                report.waiting_total = report.waiting_total.max(position);
                report.estimated_wait = self.estimate(place.lane, position);
            }
            Standing::Activated { claim_by, .. } => {
                report.state = PlaceState::Activated;
                report.claim_by = Some(claim_by);
            }
            Standing::Active { expire_time, .. } => {
                report.state = PlaceState::Active;
                report.expire_time = Some(expire_time);
            }
            Standing::Ended(reason) => {
                report.state = reason.state().into();
                report.end = Some(reason);
            }
        }
        Some(report)
    }

    fn lane(&self, index: LaneIndex) -> Option<&LaneView> {
        self.lanes.get(usize::from(index))
    }

    fn lane_mut(&mut self, index: LaneIndex) -> &mut LaneView {
        let index = usize::from(index);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, LaneView::empty);
        }
        &mut self.lanes[index]
    }
}
