//! The key ring: which keys exist, since when, and which one signs.
//!
//! Newest first. A new key is verified with from the moment it is in the ring
//! and signs only from `sign_from_s`, so that every node has it before the
//! first use. Old keys stay to verify until [`KEYS_KEPT_MAX`] newer ones exist.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::time::UnixMs;

use super::accord::HeldKey;

/// Keys of one family that are kept to verify with.
pub const KEYS_KEPT_MAX: usize = 4;
/// Bytes of a secret: an HMAC-SHA256 key, or an Ed25519 seed.
pub const SECRET_BYTES: usize = 32;
/// Of the digest that stands for a key.
const MARK_BYTES: usize = 12;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    #[error("the key ring has no {family} key that may sign now")]
    NoKey { family: &'static str },
    #[error("key {kid} of the key ring is malformed")]
    Malformed { kid: String },
}

/// One key as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// Eight hexadecimal digits.
    pub kid: String,
    pub created_at_s: u64,
    /// Signs from here on; verifies at once.
    pub sign_from_s: u64,
    /// Base64url of [`SECRET_BYTES`] bytes.
    secret: String,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("kid", &self.kid)
            .field("created_at_s", &self.created_at_s)
            .field("sign_from_s", &self.sign_from_s)
            .finish_non_exhaustive()
    }
}

/// Where randomness comes from: fills the whole slice.
pub type Random<'a> = &'a dyn Fn(&mut [u8]);

impl StoredKey {
    fn generate(created_at_s: u64, sign_from_s: u64, random: Random<'_>) -> Self {
        let mut kid = [0_u8; 4];
        let mut secret = [0_u8; SECRET_BYTES];
        random(&mut kid);
        random(&mut secret);
        Self {
            kid: format!("{:08x}", u32::from_be_bytes(kid)),
            created_at_s,
            sign_from_s,
            secret: URL_SAFE_NO_PAD.encode(secret),
        }
    }

    pub(super) fn of(
        kid: &str,
        created_at_s: u64,
        sign_from_s: u64,
        secret: &[u8; SECRET_BYTES],
    ) -> Self {
        Self {
            kid: kid.to_owned(),
            created_at_s,
            sign_from_s,
            secret: URL_SAFE_NO_PAD.encode(secret),
        }
    }

    /// Equal for equal keys; tells nothing about them.
    fn mark(&self, family: &str) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in ["usher key", family, &self.kid, &self.secret] {
            context.update(part.as_bytes());
            context.update(b"\0");
        }
        URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..MARK_BYTES])
    }

    fn malformed(&self) -> RingError {
        RingError::Malformed {
            kid: self.kid.clone(),
        }
    }

    pub(super) fn secret(&self) -> Result<[u8; SECRET_BYTES], RingError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(&self.secret)
            .map_err(|_| self.malformed())?;
        bytes.try_into().map_err(|_| self.malformed())
    }

    /// The kid as the four bytes that binary tokens carry.
    pub(super) fn kid_number(&self) -> Result<u32, RingError> {
        if self.kid.len() != 8 {
            return Err(self.malformed());
        }
        u32::from_str_radix(&self.kid, 16).map_err(|_| self.malformed())
    }
}

/// All keys of an installation. Its JSON is the content of the key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    /// Format of the file: 1.
    pub version: u32,
    /// Place and page tokens.
    pub mac: Vec<StoredKey>,
    /// Passes and ticket codes.
    pub pass: Vec<StoredKey>,
    /// User tokens made by `usher token`.
    pub user: Vec<StoredKey>,
}

/// A key and what it is for.
pub struct RingKey<'a> {
    pub family: &'static str,
    pub stored: &'a StoredKey,
}

/// A key as `usher keys list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedKey {
    pub family: &'static str,
    pub kid: String,
    pub created_at_s: u64,
    pub sign_from_s: u64,
    /// Signs now; the others only verify.
    pub signs: bool,
}

impl KeyRing {
    #[must_use]
    pub fn generate(now: UnixMs, random: Random<'_>) -> Self {
        let now_s = now.0 / 1_000;
        let one = || vec![StoredKey::generate(now_s, now_s, random)];
        Self {
            version: 1,
            mac: one(),
            pass: one(),
            user: one(),
        }
    }

    /// Adds a key to each family that signs `lead_s` from now, and forgets the
    /// oldest beyond [`KEYS_KEPT_MAX`].
    pub fn rotate(&mut self, now: UnixMs, lead_s: u64, random: Random<'_>) {
        let now_s = now.0 / 1_000;
        // In whole seconds, and never sooner than asked.
        let sign_from_s = match lead_s {
            0 => now_s,
            _ => now.0.div_ceil(1_000) + lead_s,
        };
        for family in [&mut self.mac, &mut self.pass, &mut self.user] {
            family.insert(0, StoredKey::generate(now_s, sign_from_s, random));
            family.truncate(KEYS_KEPT_MAX);
        }
    }

    /// Keys by family, in any order; what no family knows is left out.
    #[must_use]
    pub(super) fn of(keys: Vec<(&str, StoredKey)>) -> Self {
        let of_family = |family: &str| {
            let own = keys.iter().filter(|(of, _)| *of == family);
            let mut own: Vec<StoredKey> = own.map(|(_, key)| key.clone()).collect();
            own.sort_by(|a, b| {
                let newest = |key: &StoredKey| (key.sign_from_s, key.created_at_s);
                newest(b).cmp(&newest(a)).then_with(|| a.kid.cmp(&b.kid))
            });
            own
        };
        Self {
            version: 1,
            mac: of_family("mac"),
            pass: of_family("pass"),
            user: of_family("user"),
        }
    }

