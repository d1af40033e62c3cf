//! From what changed in a view to the streams that owe it.

use std::sync::Arc;

use crate::domain::delta::RoomDelta;
use crate::domain::ids::RoomRef;
use crate::view::{Changes, ViewCell, ViewListener};

use super::due::Kind;
use super::hub::Hub;
use super::room::HubRoom;
use super::slot::News;

impl ViewListener for Hub {
    fn changed(&self, cell: &Arc<ViewCell>, changes: &Changes) {
        let Some(room) = self.known_room(cell.room()) else {
            return;
        };
        match changes {
            Changes::Delta {
                delta,
                room_changed,
            } => {
                self.mark_named(&room, delta);
                if *room_changed {
                    room.note_view();
                    self.mark_room_changed(&room, delta);
                }
            }
            // Ends and activations may lie in what was skipped.
            Changes::Whole { has_skipped, .. } => {
                room.note_view();
                let kinds = [Kind::Activated, Kind::Ended, Kind::RoomChanged];
                let spread_ms = Some(self.limits.refresh_spread_ms);
                self.mark_room(&room, (&kinds, News::default()), spread_ms);
                // So may the absence of a place that has a stream here.
                if *has_skipped {
                    for mut shard in self.all_shards() {
                        shard.places.note_room_present(room.index);
                    }
                }
            }
        }
    }

    fn must_recover(&self, room: &RoomRef) {
        self.recoveries().insert(room.clone());
    }
}

impl Hub {
    /// Costs what the delta names, never the streams there are.
    fn mark_named(&self, room: &HubRoom, delta: &RoomDelta) {
        let news = news_of(delta);
        for (place, _) in delta.activated.iter().chain(&delta.claimed) {
            self.with_shard_of(*place, |shard, limits, wakers| {
                let turn = (Kind::Activated, news);
                shard.mark_place(room.index, *place, turn, limits, wakers);
            });
        }
        for ended in &delta.ended {
            self.with_shard_of(ended.place, |shard, limits, wakers| {
                let end = (ended.reason, ended.survivor);
                shard.tell_end(room.index, ended.place, end, news, limits, wakers);
            });
        }
        for place in &delta.absent {
            self.with_shard_of(*place, |shard, _, _| {
                shard.places.note_present((room.index, *place));
            });
        }
    }

    /// A closed room ends its waiting places without naming them.
    fn mark_room_changed(&self, room: &HubRoom, delta: &RoomDelta) {
        let kinds: &[Kind] = match delta.facts.switches.closed {
            true => &[Kind::Ended, Kind::RoomChanged],
            false => &[Kind::RoomChanged],
        };
        let spread_ms = Some(self.limits.refresh_spread_ms);
        self.mark_room(room, (kinds, news_of(delta)), spread_ms);
    }
}

fn news_of(delta: &RoomDelta) -> News {
    News {
        published_at: Some(delta.published_at),
    }
}
