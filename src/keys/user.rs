//! User tokens: JWTs of an identity provider, or of `usher token`.
//!
//! Order of checks: size, three segments, header (pinned algorithms, `typ`,
//! a known `kid`, nothing that points to a key elsewhere), signature by that
//! key's own algorithm, then claims. A JSON key that occurs twice refuses the
//! token. Only good tokens are remembered, and their times are judged anew.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use moka::sync::Cache;
use serde_json::{Map, Value, json};

use crate::domain::ids::UserId;
use crate::domain::time::UnixMs;

use super::json::parse_object;
use super::jws::{EdKeys, Segments};
use super::live::LiveKeys;
use super::ring::{RingError, StoredKey};
use super::{LEEWAY_S, TokenError};

/// `iss` and `aud` of the tokens that `usher token` makes.
pub const OWN_ISSUER: &str = "usher";
/// Memory for verified user tokens, in bytes.
pub const VERIFIED_USERS_BYTES_MAX: u64 = 64 << 20;
/// Longest `kid`, in bytes.
const KID_BYTES_MAX: usize = 128;
/// The end of the year 9999: a later time is a mistake.
const TIME_MAX_S: u64 = 253_402_300_799;
/// Header fields that bring or fetch keys, or change how the token is read.
const HEADERS_REFUSED: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "enc", "zip", "b64"];

/// A key of the configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserKeyError {
    #[error("not a JWKS document")]
    NotJwks,
    #[error("no RS256, ES256 or EdDSA key with a kid is in it")]
    Empty,
    #[error("key {kid}: {why}")]
    Unusable { kid: String, why: &'static str },
}

/// A public key that user tokens may be signed with.
#[derive(Debug, Clone)]
pub struct UserKey {
    kid: String,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl UserKey {
    /// A public key in PEM form; its own type says the algorithm.
    ///
    /// # Errors
    /// [`UserKeyError::Unusable`] when the text is no RSA, P-256 or Ed25519
    /// public key.
    pub fn from_pem(kid: &str, pem: &[u8]) -> Result<Self, UserKeyError> {
        let candidates = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem(pem)),
            (Algorithm::ES256, DecodingKey::from_ec_pem(pem)),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem(pem)),
        ];
        candidates
            .into_iter()
            .find_map(|(algorithm, key)| Some((algorithm, parse_once(algorithm, &key.ok()?)?)))
            .map(|(algorithm, key)| Self {
                kid: kid.to_owned(),
                algorithm,
                key,
            })
            .ok_or_else(|| UserKeyError::Unusable {
                kid: kid.to_owned(),
                why: "not an RSA, P-256 or Ed25519 public key in PEM form",
            })
    }

    /// RS256, ES256 or EdDSA.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        name_of(self.algorithm)
    }

    /// The signing keys of a JWKS document. Keys of other algorithms, and keys
    /// for encryption, are passed over.
    ///
    /// # Errors
    /// [`UserKeyError`] when none is left, one is malformed, or two have one
    /// `kid`.
    pub fn from_jwks(text: &str) -> Result<Vec<Self>, UserKeyError> {
        let set: JwkSet = serde_json::from_str(text).map_err(|_| UserKeyError::NotJwks)?;
        let usable = set.keys.iter().filter_map(Self::from_jwk);
        let keys = usable.collect::<Result<Vec<Self>, UserKeyError>>()?;
        let mut kids = HashSet::new();
        if let Some(twice) = keys.iter().find(|key| !kids.insert(&key.kid)) {
            return Err(UserKeyError::Unusable {
                kid: twice.kid.clone(),
                why: "this kid occurs twice",
            });
        }
        if keys.is_empty() {
            return Err(UserKeyError::Empty);
        }
        Ok(keys)
    }

    /// `None` for a key that is not for signing users' tokens.
    fn from_jwk(jwk: &Jwk) -> Option<Result<Self, UserKeyError>> {
        if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let stated = jwk.common.key_algorithm.map(|stated| stated.to_string());
        if stated.is_some_and(|stated| stated != name_of(algorithm)) {
            return None;
        }
        let kid = jwk.common.key_id.clone()?;
        let key = DecodingKey::from_jwk(jwk).ok();
        Some(match key.and_then(|key| parse_once(algorithm, &key)) {
            Some(key) => Ok(Self {
                kid,
                algorithm,
                key,
            }),
            None => Err(UserKeyError::Unusable {
                kid,
                why: "its numbers make no key",
            }),
        })
    }
}

/// Parsing a key for each token would cost a tenth of verifying it.
fn parse_once(algorithm: Algorithm, key: &DecodingKey) -> Option<ParsedPublicKey> {
    let parsed = match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        }
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
            ParsedPublicKey::new(&ED25519, point)
        }
        _ => return None,
    };
    parsed.ok()
}

fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "none",
    }
}

/// What a user token must say to be taken.
#[derive(Debug, Clone)]
pub struct UserTokenRules {
    pub issuer: String,
    pub audience: String,
    /// `typ` must be one of these.
    pub types: Vec<String>,
    /// The claim that says `admin`, as a string or in an array.
    pub role_claim: String,
    pub leeway_s: u64,
    /// Revocation of a whole generation: tokens issued before are refused.
    pub issued_from_s: Option<u64>,
    /// Users who are refused whatever they show.
    pub revoked_users: HashSet<UserId>,
}

impl Default for UserTokenRules {
    fn default() -> Self {
        Self {
            issuer: OWN_ISSUER.to_owned(),
            audience: OWN_ISSUER.to_owned(),
            types: vec!["JWT".to_owned(), "at+jwt".to_owned()],
            role_claim: "role".to_owned(),
            leeway_s: LEEWAY_S,
            issued_from_s: None,
            revoked_users: HashSet::new(),
        }
    }
}

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq)]
pub struct UserClaims {
    pub user: UserId,
    pub is_admin: bool,
    times: Times,
    /// Names only: a million users' values would fill the memory.
    carried: Box<[Box<str>]>,
}

impl UserClaims {
    /// What it costs to remember, about, with its place in the cache.
    fn bytes(&self) -> u32 {
        let names = self.carried.iter().map(|name| 32 + name.len());
        let all = 384 + self.user.as_str().len() + names.sum::<usize>();
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// Whether the token carries this claim, for a room's `required_claims`:
    /// present, and neither null nor false.
    #[must_use]
    pub fn carries(&self, claim: &str) -> bool {
        self.carried.iter().any(|name| **name == *claim)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    expires_s: u64,
    not_before_s: u64,
}

impl Times {
    fn check(self, now: UnixMs, leeway_s: u64) -> Result<(), &'static str> {
        if now >= UnixMs(self.expires_s * 1_000).plus_ms(leeway_s * 1_000) {
            return Err("expired");
        }
        if UnixMs(self.not_before_s * 1_000) > now.plus_ms(leeway_s * 1_000) {
            return Err("not yet valid");
        }
        Ok(())
    }
}

/// Where the keys of an issuer are.
#[derive(Debug)]
enum Signers {
    Fixed(Arc<[UserKey]>),
    /// Usher's own, as they are now.
    Own(Arc<LiveKeys>),
}

#[derive(Debug)]
pub struct UserTokens {
    signers: Signers,
    rules: UserTokenRules,
    /// By SHA-256 of the token.
    verified: Cache<[u8; 32], Arc<UserClaims>>,
}

impl UserTokens {
    #[must_use]
    pub fn new(keys: Vec<UserKey>, rules: UserTokenRules) -> Self {
        Self::by(Signers::Fixed(keys.into()), rules)
    }

    /// Of the tokens that `usher token` signs.
    #[must_use]
    pub fn own(keys: Arc<LiveKeys>, rules: UserTokenRules) -> Self {
        Self::by(Signers::Own(keys), rules)
    }

    fn by(signers: Signers, rules: UserTokenRules) -> Self {
        let verified = Cache::builder()
            .max_capacity(VERIFIED_USERS_BYTES_MAX)
            .weigher(|_, claims: &Arc<UserClaims>| claims.bytes())
            .build();
        Self {
            signers,
            rules,
            verified,
        }
    }

    fn keys(&self) -> Arc<[UserKey]> {
        match &self.signers {
            Signers::Fixed(keys) => Arc::clone(keys),
            Signers::Own(keys) => keys.current().own_user_keys(),
        }
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// [`TokenError::Invalid`], with a text for the log.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Arc<UserClaims>, TokenError> {
        self.check(token, now).map_err(TokenError::Invalid)
    }

    fn check(&self, token: &str, now: UnixMs) -> Result<Arc<UserClaims>, &'static str> {
        let segments = Segments::split(token)?;
        let mut key = [0; 32];
        key.copy_from_slice(self.digest(token).as_ref());
        if let Some(claims) = self.verified.get(&key) {
            claims.times.check(now, self.rules.leeway_s)?;
            return Ok(claims);
        }
        let keys = self.keys();
        let signer = self.signer(&keys, &segments)?;
        let signature = segments.signature()?;
        signer
            .key
            .verify_sig(segments.signed.as_bytes(), &signature)
            .map_err(|_| "signature does not match")?;
        let payload = parse_object(&segments.payload()?).ok_or("claims are not an object")?;
        let claims = Arc::new(self.claims(payload)?);
        claims.times.check(now, self.rules.leeway_s)?;
        self.verified.insert(key, Arc::clone(&claims));
        Ok(claims)
    }

