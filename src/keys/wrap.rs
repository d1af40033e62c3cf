//! Signing keys as they lie in a shared database: each sealed with AES-256-GCM
//! by a wrap key that every node has from a file or its environment.
//!
//! What is beside a sealed secret (family, id, times) is authenticated with it:
//! no row can be given another's secret, or another time.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::ring::{KeyRing, Random, RingKey, SECRET_BYTES, StoredKey};

const WRAP_KEY_BYTES: usize = 32;
/// Of the digest that names a wrap key and tells nothing about it.
const ID_BYTES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    #[error("the wrap key is not {WRAP_KEY_BYTES} bytes in base64")]
    NoKey,
    /// Another wrap key, or bytes that were changed.
    #[error("signing key {family}/{kid} was not wrapped by this node's wrap key")]
    NotOurs { family: String, kid: String },
}

/// A signing key as a row holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    pub family: String,
    pub kid: String,
    pub created_at_s: u64,
    pub sign_from_s: u64,
    /// Which wrap key opens it.
    pub wrap_id: String,
    /// Nonce, sealed secret, tag.
    pub sealed: Vec<u8>,
}

pub struct WrapKey {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl WrapKey {
    /// A key as `openssl rand -base64 32` writes it.
    ///
    /// # Errors
    /// [`WrapError::NoKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, WrapError> {
        let text = text.trim().trim_end_matches('=');
        let bytes = STANDARD_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE_NO_PAD.decode(text))
            .map_err(|_| WrapError::NoKey)?;
        if bytes.len() != WRAP_KEY_BYTES {
            return Err(WrapError::NoKey);
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| WrapError::NoKey)?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"usher wrap key\0");
        context.update(&bytes);
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..ID_BYTES]),
            key: LessSafeKey::new(key),
        })
    }

    /// The newest key of each family of a ring, or all of them.
    ///
    /// # Errors
    /// [`WrapError::NotOurs`] for a key that is malformed.
    pub fn wrap(
        &self,
        keys: &[RingKey<'_>],
        random: Random<'_>,
    ) -> Result<Vec<WrappedKey>, WrapError> {
        keys.iter().map(|key| self.wrap_one(key, random)).collect()
    }

    fn wrap_one(&self, key: &RingKey<'_>, random: Random<'_>) -> Result<WrappedKey, WrapError> {
        let mut wrapped = WrappedKey {
            family: key.family.to_owned(),
            kid: key.stored.kid.clone(),
            created_at_s: key.stored.created_at_s,
            sign_from_s: key.stored.sign_from_s,
            wrap_id: self.id.clone(),
            sealed: Vec::new(),
        };
        let refused = || not_ours(&wrapped);
        let mut secret = key.stored.secret().map_err(|_| refused())?.to_vec();
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce);
        let aad = Aad::from(bound(&wrapped));
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut secret)
            .map_err(|_| refused())?;
        wrapped.sealed = [nonce.as_slice(), &secret].concat();
        Ok(wrapped)
    }

    /// The ring that these rows hold.
    ///
    /// # Errors
    /// [`WrapError::NotOurs`] with the first row that this key does not open.
    pub fn unwrap(&self, rows: &[WrappedKey]) -> Result<KeyRing, WrapError> {
        let keys = rows.iter().map(|row| {
            let stored = self.unwrap_one(row).ok_or_else(|| not_ours(row))?;
            Ok((row.family.as_str(), stored))
        });
        Ok(KeyRing::of(keys.collect::<Result<Vec<_>, WrapError>>()?))
    }

    fn unwrap_one(&self, row: &WrappedKey) -> Option<StoredKey> {
        if row.wrap_id != self.id {
            return None;
        }
        let (nonce, sealed) = row.sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(bound(row)), &mut sealed);
        let secret: [u8; SECRET_BYTES] = (&*opened.ok()?).try_into().ok()?;
        let (created_at_s, sign_from_s) = (row.created_at_s, row.sign_from_s);
        Some(StoredKey::of(&row.kid, created_at_s, sign_from_s, &secret))
    }
}

fn not_ours(row: &WrappedKey) -> WrapError {
    WrapError::NotOurs {
        family: row.family.clone(),
        kid: row.kid.clone(),
    }
}

/// What the tag covers besides the secret. The names hold no line break.
fn bound(row: &WrappedKey) -> Vec<u8> {
    let (created, from) = (row.created_at_s, row.sign_from_s);
    format!(
        "usher signing key\n{}\n{}\n{created}\n{from}",
        row.family, row.kid
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::ring::tests::counting_random;
    use super::*;
    use crate::domain::time::UnixMs;

    fn wrap_key(byte: u8) -> WrapKey {
        WrapKey::parse(&STANDARD_NO_PAD.encode([byte; WRAP_KEY_BYTES])).expect("a key")
    }

    #[test]
    fn a_ring_comes_back_as_it_was_wrapped() {
        let random = counting_random();
        let mut ring = KeyRing::generate(UnixMs(5_000), &random);
        ring.rotate(UnixMs(9_000), 60, &random);
        let mut rows = wrap_key(1).wrap(&ring.keys(), &random).expect("wrapped");
        rows.reverse();
        assert_eq!(wrap_key(1).unwrap(&rows), Ok(ring));
    }

    #[test]
    fn another_wrap_key_and_changed_rows_are_refused() {
        let random = counting_random();
        let ring = KeyRing::generate(UnixMs(5_000), &random);
        let rows = wrap_key(1).wrap(&ring.keys(), &random).expect("wrapped");
        let refused = |key: &WrapKey, change: &dyn Fn(&mut WrappedKey)| {
            let mut rows = rows.clone();
            change(&mut rows[0]);
            matches!(key.unwrap(&rows), Err(WrapError::NotOurs { .. }))
        };
        assert!(!refused(&wrap_key(1), &|_| {}));
        assert!(refused(&wrap_key(2), &|_| {}));
        let other_id = wrap_key(2).id;
        assert!(refused(&wrap_key(2), &|row| row
            .wrap_id
            .clone_from(&other_id)));
        assert!(refused(&wrap_key(1), &|row| row.sign_from_s += 1));
        assert!(refused(&wrap_key(1), &|row| row.created_at_s += 1));
        assert!(refused(&wrap_key(1), &|row| row.kid = "00000000".to_owned()));
        assert!(refused(&wrap_key(1), &|row| row.family = "user".to_owned()));
        assert!(refused(&wrap_key(1), &|row| row.sealed.truncate(20)));
        for at in 0..rows[0].sealed.len() {
            assert!(refused(&wrap_key(1), &|row| row.sealed[at] ^= 1), "{at}");
        }
    }

    #[test]
    fn only_32_bytes_are_a_wrap_key_and_none_is_shown() {
        for text in ["", "short", "%%%", &STANDARD_NO_PAD.encode([1; 31])] {
            assert_eq!(WrapKey::parse(text).err(), Some(WrapError::NoKey), "{text}");
        }
        let text = format!("{}=\n", STANDARD_NO_PAD.encode([251; 32]));
        let key = WrapKey::parse(&text).expect("as openssl writes it");
        assert!(!format!("{key:?}").contains("+/v7"), "{key:?}");
    }
}
