//! The draws of rooms as this node knows them.
//!
//! Scripts cannot permute, so whoever shows a number says its order, and which
//! draw that order follows. A script that has to know, and sees another draw,
//! answers with the right one; it is kept here and the step asked again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::delta::DrawOrder;
use crate::domain::draw::Permutation;
use crate::domain::ids::{LaneIndex, PlaceKey, RoomId};
use crate::store::queue::QueueError;

use super::delta;
use super::link::{Args, unexpected};

/// A lane's draw, ready to compute with.
pub(super) struct Drawn {
    pub text: String,
    pub permutation: Permutation,
}

impl Drawn {
    pub(super) fn new(draw: &DrawOrder) -> Arc<Self> {
        Arc::new(Self {
            text: delta::draw_text(draw),
            permutation: Permutation::new(&draw.seed, draw.n),
        })
    }
}

#[derive(Default)]
pub(super) struct Draws(Mutex<HashMap<(RoomId, LaneIndex), Arc<Drawn>>>);

impl Draws {
    pub(super) fn keep(&self, room: &RoomId, lane: LaneIndex, drawn: Arc<Drawn>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((room.clone(), lane), drawn);
    }

    /// Keeps a draw that a script answered.
    pub(super) fn learn(
        &self,
        room: &RoomId,
        lane: LaneIndex,
        text: &str,
    ) -> Result<(), QueueError> {
        let draw = delta::draw_of_text(text).map_err(|error| unexpected(&error))?;
        self.keep(room, lane, Drawn::new(&draw));
        Ok(())
    }

    pub(super) fn forget(&self, room: &RoomId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _), _| of != room);
    }

    fn get(&self, room: &RoomId, lane: LaneIndex) -> Option<Arc<Drawn>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(room.clone(), lane)).cloned()
    }

    /// Says the order of a number, and the draw it follows.
    pub(super) fn push_order(&self, room: &RoomId, place: PlaceKey, args: &mut Args) {
        match self.get(room, place.lane) {
            Some(drawn) => {
                args.push_number(drawn.permutation.order(place.number));
                args.push(&drawn.text);
            }
            None => {
                args.push_number(place.number);
                args.push("");
            }
        }
    }
}
