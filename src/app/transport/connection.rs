//! HTTP with one peer: TLS if configured, then HTTP/1 or HTTP/2 by its first
//! bytes, with every limit set by hand.
//!
//! HTTP/1 is hyper's. HTTP/2 is ours ([`Http2`]), or hyper's too where
//! `transport.http2` says so: one suite of tests holds for both.
//!
//! A peer that says nothing useful within `handshake_timeout_ms` is dropped:
//! hyper would wait for its preface for ever, and a graceful stop with it.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use metrics::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;

use crate::app::service::Service;
use crate::app::tasks::Tasks;
use crate::config::{Http2Kind, TransportConfig};
use crate::metrics::{CONNECTIONS_CUT, Metrics, STREAMS_RESET};

use super::first_bytes::{FirstBytes, Heard, Spoken};
use super::home::Home;
use super::http2::Http2;
use super::limits;
use super::read_past::ReadPast;
use super::stalled_write::StalledWrite;
use super::unread::StreamTasks;

/// How a connection ended.
pub(super) enum End {
    Done,
    /// Nothing useful was said in time.
    Silent,
    BadTls,
}

/// Serves connections, all alike.
pub(super) struct Connector {
    config: TransportConfig,
    tasks: Tasks,
    tls: Option<TlsAcceptor>,
    home: Home,
    /// None where hyper speaks HTTP/2.
    http2: Option<Http2>,
    handshake_timeout: Duration,
    /// As long as keepalive waits for a peer that says nothing.
    stall_timeout: Duration,
    stall_cuts: Counter,
    stream_resets: Counter,
}

impl Connector {
    pub(super) fn new(
        config: &TransportConfig,
        tls: Option<TlsAcceptor>,
        service: Service,
        tasks: Tasks,
        metrics: &Metrics,
    ) -> Self {
        let silence_ms = config.keepalive_interval_ms + config.keepalive_timeout_ms;
        let home = Home::here(service);
        let http2 = (config.http2 == Http2Kind::Direct)
            .then(|| Http2::new(config, home.clone(), tasks.clone(), metrics));
        Self {
            http2,
            tls,
            home,
            tasks,
            handshake_timeout: Duration::from_millis(config.handshake_timeout_ms),
            stall_timeout: Duration::from_millis(silence_ms),
            stall_cuts: metrics.counter(&CONNECTIONS_CUT, &["stalled"]),
            stream_resets: metrics.counter(&STREAMS_RESET, &[]),
            config: config.clone(),
        }
    }

    /// Every limit, for the streams of one connection.
    fn http(&self, streams: StreamTasks) -> Builder<StreamTasks> {
        let config = &self.config;
        let mut http = Builder::new(streams);
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_timeout)
            .max_buf_size(config.header_bytes_max as usize);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.streams_per_connection_max)
            .max_pending_accept_reset_streams(limits::PENDING_RESETS_MAX)
            .max_local_error_reset_streams(limits::LOCAL_RESETS_MAX)
            .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .max_frame_size(limits::FRAME_BYTES_MAX)
            .max_header_list_size(config.header_bytes_max)
            .max_send_buf_size(config.send_buffer_bytes_max)
            .keep_alive_interval(Duration::from_millis(config.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(config.keepalive_timeout_ms));
        http
    }

    /// Ends when the peer does, or, after `close`, with its last request.
    pub(super) async fn serve(&self, stream: TcpStream, close: CancellationToken) -> End {
        let deadline = Instant::now() + self.handshake_timeout;
        let peer = Peer::of(&stream);
        let stream = StalledWrite::new(stream, self.stall_timeout, self.stall_cuts.clone());
        match &self.tls {
            None => self.speak(stream, peer, close, deadline).await,
            // On the heap: a connection without it would pay for its size.
            Some(tls) => Box::pin(self.shake(tls, stream, peer, close, deadline)).await,
        }
    }

    async fn shake(
        &self,
        tls: &TlsAcceptor,
        stream: StalledWrite<TcpStream>,
        peer: Peer,
        close: CancellationToken,
        deadline: Instant,
    ) -> End {
        let accepted = tokio::select! {
            accepted = timeout_at(deadline, tls.accept(stream)) => accepted,
            // Nothing was asked for yet, so nothing is lost.
            () = close.cancelled() => return End::Done,
        };
        match accepted {
            Ok(Ok(stream)) => self.speak(stream, peer, close, deadline).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "tls handshake failed");
                End::BadTls
            }
            Err(_) => End::Silent,
        }
    }

    async fn speak<IO>(
        &self,
        io: IO,
        peer: Peer,
        close: CancellationToken,
        deadline: Instant,
    ) -> End
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut io, heard) = FirstBytes::new(io);
        let Some(http2) = &self.http2 else {
            let io = TokioIo::new(io);
            return Box::pin(self.speak_by_hyper(io, heard, peer, close, deadline)).await;
        };
        let spoken = tokio::select! {
            spoken = timeout_at(deadline, io.spoken()) => spoken,
            // Nothing was asked for yet, so nothing is lost.
            () = close.cancelled() => return End::Done,
        };
        match spoken {
            Ok(Ok(Spoken::Http2)) => {
                if let Err(error) = http2.serve(io, peer, close).await {
                    tracing::debug!(%error, "connection ended with an error");
                }
                End::Done
            }
            Ok(Ok(Spoken::Http1)) => {
                let io = TokioIo::new(io);
                // On the heap: few speak it, and all would pay for its size.
                Box::pin(self.speak_by_hyper(io, heard, peer, close, deadline)).await
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "connection ended before it said what it speaks");
                End::Done
            }
            Err(_) => End::Silent,
        }
    }

    async fn speak_by_hyper<IO>(
        &self,
        io: TokioIo<FirstBytes<IO>>,
        heard: Heard,
        peer: Peer,
        close: CancellationToken,
        deadline: Instant,
    ) -> End
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = StreamTasks::new(self.tasks.clone(), self.stream_resets.clone());
        let http = self.http(streams.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.info());
            let is_http2 = request.version() == Version::HTTP_2;
            let reading = streams.announce();
            let whole = |body| match is_http2 {
                true => axum::body::Body::new(ReadPast::new(body, self.tasks.clone())),
                false => axum::body::Body::new(body),
            };
            let response = self.home.answer(request.map(whole));
            async move { response.await.map(|response| reading.of(response)) }
        });
        let mut connection = pin!(http.serve_connection(io, service));
        let mut silence = pin!(sleep_until(deadline));
        let (mut closing, mut judged) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "connection ended with an error");
                    }
                    return End::Done;
                }
                () = close.cancelled(), if !closing => {
                    if !heard.enough() {
                        return End::Done;
                    }
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = silence.as_mut(), if !judged => {
                    if !heard.enough() {
                        return End::Silent;
                    }
                    judged = true;
                }
            }
        }
    }
}

/// Who is at the other end; tonic's requests answer `remote_addr` from it.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

impl Peer {
    fn of(stream: &TcpStream) -> Self {
        Self {
            local: stream.local_addr().ok(),
            remote: stream.peer_addr().ok(),
        }
    }

    pub(super) fn info(self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.local,
            remote_addr: self.remote,
        }
    }
}
