//! Ends a stream beside `Watch` whose reader takes nothing.
//!
//! Such a stream is pulled: a message is made from the present state when the
//! transport asks for it, so nothing is kept for a slow reader, who gets the
//! newest state and never a backlog. What is missing is an end: a reader who
//! comes back after [`Call`] went unanswered for too long is told so. One who does
//! not come back is never told, as nobody asks: the transport resets the stream
//! after [`ResetAfter`](super::unread::ResetAfter).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::Stream;

use super::unread::Call;

/// Items of `S` until a reader stalls; then one refusal, and the end.
pub struct UntilStalled<S, F> {
    inner: S,
    refuse: F,
    write_stall: Duration,
    call: Arc<Call>,
    waker: Waker,
    is_over: bool,
}

impl<S, F> UntilStalled<S, F> {
    /// `refuse` makes the last item.
    pub fn new(inner: S, write_stall_ms: u64, refuse: F) -> Self {
        let call = Arc::<Call>::default();
        Self {
            inner,
            refuse,
            write_stall: Duration::from_millis(write_stall_ms),
            waker: Waker::from(Arc::clone(&call)),
            call,
            is_over: false,
        }
    }
}

impl<S, F> Stream for UntilStalled<S, F>
where
    S: Stream + Unpin,
    F: Fn() -> S::Item + Unpin,
{
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.call.answer(cx.waker()) >= this.write_stall {
            this.is_over = true;
            return Poll::Ready(Some((this.refuse)()));
        }
        let polled = Pin::new(&mut this.inner).poll_next(&mut Context::from_waker(&this.waker));
        match &polled {
            // Whoever takes one asks for the next at once.
            Poll::Ready(Some(_)) => this.call.note(),
            Poll::Ready(None) => this.is_over = true,
            Poll::Pending => {}
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::{Instant, Interval, advance, interval};

    use super::*;

    const STALL_MS: u64 = 30_000;
    const PERIOD: Duration = Duration::from_secs(1);

    /// The number of the second in which it is asked, once a second.
    fn seconds() -> impl Stream<Item = Result<u64, &'static str>> + Unpin {
        let started = Instant::now();
        let next = move |mut ticks: Interval| async move {
            ticks.tick().await;
            Some((Ok(started.elapsed().as_secs()), ticks))
        };
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Box::pin(stream::unfold(ticks, next))
    }

    fn poll<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Poll<Option<T>> {
        Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn watched() -> impl Stream<Item = Result<u64, &'static str>> + Unpin {
        UntilStalled::new(seconds(), STALL_MS, || Err("slow"))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_for_write_stall_ends() {
        let mut stream = watched();
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(0))));
        assert!(poll(&mut stream).is_pending());
        // Due after a second, and 29.9 seconds late.
        advance(PERIOD + Duration::from_millis(STALL_MS - 100)).await;
        tokio::task::yield_now().await;
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(30))), "the newest");
        assert!(poll(&mut stream).is_pending(), "and no backlog");
        advance(PERIOD).await;
        tokio::task::yield_now().await;
        advance(Duration::from_millis(STALL_MS)).await;
        tokio::task::yield_now().await;
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Err("slow"))));
        assert_eq!(poll(&mut stream), Poll::Ready(None));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_after_a_message_ends_too() {
        let mut stream = watched();
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Ok(0))));
        // Its window is full: nobody asks whether there is more.
        advance(Duration::from_millis(STALL_MS)).await;
        assert_eq!(poll(&mut stream), Poll::Ready(Some(Err("slow"))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_the_readers_fault() {
        let mut stream = UntilStalled::new(stream::pending::<u64>(), STALL_MS, || 0);
        assert!(poll(&mut stream).is_pending());
        advance(Duration::from_millis(10 * STALL_MS)).await;
        tokio::task::yield_now().await;
        assert!(poll(&mut stream).is_pending());
    }
}
