//! Calls that are recorded, and repeated for as long as nobody knows whether
//! they happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use usher::clock::{Clock as _, SystemClock};
use usher::domain::ids::UserId;
use usher::truth::history::{Answer, History, Op, Record, Recorder, Tolerances};

use crate::harness::soon;

const RECORDS_MAX: usize = 1_000_000;
/// Between two tries: far below a real client's back-off, to press harder.
const BACK_OFF: Duration = Duration::from_millis(100);

/// All clients of one test.
pub struct World {
    pub channel: Channel,
    recorder: Recorder,
    answered: watch::Sender<u64>,
    streams: AtomicU64,
}

pub struct Caller {
    pub user: UserId,
    pub pass: Option<String>,
    pub is_admin: bool,
}

impl Caller {
    pub fn new(id: &str) -> Self {
        Self {
            user: UserId::parse(id).expect("an id"),
            pass: None,
            is_admin: false,
        }
    }

    pub fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let mut add = |name, text: &str| {
            let value = MetadataValue::try_from(text).expect("ASCII");
            request.metadata_mut().insert(name, value);
        };
        add("x-user-id", self.user.as_str());
        if self.is_admin {
            add("x-user-role", "admin");
        }
        if let Some(pass) = &self.pass {
            add("x-usher-pass", pass);
        }
        request
    }
}

pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(|| format!("{:?}", status.code()), |info| info.reason)
}

/// It may have happened: the connection broke, or the server cannot tell.
pub fn is_unknown(status: &Status) -> bool {
    let is_refusal = status.get_details_error_info().is_some();
    let code = status.code();
    !is_refusal
        && matches!(
            code,
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        )
}

impl World {
    pub fn new(port: u16) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"));
        Self::over(endpoint.expect("a URI").connect_lazy())
    }

    pub fn over(channel: Channel) -> Self {
        Self {
            channel,
            recorder: Recorder::in_memory(RECORDS_MAX),
            answered: watch::Sender::new(0),
            streams: AtomicU64::new(1),
        }
    }

    /// Waits until so many calls were answered.
    pub async fn answered(&self, calls: u64) {
        let mut answered = self.answered.subscribe();
        let enough = answered.wait_for(|count| *count >= calls);
        soon("the load", enough).await.expect("going on");
    }

    pub fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    pub fn now_ms(&self) -> u64 {
        SystemClock.now().0
    }

    pub fn record(&self, user: &UserId, invoked_ms: u64, op: Op) {
        self.record_at("", user, invoked_ms, op);
    }

    /// With the process that was asked.
    pub fn record_at(&self, process: &str, user: &UserId, invoked_ms: u64, op: Op) {
        self.recorder.record(Record {
            invoked_ms,
            returned_ms: self.now_ms(),
            client: user.as_str().to_owned(),
            process: process.to_owned(),
            user: user.clone(),
            op,
        });
    }

    /// Calls until the outcome is known, and records each try.
    pub async fn until_known<T, S, F>(
        &self,
        user: &UserId,
        mut call: impl FnMut() -> F,
        seen: impl Fn(&T) -> S,
        op: impl Fn(Answer<S>) -> Op,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let tries = async {
            loop {
                let invoked_ms = self.now_ms();
                let status = match call().await {
                    Ok(reply) => {
                        let reply = reply.into_inner();
                        self.record(user, invoked_ms, op(Answer::Ok(seen(&reply))));
                        self.answered.send_modify(|count| *count += 1);
                        return Ok(reply);
                    }
                    Err(status) => status,
                };
                let answer = match is_unknown(&status) || status.code() == Code::Unavailable {
                    true => Answer::Unknown(reason(&status)),
                    false => Answer::Refused(reason(&status)),
                };
                let is_over = answer.refused().is_some();
                self.record(user, invoked_ms, op(answer));
                if is_over && status.get_details_retry_info().is_none() {
                    return Err(status);
                }
                self.back_off().await;
            }
        };
        soon("an answer", tries).await
    }

    pub async fn back_off(&self) {
        tokio::time::sleep(BACK_OFF).await;
    }

    pub fn finish(self) -> History {
        // A start takes a while; whoever is told late is no violation.
        self.finish_with(Tolerances {
            grant_delay_ms: 5_000,
            silence_ms: 20_000,
            ..Tolerances::default()
        })
    }

    pub fn finish_with(self, tolerances: Tolerances) -> History {
        let history = self.recorder.finish().expect("all was recorded");
        History {
            tolerances,
            ..history
        }
    }
}
