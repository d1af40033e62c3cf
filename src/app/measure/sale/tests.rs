//! Calls through the whole layer, on paused time.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::sleep;
use tower::{Layer as _, Service as _, service_fn};

use super::*;
use crate::app::measure::{CODES, MeasureLayer, Measured, Methods};
use crate::metrics::Metrics;

const HOLD: &str = "/usher.v1.ReservationService/HoldSeats";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A message that comes whole after a while.
fn request(path: &str, after: Duration) -> Request<Body> {
    let parts = stream::once(async move {
        sleep(after).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"message")))
    });
    let mut request = Request::new(Body::new(StreamBody::new(parts)));
    *request.uri_mut() = path.parse().expect("a path");
    request
}

/// Begins a call of a server whose handlers take so long to say `status`
/// (empty: OK), and whose answers come down slowly.
fn call(
    metrics: &Metrics,
    request: Request<Body>,
    takes: Duration,
    status: &'static str,
) -> Measured<impl Future<Output = Result<Response<Body>, Infallible>>> {
    let handler = service_fn(move |request: Request<TimedRequest<Body>>| async move {
        let read = request.into_body().collect().await;
        read.expect("a request");
        sleep(takes).await;
        let slow = stream::once(sleep(ms(30_000))).map(|()| Ok::<_, Infallible>(Bytes::new()));
        let mut response = Response::new(Body::from_stream(slow));
        if !status.is_empty() {
            let status = CODES.iter().position(|code| *code == status);
            let status = status.expect("a code").to_string();
            let headers = response.headers_mut();
            headers.insert("grpc-status", status.parse().expect("a number"));
        }
        Ok(response)
    });
    let methods = Methods::of(&[crate::proto::FILE_DESCRIPTOR_SET]).expect("the contract");
    MeasureLayer::new(metrics, methods)
        .layer(handler)
        .call(request)
}

/// What one call was worth, as it is seen afterwards.
async fn told(path: &str, body: Duration, takes: Duration, status: &'static str) -> Option<f64> {
    let metrics = Metrics::new();
    let answer = call(&metrics, request(path, body), takes, status).await;
    let answer = answer.expect("an answer");
    answer.into_body().collect().await.expect("its end");
    metrics.sale_times().look_p95_ms()
}

fn is_about(told: Option<f64>, expected: f64) -> bool {
    told.is_some_and(|told| (expected..=expected * 1.2).contains(&told))
}

#[tokio::test(start_paused = true)]
async fn neither_a_slow_request_nor_a_slow_reader_is_the_sales_time() {
    let slow_both_ways = told(HOLD, ms(9_000), ms(20), "").await;
    assert!(is_about(slow_both_ways, 20.0), "{slow_both_ways:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_count_as_they_took_unavailable_as_long_and_mistakes_not() {
    for (status, expected) in [
        ("", Some(40.0)),
        ("RESOURCE_EXHAUSTED", Some(40.0)),
        ("FAILED_PRECONDITION", Some(40.0)),
        ("UNAVAILABLE", Some(10_000.0)),
        ("NOT_FOUND", None),
        ("PERMISSION_DENIED", None),
    ] {
        let told = told(HOLD, ms(0), ms(40), status).await;
        match expected {
            Some(expected) => assert!(is_about(told, expected), "{status}: {told:?}"),
            None => assert_eq!(told, None, "{status}"),
        }
    }
    let stream = told("/usher.v1.CatalogService/WatchSeatMap", ms(0), ms(40), "").await;
    assert_eq!(stream, None, "a stream");
    let queue = told("/usher.v1.QueueService/Join", ms(0), ms(40), "").await;
    assert_eq!(queue, None, "not the sale");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_seen_by_its_age_and_counts_when_it_is_given_up() {
    let metrics = Metrics::new();
    let hung = call(&metrics, request(HOLD, ms(500)), ms(60_000), "");
    let mut hung = Box::pin(hung);
    let look = || metrics.sale_times().look_p95_ms();
    let seen = tokio::time::timeout(ms(400), &mut hung).await;
    assert!(seen.is_err());
    assert_eq!(look(), None, "its request is not whole");
    assert!(tokio::time::timeout(ms(1_100), &mut hung).await.is_err());
    assert!(is_about(look(), 1_000.0));
    assert!(tokio::time::timeout(ms(2_000), &mut hung).await.is_err());
    assert!(is_about(look(), 3_000.0));
    drop(hung);
    assert!(is_about(look(), 3_000.0));
    assert!(is_about(look(), 3_000.0));
    assert_eq!(look(), None);
}

#[tokio::test(start_paused = true)]
async fn whom_the_gate_refuses_is_not_timed() {
    let metrics = Metrics::new();
    let refuses = service_fn(|_: Request<TimedRequest<Body>>| async {
        sleep(ms(700)).await;
        Ok(Response::new(Body::empty()))
    });
    let methods = Methods::of(&[crate::proto::FILE_DESCRIPTOR_SET]).expect("the contract");
    let mut gate = MeasureLayer::new(&metrics, methods).layer(refuses);
    let refused = gate.call(request(HOLD, ms(0))).await;
    refused.expect("an answer");
    assert_eq!(metrics.sale_times().look_p95_ms(), None);
}

#[test]
fn the_sale_is_every_call_of_its_services_and_no_stream() {
    for (path, expected) in [
        ("usher.v1.ReservationService/HoldSeats", true),
        ("usher.v1.PaymentService/PayReservation", true),
        ("usher.v1.CatalogService/GetSeatMap", true),
        ("usher.v1.CatalogService/WatchSeatMap", false),
        ("usher.v1.QueueService/Join", false),
        ("usher.v1.AdminService/ListConcerts", false),
    ] {
        assert_eq!(is_of_sale(path), expected, "{path}");
    }
    assert!(CODES.contains(&UNAVAILABLE));
    assert!(SAYS_NOTHING.iter().all(|code| CODES.contains(code)));
    // The names are those of the contract.
    let methods = Methods::of(&[crate::proto::FILE_DESCRIPTOR_SET]).expect("the contract");
    for service in SALE {
        let known = |path: &String| path.starts_with(service) && is_of_sale(path);
        assert!(methods.0.iter().any(known), "{service}");
    }
}
