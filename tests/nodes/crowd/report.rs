//! What a crowd saw, judged.

use std::collections::BTreeMap;
use std::path::Path;

use usher::domain::ids::{Cursor, RoomId};
use usher::truth::checkers::{Violation, check};
use usher::truth::history::{
    Answer, History, Message, Op, PlaceState, QueueOp, Recorder, RoomShown, StreamEnd,
};

use super::CLAIM_WINDOW_S;

/// When something was broken.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub from_ms: u64,
    pub to_ms: u64,
}

/// A directory where the histories of a run are kept.
const HISTORIES: &str = "USHER_TEST_HISTORIES";
/// Rows on their way when a fault began are still written.
const IN_FLIGHT_MS: u64 = 1_000;
/// What mends itself was whole a little before this was noticed.
const NOTICED_MS: u64 = 500;
/// DEGRADED comes within two seconds; the machine has other things to do.
const TOLD_WITHIN_MS: u64 = 3 * 2_000;

pub struct Seen {
    pub history: History,
    pub room: RoomId,
    pub people: usize,
}

/// One stream: from its opening to its end.
#[derive(Default)]
pub(super) struct Stream {
    pub user: String,
    pub door: String,
    pub opened_ms: u64,
    pub closed_ms: Option<u64>,
    pub end: Option<StreamEnd>,
    pub heard: Vec<(u64, Cursor, Message)>,
}

impl Seen {
    /// No checker finds anything, and the crowd did what it should.
    pub fn holds(&self) {
        let violations = check(&self.history);
        assert!(violations.is_empty(), "{}", self.explain(&violations));
        let turns = self.turns_ms().len();
        // All but those who give up, and some of those.
        assert!(turns >= self.people * 9 / 10, "{turns} turns");
    }

    /// For whoever wants to look at it, and for `usher check`.
    pub fn keep(&self) {
        let Ok(dir) = std::env::var(HISTORIES) else {
            return;
        };
        // Rooms of one name have one id in every house.
        let first = self.history.records.first();
        let since_ms = first.map_or(0, |record| record.invoked_ms);
        let path = Path::new(&dir).join(format!("{}-{since_ms}.jsonl", self.room));
        let kept = Recorder::to_file(&path).expect("a file");
        for record in &self.history.records {
            kept.record(record.clone());
        }
        kept.finish().expect("written");
        println!("kept as {}", path.display());
    }

    fn explain(&self, violations: &[Violation]) -> String {
        let mut text = String::new();
        for violation in violations.iter().take(20) {
            text += &format!("{violation}\n");
            let records = &self.history.records;
            for &index in &violation.records {
                text += &format!("    {index}: {:?}\n", records[index]);
            }
            // All that those concerned saw, too.
            let concerned = |client: &String| {
                let of = violation.records.iter();
                of.clone().any(|&index| records[index].client == *client)
            };
            let theirs = records.iter().enumerate();
            for (index, record) in theirs.filter(|(_, record)| concerned(&record.client)) {
                text += &format!(
                    "    {index} {} {} {:?}\n",
                    record.client, record.returned_ms, record.op
                );
            }
        }
        text
    }

    /// When each activation began, by the database's clock.
    fn turns_ms(&self) -> BTreeMap<String, u64> {
        let told = self.history.queue().filter_map(|(_, _, op)| match op {
            QueueOp::StreamMessage {
                message:
                    Message::Activated {
                        activation_id,
                        claim_by_ms: Some(claim_by_ms),
                        ..
                    },
                ..
            } => Some((activation_id, claim_by_ms)),
            QueueOp::GetPlace {
                answer: Answer::Ok(seen),
                ..
            } if seen.state == PlaceState::Activated => {
                Some((seen.activation_id.as_ref()?, seen.claim_by_ms.as_ref()?))
            }
            _ => None,
        });
        told.map(|(id, by_ms)| (id.to_string(), by_ms - CLAIM_WINDOW_S as u64 * 1_000))
            .collect()
    }

