//! Page tokens: where a list goes on, bound to the question it answers.
//!
//! The scope (RPC, filters, user) is in the tag but not in the token: the next
//! request states it again, and another one does not fit the tag.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::time::UnixMs;

use super::mac::{MacKeys, TAG_BYTES};
use super::ring::{RingError, StoredKey};

const VERSION: u8 = 1;
/// version, kid, issued_at in seconds
const HEAD_BYTES: usize = 1 + 4 + 8;
/// Longest position within a list, in bytes.
pub const POSITION_BYTES_MAX: usize = 512;
/// A page token is good for this long.
pub const PAGE_TOKEN_TTL_S: u64 = 86_400;

/// Forged, too old, or given for another request: one answer for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the page token was not given for this request, or is too old")]
pub struct PageTokenError;

#[derive(Debug)]
pub struct PageTokens(MacKeys);

impl PageTokens {
    pub(super) fn load(keys: &[StoredKey], now: UnixMs) -> Result<Self, RingError> {
        MacKeys::load(b"usher page token\0", keys, now).map(Self)
    }

    /// A token for going on at `position`; `scope` is the RPC, every filter,
    /// and the user where the list is personal.
    #[must_use]
    pub fn sign(&self, scope: &[&str], position: &[u8], now: UnixMs) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.0.signing_kid().to_be_bytes());
        bytes.extend_from_slice(&(now.0 / 1_000).to_be_bytes());
        bytes.extend_from_slice(position);
        let tag = self.0.tag(&[&flatten(scope), &bytes]);
        bytes.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position a token was given for.
    ///
    /// # Errors
    /// [`PageTokenError`] unless it was signed here for this very scope, less
    /// than [`PAGE_TOKEN_TTL_S`] ago.
    pub fn verify(
        &self,
        scope: &[&str],
        token: &str,
        now: UnixMs,
    ) -> Result<Vec<u8>, PageTokenError> {
        if token.len() > (HEAD_BYTES + POSITION_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4 {
            return Err(PageTokenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| PageTokenError)?;
        let signed_bytes = bytes.len().checked_sub(TAG_BYTES).ok_or(PageTokenError)?;
        let (signed, tag) = bytes.split_at(signed_bytes);
        let (head, position) = signed.split_at_checked(HEAD_BYTES).ok_or(PageTokenError)?;
        let (Ok(kid), Ok(issued_at_s)) = (head[1..5].try_into(), head[5..].try_into()) else {
            return Err(PageTokenError);
        };
        let is_ours = self
            .0
            .verify(u32::from_be_bytes(kid), &[&flatten(scope), signed], tag);
        let age_s = (now.0 / 1_000).saturating_sub(u64::from_be_bytes(issued_at_s));
        if head[0] != VERSION || !is_ours || age_s >= PAGE_TOKEN_TTL_S {
            return Err(PageTokenError);
        }
        Ok(position.to_vec())
    }
}

/// Length-prefixed, so that no two scopes have the same bytes.
fn flatten(scope: &[&str]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(scope.len()).unwrap_or(u8::MAX)];
    for part in scope {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::Keys;
    use super::super::place::PlaceClaims;
    use super::super::ring::KeyRing;
    use super::super::ring::tests::counting_random;
    use super::*;
    use crate::domain::ids::{PlaceKey, RoomId, UserId};

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    #[test]
    fn a_page_token_goes_on_only_in_the_list_it_was_given_for() {
        let keys = Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys");
        let pages = &keys.pages;
        let scope = ["ListReservations", "alice", ""];
        let token = pages.sign(&scope, b"res-17", NOW);
        assert_eq!(pages.verify(&scope, &token, NOW), Ok(b"res-17".to_vec()));
        for other in [
            &["ListReservations", "bob", ""][..],
            &["ListReservations", "alice", "HELD"],
            &["ListReservations", "alice"],
            &["ListReservationsalice", "", ""],
            &["ListConcerts", "alice", ""],
        ] {
            assert_eq!(pages.verify(other, &token, NOW), Err(PageTokenError));
        }
        let late = NOW.plus_ms(PAGE_TOKEN_TTL_S * 1_000);
        assert_eq!(pages.verify(&scope, &token, late), Err(PageTokenError));
        let mut tampered = token.clone().into_bytes();
        tampered[22] ^= 1;
        let tampered = String::from_utf8(tampered).expect("ascii");
        for bad in ["", "x", "A".repeat(40_000).as_str(), &tampered, "\0"] {
            assert_eq!(pages.verify(&scope, bad, NOW), Err(PageTokenError));
        }
    }

    #[test]
    fn a_place_token_is_no_page_token() {
        let keys = Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys");
        let place = keys.places.sign(&PlaceClaims {
            room: RoomId::parse("room").expect("room"),
            place: PlaceKey { lane: 0, number: 1 },
            user: UserId::parse("alice").expect("user"),
            issued_at: NOW,
        });
        assert_eq!(keys.pages.verify(&[], &place, NOW), Err(PageTokenError));
    }
}
