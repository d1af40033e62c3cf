//! One simulated user: joins, watches by the stream's rules, takes the turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::entropy::{Entropy, SystemEntropy};
use crate::proto::v1 as wire;
use crate::proto::v1::queue_service_client::QueueServiceClient;
use crate::proto::v1::watch_response::Event;

use super::super::client::{Line, refused};
use super::tally::{Tally, count};

/// One in so many loses patience while waiting.
const IMPATIENT_ONE_IN: u32 = 20;
const PATIENCE_MAX: Duration = Duration::from_secs(20);
/// Bounds of the back-off before a call or a stream is begun again.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest silence before the stream has said its own.
const FIRST_SILENCE: Duration = Duration::from_secs(30);

pub(super) struct Visitor {
    pub(super) index: u32,
    pub(super) room_id: String,
    pub(super) line: Line,
    /// Performances that the room's pass is good for.
    pub(super) sale: Arc<[String]>,
    pub(super) tally: Arc<Tally>,
}

/// What a stream left to do.
enum Next {
    Again { after: Duration },
    Over,
}

/// A place as its holder knows it.
struct Held {
    token: String,
    cursor: Option<wire::Cursor>,
    gives_up_at: Option<Instant>,
}

impl Visitor {
    pub(super) async fn visit(self, arrives_after: Duration, stop: CancellationToken) {
        let arrive = async {
            sleep(arrives_after).await;
            self.join().await
        };
        let joined = tokio::select! {
            () = stop.cancelled() => return,
            joined = arrive => joined,
        };
        let Some(token) = joined else { return };
        let mut held = Held {
            token,
            cursor: None,
            gives_up_at: self.gives_up_at(),
        };
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = self.wait(&mut held) => false,
        };
        if stopped {
            self.leave(&held.token).await;
        }
    }

    pub(super) fn queue(&self) -> QueueServiceClient<Line> {
        QueueServiceClient::new(self.line.clone())
    }

    fn gives_up_at(&self) -> Option<Instant> {
        let is_impatient = self.index % IMPATIENT_ONE_IN == IMPATIENT_ONE_IN - 1;
        is_impatient.then(|| Instant::now() + PATIENCE_MAX.mul_f64(SystemEntropy.fraction()))
    }

    /// Tries until it is refused for good.
    async fn join(&self) -> Option<String> {
        loop {
            let request = wire::JoinRequest {
                room_id: self.room_id.clone(),
                ..wire::JoinRequest::default()
            };
            match self.queue().join(request).await {
                Ok(answer) => {
                    count(&self.tally.joined);
                    return Some(answer.into_inner().place_token);
                }
                Err(status) => match retry_after(&status) {
                    Some(after) => {
                        count(&self.tally.retries);
                        sleep(after).await;
                    }
                    None => {
                        self.tally.refuse(refused(&status).to_string());
                        return None;
                    }
                },
            }
        }
    }

    pub(super) async fn leave(&self, token: &str) {
        let request = wire::LeaveRequest {
            place_token: token.to_owned(),
        };
        // Nobody waits for the answer: an absent place ends too.
        let _ = self.queue().leave(request).await;
    }

    async fn wait(&self, held: &mut Held) {
        loop {
            let next = match self.watch(held).await {
                Ok(next) => next,
                Err(status) => match retry_after(&status) {
                    Some(after) => Next::Again { after },
                    None => {
                        count(&self.tally.lapsed);
                        Next::Over
                    }
                },
            };
            match next {
                Next::Over => return,
                Next::Again { after } => {
                    count(&self.tally.retries);
                    sleep(after).await;
                }
            }
        }
    }

    /// One stream, to its end.
    async fn watch(&self, held: &mut Held) -> Result<Next, Status> {
        let request = wire::WatchRequest {
            place_token: held.token.clone(),
            resume: held.cursor,
            ..wire::WatchRequest::default()
        };
        let mut stream = self.queue().watch(request).await?.into_inner();
        let mut silence_max = FIRST_SILENCE;
        loop {
            let message = tokio::select! {
                message = timeout(silence_max, stream.message()) => message,
                () = until(held.gives_up_at) => {
                    self.leave(&held.token).await;
                    count(&self.tally.gave_up);
                    return Ok(Next::Over);
                }
            };
            // Silence for too long, and an end that says nothing: come back.
            let Some(message) = message.unwrap_or(Ok(None))? else {
                return Ok(Next::Again { after: backoff() });
            };
            held.cursor = message.cursor.or(held.cursor);
            match message.event {
                Some(Event::Snapshot(snapshot)) => {
                    count(&self.tally.updates);
                    silence_max = double(snapshot.heartbeat_interval).unwrap_or(silence_max);
                    if let Some(token) = snapshot.place_token {
                        held.token = token;
                    }
                }
                Some(Event::Position(_)) => count(&self.tally.updates),
                Some(Event::Activated(activated)) => {
                    return self.take_turn(held, activated.pass).await;
                }
                Some(Event::Drain(drain)) => {
                    let after = drain.reconnect_after.and_then(|span| span.try_into().ok());
                    return Ok(Next::Again {
                        after: after.unwrap_or_else(backoff),
                    });
                }
                Some(Event::Ended(_)) => {
                    count(&self.tally.lapsed);
                    return Ok(Next::Over);
                }
                Some(Event::RoomChanged(_) | Event::Heartbeat(_)) | None => {}
            }
        }
    }

    /// Claims, unless the pass is there already, and goes in.
    async fn take_turn(&self, held: &Held, pass: Option<String>) -> Result<Next, Status> {
        let pass = match pass {
            Some(pass) => pass,
            None => {
                let request = wire::ClaimRequest {
                    place_token: held.token.clone(),
                };
                self.queue().claim(request).await?.into_inner().pass
            }
        };
        count(&self.tally.turns);
        self.look_around(&held.token, &pass).await;
        Ok(Next::Over)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn backoff() -> Duration {
    BACKOFF_MIN + (BACKOFF_MAX - BACKOFF_MIN).mul_f64(SystemEntropy.fraction())
}

/// When to try the same again; none: never.
fn retry_after(status: &Status) -> Option<Duration> {
    let told = status.get_details_retry_info();
    match told.and_then(|info| info.retry_delay) {
        Some(delay) => Some(delay),
        // Without the server's word these mean that the connection is gone.
        None if matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Unknown
        ) =>
        {
            Some(backoff())
        }
        None => None,
    }
}

fn double(span: Option<prost_types::Duration>) -> Option<Duration> {
    let span: Duration = span?.try_into().ok()?;
    Some(span * 2)
}
