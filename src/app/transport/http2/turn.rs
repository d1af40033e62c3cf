//! What a connection reads and writes in a turn of its task.
//!
//! It reads so little at a time that calls are taken before more of them are
//! read: h2 reads whatever there is before it hands out the first call of it, and
//! the memory in which it kept them all stays with the connection. A peer that
//! opens a hundred streams in one packet would cost some 60 KiB for as long as it
//! is connected.
//!
//! It gathers what streams say that are asked a few at a time, for the same
//! reason, and writes it at once: a write costs more than what it carries.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Some five calls with their tokens.
const READ_BYTES: usize = 1024;

/// Positions of some 200 streams.
const GATHERED_BYTES: usize = 16 * 1024;

/// What a connection has done since its task was asked, and is to do.
#[derive(Clone, Default)]
pub(super) struct Turn(Arc<Flags>);

#[derive(Default)]
struct Flags {
    has_read_enough: AtomicBool,
    cannot_write: AtomicBool,
    has_more_to_say: AtomicBool,
}

impl Turn {
    /// The task is asked again.
    pub(super) fn begin(&self) {
        self.0.has_read_enough.store(false, Ordering::Relaxed);
        self.0.cannot_write.store(false, Ordering::Relaxed);
        self.0.has_more_to_say.store(false, Ordering::Relaxed);
    }

    /// Whether what is written now may wait for more of this turn.
    pub(super) fn gather(&self, has_more: bool) {
        self.0.has_more_to_say.store(has_more, Ordering::Relaxed);
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

    fn gathers(&self) -> bool {
        self.0.has_more_to_say.load(Ordering::Relaxed)
    }
}

/// Reads [`READ_BYTES`] in a turn, and calls the task for the next; writes up to
/// [`GATHERED_BYTES`] at once.
pub(super) struct InTurns<T> {
    inner: T,
    turn: Turn,
    /// To be read in this turn.
    left: usize,
    /// Without memory while there is nothing.
    gathered: Vec<u8>,
    /// How much of it the peer has taken.
    taken: usize,
}

impl<T> InTurns<T> {
    pub(super) fn new(inner: T, turn: Turn) -> Self {
        Self {
            inner,
            turn,
            left: READ_BYTES,
            gathered: Vec::new(),
            taken: 0,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for InTurns<T> {
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
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
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
            self.left = READ_BYTES;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> InTurns<T> {
    /// Whether what is written now goes by way of `gathered`.
    fn gathers(&self) -> bool {
        self.turn.gathers() || !self.gathered.is_empty()
    }

    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.len() == GATHERED_BYTES {
            ready!(self.poll_pass_on(cx))?;
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(GATHERED_BYTES);
        }
        let before = self.gathered.len();
        for part in parts {
            let room = GATHERED_BYTES - self.gathered.len();
            self.gathered
                .extend_from_slice(&part[..part.len().min(room)]);
        }
        let count = self.gathered.len() - before;
        if !self.turn.gathers()
            && let Poll::Ready(Err(error)) = self.poll_pass_on(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    /// Ready when nothing is gathered any more.
    fn poll_pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.gathered.len() {
            let rest = &self.gathered[self.taken..];
            let written = Pin::new(&mut self.inner).poll_write(cx, rest);
            self.turn.note(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken += count,
            }
        }
        self.gathered = Vec::new();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for InTurns<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathers() {
            return self.poll_gather(cx, &[IoSlice::new(bytes)]);
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.turn.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.gathers() {
            return self.poll_gather(cx, parts);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.turn.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turn.gathers() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_pass_on(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pass_on(cx))?;
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
        let sent: Vec<u8> = (0..READ_BYTES * 2 + 100).map(|nth| nth as u8).collect();
        let turn = Turn::default();
        let mut reads = InTurns::new(sent.as_slice(), turn.clone());
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

    /// Takes so much at a time, and nothing in between.
    #[derive(Default)]
    struct Narrow {
        writes: Vec<Vec<u8>>,
        most: usize,
        is_full: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.is_full = !self.is_full;
            if !self.is_full {
                return Poll::Pending;
            }
            let count = bytes.len().min(self.most);
            self.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(io: &mut InTurns<Narrow>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(io).poll_write(&mut cx, bytes)
    }

    fn flush(io: &mut InTurns<Narrow>) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(io).poll_flush(&mut cx)
    }

    fn narrow(most: usize) -> (InTurns<Narrow>, Turn) {
        let turn = Turn::default();
        let peer = Narrow {
            most,
            ..Narrow::default()
        };
        (InTurns::new(peer, turn.clone()), turn)
    }

    #[test]
    fn what_is_gathered_leaves_in_one_write_with_the_last_of_it() {
        let (mut io, turn) = narrow(usize::MAX);
        turn.gather(true);
        for part in [b"one ", b"two "] {
            assert!(matches!(write(&mut io, part), Poll::Ready(Ok(4))));
            assert!(flush(&mut io).is_ready());
        }
        assert!(io.inner.writes.is_empty(), "more is to come");
        turn.gather(false);
        assert!(matches!(write(&mut io, b"three"), Poll::Ready(Ok(5))));
        assert_eq!(io.inner.writes, [b"one two three"]);
        assert_eq!(io.gathered.capacity(), 0, "an idle peer costs nothing");
    }

    #[test]
    fn what_is_gathered_leaves_when_there_was_no_more() {
        let (mut io, turn) = narrow(usize::MAX);
        turn.gather(true);
        assert!(write(&mut io, b"one").is_ready());
        turn.gather(false);
        assert!(flush(&mut io).is_ready());
        assert_eq!(io.inner.writes, [b"one"]);
    }

    #[test]
    fn a_peer_that_takes_little_gets_all_in_order_and_holds_up_the_rest() {
        let (mut io, turn) = narrow(5_000);
        let said: Vec<u8> = (0..3 * GATHERED_BYTES).map(|nth| nth as u8).collect();
        turn.gather(true);
        let mut sent = 0;
        while let Poll::Ready(count) = write(&mut io, &said[sent..]) {
            sent += count.unwrap();
        }
        assert_eq!(sent, GATHERED_BYTES, "no more is kept for a slow peer");
        assert!(turn.is_blocked());
        turn.begin();
        turn.gather(false);
        while sent < said.len() {
            if let Poll::Ready(count) = write(&mut io, &said[sent..]) {
                sent += count.unwrap();
            }
        }
        while flush(&mut io).is_pending() {}
        assert_eq!(io.inner.writes.concat(), said);
    }
}
