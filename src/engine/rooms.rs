//! The rooms this node knows: each one's row as last read, and whether anyone
//! is in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::{Cursor, RoomId, RoomRef};
use crate::store::rooms::{RoomRecord, RoomRegistry, RoomsError};

use super::cadence::Pace;
use super::error::EngineError;

/// Ticks in a row without an answer after which streams say DEGRADED.
const UNANSWERED_MAX: u32 = 2;
/// A rebuild takes milliseconds; whoever took longer has died, or Redis has.
const REBUILDER_PATIENCE: Duration = Duration::from_secs(1);

/// One room on this node.
#[derive(Debug)]
pub struct RoomHandle {
    pub id: RoomId,
    record: RwLock<Arc<RoomRecord>>,
    /// When it needs ticks.
    pub(super) pace: Pace,
    /// As its last tick said.
    is_quiet: AtomicBool,
    /// The epoch in which it was last told how strained the sale is; 0: never,
    /// or it has been quiet since.
    steered_epoch: AtomicU64,
    /// Ticks in a row that the queue store did not answer.
    unanswered: AtomicU32,
    /// Held by whoever ticks it now.
    pub(super) ticking: tokio::sync::Mutex<()>,
    /// Asks the one who ticks for another round.
    pub(super) again: AtomicBool,
    /// Held by whoever raises a lane's reserved numbers for a join.
    pub(super) reserving: tokio::sync::Mutex<()>,
    /// Held by whoever opens it now.
    pub(super) opening: tokio::sync::Mutex<()>,
    /// Held by whoever changes its switches now.
    pub(super) switching: tokio::sync::Mutex<()>,
    /// Whether its seats are sold is being asked, or could not be.
    pub(super) unsure_if_sold_out: AtomicBool,
    /// Held by whoever rebuilds it now.
    pub(super) rebuilding: tokio::sync::Mutex<()>,
    /// Departed pages are in SQL up to this revision of the current epoch.
    pub(super) flushed_revision: AtomicU64,
    /// The newest revision of the current epoch that this node heard of.
    heard_revision: AtomicU64,
    /// Until then another node that raised the epoch may be rebuilding it.
    rebuilt_elsewhere_until: Mutex<Option<Instant>>,
}

impl RoomHandle {
    fn new(record: RoomRecord) -> Self {
        Self {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            pace: Pace::default(),
            is_quiet: AtomicBool::new(true),
            steered_epoch: AtomicU64::new(0),
            unanswered: AtomicU32::new(0),
            ticking: tokio::sync::Mutex::new(()),
            again: AtomicBool::new(false),
            reserving: tokio::sync::Mutex::new(()),
            opening: tokio::sync::Mutex::new(()),
            switching: tokio::sync::Mutex::new(()),
            unsure_if_sold_out: AtomicBool::new(false),
            rebuilding: tokio::sync::Mutex::new(()),
            flushed_revision: AtomicU64::new(0),
            heard_revision: AtomicU64::new(0),
            rebuilt_elsewhere_until: Mutex::new(None),
        }
    }

    #[must_use]
    pub fn record(&self) -> Arc<RoomRecord> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    #[must_use]
    pub fn room_ref(&self) -> RoomRef {
        RoomRef {
            id: self.id.clone(),
            epoch: self.record().epoch,
        }
    }

    /// Takes a newer row that was read; an older answer that arrives late is
    /// dropped. Whoever raised its epoch is given time to make the room.
    pub fn update(&self, record: RoomRecord) {
        if self.take(record) {
            self.give_rebuilder_time();
        }
    }

    /// The row whose epoch this node has raised itself.
    pub(super) fn update_raised(&self, record: RoomRecord) {
        self.take(record);
        *self.rebuilder() = None;
    }

    /// Whether its epoch is a newer one.
    fn take(&self, record: RoomRecord) -> bool {
        let mut current = self.record.write().unwrap_or_else(PoisonError::into_inner);
        let is_raised = record.epoch > current.epoch;
        if is_raised {
            self.flushed_revision.store(0, Ordering::Relaxed);
            self.heard_revision.store(0, Ordering::Relaxed);
        }
        if (record.epoch, record.version) >= (current.epoch, current.version) {
            *current = Arc::new(record);
        }
        is_raised
    }

    /// It needs a tick as soon as possible.
    pub fn wake(&self) {
        self.pace.wake();
    }

    pub(super) fn note_steered(&self, epoch: u64) {
        self.steered_epoch.store(epoch, Ordering::Relaxed);
    }

    pub(super) fn was_steered(&self, epoch: u64) -> bool {
        self.steered_epoch.load(Ordering::Relaxed) == epoch
    }

    pub(super) fn note_quiet(&self, is_quiet: bool) {
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
        if is_quiet {
            // What was said is forgotten meanwhile.
            self.note_steered(0);
        }
    }

