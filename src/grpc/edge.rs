//! What all handlers share: the inner parts they call, and the few steps that
//! every RPC begins and ends with.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::clock::Clock;
use crate::domain::ids::{IdempotencyKey, RoomId, UserId};
use crate::domain::time::UnixMs;
use crate::domain::trace::Trace;
use crate::engine::sale::SaleEngine;
use crate::engine::ticker::Engine;
use crate::entropy::Entropy;
use crate::fanout::{Hub, OpenError};
use crate::keys::live::LiveKeys;
use crate::keys::page::PageTokenError;
use crate::keys::pass::PassClaims;
use crate::store::sales::{Once, Page};
use crate::store::showing::Showing;
use crate::view::Views;
use crate::view::catalog::CatalogCache;

use super::auth::{Caller, single};
use super::stall::UntilStalled;
use super::status::{EdgeError, Refusal};
use super::unread::ResetAfter;

/// Metadata that carries the pass.
pub const PASS_METADATA: &str = "x-usher-pass";
/// Of W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeSettings {
    /// How often someone who cannot stream should ask.
    pub poll_after_ms: u64,
    /// Development mode: wallets may be filled from nowhere.
    pub sandbox: bool,
    /// Longest silence on a stream.
    pub heartbeat_interval_ms: u64,
    /// A stream that has something due and takes nothing for so long ends.
    pub write_stall_ms: u64,
}

impl EdgeSettings {
    /// Nothing was due at first; then it stalled, and was told nothing of it.
    fn reset_after(&self) -> ResetAfter {
        let ms = self.heartbeat_interval_ms + 2 * self.write_stall_ms;
        ResetAfter(Duration::from_millis(ms))
    }
}

/// What a streaming RPC answers, but for `Watch`.
pub type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The inner parts that handlers call.
pub struct Edge {
    pub engine: Arc<Engine>,
    pub views: Arc<Views>,
    pub hub: Arc<Hub>,
    pub sale: SaleEngine,
    /// What is only shown, such as the figures that consumers have counted.
    pub showing: Arc<dyn Showing>,
    pub catalog: Arc<CatalogCache>,
    pub keys: Arc<LiveKeys>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: EdgeSettings,
    /// Cancelled when the server stops: streams beside `Watch` end then.
    pub draining: CancellationToken,
}

