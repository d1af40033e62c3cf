//! How many users there are, or how many come per second, at each moment: a
//! line of straight legs.
//!
//! A closed loop reads it as users: the `nth` is there while the line is above
//! `nth`. An open loop reads it as a rate: arrivals are where the area under
//! the line passes whole numbers. Nobody has to steer anything: each user and
//! each arrival knows its own times.

use std::time::Duration;

/// Beyond a crossing, so that the line is above the level there.
const ABOVE: f64 = 0.001;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Leg {
    to: f64,
    over_s: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    from: f64,
    legs: Vec<Leg>,
}

impl Ramp {
    /// `legs`: where the line goes to, and in how many seconds; 0 is a jump.
    pub fn new(from: f64, legs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let legs = legs.into_iter().map(|(to, over_s)| Leg { to, over_s });
        Self {
            from,
            legs: legs.collect(),
        }
    }

    pub fn flat(level: f64, seconds: f64) -> Self {
        Self::new(level, [(level, seconds)])
    }

    /// `size` times as high, `time` times as long.
    pub fn scaled(&self, size: f64, time: f64) -> Self {
        let legs = self.legs.iter();
        Self::new(
            self.from * size,
            legs.map(|leg| (leg.to * size, leg.over_s * time)),
        )
    }

    pub fn seconds(&self) -> f64 {
        self.legs.iter().map(|leg| leg.over_s).sum()
    }

    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds())
    }

    pub fn peak(&self) -> f64 {
        let tops = self.legs.iter().map(|leg| leg.to);
        tops.fold(self.from, f64::max)
    }

    /// Arrivals in all, of a rate per second.
    pub fn area(&self) -> f64 {
        self.walk()
            .map(|(_, from, leg)| (from + leg.to) / 2.0 * leg.over_s)
            .sum()
    }

    /// Of each leg: when it begins, from which level, and itself.
    fn walk(&self) -> impl Iterator<Item = (f64, f64, Leg)> {
        let (mut at_s, mut level) = (0.0, self.from);
        self.legs.iter().map(move |leg| {
            let begins = (at_s, level, *leg);
            at_s += leg.over_s;
            level = leg.to;
            begins
        })
    }

    /// The level at a moment; 0 when it is over.
    pub fn at(&self, moment: Duration) -> f64 {
        let moment_s = moment.as_secs_f64();
        let leg = self
            .walk()
            .find(|(at_s, _, leg)| moment_s < at_s + leg.over_s);
        leg.map_or(0.0, |(at_s, from, leg)| {
            from + (leg.to - from) * (moment_s - at_s) / leg.over_s
        })
    }

    /// The first moment from `moment` on at which the line is above `level`.
    pub fn next_above(&self, level: f64, moment: Duration) -> Option<Duration> {
        if self.at(moment) > level {
            return Some(moment);
        }
        let moment_s = moment.as_secs_f64();
        self.walk()
            .filter(|(at_s, _, leg)| moment_s < at_s + leg.over_s)
            .find_map(|(at_s, from, leg)| {
                let slope = (leg.to - from) / leg.over_s;
                let begins_s = moment_s.max(at_s);
                if from + slope * (begins_s - at_s) > level {
                    return Some(begins_s);
                }
                let crossing_s = at_s + (level - from) / slope + ABOVE;
                (slope > 0.0 && leg.to > level && crossing_s < at_s + leg.over_s)
                    .then_some(crossing_s.max(begins_s))
            })
            .map(Duration::from_secs_f64)
    }

    /// When each arrival is due, of a rate per second. The first comes at once.
    pub fn arrivals(&self) -> impl Iterator<Item = Duration> {
        let mut before = 0.0;
        let mut nth = 0.0;
        self.walk().flat_map(move |(at_s, from, leg)| {
            let area = (from + leg.to) / 2.0 * leg.over_s;
            let mut due = Vec::new();
            while nth < before + area {
                due.push(Duration::from_secs_f64(
                    at_s + reach(from, leg, nth - before),
                ));
                nth += 1.0;
            }
            before += area;
            due
        })
    }
}

