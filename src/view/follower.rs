//! Keeps all views of a node up to date: one task, one bus subscription.
//!
//! Order of work per room: subscribe, buffer, read the store, drop what that
//! covers, apply the rest. A read starts when a room is first followed, on
//! [`BusEvent::Gap`], on a hole between revisions, and when a tick's reply
//! carried a cursor that the view has not reached ([`FollowerHandle::note_cursor`]).
//!
//! Invariants:
//! - a room has at most one read under way; deltas that arrive meanwhile wait
//!   in its buffer, which is bounded: when it overflows the room is read again;
//! - a read that failed, or was not enough, is repeated after [`RETRY_MS`] for
//!   as long as the room is followed;
//! - the bus is drained before a cursor is judged, so that a delta that has
//!   already arrived costs no read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use crate::bus::{BusEvent, BusMessage, BusSubscription, EventBus};
use crate::domain::delta::RoomDelta;
use crate::domain::ids::{Cursor, PlaceKey, RoomId, RoomRef};
use crate::store::queue::{QueueError, QueueStore};

use super::lane::DrawReady;
use super::report::PlaceState;
use super::room::{Applied, Changes};
use super::views::{ViewCell, ViewListener, Views};

mod read;

use read::Found;

/// Requests waiting for the follower.
pub const REQUESTS_MAX: usize = 1_024;
/// Deltas kept per room while it is read.
pub const BUFFERED_DELTAS_MAX: usize = 1_024;
/// Between a read that failed and the next.
pub const RETRY_MS: u64 = 250;

enum Request {
    Follow(RoomRef, oneshot::Sender<()>),
    Unfollow(RoomId),
    Cursor(RoomId, Cursor),
}

/// The way to a running [`Follower`].
#[derive(Clone)]
pub struct FollowerHandle {
    requests: mpsc::Sender<Request>,
    views: Arc<Views>,
}

impl FollowerHandle {
    /// Follows a room, or moves on to its newer epoch; answers once a view of
    /// it can be read. False: the follower is gone.
    pub async fn follow(&self, room: RoomRef) -> bool {
        let (ready, is_ready) = oneshot::channel();
        let asked = self.requests.send(Request::Follow(room, ready)).await;
        asked.is_ok() && is_ready.await.is_ok()
    }

    /// As [`Self::unfollow`]; the room is no more, and neither is its cell.
    pub async fn forget(&self, room: RoomId) {
        self.views.remove(&room);
        self.unfollow(room).await;
    }

    /// Forgets a room and empties its view.
    pub async fn unfollow(&self, room: RoomId) {
        // A follower that is gone follows nothing.
        let _ = self.requests.send(Request::Unfollow(room)).await;
    }

    /// Whether the view has this place in line.
    #[must_use]
    pub fn is_waiting(&self, room: &RoomId, place: PlaceKey) -> bool {
        let report = self
            .views
            .get(room)
            .and_then(|cell| cell.read(|view| view?.report(place, None)));
        report.is_some_and(|report| {
            matches!(report.state, PlaceState::Scheduled | PlaceState::Waiting)
        })
    }

    /// What a tick's reply said. Cheap when the view is there already; when
    /// the follower is too busy to listen, the next tick says it again.
    pub fn note_cursor(&self, room: &RoomId, cursor: Cursor) {
        let known = self.views.get(room).and_then(|cell| cell.cursor());
        if known.is_none_or(|known| known < cursor) {
            let _ = self
                .requests
                .try_send(Request::Cursor(room.clone(), cursor));
        }
    }
}

/// The task; run it once.
pub struct Follower {
    bus: Arc<dyn EventBus>,
    store: Arc<dyn QueueStore>,
    views: Arc<Views>,
    listener: Arc<dyn ViewListener>,
    requests: mpsc::Receiver<Request>,
    rooms: HashMap<RoomId, Followed>,
    jobs: FuturesUnordered<BoxFuture<'static, (RoomId, Done)>>,
    jobs_started: u64,
}

