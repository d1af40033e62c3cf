//! The source's design, as fast as Rust makes it: everyone asks again and again,
//! and each question is one ZRANK.
//!
//! A tonic server with one unary method and nothing else: no users are
//! verified, no tokens are signed, nothing is counted. One multiplexed
//! connection to Redis, which gathers what comes at once. It reads the member
//! from `GetPlaceRequest.place_token` and answers a `GetPlaceResponse`.

use std::convert::Infallible;

use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;
use tonic::codegen::{Body, BoxFuture, Context, Poll, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use usher::proto::v1 as wire;

use crate::error::BenchError;

/// The one method.
pub const METHOD: &str = "/usher.bench.v1.Polling/GetPlace";
const POLL_AFTER_S: i64 = 3;

#[derive(clap::Args)]
pub struct Options {
    /// The Redis with the line
    #[arg(long, value_name = "URL")]
    redis: String,
    /// The sorted set that is the line
    #[arg(long)]
    key: String,
}

#[derive(Clone)]
struct Polling {
    redis: MultiplexedConnection,
    key: String,
}

/// Serves until it is killed; the first line says where.
pub async fn serve(options: Options) -> Result<(), BenchError> {
    let client = redis::Client::open(options.redis).map_err(BenchError::failed)?;
    let redis = client.get_multiplexed_async_connection().await;
    let polling = Polling {
        redis: redis.map_err(BenchError::failed)?,
        key: options.key,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    println!("{}", serde_json::json!({ "address": address }));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(polling)
        .serve_with_incoming(incoming)
        .await
        .map_err(BenchError::failed)
}

impl NamedService for Polling {
    const NAME: &'static str = "usher.bench.v1.Polling";
}

impl UnaryService<wire::GetPlaceRequest> for Polling {
    type Response = wire::GetPlaceResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<wire::GetPlaceRequest>) -> Self::Future {
        let Self { mut redis, key } = self.clone();
        Box::pin(async move {
            let mut rank = redis::cmd("ZRANK");
            rank.arg(key).arg(request.into_inner().place_token);
            let rank: Option<u64> = rank
                .query_async(&mut redis)
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let rank = rank.ok_or_else(|| Status::not_found("not in line"))?;
            Ok(Response::new(wire::GetPlaceResponse {
                place: Some(wire::Place {
                    state: wire::PlaceState::Waiting.into(),
                    position: Some(rank + 1),
                    ..Default::default()
                }),
                poll_after: Some(prost_types::Duration {
                    seconds: POLL_AFTER_S,
                    nanos: 0,
                }),
                place_token: None,
            }))
        })
    }
}

impl<B> Service<http::Request<B>> for Polling
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            Ok(Grpc::new(codec).unary(method, request).await)
        })
    }
}
