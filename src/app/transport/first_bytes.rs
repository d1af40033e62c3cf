//! Knows what a peer's first bytes are of, and gives them back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// With which a client begins to speak HTTP/2 (RFC 9113, 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A client has said so much: every HTTP/1.1 request exceeds the preface.
const ENOUGH_BYTES: usize = PREFACE.len();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// Shared with whoever watches the deadline.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<AtomicUsize>);

impl Heard {
    pub(super) fn enough(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENOUGH_BYTES
    }
}

/// Counts what is read, until it is enough.
pub(super) struct FirstBytes<T> {
    inner: T,
    heard: Heard,
    /// What was read to see what is spoken, and how much of it was given back.
    seen: [u8; PREFACE.len()],
    seen_bytes: u8,
    given_bytes: u8,
}

impl<T> FirstBytes<T> {
    pub(super) fn new(inner: T) -> (Self, Heard) {
        let heard = Heard::default();
        let counted = Self {
            inner,
            heard: heard.clone(),
            seen: [0; PREFACE.len()],
            seen_bytes: 0,
            given_bytes: 0,
        };
        (counted, heard)
    }

    fn note(&self, bytes: usize) {
        self.heard.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl<T: AsyncRead + Unpin> FirstBytes<T> {
    /// Reads as much as it takes to know; who reads next reads that too.
    ///
    /// # Errors
    /// The peer ended before it was known, or as the connection does.
    pub(super) async fn spoken(&mut self) -> io::Result<Spoken> {
        loop {
            let known = usize::from(self.seen_bytes);
            if self.seen[..known] != PREFACE[..known] {
                return Ok(Spoken::Http1);
            }
            if known == PREFACE.len() {
                return Ok(Spoken::Http2);
            }
            let read = self.inner.read(&mut self.seen[known..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.note(read);
            self.seen_bytes += u8::try_from(read).unwrap_or(u8::MAX);
        }
    }

    fn give_back(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.seen[usize::from(self.given_bytes)..usize::from(self.seen_bytes)];
        let now = left.len().min(buf.remaining());
        buf.put_slice(&left[..now]);
        self.given_bytes += u8::try_from(now).unwrap_or(u8::MAX);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for FirstBytes<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given_bytes < self.seen_bytes {
            self.give_back(buf);
            return Poll::Ready(Ok(()));
        }
        if self.heard.enough() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.note(buf.filled().len() - before);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for FirstBytes<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
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
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    /// What is found, and all that is read after it, of bytes that come in
    /// pieces.
    async fn hear(said: &[u8], piece_bytes: usize) -> (io::Result<Spoken>, Vec<u8>) {
        let (ours, mut theirs) = duplex(said.len().max(1));
        let (mut io, heard) = FirstBytes::new(ours);
        let saying = async {
            for piece in said.chunks(piece_bytes) {
                theirs.write_all(piece).await.expect("said");
            }
            drop(theirs);
        };
        let hearing = async {
            let spoken = io.spoken().await;
            let mut all = Vec::new();
            io.read_to_end(&mut all).await.expect("read");
            (spoken, all)
        };
        let ((spoken, all), ()) = tokio::join!(hearing, saying);
        assert_eq!(heard.enough(), said.len() >= ENOUGH_BYTES);
        (spoken, all)
    }

    #[tokio::test]
    async fn it_is_known_what_is_spoken_and_nothing_is_lost() {
        let http2 = [&PREFACE[..], b"and frames"].concat();
        let http1 = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n".to_vec();
        let almost = b"PRI * HTTP/1.1\r\nhost: here\r\n\r\n".to_vec();
        let all = [
            (http2, Spoken::Http2),
            (http1, Spoken::Http1),
            (almost, Spoken::Http1),
        ];
        for (said, spoken) in all {
            for piece_bytes in [1, 7, said.len()] {
                let (found, read) = hear(&said, piece_bytes).await;
                assert_eq!(found.expect("known"), spoken);
                assert_eq!(read, said);
            }
        }
    }

    #[tokio::test]
    async fn one_who_ends_before_it_is_known_speaks_nothing() {
        let (found, _) = hear(&PREFACE[..20], 20).await;
        let error = found.expect_err("half a preface");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
