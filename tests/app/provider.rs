//! An identity provider: keys of each kind, their JWKS, and tokens good or bad.

use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use usher::domain::time::UnixMs;

pub const ISSUER: &str = "https://login.example";
pub const AUDIENCE: &str = "ticket-sale";

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What signs a token, whatever its header says.
#[derive(Debug, Clone, Copy)]
pub enum Signer {
    Ed,
    Rsa,
    RsaSha384,
    Ec,
    /// ECDSA as X.509 writes it, which a JWS does not.
    EcAsn1,
    /// HMAC, with what everyone may know as its secret.
    HmacOfRsaPem,
    HmacOfEcPem,
    HmacOfJwks,
    HmacOfNothing,
}

pub struct Provider {
    kid: &'static str,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ec_asn1: EcdsaKeyPair,
}

impl Provider {
    /// `kid` names its Ed25519 key; the others are "rsa" and "ec".
    pub fn new(kid: &'static str) -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("ec");
        let secret = ec.to_pkcs8v1().expect("a document");
        let ec_asn1 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, secret.as_ref());
        Self {
            kid,
            ed: Ed25519KeyPair::generate().expect("ed"),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("rsa"),
            ec,
            ec_asn1: ec_asn1.expect("the same key"),
        }
    }

    fn ed_jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig",
               "x": b64(self.ed.public_key())})
    }

    pub fn jwks(&self) -> Value {
        let public = self.rsa.public_key();
        let n = b64(public.modulus().big_endian_without_leading_zero());
        let e = b64(public.exponent().big_endian_without_leading_zero());
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            self.ed_jwk(),
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": n, "e": e},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": n, "e": e},
            {"kty": "RSA", "kid": "ps", "alg": "PS256", "n": n, "e": e},
            {"kty": "EC", "kid": "ec", "alg": "ES256", "crv": "P-256",
             "x": b64(&point[1..33]), "y": b64(&point[33..])},
            {"kty": "oct", "kid": "mac", "k": b64("secret")},
        ]})
    }

    fn rsa_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().expect("der");
        pem(der.as_ref())
    }

    pub fn ec_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.ec.public_key().as_der().expect("der");
        pem(der.as_ref())
    }

    pub fn header(&self) -> Value {
        json!({"alg": "EdDSA", "kid": self.kid, "typ": "JWT"})
    }

    /// A good token of this user, for an hour.
    pub fn token(&self, user: &str, now: UnixMs) -> String {
        let claims = claims(user, now).to_string();
        self.mint(Signer::Ed, &self.header().to_string(), &claims)
    }

    pub fn admin_token(&self, now: UnixMs) -> String {
        let mut claims = claims("root", now);
        claims["role"] = json!(["staff", "admin"]);
        let header = self.header().to_string();
        self.mint(Signer::Ed, &header, &claims.to_string())
    }

    pub fn mint(&self, signer: Signer, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(signer, signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    fn sign(&self, signer: Signer, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            let signed = self.rsa.sign(padding, &random, message, &mut signature);
            signed.expect("signed");
            signature
        };
        let ecdsa = |key: &EcdsaKeyPair| {
            let signature = key.sign(&random, message).expect("signed");
            signature.as_ref().to_vec()
        };
        let mac = |secret: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::sign(&key, message).as_ref().to_vec()
        };
        match signer {
            Signer::Ed => self.ed.sign(message).as_ref().to_vec(),
            Signer::Rsa => rsa(&RSA_PKCS1_SHA256),
            Signer::RsaSha384 => rsa(&RSA_PKCS1_SHA384),
            Signer::Ec => ecdsa(&self.ec),
            Signer::EcAsn1 => ecdsa(&self.ec_asn1),
            Signer::HmacOfRsaPem => mac(&self.rsa_pem()),
            Signer::HmacOfEcPem => mac(&self.ec_pem()),
            Signer::HmacOfJwks => mac(&self.jwks().to_string()),
            Signer::HmacOfNothing => mac(""),
        }
    }
}

pub fn claims(user: &str, now: UnixMs) -> Value {
    let now_s = now.0 / 1_000;
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now_s, "exp": now_s + 3_600})
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

/// The keys of these providers in one file.
pub fn write_jwks(path: &Path, providers: &[&Provider]) {
    let mut set = providers[0].jwks();
    let keys = set["keys"].as_array_mut().expect("keys");
    keys.extend(providers[1..].iter().map(|other| other.ed_jwk()));
    std::fs::write(path, set.to_string()).expect("written");
}

/// The settings of a server that takes this provider's tokens.
pub fn jwt_mode(jwks: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("USHER_AUTH__MODE", "jwt".to_owned()),
        ("USHER_AUTH__ISSUER", ISSUER.to_owned()),
        ("USHER_AUTH__AUDIENCE", AUDIENCE.to_owned()),
        ("USHER_AUTH__JWKS_FILE", jwks.display().to_string()),
    ]
}
