//! One open stream: the hub's subscription, polled by hand as a transport
//! polls it, and what its reader was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::domain::ids::{Incarnation, PlaceKey};
use crate::fanout::event::Event;
use crate::fanout::{StreamError, Subscription};

use super::oracle::streams::Heard;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a poll gave.
#[derive(Debug)]
pub(super) enum Said {
    Nothing,
    Event(Box<Event>),
    SlowReader,
    Over,
}

pub(super) struct Stream {
    pub(super) node: usize,
    pub(super) incarnation: Incarnation,
    /// Of the device that opened it.
    pub(super) client: usize,
    pub(super) place: PlaceKey,
    pub(super) heard: Heard,
    subscription: Subscription,
    woken: Arc<Woken>,
    sleeps: bool,
}

impl Stream {
    pub(super) fn new(
        subscription: Subscription,
        node: usize,
        incarnation: Incarnation,
        client: usize,
        place: PlaceKey,
        heard: Heard,
    ) -> Self {
        Self {
            node,
            incarnation,
            client,
            place,
            heard,
            subscription,
            woken: Arc::default(),
            sleeps: false,
        }
    }

    /// Takes what is due; and whether the transport had a reason to ask: it was
    /// woken, or had not yet slept.
    pub(super) fn poll(&mut self) -> (Said, bool) {
        let was_woken = self.woken.0.swap(false, Ordering::Relaxed) || !self.sleeps;
        let waker = Waker::from(Arc::clone(&self.woken));
        let said = match self
            .subscription
            .poll_next(&mut Context::from_waker(&waker))
        {
            Poll::Pending => Said::Nothing,
            Poll::Ready(Some(Ok(event))) => Said::Event(Box::new(event)),
            Poll::Ready(Some(Err(StreamError::SlowReader))) => Said::SlowReader,
            Poll::Ready(None) => Said::Over,
        };
        self.sleeps = matches!(said, Said::Nothing);
        (said, was_woken)
    }
}
