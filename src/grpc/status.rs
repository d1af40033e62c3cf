//! From each seam's error to the one answer a client reads.
//!
//! Every error becomes a [`Refusal`]: a code, a reason of `ErrorReason`, a
//! client's text, details, and whether to come back. The matches name every
//! variant, so a new error does not compile until it is decided here. What the
//! log says is a second text: clients never read a database's or a token
//! parser's words. **`RetryInfo` present means: the same request again, after
//! it; absent: do not.**

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::domain::ids::RoomId;
use crate::domain::policy::PolicyError;
use crate::engine::error::EngineError;
use crate::fanout::{OpenError, StreamError};
use crate::keys::TokenError;
use crate::keys::page::PageTokenError;
use crate::proto::v1::ErrorReason;
use crate::store::queue::QueueError;
use crate::store::rooms::RoomsError;
use crate::store::sales::SalesError;

use super::decode::FieldError;

mod sale;

/// `ErrorInfo.domain`.
pub const DOMAIN: &str = "usher.v1";
/// The one text for every bad token: it must not help to guess.
pub const UNAUTHENTICATED_TEXT: &str = "credentials are missing or not valid";

/// Come back after a store was gone, not all at once: from, and to.
const DEGRADED_RETRY_MS: (u64, u64) = (2_000, 10_000);
/// Come back after a recovery or an opening: it takes a moment.
const REBUILDING_RETRY_MS: u64 = 250;
/// Come back for an answer that is being made.
const IN_FLIGHT_RETRY_MS: u64 = 200;
/// Come back when load was shed.
const OVERLOADED_RETRY_MS: u64 = 1_000;

/// Come back when another node has taken over.
const DRAINING_RETRY_MS: u64 = 1_000;

/// What the edge itself refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// Missing or bad credentials; the text is for the log.
    #[error("unauthenticated: {0}")]
    Unauthenticated(&'static str),
    #[error("a token of another user")]
    TokenOfAnotherUser,
    #[error("the caller is no admin")]
    RoleRequired,
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    PageToken(#[from] PageTokenError),
    #[error("rate limit")]
    RateLimited { retry_ms: u64 },
    #[error("too many streams")]
    TooManyStreams,
    #[error("the reader took nothing for too long")]
    SlowReader,
    #[error("the node is draining")]
    Draining { retry_ms: u64 },
    #[error("not in this version: {0}")]
    Unimplemented(&'static str),
}

impl From<TokenError> for EdgeError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(why) => Self::Unauthenticated(why),
            TokenError::OtherUser => Self::TokenOfAnotherUser,
        }
    }
}

impl From<OpenError> for EdgeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::TooManyStreams { .. } => Self::TooManyStreams,
            OpenError::Draining => Self::Draining {
                retry_ms: DRAINING_RETRY_MS,
            },
        }
    }
}

impl From<StreamError> for EdgeError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::SlowReader => Self::SlowReader,
        }
    }
}

/// What a client is told, and what the log says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    code: Code,
    reason: Option<ErrorReason>,
    text: Cow<'static, str>,
    detail: Detail,
    /// From, and to.
    retry_ms: Option<(u64, u64)>,
    log: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Detail {
    None,
    /// Fields with what is wrong with each.
    Fields(Vec<(String, String)>),
    Room(RoomId),
    /// Which limit, and its text.
    Quota(&'static str),
}

impl Refusal {
    fn new(code: Code, reason: ErrorReason, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: Some(reason),
            text: text.into(),
            detail: Detail::None,
            retry_ms: None,
            log: String::new(),
        }
    }

    fn bare(code: Code, text: &'static str) -> Self {
        Self {
            reason: None,
            ..Self::new(code, ErrorReason::Unspecified, text)
        }
    }

    fn retry_after_ms(mut self, retry_ms: u64) -> Self {
        self.retry_ms = Some((retry_ms, 2 * retry_ms));
        self
    }

    fn retry_between_ms(mut self, from_to_ms: (u64, u64)) -> Self {
        self.retry_ms = Some(from_to_ms);
        self
    }

    fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    fn log(mut self, log: impl Into<String>) -> Self {
        self.log = log.into();
        self
    }

    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        self.reason
    }

    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retry_ms.is_some()
    }

    /// The status, logged once, here. `fraction` in `[0, 1)` spreads those who
    /// are told to come back, by default over twice the time.
    #[must_use]
    pub fn into_status(self, fraction: f64) -> Status {
        let reason = self.reason.map_or("", reason_name);
        match self.code {
            Code::Unavailable | Code::Internal => {
                tracing::warn!(rpc.code = ?self.code, error.reason = reason, error = %self.log, "request failed");
            }
            _ => {
                tracing::debug!(rpc.code = ?self.code, error.reason = reason, error = %self.log, "request refused");
            }
        }
        let mut details = ErrorDetails::new();
        if self.reason.is_some() {
            details.set_error_info(reason, DOMAIN, HashMap::new());
        }
        if let Some((from_ms, to_ms)) = self.retry_ms {
            let from = Duration::from_millis(from_ms);
            let spread = Duration::from_millis(to_ms) - from;
            let after = from + spread.mul_f64(fraction.clamp(0.0, 1.0));
            details.set_retry_info(Some(after));
        }
        match self.detail {
            Detail::None => {}
            Detail::Fields(fields) => {
                for (field, why) in fields {
                    details.add_bad_request_violation(field, why);
                }
            }
            Detail::Room(room) => {
                details.set_resource_info(
                    "room",
                    room.as_str(),
                    "",
                    "a pass of this room is needed",
                );
            }
            Detail::Quota(limit) => {
                details.add_quota_failure_violation(limit, self.text.as_ref());
            }
        }
        Status::with_error_details(self.code, self.text, details)
    }
}

