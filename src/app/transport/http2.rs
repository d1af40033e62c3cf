//! HTTP/2 with one peer, on the h2 crate: one task serves the connection and
//! every stream that is pushed to.
//!
//! A call has a task of its own until its response is there ([`call`]). What is
//! pushed then leaves that task: the connection's asks each stream that was
//! woken for its next message ([`pushed`]), and writes what all of them had to
//! say at once. So a message costs no task, no timer, and none of the layers
//! through which a response's body is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection as H2, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::app::tasks::Tasks;
use crate::config::TransportConfig;
use crate::metrics::{Metrics, STREAMS_RESET};

use super::connection::Peer;
use super::home::Home;
use super::limits;
use super::read_past::ReadPast;

mod call;
mod keepalive;
mod pushed;
mod request_body;
mod turn;

use keepalive::Keepalive;
use pushed::{Called, Pushed};
use request_body::RequestBody;
use turn::{InTurns, Turn};

/// Serves connections, all alike.
pub(super) struct Http2 {
    http: Builder,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    home: Home,
    tasks: Tasks,
    stream_resets: Counter,
    /// Numbers those that were served.
    served: AtomicU32,
}

impl Http2 {
    pub(super) fn new(
        config: &TransportConfig,
        home: Home,
        tasks: Tasks,
        metrics: &Metrics,
    ) -> Self {
        let mut http = Builder::new();
        http.max_concurrent_streams(config.streams_per_connection_max)
            .max_pending_accept_reset_streams(limits::PENDING_RESETS_MAX)
            .max_local_error_reset_streams(Some(limits::LOCAL_RESETS_MAX))
            .initial_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .max_frame_size(limits::FRAME_BYTES_MAX)
            .max_header_list_size(config.header_bytes_max)
            .max_send_buffer_size(config.send_buffer_bytes_max);
        Self {
            http,
            keepalive_interval: Duration::from_millis(config.keepalive_interval_ms),
            keepalive_timeout: Duration::from_millis(config.keepalive_timeout_ms),
            home,
            tasks,
            stream_resets: metrics.counter(&STREAMS_RESET, &[]),
            served: AtomicU32::new(0),
        }
    }

    /// Ends when the peer does, or, after `close`, with its last stream.
    pub(super) async fn serve<IO>(
        &self,
        io: IO,
        peer: Peer,
        close: CancellationToken,
    ) -> Result<(), h2::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let turn = Turn::default();
        let io = InTurns::new(io, turn.clone());
        // On the heap while it takes: what follows has its place then.
        let mut h2 = Box::pin(self.http.handshake(io)).await?;
        let keepalive = Keepalive::new(
            h2.ping_pong(),
            self.keepalive_interval,
            self.keepalive_timeout,
        );
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let called = Arc::new(Called::new(number));
        let connection = Connection {
            h2,
            turn,
            resets: 0,
            http2: self,
            peer,
            pushed: Pushed::new(Arc::clone(&called), self.stream_resets.clone()),
            called,
            keepalive,
            close: Some(Box::pin(close.cancelled_owned())),
        };
        connection.await
    }
}

struct Connection<'a, IO> {
    h2: H2<InTurns<IO>, Bytes>,
    turn: Turn,
    /// Calls that were taken back before they began, since all was read.
    resets: usize,
    http2: &'a Http2,
    peer: Peer,
    called: Arc<Called>,
    pushed: Pushed,
    keepalive: Keepalive,
    /// None once it has come.
    close: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<IO> Connection<'_, IO> {
    fn start(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let tasks = &self.http2.tasks;
        let whole = |body| axum::body::Body::new(ReadPast::new(RequestBody(body), tasks.clone()));
        let mut request = request.map(whole);
        request.extensions_mut().insert(self.peer.info());
        let resets = self.http2.stream_resets.clone();
        let called = Arc::clone(&self.called);
        let answering = self.http2.home.answer(request);
        let answering = call::answer(answering, respond, called, resets);
        tasks.spawn(answering);
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connection<'_, IO> {
    type Output = Result<(), h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.called.register(cx.waker());
        this.turn.begin();
        let is_told = |close: &mut Pin<Box<WaitForCancellationFutureOwned>>| {
            close.as_mut().poll(cx).is_ready()
        };
        if this.close.as_mut().is_some_and(is_told) {
            this.close = None;
            this.h2.graceful_shutdown();
        }
        loop {
            this.pushed.drive(cx);
            this.turn.gather(this.pushed.has_more());
            // Reads, and writes what the streams have said.
            match this.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, mut respond)))) => {
                    // h2 counts those that nobody took yet: here that is never
                    // more than a turn brings.
                    if respond.poll_reset(cx).is_pending() {
                        this.start(request, respond);
                        continue;
                    }
                    this.resets += 1;
                    if this.resets > limits::PENDING_RESETS_MAX {
                        this.h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending if this.pushed.is_quiet() || this.turn.is_blocked() => {
                    if !this.turn.is_over() {
                        this.resets = 0;
                    }
                    ready!(this.keepalive.poll_dead(cx));
                    // Ends once that is written, or could not be.
                    this.h2.abrupt_shutdown(Reason::NO_ERROR);
                }
                // There are more, or a window has opened.
                Poll::Pending => {}
            }
        }
    }
}
