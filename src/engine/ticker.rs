//! What happens when time passes: the engine's heart.
//!
//! A tick of a room asks the queue who is next and what is due, writes that to
//! SQL, and tells the queue what SQL decided:
//!
//! ```text
//! queue.tick ─ granted ─→ insert_activations (commit) ─→ queue.confirm ─→ delta
//!            └ due ─────→ end_activation if expired ───→ queue.free, or rearm
//! ```
//!
//! Ticks are leaderless: the queue decides by its own state, so two at once or
//! one too many do no harm. A crash between any two arrows is made good by the
//! next tick, since the queue hands out again what nobody brought back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use tokio_util::task::TaskTracker;

use crate::bus::EventBus;
use crate::clock::Clock;
use crate::domain::ids::{ActivationId, Cursor, Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::EndReason;
use crate::domain::room::GRANT_BATCH_MAX;
use crate::entropy::Entropy;
use crate::store::queue::{Granted, QueueStore, Strain, Tick};
use crate::store::rooms::{
    ActivationRow, ActivationState, EndCondition, NewActivation, RoomRegistry, RoomsError,
};
use crate::truth::failpoint::{Failpoints, Point};
use crate::view::follower::FollowerHandle;

use super::cadence::Cadence;
use super::error::EngineError;
use super::recovery::confirm_row;
use super::rooms::{RoomHandle, Rooms};

/// Rows a tick ends side by side.
const ENDS_AT_ONCE_MAX: usize = 256;
/// Rounds one call makes at most when freed slots can be refilled at once, or a
/// round was full.
const ROUNDS_PER_TICK_MAX: u32 = 16;

#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// This node's life.
    pub incarnation: Incarnation,
    /// Activation rests so long after a room was rebuilt with people in it.
    pub rebuild_pause_ms: u64,
    /// How often someone who cannot stream should ask.
    pub poll_after_ms: u64,
    /// Other nodes serve these rooms too, on a queue that outlives this one.
    pub is_shared: bool,
    pub cadence: Cadence,
}

/// The streams this node holds; implemented by the hub.
pub trait OpenStreams: Send + Sync + 'static {
    /// Places of a room with at least one open stream here.
    fn places(&self, room: &RoomId) -> Vec<(PlaceKey, UserId)>;

    /// The room is no more.
    fn forget(&self, _room: &RoomId) {}
}

/// Who follows rooms on this node; implemented by the view's follower.
#[async_trait]
pub trait Readers: Send + Sync + 'static {
    /// The queue store said that a room stands there. A reader that is behind
    /// reads what it missed.
    fn note_cursor(&self, room: &RoomId, cursor: Cursor);

    /// A room was made, in this epoch; returns once it can be read here.
    async fn follow(&self, room: RoomRef);

    /// The room is no more.
    async fn forget(&self, _room: RoomId) {}

    /// Whether a place waits, as far as is known here.
    fn is_waiting(&self, _room: &RoomId, _place: PlaceKey) -> bool {
        false
    }
}

#[async_trait]
impl Readers for FollowerHandle {
    fn note_cursor(&self, room: &RoomId, cursor: Cursor) {
        Self::note_cursor(self, room, cursor);
    }

    async fn follow(&self, room: RoomRef) {
        Self::follow(self, room).await;
    }

    async fn forget(&self, room: RoomId) {
        Self::forget(self, room).await;
    }

    fn is_waiting(&self, room: &RoomId, place: PlaceKey) -> bool {
        Self::is_waiting(self, room, place)
    }
}

/// Frees the slot of an activation whose row has ended.
#[async_trait]
pub trait SlotReleaser: Send + Sync + 'static {
    /// Idempotent. After an error the slot is freed by the outbox, which tries
    /// again, or by the next recovery.
    ///
    /// # Errors
    /// [`EngineError::Degraded`] or [`EngineError::Rebuilding`].
    async fn release(
        &self,
        room: &RoomId,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), EngineError>;

    /// Ends a place whose user left while the queue was away; idempotent.
    ///
    /// # Errors
    /// As [`Self::release`].
    async fn leave(
        &self,
        _room: &RoomId,
        _place: PlaceKey,
        _user: &UserId,
    ) -> Result<(), EngineError> {
        Ok(())
    }
}

