//! User tokens by wire: every bad one gets one answer, and has no effect.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use usher::clock::{Clock, ManualClock, SystemClock};
use usher::domain::time::UnixMs;
use usher::grpc::auth::{ACCESS, Access};
use usher::proto::v1 as wire;

use crate::call::Call;
use crate::catalogue::{bad_claims, bad_headers, bad_shapes};
use crate::provider::{Provider, Signer, claims, jwt_mode, write_jwks};
use crate::whole::{Caller, JOIN, LIST_ROOMS, Whole, join};

/// What is wrong with a credential, and the values of its header.
type Case = (String, Vec<Vec<u8>>);

/// Good for one hour, and judged by a clock that stands still.
struct Login {
    provider: Provider,
    now: UnixMs,
    app: Whole,
    _dir: TempDir,
}

impl Login {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (jwks, pem) = (dir.path().join("jwks.json"), dir.path().join("ec.pem"));
        let provider = Provider::new("ed");
        write_jwks(&jwks, &[&provider]);
        let other = Provider::new("unused");
        std::fs::write(&pem, other.ec_pem()).expect("written");
        let now = SystemClock.now();
        let mut env = jwt_mode(&jwks);
        let listed = format!("[{{kid=\"pem\", file=\"{}\"}}]", pem.display());
        env.push(("USHER_AUTH__PUBLIC_KEYS", listed));
        // So that the longest tokens reach whoever reads tokens.
        env.push(("USHER_TRANSPORT__HEADER_BYTES_MAX", "262144".to_owned()));
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Self {
            app: Whole::start_at(Arc::new(ManualClock::new(now)), &env).await,
            provider,
            now,
            _dir: dir,
        }
    }

    fn good_claims(&self) -> Value {
        claims("alice", self.now)
    }

    /// Everything that a token can get wrong.
    fn bad_tokens(&self) -> Vec<(String, String)> {
        let provider = &self.provider;
        let (header, claims) = (provider.header(), self.good_claims());
        let mint = |header: &str, claims: &str| provider.mint(Signer::Ed, header, claims);
        let mut cases: Vec<(String, String)> = Vec::new();
        for (name, bad) in bad_headers(&header) {
            cases.push((name.to_owned(), mint(&bad, &claims.to_string())));
        }
        for (name, bad) in bad_claims(&claims, self.now.0 / 1_000) {
            cases.push((name.to_owned(), mint(&header.to_string(), &bad)));
        }
        for issuer in [json!("usher"), json!(["a"]), json!(""), Value::Null] {
            let name = format!("iss {issuer}");
            let mut claims = claims.clone();
            claims["iss"] = issuer;
            cases.push((name, mint(&header.to_string(), &claims.to_string())));
        }
        let good = provider.token("alice", self.now);
        for (name, bad) in bad_shapes(&good) {
            cases.push((name.to_owned(), bad));
        }
        let stranger = Provider::new("ed");
        cases.push((
            "another key of this kid".to_owned(),
            stranger.token("alice", self.now),
        ));
        cases.extend(self.confused_tokens());
        cases.extend(self.tokens_of_ours());
        cases
    }

    /// Signed by one algorithm, judged by another.
    fn confused_tokens(&self) -> Vec<(String, String)> {
        let claims = self.good_claims().to_string();
        let signed = [
            ("HS256", "rsa", Signer::HmacOfRsaPem),
            ("HS256", "ec", Signer::HmacOfEcPem),
            ("RS256", "rsa", Signer::HmacOfRsaPem),
            ("HS256", "mac", Signer::HmacOfJwks),
            ("HS256", "ed", Signer::HmacOfNothing),
            ("RS384", "rsa", Signer::RsaSha384),
            ("RS256", "rsa", Signer::RsaSha384),
            ("RS256", "enc", Signer::Rsa),
            ("RS256", "ps", Signer::Rsa),
            ("RS256", "ed", Signer::Rsa),
            ("EdDSA", "rsa", Signer::Ed),
            ("ES256", "rsa", Signer::Ec),
            ("RS256", "ec", Signer::Rsa),
            ("ES256", "ec", Signer::EcAsn1),
            ("ES256", "pem", Signer::Ec),
        ];
        let mint = |(alg, kid, signer)| {
            let header = json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string();
            let token = self.provider.mint(signer, &header, &claims);
            (format!("{alg} of {kid} by {signer:?}"), token)
        };
        signed.into_iter().map(mint).collect()
    }

    /// Signed by Usher, and not for this.
    fn tokens_of_ours(&self) -> Vec<(String, String)> {
        let (keys, now) = (&self.app.keys, self.now);
        let user = usher::domain::ids::UserId::parse("alice").expect("a user");
        let own = keys.issuer.sign(&user, true, now, 60);
        let page = keys.pages.sign(&["scope"], b"position", now);
        let place = crate::passes::place_claims("alice", "room", now);
        let pass = crate::passes::pass_claims("alice", "room", now);
        vec![
            ("a token of `usher token`".to_owned(), own),
            ("a page token".to_owned(), page),
            ("a place token".to_owned(), keys.places.sign(&place)),
            ("a pass".to_owned(), keys.passes.sign(&pass)),
        ]
    }

    /// What `authorization` can get wrong around a good token.
    fn bad_spellings(&self) -> Vec<Case> {
        let token = self.provider.token("alice", self.now);
        let good = format!("Bearer {token}");
        let twice = |other: &str| vec![good.clone().into_bytes(), other.as_bytes().to_vec()];
        let one = |text: String| vec![text.into_bytes()];
        vec![
            ("none".to_owned(), vec![]),
            ("twice the same".to_owned(), twice(&good)),
            ("a good one and another".to_owned(), twice("Bearer x")),
            ("lower case".to_owned(), one(format!("bearer {token}"))),
            ("upper case".to_owned(), one(format!("BEARER {token}"))),
            ("two spaces".to_owned(), one(format!("Bearer  {token}"))),
            ("a tab".to_owned(), one(format!("Bearer\t{token}"))),
            ("a space before".to_owned(), one(format!(" Bearer {token}"))),
            ("a tab behind".to_owned(), one(format!("Bearer {token}\t"))),
            ("no space".to_owned(), one(format!("Bearer{token}"))),
            ("two in one".to_owned(), one(format!("{good}, {good}"))),
            ("another scheme".to_owned(), one(format!("Basic {token}"))),
            ("no scheme".to_owned(), one(token.clone())),
            ("nothing".to_owned(), one(String::new())),
            ("the scheme alone".to_owned(), one("Bearer".to_owned())),
        ]
    }
}

