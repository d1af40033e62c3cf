//! An identity provider of one's own, that signs as most do: RS256.
//!
//! The server knows it by a JWKS file, as it would a real one.

use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use usher::clock::{Clock, SystemClock};
use usher::domain::ids::UserId;

use crate::error::BenchError;

const ISSUER: &str = "https://login.bench.example";
const AUDIENCE: &str = "usher";
const KID: &str = "bench";

pub struct Provider {
    key: KeyPair,
    header: String,
    jwks_file: PathBuf,
}

impl Provider {
    /// With a fresh key of 2,048 bits, and its JWKS in a file.
    pub fn start() -> Result<Self, BenchError> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(BenchError::failed)?;
        let public = key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwks = json!({ "keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": KID,
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }] });
        let jwks_file =
            std::env::temp_dir().join(format!("usher-bench-jwks-{}.json", std::process::id()));
        std::fs::write(&jwks_file, jwks.to_string())?;
        let header = json!({ "alg": "RS256", "kid": KID, "typ": "JWT" });
        Ok(Self {
            key,
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
            jwks_file,
        })
    }

    /// What a server must be told to believe it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("USHER_AUTH__ISSUER", ISSUER.to_owned()),
            ("USHER_AUTH__AUDIENCE", AUDIENCE.to_owned()),
            (
                "USHER_AUTH__JWKS_FILE",
                self.jwks_file.display().to_string(),
            ),
        ]
    }

    pub fn sign(&self, user: &UserId, is_admin: bool, ttl_s: u64) -> Result<String, BenchError> {
        let now_s = SystemClock.now().0 / 1_000;
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": user.as_str(), "iat": now_s, "exp": now_s + ttl_s,
        });
        if is_admin {
            claims["role"] = json!("admin");
        }
        let signed = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(BenchError::failed)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.jwks_file);
    }
}