/// The waiting room's use cases on one node.
pub struct Engine {
    pub(super) queue: Arc<dyn QueueStore>,
    pub(super) registry: Arc<dyn RoomRegistry>,
    pub(super) rooms: Rooms,
    pub(super) bus: Arc<dyn EventBus>,
    pub(super) readers: Arc<dyn Readers>,
    pub(super) open_streams: Arc<dyn OpenStreams>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) failpoints: Arc<Failpoints>,
    pub(super) tasks: TaskTracker,
    pub(super) settings: EngineSettings,
    /// SQL cannot be reached: rooms stand still.
    pub(super) degraded: AtomicBool,
    /// Another process serves these rooms now: this one must not.
    pub(super) retired: AtomicBool,
    /// Calls of [`Engine::tick_rooms`].
    pub(super) step: AtomicU64,
    /// How strained the sale is, where rooms are steered by it.
    pub(super) strain: RwLock<Option<Strain>>,
}

/// What an engine is made of.
pub struct EngineParts {
    pub queue: Arc<dyn QueueStore>,
    pub registry: Arc<dyn RoomRegistry>,
    pub bus: Arc<dyn EventBus>,
    pub readers: Arc<dyn Readers>,
    pub open_streams: Arc<dyn OpenStreams>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub failpoints: Arc<Failpoints>,
    pub tasks: TaskTracker,
    pub settings: EngineSettings,
}

impl Engine {
    #[must_use]
    pub fn new(parts: EngineParts) -> Arc<Self> {
        Arc::new(Self {
            rooms: Rooms::new(Arc::clone(&parts.registry)),
            queue: parts.queue,
            registry: parts.registry,
            bus: parts.bus,
            readers: parts.readers,
            open_streams: parts.open_streams,
            clock: parts.clock,
            entropy: parts.entropy,
            failpoints: parts.failpoints,
            tasks: parts.tasks,
            settings: parts.settings,
            degraded: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            step: AtomicU64::new(0),
            strain: RwLock::default(),
        })
    }

    #[must_use]
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Rebuilds every room from SQL: the start of an embedded server. One of
    /// several nodes rebuilds only what the queue does not have, and starts
    /// without a queue that is away.
    ///
    /// # Errors
    /// [`EngineError::Degraded`] while SQL cannot be reached.
    pub async fn start(self: &Arc<Self>) -> Result<(), EngineError> {
        if self.settings.is_shared {
            return self.meet_all().await;
        }
        for room in self.rooms.load().await? {
            self.recover(&room, room.record().epoch).await?;
        }
        Ok(())
    }

    /// Ticks every room that needs it, each in a task of its own. The app
    /// calls it each [`crate::domain::room::TICK_MS`].
    pub fn tick_rooms(self: &Arc<Self>) {
        if self.is_degraded() || self.is_retired() {
            return;
        }
        let step = self.step.fetch_add(1, Ordering::Relaxed) + 1;
        for room in self.rooms.all() {
            if room.pace.is_due(step) || self.is_due_to_change(&room) {
                self.spawn_tick(room);
            }
        }
    }

    /// Ticks a room as soon as possible: a slot became free.
    pub(super) fn spawn_tick(self: &Arc<Self>, room: Arc<RoomHandle>) {
        let engine = Arc::clone(self);
        self.tasks.spawn(async move {
            let was_away = room.is_away();
            match engine.tick_room(&room).await {
                // Said already; the next step asks again.
                Err(_) if was_away => {}
                Err(error) => {
                    tracing::warn!(room.id = %room.id, error = %error, "tick failed");
                }
                Ok(()) => {}
            }
        });
    }

