//! Runs a step's script on a room's keys and reads the shape of its answer.

use redis::Value;
use uuid::Uuid;

use crate::domain::ids::{ActivationId, LaneIndex, Number, PlaceKey, RoomRef, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::redis_link::{LinkError, RedisClient, Script};
use crate::store::queue::QueueError;

use super::keys;

/// Arguments of a step, behind those that every step has.
#[derive(Default)]
pub(super) struct Args(Vec<Vec<u8>>);

impl Args {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.push(text);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.push_number(number);
        self
    }

    pub(super) fn push(&mut self, text: &str) {
        self.0.push(text.as_bytes().to_vec());
    }

    pub(super) fn push_number(&mut self, number: u64) {
        self.push(&number.to_string());
    }

    pub(super) fn push_bytes(&mut self, bytes: Vec<u8>) {
        self.0.push(bytes);
    }

    pub(super) fn push_place(&mut self, place: PlaceKey) {
        self.push_number(u64::from(place.lane));
        self.push_number(place.number);
    }
}

/// The way to Redis.
pub(super) struct Link {
    pub(super) client: RedisClient,
    /// How deltas are published.
    publish: &'static str,
}

impl Link {
    pub(super) fn new(client: RedisClient) -> Self {
        let publish = match client.is_cluster() {
            true => "SPUBLISH",
            false => "PUBLISH",
        };
        Self { client, publish }
    }

    pub(super) fn generation(&self) -> Option<u64> {
        self.client.generation()
    }

    pub(super) fn look_again(&self) {
        self.client.look_again();
    }

    /// Runs a step; its answer begins with `ok`, or a refusal's name. `now` is `None` where the server's clock is asked.
    pub(super) async fn run(
        &self,
        script: &Script,
        room: &RoomRef,
        now: Option<u64>,
        args: &Args,
    ) -> Result<Answer, QueueError> {
        let call = self.client.script(script, room.id.as_str());
        let call = call
            .key(keys::room_key(&room.id))
            .arg(room.epoch)
            .arg(now.map_or_else(String::new, |now| now.to_string()))
            .arg(self.publish)
            .arg(&args.0);
        let answer: Value = call.run().await.map_err(|error| {
            match &error {
                // Counted there, and said once where it is handled.
                LinkError::Unavailable(_) | LinkError::Overloaded => {}
                LinkError::Refused { .. } | LinkError::Unexpected(_) => {
                    tracing::error!(room.id = %room.id, error = %error, "queue script failed");
                }
            }
            QueueError::Unavailable
        })?;
        Answer::of(answer)
    }
}

/// A refusal by its name.
pub(super) fn refusal(name: &str, values: &mut Answer) -> Result<QueueError, QueueError> {
    Ok(match name {
        "recover" => QueueError::Recover,
        "closed" => QueueError::Closed,
        "sold_out" => QueueError::SoldOut,
        "full" => QueueError::Full,
        "opening" => QueueError::Opening,
        "numbers" => QueueError::NumbersExhausted {
            lane: values.lane()?,
            reserve_to: values.number()?,
        },
        "unknown" => QueueError::UnknownPlace,
        "rebuilding" => QueueError::Rebuilding,
        "no_slot" => QueueError::NoSlot,
        "building" => QueueError::Building,
        // Moved by someone else.
        "kept" | "redraw" => QueueError::Unavailable,
        other => return Err(unexpected(&other)),
    })
}

pub(super) fn unexpected(what: &dyn std::fmt::Debug) -> QueueError {
    tracing::error!(answer = ?what, "queue script answered something else");
    QueueError::Unavailable
}

/// Values of an answer, read one after the other.
pub(super) struct Answer(std::vec::IntoIter<Value>);

impl Answer {
    fn of(value: Value) -> Result<Self, QueueError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn next(&mut self) -> Result<Value, QueueError> {
        self.0.next().ok_or_else(|| unexpected(&"too little"))
    }

    pub(super) fn list(&mut self) -> Result<Self, QueueError> {
        Self::of(self.next()?)
    }

    /// The rest, each a list.
    pub(super) fn lists(self) -> impl Iterator<Item = Result<Self, QueueError>> {
        self.0.map(Self::of)
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, QueueError> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.into_bytes()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, QueueError> {
        String::from_utf8(self.bytes()?).map_err(|error| unexpected(&error))
    }

    pub(super) fn number(&mut self) -> Result<Number, QueueError> {
        match self.next()? {
            Value::Int(number) => u64::try_from(number).map_err(|error| unexpected(&error)),
            Value::BulkString(digits) => std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| unexpected(&digits)),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn flag(&mut self) -> Result<bool, QueueError> {
        Ok(self.number()? == 1)
    }

    pub(super) fn lane(&mut self) -> Result<LaneIndex, QueueError> {
        LaneIndex::try_from(self.number()?).map_err(|error| unexpected(&error))
    }

    pub(super) fn place(&mut self) -> Result<PlaceKey, QueueError> {
        Ok(PlaceKey {
            lane: self.lane()?,
            number: self.number()?,
        })
    }

    pub(super) fn user(&mut self) -> Result<UserId, QueueError> {
        UserId::parse(&self.text()?).map_err(|error| unexpected(&error))
    }

    pub(super) fn activation(&mut self) -> Result<ActivationId, QueueError> {
        let id = Uuid::parse_str(&self.text()?).map_err(|error| unexpected(&error))?;
        Ok(ActivationId(id))
    }

    /// As `line.lua` says how a place stands.
    pub(super) fn standing(&mut self) -> Result<Standing, QueueError> {
        standing_of(&self.text()?)
    }
}

pub(super) fn standing_of(text: &str) -> Result<Standing, QueueError> {
    if text == "waiting" {
        return Ok(Standing::Waiting);
    }
    if let Some(reason) = text.strip_prefix('!') {
        return reason_of(reason).map(Standing::Ended);
    }
    serde_json::from_str(text).map_err(|error| unexpected(&error))
}

pub(super) fn reason_of(name: &str) -> Result<EndReason, QueueError> {
    EndReason::from_name(name).ok_or_else(|| unexpected(&name))
}
