use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use prost::Message as _;
use tower::{Layer as _, ServiceExt as _};

use super::gate::{AdmitLayer, IdentifyLayer};
use super::*;
use crate::clock::ManualClock;
use crate::keys::Keys;
use crate::keys::ring::KeyRing;
use crate::keys::user::{UserTokenRules, UserTokens};
use crate::proto::FILE_DESCRIPTOR_SET;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

fn methods_of_the_contract() -> BTreeSet<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a set");
    let mut methods = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == "usher.v1") {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!("/usher.v1.{}/{}", service.name(), method.name()));
            }
        }
    }
    methods
}

#[test]
fn every_rpc_of_the_contract_is_in_exactly_one_class() {
    let listed: Vec<_> = ACCESS.iter().map(|(path, _)| (*path).to_owned()).collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a path is listed twice");
    assert!(listed.is_sorted(), "the table is searched by halves");
    assert_eq!(unique, methods_of_the_contract());
}

#[test]
fn the_classes_are_those_of_the_contract() {
    let mut by_class: HashMap<Access, Vec<&str>> = HashMap::new();
    for (path, class) in ACCESS {
        let name = path.rsplit('/').next().expect("a method");
        by_class.entry(*class).or_default().push(name);
        assert_eq!(
            *class == Access::Admin,
            path.contains("AdminService"),
            "{path}"
        );
    }
    let mut public = by_class.remove(&Access::Public).expect("some");
    public.sort_unstable();
    assert_eq!(
        public,
        [
            "GetConcert",
            "GetPublicKeys",
            "GetRoom",
            "ListConcerts",
            "ListPerformances",
            "ListRooms"
        ]
    );
    let mut with_pass = by_class.remove(&Access::UserWithPass).expect("some");
    with_pass.sort_unstable();
    assert_eq!(
        with_pass,
        ["GetSeatMap", "HoldSeats", "IssueCoupon", "WatchSeatMap"]
    );
    assert_eq!(access("/usher.v1.QueueService/Unknown"), Some(Access::User));
    assert_eq!(access("/grpc.health.v1.Health/Check"), None);
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        headers.append(*name, value);
    }
    headers
}

fn random(bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(index * 7 % 251).unwrap_or(0);
    }
}

fn jwt() -> (Keys, Authenticator) {
    let keys = Keys::load(&KeyRing::generate(NOW, &random), NOW).expect("keys");
    let own = UserTokens::new(keys.own_user_keys().to_vec(), UserTokenRules::default());
    (keys, Authenticator::Jwt(Arc::from([own])))
}

