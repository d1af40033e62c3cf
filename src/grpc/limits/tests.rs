use std::convert::Infallible;

use tonic::Code;
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use super::super::auth::{ACCESS, Authenticator};
use super::*;
use crate::domain::time::UnixMs;

const JOIN: &str = "/usher.v1.QueueService/Join";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn forwarded(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("x-forwarded-for", value.parse().expect("a value"));
    }
    headers
}

#[test]
fn the_client_is_found_behind_trusted_proxies_only() {
    let peer = Some(address("10.0.0.1"));
    let many = vec!["6.6.6.6"; 50].join(",");
    for (values, trusted, expected) in [
        (&["1.2.3.4"][..], 0, "10.0.0.1"),
        (&[], 1, "10.0.0.1"),
        (&["1.2.3.4"], 1, "1.2.3.4"),
        (&["6.6.6.6, 1.2.3.4"], 1, "1.2.3.4"),
        (&["6.6.6.6", "1.2.3.4"], 1, "1.2.3.4"),
        (&["6.6.6.6, 1.2.3.4, 10.0.0.2"], 2, "1.2.3.4"),
        (&["1.2.3.4"], 2, "10.0.0.1"),
        (&[many.as_str(), "1.2.3.4"], 1, "1.2.3.4"),
        (&["not an address"], 1, "10.0.0.1"),
        (&["1.2.3.4, "], 1, "10.0.0.1"),
        (&["1.2.3.4:55"], 1, "1.2.3.4"),
        (&["[2001:db8::1]:55"], 1, "2001:db8::1"),
        (&["[2001:db8::1]"], 1, "2001:db8::1"),
        (&["fe80::1%eth0"], 1, "fe80::1"),
        (&["::ffff:1.2.3.4"], 1, "::ffff:1.2.3.4"),
    ] {
        let found = client_address(&forwarded(values), peer, trusted);
        assert_eq!(found, Some(address(expected)), "{values:?} {trusted}");
    }
}

#[test]
fn a_household_has_one_bucket() {
    let key = |text| BucketKey::of_address(address(text));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
    assert_ne!(key("1.2.3.4"), key("1.2.3.5"));
}

#[test]
fn joins_streams_money_and_coupons_are_counted_and_nothing_else() {
    let counted: Vec<_> = ACCESS
        .iter()
        .filter(|(path, _)| kind(&Method::POST, path).is_some())
        .map(|(path, _)| path.rsplit('/').next().expect("a method"))
        .collect();
    assert_eq!(
        counted,
        [
            "WatchSeatMap",
            "IssueCoupon",
            "PayReservation",
            "TopUpWallet",
            "Join",
            "Watch",
            "CancelReservation",
            "ExtendHold",
            "HoldSeats"
        ]
    );
    assert_eq!(kind(&Method::OPTIONS, JOIN), None, "a preflight");
    assert_eq!(kind(&Method::POST, "/grpc.health.v1.Health/Check"), None);
}

fn request(path: &str, user: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().expect("a path");
    if let Some(user) = user {
        request
            .headers_mut()
            .insert("x-user-id", user.parse().expect("a value"));
        let caller = Authenticator::Dev.identify(request.headers(), UnixMs(0));
        request.extensions_mut().insert(Identity(caller));
    }
    let peer: SocketAddr = "192.0.2.1:1".parse().expect("an address");
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

fn limits(join_per_minute: u32) -> RateLimits {
    RateLimits::new(&LimitSettings {
        join_per_minute,
        stream_open_per_minute: 600,
        money_per_minute: 600,
        coupon_per_minute: 2,
        trusted_proxies: 0,
    })
}

async fn send(limits: &RateLimits, request: Request<Body>) -> Option<tonic::Status> {
    let inner = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let response = limits.layer(inner).oneshot(request).await;
    tonic::Status::from_header_map(response.expect("infallible").headers())
}

#[tokio::test]
async fn one_caller_too_fast_is_told_when_to_come_back_and_others_are_not() {
    let limits = limits(3);
    for _ in 0..3 {
        assert!(send(&limits, request(JOIN, Some("alice"))).await.is_none());
    }
    let refusal = send(&limits, request(JOIN, Some("alice"))).await;
    let refusal = refusal.expect("refused");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let info = refusal.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "RATE_LIMITED");
    let retry = refusal.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay >= Some(Duration::from_secs(1)));
    for other in [
        request(JOIN, Some("bob")),
        request("/usher.v1.QueueService/Watch", Some("alice")),
        request("/usher.v1.QueueService/GetRoom", Some("alice")),
        request(JOIN, None),
    ] {
        assert!(send(&limits, other).await.is_none());
    }
}

#[tokio::test]
async fn who_hammers_for_a_coupon_is_refused_and_may_pay_and_join_all_the_same() {
    let limits = limits(3);
    let issue = || request("/usher.v1.CouponService/IssueCoupon", Some("alice"));
    for _ in 0..2 {
        assert!(send(&limits, issue()).await.is_none());
    }
    for _ in 0..100 {
        let refusal = send(&limits, issue()).await.expect("refused");
        assert_eq!(refusal.code(), Code::ResourceExhausted);
    }
    for path in ["/usher.v1.PaymentService/PayReservation", JOIN] {
        let other = send(&limits, request(path, Some("alice"))).await;
        assert!(other.is_none(), "{path}");
    }
}

#[tokio::test]
async fn buckets_that_are_full_again_are_forgotten() {
    // A token comes back within a hundredth of a millisecond.
    let limits = limits(u32::MAX);
    for user in 0..100 {
        let user = format!("user-{user}");
        send(&limits, request(JOIN, Some(&user))).await;
    }
    assert!(limits.buckets() > 0);
    tokio::time::timeout(Duration::from_secs(10), async {
        while limits.buckets() > 0 {
            limits.prune();
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("forgotten");
}