    /// One tick of a room. Returns at once if another is under way here; that
    /// one makes another round.
    ///
    /// # Errors
    /// [`EngineError::Degraded`] while a store cannot be reached.
    pub async fn tick_room(&self, room: &RoomHandle) -> Result<(), EngineError> {
        room.again.store(true, Ordering::SeqCst);
        for _round in 0..ROUNDS_PER_TICK_MAX {
            let Ok(_ticking) = room.ticking.try_lock() else {
                return Ok(());
            };
            if !room.again.swap(false, Ordering::SeqCst) {
                return Ok(());
            }
            let has_more = self.tick_once(room).await.inspect_err(|_| room.wake())?;
            if has_more {
                room.again.store(true, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Whether another round has work: slots were freed, or this one was full.
    async fn tick_once(&self, room: &RoomHandle) -> Result<bool, EngineError> {
        let changed = self.change_if_due(room).await;
        changed.inspect_err(|error| room.note_answer(*error != EngineError::Degraded))?;
        self.steer_first(room).await;
        let step = self.step.load(Ordering::Relaxed);
        room.pace.begin(step);
        let tick = self
            .with_room(room, |room_ref| {
                let node = Some(self.settings.incarnation);
                Box::pin(async move { self.queue.tick(&room_ref, node).await })
            })
            .await;
        room.note_answer(!matches!(tick, Err(EngineError::Degraded)));
        let tick = tick?;
        room.note_revision(tick.cursor);
        room.note_quiet(tick.quiet);
        if !tick.quiet {
            let has_worked = tick.has_more || !(tick.granted.is_empty() && tick.due.is_empty());
            let spread = step ^ self.settings.incarnation.0;
            room.pace
                .plan(step, self.settings.cadence, has_worked, spread);
        }
        // Of the epoch in which they were picked: this one may be another's by now,
        // and their rows would pass its fence.
        let room_ref = RoomRef {
            id: room.id.clone(),
            epoch: tick.cursor.epoch,
        };
        self.readers.note_cursor(&room_ref.id, tick.cursor);
        self.follow_version(room, tick.version).await?;
        self.reserve_ahead(&room_ref, &tick).await?;
        let longest = tick.granted.len().max(tick.due.len());
        let mut has_more = tick.has_more || longest >= GRANT_BATCH_MAX;
        has_more |= self.activate(room, &room_ref, tick.granted).await?;
        has_more |= self
            .end_all(&room_ref, tick.due, EndCondition::IfExpired)
            .await?;
        Ok(has_more)
    }

    async fn reserve_ahead(&self, room: &RoomRef, tick: &Tick) -> Result<(), EngineError> {
        for low in &tick.low_numbers {
            let reserved_to = self
                .registry
                .reserve_numbers(room, low.lane, low.reserve_to)
                .await?;
            self.queue.reserve(room, low.lane, reserved_to).await?;
        }
        Ok(())
    }

    /// Writes the rows of granted places, then confirms them. Whether someone
    /// had left meanwhile, so that a slot is free again.
    async fn activate(
        &self,
        room: &RoomHandle,
        room_ref: &RoomRef,
        granted: Vec<Granted>,
    ) -> Result<bool, EngineError> {
        if granted.is_empty() {
            return Ok(false);
        }
        self.failpoints.hit(Point::NumbersGranted).await?;
        let places = granted
            .into_iter()
            .map(|granted| NewActivation {
                id: ActivationId(self.entropy.uuid()),
                place: granted.place,
                user: granted.user,
            })
            .collect();
        let policy = &room.record().policy;
        let rows = match self
            .registry
            .insert_activations(room_ref, places, policy.claim_window_ms, policy.pass_ttl_ms)
            .await
        {
            Err(RoomsError::Fenced) => {
                room.update(self.registry.room(&room.id).await?);
                return Ok(false);
            }
            rows => rows?,
        };
        self.failpoints.hit(Point::RowsCommitted).await?;
        let confirms = rows.iter().map(confirm_row).collect();
        let left = self.queue.confirm(room_ref, confirms).await?;
        let condition = EndCondition::Always(EndReason::Left);
        let freed = self.end_all(room_ref, left, condition).await?;
        self.failpoints.hit(Point::ActivationTold).await?;
        Ok(freed)
    }

    /// Ends rows side by side, so that they share commits. Whether any ended.
    async fn end_all(
        &self,
        room: &RoomRef,
        ids: Vec<ActivationId>,
        condition: EndCondition,
    ) -> Result<bool, EngineError> {
        let mut rows = stream::iter(ids)
            .map(|id| self.end(room, id, condition))
            .buffer_unordered(ENDS_AT_ONCE_MAX);
        let mut freed = false;
        while let Some(row) = rows.next().await {
            freed |= matches!(row?.state, ActivationState::Ended(_));
        }
        Ok(freed)
    }

    /// Ends a row if the condition holds, and brings what SQL decided back to
    /// the queue.
    pub(super) async fn end(
        &self,
        room: &RoomRef,
        id: ActivationId,
        condition: EndCondition,
    ) -> Result<ActivationRow, EngineError> {
        let row = self.registry.end_activation(id, condition).await?;
        match row.state {
            ActivationState::Ended(reason) => self.queue.free(room, id, reason).await?,
            ActivationState::Activated | ActivationState::Active => {
                let remaining_ms = confirm_row(&row).remaining_ms;
                self.queue.rearm(room, id, remaining_ms).await?;
            }
        }
        Ok(row)
    }

    /// Saves the departed numbers of every room: each second.
    pub async fn save_departed(&self) {
        for room in self.rooms.all() {
            if self.settings.is_shared && !room.has_news() {
                continue;
            }
            if let Err(error) = self.save_departed_of(&room).await {
                tracing::warn!(room.id = %room.id, error = %error, "departed numbers not saved");
            }
        }
    }

    async fn save_departed_of(&self, room: &RoomHandle) -> Result<(), EngineError> {
        let room_ref = room.room_ref();
        let saved = room.flushed_revision.load(Ordering::Relaxed);
        let (revision, pages) = match self.queue.departed_pages(&room_ref, saved).await {
            Ok(changed) => changed,
            // A room that is being rebuilt has its pages from SQL.
            Err(_) => return Ok(()),
        };
        if !pages.is_empty() {
            self.registry.save_departed(&room_ref, pages).await?;
        }
        if room.room_ref().epoch == room_ref.epoch {
            room.flushed_revision.store(revision, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The last words of a clean stop: what departed, and that no number above
    /// the highest issued was ever given. A room that cannot say them is
    /// recovered as after a crash.
    pub async fn stop(&self) {
        for room in self.rooms.all() {
            if let Err(error) = self.stop_room(&room).await {
                tracing::warn!(room.id = %room.id, error = %error, "last words not saved");
            }
        }
    }

    async fn stop_room(&self, room: &RoomHandle) -> Result<(), EngineError> {
        if self.is_retired() {
            return Ok(());
        }
        if self.settings.is_shared {
            // Others go on with its numbers.
            return self.save_departed_of(room).await;
        }
        let room_ref = room.room_ref();
        // From here on no number is issued.
        let issued = self.queue.freeze(&room_ref).await?;
        self.save_departed_of(room).await?;
        for (lane, issued_to) in (0..).zip(issued) {
            self.registry
                .return_numbers(&room_ref, lane, issued_to)
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl SlotReleaser for Engine {
    async fn release(
        &self,
        room: &RoomId,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), EngineError> {
        let Ok(room) = self.rooms.get(room) else {
            // Nobody serves it: recovery will count its rows.
            return Ok(());
        };
        self.current(&room).await?;
        if reason == EndReason::Revoked {
            // It may wait in the queue still, or be about to get its turn.
            let row = self.registry.activation(id).await?;
            self.try_bring(&room, &row).await?;
        }
        self.with_room(&room, |room_ref| {
            Box::pin(async move { self.queue.free(&room_ref, id, reason).await })
        })
        .await?;
        room.wake();
        // The slot is free; whoever ticks next fills it if this tick fails.
        if let Err(error) = self.tick_room(&room).await {
            tracing::warn!(room.id = %room.id, error = %error, "tick failed");
        }
        Ok(())
    }

    async fn leave(
        &self,
        room: &RoomId,
        place: PlaceKey,
        user: &UserId,
    ) -> Result<(), EngineError> {
        self.leave_later(room, place, user).await
    }
}
