//! Rooms as anyone may read them.

use std::cmp::Reverse;

use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;
use crate::store::rooms::RoomRecord;

use super::super::decode;
use super::super::edge::Edge;
use super::super::encode::place::wait;
use super::super::encode::{self, room, timestamp};
use super::super::status::{EdgeError, Refusal};
use super::Queue;
use crate::keys::page::PageTokenError;

/// A room with its state as this node shows it.
#[must_use]
pub fn encode_room(edge: &Edge, record: &RoomRecord) -> wire::Room {
    let cell = edge.views.get(&record.id);
    let is_followed = cell.as_ref().is_some_and(|cell| cell.cursor().is_some());
    let state = match encode::room_state(record.switches.state()) {
        wire::RoomState::Closed => wire::RoomState::Closed,
        _ if edge.engine.is_degraded() || !is_followed => wire::RoomState::Degraded,
        state => state,
    };
    let lane_status = |(index, lane): (usize, &crate::domain::policy::LanePolicy)| {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let (total, estimate) = cell
            .as_ref()
            .and_then(|cell| {
                cell.read(|view| {
                    let view = view?;
                    let total = view.waiting_total(index);
                    Some((total, view.estimate(index, total + 1)))
                })
            })
            .unwrap_or((0, None));
        wire::LaneStatus {
            lane: lane.name.clone(),
            waiting_total: total,
            estimated_wait: estimate.map(wait),
        }
    };
    wire::Room {
        id: record.id.as_str().to_owned(),
        name: record.display_name.clone(),
        state: state.into(),
        policy: Some(room::policy(&record.policy)),
        opens_at: record.policy.opens_at.map(timestamp),
        lanes: record
            .policy
            .lanes
            .iter()
            .enumerate()
            .map(lane_status)
            .collect(),
        draw: room::draw(record),
        resumes_at: record.switches.pause_ends_at().map(timestamp),
        message: record.switches.message.clone(),
        etag: record.version.to_string(),
        as_of: Some(timestamp(edge.now())),
    }
}

/// Those that open or opened last first: the key of the list's order.
fn list_key(record: &RoomRecord) -> (Reverse<u64>, &str) {
    let opens_at = record.policy.opens_at.unwrap_or(UnixMs(0));
    (Reverse(opens_at.0), record.id.as_str())
}

/// Where a list goes on: behind this opening time and id.
fn parse_position(position: &[u8]) -> Option<(Reverse<u64>, String)> {
    let text = std::str::from_utf8(position).ok()?;
    let (opens_at, id) = text.split_once(':')?;
    Some((Reverse(opens_at.parse().ok()?), id.to_owned()))
}

impl Queue {
    pub(super) fn show_room(
        &self,
        message: &wire::GetRoomRequest,
    ) -> Result<wire::GetRoomResponse, Refusal> {
        let id = decode::room_id("room_id", &message.room_id)?;
        let record = self.edge.engine.rooms().get(&id)?.record();
        Ok(wire::GetRoomResponse {
            room: Some(encode_room(&self.edge, &record)),
        })
    }

    pub(super) fn show_rooms(
        &self,
        message: &wire::ListRoomsRequest,
    ) -> Result<wire::ListRoomsResponse, Refusal> {
        const SCOPE: [&str; 1] = ["ListRooms"];
        let keys = self.edge.keys.current();
        let pages = &keys.pages;
        let after = match message.page_token.as_str() {
            "" => None,
            token => {
                let position = pages.verify(&SCOPE, token, self.edge.now())?;
                Some(parse_position(&position).ok_or(EdgeError::PageToken(PageTokenError))?)
            }
        };
        let mut records: Vec<_> = self
            .edge
            .engine
            .rooms()
            .all()
            .iter()
            .map(|room| room.record())
            .collect();
        records.sort_by(|a, b| list_key(a).cmp(&list_key(b)));
        if let Some((opens_at, id)) = &after {
            records.retain(|record| list_key(record) > (*opens_at, id.as_str()));
        }
        let size = usize::try_from(decode::page_items(message.page_size)).unwrap_or(usize::MAX);
        let has_more = records.len() > size;
        records.truncate(size);
        let next = records.last().filter(|_| has_more).map(|last| {
            let (Reverse(opens_at), id) = list_key(last);
            let position = format!("{opens_at}:{id}");
            pages.sign(&SCOPE, position.as_bytes(), self.edge.now())
        });
        Ok(wire::ListRoomsResponse {
            rooms: records
                .iter()
                .map(|record| encode_room(&self.edge, record))
                .collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    pub(super) fn public_keys(&self) -> wire::GetPublicKeysResponse {
        let keys = self.edge.keys.current().passes.published();
        wire::GetPublicKeysResponse {
            keys: keys
                .into_iter()
                .map(|key| wire::PublicKey {
                    kid: key.kid,
                    kty: key.kty.to_owned(),
                    crv: key.crv.to_owned(),
                    alg: key.alg.to_owned(),
                    r#use: key.r#use.to_owned(),
                    x: key.x,
                })
                .collect(),
        }
    }
}
