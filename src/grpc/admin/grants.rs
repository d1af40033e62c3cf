//! One user's turn, as an operator decides: granted, or revoked.
//!
//! The effect keeps the request under the row's id, in its own transaction; the
//! answer is kept behind it. So a repeat finds the answer, or the row from
//! which it is made.

use prost::Message;
use tonic::Request;

use crate::domain::ids::{ActivationId, IdempotencyKey, PlaceKey, UserId};
use crate::domain::place::{Place, Standing};
use crate::engine::error::EngineError;
use crate::engine::grants::AboutUser;
use crate::proto::v1 as wire;
use crate::store::queue::Taken;
use crate::store::rooms::ActivationRow;
use crate::store::sales::{Asked, SalesError};

use super::super::decode::{self, FieldError};
use super::super::edge::{once, open};
use super::super::queue::place::encode_place;
use super::super::status::Refusal;
use super::Admin;

/// A pass lasts as long as a policy may say.
const TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;

fn unreadable(error: impl std::fmt::Display) -> SalesError {
    SalesError::Unavailable(error.to_string())
}

/// What both commands say.
struct Command {
    about: AboutUser,
    /// Under which the answer is kept; [`AboutUser::asked`] is that of the
    /// effect.
    answered: Asked,
}

impl Command {
    fn read(
        names: [&'static str; 2],
        operator: &UserId,
        (room_id, user_id, reason, key): (&str, &str, &str, &str),
        ttl_ms: Option<u64>,
    ) -> Result<Self, Refusal> {
        let room = decode::room_id("room_id", room_id)?;
        let user = decode::user_id("user_id", user_id)?;
        let reason = decode::reason("reason", reason)?;
        let key: IdempotencyKey = decode::idempotency_key("idempotency_key", key)?;
        let request = serde_json::to_vec(&(&room, &user, &reason, ttl_ms)).map_err(unreadable)?;
        let [command, effect] = names;
        let answered = Asked {
            once: once(operator, key),
            command,
            request,
        };
        let asked = Asked {
            command: effect,
            ..answered.clone()
        };
        Ok(Self {
            about: AboutUser {
                room,
                user,
                reason,
                asked,
            },
            answered,
        })
    }
}

fn row_id(kept: &[u8]) -> Option<ActivationId> {
    let text = std::str::from_utf8(kept).ok()?;
    text.parse().ok().map(ActivationId)
}

impl Admin {
    /// The answer first given, else the row that the effect left.
    async fn before<T: Message + Default>(
        &self,
        command: &Command,
    ) -> Result<Option<Before<T>>, Refusal> {
        let store = self.edge.sale.store();
        if let Some(first) = store.first_answer(command.answered.clone()).await? {
            let answer = T::decode(&*first).map_err(unreadable)?;
            return Ok(Some(Before::Answer(answer)));
        }
        let effect = store.first_answer(command.about.asked.clone()).await?;
        let Some(kept) = effect else {
            return Ok(None);
        };
        let id = row_id(&kept).ok_or_else(|| unreadable("an effect without a row"))?;
        let row = self.edge.engine.decided(&command.about.room, id).await?;
        Ok(Some(Before::Row(row)))
    }

    async fn keep<T: Message + Default>(&self, command: Command, answer: T) -> Result<T, Refusal> {
        let store = self.edge.sale.store();
        let bytes = answer.encode_to_vec();
        let first = store.keep_answer(command.answered, bytes).await?;
        Ok(T::decode(&*first).map_err(unreadable)?)
    }

    fn place(
        &self,
        command: &Command,
        row: &ActivationRow,
        standing: Standing,
    ) -> Option<wire::Place> {
        let room = self.edge.engine.rooms().get(&command.about.room).ok()?;
        let taken = taken(row.place, &row.user, standing);
        Some(encode_place(&self.edge, &room.record(), &taken))
    }

    pub(super) async fn grant(
        &self,
        request: Request<wire::GrantPlaceRequest>,
    ) -> Result<wire::GrantPlaceResponse, Refusal> {
        let (operator, message) = open(request)?;
        let ttl = decode::required("ttl", message.ttl)?;
        let ttl_ms = decode::duration_ms("ttl", ttl)?;
        if !TTL_MS.contains(&ttl_ms) {
            return Err(FieldError::invalid("ttl", "must be between 1 s and 24 h").into());
        }
        let command = Command::read(
            ["GrantPlace", "GrantPlace.done"],
            &operator,
            (
                &message.room_id,
                &message.user_id,
                &message.reason,
                &message.idempotency_key,
            ),
            Some(ttl_ms),
        )?;
        let row = match self.before(&command).await? {
            Some(Before::Answer(answer)) => return Ok(answer),
            Some(Before::Row(row)) => row,
            None => {
                let about = command.about.clone();
                self.edge.engine.grant_place(about, ttl_ms).await?
            }
        };
        // As it was granted, whatever became of it since.
        let granted = row.expire_time.zip(row.claimed_at);
        let (expire_time, claimed_at) = granted.ok_or(EngineError::PassEnded)?;
        let standing = Standing::Active {
            id: row.id,
            claimed_at,
            expire_time,
        };
        let place = self.place(&command, &row, standing);
        self.keep(command, wire::GrantPlaceResponse { place }).await
    }

    pub(super) async fn revoke(
        &self,
        request: Request<wire::RevokePlaceRequest>,
    ) -> Result<wire::RevokePlaceResponse, Refusal> {
        let (operator, message) = open(request)?;
        let command = Command::read(
            ["RevokePlace", "RevokePlace.done"],
            &operator,
            (
                &message.room_id,
                &message.user_id,
                &message.reason,
                &message.idempotency_key,
            ),
            None,
        )?;
        let row = match self.before(&command).await? {
            Some(Before::Answer(answer)) => return Ok(answer),
            Some(Before::Row(row)) => row,
            None => self.edge.engine.revoke_place(command.about.clone()).await?,
        };
        let standing = Standing::Ended(crate::domain::place::EndReason::Revoked);
        let place = self.place(&command, &row, standing);
        self.keep(command, wire::RevokePlaceResponse { place })
            .await
    }
}

/// What is known of a command that was asked before.
enum Before<T> {
    Answer(T),
    Row(ActivationRow),
}

fn taken(key: PlaceKey, user: &UserId, standing: Standing) -> Taken {
    Taken {
        place: Place {
            key,
            user: user.clone(),
            standing,
        },
        needs_token: false,
    }
}
