//! The moments at which a room changes by the clock: it opens, a pause ends, it
//! closes.
//!
//! A DRAW opens in this order, so that nobody can be told an order that a
//! crash would change: numbers are frozen, N goes to SQL, then the queue opens
//! with the permutation that follows from it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::domain::place::RoomSwitches;
use crate::domain::policy::ServingOrder;
use crate::store::queue::LaneOpening;
use crate::store::rooms::{RoomRecord, RoomsError};
use crate::truth::failpoint::Point;

use super::error::EngineError;
use super::recovery::lane_openings;
use super::rooms::RoomHandle;
use super::ticker::Engine;

impl Engine {
    /// Whether the clock asks something of a room.
    pub(super) fn is_due_to_change(&self, room: &RoomHandle) -> bool {
        let record = room.record();
        self.must_open(&record)
            || self.must_close(&record)
            || record.switches.is_resume_due(self.clock.now())
    }

    fn must_open(&self, room: &RoomRecord) -> bool {
        let is_time = room
            .policy
            .opens_at
            .is_none_or(|opens_at| self.clock.now() >= opens_at);
        is_time && !room.switches.opened && !room.switches.closed && !awaits_beacon(room)
    }

    fn must_close(&self, room: &RoomRecord) -> bool {
        let is_time = room
            .policy
            .closes_at
            .is_some_and(|closes_at| self.clock.now() >= closes_at);
        is_time && !room.switches.closed
    }

    pub(super) async fn change_if_due(&self, room: &RoomHandle) -> Result<(), EngineError> {
        let record = room.record();
        if self.must_open(&record) {
            self.open(room).await?;
        }
        // Asked again by whoever switches: an operator may have been first.
        if record.switches.is_resume_due(self.clock.now()) {
            self.switch(room, |switches| switches.resume_if_due(self.clock.now()))
                .await?;
            tracing::info!(room.id = %room.id, "pause ended");
        }
        if self.must_close(&record) {
            self.switch(room, |switches| switches.closed = true).await?;
        }
        Ok(())
    }

    /// Opens a room: idempotent, and done by one at a time on this node.
    async fn open(&self, room: &RoomHandle) -> Result<(), EngineError> {
        let _one_at_a_time = room.opening.lock().await;
        if !self.must_open(&room.record()) {
            return Ok(());
        }
        let room_ref = room.room_ref();
        if room.record().policy.order == ServingOrder::Draw {
            let n = self
                .with_room(room, |room_ref| {
                    Box::pin(async move { self.queue.freeze(&room_ref).await })
                })
                .await?;
            self.registry.fix_draw(&room_ref, n).await?;
            room.update(self.registry.room(&room.id).await?);
            self.announce(&room.id);
        }
        let awaits_beacon = openings_of(&room.record())
            .iter()
            .any(|opening| matches!(opening, LaneOpening::AwaitBeacon { .. }));
        if !awaits_beacon {
            let _one_at_a_time = room.switching.lock().await;
            self.store_switches(room, |switches| switches.opened = true)
                .await?;
        }
        self.failpoints.hit(Point::RowChanged).await?;
        self.open_queue(room).await?;
        self.configure_queue(room).await?;
        tracing::info!(room.id = %room.id, "room opened");
        Ok(())
    }

    /// Changes switches in SQL, then tells the queue. One at a time per room,
    /// so that the queue hears of them in SQL's order.
    pub(super) async fn switch(
        &self,
        room: &RoomHandle,
        change: impl Fn(&mut RoomSwitches) + Send,
    ) -> Result<(), EngineError> {
        let _one_at_a_time = room.switching.lock().await;
        self.store_switches(room, change).await?;
        self.failpoints.hit(Point::RowChanged).await?;
        self.configure_queue(room).await
    }

    /// The queue does as the row says. Should this fail, the next tick finds
    /// that it does not.
    pub(super) async fn configure_queue(&self, room: &RoomHandle) -> Result<(), EngineError> {
        room.wake();
        let record = room.record();
        let policy = &Arc::new(record.policy.clone());
        let (version, switches) = (record.version, &record.switches);
        self.with_room(room, |room_ref| {
            Box::pin(async move {
                self.queue
                    .configure(&room_ref, version, Arc::clone(policy), switches.clone())
                    .await
            })
        })
        .await?;
        room.wake();
        Ok(())
    }

    /// A tick answered by which row the room is configured. Behind this node's:
    /// whoever wrote that died before the queue heard, or is about to tell it;
    /// ahead: another node's row was not read here yet.
    pub(super) async fn follow_version(
        &self,
        room: &RoomHandle,
        version: u64,
    ) -> Result<(), EngineError> {
        let record = room.record();
        match version.cmp(&record.version) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => {
                room.update(self.registry.room(&room.id).await?);
                Ok(())
            }
            Ordering::Less => {
                tracing::info!(room.id = %room.id, room.version = record.version, "room brought up to its row");
                // A draw that is fixed and not open yet is opened by the clock.
                if record.switches.opened || awaits_beacon(&record) {
                    self.open_queue(room).await?;
                }
                self.configure_queue(room).await
            }
        }
    }

    /// The queue opens the room as the row says. Idempotent.
    async fn open_queue(&self, room: &RoomHandle) -> Result<(), EngineError> {
        let openings = &openings_of(&room.record());
        self.with_room(room, |room_ref| {
            Box::pin(async move { self.queue.open(&room_ref, openings.clone()).await })
        })
        .await
    }

    /// Changes the switches of whatever version the row has now: they are set
    /// by the clock and by sales, not by someone who read an etag.
    pub(super) async fn store_switches(
        &self,
        room: &RoomHandle,
        change: impl Fn(&mut RoomSwitches) + Send,
    ) -> Result<(), EngineError> {
        const ATTEMPTS_MAX: u32 = 5;
        for _attempt in 0..ATTEMPTS_MAX {
            let current = room.record();
            let mut next = current.as_ref().clone();
            change(&mut next.switches);
            if next.switches == current.switches {
                return Ok(());
            }
            match self.registry.update_room(next).await {
                Err(RoomsError::EtagMismatch) => {
                    room.update(self.registry.room(&room.id).await?);
                }
                record => {
                    room.update(record?);
                    self.announce(&room.id);
                    return Ok(());
                }
            }
        }
        Err(RoomsError::EtagMismatch.into())
    }
}

fn openings_of(room: &RoomRecord) -> Vec<LaneOpening> {
    let openings = lane_openings(room).into_iter();
    openings
        .map(|opening| opening.unwrap_or(LaneOpening::Fifo))
        .collect()
}

/// Its N is fixed, its beacon's value is not known.
fn awaits_beacon(room: &RoomRecord) -> bool {
    let is_fixed = room
        .draw
        .as_ref()
        .is_some_and(|draw| !draw.participants.is_empty());
    let has_value = room
        .policy
        .draw_beacon
        .as_ref()
        .is_none_or(|beacon| beacon.value.is_some());
    is_fixed && !has_value
}

#[cfg(test)]
mod tests;
