//! What a driver is asked, and what it answers: one JSON object per line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// So many users join a room over so many connections, which close then.
    Join {
        room: String,
        /// Users are called `NAME-0`, `NAME-1`, …
        name: String,
        users: u32,
        connections: u32,
        in_flight: u32,
    },
    /// There are so many users, who need no place.
    Assume {
        name: String,
        users: u32,
    },
    /// A stream for everyone, over so many connections.
    Watch {
        connections: u32,
        patience_s: u64,
    },
    /// Everyone asks for their place, every so often and for so long, over so
    /// many connections.
    Poll {
        /// The method's path.
        method: String,
        connections: u32,
        every_ms: u64,
        for_s: u64,
        /// Ask for the user's name instead of their token.
        by_name: bool,
    },
    /// Wait until every open stream has this marker in a `room_changed`.
    Await {
        marker: u32,
        patience_s: u64,
    },
    /// So many of those who have their turn leave, so many per second.
    Free {
        count: u32,
        rate_per_s: f64,
        patience_s: u64,
    },
    /// From here on whoever's stream breaks comes back, to another server if
    /// there is one; until all are there, or nothing has happened for so long.
    ComeBack {
        target: Option<std::net::SocketAddr>,
        connections: u32,
        patience_s: u64,
        seed: u64,
    },
    /// Wait until every stream has ended, or none has for so long.
    AwaitEnds {
        patience_s: u64,
    },
    /// Positions told from now on are judged by this rate, and activations by
    /// this claim window.
    Judge {
        rate_per_s: f64,
        claim_window_ms: u64,
    },
    Tally,
    /// Close all connections and forget all users.
    Drop,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Joined(Formed),
    Assumed,
    Watching(Formed),
    /// All connections are there, and the first question is out.
    Polling,
    Polled(Polled),
    Freed(Freed),
    /// Whoever's stream breaks comes back.
    Returning,
    Returned(Returned),
    /// The receipts of this marker are being taken down.
    Awaiting,
    Received(Received),
    Ended {
        left: u32,
    },
    Judging,
    Tally(Box<Tally>),
    Dropped,
    Failed(String),
}

/// How joining or opening went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Formed {
    pub done: u32,
    pub wanted: u32,
    /// Attempts that failed, by how; some were repeated.
    pub failed: BTreeMap<String, u64>,
    pub elapsed_s: f64,
}

/// Where the parts of some numbers lie: 0 %, 1 %, …, 100 %, and how many there
/// were.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub count: u64,
    pub at: Vec<f64>,
}

impl Quantiles {
    pub fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let count = numbers.len() as u64;
        let at = match numbers.len() {
            0 => Vec::new(),
            length => (0..=100)
                .map(|part| numbers[part * (length - 1) / 100])
                .collect(),
        };
        Self { count, at }
    }

    /// Of several drivers, each weighing what it counted: exact at the ends,
    /// within a hundredth between them.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut parts: Vec<&Self> = parts.into_iter().filter(|part| part.count > 0).collect();
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only.clone();
        }
        let count: u64 = parts.iter().map(|part| part.count).sum();
        let mut points = Vec::new();
        for part in parts {
            #[expect(clippy::cast_precision_loss, reason = "a weight")]
            let weight = part.count as f64;
            points.extend(part.at.iter().map(|at| (*at, weight)));
        }
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        let all: f64 = points.iter().map(|(_, weight)| weight).sum();
        let (mut at, mut before) = (Vec::with_capacity(101), 0.0);
        for (point, weight) in &points {
            before += weight;
            while at.len() < 101 && before >= all * at.len() as f64 / 100.0 {
                at.push(*point);
            }
        }
        if let (Some(last), Some((point, _))) = (at.last_mut(), points.last()) {
            *last = *point;
        }
        Self { count, at }
    }

    /// `part`: 0 to 100.
    pub fn part(&self, part: usize) -> f64 {
        self.at.get(part).copied().unwrap_or(f64::NAN)
    }
}

/// One broadcast at all streams of a driver.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Received {
    /// Microseconds since 1970.
    pub at_us: Quantiles,
    /// Open streams that did not get it.
    pub missing: u64,
    /// Receipts beyond the first.
    pub repeated: u64,
}

