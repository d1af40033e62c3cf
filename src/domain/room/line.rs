//! Into the line and out of it: joins, restores, merges, leaves.
//!
//! A user has at most one live place. A restored place and a live one merge:
//! the lower order stays, an activation wins over both, nobody moves back.

use crate::domain::ids::{Incarnation, LaneIndex, PlaceKey, UserId};
use crate::domain::place::{EndReason, Place, RoomState};
use crate::domain::time::UnixMs;

use super::Room;
use super::command::{LeaveOutcome, Presence, Refusal, Take, Taken};
use super::lane::{Attendance, Spot};

impl Room {
    /// Finds the user's live place, else restores the presented one, else
    /// issues a number.
    ///
    /// # Errors
    /// [`Refusal`] when there is no live place and none can be issued.
    pub fn take(&mut self, take: &Take, now: UnixMs) -> Result<Taken, Refusal> {
        self.advance(now);
        if let Presence::Stream(node) = take.presence {
            self.renew(node);
        }
        let presented = take
            .presented
            .map(|place| self.present_token(place, &take.user))
            .transpose()?;
        let place = match (
            self.users.get(&take.user).copied(),
            presented,
            take.issue_in,
        ) {
            // The token of an ended place speaks for that place only.
            (_, Some(Shown::Ended(place)), None) => place,
            (Some(live), _, _) => live,
            (None, _, Some(lane)) => self.issue(&take.user, lane)?,
            (None, _, None) => return Err(Refusal::UnknownPlace),
        };
        self.attend(place, self.attendance(take.presence));
        let spot = self.spot(place).ok_or(Refusal::UnknownPlace)?;
        Ok(Taken {
            place: Place {
                key: place,
                user: take.user.clone(),
                standing: self.standing_of(spot),
            },
            needs_token: take.presented != Some(place),
        })
    }

    /// The user's live place.
    #[must_use]
    pub fn find(&self, user: &UserId) -> Option<Place> {
        let key = *self.users.get(user)?;
        Some(Place {
            key,
            user: user.clone(),
            standing: self.standing_of(self.spot(key)?),
        })
    }

    /// Bulk restore: places with open streams at `owner`.
    pub fn present(&mut self, places: &[(PlaceKey, UserId)], owner: Incarnation, now: UnixMs) {
        self.advance(now);
        self.renew(owner);
        for (place, user) in places {
            if let Ok(Shown::Live) = self.present_token(*place, user)
                && let Some(live) = self.users.get(user).copied()
            {
                self.attend(live, Attendance::Stream(owner));
            }
        }
    }

    /// Ends a waiting place; tells what stands in the way otherwise.
    ///
    /// # Errors
    /// [`Refusal::UnknownPlace`] for a number never issued, or another user's.
    pub fn leave(
        &mut self,
        place: PlaceKey,
        user: &UserId,
        now: UnixMs,
    ) -> Result<LeaveOutcome, Refusal> {
        self.advance(now);
        if let Some(
            Spot::Waiting { user: of, .. }
            | Spot::Granting { user: of, .. }
            | Spot::Turn { user: of, .. },
        ) = self.spot(place)
            && of != user
        {
            return Err(Refusal::UnknownPlace);
        }
        if self.switches.closed
            && let Some(Spot::Waiting { .. } | Spot::Unclaimed) = self.spot(place)
        {
            return Ok(LeaveOutcome::Ended(EndReason::RoomClosed));
        }
        match self.spot(place).ok_or(Refusal::UnknownPlace)? {
            Spot::Unclaimed | Spot::Waiting { .. } => {
                self.depart(place, EndReason::Left, None);
                Ok(LeaveOutcome::Ended(EndReason::Left))
            }
            Spot::Granting { user, asked_at, .. } => {
                let (user, asked_at) = (user.clone(), *asked_at);
                if self.users.get(&user) == Some(&place) {
                    self.users.remove(&user);
                }
                let left = true;
                self.set_spot(
                    place,
                    Spot::Granting {
                        user,
                        asked_at,
                        left,
                    },
                );
                Ok(LeaveOutcome::Marked)
            }
            Spot::Turn { id, .. } => Ok(LeaveOutcome::EndRowFirst(*id)),
            Spot::Ended { reason, .. } => Ok(LeaveOutcome::Ended(*reason)),
        }
    }

