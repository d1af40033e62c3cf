//! From what changed in a view to the streams that owe it.

use std::sync::Arc;

use crate::domain::delta::RoomDelta;
use crate::domain::ids::RoomRef;
use crate::view::{Changes, ViewCell, ViewListener};

use super::calls::Calls;
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
                    let are_waits_others = room.note_view(Some(delta.published_at));
                    self.mark_room_changed(&room, delta, are_waits_others);
                }
            }
            // Ends and activations may lie in what was skipped.
            Changes::Whole { has_skipped, .. } => {
                room.note_view(None);
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
        let (news, index) = (news_of(delta), room.index);
        let (limits, calls) = (&self.limits, &mut Calls::default());
        for &(place, _) in delta.activated.iter().chain(&delta.claimed) {
            let turn = (Kind::Activated, news);
            let mut shard = self.shard_with(place);
            shard.mark_place(index, place, turn, limits, calls);
        }
        for ended in &delta.ended {
            let (place, end) = (ended.place, (ended.reason, ended.survivor));
            let mut shard = self.shard_with(place);
            shard.tell_end(index, place, end, news, limits, calls);
        }
        for &place in &delta.absent {
            self.shard_with(place).places.note_present((index, place));
        }
        std::mem::take(calls).make();
    }

    /// A closed room ends its waiting places without naming them.
    fn mark_room_changed(&self, room: &HubRoom, delta: &RoomDelta, are_waits_others: bool) {
        let kinds: &[Kind] = match delta.facts.switches.closed {
            true => &[Kind::Ended, Kind::RoomChanged],
            false => &[Kind::RoomChanged],
        };
        let spread_ms = are_waits_others.then_some(self.limits.refresh_spread_ms);
        self.mark_room(room, (kinds, news_of(delta)), spread_ms);
    }
}

fn news_of(delta: &RoomDelta) -> News {
    News {
        published_at: Some(delta.published_at),
    }
}
