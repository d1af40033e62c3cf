//! Who is there: absence, its grace, and lapses. All in room time.
//!
//! A place that goes absent after the grace began has a timer of its own.
//! Those absent before (at opening, or when a rebuild ends) are all due at the
//! same moment: one [`Sweep`] walks the numbers then, a bounded step per tick.

use crate::domain::ids::{Incarnation, PlaceKey, UserId};
use crate::domain::place::EndReason;
use crate::domain::time::RoomMs;

use super::lane::{Attendance, Spot};
use super::{Room, STEPS_PER_TICK_MAX};

/// A walk over all numbers issued before the grace began.
#[derive(Debug)]
pub(super) struct Sweep {
    at: RoomMs,
    lane: usize,
    next: u64,
}

impl Room {
    /// From now on absence runs out; those absent now have a whole grace.
    pub(super) fn start_grace(&mut self) {
        self.rebuild_until = None;
        if !self.switches.opened {
            return;
        }
        let now = self.clock.now();
        self.grace_from = Some(now);
        self.sweep = Some(Sweep {
            at: now.plus_ms(self.policy.absence_grace_ms),
            lane: 0,
            next: 1,
        });
    }

    /// Streams of these places opened here.
    pub(super) fn attend(&mut self, place: PlaceKey, attendance: Attendance) {
        let now = self.clock.now();
        let Some(Spot::Waiting {
            attendance: before, ..
        }) = self.spot(place)
        else {
            return;
        };
        let before = *before;
        // A call never weakens a stream.
        if let (Attendance::Stream(node), Attendance::Until(_)) = (before, attendance)
            && self.has_lease(node)
        {
            return;
        }
        let deadline = match attendance {
            Attendance::Stream(_) => None,
            Attendance::Until(until) => Some(until),
            Attendance::Absent { .. } => self
                .grace_from
                .map(|_| now.plus_ms(self.policy.absence_grace_ms)),
        };
        self.stop_timer(place);
        if let Some(at) = deadline {
            self.timers.insert((at, place));
        }
        self.lanes[usize::from(place.lane)].attend(place.number, attendance, deadline);
        if before.is_there() && !attendance.is_there() {
            self.pending.absent.push(place);
            self.pending.is_dirty = true;
        }
    }

    /// The last stream of a place ended at `owner`: nothing where another has
    /// taken over.
    pub fn absent(&mut self, place: PlaceKey, user: &UserId, owner: Incarnation) {
        if let Some(Spot::Waiting {
            user: of,
            attendance: Attendance::Stream(by),
            ..
        }) = self.spot(place)
            && (of, *by) == (user, owner)
        {
            self.miss(place);
        }
    }

    pub(super) fn stop_timer(&mut self, place: PlaceKey) {
        if let Some(lane) = self.lanes.get_mut(usize::from(place.lane))
            && let Some(Spot::Waiting { timer, .. }) = lane.spot_mut(place.number)
            && let Some(at) = timer.take()
        {
            self.timers.remove(&(at, place));
        }
    }

    /// Ends the rebuild when its time is over.
    pub(super) fn end_rebuild_if_due(&mut self) {
        if self
            .rebuild_until
            .is_some_and(|until| self.clock.now() >= until)
        {
            self.start_grace();
            self.pending.is_dirty = true;
        }
    }

    /// Turns expired calls into absences, and absences beyond the grace into
    /// ends. Whether there may be more than one tick does.
    pub(super) fn lapse(&mut self) -> bool {
        if self.switches.closed {
            return false;
        }
        let now = self.clock.now();
        let mut budget = STEPS_PER_TICK_MAX;
        self.lapse_leases(&mut budget);
        while let Some(&(at, place)) = self.timers.first()
            && at <= now
            && budget > 0
        {
            budget -= 1;
            self.timers.pop_first();
            if let Some(Spot::Waiting { timer, .. }) =
                self.lanes[usize::from(place.lane)].spot_mut(place.number)
            {
                *timer = None;
            }
            self.lapse_place(place);
        }
        self.advance_sweep(now, &mut budget);
        budget == 0
    }

    fn lapse_place(&mut self, place: PlaceKey) {
        match self.spot(place) {
            Some(Spot::Waiting {
                attendance: Attendance::Until(_),
                ..
            }) => self.miss(place),
            Some(Spot::Waiting {
                attendance: Attendance::Absent { .. },
                ..
            }) => self.depart(place, EndReason::Absent, None),
            _ => {}
        }
    }

    fn advance_sweep(&mut self, now: RoomMs, budget: &mut u32) {
        let (Some(mut sweep), Some(grace_from)) = (self.sweep.take(), self.grace_from) else {
            return;
        };
        if now >= sweep.at {
            while *budget > 0 && sweep.lane < self.lanes.len() {
                let lane = &self.lanes[sweep.lane];
                if sweep.next > lane.issued {
                    sweep.lane += 1;
                    sweep.next = 1;
                    continue;
                }
                *budget -= 1;
                let place = PlaceKey {
                    lane: lane.index,
                    number: sweep.next,
                };
                sweep.next += 1;
                let is_over = match self.spot(place) {
                    Some(Spot::Unclaimed) => true,
                    Some(Spot::Waiting {
                        attendance: Attendance::Absent { since },
                        timer: None,
                        ..
                    }) => *since <= grace_from,
                    _ => false,
                };
                if is_over {
                    self.depart(place, EndReason::Absent, None);
                }
            }
            if sweep.lane == self.lanes.len() {
                return;
            }
        }
        self.sweep = Some(sweep);
    }
}
