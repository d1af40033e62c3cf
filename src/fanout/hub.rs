//! The hub: opens streams, moves their time, drains them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::clock::Clock;
use crate::domain::estimate::OBSERVE_EVERY_MS;
use crate::domain::ids::{ActivationId, Cursor, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::domain::time::{ROOM_STEP_MAX_MS, RoomClock, UnixMs};
use crate::engine::ticker::OpenStreams;
use crate::keys::pass::PassClaims;
use crate::view::Views;

use super::calls::{Calls, Reader};
use super::due::{DueSet, Kind};
use super::event::DrainReason;
use super::figures::WINDOW_MS;
use super::limits::HubLimits;
use super::places::Report;
use super::render::NO_DRAIN;
use super::room::HubRoom;
use super::shard::Shard;
use super::slot::{NEVER_MS, News, OwedDrain, Phase, Slot};
use super::subscription::Subscription;

/// A stream as it is asked for, its token verified.
#[derive(Debug, Clone)]
pub struct StreamSpec {
    pub room: RoomId,
    pub place: PlaceKey,
    pub user: UserId,
    pub resume: Option<Cursor>,
    /// May only slow the stream.
    pub min_update_interval_ms: Option<u64>,
    pub max_duration_ms: Option<u64>,
    /// End OK after the first `activated`.
    pub end_on_activation: bool,
    /// What the caller knows of the place's end, if it is over.
    pub known_end: Option<EndReason>,
    /// The token's place was merged into `place`.
    pub is_merged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("this node has its {streams_max} streams")]
    TooManyStreams { streams_max: usize },
    #[error("this node is draining")]
    Draining,
}

/// Everything a pass says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassRequest {
    pub room: RoomId,
    pub place: PlaceKey,
    pub user: UserId,
    pub activation_id: ActivationId,
    /// When it was issued: of the row, as all of it.
    pub claimed_at: UnixMs,
    pub expire_time: UnixMs,
}

impl From<&PassRequest> for PassClaims {
    fn from(request: &PassRequest) -> Self {
        Self {
            user: request.user.clone(),
            room: request.room.clone(),
            activation: request.activation_id,
            issued_at: request.claimed_at,
            expire_time: request.expire_time,
        }
    }
}

/// Signs passes. Called once per stream and activation, under no lock: an
/// implementation answers the same pass for the same activation, from a cache.
pub trait PassSigner: Send + Sync + 'static {
    fn pass(&self, request: &PassRequest) -> Arc<str>;
}

/// What the hub counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubCounts {
    pub streams: usize,
    pub refused_total: u64,
    pub replaced_total: u64,
    pub aged_total: u64,
    pub slow_readers_total: u64,
}

#[derive(Default)]
struct Counters {
    refused: AtomicU64,
    replaced: AtomicU64,
    aged: AtomicU64,
    slow_readers: AtomicU64,
}