impl Edge {
    /// A stream's next message, or its end because the server stops.
    ///
    /// # Errors
    /// DRAINING, with the time to come back after.
    pub async fn unless_draining<T>(&self, next: impl Future<Output = T>) -> Result<T, Status> {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => {
                let refusal = Refusal::from(OpenError::Draining);
                Err(refusal.into_status(self.entropy.fraction()))
            }
            message = next => Ok(message),
        }
    }

    /// A stream beside `Watch`, which ends when its reader takes nothing. It is
    /// one of the node's streams for as long as it lives.
    ///
    /// # Errors
    /// TOO_MANY_STREAMS or DRAINING: this node takes no more.
    pub fn until_stalled<T: 'static>(
        self: &Arc<Self>,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Result<Messages<T>, Refusal> {
        let permit = self.hub.permit()?;
        let edge = Arc::clone(self);
        let refuse = move || {
            let _counted = &permit;
            let refusal = Refusal::from(EdgeError::SlowReader);
            Err(refusal.into_status(edge.entropy.fraction()))
        };
        let write_stall_ms = self.settings.write_stall_ms;
        let messages = Box::pin(messages);
        Ok(Box::pin(UntilStalled::new(
            messages,
            write_stall_ms,
            refuse,
        )))
    }

    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// The end of every handler.
    ///
    /// # Errors
    /// The refusal as a status.
    pub fn answer<T>(&self, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|refusal| refusal.into_status(self.entropy.fraction()))
    }

    /// As [`Edge::answer`], for a stream: it is reset when its reader is gone.
    ///
    /// # Errors
    /// The refusal as a status.
    pub fn answer_stream<T>(&self, stream: Result<T, Refusal>) -> Result<Response<T>, Status> {
        let mut response = self.answer(stream)?;
        let reset_after = self.settings.reset_after();
        response.extensions_mut().insert(reset_after);
        Ok(response)
    }

    /// Whether the caller's token carries what the room requires. Whoever takes
    /// a user token for a room asks this; a room that is not there requires
    /// nothing, and is refused by whoever looks for it.
    ///
    /// # Errors
    /// [`EdgeError::Unauthenticated`] unless it carries all of them.
    pub fn require_claims(&self, caller: &Caller, room: &RoomId) -> Result<(), EdgeError> {
        match self.engine.rooms().get(room) {
            Ok(room) => caller.require_claims(&room.record().policy.required_claims),
            Err(_) => Ok(()),
        }
    }

    /// The pass of a request, if one was sent. Its time is left to the row.
    ///
    /// # Errors
    /// A bad pass, two of them, another user's, or a caller whose token lacks
    /// what the pass's room requires.
    pub fn pass<T>(&self, request: &Request<T>) -> Result<Option<PassClaims>, EdgeError> {
        let caller = caller(request)?;
        let headers = request.metadata().as_ref();
        let Some(pass) = single(headers, PASS_METADATA).map_err(EdgeError::Unauthenticated)? else {
            return Ok(None);
        };
        let pass = self.keys.current().passes.read(pass, &caller.user)?;
        self.require_claims(caller, &pass.room)?;
        Ok(Some(pass))
    }

    /// A page of the list that `scope` describes: RPC, filters, user.
    ///
    /// # Errors
    /// A page token that was not given for this list.
    pub fn page<C: DeserializeOwned>(
        &self,
        scope: &[&str],
        size: i32,
        token: &str,
    ) -> Result<Page<C>, PageTokenError> {
        if token.is_empty() {
            return Ok(Page::new(size, None));
        }
        let position = self.keys.current().pages.verify(scope, token, self.now())?;
        let after = serde_json::from_slice(&position).map_err(|_| PageTokenError)?;
        Ok(Page::new(size, Some(after)))
    }

    /// `next_page_token`: empty after the last page.
    #[must_use]
    pub fn next_page_token<C: Serialize>(&self, scope: &[&str], next: Option<&C>) -> String {
        let position = next.and_then(|next| serde_json::to_vec(next).ok());
        position.map_or_else(String::new, |position| {
            self.keys.current().pages.sign(scope, &position, self.now())
        })
    }
}

/// Who gives a command, and in which trace.
pub struct Asker {
    user: UserId,
    trace: Option<Trace>,
}

impl Asker {
    /// As [`once`].
    #[must_use]
    pub fn once(&self, key: IdempotencyKey) -> Once {
        Once {
            trace: self.trace,
            ..once(&self.user, key)
        }
    }
}

/// As [`open`], of a command whose events go on with the caller's trace.
///
/// # Errors
/// As [`caller`].
pub fn open_traced<T>(request: Request<T>) -> Result<(Asker, T), EdgeError> {
    // Whatever is no trace, is none: it decides nothing.
    let sent = single(request.metadata().as_ref(), TRACE_PARENT)
        .ok()
        .flatten();
    let trace = sent.and_then(Trace::from_parent);
    let (user, message) = open(request)?;
    Ok((Asker { user, trace }, message))
}

/// A command's name: one effect per user and key.
#[must_use]
pub fn once(user: &UserId, key: IdempotencyKey) -> Once {
    Once {
        user: user.clone(),
        key,
        trace: None,
    }
}

/// Who calls; the gate has put them there.
///
/// # Errors
/// [`EdgeError::Unauthenticated`] if no gate was passed.
pub fn caller<T>(request: &Request<T>) -> Result<&Caller, EdgeError> {
    let caller = request.extensions().get();
    caller.ok_or(EdgeError::Unauthenticated("no gate was passed"))
}

/// The user who calls, and the message.
///
/// # Errors
/// As [`caller`].
pub fn open<T>(request: Request<T>) -> Result<(UserId, T), EdgeError> {
    let user = caller(&request)?.user.clone();
    Ok((user, request.into_inner()))
}
