//! First and last streams, told to the queue until it has heard.
//!
//! What could not be told is kept: for an absence its place, for a presence
//! only the room, since the hub knows all places with streams. Absences go
//! first: whoever is back by now is among the present.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{PlaceKey, RoomId, UserId};
use crate::engine::error::EngineError;
use crate::engine::ticker::{Engine, OpenStreams as _};
use crate::fanout::Hub;

/// The room was forgotten: nobody is to hear of it.
fn is_no_more(error: &EngineError) -> bool {
    matches!(error, EngineError::UnknownRoom(_))
}

type Places = HashMap<RoomId, Vec<(PlaceKey, UserId)>>;

/// What the queue has still to hear.
#[derive(Default)]
pub(super) struct Unsaid(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// At most the places that had a stream here.
    absent: HashMap<RoomId, HashMap<PlaceKey, UserId>>,
    present: HashSet<RoomId>,
}

impl Unsaid {
    pub(super) async fn say(
        &self,
        engine: &Arc<Engine>,
        hub: &Arc<Hub>,
        mut present: Places,
        mut absent: Places,
    ) {
        self.take(hub, &mut present, &mut absent);
        for (room, places) in absent {
            if let Err(error) = engine.streams_ended(&room, places.clone()).await
                && !is_no_more(&error)
            {
                tracing::debug!(room.id = %room, error = %error, "absence not told yet");
                self.kept().absent.entry(room).or_default().extend(places);
            }
        }
        for (room, places) in present {
            if let Err(error) = engine.streams_opened(&room, places).await
                && !is_no_more(&error)
            {
                tracing::debug!(room.id = %room, error = %error, "presence not told yet");
                self.kept().present.insert(room);
            }
        }
    }

    /// Adds what was kept to what is new.
    fn take(&self, hub: &Arc<Hub>, present: &mut Places, absent: &mut Places) {
        let kept = std::mem::take(&mut *self.kept());
        for (room, places) in kept.absent {
            absent.entry(room).or_default().extend(places);
        }
        for room in kept.present {
            let places = hub.places(&room);
            present.insert(room, places);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