    /// Decision 14, closed: nobody's turn began in it.
    pub fn nobody_was_let_in(&self, away: Span) {
        let within = away.from_ms + IN_FLIGHT_MS..away.to_ms - NOTICED_MS;
        let turns = self.turns_ms();
        let turns: Vec<_> = turns.values().filter(|ms| within.contains(ms)).collect();
        assert!(turns.is_empty(), "let in during {away:?}: {turns:?}");
    }

    /// Nobody had to watch again.
    pub fn no_stream_broke(&self, span: Span) {
        for (id, stream) in self.streams() {
            let ended_in_it = stream
                .closed_ms
                .is_some_and(|ms| (span.from_ms..span.to_ms).contains(&ms));
            // Else its client had heard enough, or had a call refused.
            let broke = !matches!(stream.end, Some(StreamEnd::Dropped | StreamEnd::Status(_)));
            assert!(!(ended_in_it && broke), "stream {id} broke in {span:?}");
        }
    }

    /// Decision 14, closed: whoever wanted to join was told to come later.
    pub fn joins_were_refused(&self, away: Span) {
        for (index, record, op) in self.history.queue() {
            let QueueOp::Join { answer, .. } = op else {
                continue;
            };
            // The first ones wait for an answer, and notice it.
            let within = record.invoked_ms > away.from_ms + IN_FLIGHT_MS
                && record.returned_ms + NOTICED_MS < away.to_ms;
            if !within {
                continue;
            }
            let is_later = matches!(answer, Answer::Unknown(why) if why == "DEGRADED");
            assert!(is_later, "{index}: {record:?}");
        }
    }

    /// Every stream that was open all through it said DEGRADED in time after it
    /// was away, and no stream broke.
    pub fn streams_were_told(&self, away: Span, broken_ms: u64) {
        self.no_stream_broke(away);
        let streams = self.streams();
        let told_by_ms = broken_ms + TOLD_WITHIN_MS;
        let through = streams.values().filter(|stream| {
            stream.opened_ms < away.from_ms
                && !stream.heard.is_empty()
                && stream
                    .closed_ms
                    .is_none_or(|ms| ms >= told_by_ms.min(away.to_ms))
        });
        let mut told = 0;
        for stream in through {
            let degraded = stream.heard.iter().any(|(ms, _, message)| {
                (away.from_ms..=told_by_ms).contains(ms)
                    && matches!(
                        message,
                        Message::RoomChanged {
                            state: RoomShown::Degraded
                        }
                    )
            });
            assert!(
                degraded,
                "a stream was not told of {away:?}: {:?}",
                stream.heard
            );
            told += 1;
        }
        assert!(told > 0, "someone watched all through {away:?}");
    }

    /// The epochs that clients saw: 1 + the number of losses.
    pub fn epochs(&self) -> usize {
        let streams = self.streams();
        let heard = streams.values().flat_map(|stream| &stream.heard);
        let mut epochs: Vec<u64> = heard.map(|(_, cursor, _)| cursor.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs.len()
    }

    pub(super) fn streams(&self) -> BTreeMap<u64, Stream> {
        let mut streams: BTreeMap<u64, Stream> = BTreeMap::new();
        for record in &self.history.records {
            let Op::Queue(op) = &record.op else { continue };
            match op {
                QueueOp::StreamOpened { stream, .. } => {
                    let stream = streams.entry(*stream).or_default();
                    stream.opened_ms = record.invoked_ms;
                    stream.user = record.user.to_string();
                    stream.door.clone_from(&record.process);
                }
                QueueOp::StreamMessage {
                    stream,
                    cursor,
                    message,
                    ..
                } => {
                    let heard = &mut streams.entry(*stream).or_default().heard;
                    heard.push((record.returned_ms, *cursor, message.clone()));
                }
                QueueOp::StreamClosed { stream, end } => {
                    let stream = streams.entry(*stream).or_default();
                    stream.closed_ms = Some(record.returned_ms);
                    stream.end = Some(end.clone());
                }
                _ => {}
            }
        }
        streams
    }
}
