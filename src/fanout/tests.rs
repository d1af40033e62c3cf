use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::event::{Body, Event, Snapshot};
use super::*;
use crate::clock::ManualClock;
use crate::domain::delta::RoomDelta;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::time::UnixMs;
use crate::view::fixture::{Line, place};
use crate::view::{Applied, PreparedSnapshot, ViewListener as _, Views};

mod carried;
mod draw;
mod load;
mod rules;
mod sentences;
mod streams;

const START_MS: u64 = 1_000_000;

#[derive(Default)]
struct Signer(AtomicUsize);

impl PassSigner for Signer {
    fn pass(&self, request: &PassRequest) -> Arc<str> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (from, until) = (request.claimed_at.0, request.expire_time.0);
        format!("{}/{from}/{until}", request.activation_id).into()
    }
}

struct World {
    hub: Arc<Hub>,
    /// For push delays alone; [`World::pass`] tells the hub the time.
    clock: Arc<ManualClock>,
    views: Arc<Views>,
    room: RoomId,
    line: Line,
    now_ms: u64,
}

impl World {
    fn new(line: Line) -> Self {
        Self::with_limits(line, HubLimits::default())
    }

    fn with_limits(line: Line, limits: HubLimits) -> Self {
        let views = Arc::new(Views::default());
        let clock = Arc::new(ManualClock::new(UnixMs(START_MS)));
        let signer = Arc::new(Signer::default());
        let world = Self {
            hub: Hub::new(limits, views.clone(), signer, clock.clone(), 7),
            clock,
            views,
            room: RoomId::parse("room").unwrap(),
            line,
            now_ms: START_MS,
        };
        let view = PreparedSnapshot::new(world.line.snapshot()).into_view();
        world
            .views
            .cell(&world.room)
            .write(|cell| *cell = Some(view));
        world
    }

    fn spec(&self, number: u64) -> StreamSpec {
        StreamSpec {
            room: self.room.clone(),
            place: place(number),
            user: UserId::parse(&format!("user-{number}")).unwrap(),
            resume: None,
            min_update_interval_ms: None,
            max_duration_ms: None,
            end_on_activation: false,
            known_end: None,
            is_merged: false,
        }
    }

    fn open(&self, number: u64) -> Subscription {
        self.hub.open(self.spec(number)).unwrap()
    }

    /// Opened, and its snapshot taken.
    fn watch(&self, number: u64) -> Subscription {
        let mut stream = self.open(number);
        assert!(matches!(next(&mut stream).body, Body::Snapshot(_)));
        stream
    }

    fn apply(&self, delta: &Arc<RoomDelta>) {
        let cell = self.views.cell(&self.room);
        match cell.write(|view| view.as_mut().unwrap().apply(delta)) {
            Applied::Changed(changes) => self.hub.changed(&cell, &changes),
            other => panic!("expected a change, got {other:?}"),
        }
    }

    fn leave(&mut self, numbers: &[u64]) {
        let delta = self.line.leave(numbers);
        self.apply(&delta);
    }

    /// The line's state replaces the view, as after a gap.
    fn replace_view(&self) {
        let cell = self.views.cell(&self.room);
        let prepared = PreparedSnapshot::new(self.line.snapshot());
        let changed = cell.write(|view| view.as_mut().unwrap().apply_snapshot(prepared));
        self.hub.changed(&cell, &changed.unwrap().0);
    }

    /// Lets time pass as the app does.
    fn pass(&mut self, span_ms: u64) {
        for _ in 0..span_ms / 100 {
            self.now_ms += 100;
            self.hub.advance(UnixMs(self.now_ms));
        }
    }
}

fn poll(stream: &mut Subscription) -> Poll<Option<Result<Event, StreamError>>> {
    stream.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn next(stream: &mut Subscription) -> Event {
    match poll(stream) {
        Poll::Ready(Some(Ok(event))) => event,
        other => panic!("expected an event, got {other:?}"),
    }
}

fn snapshot(stream: &mut Subscription) -> Snapshot {
    match next(stream).body {
        Body::Snapshot(snapshot) => *snapshot,
        other => panic!("expected a snapshot, got {other:?}"),
    }
}

fn is_silent(stream: &mut Subscription) -> bool {
    poll(stream).is_pending()
}

fn has_ended(stream: &mut Subscription) -> bool {
    matches!(poll(stream), Poll::Ready(None))
}

/// Everything due now, by name; `end` and `slow` for ends.
fn said(stream: &mut Subscription) -> Vec<&'static str> {
    let mut names = Vec::new();
    loop {
        names.push(match poll(stream) {
            Poll::Pending => return names,
            Poll::Ready(Some(Ok(event))) => name(&event.body),
            Poll::Ready(Some(Err(StreamError::SlowReader))) => "slow",
            Poll::Ready(None) => {
                names.push("end");
                return names;
            }
        });
    }
}

fn name(body: &Body) -> &'static str {
    match body {
        Body::Snapshot(_) => "snapshot",
        Body::Activated(_) => "activated",
        Body::Ended { .. } => "ended",
        Body::RoomChanged(_) => "room_changed",
        Body::Drain { .. } => "drain",
        Body::Position { .. } => "position",
        Body::Heartbeat => "heartbeat",
    }
}
