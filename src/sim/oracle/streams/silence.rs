//! What a stream may leave unsaid, and how it may end.

use crate::domain::place::{EndReason, Standing};
use crate::fanout::HubLimits;

use super::{Broken, Heard, Sight, must, turn_of};

/// Within it the hub marks what came due while something else was.
const GRANULARITY_MS: u64 = 200;

impl Heard {
    /// Nothing is due: then nothing may be owed.
    pub(in crate::sim) fn nothing(
        &mut self,
        now: &Sight,
        was_woken: bool,
        limits: &HubLimits,
    ) -> Result<(), Broken> {
        let asked_ms = now.ms - std::mem::replace(&mut self.polled_ms, now.ms);
        must(!self.is_over, "Q13", || {
            "a stream that said its last word goes on".to_owned()
        })?;
        // Its end must be looked up first.
        let Some(standing) = now.standing else {
            return Ok(());
        };
        let is_merged = standing == Standing::Ended(EndReason::Merged);
        let is_ahead = self.asked.resume.is_some_and(|resume| resume > now.cursor);
        if is_merged && is_ahead {
            return Ok(());
        }
        let silence_ms = now.ms - self.said_ms;
        // One that was woken and comes late has held up its own heartbeat.
        let was_late = was_woken || asked_ms <= GRANULARITY_MS;
        let is_heard = was_late || silence_ms <= limits.heartbeat_interval_ms;
        must(is_heard, "Q14", || format!("silent for {silence_ms} ms"))?;
        if is_merged {
            return Ok(());
        }
        if self.place.is_none() {
            let waited_ms = now.ms - self.asked.opened_ms;
            return must(is_ahead && waited_ms < 2 * limits.tick_ms, "Q14", || {
                format!("no snapshot after {waited_ms} ms")
            });
        }
        must(!self.owes_drain, "Q12", || {
            "a stream that must go is not told".to_owned()
        })?;
        must(standing.is_live(), "Q12", || {
            format!("an end is not told: {standing:?}")
        })?;
        let turn = turn_of(standing);
        must(turn.is_none() || turn == self.turn, "Q12", || {
            format!("a turn is not told: {turn:?}")
        })?;
        must(self.room == Some(now.room), "Q12", || {
            format!("{:?} is not told", now.room)
        })?;
        match was_late {
            true => Ok(()),
            false => self.freshness(now, limits),
        }
    }

    /// A better position is told within the heartbeat interval.
    fn freshness(&self, now: &Sight, limits: &HubLimits) -> Result<(), Broken> {
        let age_ms = now.ms - self.paced_ms;
        let is_better = now.position.is_some_and(|position| {
            now.cursor > self.positioned && self.position.is_none_or(|told| position < told)
        });
        must(
            !is_better || age_ms <= limits.heartbeat_interval_ms,
            "Q14",
            || format!("{:?} is told for {age_ms} ms", self.position),
        )
    }

    pub(in crate::sim) fn slow(&self, now: &Sight, limits: &HubLimits) -> Result<(), Broken> {
        let idle_ms = now.ms - self.polled_ms;
        must(idle_ms >= limits.write_stall_ms, "Q12", || {
            format!("called slow after {idle_ms} ms")
        })
    }

    /// It ended OK.
    pub(in crate::sim) fn ended(&self, now: &Sight) -> Result<(), Broken> {
        let open_ms = now.ms - self.asked.opened_ms;
        let was_asked = self.asked.max_duration_ms.is_some_and(|max| open_ms >= max);
        must(self.is_over || was_asked, "Q12", || {
            "a stream ended without a word".to_owned()
        })
    }
}