    /// What a verified token is remembered by: one that was signed by a key of
    /// our own that is forgotten is verified again, and refused.
    fn digest(&self, token: &str) -> digest::Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(token.as_bytes());
        if let Signers::Own(keys) = &self.signers {
            context.update(keys.current().fingerprint().as_bytes());
        }
        context.finish()
    }

    /// The key that the header names, if the header is one of ours to accept.
    fn signer<'a>(
        &self,
        keys: &'a [UserKey],
        segments: &Segments<'_>,
    ) -> Result<&'a UserKey, &'static str> {
        let header = parse_object(&segments.header()?).ok_or("header is not an object")?;
        if HEADERS_REFUSED
            .iter()
            .any(|name| header.contains_key(*name))
        {
            return Err("header brings its own rules");
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str);
        let typ = text("typ").ok_or("header without typ")?;
        if !self.rules.types.iter().any(|accepted| accepted == typ) {
            return Err("token of another type");
        }
        let kid = text("kid")
            .filter(|kid| kid.len() <= KID_BYTES_MAX)
            .ok_or("header without a usable kid")?;
        let signer = keys.iter().find(|key| key.kid == kid);
        let signer = signer.ok_or("key not known")?;
        if text("alg") != Some(name_of(signer.algorithm)) {
            return Err("algorithm is not the key's");
        }
        Ok(signer)
    }

    fn claims(&self, all: Map<String, Value>) -> Result<UserClaims, &'static str> {
        let text = |name: &str| all.get(name).and_then(Value::as_str);
        if text("iss") != Some(&self.rules.issuer) {
            return Err("another issuer");
        }
        // One audience: a token for several services could be replayed by any
        // of them.
        if text("aud") != Some(&self.rules.audience) {
            return Err("another audience");
        }
        let user = UserId::parse(text("sub").ok_or("no subject")?).map_err(|_| "bad subject")?;
        if self.rules.revoked_users.contains(&user) {
            return Err("user is revoked");
        }
        let expires_s = time(&all, "exp")?.ok_or("no expiry")?;
        let issued_s = time(&all, "iat")?;
        if self
            .rules
            .issued_from_s
            .is_some_and(|from| issued_s.unwrap_or(0) < from)
        {
            return Err("issued before the revocation");
        }
        let not_before_s = time(&all, "nbf")?.unwrap_or(0).max(issued_s.unwrap_or(0));
        let is_admin = match all.get(&self.rules.role_claim) {
            Some(Value::String(role)) => role == "admin",
            Some(Value::Array(roles)) => roles.iter().any(|role| role == "admin"),
            _ => false,
        };
        Ok(UserClaims {
            user,
            is_admin,
            times: Times {
                expires_s,
                not_before_s,
            },
            carried: carried(all),
        })
    }
}

/// The claims that say something.
fn carried(all: Map<String, Value>) -> Box<[Box<str>]> {
    all.into_iter()
        .filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)))
        .map(|(name, _)| name.into_boxed_str())
        .collect()
}

/// A NumericDate in whole seconds; anything else that is there is an error.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    value
        .as_u64()
        .filter(|seconds| *seconds <= TIME_MAX_S)
        .map(Some)
        .ok_or("a time is not whole seconds before the year 10000")
}

/// Signs user tokens with Usher's own key: for `usher token`, tests and tools.
#[derive(Debug)]
pub struct UserIssuer(EdKeys);

impl UserIssuer {
    pub(super) fn load(stored: &[StoredKey], now: UnixMs) -> Result<Self, RingError> {
        EdKeys::load("user", stored, now).map(Self)
    }

    #[must_use]
    pub fn sign(&self, user: &UserId, is_admin: bool, now: UnixMs, ttl_s: u64) -> String {
        let now_s = now.0 / 1_000;
        let mut claims = json!({
            "iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": user.as_str(),
            "iat": now_s, "exp": now_s.saturating_add(ttl_s).min(TIME_MAX_S),
        });
        if is_admin {
            claims["role"] = json!("admin");
        }
        self.0.sign("JWT", claims.to_string().as_bytes())
    }

    pub(super) fn public_keys(&self) -> Result<Vec<UserKey>, RingError> {
        let key = |public: super::jws::PublicKey| match own_key(&public) {
            Some(key) => Ok(key),
            None => Err(RingError::Malformed { kid: public.kid }),
        };
        self.0.public_keys().map(key).collect()
    }
}

fn own_key(public: &super::jws::PublicKey) -> Option<UserKey> {
    Some(UserKey {
        key: ParsedPublicKey::new(&ED25519, &public.point).ok()?,
        kid: public.kid.clone(),
        algorithm: Algorithm::EdDSA,
    })
}

#[cfg(test)]
mod tests;
