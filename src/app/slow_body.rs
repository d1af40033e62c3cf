//! Requests whose message never comes whole.
//!
//! Every RPC of ours takes one message, and its handler waits for it: a peer
//! that says half of it would keep the call, and its stream, for as long as it
//! answers pings. After `transport.request_timeout_ms` the body fails instead,
//! and with it the call. A message that is there at once costs no timer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::{BoxError, Layer, Service};

/// Puts every request's body under the deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowBodyLayer(pub(super) Duration);

impl<S> Layer<S> for SlowBodyLayer {
    type Service = SlowBodies<S>;

    fn layer(&self, inner: S) -> SlowBodies<S> {
        SlowBodies {
            inner,
            timeout: self.0,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct SlowBodies<S> {
    inner: S,
    timeout: Duration,
}

impl<S> Service<Request<Body>> for SlowBodies<S>
where
    S: Service<Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let timeout = self.timeout;
        self.inner.call(request.map(|inner| {
            Body::new(TimedBody {
                inner,
                timeout,
                deadline: None,
            })
        }))
    }
}

pin_project! {
    struct TimedBody {
        #[pin]
        inner: Body,
        timeout: Duration,
        // From the first time that there was nothing to read.
        deadline: Option<Pin<Box<Sleep>>>,
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame.map(|read| read.map_err(BoxError::from)));
        }
        let timeout = *this.timeout;
        let deadline = this
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        let status = Status::deadline_exceeded("the request did not come whole in time");
        Poll::Ready(Some(Err(status.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    type Part = Result<Frame<Bytes>, Infallible>;

    fn timed(parts: impl futures_util::Stream<Item = Part> + Send + 'static) -> TimedBody {
        TimedBody {
            inner: Body::new(StreamBody::new(parts)),
            timeout: Duration::from_secs(10),
            deadline: None,
        }
    }

    fn part() -> Part {
        Ok(Frame::data(Bytes::from_static(b"part")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_fails_after_its_time_and_not_before() {
        let slow = stream::once(async {
            sleep(Duration::from_millis(9_999)).await;
            part()
        });
        let mut body = timed(slow.chain(stream::pending()));
        let first = body.frame().await.expect("a part").expect("in time");
        assert_eq!(first.into_data().expect("data"), "part");
        let error = body.frame().await.expect("an error").expect_err("late");
        let status = error.downcast::<Status>().expect("a status");
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn one_part_a_second_is_no_way_around_it() {
        let drip = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((part(), ()))
        });
        let mut body = timed(drip);
        let mut parts = 0;
        while let Ok(_part) = body.frame().await.expect("no end") {
            parts += 1;
        }
        assert!((9..=10).contains(&parts), "{parts}");
    }

    #[tokio::test]
    async fn what_is_there_is_read_without_a_timer() {
        let mut body = timed(stream::iter([part(), part()]));
        while let Some(read) = body.frame().await {
            read.expect("a part");
        }
        assert!(body.deadline.is_none());
    }
}
