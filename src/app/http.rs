//! Plain HTTP: metrics and probes.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::config::MetricsConfig;
use crate::metrics::Metrics;

use super::probes::Probes;

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The public keys of passes and ticket codes.
pub(super) fn jwks_routes(jwks: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], jwks()) };
    Router::new().route("/.well-known/jwks.json", get(answer))
}

/// What operators and balancers ask for.
pub(super) fn ops_routes(config: &MetricsConfig, metrics: &Metrics, probes: &Probes) -> Router {
    let probes = probes.clone();
    let ready = move || async move {
        match probes.ready() {
            Ok(()) => match probes.lacks() {
                None => (StatusCode::OK, "ready\n".to_owned()),
                Some(what) => (StatusCode::OK, format!("ready; {what}\n")),
            },
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    };
    let routes = Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready));
    if !config.enabled {
        return routes;
    }
    let metrics = metrics.clone();
    let render = move || async move {
        ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()).into_response()
    };
    routes.route("/metrics", get(render))
}
