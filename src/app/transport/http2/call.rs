//! One call: its response, and its body unless that is pushed.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as _, Frame};
use metrics::Counter;
use tokio::time::timeout;

use crate::app::measure::LentCall;
use crate::clock::{Clock as _, SystemClock};
use crate::grpc::handover::Handover;
use crate::grpc::unread::ResetAfter;

use super::pushed::{Called, Stream, poll_room};

/// Of gRPC itself: what a browser is sent is framed otherwise.
const GRPC: &str = "application/grpc";

/// Answers a request, unless its peer takes it back before.
pub(super) async fn answer(
    answering: impl Future<Output = Result<Response<Body>, Infallible>>,
    mut respond: SendResponse<Bytes>,
    called: Arc<Called>,
    resets: Counter,
) {
    let Some(response) = unless_reset(answering, &mut respond).await else {
        return;
    };
    let (mut head, body) = response.into_parts();
    date(&mut head.headers);
    let reset_after = head.extensions.get::<ResetAfter>().map(|after| after.0);
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|is| is == GRPC);
    let handover = head.extensions.remove::<Handover>();
    let call = head.extensions.remove::<LentCall>();
    let watch = handover
        .filter(|_| is_grpc)
        .and_then(|stream| stream.take());
    let is_over = watch.is_none() && body.is_end_stream();
    if !is_over && let Some(bytes) = body.size_hint().exact() {
        head.headers.entry(CONTENT_LENGTH).or_insert(bytes.into());
    }
    let sent = respond.send_response(Response::from_parts(head, ()), is_over);
    let Ok(sink) = sent else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    };
    if is_over {
        return;
    }
    if let Some(watch) = watch {
        let call = call.and_then(|call| call.take());
        return called.adopt(Stream::new(watch, call, sink, reset_after));
    }
    send(body, sink, reset_after, &resets).await;
}

/// None: the peer has reset the stream, and whatever was done for it ends here.
async fn unless_reset<F>(answering: F, respond: &mut SendResponse<Bytes>) -> Option<Response<Body>>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let mut answering = pin!(answering);
    poll_fn(|cx| {
        if let Poll::Ready(Ok(response)) = answering.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        respond.poll_reset(cx).map(|_| None)
    })
    .await
}

/// Sends a body as its reader takes it. With `reset_after` it is asked only when
/// there is room for what it says, and one whose reader takes nothing for so
/// long is reset.
async fn send(
    mut body: Body,
    mut sink: SendStream<Bytes>,
    reset_after: Option<Duration>,
    resets: &Counter,
) {
    loop {
        if let Some(limit) = reset_after {
            match timeout(limit, has_room(&mut sink)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    resets.increment(1);
                    sink.send_reset(Reason::CANCEL);
                    return;
                }
            }
        }
        let next = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => sink.poll_reset(cx).map(|_| None),
        });
        let Some(frame) = next.await else {
            return;
        };
        match frame.transpose().map(|frame| frame.map(Frame::into_data)) {
            Ok(Some(Ok(data))) => {
                if reset_after.is_none() && !data.is_empty() && !has_room(&mut sink).await {
                    return;
                }
                let is_last = body.is_end_stream();
                if sink.send_data(data, is_last).is_err() || is_last {
                    return;
                }
            }
            Ok(Some(Err(other))) => {
                if let Ok(trailers) = other.into_trailers() {
                    // Fails only when the peer is gone.
                    let _ = sink.send_trailers(trailers);
                    return;
                }
            }
            Ok(None) => {
                let _ = sink.send_data(Bytes::new(), true);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "a body has failed");
                sink.send_reset(Reason::INTERNAL_ERROR);
                return;
            }
        }
    }
}

async fn has_room(sink: &mut SendStream<Bytes>) -> bool {
    poll_fn(|cx| poll_room(sink, cx)).await
}

/// As every response of a server with a clock has one (RFC 9110, 6.6.1).
fn date(headers: &mut HeaderMap) {
    let now = UNIX_EPOCH + Duration::from_millis(SystemClock.now().0);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
        headers.entry(DATE).or_insert(date);
    }
}
