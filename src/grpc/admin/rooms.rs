//! Rooms: made, changed, paused, resumed, closed.

use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::Request;

use crate::domain::ids::{IdempotencyKey, RoomId, UserId};
use crate::engine::error::EngineError;
use crate::engine::rooms::RoomHandle;
use crate::proto::v1 as wire;
use crate::store::queue::QueueError;
use crate::store::rooms::RoomsError;
use crate::store::sales::{Asked, SalesError};

use super::super::decode::room::{ROOM_PATHS, codes, merge_policy, name, policy};
use super::super::decode::{self, FieldError};
use super::super::edge::{once, open};
use super::super::queue::rooms::encode_room;
use super::super::status::Refusal;
use super::Admin;

/// The same operator and key always name the same room, so a repeat finds it.
fn id_of(user: &UserId, key: &IdempotencyKey) -> Result<RoomId, FieldError> {
    let mut hash = Sha256::new();
    hash.update(user.as_str());
    hash.update([0]);
    hash.update(key.as_str());
    let digits: String = hash.finalize()[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    decode::room_id("room.id", &format!("room-{digits}"))
}

fn message(field: &'static str, given: Option<&str>) -> Result<Option<String>, FieldError> {
    given.map(|given| decode::text(field, given)).transpose()
}

fn unreadable(error: impl std::fmt::Display) -> SalesError {
    SalesError::Unavailable(error.to_string())
}

impl Admin {
    fn shown(&self, room: &Arc<RoomHandle>) -> Option<wire::Room> {
        Some(encode_room(&self.edge, &room.record()))
    }

    pub(super) async fn make_room(
        &self,
        request: Request<wire::CreateRoomRequest>,
    ) -> Result<wire::CreateRoomResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let asked = decode::required("room", message.room)?;
        let display_name = name("room.name", &asked.name)?;
        let given = decode::required("room.policy", asked.policy)?;
        let codes = codes(&given.lanes)?;
        let texts: Vec<String> = given
            .lanes
            .iter()
            .flat_map(|lane| &lane.codes)
            .cloned()
            .collect();
        let policy = policy(given)?;
        let id = id_of(&user, &key)?;
        let asked = Asked {
            once: once(&user, key),
            command: "CreateRoom",
            // Kept as a hash only.
            request: serde_json::to_vec(&(&display_name, &policy, texts)).map_err(unreadable)?,
        };
        let store = self.edge.sale.store();
        if let Some(first) = store.first_answer(asked.clone()).await? {
            return Ok(wire::CreateRoomResponse::decode(&*first).map_err(unreadable)?);
        }
        // Kept with the room, where `asked` is kept with the answer.
        let made_for = Asked {
            command: "CreateRoom.made",
            ..asked.clone()
        };
        let engine = &self.edge.engine;
        let made = engine
            .create_room(
                id.clone(),
                display_name.clone(),
                policy.clone(),
                codes,
                Some(made_for.clone()),
            )
            .await;
        let room = match made {
            Err(EngineError::Rooms(RoomsError::RoomExists)) => {
                let room = engine.rooms().get(&id)?;
                // Made, and perhaps never answered; since then it may have
                // changed. Another request is refused here.
                if store.first_answer(made_for).await?.is_none() {
                    let record = room.record();
                    if record.display_name != display_name || record.policy != policy {
                        return Err(SalesError::IdempotencyKeyReused.into());
                    }
                }
                room
            }
            made => made?,
        };
        let answer = wire::CreateRoomResponse {
            room: self.shown(&room),
        };
        let first = store.keep_answer(asked, answer.encode_to_vec()).await?;
        Ok(wire::CreateRoomResponse::decode(&*first).map_err(unreadable)?)
    }

    pub(super) async fn change_room(
        &self,
        request: Request<wire::UpdateRoomRequest>,
    ) -> Result<wire::UpdateRoomResponse, Refusal> {
        let message = request.into_inner();
        let asked = decode::required("room", message.room)?;
        let id = decode::room_id("room.id", &asked.id)?;
        let paths = decode::field_mask("update_mask", message.update_mask.as_ref(), ROOM_PATHS)?;
        let version = decode::etag("etag", &message.etag)?;
        let engine = &self.edge.engine;
        let mut record = engine.rooms().get(&id)?.record().as_ref().clone();
        record.version = version;
        if paths.contains(&"name") {
            record.display_name = name("room.name", &asked.name)?;
        }
        let mut new_codes = Vec::new();
        if paths.iter().any(|path| path.starts_with("policy")) {
            let asked = decode::required("room.policy", asked.policy)?;
            let says_lanes = !asked.lanes.is_empty();
            if paths
                .iter()
                .any(|path| ["policy", "policy.lanes"].contains(path))
            {
                new_codes = codes(&asked.lanes)?;
            }
            if paths.contains(&"policy.lanes") && !says_lanes {
                return Err(FieldError::Missing("room.policy.lanes").into());
            }
            merge_policy(&mut record.policy, policy(asked)?, &paths, says_lanes);
        }
        let room = engine.update_room(record, new_codes).await?;
        Ok(wire::UpdateRoomResponse {
            room: self.shown(&room),
        })
    }

    /// A closed room stays closed.
    fn open_room(&self, room_id: &str) -> Result<RoomId, Refusal> {
        let id = decode::room_id("room_id", room_id)?;
        if self.edge.engine.rooms().get(&id)?.record().switches.closed {
            return Err(QueueError::Closed.into());
        }
        Ok(id)
    }

    pub(super) async fn pause(
        &self,
        request: Request<wire::PauseRoomRequest>,
    ) -> Result<wire::PauseRoomResponse, Refusal> {
        let asked = request.into_inner();
        let text = message("message", asked.message.as_deref())?;
        let resumes_at = asked
            .resumes_at
            .map(|at| decode::future("resumes_at", at, self.edge.now()))
            .transpose()?;
        let id = self.open_room(&asked.room_id)?;
        let room = self.edge.engine.pause_room(&id, text, resumes_at).await?;
        Ok(wire::PauseRoomResponse {
            room: self.shown(&room),
        })
    }

    pub(super) async fn resume(
        &self,
        request: Request<wire::ResumeRoomRequest>,
    ) -> Result<wire::ResumeRoomResponse, Refusal> {
        let asked = request.into_inner();
        let text = message("message", asked.message.as_deref())?;
        let id = self.open_room(&asked.room_id)?;
        let room = self.edge.engine.resume_room(&id, text).await?;
        Ok(wire::ResumeRoomResponse {
            room: self.shown(&room),
        })
    }

    pub(super) async fn close(
        &self,
        request: Request<wire::CloseRoomRequest>,
    ) -> Result<wire::CloseRoomResponse, Refusal> {
        let asked = request.into_inner();
        let id = decode::room_id("room_id", &asked.room_id)?;
        let text = message("message", asked.message.as_deref())?;
        let room = self.edge.engine.close_room(&id, text).await?;
        Ok(wire::CloseRoomResponse {
            room: self.shown(&room),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_room_per_operator() {
        let id = |user: &str, key: &str| {
            let user = UserId::parse(user).expect("user");
            let key = IdempotencyKey::parse(key).expect("key");
            id_of(&user, &key).expect("id")
        };
        assert_eq!(id("root", "k1"), id("root", "k1"));
        assert_ne!(id("root", "k1"), id("root", "k2"));
        assert_ne!(id("root", "k1"), id("ops", "k1"));
    }
}