    /// No live place and no slot, when it was last ticked here.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    /// A cursor of this room was heard of.
    pub(super) fn note_revision(&self, cursor: Cursor) {
        if cursor.epoch == self.record().epoch {
            self.heard_revision
                .fetch_max(cursor.revision, Ordering::Relaxed);
        }
    }

    /// Whether something happened since departed numbers were last saved.
    pub(super) fn has_news(&self) -> bool {
        self.heard_revision.load(Ordering::Relaxed) > self.flushed_revision.load(Ordering::Relaxed)
    }

    pub(super) fn note_answer(&self, was_answered: bool) {
        match was_answered {
            true => self.unanswered.store(0, Ordering::Relaxed),
            false => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The queue store was asked for it before anyone is here, and is away.
    pub(super) fn note_away(&self) {
        self.unanswered.store(UNANSWERED_MAX, Ordering::Relaxed);
    }

    /// The queue store does not answer for this room. One failure is not
    /// believed: a server may have stumbled.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= UNANSWERED_MAX
    }

    /// Another node may have raised the epoch just now: it is to make the room,
    /// for a while.
    pub(super) fn give_rebuilder_time(&self) {
        // Epoch 0 nobody has raised yet; of those who do, one wins.
        if self.record().epoch > 0 {
            let until = Instant::now() + REBUILDER_PATIENCE;
            *self.rebuilder() = Some(until);
        }
    }

    pub(super) fn is_rebuilt_elsewhere(&self) -> bool {
        self.rebuilder().is_some_and(|until| Instant::now() < until)
    }

    fn rebuilder(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rebuilt_elsewhere_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All rooms of this node.
pub struct Rooms {
    registry: Arc<dyn RoomRegistry>,
    handles: RwLock<HashMap<RoomId, Arc<RoomHandle>>>,
    /// Rooms that are no more, of which the queue may have something still; at
    /// most those that this node has let go while the queue was away.
    left_behind: Mutex<HashMap<RoomId, u64>>,
    /// Held by whoever compares SQL's mark with the queue's; the mark as this node last knew it.
    pub(super) comparing: tokio::sync::Mutex<u64>,
}

impl Rooms {
    #[must_use]
    pub fn new(registry: Arc<dyn RoomRegistry>) -> Self {
        Self {
            registry,
            handles: RwLock::default(),
            left_behind: Mutex::default(),
            comparing: tokio::sync::Mutex::default(),
        }
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// [`RoomsError::Unavailable`] when SQL is.
    pub async fn load(&self) -> Result<Vec<Arc<RoomHandle>>, RoomsError> {
        let records = self.registry.rooms().await?;
        Ok(records.into_iter().map(|record| self.put(record)).collect())
    }

    /// Notes a row that was read or written.
    pub fn put(&self, record: RoomRecord) -> Arc<RoomHandle> {
        self.put_with(record, |_| {})
    }

    /// Notes a row that another node wrote, perhaps just now: that one is given
    /// time before anything here can find the room missing.
    pub(super) fn put_of_another(&self, record: RoomRecord) -> Arc<RoomHandle> {
        self.put_with(record, RoomHandle::give_rebuilder_time)
    }

    fn put_with(&self, record: RoomRecord, begin: impl FnOnce(&RoomHandle)) -> Arc<RoomHandle> {
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&record.id) {
            handle.update(record);
            return Arc::clone(handle);
        }
        let handle = Arc::new(RoomHandle::new(record));
        begin(&handle);
        handles.insert(handle.id.clone(), Arc::clone(&handle));
        handle
    }

    /// # Errors
    /// [`EngineError::UnknownRoom`] for an id that this node never saw.
    pub fn get(&self, id: &RoomId) -> Result<Arc<RoomHandle>, EngineError> {
        self.handles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
            .ok_or_else(|| EngineError::UnknownRoom(id.clone()))
    }

    /// Drops a room that is no more, unless its id is another one's by now.
    pub(super) fn remove(&self, room: &Arc<RoomHandle>) {
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = handles.get(&room.id)
            && Arc::ptr_eq(there, room)
        {
            handles.remove(&room.id);
        }
    }

    pub(super) fn leave_behind(&self, room: RoomRef) {
        self.behind().insert(room.id, room.epoch);
    }

    pub(super) fn left_behind(&self) -> Vec<RoomRef> {
        let of = |(id, &epoch): (&RoomId, &u64)| RoomRef {
            id: id.clone(),
            epoch,
        };
        self.behind().iter().map(of).collect()
    }

    pub(super) fn note_swept(&self, room: &RoomRef) {
        let mut behind = self.behind();
        if behind.get(&room.id) == Some(&room.epoch) {
            behind.remove(&room.id);
        }
    }

    fn behind(&self) -> MutexGuard<'_, HashMap<RoomId, u64>> {
        self.left_behind
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// All rooms, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<RoomHandle>> {
        let mut handles: Vec<_> = self
            .handles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        handles.sort_by(|a, b| a.id.cmp(&b.id));
        handles
    }
}
