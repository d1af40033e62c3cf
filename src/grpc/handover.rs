//! Hands a `Watch` stream to the transport, past the body of its response.
//!
//! A body is asked for each message through every layer between it and the
//! socket. A transport that knows [`Handover`] takes the stream itself out of
//! the response, asks it for whole messages and drops the body. For any other
//! the body is the stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use tonic::{Response, Status};

use crate::proto::v1 as wire;

use super::queue::watch::WatchStream;

/// Of a response, for the transport: whoever takes first has the stream.
#[derive(Clone)]
pub struct Handover(Arc<Mutex<Option<WatchStream>>>);

impl Handover {
    /// None: it is taken.
    #[must_use]
    pub fn take(&self) -> Option<WatchStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A response whose body, or whose transport, has the stream.
    pub(super) fn offer(response: Response<WatchStream>) -> Response<WatchBody> {
        let (metadata, stream, mut extensions) = response.into_parts();
        let handover = Self(Arc::new(Mutex::new(Some(stream))));
        extensions.insert(handover.clone());
        let body = WatchBody::Offered(handover);
        Response::from_parts(metadata, body, extensions)
    }
}

/// The stream, for a transport that polls bodies.
pub enum WatchBody {
    Offered(Handover),
    Taken(Box<WatchStream>),
}

impl Stream for WatchBody {
    type Item = Result<wire::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Self::Offered(handover) = &*self {
            match handover.take() {
                Some(stream) => *self = Self::Taken(Box::new(stream)),
                None => return Poll::Ready(None),
            }
        }
        match &mut *self {
            Self::Offered(_) => Poll::Ready(None),
            Self::Taken(stream) => {
                let said = stream.poll_response(cx);
                said.map(|said| said.map(|said| said.map(|(message, _)| message)))
            }
        }
    }
}
