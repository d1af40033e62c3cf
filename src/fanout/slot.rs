//! One stream's slot: what it owes, what it has told, and when it is next due.

use crate::domain::ids::{ActivationId, Cursor, PlaceKey, UserId};
use crate::domain::place::EndReason;
use crate::domain::time::UnixMs;

use super::calls::{Calls, Reader};
use super::due::{DueSet, Kind};
use super::event::DrainReason;
use super::limits::HubLimits;

pub(super) const NEVER_MS: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Live,
    /// Ends with an error the next time it is polled.
    Stalled,
    /// Nothing more is said.
    Over,
}

/// Where news come from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct News {
    /// Their delta's; none when they were found out in another way.
    pub published_at: Option<UnixMs>,
}

/// A drain that is due and not yet said.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwedDrain {
    pub reason: DrainReason,
    /// 0: not yet chosen.
    pub reconnect_after_ms: u64,
}

impl OwedDrain {
    pub const SHUTDOWN: Self = Self {
        reason: DrainReason::Shutdown,
        reconnect_after_ms: 0,
    };
}

pub(super) struct Slot {
    /// Index of its room, which its shard knows.
    pub room: u32,
    pub place: PlaceKey,
    pub user: UserId,
    pub phase: Phase,
    pub due: DueSet,
    pub reader: Reader,
    /// Where it stands in its room's list of slots.
    pub room_at: u32,
    /// The wheel's entry that counts, and when it fires.
    pub stamp: u64,
    pub fires_at_ms: u64,

    /// Boxed, as a survivor is: few have one, and all would pay for its size.
    pub resume: Option<Box<Cursor>>,
    /// 0: whenever a position is due.
    pub min_update_interval_ms: u64,
    pub end_on_activation: bool,
    pub is_merged: bool,

    pub opened_ms: u64,
    pub ends_at_ms: u64,
    pub age_at_ms: u64,
    pub last_sent_ms: u64,
    pub position_at_ms: u64,
    /// Since when something is due and nothing was taken.
    pub due_since_ms: u64,
    /// When the earliest news that are due were published, in wall time.
    pub news_since_ms: u64,

    pub told_turn: Option<(ActivationId, bool)>,
    pub told_room: u64,
    /// Of the last snapshot or position.
    pub told_cursor: Cursor,
    pub told_position: Option<u64>,
    pub known_end: Option<EndReason>,
    pub survivor: Option<Box<PlaceKey>>,
    /// It is over, and nobody here knows how.
    pub asks_for_end: bool,
    pub drain: DrainReason,
    pub reconnect_after_ms: u64,
}

impl Slot {
    /// Notes that something is due.
    pub fn mark(&mut self, kind: Kind, now_ms: u64, calls: &mut Calls) {
        if self.phase == Phase::Over {
            return;
        }
        self.due.insert(kind);
        if self.due_since_ms == NEVER_MS {
            self.due_since_ms = now_ms;
        }
        calls.add(&mut self.reader);
    }

    /// As [`Slot::mark`], for what a delta named.
    pub fn mark_news(&mut self, kind: Kind, news: News, now_ms: u64, calls: &mut Calls) {
        if let Some(published_at) = news.published_at {
            self.news_since_ms = self.news_since_ms.min(published_at.0);
        }
        self.mark(kind, now_ms, calls);
    }

    /// It would say something, or end, if it were asked.
    pub fn has_more(&self) -> bool {
        !self.due.is_empty() || self.phase != Phase::Live
    }

    pub fn end(&mut self, phase: Phase, calls: &mut Calls) {
        if self.phase == Phase::Live {
            self.phase = phase;
        }
        calls.add(&mut self.reader);
    }

    /// When time must look at this slot again.
    pub fn deadline_ms(&self, limits: &HubLimits) -> u64 {
        if self.phase != Phase::Live {
            return NEVER_MS;
        }
        let next = if self.due_since_ms != NEVER_MS {
            self.due_since_ms.saturating_add(limits.write_stall_ms)
        } else if self.due.contains(Kind::Snapshot) {
            self.opened_ms + limits.tick_ms
        } else {
            self.position_at_ms
                .min(self.last_sent_ms + limits.silence_max_ms())
        };
        next.min(self.ends_at_ms).min(self.age_at_ms)
    }

    /// What time has made of this slot.
    pub fn on_time(&mut self, now_ms: u64, limits: &HubLimits, calls: &mut Calls) {
        if self.phase != Phase::Live {
            return;
        }
        if now_ms >= self.ends_at_ms {
            return self.end(Phase::Over, calls);
        }
        let stalled = self.due_since_ms != NEVER_MS
            && now_ms >= self.due_since_ms.saturating_add(limits.write_stall_ms);
        if stalled {
            return self.end(Phase::Stalled, calls);
        }
        if now_ms >= self.age_at_ms {
            self.age_at_ms = NEVER_MS;
            self.drain(DrainReason::Aged, now_ms, calls);
        }
        if self.due_since_ms != NEVER_MS {
            return;
        }
        if self.due.contains(Kind::Snapshot) {
            return self.mark(Kind::Snapshot, now_ms, calls);
        }
        if now_ms >= self.position_at_ms {
            self.position_at_ms = NEVER_MS;
            return self.mark(Kind::Position, now_ms, calls);
        }
        if now_ms >= self.last_sent_ms + limits.silence_max_ms() {
            self.mark(Kind::Heartbeat, now_ms, calls);
        }
    }

    pub fn drain(&mut self, reason: DrainReason, now_ms: u64, calls: &mut Calls) {
        if !self.due.contains(Kind::Drain) {
            self.drain = reason;
        }
        self.mark(Kind::Drain, now_ms, calls);
    }
}