    /// The keys of both: what either signed is verified.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut keys: Vec<(&str, StoredKey)> = Vec::new();
        for (family, own) in self.families().into_iter().chain(other.families()) {
            for key in own {
                if !keys.contains(&(family, key.clone())) {
                    keys.push((family, key.clone()));
                }
            }
        }
        Self::of(keys)
    }

    fn families(&self) -> [(&'static str, &Vec<StoredKey>); 3] {
        [
            ("mac", &self.mac),
            ("pass", &self.pass),
            ("user", &self.user),
        ]
    }

    /// All keys, each family newest first.
    #[must_use]
    pub fn keys(&self) -> Vec<RingKey<'_>> {
        let families = self.families().into_iter();
        let all = families
            .flat_map(|(family, keys)| keys.iter().map(move |stored| RingKey { family, stored }));
        all.collect()
    }

    /// The first, which is the newest, of each family.
    #[must_use]
    pub fn newest(&self) -> Vec<RingKey<'_>> {
        let families = self.families().into_iter();
        let newest = families.filter_map(|(family, keys)| {
            let stored = keys.first()?;
            Some(RingKey { family, stored })
        });
        newest.collect()
    }

    /// What other nodes may know of it.
    pub(super) fn held(&self, now: UnixMs) -> Vec<HeldKey> {
        let listed = self.list(now).into_iter().zip(self.keys());
        let held = listed.map(|(listed, key)| HeldKey {
            family: listed.family.to_owned(),
            mark: key.stored.mark(listed.family),
            kid: listed.kid,
            signs: listed.signs,
        });
        held.collect()
    }

    #[must_use]
    pub fn list(&self, now: UnixMs) -> Vec<ListedKey> {
        let families = self.families();
        let of_family = |(family, keys): (&'static str, &Vec<StoredKey>)| {
            let signing = signing_index(keys, now);
            keys.iter()
                .enumerate()
                .map(|(index, key)| ListedKey {
                    family,
                    kid: key.kid.clone(),
                    created_at_s: key.created_at_s,
                    sign_from_s: key.sign_from_s,
                    signs: Some(index) == signing,
                })
                .collect::<Vec<_>>()
        };
        families.into_iter().flat_map(of_family).collect()
    }

    pub(super) fn fingerprint(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for key in self.mac.iter().chain(&self.pass).chain(&self.user) {
            context.update(key.kid.as_bytes());
            context.update(key.secret.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..12])
    }
}

/// The newest key whose time has come; with a clock that went back, the oldest.
pub(super) fn signing_index(keys: &[StoredKey], now: UnixMs) -> Option<usize> {
    let now_s = now.0 / 1_000;
    keys.iter()
        .position(|key| key.sign_from_s <= now_s)
        .or_else(|| keys.len().checked_sub(1))
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;

    /// Deterministic "random" bytes, different at each call.
    pub fn counting_random() -> impl Fn(&mut [u8]) {
        let next = Cell::new(1_u8);
        move |bytes| {
            for byte in bytes {
                *byte = next.get().wrapping_mul(167).wrapping_add(13);
                next.set(next.get().wrapping_add(1));
            }
        }
    }

    #[test]
    fn a_rotated_key_signs_only_after_its_lead_time() {
        let random = counting_random();
        let mut ring = KeyRing::generate(UnixMs(1_000_000), &random);
        let old = ring.pass[0].kid.clone();
        ring.rotate(UnixMs(2_000_000), 60, &random);
        let signing = |now_ms| {
            let index = signing_index(&ring.pass, UnixMs(now_ms)).expect("a key");
            ring.pass[index].kid.clone()
        };
        assert_eq!(signing(2_059_999), old);
        assert_eq!(signing(2_060_000), ring.pass[0].kid);
        assert_eq!(signing(0), old, "a clock that went back still signs");
    }

    #[test]
    fn a_lead_is_never_shorter_than_asked() {
        let random = counting_random();
        let mut ring = KeyRing::generate(UnixMs(1_000_000), &random);
        ring.rotate(UnixMs(2_000_999), 1, &random);
        let signs = |now_ms| signing_index(&ring.pass, UnixMs(now_ms)) == Some(0);
        assert!(!signs(2_001_998));
        assert!(signs(2_002_000));
    }

    #[test]
    fn rotation_keeps_a_bounded_number_of_keys() {
        let random = counting_random();
        let mut ring = KeyRing::generate(UnixMs(0), &random);
        let before = ring.fingerprint();
        for _ in 0..10 {
            ring.rotate(UnixMs(5_000), 0, &random);
        }
        assert_eq!(ring.mac.len(), KEYS_KEPT_MAX);
        assert_ne!(ring.fingerprint(), before);
        let listed = ring.list(UnixMs(5_000));
        assert_eq!(listed.len(), 3 * KEYS_KEPT_MAX);
        assert_eq!(listed.iter().filter(|key| key.signs).count(), 3);
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let ring = KeyRing::generate(UnixMs(0), &counting_random());
        assert!(!format!("{ring:?}").contains(&ring.pass[0].secret));
    }
}
