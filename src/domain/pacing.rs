//! When a stream's next position is due.
//!
//! A user a minute from the front wants news every two seconds; one an hour away does not. So a position is due after
//! [`WAIT_SHARE`] of the remaining wait, at least [`INTERVAL_MIN_MS`], and at most the heartbeat interval, where the
//! position *is* the heartbeat.
//!
//! Invariants: the answer never exceeds the heartbeat interval, so silence never does; and it is never shorter than
//! the interval the client asked for (up to the heartbeat), because a client may only slow its stream.
//!
//! What it costs: a line served at `rate` per second whose wait exceeds `30 · heartbeat` has
//!
//! ```text
//! 30·rate            waiters less than 30 s from the front, one message a second each
//! 30·rate·ln(hb)     those between 30 s and 30·hb: the integral of rate / (w/30) dw
//! waiters/hb − 30·rate   all others, one message a heartbeat
//! ```
//!
//! messages per second, which is `30·rate·ln(hb) + waiters/hb` ([`messages_per_s`]). The first term does not grow
//! with the line; the second is linear and sizes the machines.

/// A position is due after this share (1/30) of the remaining wait.
pub const WAIT_SHARE: u64 = 30;
/// Nobody is told more often than this.
pub const INTERVAL_MIN_MS: u64 = 1_000;
/// The shared moments of a connection's streams are at least this often in a pause.
const MOMENTS_PER_PAUSE: u64 = 16;
/// And at least this far apart: the hub's granularity of time.
const MOMENT_MS: u64 = 100;
/// Jitter takes off up to a tenth, never adds: added time could exceed the heartbeat interval.
const JITTER_SHARE: f64 = 0.1;

/// Milliseconds until a stream's next position is due. `remaining_wait_ms` is unknown while the room is paused,
/// degraded or new, `jitter` lies in `[0, 1)` and spreads streams that were opened together.
#[must_use]
pub fn next_due_ms(
    remaining_wait_ms: Option<u64>,
    heartbeat_ms: u64,
    min_update_interval_ms: Option<u64>,
    jitter: f64,
) -> u64 {
    let paced_ms = match remaining_wait_ms {
        Some(wait_ms) => (wait_ms / WAIT_SHARE)
            .max(INTERVAL_MIN_MS)
            .min(heartbeat_ms),
        None => heartbeat_ms,
    };
    let jittered_ms =
        (paced_ms as f64 * (1.0 - JITTER_SHARE * jitter.clamp(0.0, 1.0))).ceil() as u64;
    jittered_ms
        .max(min_update_interval_ms.unwrap_or(0))
        .min(heartbeat_ms)
}

