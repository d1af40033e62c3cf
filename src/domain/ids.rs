//! Names of things. Each is parsed once, at the edge, and trusted inside.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest id of a resource, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest user id, in bytes.
pub const USER_ID_BYTES_MAX: usize = 128;

/// Why a string is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {max_bytes} bytes")]
    TooLong { max_bytes: usize },
    #[error("must consist of {allowed}")]
    Character { allowed: &'static str },
}

fn check(
    text: &str,
    max_bytes: usize,
    allowed: &'static str,
    is_allowed: impl Fn(u8) -> bool,
) -> Result<(), IdError> {
    match text {
        "" => Err(IdError::Empty),
        _ if text.len() > max_bytes => Err(IdError::TooLong { max_bytes }),
        _ if !text.bytes().all(is_allowed) => Err(IdError::Character { allowed }),
        _ => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// [`IdError`] when the text is empty, too long or has other characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, $max, $allowed, $is_allowed)?;
                Ok(Self(text.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

text_id! {
    /// A waiting room.
    RoomId, ID_BYTES_MAX, "letters, digits, '_' and '-'", is_word
}
text_id! {
    /// Any other resource: concert, performance, seat, reservation, payment, campaign.
    ResourceId, ID_BYTES_MAX, "letters, digits, '_' and '-'", is_word
}
text_id! {
    /// Who a token speaks for (`sub`): identity providers use `|`, `@`, `:` and `.` too.
    UserId, USER_ID_BYTES_MAX, "letters, digits and any of _ - . @ : | + =", |b: u8| is_word(b) || b".@:|+=".contains(&b)
}
text_id! {
    /// A client's name for one command, so that a retry has one effect.
    IdempotencyKey, ID_BYTES_MAX, "letters, digits, '_' and '-'", is_word
}

/// A lane's index in its room's policy. Lanes are only ever appended.
pub type LaneIndex = u16;

/// A place's number in its lane: from 1, never issued twice, never changed.
pub type Number = u64;

/// What a lane is served by: the number in FIFO, a permutation of it in DRAW.
pub type Order = u64;

/// One user's spot in a room, unique for the life of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlaceKey {
    pub lane: LaneIndex,
    pub number: Number,
}

/// The moment a place gets its turn; also the `jti` of its pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActivationId(pub Uuid);

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One node's life, from start to stop: the owner of the presences it reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// Where a reader of a room stands. Ordered: a larger cursor is newer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Cursor {
    /// Raised whenever the queue store may have lost something.
    pub epoch: u64,
    /// Deltas published in this epoch.
    pub revision: u64,
}

/// A room as a caller knows it; the store refuses another epoch with `Recover`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomRef {
    pub id: RoomId,
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_reach_a_key_or_a_query() {
        for bad in [
            "",
            " ",
            "a b",
            "a:b",
            "a*",
            "{a}",
            "a\r\n",
            "a\0",
            "%s'",
            "../a",
            "\u{202e}a",
        ] {
            assert!(RoomId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RoomId::parse(&"a".repeat(ID_BYTES_MAX)).is_ok());
        assert_eq!(
            RoomId::parse(&"a".repeat(ID_BYTES_MAX + 1)),
            Err(IdError::TooLong {
                max_bytes: ID_BYTES_MAX
            })
        );
    }

    #[test]
    fn user_ids_of_common_identity_providers_pass() {
        for good in [
            "alice",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "a@b.example",
            "urn:user:1",
        ] {
            assert!(UserId::parse(good).is_ok(), "{good}");
        }
        assert!(UserId::parse("a{b}").is_err());
    }
}