struct Followed {
    room: RoomRef,
    cell: Arc<ViewCell>,
    reading: Option<Reading>,
    /// The job that maps an opened draw.
    mapping: Option<u64>,
    /// The newest cursor heard of.
    wanted: Cursor,
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Reading {
    /// Tells this read's job from one of a room that was followed before.
    job: u64,
    buffer: Vec<Arc<RoomDelta>>,
    /// Something may have happened that this read does not see.
    again: bool,
}

enum Done {
    Read(u64, Result<Found, QueueError>),
    RetryDue(u64),
    Mapped(u64, DrawReady),
}

enum Stop {
    BusGone,
    NobodyAsks,
}

impl Follower {
    #[must_use]
    pub fn new(
        bus: Arc<dyn EventBus>,
        store: Arc<dyn QueueStore>,
        views: Arc<Views>,
        listener: Arc<dyn ViewListener>,
    ) -> (Self, FollowerHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let handle = FollowerHandle {
            requests: sender,
            views: Arc::clone(&views),
        };
        let follower = Self {
            bus,
            store,
            views,
            listener,
            requests,
            rooms: HashMap::new(),
            jobs: FuturesUnordered::new(),
            jobs_started: 0,
        };
        (follower, handle)
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        loop {
            if let Ok(mut bus) = self.bus.subscribe().await {
                self.read_all();
                if let Stop::NobodyAsks = self.serve(&mut *bus).await {
                    return;
                }
                for followed in self.rooms.values() {
                    followed.set_behind(true);
                }
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }

    async fn serve(&mut self, bus: &mut dyn BusSubscription) -> Stop {
        loop {
            tokio::select! {
                biased;
                event = bus.next() => match event {
                    Some(BusEvent::Message(BusMessage::Room(room, delta))) => {
                        self.take(&room, delta);
                    }
                    Some(BusEvent::Message(_)) => {}
                    Some(BusEvent::Gap) => self.read_all(),
                    Some(BusEvent::RoomGap(room)) => self.read_again(&room),
                    None => return Stop::BusGone,
                },
                Some((room, done)) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.finish(&room, done);
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.handle(request),
                    None => return Stop::NobodyAsks,
                },
            }
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Follow(room, ready) => {
                self.bus.follow(&room.id);
                let followed = self
                    .rooms
                    .entry(room.id.clone())
                    .or_insert_with(|| Followed {
                        cell: self.views.cell(&room.id),
                        wanted: Cursor {
                            epoch: room.epoch,
                            revision: 0,
                        },
                        room: room.clone(),
                        reading: None,
                        mapping: None,
                        waiting: Vec::new(),
                    });
                followed.heard_of(Cursor {
                    epoch: room.epoch,
                    revision: 0,
                });
                followed.waiting.push(ready);
                self.catch_up(&room.id);
            }
            Request::Unfollow(room) => {
                self.bus.unfollow(&room);
                if let Some(followed) = self.rooms.remove(&room) {
                    drop(followed.cell.write(Option::take));
                }
            }
            Request::Cursor(room, cursor) => {
                if let Some(followed) = self.rooms.get_mut(&room) {
                    followed.heard_of(cursor);
                    self.catch_up(&room);
                }
            }
        }
    }

    /// Reads the room if its view is behind what was heard of; else tells
    /// those who wait for it.
    fn catch_up(&mut self, room: &RoomId) {
        let Some(followed) = self.rooms.get_mut(room) else {
            return;
        };
        if followed.reading.is_some() {
            return;
        }
        if followed.cell.cursor() < Some(followed.wanted) {
            self.read(room);
            return;
        }
        followed.set_behind(false);
        for ready in followed.waiting.drain(..) {
            // Who asked may have given up.
            let _ = ready.send(());
        }
    }

    fn take(&mut self, room: &RoomId, delta: Arc<RoomDelta>) {
        let Some(followed) = self.rooms.get_mut(room) else {
            return;
        };
        followed.heard_of(delta.cursor);
        if followed.reading.is_none() && !self.apply(room, &delta) {
            self.read(room);
        }
        if let Some(followed) = self.rooms.get_mut(room)
            && let Some(reading) = &mut followed.reading
        {
            reading.keep(delta);
        }
    }

    /// False: something is missing before this delta.
    fn apply(&mut self, room: &RoomId, delta: &Arc<RoomDelta>) -> bool {
        let Some(followed) = self.rooms.get(room) else {
            return true;
        };
        let applied = followed
            .cell
            .write(|view| view.as_mut().map(|view| view.apply(delta)));
        match applied {
            Some(Applied::Changed(changes)) => {
                self.tell(room, &changes);
                true
            }
            Some(Applied::Covered) => true,
            Some(Applied::Gap) | None => false,
        }
    }

    fn tell(&mut self, room: &RoomId, changes: &Changes) {
        let Some(followed) = self.rooms.get(room) else {
            return;
        };
        self.listener.changed(&followed.cell, changes);
        self.map_draw(room);
    }

    /// Starts a read of a room that has none under way.
    fn read(&mut self, room: &RoomId) {
        let job = self.next_job();
        let Some(followed) = self.rooms.get_mut(room) else {
            return;
        };
        let reading = followed.reading.get_or_insert_with(Reading::default);
        reading.job = job;
        followed.set_behind(true);
        let (store, from) = (Arc::clone(&self.store), followed.cell.cursor());
        let (id, room) = (room.clone(), followed.room.clone());
        self.jobs.push(Box::pin(async move {
            (id, Done::Read(job, read::read(&*store, &room, from).await))
        }));
    }

    fn read_all(&mut self) {
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.read_again(&room);
        }
    }

