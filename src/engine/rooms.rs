//! The rooms this node knows: each one's row as last read, and whether anyone
//! is in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{RoomId, RoomRef};
use crate::store::rooms::{RoomRecord, RoomRegistry, RoomsError};

use super::error::EngineError;

/// One room on this node.
#[derive(Debug)]
pub struct RoomHandle {
    pub id: RoomId,
    record: RwLock<Arc<RoomRecord>>,
    /// Someone is in it: it needs ticks.
    awake: AtomicBool,
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
}

impl RoomHandle {
    fn new(record: RoomRecord) -> Self {
        Self {
            id: record.id.clone(),
            record: RwLock::new(Arc::new(record)),
            awake: AtomicBool::new(false),
            ticking: tokio::sync::Mutex::new(()),
            again: AtomicBool::new(false),
            reserving: tokio::sync::Mutex::new(()),
            opening: tokio::sync::Mutex::new(()),
            switching: tokio::sync::Mutex::new(()),
            unsure_if_sold_out: AtomicBool::new(false),
            rebuilding: tokio::sync::Mutex::new(()),
            flushed_revision: AtomicU64::new(0),
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

    /// Takes a newer row; an older answer that arrives late is dropped.
    pub fn update(&self, record: RoomRecord) {
        let mut current = self.record.write().unwrap_or_else(PoisonError::into_inner);
        if record.epoch > current.epoch {
            self.flushed_revision.store(0, Ordering::Relaxed);
        }
        if (record.epoch, record.version) >= (current.epoch, current.version) {
            *current = Arc::new(record);
        }
    }

    pub fn wake(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// Clears the mark **before** the tick that decides whether it is set
    /// again, so that a join during the tick is not forgotten.
    pub(super) fn begin_tick(&self) {
        self.awake.store(false, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.awake.load(Ordering::SeqCst)
    }
}

/// All rooms of this node.
pub struct Rooms {
    registry: Arc<dyn RoomRegistry>,
    handles: RwLock<HashMap<RoomId, Arc<RoomHandle>>>,
}

impl Rooms {
    #[must_use]
    pub fn new(registry: Arc<dyn RoomRegistry>) -> Self {
        Self {
            registry,
            handles: RwLock::default(),
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
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&record.id) {
            handle.update(record);
            return Arc::clone(handle);
        }
        let handle = Arc::new(RoomHandle::new(record));
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
