//! How long the sale's own part of a call takes, for whoever steers rooms by it.
//!
//! A call is timed from its whole request to its handler's answer: what a slow
//! client or network adds is not the sale's. While it is under way its age is
//! seen ([`RecentTimes`]), so a sale that answers nobody is seen too. Whom the
//! gate refuses is never asked for the request, and is not timed.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::metrics::{RecentTimes, UnderWay};

/// What a caller got wrong: no work of the sale, so that whoever is not let in
/// cannot make it look quick or slow.
const SAYS_NOTHING: [&str; 6] = [
    "CANCELLED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
];
const UNAVAILABLE: &str = "UNAVAILABLE";
/// What a sale call counts as that found no store.
const UNAVAILABLE_WORTH: Duration = Duration::from_secs(10);

/// Services whose calls are the sale; a stream's life is no latency.
const SALE: [&str; 3] = [
    "usher.v1.CatalogService/",
    "usher.v1.ReservationService/",
    "usher.v1.PaymentService/",
];

pub(super) fn is_of_sale(path: &str) -> bool {
    SALE.iter()
        .any(|service| path.starts_with(service) && !path[service.len()..].starts_with("Watch"))
}

/// A call of the sale. Dropped without an answer, it was given up.
pub(super) struct SaleCall {
    times: Arc<RecentTimes>,
    under_way: OnceLock<UnderWay>,
}

impl SaleCall {
    pub(super) fn new(times: &Arc<RecentTimes>) -> Arc<Self> {
        Arc::new(Self {
            times: Arc::clone(times),
            under_way: OnceLock::new(),
        })
    }

    fn begin(&self) {
        self.under_way.get_or_init(|| self.times.begin());
    }

    /// With the name of its status.
    pub(super) fn answered(&self, code: &str) {
        let Some(under_way) = self.under_way.get() else {
            return;
        };
        match code {
            // A sale that refuses at once is not a quick one.
            UNAVAILABLE => under_way.end_as(UNAVAILABLE_WORTH),
            code if SAYS_NOTHING.contains(&code) => under_way.forget(),
            _ => under_way.end(),
        }
    }
}

pin_project! {
    /// A request's body, whose end begins the call.
    pub(in crate::app) struct TimedRequest<B> {
        #[pin]
        inner: B,
        call: Option<Arc<SaleCall>>,
    }
}

impl<B> TimedRequest<B> {
    pub(super) fn new(inner: B, call: Option<Arc<SaleCall>>) -> Self {
        Self { inner, call }
    }
}

impl<D: Buf, B: HttpBody<Data = D>> HttpBody for TimedRequest<B> {
    type Data = D;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        let is_whole = match &frame {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) => false,
            None => true,
        };
        if let (true, Some(call)) = (is_whole, this.call) {
            call.begin();
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

#[cfg(test)]
mod tests;
