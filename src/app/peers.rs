//! What a node does because there are others, and because its stores may be
//! away while it is not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::RoomId;
use crate::engine::peers::REREAD_MS;

use super::StartError;
use super::node::Node;

/// Streams must say within 2 s that a store is away, and finding out takes
/// nearly as long.
const SHOW_OUTAGES_MS: u64 = 100;

impl Node {
    /// Rooms that others make, change and fill.
    pub(super) async fn start_hearing_rooms(&self) -> Result<(), StartError> {
        let bus = self.bus.subscribe().await;
        let mut bus = bus.map_err(|error| StartError::Store {
            why: error.to_string(),
        })?;
        let engine = Arc::clone(&self.engine);
        self.spawn("rooms", async move {
            while let Some(event) = bus.next().await {
                engine.heard(event).await;
            }
        });
        let engine = Arc::clone(&self.engine);
        let period = Duration::from_millis(REREAD_MS);
        self.every("read rooms", period, move || {
            let engine = Arc::clone(&engine);
            async move {
                if let Err(error) = engine.compare_marks().await {
                    tracing::warn!(error = %error, "marks not compared");
                }
                if let Err(error) = engine.reread_all().await {
                    tracing::warn!(error = %error, "rooms not read");
                }
            }
        });
        Ok(())
    }

    /// Streams of a room say DEGRADED while SQL or its queue is away.
    pub(super) fn start_showing_outages(&self) {
        let (engine, hub) = (Arc::clone(&self.engine), Arc::clone(&self.hub));
        let period = Duration::from_millis(SHOW_OUTAGES_MS);
        let mut shown: HashSet<RoomId> = HashSet::new();
        self.every("outages", period, move || {
            shown.retain(|room| engine.rooms().get(room).is_ok());
            for room in engine.rooms().all() {
                let is_degraded = engine.is_degraded() || room.is_away();
                let has_changed = match is_degraded {
                    true => shown.insert(room.id.clone()),
                    false => shown.remove(&room.id),
                };
                if has_changed {
                    hub.set_degraded(&room.id, is_degraded);
                }
            }
            std::future::ready(())
        });
    }
}
