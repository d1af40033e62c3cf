//! `usher verify-draw`: recomputes the drawn order of one place, offline.
//!
//! It reads what everyone can read, `GetRoom`'s answer as JSON, and asks
//! nobody. The secret must be the one committed to before the first place; the
//! order follows from secret, room, lane, number of participants and beacon.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Args};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::domain::draw::{self, DrawMismatch, Published};
use crate::keys::place::read_unproven;

use super::CliError;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("place").required(true).args(["number", "token"]))]
#[command(group = ArgGroup::new("claim").args(["order", "position"]))]
pub(super) struct VerifyDrawArgs {
    /// The room as GetRoom answers, in JSON
    #[arg(long, value_name = "ROOM.json")]
    file: PathBuf,
    /// The place's number in its lane
    #[arg(long)]
    number: Option<u64>,
    /// The place's token, instead of lane and number
    #[arg(long)]
    token: Option<String>,
    /// The place's lane; the first one without it
    #[arg(long, conflicts_with = "token")]
    lane: Option<String>,
    /// The order that should be the drawn one
    #[arg(long)]
    order: Option<u64>,
    /// The position told after the opening, instead of the order
    #[arg(long)]
    position: Option<u64>,
    /// How many ahead of that position had left by then
    #[arg(long, default_value_t = 0, requires = "position")]
    left_ahead: u64,
}

/// A place in a published draw.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Number { lane: Option<String>, number: u64 },
    Token(String),
}

/// Why published data and a claim do not agree, or cannot be held together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum VerifyError {
    #[error("not the JSON of a room with a draw: {0}")]
    NotARoom(String),
    #[error("not a place token: {0}")]
    Token(String),
    #[error("the token is of room {token}, the draw of room {published}")]
    OtherRoom { token: String, published: String },
    #[error("the draw has no lane {0}")]
    UnknownLane(String),
    #[error("the secret is not published: the order is not fixed yet")]
    NotDrawn,
    #[error(transparent)]
    Mismatch(#[from] DrawMismatch),
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
struct Verified {
    lane: String,
    number: u64,
    order: u64,
    n: u64,
}

pub(super) fn verify_draw(args: VerifyDrawArgs) -> Result<(), CliError> {
    let json = std::fs::read_to_string(&args.file)
        .map_err(|error| CliError::Usage(format!("{}: {error}", args.file.display())))?;
    let claimed = args
        .order
        .or_else(|| Some(args.position?.saturating_add(args.left_ahead)));
    let place = match (args.token, args.number) {
        (Some(token), _) => Place::Token(token),
        (None, number) => Place::Number {
            lane: args.lane,
            number: number.unwrap_or_default(),
        },
    };
    let found = verify(&json, &place, claimed).map_err(|error| match error {
        VerifyError::NotARoom(_) | VerifyError::Token(_) | VerifyError::UnknownLane(_) => {
            CliError::Usage(error.to_string())
        }
        VerifyError::OtherRoom { .. } | VerifyError::NotDrawn | VerifyError::Mismatch(_) => {
            CliError::failed(error)
        }
    })?;
    let Verified {
        lane,
        number,
        order,
        n,
    } = found;
    println!("number {number} of lane {lane} is drawn at {order}; {n} took part");
    Ok(())
}

/// Recomputes a place's order; without a claim only the secret is verified.
fn verify(json: &str, place: &Place, claimed: Option<u64>) -> Result<Verified, VerifyError> {
    let answer: Answer =
        serde_json::from_str(json).map_err(|error| VerifyError::NotARoom(error.to_string()))?;
    let room = match answer {
        Answer::Wrapped { room } | Answer::Bare(room) => room,
    };
    let (lane, number) = room.find(place)?;
    let published = Published {
        commitment: room.draw.commitment.0,
        secret: room.draw.secret.as_ref().ok_or(VerifyError::NotDrawn)?.0,
        n: lane.count,
        beacon: room
            .draw
            .beacon
            .as_ref()
            .and_then(|beacon| beacon.value.clone()),
        lane: lane.lane.clone(),
        room_id: room.id.clone(),
    };
    let order = published.permutation().order(number);
    draw::verify(&published, number, claimed.unwrap_or(order))?;
    Ok(Verified {
        lane: published.lane,
        number,
        order,
        n: published.n,
    })
}

/// `GetRoom`'s answer, or the room in it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Wrapped { room: Room },
    Bare(Room),
}

#[derive(Deserialize)]
struct Room {
    id: String,
    draw: Draw,
}

#[derive(Deserialize)]
struct Draw {
    commitment: Bytes32,
    secret: Option<Bytes32>,
    #[serde(default)]
    participants: Vec<Participants>,
    beacon: Option<Beacon>,
}

#[derive(Deserialize)]
struct Participants {
    lane: String,
    #[serde(default, deserialize_with = "count")]
    count: u64,
}

#[derive(Deserialize)]
struct Beacon {
    value: Option<String>,
}

/// Base64, as JSON carries bytes.
struct Bytes32([u8; 32]);

impl<'de> Deserialize<'de> for Bytes32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let bytes = bytes
            .try_into()
            .map_err(|_| D::Error::custom("must have 32 bytes"))?;
        Ok(Self(bytes))
    }
}

/// JSON carries 64-bit numbers as text; people write them plainly.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u64),
        Text(String),
    }
    match Count::deserialize(deserializer)? {
        Count::Number(count) => Ok(count),
        Count::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

impl Room {
    fn find(&self, place: &Place) -> Result<(&Participants, u64), VerifyError> {
        let lanes = &self.draw.participants;
        if lanes.is_empty() {
            return Err(VerifyError::NotDrawn);
        }
        match place {
            Place::Number { lane: None, number } => Ok((&lanes[0], *number)),
            Place::Number {
                lane: Some(name),
                number,
            } => lanes
                .iter()
                .find(|lane| lane.lane == *name)
                .map(|lane| (lane, *number))
                .ok_or_else(|| VerifyError::UnknownLane(name.clone())),
            Place::Token(token) => {
                let claims =
                    read_unproven(token).map_err(|error| VerifyError::Token(error.to_string()))?;
                if claims.room.as_str() != self.id {
                    return Err(VerifyError::OtherRoom {
                        token: claims.room.as_str().to_owned(),
                        published: self.id.clone(),
                    });
                }
                lanes
                    .get(usize::from(claims.place.lane))
                    .map(|lane| (lane, claims.place.number))
                    .ok_or_else(|| VerifyError::UnknownLane(claims.place.lane.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
