//! Two time lines that must never be mixed.
//!
//! [`UnixMs`] is the wall clock: of the database for seats, holds, passes and
//! money, of the server for opening and closing. [`RoomMs`] is *room time*: it
//! advances by the server clock's steps clamped to 0…1 s, so it is monotone,
//! deaf to clock jumps, and stands still while nobody ticks the room: between two
//! ticks it moves on by a second at most, whatever else happens there, so that
//! no lease or grace runs out while ticks rest. Claim windows, absence and the
//! rate bucket run on it.

use serde::{Deserialize, Serialize};

/// The longest step room time takes at once.
pub const ROOM_STEP_MAX_MS: u64 = 1_000;

/// Wall-clock milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct UnixMs(pub u64);

impl UnixMs {
    #[must_use]
    pub fn plus_ms(self, span_ms: u64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    /// Milliseconds from `self` until `later`; 0 when it is past.
    #[must_use]
    pub fn until_ms(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// Milliseconds of room time since the room was made in this epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RoomMs(pub u64);

impl RoomMs {
    #[must_use]
    pub fn plus_ms(self, span_ms: u64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    #[must_use]
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Room time together with the server clock it last saw.
#[derive(Debug, Clone, Copy)]
pub struct RoomClock {
    now: RoomMs,
    last_seen: UnixMs,
    /// Room time at the last tick.
    ticked: RoomMs,
}

impl RoomClock {
    #[must_use]
    pub fn starting(server_now: UnixMs) -> Self {
        Self {
            now: RoomMs(0),
            last_seen: server_now,
            ticked: RoomMs(0),
        }
    }

    #[must_use]
    pub fn now(&self) -> RoomMs {
        self.now
    }

    /// The server's clock as it was last told.
    #[must_use]
    pub fn server_now(&self) -> UnixMs {
        self.last_seen
    }

    /// A tick: advances by the server clock's step, clamped; returns the step
    /// taken.
    pub fn tick(&mut self, server_now: UnixMs) -> u64 {
        self.ticked = self.now;
        let step_ms = self.advance(server_now);
        self.ticked = self.now;
        step_ms
    }

    /// Anything else that happens: the same, but not past the last tick by more
    /// than the longest step.
    pub fn advance(&mut self, server_now: UnixMs) -> u64 {
        let most_ms = self.ticked.plus_ms(ROOM_STEP_MAX_MS).since_ms(self.now);
        let step_ms = self.last_seen.until_ms(server_now).min(most_ms);
        self.last_seen = server_now;
        self.now = self.now.plus_ms(step_ms);
        step_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_time_ignores_jumps_in_both_directions() {
        let mut clock = RoomClock::starting(UnixMs(10_000));
        assert_eq!(clock.tick(UnixMs(10_100)), 100);
        assert_eq!(clock.tick(UnixMs(3_700_000)), ROOM_STEP_MAX_MS);
        assert_eq!(clock.tick(UnixMs(5)), 0);
        assert_eq!(clock.tick(UnixMs(55)), 50);
        assert_eq!(clock.now(), RoomMs(1_150));
    }

    #[test]
    fn room_time_rests_while_ticks_do() {
        let mut clock = RoomClock::starting(UnixMs(10_000));
        clock.tick(UnixMs(10_100));
        for second in 11..60 {
            clock.advance(UnixMs(second * 1_000));
        }
        assert_eq!(clock.now(), RoomMs(100 + ROOM_STEP_MAX_MS));
        clock.tick(UnixMs(60_000));
        assert_eq!(clock.now(), RoomMs(100 + 2 * ROOM_STEP_MAX_MS));
    }
}
