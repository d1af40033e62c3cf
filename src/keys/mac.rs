//! A truncated HMAC-SHA256 over a domain and a message, with keys by number.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};

use crate::domain::time::UnixMs;

use super::ring::{RingError, StoredKey, signing_index};

/// Bytes of the tag: 128 bits, so that guessing one is hopeless.
pub const TAG_BYTES: usize = 16;

pub struct MacKeys {
    /// Keeps tags of one kind of token from passing for another's.
    domain: &'static [u8],
    signing: usize,
    keys: Vec<(u32, hmac::Key)>,
}

impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKeys").finish_non_exhaustive()
    }
}

impl MacKeys {
    pub fn load(
        domain: &'static [u8],
        stored: &[StoredKey],
        now: UnixMs,
    ) -> Result<Self, RingError> {
        let signing = signing_index(stored, now).ok_or(RingError::NoKey { family: "mac" })?;
        let keys = stored
            .iter()
            .map(|key| {
                let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &key.secret()?);
                Ok((key.kid_number()?, mac_key))
            })
            .collect::<Result<_, RingError>>()?;
        Ok(Self {
            domain,
            signing,
            keys,
        })
    }

    /// Number of the key that signs now.
    pub fn signing_kid(&self) -> u32 {
        self.keys[self.signing].0
    }

    /// Tag over `parts` under the signing key.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        self.compute(&self.keys[self.signing].1, parts)
    }

    pub fn verify(&self, kid: u32, parts: &[&[u8]], tag: &[u8]) -> bool {
        let Some((_, key)) = self.keys.iter().find(|(number, _)| *number == kid) else {
            return false;
        };
        constant_time::verify_slices_are_equal(&self.compute(key, parts), tag).is_ok()
    }

    fn compute(&self, key: &hmac::Key, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(key);
        context.update(self.domain);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}
