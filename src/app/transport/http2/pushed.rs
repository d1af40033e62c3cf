//! The streams of one connection that are pushed to.
//!
//! The connection carries them ([`Carrier`]): whoever has something to say is
//! noted, and the connection's task asks each of those noted. A stream is asked
//! only while its reader's window has room, so what it says is the state as it is
//! then; one whose window stays full for its `reset_after` is reset.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use h2::{Reason, SendStream};
use metrics::Counter;
use slab::Slab;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::app::measure::Call;
use crate::fanout::Carrier;
use crate::grpc::queue::watch::WatchStream;

/// What a connection's task shares with its calls and with the wakers of its
/// streams.
pub(super) struct Called {
    number: u32,
    task: AtomicWaker,
    streams: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    keys: Vec<u32>,
    /// All are, whatever the keys.
    are_all: bool,
    adopted: Vec<Stream>,
    /// The connection has ended: nobody would take what is noted.
    is_over: bool,
}

impl Called {
    pub(super) fn new(number: u32) -> Self {
        Self {
            number,
            task: AtomicWaker::new(),
            streams: Mutex::default(),
        }
    }

    /// Whose task is called from now on.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Gives a stream to the connection's task.
    pub(super) fn adopt(&self, stream: Stream) {
        let mut noted = self.noted();
        if noted.is_over {
            drop(noted);
            return drop(stream);
        }
        noted.adopted.push(stream);
        drop(noted);
        self.task.wake();
    }

    /// Nothing is noted.
    fn is_quiet(&self) -> bool {
        let noted = self.noted();
        noted.keys.is_empty() && !noted.are_all && noted.adopted.is_empty()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carrier for Called {
    fn number(&self) -> u32 {
        self.number
    }

    fn call(&self, keys: &[u32]) {
        self.noted().keys.extend_from_slice(keys);
        self.task.wake();
    }

    fn call_all(&self) {
        self.noted().are_all = true;
        self.task.wake();
    }
}

/// What h2 calls when a stream's window has opened, or its reader is gone.
struct StreamWaker {
    key: u32,
    is_noted: AtomicBool,
    called: Arc<Called>,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_noted.swap(true, Ordering::AcqRel) {
            self.called.call(&[self.key]);
        }
    }
}

/// A stream whose head is sent.
pub(super) struct Stream {
    watch: WatchStream,
    /// Recorded when the stream ends.
    call: Option<Call>,
    sink: SendStream<Bytes>,
    reset_after: Duration,
    /// Since when its reader's window has no room.
    full_since: Option<Instant>,
}

/// After a stream was asked.
#[derive(PartialEq, Eq)]
enum Asked {
    /// It will call.
    Waits,
    Over,
}

impl Stream {
    /// Without `reset_after` its reader may take nothing for ever.
    pub(super) fn new(
        watch: WatchStream,
        call: Option<Call>,
        sink: SendStream<Bytes>,
        reset_after: Option<Duration>,
    ) -> Self {
        Self {
            watch,
            call,
            sink,
            reset_after: reset_after.unwrap_or(Duration::MAX),
            full_since: None,
        }
    }

    /// Says all that is due and that its reader takes.
    fn ask(&mut self, is_noted: &AtomicBool, cx: &mut Context<'_>) -> Asked {
        loop {
            // Asking for room calls the stream by itself: what it would be called
            // for is looked at here.
            is_noted.store(true, Ordering::Release);
            let room = poll_room(&mut self.sink, cx);
            is_noted.store(false, Ordering::Release);
            if room.is_pending() && self.sink.capacity() > 0 {
                // It opened in between, and called in vain.
                continue;
            }
            match room {
                Poll::Ready(true) => self.full_since = None,
                Poll::Ready(false) => return Asked::Over,
                Poll::Pending => {
                    self.full_since.get_or_insert_with(Instant::now);
                    return Asked::Waits;
                }
            }
            if self.sink.poll_reset(cx).is_ready() {
                return Asked::Over;
            }
            match self.watch.poll_message(cx) {
                Poll::Pending => return self.waits(),
                Poll::Ready(Some(Ok((message, has_more)))) => {
                    if self.sink.send_data(message, false).is_err() {
                        return Asked::Over;
                    }
                    if !has_more {
                        // The room that was asked for is what it takes.
                        return Asked::Waits;
                    }
                }
                Poll::Ready(Some(Err(status))) => return self.end(&status),
                Poll::Ready(None) => return self.end(&Status::ok("")),
            }
        }
    }

    /// A stream that has nothing to say keeps no room of its connection from
    /// others.
    fn waits(&mut self) -> Asked {
        self.sink.reserve_capacity(0);
        Asked::Waits
    }

    fn end(&mut self, status: &Status) -> Asked {
        let mut trailers = http::HeaderMap::new();
        if let Err(error) = status.add_header(&mut trailers) {
            tracing::error!(%error, "a status cannot be said");
        }
        if let Some(call) = &mut self.call {
            call.see(&trailers);
        }
        // Fails only when the peer is gone.
        let _ = self.sink.send_trailers(trailers);
        Asked::Over
    }

