//! Passes: proof of an activation that anyone can check against the JWKS.
//!
//! A pass only says what the activation's row said when it became ACTIVE; the
//! row decides. It is a function of that row and the key, so every node writes
//! the same pass. Verified ones are remembered, up to a number.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::domain::ids::{ActivationId, RoomId, UserId};
use crate::domain::time::UnixMs;

use super::jws::EdKeys;
use super::ring::{RingError, StoredKey};
use super::{LEEWAY_S, TokenError};

/// `aud` of every pass.
pub const PASS_AUDIENCE: &str = "usher-sale";
/// `typ` of every pass.
pub const PASS_TYP: &str = "usher-pass+jwt";
/// Verified passes that are remembered: as many as are likely active at once.
pub const VERIFIED_PASSES_MAX: u64 = 100_000;

/// What a pass says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassClaims {
    pub user: UserId,
    pub room: RoomId,
    pub activation: ActivationId,
    /// When the activation became ACTIVE; whole seconds.
    pub issued_at: UnixMs,
    /// End of the pass; whole seconds.
    pub expire_time: UnixMs,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    aud: String,
    sub: UserId,
    room_id: RoomId,
    jti: Uuid,
    iat: u64,
    exp: u64,
}

/// A public key as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedKey {
    pub kid: String,
    pub kty: &'static str,
    pub crv: &'static str,
    pub alg: &'static str,
    pub r#use: &'static str,
    pub x: String,
}

#[derive(Debug)]
pub struct PassKeys {
    keys: EdKeys,
    /// By SHA-256 of the token.
    verified: Cache<[u8; 32], PassClaims>,
    /// By activation and end: all its passes are one.
    issued: Cache<(ActivationId, UnixMs), Arc<str>>,
}

impl PassKeys {
    pub(super) fn load(stored: &[StoredKey], now: UnixMs) -> Result<Self, RingError> {
        Ok(Self {
            keys: EdKeys::load("pass", stored, now)?,
            verified: Cache::new(VERIFIED_PASSES_MAX),
            issued: Cache::new(VERIFIED_PASSES_MAX),
        })
    }

    /// The pass of an activation: signed once, then remembered.
    #[must_use]
    pub fn issue(&self, claims: &PassClaims) -> Arc<str> {
        let key = (claims.activation, claims.expire_time);
        self.issued.get_with(key, || self.sign(claims).into())
    }

    #[must_use]
    pub fn sign(&self, claims: &PassClaims) -> String {
        let payload = json!({
            "aud": PASS_AUDIENCE,
            "sub": claims.user.as_str(),
            "room_id": claims.room.as_str(),
            "jti": claims.activation.0,
            "iat": claims.issued_at.0 / 1_000,
            "exp": claims.expire_time.0 / 1_000,
        });
        self.keys.sign(PASS_TYP, payload.to_string().as_bytes())
    }

    /// What a pass says, if it is ours, in time, and the caller's.
    ///
    /// # Errors
    /// [`TokenError::OtherUser`] for a good pass of someone else,
    /// [`TokenError::Invalid`] for every other bad one.
    pub fn verify(
        &self,
        pass: &str,
        caller: &UserId,
        now: UnixMs,
    ) -> Result<PassClaims, TokenError> {
        let claims = self.read(pass, caller)?;
        let leeway_ms = LEEWAY_S * 1_000;
        if now >= claims.expire_time.plus_ms(leeway_ms) {
            return Err(TokenError::Invalid("pass expired"));
        }
        if claims.issued_at > now.plus_ms(leeway_ms) {
            return Err(TokenError::Invalid("pass from the future"));
        }
        Ok(claims)
    }

    /// As [`PassKeys::verify`], but leaves the time to the activation's row: a
    /// command that is repeated after its pass ended still gets its answer.
    ///
    /// # Errors
    /// As [`PassKeys::verify`].
    pub fn read(&self, pass: &str, caller: &UserId) -> Result<PassClaims, TokenError> {
        let claims = self.open(pass).map_err(TokenError::Invalid)?;
        if claims.user != *caller {
            return Err(TokenError::OtherUser);
        }
        Ok(claims)
    }

