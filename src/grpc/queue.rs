//! The waiting room: join, look, claim, leave, and the rooms themselves.

use std::sync::Arc;

use tonic::Request;

use crate::domain::access::ShownCode;
use crate::domain::ids::{RoomId, UserId};
use crate::engine::error::EngineError;
use crate::keys::place::PlaceClaims;
use crate::proto::v1 as wire;
use crate::store::queue::Taken;

use super::decode;
use super::edge::{Edge, caller, open};
use super::encode;
use super::status::Refusal;

pub mod place;
pub mod rooms;
mod service;
pub mod watch;

/// Of a node and the database. No room is forgotten sooner.
const CLOCKS_DIFFER_MAX_MS: u64 = 30_000;

/// Serves `QueueService`.
#[derive(Clone)]
pub struct Queue {
    edge: Arc<Edge>,
}

impl Queue {
    #[must_use]
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// A request about the caller's place: who asks, what, and what the place
    /// token says, once the user token was good enough for its room.
    fn open_place<T>(
        &self,
        request: Request<T>,
        token: impl Fn(&T) -> &str,
    ) -> Result<(UserId, T, PlaceClaims), Refusal> {
        let caller = caller(&request)?.clone();
        let message = request.into_inner();
        let claims = self.read_token(token(&message), &caller.user)?;
        if self.is_of_former_room(&claims) {
            return Err(EngineError::UnknownRoom(claims.room).into());
        }
        self.edge.require_claims(&caller, &claims.room)?;
        Ok((caller.user, message, claims))
    }

    /// What a place token of this caller says.
    fn read_token(&self, token: &str, user: &UserId) -> Result<PlaceClaims, Refusal> {
        if token.is_empty() {
            return Err(decode::FieldError::Missing("place_token").into());
        }
        Ok(self.edge.keys.current().places.verify(token, user)?)
    }

    /// A room that was forgotten leaves its id to another, but not its places.
    fn is_of_former_room(&self, claims: &PlaceClaims) -> bool {
        let room = self.edge.engine.rooms().get(&claims.room);
        room.is_ok_and(|room| {
            let signed_by = claims.issued_at.plus_ms(CLOCKS_DIFFER_MAX_MS);
            signed_by < room.record().created_at
        })
    }

    fn sign_token(&self, room: &RoomId, taken: &Taken) -> String {
        self.edge.keys.current().places.sign(&PlaceClaims {
            room: room.clone(),
            place: taken.place.key,
            user: taken.place.user.clone(),
            issued_at: self.edge.now(),
        })
    }

    async fn take_place(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<wire::JoinResponse, Refusal> {
        let caller = caller(&request)?.clone();
        let message = request.into_inner();
        let room = decode::room_id("room_id", &message.room_id)?;
        let code = message.access_code.filter(|code| !code.is_empty());
        let code = code.map(ShownCode::new);
        let presented = match message.place_token.as_deref() {
            None | Some("") => None,
            Some(token) => Some(self.read_token(token, &caller.user)?)
                // A token of another room says nothing about this one.
                .filter(|claims| claims.room == room && !self.is_of_former_room(claims))
                .map(|claims| claims.place),
        };
        let record = self.edge.engine.rooms().get(&room)?.record();
        self.edge.require_claims(&caller, &room)?;
        let taken = self
            .edge
            .engine
            .join(&room, &caller.user, presented, code.as_ref())
            .await?;
        Ok(wire::JoinResponse {
            place_token: self.sign_token(&room, &taken),
            place: Some(place::encode_place(&self.edge, &record, &taken)),
        })
    }

    async fn show_place(
        &self,
        request: Request<wire::GetPlaceRequest>,
    ) -> Result<wire::GetPlaceResponse, Refusal> {
        let (user, _, claims) = self.open_place(request, |message| &message.place_token)?;
        let record = self.edge.engine.rooms().get(&claims.room)?.record();
        let taken = self
            .edge
            .engine
            .place(&claims.room, &user, claims.place)
            .await?;
        let token = taken
            .needs_token
            .then(|| self.sign_token(&claims.room, &taken));
        Ok(wire::GetPlaceResponse {
            place: Some(place::encode_place(&self.edge, &record, &taken)),
            poll_after: Some(encode::duration(self.edge.settings.poll_after_ms)),
            place_token: token,
        })
    }

    async fn claim_turn(
        &self,
        request: Request<wire::ClaimRequest>,
    ) -> Result<wire::ClaimResponse, Refusal> {
        let (user, _, claims) = self.open_place(request, |message| &message.place_token)?;
        let row = self
            .edge
            .engine
            .claim(&claims.room, &user, claims.place)
            .await?;
        let pass = place::pass_of(&row).ok_or(EngineError::PassEnded)?;
        Ok(wire::ClaimResponse {
            expire_time: Some(encode::timestamp(pass.expire_time)),
            pass: self
                .edge
                .keys
                .current()
                .passes
                .issue(&pass)
                .as_ref()
                .to_owned(),
        })
    }

    /// Whoever holds the place may give it back, whatever its room requires by
    /// now.
    async fn leave_place(
        &self,
        request: Request<wire::LeaveRequest>,
    ) -> Result<wire::LeaveResponse, Refusal> {
        let (user, message) = open(request)?;
        let claims = self.read_token(&message.place_token, &user)?;
        self.edge
            .engine
            .leave(&claims.room, &user, claims.place)
            .await?;
        Ok(wire::LeaveResponse {})
    }
}