/// Seconds into a leg until the area under it is `wanted`.
fn reach(from: f64, leg: Leg, wanted: f64) -> f64 {
    let slope = (leg.to - from) / leg.over_s;
    // from · x + slope / 2 · x² = wanted, in the form that a flat leg also has.
    let root = (from * from + 2.0 * slope * wanted).max(0.0).sqrt();
    match from + root {
        0.0 => 0.0,
        sum => (2.0 * wanted / sum).clamp(0.0, leg.over_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// 0 → 50 → 150 → 50 → 0, as L1.
    fn hill() -> Ramp {
        Ramp::new(
            0.0,
            [(50.0, 15.0), (150.0, 15.0), (50.0, 15.0), (0.0, 15.0)],
        )
    }

    #[test]
    fn users_come_and_go_in_straight_lines() {
        let hill = hill();
        for (moment, users) in [(0.0, 0.0), (7.5, 25.0), (15.0, 50.0), (22.5, 100.0)] {
            assert!((hill.at(s(moment)) - users).abs() < 1e-9, "{moment} s");
        }
        assert!((hill.at(s(52.5)) - 25.0).abs() < 1e-9);
        assert_eq!(hill.at(s(60.0)), 0.0, "it is over");
        assert!((hill.peak() - 150.0).abs() < 1e-9);
        assert_eq!(hill.length(), s(60.0));
    }

    #[test]
    fn each_user_knows_when_to_come() {
        let hill = hill();
        let first = hill.next_above(0.0, s(0.0)).expect("it comes");
        assert!(first < s(0.01), "{first:?}");
        let hundredth = hill.next_above(99.0, s(0.0)).expect("it comes");
        assert!(
            (hundredth.as_secs_f64() - 22.35).abs() < 0.01,
            "{hundredth:?}"
        );
        assert_eq!(hill.next_above(99.0, s(25.0)), Some(s(25.0)), "it stays");
        assert_eq!(hill.next_above(99.0, s(40.0)), None, "it is gone");
        assert_eq!(hill.next_above(150.0, s(0.0)), None, "it never comes");
    }

    #[test]
    fn a_line_may_jump_and_come_back() {
        let spike = Ramp::new(
            1.0,
            [(1.0, 5.0), (10.0, 0.0), (10.0, 5.0), (1.0, 0.0), (1.0, 5.0)],
        );
        assert_eq!(spike.next_above(5.0, s(0.0)), Some(s(5.0)));
        assert_eq!(spike.next_above(5.0, s(10.0)), None);
        assert_eq!(spike.next_above(0.5, s(12.0)), Some(s(12.0)));
        assert!((spike.area() - 60.0).abs() < 1e-9);
        assert_eq!(spike.arrivals().count(), 60);
    }

    #[test]
    fn arrivals_keep_their_rate() {
        let due: Vec<Duration> = Ramp::flat(200.0, 60.0).arrivals().collect();
        assert_eq!(due.len(), 12_000, "12,000 a minute");
        assert_eq!(due[0], s(0.0));
        assert!((due[11_999].as_secs_f64() - 59.995).abs() < 1e-6);
    }

    #[test]
    fn arrivals_of_a_slope_are_closer_where_it_is_higher() {
        let slope = Ramp::new(0.0, [(10.0, 10.0), (0.0, 10.0)]);
        let due: Vec<Duration> = slope.arrivals().collect();
        assert_eq!(due.len(), 100);
        assert!(due.is_sorted());
        // Half of a rising leg's arrivals are behind the first 7.07 seconds.
        let early = due.iter().filter(|at| **at < s(50.0_f64.sqrt())).count();
        assert_eq!(early, 25);
    }

    #[test]
    fn a_smaller_and_shorter_run_has_the_same_shape() {
        let small = hill().scaled(0.1, 0.5);
        assert!((small.at(s(11.25)) - 10.0).abs() < 1e-9);
        assert_eq!(small.length(), s(30.0));
    }
}
