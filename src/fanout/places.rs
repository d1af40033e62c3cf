//! Which places have streams here, and what the engine must be told of it.
//!
//! A place whose streams opened or ended is noted once, however often, and
//! reported as it stands when the report is taken: so nothing is lost, a
//! reconnect within a tick says nothing, and the notes are as few as places.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::domain::ids::{PlaceKey, RoomId, RoomRef, UserId};

use super::room::HubRoom;

/// What the engine must do for the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The place has a stream here.
    Present {
        room: RoomId,
        place: PlaceKey,
        user: UserId,
    },
    /// Its last stream here has ended.
    Absent {
        room: RoomId,
        place: PlaceKey,
        user: UserId,
    },
    /// The place is over, and the view does not know how: find out, and answer
    /// with `Hub::tell_end`, or `Hub::end_still_unknown`.
    EndUnknown {
        room: RoomId,
        place: PlaceKey,
        user: UserId,
    },
    /// The queue store does not have the room in this epoch.
    MustRecover(RoomRef),
}

pub(super) type PlaceId = (u32, PlaceKey);

pub(super) struct PlaceStreams {
    pub room: Arc<HubRoom>,
    pub user: UserId,
    /// Keys of its slots, oldest first.
    pub slots: Vec<usize>,
    told_present: bool,
    is_noted: bool,
    asks_for_end: bool,
}

#[derive(Default)]
pub(super) struct Places {
    streams: HashMap<PlaceId, PlaceStreams>,
    noted: VecDeque<PlaceId>,
}

impl Places {
    pub fn slots(&self, id: PlaceId) -> &[usize] {
        self.streams
            .get(&id)
            .map_or(&[], |place| place.slots.as_slice())
    }

    pub fn add(&mut self, room: &Arc<HubRoom>, place: PlaceKey, user: &UserId, slot: usize) {
        let id = (room.index, place);
        let streams = self.streams.entry(id).or_insert_with(|| PlaceStreams {
            room: Arc::clone(room),
            user: user.clone(),
            slots: Vec::new(),
            told_present: false,
            is_noted: false,
            asks_for_end: false,
        });
        streams.slots.push(slot);
        if streams.slots.len() == 1 {
            self.note(id);
        }
    }

    pub fn remove(&mut self, id: PlaceId, slot: usize) {
        if let Some(streams) = self.streams.get_mut(&id) {
            streams.slots.retain(|&other| other != slot);
            if streams.slots.is_empty() {
                self.note(id);
            }
        }
    }

    /// Reports the place again: it was called absent, or its room is new.
    pub fn note_present(&mut self, id: PlaceId) {
        if let Some(streams) = self.streams.get_mut(&id) {
            streams.told_present = false;
            self.note(id);
        }
    }

    pub fn note_end_unknown(&mut self, id: PlaceId) {
        if let Some(streams) = self.streams.get_mut(&id) {
            streams.asks_for_end = true;
            self.note(id);
        }
    }

    fn note(&mut self, id: PlaceId) {
        if let Some(streams) = self.streams.get_mut(&id)
            && !streams.is_noted
        {
            streams.is_noted = true;
            self.noted.push_back(id);
        }
    }

    pub fn take_reports(&mut self, reports_max: usize, reports: &mut Vec<Report>) {
        while reports.len() < reports_max
            && let Some(id) = self.noted.pop_front()
        {
            let Some(streams) = self.streams.get_mut(&id) else {
                continue;
            };
            streams.is_noted = false;
            let (room, place) = (streams.room.cell.room().clone(), id.1);
            if streams.slots.is_empty() {
                let user = streams.user.clone();
                if streams.told_present {
                    reports.push(Report::Absent { room, place, user });
                }
                self.streams.remove(&id);
                continue;
            }
            let user = streams.user.clone();
            if std::mem::take(&mut streams.asks_for_end) {
                let (room, user) = (room.clone(), user.clone());
                reports.push(Report::EndUnknown { room, place, user });
            }
            if !std::mem::replace(&mut streams.told_present, true) {
                reports.push(Report::Present { room, place, user });
            }
        }
    }

    /// Places of a room with open streams.
    pub fn of_room(&self, room: u32) -> impl Iterator<Item = (PlaceKey, UserId)> + '_ {
        self.streams
            .iter()
            .filter(move |((of, _), streams)| *of == room && !streams.slots.is_empty())
            .map(|((_, place), streams)| (*place, streams.user.clone()))
    }

    pub fn note_room_present(&mut self, room: u32) {
        let ids: Vec<_> = self
            .streams
            .keys()
            .filter(|(of, _)| *of == room)
            .copied()
            .collect();
        for id in ids {
            self.note_present(id);
        }
    }
}
