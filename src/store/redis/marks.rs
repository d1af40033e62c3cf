//! What Redis knows of SQL's life, and of a room whatever its epoch: read with
//! plain commands, since they change nothing and decide nothing alone.

use std::collections::HashMap;

use crate::domain::ids::RoomId;
use crate::redis_link::LinkError;
use crate::store::queue::{KeptRoom, QueueError};

use super::keys;
use super::link::{Link, unexpected};

impl Link {
    pub(super) async fn kept(&self, room: &RoomId) -> Result<Option<KeptRoom>, QueueError> {
        let mut all = redis::cmd("HGETALL");
        all.arg(keys::room_key(room));
        let fields = self.client.query(room.as_str(), &all).await;
        let fields: HashMap<String, String> = fields.map_err(unavailable)?;
        if !fields.contains_key("epoch") {
            return Ok(None);
        }
        let number = |field: &str| {
            let text = fields.get(field);
            let number = text.and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| unexpected(&(field, text)))
        };
        // One that is being made may not have them all yet.
        let lanes = (0..).map_while(|lane: u32| {
            let field = format!("reserved{lane}");
            fields.contains_key(&field).then(|| number(&field))
        });
        Ok(Some(KeptRoom {
            epoch: number("epoch")?,
            reserved_to: lanes.collect::<Result<_, _>>()?,
        }))
    }

    pub(super) async fn mark(&self) -> Result<u64, QueueError> {
        let mut get = redis::cmd("GET");
        get.arg(keys::MARK);
        let mark = self.client.query(keys::MARK_TAG, &get).await;
        let mark: Option<u64> = mark.map_err(unavailable)?;
        Ok(mark.unwrap_or(0))
    }

    /// Of two nodes the later one stays, be it the lower: both are SQL's.
    pub(super) async fn leave_mark(&self, mark: u64) -> Result<(), QueueError> {
        let mut set = redis::cmd("SET");
        set.arg(keys::MARK).arg(mark);
        let left = self.client.query(keys::MARK_TAG, &set).await;
        left.map_err(unavailable)
    }
}

fn unavailable(error: LinkError) -> QueueError {
    match &error {
        LinkError::Unavailable(_) | LinkError::Overloaded => {}
        LinkError::Refused { .. } | LinkError::Unexpected(_) => {
            tracing::error!(error = %error, "queue could not be asked");
        }
    }
    QueueError::Unavailable
}
