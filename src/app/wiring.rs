//! Which implementation stands behind each seam: chosen here, once.

use std::sync::Arc;

use tonic::service::Routes;

use super::Services;
use super::stores::Stores;

/// The services of one node on its opened stores.
#[must_use]
pub fn services(stores: &Stores) -> Services {
    let passes = Arc::clone(&stores.keys.passes);
    Services {
        grpc: Routes::default(),
        http: axum::Router::new(),
        jwks: Arc::new(move || passes.jwks()),
        readiness: Arc::new(()),
        drain: Arc::new(|| {}),
    }
}
