//! SIGTERM under open streams: who was told, and how long the stop took.
//!
//! Every stream must get `drain`; the process must end in time although one
//! peer holds a connection on which it never says a word.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use usher::domain::ids::RoomId;
use usher::proto::v1 as wire;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::proto::v1::watch_response::Event;

use crate::error::BenchError;
use crate::session::Session;
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;

const OPEN_PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Streams that are open at the stop
    #[arg(long, default_value_t = 10_000)]
    users: usize,
    /// The stop may take this long, in seconds
    #[arg(long, default_value_t = 12)]
    limit: u64,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(30);
    let mut stage = Stage::open(&options.target, options.users, None, patience).await?;
    let plan = RoomPlan {
        capacity: 0,
        rate_per_s: 1.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let room = stage.make_room(plan, None).await?;
    let (opened, mut opening) = mpsc::channel(1_024);
    let mut streams = JoinSet::new();
    for user in stage.users(options.users)? {
        let (room, opened) = (room.clone(), opened.clone());
        streams.spawn(async move { hold_open(&user, &room, &opened).await });
    }
    drop(opened);
    let all_open = async {
        let mut open = 0;
        while open < options.users && opening.recv().await.is_some() {
            open += 1;
        }
        open
    };
    let open = timeout(OPEN_PATIENCE, all_open).await;
    let open = open.map_err(|_| BenchError::failed("the streams did not open in time"))?;
    // Says nothing, ever; kept until the server is gone.
    let silent = TcpStream::connect(stage.target.addr).await?;
    let Some(server) = &mut stage.target.server else {
        return Err(BenchError::failed("a stop is measured with --spawn"));
    };
    let began = Instant::now();
    let status = server
        .terminate(Duration::from_secs(options.limit * 3))
        .await?;
    let took = began.elapsed();
    drop(silent);
    let mut told = 0;
    while let Some(stream) = streams.join_next().await {
        told += usize::from(stream.map_err(BenchError::failed)?);
    }
    println!(
        "{} mode: {open} of {} streams open; SIGTERM: {told} got drain, stopped after {:.2} s ({status})",
        options.target.mode(),
        options.users,
        took.as_secs_f64()
    );
    let in_time = took <= Duration::from_secs(options.limit);
    match open == options.users && told == open && in_time && status.success() {
        true => Ok(()),
        false => Err(BenchError::failed("the stop was not as promised")),
    }
}

/// Whether the stream was told to come back elsewhere.
async fn hold_open(user: &Session, room: &RoomId, opened: &mpsc::Sender<()>) -> bool {
    let Ok(place) = user.join(room).await else {
        return false;
    };
    let message = wire::WatchRequest {
        place_token: place.token,
        ..Default::default()
    };
    let mut client = QueueServiceClient::new(user.ground.pool.streams(user.nth));
    let Ok(stream) = client.watch(user.caller.request(message, None)).await else {
        return false;
    };
    let mut messages = stream.into_inner();
    let mut told = false;
    while let Ok(Some(response)) = messages.message().await {
        match response.event {
            Some(Event::Snapshot(_)) => {
                let _ = opened.send(()).await;
            }
            Some(Event::Drain(_)) => told = true,
            _ => {}
        }
    }
    told
}
