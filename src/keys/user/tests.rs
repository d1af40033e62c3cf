use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::Keys;
use super::super::catalogue::{bad_claims, bad_headers, bad_shapes};
use super::super::pass::{PASS_TYP, PassClaims};
use super::super::ring::KeyRing;
use super::super::ring::tests::counting_random;
use super::*;
use crate::domain::ids::{ActivationId, PlaceKey, RoomId};
use crate::keys::place::PlaceClaims;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const NOW_S: u64 = NOW.0 / 1_000;

fn keys() -> Keys {
    Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys")
}

fn tokens(keys: &Keys) -> UserTokens {
    UserTokens::new(keys.own_user_keys().to_vec(), UserTokenRules::default())
}

fn alice() -> UserId {
    UserId::parse("alice").expect("user")
}

fn good_header(keys: &Keys, typ: &str) -> Value {
    let kid = keys.issuer.0.public_keys().next().expect("a key").kid;
    json!({"alg": "EdDSA", "kid": kid, "typ": typ})
}

fn good_claims() -> Value {
    json!({
        "iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": "alice",
        "iat": NOW_S, "exp": NOW_S + 3_600,
    })
}

#[test]
fn every_bad_user_token_of_the_catalogue_is_refused() {
    let keys = keys();
    let tokens = tokens(&keys);
    let (header, claims) = (good_header(&keys, "JWT"), good_claims());
    let mint = |header: &str, claims: &str| {
        let token = keys.issuer.0.sign_with_header(header, claims.as_bytes());
        tokens.verify(&token, NOW)
    };
    assert!(mint(&header.to_string(), &claims.to_string()).is_ok());
    for (name, bad) in bad_headers(&header) {
        let verdict = mint(&bad, &claims.to_string());
        assert!(matches!(verdict, Err(TokenError::Invalid(_))), "{name}");
    }
    for (name, bad) in bad_claims(&claims, NOW_S) {
        let verdict = mint(&header.to_string(), &bad);
        assert!(matches!(verdict, Err(TokenError::Invalid(_))), "{name}");
    }
    for issuer in [json!("evil"), json!(["usher"]), Value::Null] {
        let mut claims = claims.clone();
        claims["iss"] = issuer;
        assert!(mint(&header.to_string(), &claims.to_string()).is_err());
    }
    let good = keys.issuer.sign(&alice(), false, NOW, 60);
    for (name, bad) in bad_shapes(&good) {
        assert!(tokens.verify(&bad, NOW).is_err(), "{name}");
    }
}

#[test]
fn every_bad_pass_of_the_catalogue_is_refused() {
    let keys = keys();
    let ed = keys.passes.ed();
    let kid = ed.public_keys().next().expect("a key").kid;
    let header = json!({"alg": "EdDSA", "kid": kid, "typ": PASS_TYP});
    let claims = json!({
        "aud": "usher-sale", "sub": "alice", "room_id": "room",
        "jti": "00000000-0000-0000-0000-00000000002a", "iat": NOW_S, "exp": NOW_S + 300,
    });
    let mint = |header: &str, claims: &str| {
        let pass = ed.sign_with_header(header, claims.as_bytes());
        keys.passes.verify(&pass, &alice(), NOW)
    };
    assert!(mint(&header.to_string(), &claims.to_string()).is_ok());
    for (name, bad) in bad_headers(&header) {
        let verdict = mint(&bad, &claims.to_string());
        assert!(matches!(verdict, Err(TokenError::Invalid(_))), "{name}");
    }
    for (name, bad) in bad_claims(&claims, NOW_S) {
        let verdict = mint(&header.to_string(), &bad);
        assert!(matches!(verdict, Err(TokenError::Invalid(_))), "{name}");
    }
    let good = ed.sign(PASS_TYP, claims.to_string().as_bytes());
    for (name, bad) in bad_shapes(&good) {
        assert!(keys.passes.verify(&bad, &alice(), NOW).is_err(), "{name}");
    }
}

#[test]
fn a_token_of_one_kind_is_none_of_another() {
    let keys = keys();
    let tokens = tokens(&keys);
    let room = RoomId::parse("room").expect("room");
    let user = keys.issuer.sign(&alice(), true, NOW, 60);
    let place = keys.places.sign(&PlaceClaims {
        room: room.clone(),
        place: PlaceKey { lane: 0, number: 1 },
        user: alice(),
        issued_at: NOW,
    });
    let pass = keys.passes.sign(&PassClaims {
        user: alice(),
        room,
        activation: ActivationId(uuid::Uuid::from_u128(1)),
        issued_at: NOW,
        expire_time: NOW.plus_ms(60_000),
    });
    for other in [&user, &place] {
        assert!(keys.passes.verify(other, &alice(), NOW).is_err());
    }
    for other in [&user, &pass] {
        assert!(keys.places.verify(other, &alice()).is_err());
    }
    for other in [&place, &pass] {
        assert!(tokens.verify(other, NOW).is_err());
    }
    // Even if the pass key were configured for users, typ and aud differ.
    let point = keys.passes.ed().public_keys().next().expect("a key");
    let confused = UserKey {
        kid: point.kid,
        algorithm: Algorithm::EdDSA,
        key: ParsedPublicKey::new(&ED25519, &point.point).expect("a key"),
    };
    let confused = UserTokens::new(vec![confused], UserTokenRules::default());
    assert!(confused.verify(&pass, NOW).is_err());
}

