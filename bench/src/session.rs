//! One user's calls, timed, counted and taken down.
//!
//! A session does what the contract tells clients to do: what carries
//! `RetryInfo`, or may have happened, is repeated as it is (with the same
//! idempotency key) after the delay, or after full-jitter back-off, until
//! `patience` is over. Every other refusal is the caller's to decide.

mod line;
mod sale;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use usher::truth::history::{Answer, Op};

use crate::caller::Caller;
use crate::pool::Pool;
use crate::tally::Tally;
use crate::trace::{Trace, now_ms};

pub use line::{Place, Turn};
pub use sale::{Purse, key};

/// No single call is waited for longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_MS: std::ops::Range<u64> = 500..10_000;

/// What all sessions of a measurement share.
pub struct Ground {
    pub pool: Pool,
    pub tally: Tally,
    pub trace: Option<Trace>,
    /// How long what failed is tried again.
    pub patience: Duration,
}

/// Why a call did not do what it should, after all retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub rpc: &'static str,
    /// A reason of the contract, or the code where there is none.
    pub reason: String,
}

pub struct Session {
    pub ground: Arc<Ground>,
    pub caller: Caller,
    /// Spreads users over connections.
    pub nth: usize,
}

impl Session {
    /// The same user over other connections.
    pub fn on(&self, ground: Arc<Ground>) -> Self {
        Self {
            ground,
            caller: self.caller.clone(),
            nth: self.nth,
        }
    }

    /// One call that a history has nothing of.
    pub async fn look<M, R, F>(
        &self,
        rpc: &'static str,
        message: M,
        pass: Option<&str>,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<R, Refused>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.attempt(rpc, message, pass, send, |_| None).await
    }

    /// One call; `note` says what a history has of it.
    async fn call<M, R, F>(
        &self,
        rpc: &'static str,
        message: M,
        pass: Option<&str>,
        send: impl Fn(Channel, Request<M>) -> F,
        note: impl Fn(Answer<&R>) -> Op,
    ) -> Result<R, Refused>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let note = |answer: Answer<&R>| Some(note(answer));
        self.attempt(rpc, message, pass, send, note).await
    }

    /// Sends until it is answered for good.
    async fn attempt<M, R, F>(
        &self,
        rpc: &'static str,
        message: M,
        pass: Option<&str>,
        send: impl Fn(Channel, Request<M>) -> F,
        note: impl Fn(Answer<&R>) -> Option<Op>,
    ) -> Result<R, Refused>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let give_up = Instant::now() + self.ground.patience;
        for attempt in 0.. {
            let request = self.caller.request(message.clone(), pass);
            let (invoked_ms, began) = (now_ms(), Instant::now());
            let sent = send(self.ground.pool.calls(self.nth), request);
            let answered = timeout(CALL_TIMEOUT, sent).await;
            self.ground.tally.time(rpc, began.elapsed());
            let answered = answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
            let status = match answered {
                Ok(response) => {
                    let reply = response.into_inner();
                    self.take_down(invoked_ms, || note(Answer::Ok(&reply)));
                    return Ok(reply);
                }
                Err(status) => status,
            };
            let (reason, may_have_happened) = (reason(&status), may_have_happened(&status));
            self.take_down(invoked_ms, || {
                note(match may_have_happened {
                    true => Answer::Unknown(reason.clone()),
                    false => Answer::Refused(reason.clone()),
                })
            });
            let delay =
                retry_after(&status).or_else(|| may_have_happened.then(|| back_off(attempt)));
            match delay {
                Some(_) => self.ground.tally.error(rpc, &reason),
                None => self.ground.tally.refusal(rpc, &reason),
            }
            match delay {
                Some(delay) if Instant::now() + delay < give_up => sleep(delay).await,
                _ => return Err(Refused { rpc, reason }),
            }
        }
        unreachable!("attempts do not run out before patience does")
    }

    pub fn take_down<O: Into<Option<Op>>>(&self, invoked_ms: u64, op: impl FnOnce() -> O) {
        if let Some(trace) = &self.ground.trace
            && let Some(op) = op().into()
        {
            trace.record(&self.caller.user, invoked_ms, op);
        }
    }
}

/// The contract's reason, else the code.
pub fn reason(status: &Status) -> String {
    match status.get_error_details().error_info() {
        Some(info) => info.reason.clone(),
        None => format!("{:?}", status.code()),
    }
}

pub fn may_have_happened(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

pub fn retry_after(status: &Status) -> Option<Duration> {
    let details = status.get_error_details();
    details.retry_info().and_then(|info| info.retry_delay)
}

/// Full jitter below a limit that doubles.
pub fn back_off(attempt: u32) -> Duration {
    let limit_ms = BACKOFF_MS.end.min(BACKOFF_MS.start << attempt.min(5));
    Duration::from_millis(rand::rng().random_range(0..=limit_ms))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_reason_is_read_from_the_details() {
        let mut details = ErrorDetails::new();
        details.set_error_info("SEAT_UNAVAILABLE", "usher.v1", HashMap::new());
        let taken = Status::with_error_details(Code::FailedPrecondition, "taken", details);
        assert_eq!(reason(&taken), "SEAT_UNAVAILABLE");
        assert!(!may_have_happened(&taken));
        assert_eq!(retry_after(&taken), None);
        assert_eq!(reason(&Status::unauthenticated("no")), "Unauthenticated");
    }

    #[test]
    fn what_carries_retry_info_is_tried_again_after_it() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_millis(250)));
        let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert_eq!(retry_after(&busy), Some(Duration::from_millis(250)));
        assert!(may_have_happened(&Status::unavailable("gone")));
    }

    #[test]
    fn back_off_is_bounded() {
        for attempt in [0, 1, 5, 40] {
            assert!(back_off(attempt) <= Duration::from_secs(10));
        }
    }
}
