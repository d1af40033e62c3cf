//! Rates of rooms: a gauge each, for as long as there is the room.
//!
//! A recorder never forgets a series; rooms come and go. So these are kept
//! here, and shown after what the recorder shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Metric, ROOM_RATE};

#[derive(Debug, Default)]
pub struct RoomRates(Mutex<BTreeMap<String, f64>>);

impl RoomRates {
    pub fn set(&self, room: &str, rate_per_s: f64) {
        self.rates().insert(room.to_owned(), rate_per_s);
    }

    /// Forgets all other rooms.
    pub fn keep(&self, is_known: impl Fn(&str) -> bool) {
        self.rates().retain(|room, _| is_known(room));
    }

    /// As Prometheus reads it; nothing where there is no room.
    pub(super) fn render_to(&self, text: &mut String) {
        let Metric {
            name, description, ..
        } = ROOM_RATE;
        let name = name.replace('.', "_");
        let rates = self.rates();
        if rates.is_empty() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {description}");
        let _ = writeln!(text, "# TYPE {name} gauge");
        for (room, rate_per_s) in rates.iter() {
            // Ids have no character that would have to be escaped.
            let _ = writeln!(text, "{name}{{room=\"{room}\"}} {rate_per_s}");
        }
        text.push('\n');
    }

    fn rates(&self) -> MutexGuard<'_, BTreeMap<String, f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn a_room_that_is_no_more_is_shown_no_more() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("usher_room_rate"));
        metrics.room_rates().set("sale", 2.5);
        metrics.room_rates().set("draw", 100.0);
        let shown = metrics.render();
        assert!(shown.contains("# TYPE usher_room_rate gauge\n"), "{shown}");
        assert!(shown.contains("\nusher_room_rate{room=\"sale\"} 2.5\n"));
        metrics.room_rates().keep(|room| room == "draw");
        let shown = metrics.render();
        assert!(shown.contains("usher_room_rate{room=\"draw\"} 100\n"));
        assert!(!shown.contains("room=\"sale\""), "{shown}");
    }
}
