//! A long line on two nodes: everyone joins, and holds a stream open.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use usher::domain::ids::RoomId;
use usher::proto::v1 as wire;
use usher::proto::v1::queue_service_client::QueueServiceClient;

use crate::error::BenchError;
use crate::session::{Place, Session};
use crate::stage::Stage;
use crate::target::TargetOptions;

/// Joins under way at once while the line forms.
const JOINS_AT_ONCE: usize = 200;
/// Nobody is in line later than this.
const LINE_PATIENCE: Duration = Duration::from_secs(120);

/// So many servers that share the stores of the environment.
pub async fn nodes(
    options: &TargetOptions,
    count: usize,
    streams_each: usize,
    patience: Duration,
) -> Result<Vec<Stage>, BenchError> {
    let mut nodes = Vec::with_capacity(count);
    for _ in 0..count {
        nodes.push(Stage::open(options, streams_each, None, patience).await?);
    }
    Ok(nodes)
}

/// Lets `users` join, and hands each with its open stream to `wait`. Returns
/// once everyone has a stream; what each `wait` answers is in the set.
pub async fn form<F, T>(
    users: Vec<Session>,
    room: &RoomId,
    wait: impl Fn(Session, Place, tonic::Streaming<wire::WatchResponse>) -> F,
) -> Result<JoinSet<T>, BenchError>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let joins = Arc::new(Semaphore::new(JOINS_AT_ONCE));
    let count = users.len();
    let (opened, mut opening) = mpsc::channel(JOINS_AT_ONCE);
    let mut beginnings = JoinSet::new();
    for user in users {
        let (room, joins, opened) = (room.clone(), Arc::clone(&joins), opened.clone());
        beginnings.spawn(async move {
            let permit = joins.acquire().await;
            let begun = begin(&user, &room).await;
            drop(permit);
            let _ = opened
                .send(begun.map(|(place, stream)| (user, place, stream)))
                .await;
        });
    }
    let mut line = JoinSet::new();
    let all = async {
        for _ in 0..count {
            let begun = opening.recv().await;
            let begun = begun.unwrap_or_else(|| Err("a user vanished".to_owned()));
            let (user, place, stream) = begun.map_err(BenchError::failed)?;
            line.spawn(wait(user, place, stream));
        }
        Ok(())
    };
    match tokio::time::timeout(LINE_PATIENCE, all).await {
        Ok(done) => done.map(|()| line),
        Err(_) => Err(BenchError::failed("the line did not form in time")),
    }
}

async fn begin(
    user: &Session,
    room: &RoomId,
) -> Result<(Place, tonic::Streaming<wire::WatchResponse>), String> {
    let place = user.join(room).await.map_err(|refused| refused.reason)?;
    let stream = watch(user, &place.token, None).await;
    Ok((place, stream.map_err(|status| status.to_string())?))
}

/// One stream of a place.
pub async fn watch(
    user: &Session,
    token: &str,
    resume: Option<wire::Cursor>,
) -> Result<tonic::Streaming<wire::WatchResponse>, tonic::Status> {
    let message = wire::WatchRequest {
        place_token: token.to_owned(),
        resume,
        ..Default::default()
    };
    let mut client = QueueServiceClient::new(user.ground.pool.streams(user.nth));
    let opened = client.watch(user.caller.request(message, None)).await?;
    Ok(opened.into_inner())
}
