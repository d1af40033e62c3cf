//! The yardstick: tonic's health service and nothing else, in a process of its
//! own with a runtime like the server's.

use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::error::BenchError;

/// Serves until it is killed; the first line says where.
pub async fn serve() -> Result<(), BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    println!("{}", serde_json::json!({ "address": address }));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(health)
        .serve_with_incoming(incoming)
        .await
        .map_err(BenchError::failed)
}
