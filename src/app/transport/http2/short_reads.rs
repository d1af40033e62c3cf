//! Reads so little at a time that calls are taken before more of them are read,
//! and knows when its peer takes no more.
//!
//! h2 reads whatever there is before it hands out the first call of it, and the
//! memory in which it kept them all stays with the connection. A peer that
//! opens a hundred streams in one packet would cost some 60 KiB for as long as
//! it is connected.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Some five calls with their tokens.
const TURN_BYTES: usize = 1024;

/// What a connection has done since its task was asked.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<Done>);

#[derive(Default)]
struct Done {
    has_read_enough: AtomicBool,
    cannot_write: AtomicBool,
}

impl Turn {
    /// The task is asked again.
    pub(super) fn begin(&self) {
        self.0.has_read_enough.store(false, Ordering::Relaxed);
        self.0.cannot_write.store(false, Ordering::Relaxed);
    }

    /// There may be more to read.
    pub(super) fn is_over(&self) -> bool {
        self.0.has_read_enough.load(Ordering::Relaxed)
    }

    /// The peer takes nothing now; the task is called when it does.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.cannot_write.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.has_read_enough.store(true, Ordering::Relaxed);
    }

    fn note<R>(&self, written: &Poll<R>) {
        let is_blocked = written.is_pending();
        self.0.cannot_write.store(is_blocked, Ordering::Relaxed);
    }
}

/// Reads [`TURN_BYTES`] in a turn, and calls the task for the next.
pub(super) struct ShortReads<T> {
    inner: T,
    turn: Turn,
    left: usize,
}

impl<T> ShortReads<T> {
    pub(super) fn new(inner: T, turn: Turn) -> Self {
        Self {
            inner,
            turn,
            left: TURN_BYTES,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ShortReads<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn.is_over() {
            return Poll::Pending;
        }
        // By way of the stack: what of `buf` is not filled is not touched either,
        // and so costs an idle connection no memory.
        let mut bytes = [MaybeUninit::uninit(); TURN_BYTES];
        let most = self.left.min(buf.remaining());
        let mut part = ReadBuf::uninit(&mut bytes[..most]);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut part);
        let count = part.filled().len();
        buf.put_slice(part.filled());
        self.left -= count;
        if self.left == 0 {
            self.turn.end();
            cx.waker().wake_by_ref();
        }
        if self.left == 0 || read.is_pending() {
            self.left = TURN_BYTES;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ShortReads<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.turn.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.turn.note(&written);
        written
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
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Called(AtomicUsize);

    impl Wake for Called {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_long_packet_is_read_in_turns_and_whole() {
        let sent: Vec<u8> = (0..TURN_BYTES * 2 + 100).map(|nth| nth as u8).collect();
        let turn = Turn::default();
        let mut reads = ShortReads::new(sent.as_slice(), turn.clone());
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        let mut cx = Context::from_waker(&waker);
        let (mut got, mut turns) = (Vec::new(), 0);
        while got.len() < sent.len() {
            let mut bytes = [0; 3_000];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut reads).poll_read(&mut cx, &mut buf) {
                Poll::Pending => {
                    turns += 1;
                    assert_eq!(called.0.load(Ordering::Relaxed), turns, "called again");
                    turn.begin();
                }
                Poll::Ready(read) => {
                    read.unwrap();
                    assert!(!buf.filled().is_empty(), "no end in the middle");
                    got.extend_from_slice(buf.filled());
                }
            }
        }
        assert_eq!(got, sent);
        assert_eq!(turns, 2);
    }
}