#[test]
fn own_tokens_say_who_and_whether_admin_and_end_on_time() {
    let keys = keys();
    let tokens = tokens(&keys);
    let token = keys.issuer.sign(&alice(), false, NOW, 60);
    let claims = tokens.verify(&token, NOW).expect("good");
    assert_eq!((&claims.user, claims.is_admin), (&alice(), false));
    let admin = keys.issuer.sign(&alice(), true, NOW, 60);
    assert!(tokens.verify(&admin, NOW).expect("good").is_admin);
    // The second look comes from memory, and time is judged anew.
    assert!(tokens.verify(&token, NOW.plus_ms(64_999)).is_ok());
    assert!(tokens.verify(&token, NOW.plus_ms(65_000)).is_err());
    assert!(tokens.verify(&token, UnixMs(NOW.0 - 5_001)).is_err());
}

#[test]
fn revocation_refuses_a_generation_a_user_and_a_dropped_key() {
    let keys = keys();
    let token = keys.issuer.sign(&alice(), false, NOW, 60);
    let with = |rules| UserTokens::new(keys.own_user_keys().to_vec(), rules).verify(&token, NOW);
    let generation = |from| UserTokenRules {
        issued_from_s: Some(from),
        ..UserTokenRules::default()
    };
    assert!(with(generation(NOW_S)).is_ok());
    assert!(with(generation(NOW_S + 1)).is_err());
    let revoked = UserTokenRules {
        revoked_users: HashSet::from([alice()]),
        ..UserTokenRules::default()
    };
    assert!(with(revoked).is_err());
    let rotated_out = UserTokens::new(Vec::new(), UserTokenRules::default());
    assert!(rotated_out.verify(&token, NOW).is_err());
}

#[test]
fn required_claims_count_only_when_they_say_something() {
    let keys = keys();
    let mut claims = good_claims();
    claims["member"] = json!("gold");
    claims["email_verified"] = json!(false);
    claims["phone"] = Value::Null;
    let header = good_header(&keys, "at+jwt").to_string();
    let token = keys
        .issuer
        .0
        .sign_with_header(&header, claims.to_string().as_bytes());
    let claims = tokens(&keys).verify(&token, NOW).expect("good");
    assert!(claims.carries("member"));
    for absent in ["email_verified", "phone", "other"] {
        assert!(!claims.carries(absent), "{absent}");
    }
}

struct Provider {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    jwks: String,
}

/// An identity provider with one RSA and one EC key.
fn provider() -> Provider {
    let rsa = rsa::KeyPair::generate(KeySize::Rsa2048).expect("rsa");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("ec");
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = rsa.public_key();
    let point = ec.public_key().as_ref();
    let n = b64(public.modulus().big_endian_without_leading_zero());
    let e = b64(public.exponent().big_endian_without_leading_zero());
    let jwks = json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": n, "e": e},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": n, "e": e},
        {"kty": "RSA", "kid": "ps", "alg": "PS256", "n": n, "e": e},
        {"kty": "EC", "kid": "ec", "alg": "ES256", "crv": "P-256",
         "x": b64(&point[1..33]), "y": b64(&point[33..])},
        {"kty": "oct", "kid": "mac", "k": "AAAA"},
    ]})
    .to_string();
    Provider { rsa, ec, jwks }
}

/// `alg` decides what signs; HS256 abuses the RSA public key as a secret.
fn mint(provider: &Provider, alg: &str, kid: &str) -> String {
    let header = json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(good_claims().to_string())
    );
    let random = SystemRandom::new();
    let message = signed.as_bytes();
    let signature = match alg {
        "RS256" => {
            let mut signature = vec![0; provider.rsa.public_modulus_len()];
            let rsa = &provider.rsa;
            rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                .expect("signed");
            signature
        }
        "ES256" => {
            let signature = provider.ec.sign(&random, message).expect("signed");
            signature.as_ref().to_vec()
        }
        _ => {
            let secret = provider.rsa.public_key().as_ref();
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, message).as_ref().to_vec()
        }
    };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn keys_of_a_jwks_verify_by_their_own_algorithm_only() {
    let provider = provider();
    let keys = UserKey::from_jwks(&provider.jwks).expect("keys");
    let kids: Vec<_> = keys.iter().map(|key| key.kid.as_str()).collect();
    assert_eq!(kids, ["rsa", "ec"]);
    let tokens = UserTokens::new(keys, UserTokenRules::default());
    for (alg, kid, good) in [
        ("RS256", "rsa", true),
        ("ES256", "ec", true),
        ("RS256", "ec", false),
        ("ES256", "rsa", false),
        ("HS256", "rsa", false),
        ("HS256", "mac", false),
        ("RS256", "enc", false),
        ("RS256", "ps", false),
    ] {
        let token = mint(&provider, alg, kid);
        assert_eq!(tokens.verify(&token, NOW).is_ok(), good, "{alg} by {kid}");
    }
}

#[test]
fn a_key_set_that_says_nothing_usable_is_refused() {
    assert_eq!(
        UserKey::from_jwks("<html>").err(),
        Some(UserKeyError::NotJwks)
    );
    assert_eq!(
        UserKey::from_jwks(r#"{"keys":[]}"#).err(),
        Some(UserKeyError::Empty)
    );
    let jwk = |x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}"#);
    let good = jwk("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
    let set = |keys: &[&str]| UserKey::from_jwks(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")));
    assert_eq!(set(&[&good]).expect("a key").len(), 1);
    for unusable in [set(&[&good, &good]), set(&[&jwk("AAAA")])] {
        assert!(matches!(unusable, Err(UserKeyError::Unusable { .. })));
    }
    assert!(UserKey::from_pem("k", b"secret").is_err());
    let ed = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    let key = UserKey::from_pem("k", ed.as_bytes()).expect("a key");
    assert_eq!(key.algorithm(), "EdDSA");
}
