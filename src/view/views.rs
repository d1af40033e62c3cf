//! All rooms a node follows, readable from any thread.
//!
//! A reader takes one uncontended read lock; the follower takes the write lock
//! for the microseconds of a delta. Nothing is awaited under either.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::ids::{Cursor, PlaceKey, RoomId, RoomRef};

use super::room::{Changes, RoomView};

/// Who wants to know what changed in a view. Called by the follower, after the
/// view has changed and without its lock; must not wait.
pub trait ViewListener: Send + Sync + 'static {
    fn changed(&self, room: &Arc<ViewCell>, changes: &Changes);

    /// The store does not have the room in this epoch.
    fn must_recover(&self, room: &RoomRef);
}

/// One room's view, once there is one.
#[derive(Debug)]
pub struct ViewCell {
    room: RoomId,
    view: RwLock<Option<RoomView>>,
}

impl ViewCell {
    #[must_use]
    pub fn room(&self) -> &RoomId {
        &self.room
    }

    /// Reads the view under its lock; `None`: no snapshot was read yet.
    pub fn read<T>(&self, look: impl FnOnce(Option<&RoomView>) -> T) -> T {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        look(view.as_ref())
    }

    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.read(|view| view.map(RoomView::cursor))
    }

    #[must_use]
    pub fn position(&self, place: PlaceKey) -> Option<u64> {
        self.read(|view| view.map(|view| view.position(place)))
    }

    /// [`RoomView::observe`], if there is a view.
    pub fn observe(&self, now_ms: u64, is_believed: bool) {
        self.write(|view| {
            if let Some(view) = view {
                view.observe(now_ms, is_believed);
            }
        });
    }

    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Option<RoomView>) -> T) -> T {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut view)
    }
}

/// Cells are made on demand and stay as long as their room: one that is followed again fills the
/// same cell, so whoever holds it goes on reading.
#[derive(Debug, Default)]
pub struct Views {
    rooms: RwLock<HashMap<RoomId, Arc<ViewCell>>>,
}

impl Views {
    #[must_use]
    pub fn get(&self, room: &RoomId) -> Option<Arc<ViewCell>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).cloned()
    }

    /// All cells, those still empty among them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ViewCell>> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.values().cloned().collect()
    }

    /// Drops the cell of a room that is no more.
    pub fn remove(&self, room: &RoomId) {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.remove(room);
    }

    /// The cell of a room, made empty if it is new.
    pub fn cell(&self, room: &RoomId) -> Arc<ViewCell> {
        if let Some(cell) = self.get(room) {
            return cell;
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let cell = rooms.entry(room.clone()).or_insert_with(|| {
            Arc::new(ViewCell {
                room: room.clone(),
                view: RwLock::new(None),
            })
        });
        Arc::clone(cell)
    }
}
