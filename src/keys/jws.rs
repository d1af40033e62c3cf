//! Compact JWS signed with Ed25519: `header.payload.signature`.
//!
//! Usher is the only signer, so the header is pinned as text: a token verifies
//! only if its first segment is exactly the one that a known key writes for
//! this `typ`. Nothing of an unverified token is ever parsed.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::time::UnixMs;

use super::ring::{RingError, StoredKey, signing_index};

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8_192;

struct EdKey {
    kid: String,
    pair: Ed25519KeyPair,
}

impl EdKey {
    fn header(&self, typ: &str) -> String {
        let json = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{typ}"}}"#, self.kid);
        URL_SAFE_NO_PAD.encode(json)
    }
}

/// The keys of one family.
pub struct EdKeys {
    signing: usize,
    keys: Vec<EdKey>,
}

impl fmt::Debug for EdKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdKeys").finish_non_exhaustive()
    }
}

/// The public half of a key.
pub struct PublicKey {
    pub kid: String,
    /// The 32 bytes of the point.
    pub point: Vec<u8>,
}

impl EdKeys {
    pub fn load(
        family: &'static str,
        stored: &[StoredKey],
        now: UnixMs,
    ) -> Result<Self, RingError> {
        let signing = signing_index(stored, now).ok_or(RingError::NoKey { family })?;
        let keys = stored
            .iter()
            .map(|key| {
                key.kid_number()?;
                let pair = Ed25519KeyPair::from_seed_unchecked(&key.secret()?).map_err(|_| {
                    RingError::Malformed {
                        kid: key.kid.clone(),
                    }
                })?;
                Ok(EdKey {
                    kid: key.kid.clone(),
                    pair,
                })
            })
            .collect::<Result<_, RingError>>()?;
        Ok(Self { signing, keys })
    }

    /// Deterministic: the same payload gives the same text.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> String {
        self.seal(self.keys[self.signing].header(typ), payload)
    }

    fn seal(&self, header: String, payload: &[u8]) -> String {
        let key = &self.keys[self.signing];
        let mut token = header;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = key.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }

    /// The payload, if one of these keys signed it as `typ`.
    pub fn verify(&self, typ: &str, token: &str) -> Result<Vec<u8>, &'static str> {
        let segments = Segments::split(token)?;
        let key = self
            .keys
            .iter()
            .find(|key| key.header(typ) == segments.header)
            .ok_or("header of no known key and type")?;
        let signature = segments.signature()?;
        UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref())
            .verify(segments.signed.as_bytes(), &signature)
            .map_err(|_| "signature does not match")?;
        segments.payload()
    }

    /// Well signed, whatever the header says.
    #[cfg(test)]
    pub fn sign_with_header(&self, header: &str, payload: &[u8]) -> String {
        self.seal(URL_SAFE_NO_PAD.encode(header), payload)
    }

    pub fn public_keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.keys.iter().map(|key| PublicKey {
            kid: key.kid.clone(),
            point: key.pair.public_key().as_ref().to_vec(),
        })
    }
}

/// The three segments of a compact JWS, not yet verified.
pub struct Segments<'a> {
    pub header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// What the signature is over: header and payload.
    pub signed: &'a str,
}

impl<'a> Segments<'a> {
    pub fn split(token: &'a str) -> Result<Self, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("longer than a token may be");
        }
        let mut segments = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) else {
            return Err("not three segments");
        };
        Ok(Self {
            header,
            payload,
            signature,
            signed: &token[..header.len() + 1 + payload.len()],
        })
    }

    pub fn header(&self) -> Result<Vec<u8>, &'static str> {
        decode(self.header)
    }

    pub fn payload(&self) -> Result<Vec<u8>, &'static str> {
        decode(self.payload)
    }

    pub fn signature(&self) -> Result<Vec<u8>, &'static str> {
        decode(self.signature)
    }
}

/// Strict: no padding, no other alphabet, no trailing bits.
fn decode(segment: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| "a segment is not base64url")
}