/// `ErrorInfo.reason`: the enum's name without its prefix.
fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

impl From<EdgeError> for Refusal {
    fn from(error: EdgeError) -> Self {
        let log = error.to_string();
        let refusal = match error {
            EdgeError::Unauthenticated(_) => {
                Self::bare(Code::Unauthenticated, UNAUTHENTICATED_TEXT)
            }
            EdgeError::TokenOfAnotherUser => Self::new(
                Code::PermissionDenied,
                ErrorReason::TokenUserMismatch,
                "the token or pass belongs to another user",
            ),
            EdgeError::RoleRequired => Self::new(
                Code::PermissionDenied,
                ErrorReason::RoleRequired,
                "the role admin is needed",
            ),
            EdgeError::Field(error) => field_invalid(error.field(), &error.why()),
            EdgeError::PageToken(_) => Self::new(
                Code::InvalidArgument,
                ErrorReason::PageTokenInvalid,
                "the page token was not given for this request, or is too old",
            )
            .detail(one_field(
                "page_token",
                "use the next_page_token of the same list",
            )),
            EdgeError::RateLimited { retry_ms } => Self::new(
                Code::ResourceExhausted,
                ErrorReason::RateLimited,
                "too many requests of this kind",
            )
            .detail(Detail::Quota("rate_limit"))
            .retry_after_ms(retry_ms),
            EdgeError::TooManyStreams => Self::new(
                Code::ResourceExhausted,
                ErrorReason::TooManyStreams,
                "too many streams are open",
            )
            .detail(Detail::Quota("streams"))
            .retry_after_ms(OVERLOADED_RETRY_MS),
            EdgeError::SlowReader => Self::new(
                Code::ResourceExhausted,
                ErrorReason::SlowReader,
                "the stream was not read for too long",
            )
            .retry_after_ms(OVERLOADED_RETRY_MS),
            EdgeError::Draining { retry_ms } => Self::new(
                Code::Unavailable,
                ErrorReason::Draining,
                "this node is shutting down",
            )
            .retry_after_ms(retry_ms),
            EdgeError::Unimplemented(what) => Self::bare(Code::Unimplemented, what),
        };
        refusal.log(log)
    }
}

fn one_field(field: &str, why: &str) -> Detail {
    Detail::Fields(vec![(field.to_owned(), why.to_owned())])
}

fn field_invalid(field: &str, why: &str) -> Refusal {
    Refusal::new(
        Code::InvalidArgument,
        ErrorReason::FieldInvalid,
        format!("{field} {why}"),
    )
    .detail(one_field(field, why))
}

/// Unknown, and someone else's: one text.
fn not_found() -> Refusal {
    Refusal::bare(Code::NotFound, "not found")
}

fn degraded() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        ErrorReason::Degraded,
        "a store is unavailable for the moment",
    )
    .retry_between_ms(DEGRADED_RETRY_MS)
}

fn provider_away() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        ErrorReason::Degraded,
        "the payment provider cannot be reached; nothing was charged",
    )
    .retry_between_ms(DEGRADED_RETRY_MS)
}