/// Everyone's questions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Polled {
    pub calls: u64,
    pub answered: u64,
    /// Due while the answer to the one before was not there.
    pub skipped: u64,
    pub failed: BTreeMap<String, u64>,
    pub ms: Quantiles,
}

/// Slots that were freed one by one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Freed {
    pub freed: u32,
    /// Slots that brought nobody's turn.
    pub untold: u32,
    pub failed: BTreeMap<String, u64>,
    /// Milliseconds from sending `Leave` to the next one's `activated`.
    pub told_ms: Quantiles,
    /// And to its answer.
    pub call_ms: Quantiles,
}

/// Streams that broke and were opened again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Returned {
    pub wanted: u32,
    pub still_away: u32,
    /// Microseconds since 1970.
    pub at_us: Quantiles,
    pub wrong_number: u32,
    /// Whose position is not their rank by number.
    pub out_of_place: u32,
    /// How streams broke, and attempts failed.
    pub failed: BTreeMap<String, u64>,
}

/// What a driver's streams have seen since they began.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Messages by kind.
    pub kinds: BTreeMap<String, u64>,
    pub unknown: u64,
    /// Streams by what they do now.
    pub streams: BTreeMap<String, u32>,
    /// Ends without `ended`, by how.
    pub broken: BTreeMap<String, u64>,
    /// Cursors that were smaller than the one before.
    pub cursors_back: u64,
    /// Positions that grew within an epoch.
    pub positions_grown: u64,
    /// Places with more than one `activated` or `ended`, and with none.
    pub activated_twice: u32,
    /// Who waits while a later number has had its turn.
    pub passed_over: u32,
    pub never_activated: u32,
    pub ended_twice: u32,
    pub never_ended: u32,
    /// Milliseconds from the activation to its receipt.
    pub activation_ms: Quantiles,
    /// A position's age when the next one came, beyond what is promised, in
    /// milliseconds (negative: before).
    pub late_ms: Quantiles,
    /// Milliseconds from opening a stream to its first message.
    pub first_message_ms: Quantiles,
    pub bytes: u64,
    pub reads: u64,
    pub goaways: u64,
    pub connections_lost: u64,
    /// Of this driver.
    pub cpu_s: f64,
}

impl Tally {
    pub fn merged(parts: &[Self]) -> Self {
        let mut all = Self::default();
        for part in parts {
            add(&mut all.kinds, &part.kinds);
            add(&mut all.broken, &part.broken);
            for (name, count) in &part.streams {
                *all.streams.entry(name.clone()).or_default() += count;
            }
            all.unknown += part.unknown;
            all.cursors_back += part.cursors_back;
            all.positions_grown += part.positions_grown;
            all.activated_twice += part.activated_twice;
            all.passed_over += part.passed_over;
            all.never_activated += part.never_activated;
            all.ended_twice += part.ended_twice;
            all.never_ended += part.never_ended;
            all.bytes += part.bytes;
            all.reads += part.reads;
            all.goaways += part.goaways;
            all.connections_lost += part.connections_lost;
            all.cpu_s += part.cpu_s;
        }
        all.activation_ms = Quantiles::merged(parts.iter().map(|part| &part.activation_ms));
        all.late_ms = Quantiles::merged(parts.iter().map(|part| &part.late_ms));
        all.first_message_ms = Quantiles::merged(parts.iter().map(|part| &part.first_message_ms));
        all
    }
}

fn add(all: &mut BTreeMap<String, u64>, part: &BTreeMap<String, u64>) {
    for (name, count) in part {
        *all.entry(name.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_for_one_and_close_for_many() {
        let numbers = |range: std::ops::Range<u32>| Quantiles::of(range.map(f64::from).collect());
        let all = numbers(0..1_001);
        assert_eq!(
            (all.part(0), all.part(50), all.part(100)),
            (0.0, 500.0, 1_000.0)
        );
        assert!(numbers(0..0).part(50).is_nan());
        let merged = Quantiles::merged([&numbers(0..500), &numbers(500..1_001), &numbers(0..0)]);
        assert_eq!(merged.count, 1_001);
        assert_eq!((merged.part(0), merged.part(100)), (0.0, 1_000.0));
        assert!((merged.part(50) - 500.0).abs() <= 10.0, "{merged:?}");
        assert_eq!(merged.at.len(), 101);
    }
}