    fn resets_at(&self) -> Option<Instant> {
        self.full_since?.checked_add(self.reset_after)
    }
}

/// Whether the reader's window has room; false: there is no reader any more.
pub(super) fn poll_room(sink: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<bool> {
    sink.reserve_capacity(1);
    while sink.capacity() == 0 {
        match sink.poll_capacity(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}

/// Streams asked before h2 takes what they said: it keeps the memory for so many
/// messages (600 bytes each) as long as the connection.
const AT_ONCE: usize = 24;

struct Kept {
    stream: Stream,
    noted: Arc<StreamWaker>,
    waker: Waker,
}

pub(super) struct Pushed {
    streams: Slab<Kept>,
    called: Arc<Called>,
    /// Taken from `called`, in turns with its own.
    keys: Vec<u32>,
    /// Some window was full since this was last judged.
    has_full: bool,
    /// Only while some window is full: when the first of them is reset.
    overdue: Option<Pin<Box<Sleep>>>,
    resets: Counter,
}

impl Pushed {
    pub(super) fn new(called: Arc<Called>, resets: Counter) -> Self {
        Self {
            streams: Slab::new(),
            called,
            keys: Vec::new(),
            has_full: false,
            overdue: None,
            resets,
        }
    }

    /// Lets streams that called, or are new, say what they have to: as many as h2
    /// keeps messages for.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if self.keys.is_empty() {
            self.take_calls();
        }
        let mut keys = std::mem::take(&mut self.keys);
        for key in keys.drain(keys.len().saturating_sub(AT_ONCE)..) {
            self.has_full |= self.ask(key);
        }
        self.keys = keys;
        // Judged once everyone whose window may have opened was asked.
        if self.is_quiet() && (std::mem::take(&mut self.has_full) || self.overdue.is_some()) {
            self.reset_overdue(cx);
        }
    }

    /// Some of those that called have not been asked yet.
    pub(super) fn has_more(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Nobody is to be asked.
    pub(super) fn is_quiet(&self) -> bool {
        self.keys.is_empty() && self.called.is_quiet()
    }

    fn take_calls(&mut self) {
        let (are_all, adopted) = {
            let mut noted = self.called.noted();
            std::mem::swap(&mut noted.keys, &mut self.keys);
            let are_all = std::mem::take(&mut noted.are_all);
            (are_all, std::mem::take(&mut noted.adopted))
        };
        for stream in adopted {
            let key = self.keep(stream);
            self.keys.push(key);
        }
        if are_all {
            self.keys.clear();
            let all = self.streams.iter().map(|(key, _)| key as u32);
            self.keys.extend(all);
        }
    }

    fn keep(&mut self, stream: Stream) -> u32 {
        if self.streams.is_empty() {
            // Most connections have one stream, and none pays for four.
            self.streams.reserve_exact(1);
        }
        let entry = self.streams.vacant_entry();
        // A connection has far fewer streams than that.
        let key = entry.key() as u32;
        let carrier: Arc<dyn Carrier> = Arc::clone(&self.called) as _;
        stream.watch.carry(carrier, key);
        let noted = Arc::new(StreamWaker {
            key,
            is_noted: AtomicBool::new(false),
            called: Arc::clone(&self.called),
        });
        let waker = Waker::from(Arc::clone(&noted));
        entry.insert(Kept {
            stream,
            noted,
            waker,
        });
        key
    }

    /// Whether its window is full. A stream that has ended meanwhile is asked
    /// nothing.
    fn ask(&mut self, key: u32) -> bool {
        let Some(kept) = self.streams.get_mut(key as usize) else {
            return false;
        };
        let mut cx = Context::from_waker(&kept.waker);
        if kept.stream.ask(&kept.noted.is_noted, &mut cx) == Asked::Over {
            self.streams.remove(key as usize);
            return false;
        }
        kept.stream.full_since.is_some()
    }

    fn reset_overdue(&mut self, cx: &mut Context<'_>) {
        loop {
            let first = self
                .streams
                .iter()
                .filter_map(|(_, kept)| kept.stream.resets_at());
            let Some(first) = first.min() else {
                self.overdue = None;
                return;
            };
            let overdue = self
                .overdue
                .get_or_insert_with(|| Box::pin(sleep_until(first)));
            if overdue.deadline() != first {
                overdue.as_mut().reset(first);
            }
            if overdue.as_mut().poll(cx).is_pending() {
                return;
            }
            let resets = &self.resets;
            self.streams.retain(|_, kept| {
                let is_overdue = kept.stream.resets_at().is_some_and(|at| at <= first);
                if is_overdue {
                    kept.stream.sink.send_reset(Reason::CANCEL);
                    resets.increment(1);
                }
                !is_overdue
            });
        }
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        let adopted = {
            let mut noted = self.called.noted();
            noted.is_over = true;
            std::mem::take(&mut noted.adopted)
        };
        // Under no lock: a stream that ends tells its hub.
        drop(adopted);
    }
}