/// One of the streams that a node takes; dropping it makes room for another.
pub struct StreamPermit(pub(super) Arc<Hub>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Clamps the steps of the host's clock.
struct HubClock {
    clamped: RoomClock,
    wall: UnixMs,
    observe_at_ms: u64,
    turn_delays_at_ms: u64,
}

/// All streams of a node.
pub struct Hub {
    pub(super) limits: HubLimits,
    views: Arc<Views>,
    pub(super) signer: Arc<dyn PassSigner>,
    /// For push delays; all other time comes in by [`Hub::advance`].
    pub(super) clock: Arc<dyn Clock>,
    shards: Box<[Mutex<Shard>]>,
    rooms: RwLock<HashMap<RoomId, Arc<HubRoom>>>,
    /// Their indexes are given once.
    rooms_made: AtomicU32,
    time: Mutex<HubClock>,
    streams: AtomicUsize,
    is_draining: AtomicBool,
    counters: Counters,
    recoveries: Mutex<HashSet<RoomRef>>,
}

impl Hub {
    /// `jitter_seed` is any random number.
    #[must_use]
    pub fn new(
        limits: HubLimits,
        views: Arc<Views>,
        signer: Arc<dyn PassSigner>,
        clock: Arc<dyn Clock>,
        jitter_seed: u64,
    ) -> Arc<Self> {
        let now = clock.now();
        let shards = (0..limits.shards.max(1) as u64)
            .map(|index| Mutex::new(Shard::new(jitter_seed.wrapping_add(index << 32))))
            .collect();
        let hub = Self {
            limits,
            views,
            signer,
            shards,
            rooms: RwLock::default(),
            rooms_made: AtomicU32::new(0),
            clock,
            time: Mutex::new(HubClock {
                clamped: RoomClock::starting(now),
                wall: now,
                observe_at_ms: 0,
                turn_delays_at_ms: WINDOW_MS,
            }),
            streams: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
            counters: Counters::default(),
            recoveries: Mutex::default(),
        };
        hub.advance(now);
        Arc::new(hub)
    }

    /// Opens a stream. The room should be followed: without a view it is shown
    /// DEGRADED.
    ///
    /// # Errors
    /// [`OpenError`] when this node takes no more streams.
    pub fn open(self: &Arc<Self>, spec: StreamSpec) -> Result<Subscription, OpenError> {
        let permit = self.permit()?;
        let (shard, key) = self.register(&spec, None);
        // A drain that began meanwhile has not seen this stream.
        if self.is_draining.load(Ordering::Acquire) {
            self.unregister(shard, key);
            return Err(OpenError::Draining);
        }
        Ok(Subscription::new(permit, shard, key))
    }

    /// Counts a stream that is none of a place.
    ///
    /// # Errors
    /// [`OpenError`] when this node takes no more streams.
    pub fn permit(self: &Arc<Self>) -> Result<StreamPermit, OpenError> {
        if self.is_draining.load(Ordering::Acquire) {
            return Err(OpenError::Draining);
        }
        let streams_max = self.limits.streams_max;
        if self.streams.fetch_add(1, Ordering::AcqRel) >= streams_max {
            self.streams.fetch_sub(1, Ordering::AcqRel);
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(OpenError::TooManyStreams { streams_max });
        }
        Ok(StreamPermit(Arc::clone(self)))
    }

    /// Puts a stream into the shard of its place; with the drain that it owes
    /// already, where it comes from another.
    pub(super) fn register(&self, spec: &StreamSpec, owed: Option<OwedDrain>) -> (usize, usize) {
        let room = self.room(&spec.room);
        let index = self.shard_of(spec.place);
        let mut calls = Calls::default();
        let mut shard = self.shard(index);
        let now_ms = shard.now_ms();
        // Nine to ten tenths of the age, so that streams do not age at once.
        let age_ms =
            (self.limits.stream_age_max_ms as f64 * (1.0 - 0.1 * shard.next_jitter())) as u64;
        let mut due = DueSet::default();
        due.insert(Kind::Snapshot);
        let mut slot = Slot {
            room: room.index,
            place: spec.place,
            user: spec.user.clone(),
            phase: Phase::Live,
            due,
            reader: Reader::Alone(None),
            room_at: 0,
            stamp: 0,
            fires_at_ms: NEVER_MS,
            resume: spec.resume.map(Box::new),
            min_update_interval_ms: spec.min_update_interval_ms.unwrap_or(0),
            end_on_activation: spec.end_on_activation,
            is_merged: spec.is_merged,
            opened_ms: now_ms,
            ends_at_ms: spec
                .max_duration_ms
                .map_or(NEVER_MS, |span_ms| now_ms.saturating_add(span_ms)),
            age_at_ms: now_ms.saturating_add(age_ms),
            last_sent_ms: now_ms,
            position_at_ms: NEVER_MS,
            due_since_ms: now_ms,
            news_since_ms: NEVER_MS,
            told_turn: None,
            told_room: 0,
            told_cursor: Cursor::default(),
            told_position: None,
            known_end: spec.known_end,
            survivor: None,
            asks_for_end: false,
            drain: NO_DRAIN,
            reconnect_after_ms: 0,
        };
        // Read under the lock: a drain that does not see this stream is seen.
        let is_draining = self.is_draining.load(Ordering::Acquire);
        if let Some(owed) = owed.or(is_draining.then_some(OwedDrain::SHUTDOWN)) {
            slot.reconnect_after_ms = owed.reconnect_after_ms;
            slot.drain(owed.reason, now_ms, &mut calls);
        }
        let (key, replaced) = shard.open(&room, slot, &self.limits, &mut calls);
        drop(shard);
        calls.make();
        if replaced {
            self.counters.replaced.fetch_add(1, Ordering::Relaxed);
        }
        (index, key)
    }

    pub(super) fn unregister(&self, shard: usize, key: usize) {
        self.shard(shard).close(key);
    }

    /// Moves time on; call it at least each 100 ms.
    pub fn advance(&self, now: UnixMs) {
        let (now_ms, was_asleep, observes, turns) = {
            let mut clock = self.time();
            let was_asleep = clock.wall.until_ms(now) > ROOM_STEP_MAX_MS;
            clock.clamped.tick(now);
            clock.wall = now;
            let now_ms = clock.clamped.now().0;
            let observes = now_ms >= clock.observe_at_ms;
            if observes {
                clock.observe_at_ms = now_ms + OBSERVE_EVERY_MS;
            }
            let turns = now_ms >= clock.turn_delays_at_ms;
            if turns {
                clock.turn_delays_at_ms = now_ms + WINDOW_MS;
            }
            (now_ms, was_asleep, observes, turns)
        };
        if turns {
            let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
            rooms.values().for_each(|room| room.delays.turn());
        }
        if observes || was_asleep {
            self.observe(now_ms, !was_asleep);
        }
        let mut calls = Calls::default();
        for shard in &self.shards {
            let ends = lock(shard).advance(now_ms, now, &self.limits, &mut calls);
            self.counters.aged.fetch_add(ends.aged, Ordering::Relaxed);
            self.counters
                .slow_readers
                .fetch_add(ends.stalled, Ordering::Relaxed);
        }
        // All together: a connection has streams in every shard.
        calls.make();
    }

    /// Lets every view see that time has passed: waits are estimated from it.
    fn observe(&self, now_ms: u64, is_believed: bool) {
        for cell in self.views.all() {
            let room = self.known_room(cell.room());
            let has_stores = room.is_none_or(|room| room.degraded_since().is_none());
            cell.observe(now_ms, is_believed && has_stores);
        }
    }

    /// This node has lost a store that the room needs, or has it back.
    pub fn set_degraded(&self, room: &RoomId, is_degraded: bool) {
        let (now, now_ms) = {
            let clock = self.time();
            (clock.wall, clock.clamped.now().0)
        };
        let room = self.room(room);
        if room.set_degraded(is_degraded.then_some(now)) {
            room.cell.observe(now_ms, !is_degraded);
            let refresh = (!is_degraded).then_some(self.limits.refresh_spread_ms);
            let kinds = (&[Kind::RoomChanged][..], News::default());
            self.mark_room(&room, kinds, refresh);
        }
    }

    /// Since when the room is shown as it was last known.
    #[must_use]
    pub fn degraded_since(&self, room: &RoomId) -> Option<UnixMs> {
        self.known_room(room)?.degraded_since()
    }

    /// The answer to [`Report::EndUnknown`].
    pub fn tell_end(
        &self,
        room: &RoomId,
        place: PlaceKey,
        reason: EndReason,
        survivor: Option<PlaceKey>,
    ) {
        if let Some(room) = self.known_room(room) {
            self.tell_end_in(&room, place, (reason, survivor));
        }
    }

    /// [`Report::EndUnknown`] could not be answered: it is reported again, while
    /// the place has a stream here.
    pub fn end_still_unknown(&self, room: &RoomId, place: PlaceKey) {
        if let Some(room) = self.known_room(room) {
            let mut shard = self.shard_with(place);
            shard.places.note_end_unknown((room.index, place));
        }
    }

    /// Tells every stream to come back, spread over `spread_ms`, and opens no
    /// more. Streams end once they have said so.
    pub fn drain_all(&self, reason: DrainReason, spread_ms: u64) {
        self.is_draining.store(true, Ordering::Release);
        let mut calls = Calls::default();
        for shard in &self.shards {
            lock(shard).drain_all(reason, spread_ms, &self.limits, &mut calls);
        }
        calls.make();
    }

    /// What the engine must hear of, at most `reports_max`; the rest waits.
    pub fn take_reports(&self, reports_max: usize) -> Vec<Report> {
        let recoveries = std::mem::take(&mut *self.recoveries());
        let mut reports: Vec<_> = recoveries.into_iter().map(Report::MustRecover).collect();
        for shard in &self.shards {
            lock(shard).places.take_reports(reports_max, &mut reports);
        }
        reports
    }

    #[must_use]
    pub fn counts(&self) -> HubCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HubCounts {
            streams: self.streams.load(Ordering::Relaxed),
            refused_total: read(&self.counters.refused),
            replaced_total: read(&self.counters.replaced),
            aged_total: read(&self.counters.aged),
            slow_readers_total: read(&self.counters.slow_readers),
        }
    }

    pub(super) fn room(&self, id: &RoomId) -> Arc<HubRoom> {
        let known = self.known_room(id);
        known.unwrap_or_else(|| {
            let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
            let room = rooms.entry(id.clone()).or_insert_with(|| {
                let index = self.rooms_made.fetch_add(1, Ordering::Relaxed);
                Arc::new(HubRoom::new(index, self.views.cell(id)))
            });
            Arc::clone(room)
        })
    }

    pub(super) fn known_room(&self, id: &RoomId) -> Option<Arc<HubRoom>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(id).cloned()
    }

    pub(super) fn mark_room(&self, room: &HubRoom, news: (&[Kind], News), refresh_ms: Option<u64>) {
        let mut calls = Calls::default();
        for shard in &self.shards {
            lock(shard).mark_room(room.index, news, refresh_ms, &self.limits, &mut calls);
        }
        calls.make();
        if news.0.contains(&Kind::RoomChanged) {
            room.carriers.call_all();
        }
    }

    fn tell_end_in(&self, room: &HubRoom, place: PlaceKey, end: (EndReason, Option<PlaceKey>)) {
        let mut calls = Calls::default();
        let mut shard = self.shard_with(place);
        shard.tell_end(
            room.index,
            place,
            end,
            News::default(),
            &self.limits,
            &mut calls,
        );
        drop(shard);
        calls.make();
    }

    fn places_of(&self, room: &HubRoom) -> Vec<(PlaceKey, UserId)> {
        self.all_shards()
            .flat_map(|shard| shard.places.of_room(room.index).collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn shard_with(&self, place: PlaceKey) -> MutexGuard<'_, Shard> {
        self.shard(self.shard_of(place))
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    pub(super) fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        lock(&self.shards[index])
    }

    fn time(&self) -> MutexGuard<'_, HubClock> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recoveries(&self) -> MutexGuard<'_, HashSet<RoomRef>> {
        self.recoveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Neighbours in line go to different shards.
    fn shard_of(&self, place: PlaceKey) -> usize {
        let mixed =
            (place.number ^ u64::from(place.lane) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % self.shards.len()
    }
}

impl OpenStreams for Hub {
    fn places(&self, room: &RoomId) -> Vec<(PlaceKey, UserId)> {
        let room = self.known_room(room);
        room.map_or_else(Vec::new, |room| self.places_of(&room))
    }

    /// Streams whose readers were too slow to take their end keep what they need
    /// of the room, and get it still; its id is free at once.
    fn forget(&self, room: &RoomId) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let removed = rooms.remove(room);
        drop(rooms);
        if let Some(room) = removed {
            for (place, _) in self.places_of(&room) {
                self.tell_end_in(&room, place, (EndReason::RoomClosed, None));
            }
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
