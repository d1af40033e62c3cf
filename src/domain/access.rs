//! Access codes: who may join a room, and in which lane.
//!
//! A code is a secret that an operator gives to one person. It is kept as a
//! salted hash, shown to nobody again, and never printed: its text is not part
//! of any `Debug`, log or event.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ids::LaneIndex;

/// Shortest code that an operator may give, in bytes.
pub const CODE_BYTES_MIN: usize = 4;
/// Longest code that an operator may give, in bytes.
pub const CODE_BYTES_MAX: usize = 64;
/// Codes of one request.
pub const CODES_PER_REQUEST_MAX: usize = 5_000;
/// Codes of one room, the redeemed ones included.
pub const CODES_PER_ROOM_MAX: u64 = 200_000;

/// Keeps these hashes apart from all others.
const TAG: &[u8] = b"usher.access-code.v1";

/// Who may join a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomAccess {
    /// Everyone; a code leads into its lane.
    #[default]
    Open,
    /// Who brings a code.
    Code,
}

/// A code as its holder shows it: any text, which may be no code at all.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownCode(String);

impl ShownCode {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// What is stored of it, and looked up by. Whoever does not know the salt
    /// can neither compute it nor learn of it by the time a look-up takes.
    #[must_use]
    pub fn hash(&self, salt: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        for field in [TAG, salt, self.0.as_bytes()] {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        hash.finalize().into()
    }
}

impl fmt::Debug for ShownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownCode(…)")
    }
}

/// A code that an operator gives, and the lane into which it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCode {
    pub lane: LaneIndex,
    pub code: ShownCode,
}

/// Why a text cannot be given as a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 4 to 64 letters, digits, '_' and '-' each")]
pub struct CodeError;

impl LaneCode {
    /// # Errors
    /// [`CodeError`] for a text that is too short, too long, or has other
    /// characters.
    pub fn parse(lane: LaneIndex, text: &str) -> Result<Self, CodeError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let fits = (CODE_BYTES_MIN..=CODE_BYTES_MAX).contains(&text.len());
        match fits && text.bytes().all(is_allowed) {
            true => Ok(Self {
                lane,
                code: ShownCode::new(text.to_owned()),
            }),
            false => Err(CodeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_never_printed() {
        let code = LaneCode::parse(1, "open-sesame").unwrap();
        assert!(!format!("{code:?}").contains("sesame"));
    }

    #[test]
    fn a_hash_is_of_the_salt_and_the_whole_code() {
        let hash = |text: &str, salt: &[u8]| ShownCode::new(text.to_owned()).hash(salt);
        assert_eq!(hash("code", b"salt"), hash("code", b"salt"));
        assert_ne!(hash("code", b"salt"), hash("code", b"tlas"));
        assert_ne!(hash("code", b"salt"), hash("codes", b"salt"));
        assert_ne!(hash("tcode", b"sal"), hash("code", b"salt"));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let long = "x".repeat(CODE_BYTES_MAX);
        for good in ["abcd", "A-b_9", &long] {
            assert!(LaneCode::parse(0, good).is_ok(), "{good}");
        }
        let longer = "x".repeat(CODE_BYTES_MAX + 1);
        for bad in ["", "abc", "four four", "naïve", "abcd\n", &longer] {
            assert_eq!(LaneCode::parse(0, bad), Err(CodeError), "{bad}");
        }
    }
}
