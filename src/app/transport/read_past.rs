//! Reads past what a call that was refused leaves unread.
//!
//! A call that is refused by its head leaves a message that is still under way.
//! If its stream were given up then, what comes of it would be taken for the
//! peer's error, of which a connection may have but so many.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::app::tasks::Tasks;

/// How long the rest of a body that nobody wants may take.
const UNWANTED_PATIENCE: Duration = Duration::from_secs(1);

/// A request's body over HTTP/2.
pub(super) struct ReadPast<B: Body + Unpin + Send + 'static> {
    /// Until this is dropped.
    body: Option<B>,
    /// More was asked for, and has not come.
    waits: bool,
    tasks: Tasks,
    /// Of the connection.
    runtime: Handle,
}

impl<B: Body + Unpin + Send + 'static> ReadPast<B> {
    /// On the connection's runtime.
    pub(super) fn new(body: B, tasks: Tasks) -> Self {
        Self {
            body: Some(body),
            waits: false,
            tasks,
            runtime: Handle::current(),
        }
    }
}

impl<B: Body + Unpin + Send + 'static> Drop for ReadPast<B> {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if self.waits || poll_past(&mut body, &mut nobody).is_ready() {
            return;
        }
        let rest = async move {
            let past = poll_fn(|cx| poll_past(&mut body, cx));
            // The peer may never say more.
            let _ = timeout(UNWANTED_PATIENCE, past).await;
        };
        self.tasks.spawn_on(rest, &self.runtime);
    }
}

/// Ready when there is no more.
fn poll_past<B: Body + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Poll<()> {
    while let Some(Ok(_)) = ready!(Pin::new(&mut *body).poll_frame(cx)) {}
    Poll::Ready(())
}

impl<B: Body + Unpin + Send + 'static> Body for ReadPast<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let read = Pin::new(body).poll_frame(cx);
        self.waits = read.is_pending();
        read
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}