/// When a position is due that may wait for `pause_ms`, on a connection with other streams: at most an eighth of the
/// pause earlier, at a moment that they share. What is then due leaves together.
///
/// The moments of a longer pause are moments of every shorter one; those of two `connection`s differ. Half of them,
/// by a hash, fall on the one before: connections that began together drift apart, as jitter lets single streams.
#[must_use]
pub fn shared_due_ms(now_ms: u64, pause_ms: u64, connection: u32) -> u64 {
    let due_ms = now_ms.saturating_add(pause_ms);
    let steps = pause_ms / MOMENTS_PER_PAUSE / MOMENT_MS;
    let Some(doublings) = steps.checked_ilog2() else {
        return due_ms;
    };
    let apart_ms = MOMENT_MS << doublings;
    let phase_ms = u64::from(mixed(connection) >> 8);
    let shifted_ms = due_ms.saturating_add(phase_ms);
    let moment = shifted_ms / apart_ms;
    let hash = (moment ^ u64::from(connection) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let earlier_ms = shifted_ms % apart_ms + apart_ms * (hash >> 63);
    due_ms.saturating_sub(earlier_ms)
}

/// A moment within so long, another one for most connections.
#[must_use]
pub fn spread_ms(within_ms: u64, connection: u32) -> u64 {
    (within_ms * u64::from(mixed(connection))) >> 32
}

/// Multiplied by the golden ratio: numbers in a row are spread evenly (Knuth, TAOCP 6.4).
fn mixed(connection: u32) -> u32 {
    connection.wrapping_mul(0x9e37_79b9)
}

/// Position messages a second of a whole line, without jitter (which adds about 5 %).
#[must_use]
pub fn messages_per_s(rate_per_s: f64, waiters: f64, heartbeat_ms: u64) -> f64 {
    let heartbeat_s = heartbeat_ms as f64 / 1000.0;
    let share = WAIT_SHARE as f64;
    // In a line too short to reach the back, the last waiter's interval takes the heartbeat's place.
    let longest_s = (waiters / rate_per_s / share).min(heartbeat_s);
    if rate_per_s <= 0.0 {
        return waiters / heartbeat_s;
    }
    if longest_s <= 1.0 {
        return waiters / heartbeat_s.min(1.0);
    }
    share * rate_per_s * longest_s.ln() + waiters / longest_s
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEARTBEAT_MS: u64 = 25_000;

    /// Messages a second of a line whose front moves at `rate_per_s` while as many join at the back, counted over a
    /// minute: every waiter's due times are followed one by one.
    fn simulated(rate_per_s: f64, waiters: u64, jitter: impl Fn(u64, u64) -> f64) -> f64 {
        let window_ms = 60_000;
        let mut sent = 0;
        for place in 0..waiters {
            // Each starts at some phase of its own interval, as streams opened over time do.
            let wait_ms = |now_ms: u64| {
                let left_ms = place as f64 / rate_per_s * 1000.0 - now_ms as f64;
                left_ms.rem_euclid(waiters as f64 / rate_per_s * 1000.0) as u64
            };
            let phase = (place as f64 * 0.618_033_988_75).fract();
            let mut now_ms =
                (next_due_ms(Some(wait_ms(0)), HEARTBEAT_MS, None, 0.0) as f64 * phase) as u64;
            while now_ms < window_ms {
                sent += 1;
                now_ms += next_due_ms(
                    Some(wait_ms(now_ms)),
                    HEARTBEAT_MS,
                    None,
                    jitter(place, now_ms),
                );
            }
        }
        sent as f64 / (window_ms as f64 / 1000.0)
    }

    #[test]
    fn the_front_hears_each_second_and_the_back_each_heartbeat() {
        let due = |wait_ms| next_due_ms(Some(wait_ms), HEARTBEAT_MS, None, 0.0);
        assert_eq!(due(0), 1_000);
        assert_eq!(due(30_000), 1_000);
        assert_eq!(due(60_000), 2_000);
        assert_eq!(due(750_000), HEARTBEAT_MS);
        assert_eq!(due(u64::MAX), HEARTBEAT_MS);
        assert_eq!(next_due_ms(None, HEARTBEAT_MS, None, 0.0), HEARTBEAT_MS);
    }

    #[test]
    fn a_client_may_only_slow_its_stream() {
        assert_eq!(next_due_ms(Some(0), HEARTBEAT_MS, Some(5_000), 0.9), 5_000);
        assert_eq!(
            next_due_ms(Some(300_000), HEARTBEAT_MS, Some(5_000), 0.0),
            10_000
        );
        assert_eq!(
            next_due_ms(Some(0), HEARTBEAT_MS, Some(90_000), 0.5),
            HEARTBEAT_MS
        );
    }

    #[test]
    fn jitter_takes_off_up_to_a_tenth() {
        assert_eq!(next_due_ms(Some(300_000), HEARTBEAT_MS, None, 0.5), 9_500);
        assert_eq!(next_due_ms(None, HEARTBEAT_MS, None, 1.0), 22_500);
    }

    #[test]
    fn a_heartbeat_below_a_second_wins() {
        assert_eq!(next_due_ms(Some(0), 400, None, 0.0), 400);
    }

    #[test]
    fn the_message_rate_formula_holds_over_a_simulated_line() {
        let heartbeat_s = HEARTBEAT_MS as f64 / 1000.0;
        for (rate_per_s, waiters) in [(50.0, 100_000), (20.0, 40_000), (100.0, 80_000)] {
            let formula = 30.0 * rate_per_s * heartbeat_s.ln() + waiters as f64 / heartbeat_s;
            assert!(
                (messages_per_s(rate_per_s, waiters as f64, HEARTBEAT_MS) - formula).abs() < 1e-6
            );
            let counted = simulated(rate_per_s, waiters, |_, _| 0.0);
            let off = (counted / formula - 1.0).abs();
            assert!(
                off < 0.03,
                "{counted:.0} against {formula:.0} messages a second"
            );
        }
    }

    #[test]
    fn a_short_line_costs_what_its_own_intervals_say() {
        // 10 and 100 s of wait: the back never reaches the heartbeat interval.
        for (rate_per_s, waiters) in [(100.0, 1_000), (100.0, 10_000)] {
            let formula = messages_per_s(rate_per_s, waiters as f64, HEARTBEAT_MS);
            let counted = simulated(rate_per_s, waiters, |_, _| 0.0);
            assert!(
                (counted / formula - 1.0).abs() < 0.03,
                "{counted:.0} against {formula:.0}"
            );
        }
    }

    #[test]
    fn jitter_adds_about_five_percent() {
        let counted = simulated(50.0, 60_000, |place, now_ms| {
            ((place * 7_919 + now_ms) % 997) as f64 / 997.0
        });
        let added = counted / messages_per_s(50.0, 60_000.0, HEARTBEAT_MS);
        assert!((1.02..1.09).contains(&added), "{added}");
    }

    #[test]
    fn streams_of_a_connection_share_moments_and_connections_do_not() {
        // A hundred streams that began at any time, each due twenty seconds later.
        let moments = |connection| -> std::collections::BTreeSet<u64> {
            let due = |nth: u64| shared_due_ms(1_000_000 + nth * 97, 20_000, connection);
            (0..100).map(due).collect()
        };
        let first = moments(1);
        assert!(first.len() <= 16, "{first:?}");
        let second = moments(2);
        assert!(first.is_disjoint(&second), "{first:?} {second:?}");
        // Too short to share.
        assert_eq!(shared_due_ms(1_000_007, 700, 1), 1_000_707);
    }

    #[test]
    fn connections_that_began_together_drift_apart() {
        let after_rounds = |connection: u32| {
            let begun_ms = 1_000_000 + u64::from(connection) * 2;
            (0..50).fold(begun_ms, |at_ms, _| {
                shared_due_ms(at_ms, 24_500, connection)
            })
        };
        let ends: Vec<u64> = (0..1_000).map(after_rounds).collect();
        let (first, last) = (ends.iter().min(), ends.iter().max());
        assert!(
            last > first.map(|first| first + 8_000).as_ref(),
            "{first:?} {last:?}"
        );
    }

    #[test]
    fn connections_in_a_row_have_moments_all_over_a_span() {
        let mut tenths = [0; 10];
        for connection in 500..600 {
            tenths[(spread_ms(2_000, connection) / 200) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (8..=12).contains(count)),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn a_shared_moment_is_never_late_and_at_most_an_eighth_early(
            now_ms in 0..u64::MAX / 2,
            pause_ms in 1..10_000_000_u64,
            connection in any::<u32>(),
        ) {
            let due_ms = shared_due_ms(now_ms, pause_ms, connection);
            prop_assert!(due_ms <= now_ms + pause_ms);
            prop_assert!(due_ms >= now_ms + pause_ms - pause_ms / 8);
        }

        #[test]
        fn moments_of_a_long_pause_are_moments_of_a_short_one(
            now_ms in 0..1_000_000_000_u64,
            connection in any::<u32>(),
        ) {
            let (long_ms, short_ms) = (
                shared_due_ms(now_ms, 24_000, connection),
                shared_due_ms(now_ms, 4_000, connection),
            );
            prop_assert_eq!(long_ms.abs_diff(short_ms) % 200, 0);
        }

        #[test]
        fn silence_never_exceeds_the_heartbeat(
            wait_ms in prop::option::of(any::<u64>()),
            heartbeat_ms in 1..120_000_u64,
            slowed_ms in prop::option::of(any::<u64>()),
            jitter in 0.0..1.0_f64,
        ) {
            let due_ms = next_due_ms(wait_ms, heartbeat_ms, slowed_ms, jitter);
            prop_assert!(due_ms >= 1 && due_ms <= heartbeat_ms);
            prop_assert!(due_ms >= slowed_ms.unwrap_or(0).min(heartbeat_ms));
        }

        #[test]
        fn a_shorter_wait_is_never_told_less_often(wait_ms in 0..10_000_000_u64, shorter in 0..10_000_000_u64, jitter in 0.0..1.0_f64) {
            let shorter_ms = shorter.min(wait_ms);
            prop_assert!(next_due_ms(Some(shorter_ms), HEARTBEAT_MS, None, jitter) <= next_due_ms(Some(wait_ms), HEARTBEAT_MS, None, jitter));
        }

        #[test]
        fn a_position_is_at_most_a_thirtieth_of_the_wait_old(wait_ms in 30_000..10_000_000_u64, jitter in 0.0..1.0_f64) {
            prop_assert!(next_due_ms(Some(wait_ms), HEARTBEAT_MS, None, jitter) <= wait_ms / 30 + 1);
        }
    }
}
