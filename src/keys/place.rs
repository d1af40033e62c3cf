//! Place tokens: which number, of which line, is whose.
//!
//! `version, kid, lane, number, issued_at, room, user, tag`, big-endian, in
//! base64url. The tag covers all before it. A token never expires: the place
//! it names does, and the store knows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ids::{ID_BYTES_MAX, PlaceKey, RoomId, USER_ID_BYTES_MAX, UserId};
use crate::domain::time::UnixMs;

use super::TokenError;
use super::mac::{MacKeys, TAG_BYTES};
use super::ring::{RingError, StoredKey};

const VERSION: u8 = 1;
/// version, kid, lane, number, issued_at, length of the room's id
const HEAD_BYTES: usize = 1 + 4 + 2 + 8 + 8 + 1;
const TOKEN_BYTES_MAX: usize = HEAD_BYTES + ID_BYTES_MAX + USER_ID_BYTES_MAX + TAG_BYTES;
/// Longest place token there can be, in characters.
pub const PLACE_TOKEN_CHARS_MAX: usize = TOKEN_BYTES_MAX.div_ceil(3) * 4;

/// What a place token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceClaims {
    pub room: RoomId,
    pub place: PlaceKey,
    pub user: UserId,
    pub issued_at: UnixMs,
}

#[derive(Debug)]
pub struct PlaceTokens(MacKeys);

impl PlaceTokens {
    pub(super) fn load(keys: &[StoredKey], now: UnixMs) -> Result<Self, RingError> {
        MacKeys::load(b"usher place token\0", keys, now).map(Self)
    }

    #[must_use]
    pub fn sign(&self, claims: &PlaceClaims) -> String {
        let (room, user) = (claims.room.as_str(), claims.user.as_str());
        let mut bytes = Vec::with_capacity(TOKEN_BYTES_MAX);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.0.signing_kid().to_be_bytes());
        bytes.extend_from_slice(&claims.place.lane.to_be_bytes());
        bytes.extend_from_slice(&claims.place.number.to_be_bytes());
        bytes.extend_from_slice(&claims.issued_at.0.to_be_bytes());
        // A room's id has at most 64 bytes.
        bytes.push(u8::try_from(room.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(room.as_bytes());
        bytes.extend_from_slice(user.as_bytes());
        let tag = self.0.tag(&[&bytes]);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says, if Usher signed it for this caller.
    ///
    /// # Errors
    /// [`TokenError::OtherUser`] for a well-signed token of someone else,
    /// [`TokenError::Invalid`] for every other bad one.
    pub fn verify(&self, token: &str, caller: &UserId) -> Result<PlaceClaims, TokenError> {
        let claims = self.open(token).map_err(TokenError::Invalid)?;
        if claims.user != *caller {
            return Err(TokenError::OtherUser);
        }
        Ok(claims)
    }

    fn open(&self, token: &str) -> Result<PlaceClaims, &'static str> {
        let (signed, tag) = decode(token)?;
        let kid = u32::from_be_bytes(field(&signed, 1));
        if !self.0.verify(kid, &[&signed], &tag) {
            return Err("place token not signed by a known key");
        }
        parse_signed(&signed).ok_or("place token malformed")
    }
}

/// What a token says, whoever wrote it: for those who have no key and grant
/// nothing on it.
///
/// # Errors
/// [`TokenError::Invalid`] for what is no place token.
pub fn read_unproven(token: &str) -> Result<PlaceClaims, TokenError> {
    let (signed, _tag) = decode(token).map_err(TokenError::Invalid)?;
    parse_signed(&signed).ok_or(TokenError::Invalid("place token malformed"))
}

/// What the tag covers, and the tag.
fn decode(token: &str) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    if token.len() > PLACE_TOKEN_CHARS_MAX {
        return Err("place token too long");
    }
    let mut signed = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| "place token not base64url")?;
    let signed_bytes = signed
        .len()
        .checked_sub(TAG_BYTES)
        .filter(|signed| *signed > HEAD_BYTES)
        .ok_or("place token too short")?;
    let tag = signed.split_off(signed_bytes);
    if signed[0] != VERSION {
        return Err("place token of an unknown version");
    }
    Ok((signed, tag))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Reads what the tag vouches for; `signed` is longer than the head.