    /// Something may be missing that nothing told of.
    fn read_again(&mut self, room: &RoomId) {
        match self.rooms.get_mut(room).map(|room| &mut room.reading) {
            // What it finds may be older than the gap.
            Some(Some(reading)) => reading.again = true,
            Some(None) => self.read(room),
            None => {}
        }
    }

    fn retry_later(&mut self, room: &RoomId) {
        let job = self.next_job();
        if let Some(followed) = self.rooms.get_mut(room) {
            followed.reading.get_or_insert_with(Reading::default).job = job;
            let id = room.clone();
            self.jobs.push(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
                (id, Done::RetryDue(job))
            }));
        }
    }

    fn next_job(&mut self) -> u64 {
        self.jobs_started += 1;
        self.jobs_started
    }

    fn finish(&mut self, room: &RoomId, done: Done) {
        let Some(followed) = self.rooms.get_mut(room) else {
            return;
        };
        let current = followed.reading.as_ref().map(|reading| reading.job);
        match done {
            Done::Read(job, found) if current == Some(job) => match found {
                Ok(found) => self.take_in(room, found),
                Err(error) => {
                    if error == QueueError::Recover {
                        self.listener.must_recover(&followed.room);
                    }
                    self.retry_later(room);
                }
            },
            Done::RetryDue(job) if current == Some(job) => self.read(room),
            Done::Mapped(job, ready) if followed.mapping == Some(job) => {
                followed.mapping = None;
                let changes = followed
                    .cell
                    .write(|view| view.as_mut().and_then(|view| view.install(ready)));
                match changes {
                    Some(changes) => self.tell(room, &changes),
                    None => self.map_draw(room),
                }
            }
            // Of a room that was followed before.
            Done::Read(..) | Done::RetryDue(_) | Done::Mapped(..) => {}
        }
    }

    /// What a read found, then what was buffered meanwhile.
    fn take_in(&mut self, room: &RoomId, found: Found) {
        let Some(reading) = self
            .rooms
            .get_mut(room)
            .and_then(|room| room.reading.take())
        else {
            return;
        };
        let deltas = match found {
            Found::Deltas(deltas) => deltas,
            Found::Snapshot(prepared) => {
                self.take_snapshot(room, *prepared);
                Vec::new()
            }
        };
        let whole = deltas
            .iter()
            .chain(&reading.buffer)
            .all(|delta| self.apply(room, delta));
        if reading.again {
            self.read(room);
        } else if whole && self.has_arrived(room) {
            self.catch_up(room);
        } else {
            self.retry_later(room);
        }
    }

    fn has_arrived(&self, room: &RoomId) -> bool {
        self.rooms
            .get(room)
            .is_none_or(|followed| followed.cell.cursor() >= Some(followed.wanted))
    }

    fn take_snapshot(&mut self, room: &RoomId, prepared: super::PreparedSnapshot) {
        let Some(followed) = self.rooms.get(room) else {
            return;
        };
        let changes = followed.cell.write(|view| match view {
            Some(view) => view.apply_snapshot(prepared),
            None => {
                *view = Some(prepared.into_view());
                let changes = Changes::Whole {
                    new_epoch: true,
                    has_skipped: true,
                };
                Some((changes, None))
            }
        });
        if let Some((changes, old)) = changes {
            drop(old);
            self.tell(room, &changes);
        }
    }

    fn map_draw(&mut self, room: &RoomId) {
        let job = self.next_job();
        let Some(followed) = self.rooms.get_mut(room) else {
            return;
        };
        let remap = followed
            .cell
            .read(|view| view.and_then(super::RoomView::prepare_draw));
        if let (None, Some(remap)) = (followed.mapping, remap) {
            followed.mapping = Some(job);
            let id = room.clone();
            self.jobs.push(Box::pin(async move {
                let ready = read::on_blocking_thread(move || remap.run()).await;
                (id, Done::Mapped(job, ready))
            }));
        }
    }
}

impl Followed {
    fn set_behind(&self, is_behind: bool) {
        self.cell.write(|view| {
            if let Some(view) = view {
                view.set_behind(is_behind);
            }
        });
    }

    fn heard_of(&mut self, cursor: Cursor) {
        self.wanted = self.wanted.max(cursor);
        self.room.epoch = self.room.epoch.max(cursor.epoch);
    }
}

impl Reading {
    fn keep(&mut self, delta: Arc<RoomDelta>) {
        if self.buffer.len() < BUFFERED_DELTAS_MAX {
            self.buffer.push(delta);
        } else {
            self.buffer.clear();
            self.again = true;
        }
    }
}
