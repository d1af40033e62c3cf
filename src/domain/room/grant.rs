//! Turns that an operator gives: out of order and whatever the rate, but never
//! without a slot.
//!
//! A grant takes the slot and moves the place to `granting`, as a pick does; its
//! row is written by whoever asked and then confirmed. So what is not brought
//! back is handed out again by a tick, and written on the policy's terms.

use crate::domain::ids::{ActivationId, LaneIndex, PlaceKey, UserId};
use crate::domain::place::RoomState;
use crate::domain::time::UnixMs;

use super::Room;
use super::command::Refusal;
use super::lane::Spot;

/// What became of a user whom an operator lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantOutcome {
    /// Their place is in `granting` and has a slot: write its row, then
    /// `confirm`.
    Granting(PlaceKey),
    /// They have their turn already.
    HasTurn(ActivationId),
}

impl Room {
    /// Takes a slot for the user's live waiting place, else for a fresh number
    /// of `issue_in`, which never waits. Works before the opening and in a
    /// pause too; again, it answers the same place.
    ///
    /// # Errors
    /// [`Refusal::Closed`], [`Refusal::Rebuilding`], [`Refusal::NoSlot`]; for a
    /// fresh number [`Refusal::Opening`] and [`Refusal::NumbersExhausted`].
    pub fn grant_place(
        &mut self,
        user: &UserId,
        issue_in: LaneIndex,
        now: UnixMs,
    ) -> Result<GrantOutcome, Refusal> {
        self.advance(now);
        if self.state() == RoomState::Closed {
            return Err(Refusal::Closed);
        }
        let live = self.users.get(user).copied();
        match live.and_then(|place| self.spot(place)) {
            Some(Spot::Turn { id, .. }) => return Ok(GrantOutcome::HasTurn(*id)),
            Some(Spot::Granting { .. }) => {
                return live
                    .map(GrantOutcome::Granting)
                    .ok_or(Refusal::UnknownPlace);
            }
            Some(Spot::Waiting { .. } | Spot::Unclaimed | Spot::Ended { .. }) | None => {}
        }
        if self.rebuild_until.is_some() {
            return Err(Refusal::Rebuilding);
        }
        if self.slots_in_use() >= self.policy.capacity {
            return Err(Refusal::NoSlot);
        }
        let place = match live {
            Some(place) => {
                self.stop_timer(place);
                let granting = self.granting_spot(user);
                self.set_spot(place, granting);
                place
            }
            None => self.issue_granted(user, issue_in)?,
        };
        let lane = self.lane_mut(place.lane)?;
        lane.served += 1;
        lane.passed(place.number);
        self.granting.insert(place);
        Ok(GrantOutcome::Granting(place))
    }

    fn granting_spot(&self, user: &UserId) -> Spot {
        Spot::Granting {
            user: user.clone(),
            asked_at: self.clock.now(),
            left: false,
        }
    }

    /// A number that nobody joined for: neither `max_waiting` nor SOLD_OUT
    /// refuses it.
    fn issue_granted(&mut self, user: &UserId, lane: LaneIndex) -> Result<PlaceKey, Refusal> {
        let (spot, now) = (self.granting_spot(user), self.clock.now());
        let lane = self.lane_mut(lane).map_err(|_| Refusal::Opening)?;
        lane.may_issue()?;
        let place = PlaceKey {
            lane: lane.index,
            number: lane.issue(spot, now),
        };
        self.users.insert(user.clone(), place);
        self.pending.is_dirty = true;
        Ok(place)
    }
}
