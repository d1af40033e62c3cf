//! How soon everyone knows how they stand after a loss of the line.

use std::collections::BTreeMap;

use usher::truth::history::{Message, QueueOp};

use super::report::{Seen, Span};

impl Seen {
    /// From a loss of the line to the moment when the last one who watched in it
    /// heard how the place stands in the new epoch.
    pub fn fresh_after_ms(&self, loss: Span) -> u64 {
        let mut watchers: BTreeMap<&str, Watcher> = BTreeMap::new();
        for (_, record, op) in self.history.queue() {
            let watcher = watchers.entry(record.user.as_str()).or_default();
            let (cursor, message) = match op {
                QueueOp::StreamMessage {
                    cursor, message, ..
                } => (cursor, message),
                // Whoever gives up listens no more.
                QueueOp::Leave { .. } if watcher.fresh_ms.is_none() => {
                    watcher.waits = false;
                    continue;
                }
                _ => continue,
            };
            let tells = matches!(
                message,
                Message::Snapshot { .. } | Message::Position { .. } | Message::Activated { .. }
            );
            if record.returned_ms < loss.from_ms {
                watcher.epoch = cursor.epoch;
                watcher.waits = (watcher.waits || tells) && waits(message);
            } else if cursor.epoch == watcher.epoch {
                // What was on its way when it was lost.
                watcher.waits &= waits(message);
            } else if tells && cursor.epoch > watcher.epoch {
                watcher.fresh_ms.get_or_insert(record.returned_ms);
            }
        }
        let waited = watchers.iter().filter(|(_, watcher)| watcher.waits);
        let fresh = waited.map(|(user, watcher)| {
            let at_ms = watcher.fresh_ms;
            at_ms.unwrap_or_else(|| panic!("{user} was told nothing")) - loss.from_ms
        });
        fresh.max().expect("someone waited")
    }
}

/// One user's streams.
#[derive(Default)]
struct Watcher {
    epoch: u64,
    /// In line when it was lost.
    waits: bool,
    fresh_ms: Option<u64>,
}

fn waits(message: &Message) -> bool {
    match message {
        Message::Snapshot { seen, .. } => seen.state.waits(),
        Message::Activated { .. } | Message::Ended { .. } => false,
        _ => true,
    }
}
