//! What a node does for its hub: presence, and ends that its view forgot.

use crate::domain::ids::{ActivationId, PlaceKey};
use crate::domain::place::{EndReason, Standing};
use crate::domain::room::command::{Presence, Take};
use crate::fanout::Report;

use super::{POLL_AFTER_MS, World};

/// Reports a node takes from its hub at once.
const REPORTS_MAX: usize = 64;

impl World {
    /// What `app::node` does with its hub's reports, at each tick of time.
    pub(in crate::sim) fn answer_reports(&mut self, node: usize) {
        if self.nodes[node].is_cut_off {
            return;
        }
        let mut reports = self.nodes[node].hub.take_reports(REPORTS_MAX);
        if reports.is_empty() {
            return;
        }
        self.coverage.count("command: answer reports");
        self.serve(node);
        reports.sort_by_key(|report| match report {
            Report::Present { place, .. } | Report::EndUnknown { place, .. } => (0, *place),
            Report::Absent { place, .. } => (1, *place),
            Report::MustRecover(_) => (2, PlaceKey { lane: 0, number: 0 }),
        });
        let (owner, now) = (self.nodes[node].incarnation, self.now);
        for report in reports {
            let Some(room) = self.queue.as_mut() else {
                return;
            };
            match report {
                Report::Present { place, user, .. } => room.present(&[(place, user)], owner, now),
                Report::Absent { place, user, .. } => room.absent(place, &user, owner),
                Report::EndUnknown { place, user, .. } => {
                    self.coverage.count("stream: end looked up");
                    let take = Take {
                        user,
                        presented: Some(place),
                        issue_in: None,
                        presence: Presence::Call {
                            for_ms: 3 * POLL_AFTER_MS,
                        },
                    };
                    let Ok(taken) = room.take(&take, now) else {
                        continue;
                    };
                    self.tell_end(node, place, taken.place.key, taken.place.standing);
                }
                Report::MustRecover(_) => {}
            }
        }
        let sealed = self.queue.as_mut().and_then(|room| room.publish());
        self.publish(sealed);
    }

    fn tell_end(&mut self, node: usize, place: PlaceKey, live: PlaceKey, standing: Standing) {
        let (hub, room) = (&self.nodes[node].hub, &self.setup.room);
        if live != place {
            hub.tell_end(room, place, EndReason::Merged, Some(live));
        } else if let Standing::Ended(reason) = self.explain(place, standing) {
            hub.tell_end(room, place, reason, None);
        }
    }

    /// The row remembers how a place ended when the queue does not.
    pub(in crate::sim) fn explain(&self, place: PlaceKey, standing: Standing) -> Standing {
        let row: Option<&ActivationId> = self.sql.row_of.get(&place);
        match row.map(|id| self.sql.rows[id].standing) {
            Some(ended @ Standing::Ended(_)) if !standing.is_live() => ended,
            _ => standing,
        }
    }
}