#[test]
fn development_mode_believes_well_formed_metadata_only() {
    let dev = Authenticator::Dev;
    let role = |pairs: &[(&'static str, &str)]| {
        let caller = dev.identify(&headers(pairs), NOW);
        caller.map(|caller| (caller.user.to_string(), caller.role))
    };
    let alice = ("x-user-id", "alice");
    assert_eq!(role(&[alice]), Ok(("alice".to_owned(), Role::User)));
    assert_eq!(
        role(&[alice, ("x-user-role", "admin")]),
        Ok(("alice".to_owned(), Role::Admin))
    );
    // A token is neither needed nor looked at.
    assert!(role(&[alice, ("authorization", "Bearer x")]).is_ok());
    for bad in [
        &[][..],
        &[("authorization", "Bearer x")],
        &[("x-user-id", "")],
        &[("x-user-id", "a b")],
        &[("x-user-id", "a{b}")],
        &[("x-user-id", "al\u{e9}")],
        &[alice, alice],
        &[alice, ("x-user-id", "mallory")],
        &[alice, ("x-user-role", "Admin")],
        &[alice, ("x-user-role", "")],
        &[alice, ("x-user-role", "user"), ("x-user-role", "admin")],
        &[alice, ("forwarded", "for=1.2.3.4")],
        &[alice, ("x-forwarded-for", "1.2.3.4")],
        &[alice, ("x-forwarded-proto", "https")],
        &[alice, ("x-forwarded-host", "usher")],
    ] {
        assert!(
            matches!(role(bad), Err(EdgeError::Unauthenticated(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn bearer_tokens_are_taken_in_one_spelling_once() {
    let (keys, authenticator) = jwt();
    let alice = UserId::parse("alice").expect("user");
    let token = keys.issuer.sign(&alice, false, NOW, 60);
    let identify = |values: &[String]| {
        let pairs: Vec<_> = values
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        authenticator.identify(&headers(&pairs), NOW)
    };
    let good = format!("Bearer {token}");
    assert_eq!(
        identify(std::slice::from_ref(&good)).expect("good").user,
        alice
    );
    for bad in [
        vec![],
        vec![good.clone(), good.clone()],
        vec![good.clone(), "Bearer x".to_owned()],
        vec![format!("bearer {token}")],
        vec![format!("BEARER {token}")],
        vec![format!("Bearer  {token}")],
        vec![format!("Bearer\t{token}")],
        vec![format!(" Bearer {token}")],
        vec![format!("Bearer {token} ")],
        vec![format!("Bearer{token}")],
        vec![format!("Bearer {token}, Bearer {token}")],
        vec![format!("Basic {token}")],
        vec![token.clone()],
        vec!["Bearer ".to_owned()],
        vec![format!("Bearer {}", "A".repeat(65_536))],
    ] {
        assert!(
            matches!(identify(&bad), Err(EdgeError::Unauthenticated(_))),
            "{bad:.60?}"
        );
    }
    let dev_metadata = headers(&[("x-user-id", "alice")]);
    assert!(authenticator.identify(&dev_metadata, NOW).is_err());
}

#[test]
fn development_mode_stays_on_this_machine_unless_told() {
    for (listen, allowed) in [
        ("127.0.0.1:50051", true),
        ("127.8.9.1:1", true),
        ("[::1]:50051", true),
        ("[::ffff:127.0.0.1]:50051", true),
        ("0.0.0.0:50051", false),
        ("[::]:50051", false),
        ("10.0.0.7:50051", false),
    ] {
        let listen: SocketAddr = listen.parse().expect("an address");
        assert_eq!(dev_mode_allowed(listen, false), allowed, "{listen}");
        assert!(dev_mode_allowed(listen, true));
    }
}

#[test]
fn a_room_may_require_claims_that_a_development_user_never_carries() {
    let caller = Authenticator::Dev
        .identify(&headers(&[("x-user-id", "alice")]), NOW)
        .expect("alice");
    assert_eq!(caller.require_claims(&[]), Ok(()));
    assert!(matches!(
        caller.require_claims(&["member".to_owned()]),
        Err(EdgeError::Unauthenticated(_))
    ));
}

/// Sends one request through both layers; the service says who called.
async fn send(authenticator: Authenticator, path: &str, headers: HeaderMap) -> (i32, String) {
    let inner = tower::service_fn(|request: Request<Body>| async move {
        let caller = request.extensions().get::<Caller>();
        let user = caller.map_or("nobody", |caller| caller.user.as_str());
        let mut response = Response::new(Body::empty());
        let user = HeaderValue::from_str(user).expect("ascii");
        response.headers_mut().insert("caller", user);
        Ok::<_, Infallible>(response)
    });
    let clock = Arc::new(ManualClock::new(NOW));
    let identify = IdentifyLayer::new(Arc::new(authenticator), clock);
    let service = identify.layer(AdmitLayer.layer(inner));
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path");
    *request.headers_mut() = headers;
    let response = service.oneshot(request).await.expect("infallible");
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().expect("ascii"))
    };
    let code = header("grpc-status").parse().unwrap_or(0);
    (code, header("caller").to_owned())
}

#[tokio::test]
async fn the_gate_lets_through_who_may_and_nobody_else() {
    const OK: i32 = 0;
    const DENIED: i32 = 7;
    const UNAUTHENTICATED: i32 = 16;
    let alice = || headers(&[("x-user-id", "alice")]);
    let admin = || headers(&[("x-user-id", "root"), ("x-user-role", "admin")]);
    let garbage = || headers(&[("x-user-id", "\u{e9}"), ("x-user-id", "b")]);
    for (path, class) in ACCESS {
        let expected = match class {
            Access::Public => [OK, OK, OK, OK],
            Access::User | Access::UserWithPass => [UNAUTHENTICATED, OK, OK, UNAUTHENTICATED],
            Access::Admin => [UNAUTHENTICATED, DENIED, OK, UNAUTHENTICATED],
        };
        let callers = [HeaderMap::new(), alice(), admin(), garbage()];
        for (headers, code) in callers.into_iter().zip(expected) {
            let (got, caller) = send(Authenticator::Dev, path, headers.clone()).await;
            assert_eq!(got, code, "{path} {headers:?}");
            let is_named = code == OK && *class != Access::Public;
            assert_eq!(is_named, !["", "nobody"].contains(&caller.as_str()));
        }
    }
    let (code, caller) = send(Authenticator::Dev, "/livez", garbage()).await;
    assert_eq!((code, caller.as_str()), (OK, "nobody"));
}
