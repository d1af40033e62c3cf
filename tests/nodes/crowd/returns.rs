//! Who was on a node that went away, and what became of them elsewhere.

use std::collections::BTreeMap;

use usher::truth::history::{Message, StreamEnd};

use super::door_name;
use super::report::{Seen, Span, Stream};

/// Everyone who had a stream to a door when it closed, and needed another.
pub struct Returns {
    /// From the fault to the next snapshot of each, sorted.
    pub after_ms: Vec<u64>,
    /// Of these, those who were told that they missed nothing.
    pub resumed: usize,
    /// Answers to those who tried to watch, other than streams.
    pub refusals: Vec<String>,
}

impl Returns {
    /// What they print: it is no promise.
    pub fn told(&self) -> String {
        let count = self.after_ms.len();
        let quantile_ms = |part: f64| {
            let index = (count.saturating_sub(1) as f64 * part).ceil() as usize;
            self.after_ms.get(index).copied().unwrap_or_default()
        };
        format!(
            "{count} streams, {} resumed, back after p50 {} ms, p99 {} ms, the last {} ms",
            self.resumed,
            quantile_ms(0.5),
            quantile_ms(0.99),
            quantile_ms(1.0)
        )
    }
}

impl Seen {
    /// A node that stopped told each of its streams to come back later, and
    /// ended it; all went on elsewhere, each at their own place.
    pub fn was_drained(&self, door: usize, stop: Span) -> Returns {
        self.went_on(&[door], stop, |stream| {
            let (_, _, last) = stream.heard.last().expect("it was open");
            let is_told = *last == Message::Drain && stream.end == Some(StreamEnd::Ok);
            // Or its client had heard enough just then.
            let has_gone = stream.end == Some(StreamEnd::Dropped);
            assert!(is_told || has_gone, "not drained: {:?}", stream.heard);
            is_told
        })
    }

    /// A node died; all who were there went on elsewhere, each at their own
    /// place.
    pub fn came_back(&self, doors: &[usize], death: Span) -> Returns {
        self.went_on(doors, death, |stream| {
            stream.end != Some(StreamEnd::Dropped)
        })
    }

    fn went_on(
        &self,
        doors: &[usize],
        fault: Span,
        needs_another: impl Fn(&Stream) -> bool,
    ) -> Returns {
        let doors: Vec<_> = doors.iter().map(|&door| door_name(door)).collect();
        let all = self.streams();
        let mut of_users: BTreeMap<&str, Vec<&Stream>> = BTreeMap::new();
        for stream in all.values() {
            of_users.entry(&stream.user).or_default().push(stream);
        }
        let mut returns = Returns {
            after_ms: Vec::new(),
            resumed: 0,
            refusals: Vec::new(),
        };
        let was_open = |stream: &&Stream| {
            doors.contains(&stream.door)
                && stream
                    .heard
                    .first()
                    .is_some_and(|(ms, ..)| *ms < fault.from_ms)
                && stream.closed_ms.is_some_and(|ms| ms >= fault.from_ms)
        };
        for stream in all
            .values()
            .filter(was_open)
            .filter(|stream| needs_another(stream))
        {
            let closed_ms = stream.closed_ms.expect("closed");
            let later = of_users[stream.user.as_str()].iter();
            let mut later = later.filter(|other| other.opened_ms >= closed_ms);
            let next = later.find(|other| match &other.end {
                Some(StreamEnd::Status(why)) if other.heard.is_empty() => {
                    returns.refusals.push(why.clone());
                    false
                }
                _ => !other.heard.is_empty(),
            });
            let (at_ms, place, resumed) = snapshot(next.expect("they came back"));
            assert_eq!(
                snapshot(stream).1,
                place,
                "{} has another place",
                stream.user
            );
            returns.after_ms.push(at_ms - fault.from_ms);
            returns.resumed += usize::from(resumed);
        }
        returns.after_ms.sort_unstable();
        returns
    }
}

/// When it came, whose place it was, and whether anything was missed.
fn snapshot(stream: &Stream) -> (u64, u64, bool) {
    match &stream.heard[0] {
        (at_ms, _, Message::Snapshot { seen, resumed, .. }) => {
            (*at_ms, seen.place.number, *resumed)
        }
        other => panic!("a stream begins with a snapshot: {other:?}"),
    }
}