    fn attendance(&self, presence: Presence) -> Attendance {
        match presence {
            Presence::Call { for_ms } => Attendance::Until(self.clock.now().plus_ms(for_ms)),
            Presence::Stream(owner) => Attendance::Stream(owner),
        }
    }

    /// Believes a signed token: after this the user's live place is the better
    /// of what they had and what they show.
    fn present_token(&mut self, place: PlaceKey, user: &UserId) -> Result<Shown, Refusal> {
        match self.spot(place).ok_or(Refusal::UnknownPlace)? {
            Spot::Unclaimed => {
                let attendance = Attendance::Absent {
                    since: self.clock.now(),
                };
                self.set_spot(
                    place,
                    Spot::Waiting {
                        user: user.clone(),
                        attendance,
                        timer: None,
                    },
                );
                self.keep_better(place, user);
                Ok(Shown::Live)
            }
            Spot::Waiting { user: owner, .. }
            | Spot::Granting { user: owner, .. }
            | Spot::Turn { user: owner, .. } => match owner == user {
                true if self.users.get(user) == Some(&place) => Ok(Shown::Live),
                // Left while its activation was being written.
                true => Ok(Shown::Ended(place)),
                false => Err(Refusal::UnknownPlace),
            },
            Spot::Ended {
                reason: EndReason::Merged,
                ..
            } if self.users.contains_key(user) => Ok(Shown::Live),
            Spot::Ended { survivor, .. } => Ok(Shown::Ended(survivor.unwrap_or(place))),
        }
    }

    /// Merges a restored place with the user's live one, if there is one.
    fn keep_better(&mut self, restored: PlaceKey, user: &UserId) {
        let Some(live) = self.users.get(user).copied() else {
            self.users.insert(user.clone(), restored);
            return;
        };
        let waits = matches!(self.spot(live), Some(Spot::Waiting { .. }));
        if waits && self.rank_of(restored) < self.rank_of(live) {
            self.users.insert(user.clone(), restored);
            self.depart(live, EndReason::Merged, Some(restored));
        } else {
            self.depart(restored, EndReason::Merged, Some(live));
        }
    }

    /// What "lower order" means between two places of one user.
    fn rank_of(&self, place: PlaceKey) -> (u64, u16) {
        let order = self.lanes[usize::from(place.lane)].order_of(place.number);
        (order, place.lane)
    }

    fn issue(&mut self, user: &UserId, lane: LaneIndex) -> Result<PlaceKey, Refusal> {
        match self.state() {
            RoomState::Closed => return Err(Refusal::Closed),
            RoomState::SoldOut => return Err(Refusal::SoldOut),
            RoomState::Scheduled | RoomState::Paused | RoomState::Open => {}
        }
        let waiting: u64 = self.lanes.iter().map(|lane| lane.waiting).sum();
        if self.policy.max_waiting > 0 && waiting >= self.policy.max_waiting {
            return Err(Refusal::Full);
        }
        let since = self.clock.now();
        // One that was appended, of which the room has not heard yet.
        let lane = self.lane_mut(lane).map_err(|_| Refusal::Opening)?;
        lane.may_issue()?;
        let spot = Spot::Waiting {
            user: user.clone(),
            attendance: Attendance::Absent { since },
            timer: None,
        };
        let number = lane.issue(spot, since);
        let place = PlaceKey {
            lane: lane.index,
            number,
        };
        self.users.insert(user.clone(), place);
        self.counts.joins_total += 1;
        self.pending.is_dirty = true;
        Ok(place)
    }
}

/// What a presented token turned out to be.
enum Shown {
    /// The user has a live place.
    Live,
    /// The place is over.
    Ended(PlaceKey),
}
