//! A part of the hub: slots, their wheel, and who is where.
//!
//! Calls are collected, and made by whoever locks a shard, after that.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use crate::clock::Clock;
use crate::domain::ids::{PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::domain::time::UnixMs;

use super::calls::{Calls, Carrier, Reader};
use super::due::Kind;
use super::event::DrainReason;
use super::hub::StreamSpec;
use super::limits::HubLimits;
use super::places::Places;
use super::render::{Now, Polled};
use super::room::HubRoom;
use super::slot::{NEVER_MS, News, OwedDrain, Phase, Slot};
use super::wheel::{Entry, Wheel};

pub(super) struct Shard {
    slots: Slab<Slot>,
    pub places: Places,
    /// With open streams here, by their indexes.
    rooms: HashMap<u32, OfRoom>,
    wheel: Wheel,
    now_ms: u64,
    wall: UnixMs,
    stamps: u64,
    jitter: u64,
}

struct OfRoom {
    room: Arc<HubRoom>,
    /// Keys of its slots.
    slots: Vec<usize>,
    /// How many of them no connection carries.
    alone: usize,
}

/// What a pass over slots found to count.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ends {
    pub stalled: u64,
    pub aged: u64,
}

impl Shard {
    pub fn new(jitter_seed: u64) -> Self {
        Self {
            slots: Slab::new(),
            places: Places::default(),
            rooms: HashMap::new(),
            wheel: Wheel::default(),
            now_ms: 0,
            wall: UnixMs(0),
            stamps: 0,
            jitter: jitter_seed,
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// In `[0, 1)`; spreads, and guards nothing.
    pub fn next_jitter(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.jitter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Adds a slot; the oldest of its place is drained when there are too many.
    /// Its key, and whether one was replaced.
    pub fn open(
        &mut self,
        room: &Arc<HubRoom>,
        mut slot: Slot,
        limits: &HubLimits,
        calls: &mut Calls,
    ) -> (usize, bool) {
        if slot.reconnect_after_ms == 0 {
            slot.reconnect_after_ms = self.reconnect_after_ms(limits.reconnect_spread_ms);
        }
        let of_room = self.rooms.entry(room.index).or_insert_with(|| OfRoom {
            room: Arc::clone(room),
            slots: Vec::new(),
            alone: 0,
        });
        of_room.alone += 1;
        slot.room_at = of_room.slots.len() as u32;
        let place = slot.place;
        self.places
            .add(room, place, &slot.user, self.slots.vacant_key());
        let key = self.slots.insert(slot);
        of_room.slots.push(key);
        let open: Vec<_> = self
            .places
            .slots((room.index, place))
            .iter()
            .copied()
            .filter(|&other| {
                let slot = &self.slots[other];
                slot.phase == Phase::Live && !slot.due.contains(Kind::Drain)
            })
            .collect();
        let is_one_too_many = open.len() > limits.streams_per_place;
        if is_one_too_many {
            let now_ms = self.now_ms;
            self.slots[open[0]].drain(DrainReason::Replaced, now_ms, calls);
        }
        self.schedule(key, limits);
        (key, is_one_too_many)
    }

    /// From now on the stream is read by its carrier's task, which asks it next.
    pub fn carry(&mut self, key: usize, by: Arc<dyn Carrier>, as_key: u32) {
        let slot = &mut self.slots[key];
        if let Some(of_room) = self.rooms.get_mut(&slot.room) {
            of_room.room.carriers.add(&by);
            of_room.alone -= usize::from(!slot.reader.is_carried());
        }
        slot.reader = Reader::Carried {
            by,
            key: as_key,
            is_asleep: false,
        };
    }

    pub fn carried(&self, key: usize) -> Option<(Arc<dyn Carrier>, u32)> {
        match &self.slots[key].reader {
            Reader::Alone(_) => None,
            Reader::Carried { by, key, .. } => Some((Arc::clone(by), *key)),
        }
    }

    pub fn user_of(&self, key: usize) -> UserId {
        self.slots[key].user.clone()
    }

    /// Whose turn a stream tells, and where.
    pub fn seat_of(&self, key: usize) -> (RoomId, PlaceKey, UserId) {
        let slot = &self.slots[key];
        (self.room_id(slot), slot.place, slot.user.clone())
    }

    fn room_id(&self, slot: &Slot) -> RoomId {
        self.rooms[&slot.room].room.cell.room().clone()
    }

    /// A stream of the place into which its own was merged. One that was
    /// replaced, or whose node stops, must be told wherever it goes.
    pub fn moved(&self, key: usize, survivor: PlaceKey) -> (StreamSpec, Option<OwedDrain>) {
        let slot = &self.slots[key];
        let owed = slot.due.contains(Kind::Drain).then_some(OwedDrain {
            reason: slot.drain,
            reconnect_after_ms: slot.reconnect_after_ms,
        });
        let spec = StreamSpec {
            room: self.room_id(slot),
            place: survivor,
            user: slot.user.clone(),
            resume: slot.resume.as_deref().copied(),
            min_update_interval_ms: Some(slot.min_update_interval_ms).filter(|ms| *ms > 0),
            max_duration_ms: (slot.ends_at_ms != NEVER_MS)
                .then(|| slot.ends_at_ms.saturating_sub(self.now_ms)),
            end_on_activation: slot.end_on_activation,
            known_end: None,
            is_merged: true,
        };
        (spec, owed)
    }

    /// With open streams.
    #[cfg(test)]
    pub fn rooms_known(&self) -> usize {
        self.rooms.len()
    }

    pub fn close(&mut self, key: usize) {
        let slot = self.slots.remove(key);
        self.places.remove((slot.room, slot.place), key);
        if let Some(of_room) = self.rooms.get_mut(&slot.room) {
            match &slot.reader {
                Reader::Carried { by, .. } => of_room.room.carriers.remove(by),
                Reader::Alone(_) => of_room.alone -= 1,
            }
            let at = slot.room_at as usize;
            of_room.slots.swap_remove(at);
            if let Some(&moved) = of_room.slots.get(at) {
                self.slots[moved].room_at = slot.room_at;
            }
            if of_room.slots.is_empty() {
                // Indexes of rooms are never given twice.
                self.rooms.remove(&slot.room);
            }
        }
    }

    /// What a stream says, and whether there is more.
    pub fn poll(
        &mut self,
        key: usize,
        waker: &Waker,
        clock: &dyn Clock,
        limits: &HubLimits,
    ) -> (Polled, bool) {
        let now = Now {
            ms: self.now_ms,
            wall: self.wall,
            jitter: self.next_jitter(),
        };
        let slot = &mut self.slots[key];
        let room = &self.rooms[&slot.room].room;
        let polled = slot.poll(room, now, clock, limits);
        // Whoever has nothing more to say is woken when that changes: nobody need
        // ask again to be told so.
        let has_more = matches!(polled, Polled::Say(_)) && slot.has_more();
        if matches!(polled, Polled::Nothing | Polled::Say(_)) && !has_more {
            slot.reader.sleep(waker);
        }
        if std::mem::take(&mut slot.asks_for_end) {
            let id = (slot.room, slot.place);
            self.places.note_end_unknown(id);
        }
        self.schedule(key, limits);
        (polled, has_more)
    }

    /// Puts the slot into the wheel if what is there fires too late.
    fn schedule(&mut self, key: usize, limits: &HubLimits) {
        let slot = &mut self.slots[key];
        let at_ms = slot.deadline_ms(limits);
        if at_ms < slot.fires_at_ms {
            self.stamps += 1;
            slot.stamp = self.stamps;
            slot.fires_at_ms = at_ms;
            self.wheel.insert((key, self.stamps), at_ms);
        }
    }

    pub fn advance(
        &mut self,
        now_ms: u64,
        wall: UnixMs,
        limits: &HubLimits,
        calls: &mut Calls,
    ) -> Ends {
        self.now_ms = now_ms;
        self.wall = wall;
        let mut fired: Vec<Entry> = Vec::new();
        self.wheel.advance(now_ms, &mut fired);
        let mut ends = Ends::default();
        for (key, stamp) in fired {
            let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.stamp == stamp) else {
                continue;
            };
            slot.fires_at_ms = u64::MAX;
            let was_draining = slot.due.contains(Kind::Drain);
            slot.on_time(now_ms, limits, calls);
            ends.stalled += u64::from(slot.phase == Phase::Stalled);
            ends.aged += u64::from(!was_draining && slot.due.contains(Kind::Drain));
            if slot.phase != Phase::Live {
                // Nobody may ever poll it again: it is presence no more.
                self.places.remove((slot.room, slot.place), key);
            }
            self.schedule(key, limits);
        }
        ends
    }

    /// Marks all streams of a place.
    pub fn mark_place(
        &mut self,
        room: u32,
        place: PlaceKey,
        (kind, news): (Kind, News),
        limits: &HubLimits,
        calls: &mut Calls,
    ) {
        for key in self.places.slots((room, place)).to_vec() {
            self.slots[key].mark_news(kind, news, self.now_ms, calls);
            self.schedule(key, limits);
        }
    }

    /// A place is over, and this is how.
    pub fn tell_end(
        &mut self,
        room: u32,
        place: PlaceKey,
        (reason, survivor): (EndReason, Option<PlaceKey>),
        news: News,
        limits: &HubLimits,
        calls: &mut Calls,
    ) {
        for key in self.places.slots((room, place)).to_vec() {
            let slot = &mut self.slots[key];
            match reason {
                EndReason::Merged => slot.survivor = survivor.map(Box::new),
                _ => slot.known_end = Some(reason),
            }
        }
        self.mark_place(room, place, (Kind::Ended, news), limits, calls);
    }

    /// Marks all streams of a room; with `refresh_within_ms` also brings their
    /// next positions forward, spread over so long. A stream that is carried sees
    /// by itself that its room has changed: where nothing else is marked and all
    /// are carried, no slot is touched.
    pub fn mark_room(
        &mut self,
        room: u32,
        (kinds, news): (&[Kind], News),
        refresh_within_ms: Option<u64>,
        limits: &HubLimits,
        calls: &mut Calls,
    ) {
        let Some(of_room) = self.rooms.get(&room) else {
            return;
        };
        if of_room.alone == 0 && kinds == [Kind::RoomChanged] {
            return;
        }
        for key in of_room.slots.clone() {
            let jitter = self.next_jitter();
            let slot = &mut self.slots[key];
            for &kind in kinds {
                if kind != Kind::RoomChanged || !slot.reader.is_carried() {
                    slot.mark_news(kind, news, self.now_ms, calls);
                }
            }
            if let Some(within_ms) = refresh_within_ms {
                slot.refresh(self.now_ms, within_ms, jitter);
            }
            self.schedule(key, limits);
        }
    }

    pub fn streams_of(&self, room: u32) -> usize {
        self.rooms
            .get(&room)
            .map_or(0, |of_room| of_room.slots.len())
    }

    pub fn drain_all(
        &mut self,
        reason: DrainReason,
        spread_ms: u64,
        limits: &HubLimits,
        calls: &mut Calls,
    ) {
        let keys: Vec<_> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            let reconnect_after_ms = self.reconnect_after_ms(spread_ms);
            let slot = &mut self.slots[key];
            slot.reconnect_after_ms = reconnect_after_ms;
            slot.drain(reason, self.now_ms, calls);
            self.schedule(key, limits);
        }
    }

    fn reconnect_after_ms(&mut self, spread_ms: u64) -> u64 {
        const AT_LEAST_MS: u64 = 500;
        AT_LEAST_MS + (spread_ms as f64 * self.next_jitter()) as u64
    }
}