    /// Signature and form; what depends on time and caller is judged each time.
    fn open(&self, pass: &str) -> Result<PassClaims, &'static str> {
        if pass.len() > super::jws::TOKEN_BYTES_MAX {
            return Err("longer than a token may be");
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, pass.as_bytes()).as_ref());
        if let Some(claims) = self.verified.get(&key) {
            return Ok(claims);
        }
        let payload = self.keys.verify(PASS_TYP, pass)?;
        let wire: Wire = serde_json::from_slice(&payload).map_err(|_| "pass claims malformed")?;
        if wire.aud != PASS_AUDIENCE {
            return Err("pass for another audience");
        }
        let ms = |seconds: u64| UnixMs(seconds.saturating_mul(1_000));
        let claims = PassClaims {
            user: wire.sub,
            room: wire.room_id,
            activation: ActivationId(wire.jti),
            issued_at: ms(wire.iat),
            expire_time: ms(wire.exp),
        };
        self.verified.insert(key, claims.clone());
        Ok(claims)
    }

    /// The public keys, in the words of RFC 7517 and RFC 8037.
    #[must_use]
    pub fn published(&self) -> Vec<PublishedKey> {
        let publish = |key: super::jws::PublicKey| PublishedKey {
            kty: "OKP",
            crv: "Ed25519",
            r#use: "sig",
            alg: "EdDSA",
            kid: key.kid,
            x: URL_SAFE_NO_PAD.encode(key.point),
        };
        self.keys.public_keys().map(publish).collect()
    }

    /// The document `/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks(&self) -> String {
        json!({ "keys": self.published() }).to_string()
    }

    /// Forgets all verified passes; they are verified again when shown.
    pub fn forget(&self) {
        self.verified.invalidate_all();
    }

    pub(super) fn ed(&self) -> &EdKeys {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey};

    use super::super::Keys;
    use super::super::ring::KeyRing;
    use super::super::ring::tests::counting_random;
    use super::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    fn keys() -> Keys {
        Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys")
    }

    fn alice() -> UserId {
        UserId::parse("alice").expect("user")
    }

    fn claims() -> PassClaims {
        PassClaims {
            user: alice(),
            room: RoomId::parse("room").expect("room"),
            activation: ActivationId(Uuid::from_u128(42)),
            issued_at: NOW,
            expire_time: NOW.plus_ms(300_000),
        }
    }

    #[test]
    fn one_activation_has_one_pass_on_every_node() {
        let (one, other) = (keys(), keys());
        let pass = one.passes.sign(&claims());
        assert_eq!(pass, other.passes.sign(&claims()));
        for _ in 0..2 {
            assert_eq!(other.passes.verify(&pass, &alice(), NOW), Ok(claims()));
        }
    }

    #[test]
    fn a_pass_is_good_until_its_end_and_the_leeway() {
        let keys = keys();
        let pass = keys.passes.sign(&claims());
        let end = NOW.plus_ms(300_000);
        let verdict = |now| keys.passes.verify(&pass, &alice(), now).is_ok();
        assert!(verdict(end.plus_ms(4_999)));
        assert!(!verdict(end.plus_ms(5_000)));
        assert!(verdict(UnixMs(NOW.0 - 5_000)));
        assert!(!verdict(UnixMs(NOW.0 - 5_001)));
    }

    #[test]
    fn a_pass_of_another_user_is_told_from_a_bad_one() {
        let keys = keys();
        let pass = keys.passes.sign(&claims());
        let mallory = UserId::parse("mallory").expect("user");
        assert_eq!(
            keys.passes.verify(&pass, &mallory, NOW),
            Err(TokenError::OtherUser)
        );
        let late = NOW.plus_ms(400_000);
        assert!(keys.passes.verify(&pass, &alice(), late).is_err());
        assert_eq!(keys.passes.read(&pass, &alice()), Ok(claims()));
        assert_eq!(
            keys.passes.read(&pass, &mallory),
            Err(TokenError::OtherUser)
        );
    }

    #[test]
    fn anyone_can_check_a_pass_against_the_published_keys() {
        let keys = keys();
        let pass = keys.passes.sign(&claims());
        let set: JwkSet = serde_json::from_str(&keys.passes.jwks()).expect("a JWKS");
        let header = jsonwebtoken::decode_header(&pass).expect("a header");
        let jwk = set.find(&header.kid.expect("kid")).expect("published");
        let key = DecodingKey::from_jwk(jwk).expect("a key");
        let (signed, signature) = pass.rsplit_once('.').expect("segments");
        let verdict =
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::EdDSA);
        assert_eq!(verdict.ok(), Some(true));
        assert_eq!(header.typ.as_deref(), Some(PASS_TYP));
        assert!(
            !keys.passes.jwks().contains("\"d\""),
            "no private part is published"
        );
    }
}