/// Asks to join with these values of one header.
fn joining(room: &str, header: &str, values: &[Vec<u8>]) -> Call {
    let call = Call::new(JOIN).message(&join(room));
    let append = |call: Call, value: &Vec<u8>| call.header(header, value);
    values.iter().fold(call, append)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_user_token_gets_one_answer_and_no_place() {
    let login = Login::start().await;
    let channel = login.app.channel().await;
    let root = Caller::bearing(&channel, &login.provider.admin_token(login.now));
    let room = login.app.make_room(&root, 1).await;
    let mut cases = login.bad_spellings();
    for (name, token) in login.bad_tokens() {
        let value = format!("Bearer {token}").into_bytes();
        // A line's end cannot even be sent.
        match HeaderValue::from_bytes(&value) {
            Ok(_) => cases.push((name, vec![value])),
            Err(_) => assert_eq!(name, "newline"),
        }
    }
    assert!(cases.len() > 110, "{}", cases.len());
    for (name, values) in &cases {
        let call = joining(&room, "authorization", values);
        call.send(&channel).await.assert_unauthenticated(name);
    }
    // Metadata of development mode is no credential here.
    let claimed = Caller::admin(&channel);
    let call = claimed.call(JOIN).message(&join(&room));
    call.send(&channel)
        .await
        .assert_unauthenticated("x-user-id");
    // Nobody has joined: this is the first number.
    let good = login.provider.token("alice", login.now);
    let alice = Caller::bearing(&channel, &good);
    assert_eq!(alice.number(&room).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_tokens_of_every_algorithm_are_the_same_user() {
    let login = Login::start().await;
    let channel = login.app.channel().await;
    let root = Caller::bearing(&channel, &login.provider.admin_token(login.now));
    let room = login.app.make_room(&root, 1).await;
    let claims = login.good_claims().to_string();
    for (alg, kid, typ, signer) in [
        ("EdDSA", "ed", "JWT", Signer::Ed),
        ("EdDSA", "ed", "at+jwt", Signer::Ed),
        ("RS256", "rsa", "JWT", Signer::Rsa),
        ("ES256", "ec", "JWT", Signer::Ec),
    ] {
        let header = json!({"alg": alg, "kid": kid, "typ": typ}).to_string();
        let token = login.provider.mint(signer, &header, &claims);
        let alice = Caller::bearing(&channel, &token);
        assert_eq!(alice.number(&room).await, 1, "{alg}");
        // Who is no operator is told so, with a good token.
        let call = alice.call("/usher.v1.AdminService/CloseRoom");
        let refused = call.send(&channel).await;
        assert_eq!(refused.code, Some(Code::PermissionDenied));
        assert_eq!(refused.reason(), "ROLE_REQUIRED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_closes_every_rpc_but_the_public_ones() {
    let login = Login::start().await;
    let channel = login.app.channel().await;
    for (path, access) in ACCESS {
        let bare = Call::new(path).send(&channel).await;
        let bad = Call::new(path).bearer("a.b.c").send(&channel).await;
        if *access == Access::Public {
            assert_eq!(bare.code, bad.code, "{path}");
            assert_ne!(bad.code, Some(Code::Unauthenticated), "{path}");
        } else {
            bare.assert_unauthenticated(path);
            bad.assert_unauthenticated(path);
        }
    }
    let listed = Call::new(LIST_ROOMS).bearer("x").send(&channel).await;
    let listed: wire::ListRoomsResponse = listed.ok();
    assert!(listed.rooms.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn development_mode_takes_well_formed_metadata_once_and_from_no_proxy() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    let long = "a".repeat(129);
    let ids: [&[u8]; 12] = [
        b"",
        b" ",
        b"a b",
        b"a{b}",
        b"a:*",
        b"../x",
        b"%s",
        b"'--",
        b"a\tb",
        "al\u{e9}".as_bytes(),
        b"\xff",
        long.as_bytes(),
    ];
    for id in ids {
        let call = joining(&room, "x-user-id", &[id.to_vec()]);
        let name = String::from_utf8_lossy(id);
        call.send(&channel).await.assert_unauthenticated(&name);
    }
    let alice = || joining(&room, "x-user-id", &[b"alice".to_vec()]);
    let refused = [
        ("nobody", joining(&room, "x-user-id", &[])),
        (
            "a token",
            joining(&room, "authorization", &[b"Bearer x".to_vec()]),
        ),
        ("twice", alice().header("x-user-id", "alice")),
        ("two users", alice().header("x-user-id", "mallory")),
        ("a role", alice().header("x-user-role", "Admin")),
        ("no role", alice().header("x-user-role", "")),
        ("forwarded", alice().header("forwarded", "for=127.0.0.1")),
        ("for", alice().header("x-forwarded-for", "127.0.0.1")),
        ("host", alice().header("x-forwarded-host", "localhost")),
        ("proto", alice().header("x-forwarded-proto", "https")),
        ("empty", alice().header("x-forwarded-for", "")),
    ];
    for (name, call) in refused {
        call.send(&channel).await.assert_unauthenticated(name);
    }
    assert_eq!(Caller::named(&channel, "alice").number(&room).await, 1);
}
