//! Everything that is served, as one value: `http::Request → http::Response`.
//!
//! From the outside in: CORS → plain HTTP by path, else → is it gRPC at all →
//! gRPC-Web → time and count → the gRPC services. gRPC-Web stands behind the
//! routes of plain HTTP because it refuses every other HTTP/1 request.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::{Either, Ready, ready};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::body::Body as GrpcBody;
use tonic::service::Routes;
use tonic_reflection::server::{Builder as Reflection, Error as ReflectionError};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service as TowerService};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::config::TransportConfig;
use crate::metrics::Metrics;
use crate::proto;

use super::StartError;
use super::measure::{MeasureLayer, Methods};

pub(super) type Service = axum::Router;

/// What browsers may send, by `api.md`.
const CORS_ALLOWED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-usher-pass"),
    HeaderName::from_static("x-user-id"),
    HeaderName::from_static("x-user-role"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    HeaderName::from_static("grpc-timeout"),
    header::CONTENT_TYPE,
];
/// What their scripts may read.
const CORS_EXPOSED: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];
/// How long a browser keeps the answer to a preflight.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

pub(super) fn compose(
    grpc: Routes,
    plain: axum::Router,
    config: &TransportConfig,
    metrics: &Metrics,
) -> Result<Service, StartError> {
    let methods = Methods::of(&DESCRIPTORS)?;
    let grpc = MeasureLayer::new(metrics, methods).layer(grpc.prepare().into_axum_router());
    let grpc = OnlyGrpc(GrpcWebLayer::new().layer(grpc));
    Ok(plain.fallback_service(grpc).layer(cors(config)?))
}

fn cors(config: &TransportConfig) -> Result<CorsLayer, StartError> {
    let origins = if config.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::from(Any)
    } else {
        let parse = |origin: &String| {
            HeaderValue::from_str(origin).map_err(|error| StartError::Setting {
                key: "transport.cors_origins",
                why: error.to_string(),
            })
        };
        let list: Result<Vec<_>, _> = config.cors_origins.iter().map(parse).collect();
        AllowOrigin::list(list?)
    };
    Ok(CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(CORS_ALLOWED)
        .expose_headers(CORS_EXPOSED)
        .max_age(CORS_MAX_AGE))
}

/// All that reflection tells: ours, health, and the error details, without
/// which tools print a status' details as unknown types.
const DESCRIPTORS: [&[u8]; 3] = [
    proto::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

fn reflection() -> Reflection<'static> {
    DESCRIPTORS.into_iter().fold(
        Reflection::configure(),
        Reflection::register_encoded_file_descriptor_set,
    )
}

/// Reflection in both versions that tools ask for.
pub(super) fn with_reflection(grpc: Routes, bytes_max: usize) -> Result<Routes, StartError> {
    let refuse = |error: ReflectionError| StartError::Descriptors(error.to_string());
    let v1 = reflection().build_v1().map_err(refuse)?;
    let v1alpha = reflection().build_v1alpha().map_err(refuse)?;
    Ok(grpc
        .add_service(v1.max_decoding_message_size(bytes_max))
        .add_service(v1alpha.max_decoding_message_size(bytes_max)))
}

/// Answers what is no gRPC by plain HTTP: a stray path is a 404. A call is a
/// POST: what is served below looks at the path alone, the rate limits do not.
#[derive(Clone)]
struct OnlyGrpc<S>(S);

impl<S> TowerService<Request<Body>> for OnlyGrpc<S>
where
    S: TowerService<Request<Body>, Response = Response<GrpcBody>, Error = Infallible>,
{
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_post = request.method() == Method::POST;
        let refused = match request.headers().get(header::CONTENT_TYPE) {
            Some(kind) if kind.as_bytes().starts_with(b"application/grpc") => {
                if is_post {
                    return Either::Left(self.0.call(request));
                }
                StatusCode::METHOD_NOT_ALLOWED
            }
            Some(_) if is_post => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::NOT_FOUND,
        };
        let mut response = Response::new(GrpcBody::empty());
        *response.status_mut() = refused;
        Either::Right(ready(Ok(response)))
    }
}