fn overloaded() -> Refusal {
    Refusal::new(
        Code::ResourceExhausted,
        ErrorReason::Overloaded,
        "the server has too much to do",
    )
    .retry_after_ms(OVERLOADED_RETRY_MS)
}

fn rebuilding() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        ErrorReason::Rebuilding,
        "the room is being prepared",
    )
    .retry_after_ms(REBUILDING_RETRY_MS)
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        EdgeError::from(error).into()
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        EdgeError::Field(error).into()
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        EdgeError::from(error).into()
    }
}

impl From<PageTokenError> for Refusal {
    fn from(error: PageTokenError) -> Self {
        EdgeError::PageToken(error).into()
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        let log = error.to_string();
        let precondition =
            |reason, text: &'static str| Self::new(Code::FailedPrecondition, reason, text);
        let refusal = match error {
            QueueError::Recover
            | QueueError::Building
            | QueueError::Rebuilding
            | QueueError::Opening
            | QueueError::NumbersExhausted { .. } => rebuilding(),
            QueueError::NoSlot => Self::new(
                Code::ResourceExhausted,
                ErrorReason::RoomFull,
                "the room has no free slot",
            )
            .detail(Detail::Quota("capacity")),
            QueueError::Closed => precondition(ErrorReason::RoomClosed, "the room is closed"),
            QueueError::SoldOut => {
                precondition(ErrorReason::RoomSoldOut, "everything of this room is sold")
            }
            QueueError::Full => Self::new(
                Code::ResourceExhausted,
                ErrorReason::RoomFull,
                "the room's line is full",
            )
            .detail(Detail::Quota("max_waiting")),
            // The token was well signed, so the line forgot it. Told so, a
            // client joins again (rule 6), which is the way out.
            QueueError::UnknownPlace => Self::bare(Code::Unauthenticated, UNAUTHENTICATED_TEXT),
            QueueError::Unavailable => degraded(),
        };
        refusal.log(log)
    }
}

impl From<RoomsError> for Refusal {
    fn from(error: RoomsError) -> Self {
        let log = error.to_string();
        let refusal = match error {
            RoomsError::UnknownRoom | RoomsError::UnknownActivation => not_found(),
            RoomsError::RoomExists => field_invalid("room.id", "is taken"),
            RoomsError::EtagMismatch => Self::new(
                Code::Aborted,
                ErrorReason::Conflict,
                "the room was changed since its etag was read",
            ),
            RoomsError::ProtectedTwice { target, room } => field_invalid(
                "room.policy.protects",
                &format!("names {target}, which room {room} protects"),
            ),
            RoomsError::UnknownTarget { target } => field_invalid(
                "room.policy.protects",
                &format!("names {target}, which does not exist"),
            ),
            RoomsError::CodeOfAnotherLane => field_invalid(
                "room.policy.lanes.codes",
                "has a code that leads into another lane",
            ),
            RoomsError::TooManyCodes => {
                field_invalid("room.policy.lanes.codes", "are too many for one room")
            }
            RoomsError::KeyReused => SalesError::IdempotencyKeyReused.into(),
            RoomsError::Fenced => rebuilding(),
            RoomsError::Overloaded => overloaded(),
            RoomsError::LeaseHeld | RoomsError::Unavailable(_) => degraded(),
        };
        refusal.log(log)
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        field_invalid(&format!("room.{}", error.field), error.why)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let log = error.to_string();
        let precondition =
            |reason, text: &'static str| Self::new(Code::FailedPrecondition, reason, text);
        let refusal = match error {
            EngineError::Degraded => degraded(),
            EngineError::Rebuilding => rebuilding(),
            EngineError::NotActivated => {
                precondition(ErrorReason::NotActivated, "it is not this place's turn yet")
            }
            EngineError::ActivationExpired => precondition(
                ErrorReason::ActivationExpired,
                "the activation was not claimed in time",
            ),
            EngineError::PassEnded => {
                precondition(ErrorReason::PassEnded, "the activation has ended")
            }
            EngineError::AccessCodeInvalid => Self::new(
                Code::PermissionDenied,
                ErrorReason::AccessCodeInvalid,
                "a valid access code is needed",
            ),
            EngineError::UnknownRoom(_) | EngineError::NoLivePlace => not_found(),
            EngineError::Policy(error) => error.into(),
            EngineError::Queue(error) => error.into(),
            EngineError::Rooms(error) => error.into(),
        };
        refusal.log(log)
    }
}

#[cfg(test)]
mod tests;
