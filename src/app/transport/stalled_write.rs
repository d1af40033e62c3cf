//! Ends the connection of a peer that takes nothing.
//!
//! Neither HTTP's keepalive nor a graceful end can: both have something to say
//! first. A write that could not go on for so long fails instead. It stands below
//! TLS, which gathers what it cannot write: whatever is flushed or shut down
//! above ends in a write here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Costs a timer only while a write waits.
pub(super) struct StalledWrite<T> {
    inner: T,
    timeout: Duration,
    /// Since the last byte that went out.
    stalled: Option<Pin<Box<Sleep>>>,
    cuts: Counter,
    is_cut: bool,
}

impl<T> StalledWrite<T> {
    pub(super) fn new(inner: T, timeout: Duration, cuts: Counter) -> Self {
        Self {
            inner,
            timeout,
            stalled: None,
            cuts,
            is_cut: false,
        }
    }

    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let failed = || Err(io::ErrorKind::TimedOut.into());
        if self.is_cut {
            return Poll::Ready(failed());
        }
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        self.is_cut = true;
        self.cuts.increment(1);
        Poll::Ready(failed())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StalledWrite<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for StalledWrite<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(80);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_fails_after_its_time() {
        let (ours, _theirs) = duplex(8);
        let mut ours = StalledWrite::new(ours, TIMEOUT, Counter::noop());
        let started = Instant::now();
        let error = ours.write_all(&[0; 16]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_no_dead_one() {
        let (ours, mut theirs) = duplex(8);
        let mut ours = StalledWrite::new(ours, TIMEOUT, Counter::noop());
        let reading = async {
            for _ in 0..4 {
                sleep(TIMEOUT - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 8]).await.expect("read");
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 32]), reading);
        written.expect("taken in time, each time");
    }
}
