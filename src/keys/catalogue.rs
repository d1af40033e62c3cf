//! Bad tokens, by name: each must be refused wherever a token is read, even
//! when its signature is good.

use serde_json::{Value, json};

pub type Case = (&'static str, String);

/// Headers under which nothing may verify. `good` is one that does.
pub fn bad_headers(good: &Value) -> Vec<Case> {
    let with = |name: &str, value: Value| {
        let mut header = good.clone();
        header[name] = value;
        header.to_string()
    };
    let without = |name: &str| {
        let mut header = good.clone();
        header.as_object_mut().expect("an object").remove(name);
        header.to_string()
    };
    let kid = &good["kid"];
    vec![
        ("alg none", with("alg", json!("none"))),
        ("alg None", with("alg", json!("None"))),
        ("alg nOnE", with("alg", json!("nOnE"))),
        ("alg HS256", with("alg", json!("HS256"))),
        ("alg not allowed", with("alg", json!("RS512"))),
        ("alg of another key", with("alg", json!("RS256"))),
        ("alg lower case", with("alg", json!("eddsa"))),
        ("alg missing", without("alg")),
        ("alg number", with("alg", json!(1))),
        ("alg array", with("alg", json!(["EdDSA"]))),
        ("typ other", with("typ", json!("secevent+jwt"))),
        ("typ missing", without("typ")),
        ("typ null", with("typ", Value::Null)),
        ("kid missing", without("kid")),
        ("kid unknown", with("kid", json!("00000000x"))),
        ("kid empty", with("kid", json!(""))),
        ("kid huge", with("kid", json!("k".repeat(6_000)))),
        ("kid path", with("kid", json!("../../dev/null"))),
        ("kid SQL", with("kid", json!("x' OR '1'='1"))),
        ("kid NUL", with("kid", json!("\0"))),
        ("kid array", with("kid", json!([kid]))),
        ("jku", with("jku", json!("https://evil.example/jwks"))),
        ("x5u", with("x5u", json!("https://evil.example/x5"))),
        ("x5c", with("x5c", json!(["MIIB"]))),
        ("jwk", with("jwk", json!({"kty": "OKP", "crv": "Ed25519"}))),
        ("crit unknown", with("crit", json!(["x-unknown"]))),
        ("b64 false", with("b64", json!(false))),
        ("JWE", with("enc", json!("A256GCM"))),
        ("zip", with("zip", json!("DEF"))),
        ("header array", json!([good]).to_string()),
        ("header string", json!("EdDSA").to_string()),
        ("header empty", String::new()),
        ("header not JSON", "{alg:EdDSA}".to_owned()),
        (
            "kid duplicate",
            good.to_string()
                .replacen('{', &format!("{{\"kid\":{kid},"), 1),
        ),
        (
            "alg duplicate",
            good.to_string().replacen('{', "{\"alg\":\"none\",", 1),
        ),
    ]
}

/// Claims that may not be taken. `good` would be; `now_s` is the time.
pub fn bad_claims(good: &Value, now_s: u64) -> Vec<Case> {
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims.to_string()
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims.to_string()
    };
    let raw =
        |name: &str, value: &str| without(name).replacen('{', &format!("{{\"{name}\":{value},"), 1);
    vec![
        ("exp string", with("exp", json!("never"))),
        (
            "exp digits in a string",
            with("exp", json!(now_s.to_string())),
        ),
        ("exp float", raw("exp", &format!("{}.5", now_s + 60))),
        ("exp exponent", raw("exp", "1e10")),
        ("exp negative", with("exp", json!(-1))),
        ("exp 10^20", raw("exp", "100000000000000000000")),
        ("exp null", with("exp", Value::Null)),
        ("exp missing", without("exp")),
        ("exp past", with("exp", json!(now_s - 6))),
        (
            "exp at the end of the leeway",
            with("exp", json!(now_s - 5)),
        ),
        ("exp zero", with("exp", json!(0))),
        ("nbf string", with("nbf", json!("now"))),
        ("nbf far future", with("nbf", json!(now_s + 86_400))),
        ("nbf beyond the leeway", with("nbf", json!(now_s + 6))),
        ("iat future", with("iat", json!(now_s + 6))),
        ("iat string", with("iat", json!("yesterday"))),
        ("aud array", with("aud", json!([good["aud"]]))),
        ("aud other", with("aud", json!("another-service"))),
        ("aud missing", without("aud")),
        ("sub missing", without("sub")),
        ("sub empty", with("sub", json!(""))),
        ("sub number", with("sub", json!(7))),
        ("sub with braces", with("sub", json!("a{b}:*"))),
        ("sub long", with("sub", json!("a".repeat(129)))),
        ("claims array", json!([good]).to_string()),
        ("claims string", json!("alice").to_string()),
        ("claims null", "null".to_owned()),
        ("claims empty", String::new()),
        (
            "exp duplicate",
            good.to_string().replacen('{', "{\"exp\":9999999999,", 1),
        ),
        (
            "sub duplicate",
            good.to_string().replacen('{', "{\"sub\":\"alice\",", 1),
        ),
        ("nested JWT", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
    ]
}

/// Texts that are no token, made from one that is.
pub fn bad_shapes(good: &str) -> Vec<Case> {
    let segments: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = segments[..] else {
        panic!("three segments");
    };
    let last = good.len() - 1;
    vec![
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("2 segments", format!("{header}.{claims}")),
        ("no signature", format!("{header}.{claims}.")),
        ("4 segments", format!("{good}.{signature}")),
        ("5 segments", format!("{good}.e30.e30")),
        ("trailing dot", format!("{good}.")),
        ("trailing dots", format!("{good}...")),
        ("padding", format!("{good}==")),
        ("space before", format!(" {good}")),
        ("space after", format!("{good} ")),
        ("newline", format!("{good}\n")),
        ("not base64url", good.replace('.', ".+/")),
        ("signature cut", good[..last - 3].to_owned()),
        (
            "signature of something else",
            format!("{header}.e30.{signature}"),
        ),
        ("segments swapped", format!("{claims}.{header}.{signature}")),
        ("64 KiB", format!("{good}{}", "A".repeat(65_536))),
        ("64 KiB of dots", ".".repeat(65_536)),
        ("non-ASCII", format!("{good}\u{e9}")),
    ]
}
