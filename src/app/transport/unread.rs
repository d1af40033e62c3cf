//! Resets an HTTP/2 stream whose reader takes nothing.
//!
//! hyper asks a body for more only when the peer's window has room; one that is
//! not asked cannot end, and would be kept for as long as the connection lives.
//! So the task of a stream looks itself how long its body was not asked, and
//! ends after that response's [`ResetAfter`]: what is dropped with it is reset.
//! The connection and its other streams go on. Costs a timer only while a body
//! waits to be asked.
//!
//! hyper makes the call of a request, then its task, one request at a time:
//! that is how a task knows its response.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use metrics::Counter;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep_until};

use crate::app::tasks::Tasks;
use crate::grpc::unread::{Call, ResetAfter};

/// What a task knows of its response; nothing of one that may wait for ever.
#[derive(Clone, Default)]
pub(super) struct Reading(Arc<OnceLock<(Arc<Call>, Duration)>>);

impl Reading {
    /// Watches how the response is read, if it says for how long.
    pub(super) fn of(&self, response: Response<Body>) -> Response<Body> {
        let Some(ResetAfter(limit)) = response.extensions().get().copied() else {
            return response;
        };
        let (call, _) = self.0.get_or_init(|| (Arc::default(), limit));
        let call = Arc::clone(call);
        response.map(|inner| {
            let waker = Waker::from(Arc::clone(&call));
            Body::new(ReadBody { inner, call, waker })
        })
    }
}

/// Runs the streams of one connection; the tasks are the server's.
#[derive(Clone)]
pub(super) struct StreamTasks {
    tasks: Tasks,
    resets: Counter,
    next: Arc<Mutex<Option<Reading>>>,
}

impl StreamTasks {
    pub(super) fn new(tasks: Tasks, resets: Counter) -> Self {
        Self {
            tasks,
            resets,
            next: Arc::default(),
        }
    }

    /// For the request that was just received: its task comes next.
    pub(super) fn announce(&self) -> Reading {
        let reading = Reading::default();
        *self.next() = Some(reading.clone());
        reading
    }

    fn next(&self) -> MutexGuard<'_, Option<Reading>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let reading = self.next().take().unwrap_or_default();
        self.tasks.spawn(StreamTask {
            inner: future,
            reading,
            resets: self.resets.clone(),
            overdue: None,
        });
    }
}

pin_project! {
    struct StreamTask<F> {
        #[pin]
        inner: F,
        reading: Reading,
        resets: Counter,
        // Only while the body waits to be asked.
        overdue: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.inner.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let reading = this.reading.0.get();
        let unread = reading.and_then(|(call, limit)| Some(call.since()? + *limit));
        let Some(ends_at) = unread else {
            *this.overdue = None;
            return Poll::Pending;
        };
        let overdue = this
            .overdue
            .get_or_insert_with(|| Box::pin(sleep_until(ends_at)));
        if overdue.deadline() != ends_at {
            overdue.as_mut().reset(ends_at);
        }
        ready!(overdue.as_mut().poll(cx));
        this.resets.increment(1);
        Poll::Ready(())
    }
}

struct ReadBody {
    inner: Body,
    call: Arc<Call>,
    waker: Waker,
}

impl HttpBody for ReadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.call.answer(cx.waker());
        let mut calling = Context::from_waker(&this.waker);
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(&mut calling));
        if frame.is_some() {
            // Whoever can take one asks for the next at once.
            this.call.note();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
