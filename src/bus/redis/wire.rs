//! What nodes write on their channel, as JSON.

use serde::{Deserialize, Serialize};

use crate::bus::BusMessage;
use crate::domain::delta::RoomDelta;
use crate::domain::ids::{ResourceId, RoomId};

/// The tag of the nodes' channel.
pub(super) const NODES_TAG: &str = "nodes";
/// Where every node listens.
pub(super) const NODES_CHANNEL: &str = "usher:{nodes}";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wire {
    pub(super) origin: u64,
    pub(super) said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Delta {
        room: RoomId,
        delta: Box<RoomDelta>,
    },
    Seats {
        performance: ResourceId,
    },
    CatalogChanged,
    SoldOutTurned {
        concert: ResourceId,
        mark: u64,
    },
    RoomChanged {
        room: RoomId,
    },
    CampaignChanged {
        campaign: ResourceId,
    },
    /// Messages before this one were not sent.
    Lost,
}

impl Wire {
    pub(super) fn of(origin: u64, message: &BusMessage) -> Self {
        let said = match message.clone() {
            BusMessage::Room(room, delta) => Said::Delta {
                room,
                delta: Box::new(delta.as_ref().clone()),
            },
            BusMessage::Seats { performance } => Said::Seats { performance },
            BusMessage::CatalogChanged => Said::CatalogChanged,
            BusMessage::SoldOutTurned { concert, mark } => Said::SoldOutTurned { concert, mark },
            BusMessage::RoomChanged(room) => Said::RoomChanged { room },
            BusMessage::CampaignChanged { campaign } => Said::CampaignChanged { campaign },
        };
        Self { origin, said }
    }

    pub(super) fn encode(&self) -> String {
        // Strings, numbers and lists: nothing that JSON cannot say. If it could
        // not, the readers would take the empty text for a gap.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
