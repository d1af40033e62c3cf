//! A request's body, as it is read from its HTTP/2 stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::app::tasks::Tasks;

/// How long the rest of a body that nobody wants may take.
const UNWANTED_PATIENCE: Duration = Duration::from_secs(1);

/// Lets the peer send as much again as was taken.
pub(super) struct RequestBody {
    /// Until it is dropped.
    stream: Option<RecvStream>,
    /// More was asked for, and has not come.
    waits: bool,
    tasks: Tasks,
    /// Of the connection.
    runtime: Handle,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream, tasks: Tasks) -> Self {
        Self {
            stream: Some(stream),
            waits: false,
            tasks,
            runtime: Handle::current(),
        }
    }
}

/// A call that is refused before it is read leaves a body that is still under
/// way. If its stream were given up now, what comes of it would be taken for the
/// peer's error, of which a connection may have but so many.
impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if self.waits || poll_past(&mut stream, &mut nobody).is_ready() {
            return;
        }
        let rest = async move {
            let past = poll_fn(|cx| poll_past(&mut stream, cx));
            // The peer may never say more.
            let _ = timeout(UNWANTED_PATIENCE, past).await;
        };
        self.tasks.spawn_on(rest, &self.runtime);
    }
}

/// Ready when there is no more.
fn poll_past(stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<()> {
    while let Some(Ok(data)) = ready!(stream.poll_data(cx)) {
        release(stream, data.len());
    }
    Poll::Ready(())
}

fn release(stream: &mut RecvStream, bytes: usize) {
    // Fails only when the stream has ended, and then it is no matter.
    let _ = stream.flow_control().release_capacity(bytes);
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let read = stream.poll_data(cx);
        this.waits = read.is_pending();
        match ready!(read) {
            Some(Ok(data)) => {
                release(stream, data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // The peer wants no answer to the rest.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(stream.poll_trailers(cx)).transpose();
                Poll::Ready(trailers.map(|read| read.map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}