fn parse_signed(signed: &[u8]) -> Option<PlaceClaims> {
    let (head, names) = signed.split_at(HEAD_BYTES);
    let room_bytes = usize::from(head[HEAD_BYTES - 1]);
    let (room, user) = names.split_at_checked(room_bytes)?;
    Some(PlaceClaims {
        room: RoomId::parse(std::str::from_utf8(room).ok()?).ok()?,
        place: PlaceKey {
            lane: u16::from_be_bytes(field(head, 5)),
            number: u64::from_be_bytes(field(head, 7)),
        },
        user: UserId::parse(std::str::from_utf8(user).ok()?).ok()?,
        issued_at: UnixMs(u64::from_be_bytes(field(head, 15))),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Keys;
    use super::super::ring::KeyRing;
    use super::super::ring::tests::counting_random;
    use super::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn claims(user: &str) -> PlaceClaims {
        PlaceClaims {
            room: RoomId::parse("opening-night").expect("room"),
            place: PlaceKey {
                lane: 3,
                number: 123_456_789,
            },
            user: UserId::parse(user).expect("user"),
            issued_at: NOW,
        }
    }

    fn keys() -> Keys {
        Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys")
    }

    #[test]
    fn a_token_says_what_was_signed_and_fits_its_bound() {
        let keys = keys();
        for user in ["alice".to_owned(), "u".repeat(USER_ID_BYTES_MAX)] {
            let mut claims = claims(&user);
            claims.room = RoomId::parse(&"r".repeat(ID_BYTES_MAX)).expect("room");
            let token = keys.places.sign(&claims);
            assert!(token.len() <= PLACE_TOKEN_CHARS_MAX);
            assert_eq!(read_unproven(&token), Ok(claims.clone()));
            assert_eq!(keys.places.verify(&token, &claims.user), Ok(claims));
        }
    }

    #[test]
    fn a_token_of_another_user_is_told_from_a_bad_one() {
        let keys = keys();
        let token = keys.places.sign(&claims("alice"));
        let mallory = UserId::parse("mallory").expect("user");
        assert_eq!(
            keys.places.verify(&token, &mallory),
            Err(TokenError::OtherUser)
        );
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let keys = keys();
        let claims = claims("alice");
        let bytes = URL_SAFE_NO_PAD
            .decode(keys.places.sign(&claims))
            .expect("base64url");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let verdict = keys
                .places
                .verify(&URL_SAFE_NO_PAD.encode(changed), &claims.user);
            assert!(
                matches!(verdict, Err(TokenError::Invalid(_))),
                "bit {bit}: {verdict:?}"
            );
        }
    }

    #[test]
    fn other_spellings_and_lengths_are_refused() {
        let keys = keys();
        let claims = claims("alice");
        let token = keys.places.sign(&claims);
        let cases = [
            String::new(),
            ".".to_owned(),
            format!("{token}="),
            format!("{token}A"),
            format!(" {token}"),
            format!("{token}\n"),
            token[..token.len() - 4].to_owned(),
            token[..20].to_owned(),
            "A".repeat(65_536),
            "\u{202e}".to_owned(),
        ];
        for case in cases {
            let verdict = keys.places.verify(&case, &claims.user);
            assert!(
                matches!(verdict, Err(TokenError::Invalid(_))),
                "{case:.40?}"
            );
        }
    }

    #[test]
    fn a_token_outlives_rotation_until_its_key_is_dropped() {
        let random = counting_random();
        let mut ring = KeyRing::generate(NOW, &random);
        let claims = claims("alice");
        let token = Keys::load(&ring, NOW).expect("keys").places.sign(&claims);
        for left in (0..super::super::ring::KEYS_KEPT_MAX).rev() {
            ring.rotate(NOW, 0, &random);
            let keys = Keys::load(&ring, NOW).expect("keys");
            let verdict = keys.places.verify(&token, &claims.user);
            assert_eq!(verdict.is_ok(), left > 0, "{left} rotations left");
        }
    }
}
