//! Every time a client saw how a place stands, in one shape.

use std::collections::{BTreeMap, HashMap};

use crate::domain::ids::{ActivationId, Cursor, PlaceKey, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::domain::policy::ServingOrder;
use crate::truth::history::{
    AdminOp, Answer, History, Message, PlaceSeen, PlaceState, Policy, QueueOp, Record, StreamEnd,
    StreamId,
};

use super::faults::{Faults, Span};

/// A place, named across rooms.
pub(super) type Spot = (RoomId, PlaceKey);

/// Who told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A step of the store, within the call.
    Join,
    /// A node's view, by a call.
    GetPlace,
    /// A node's view, on a stream.
    Stream,
    /// The first words of a stream of a place that was over when it was opened:
    /// the node may know that from a store, before its view does. A turn it
    /// knows from its view alone.
    OverAtOnce,
}

/// One sight of a place.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub record: usize,
    pub source: Source,
    pub user: UserId,
    pub spot: Spot,
    pub cursor: Cursor,
    pub returned_ms: u64,
    /// The state held at a time not before this.
    pub held_ms: u64,
    pub state: PlaceState,
    pub position: Option<i64>,
    pub total: i64,
    pub activation: Option<ActivationId>,
    pub claim_by_ms: Option<u64>,
    pub expire_ms: Option<u64>,
    pub reason: Option<EndReason>,
}

/// One stream as its client saw it.
#[derive(Debug)]
pub(super) struct Stream {
    pub opened: usize,
    pub user: UserId,
    pub spot: Spot,
    pub resume: Option<Cursor>,
    /// Its snapshot showed the place over.
    begins_over: bool,
    /// Records of its messages, in order.
    pub messages: Vec<usize>,
    pub closed: Option<(usize, StreamEnd)>,
}

impl Stream {
    /// From its opening to its end, as its client saw them.
    pub fn open(&self, history: &History) -> Span {
        let at_ms = |index: usize| history.records[index].returned_ms;
        let closed = self.closed.as_ref();
        let to_ms = closed.map_or(u64::MAX, |(closed, _)| at_ms(*closed));
        Span::new(history.records[self.opened].invoked_ms, to_ms)
    }

    fn source_of(&self, message: &Message) -> Source {
        let is_first_word = matches!(message, Message::Snapshot { .. } | Message::Ended { .. });
        match self.begins_over && is_first_word {
            true => Source::OverAtOnce,
            false => Source::Stream,
        }
    }
}

/// A change of a room's policy that happened, or may have.
#[derive(Debug)]
pub(super) struct Change {
    pub invoked_ms: u64,
    pub returned_ms: u64,
    pub certain: bool,
    pub policy: Policy,
}

#[derive(Debug, Default)]
pub(super) struct Sights {
    pub all: Vec<Sight>,
    pub streams: BTreeMap<StreamId, Stream>,
    pub policies: HashMap<RoomId, Vec<Change>>,
    pub faults: Faults,
}

impl Sights {
    pub fn read(history: &History) -> Self {
        let mut sights = Self {
            faults: Faults::read(history),
            ..Self::default()
        };
        for (index, record, op) in history.queue() {
            sights.take(index, record, op);
        }
        for (_, record, op) in history.admin() {
            let AdminOp::ConfigureRoom {
                room,
                policy,
                answer,
            } = op
            else {
                continue;
            };
            if answer.may_have_happened() {
                let change = Change {
                    invoked_ms: record.invoked_ms,
                    returned_ms: record.returned_ms,
                    certain: answer.ok().is_some(),
                    policy: policy.clone(),
                };
                sights
                    .policies
                    .entry(room.clone())
                    .or_default()
                    .push(change);
            }
        }
        sights
    }

    /// Numbers are orders: the room was FIFO as long as the history knows it.
    pub fn is_fifo(&self, room: &RoomId) -> bool {
        self.policies.get(room).is_some_and(|changes| {
            changes
                .iter()
                .all(|change| change.policy.order == ServingOrder::Fifo)
        })
    }

    fn take(&mut self, index: usize, record: &Record, op: &QueueOp) {
        match op {
            QueueOp::Join {
                room,
                answer: Answer::Ok(seen),
                ..
            } => self.see(index, record, Source::Join, room, seen),
            QueueOp::GetPlace {
                room,
                answer: Answer::Ok(seen),
                ..
            } => self.see(index, record, Source::GetPlace, room, seen),
            QueueOp::StreamOpened {
                stream,
                room,
                place,
                resume,
            } => {
                let opened = Stream {
                    opened: index,
                    user: record.user.clone(),
                    spot: (room.clone(), *place),
                    resume: *resume,
                    begins_over: false,
                    messages: Vec::new(),
                    closed: None,
                };
                self.streams.insert(*stream, opened);
            }
            QueueOp::StreamMessage {
                stream,
                cursor,
                as_of_ms,
                message,
            } => self.hear(index, record, *stream, *cursor, *as_of_ms, message),
            QueueOp::StreamClosed { stream, end } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.closed = Some((index, end.clone()));
                }
            }
            QueueOp::Join { .. }
            | QueueOp::GetPlace { .. }
            | QueueOp::Claim { .. }
            | QueueOp::Leave { .. } => {}
        }
    }

    fn see(&mut self, record: usize, of: &Record, source: Source, room: &RoomId, seen: &PlaceSeen) {
        let held_ms = match source {
            // A join is a step of the store: it holds within the call.
            Source::Join => seen.as_of_ms.max(of.invoked_ms),
            Source::GetPlace | Source::Stream | Source::OverAtOnce => seen.as_of_ms,
        };
        self.all.push(Sight {
            record,
            source,
            user: of.user.clone(),
            spot: (room.clone(), seen.place),
            cursor: seen.cursor,
            returned_ms: of.returned_ms,
            held_ms,
            state: seen.state,
            position: seen.position,
            total: seen.waiting_total,
            activation: seen.activation_id,
            claim_by_ms: seen
                .claim_by_ms
                .filter(|_| seen.state == PlaceState::Activated),
            expire_ms: seen.expire_ms.filter(|_| seen.state == PlaceState::Active),
            reason: None,
        });
    }

    fn hear(
        &mut self,
        index: usize,
        record: &Record,
        stream: StreamId,
        cursor: Cursor,
        as_of_ms: u64,
        message: &Message,
    ) {
        let Some(stream) = self.streams.get_mut(&stream) else {
            return;
        };
        stream.messages.push(index);
        if let Message::Snapshot { seen, .. } = message {
            // The token of a merged place is answered for the surviving one.
            stream.spot.1 = seen.place;
            stream.begins_over = seen.state.is_over();
            let room = stream.spot.0.clone();
            let source = stream.source_of(message);
            self.see(index, record, source, &room, seen);
            return;
        }
        let mut sight = Sight {
            record: index,
            source: stream.source_of(message),
            user: record.user.clone(),
            spot: stream.spot.clone(),
            cursor,
            returned_ms: record.returned_ms,
            held_ms: as_of_ms,
            state: PlaceState::Waiting,
            position: None,
            total: 0,
            activation: None,
            claim_by_ms: None,
            expire_ms: None,
            reason: None,
        };
        match *message {
            Message::Position {
                position,
                waiting_total,
            } => {
                sight.position = Some(position);
                sight.total = waiting_total;
            }
            Message::Activated {
                activation_id,
                claim_by_ms,
                expire_ms,
            } => {
                sight.state = match expire_ms {
                    Some(_) => PlaceState::Active,
                    None => PlaceState::Activated,
                };
                sight.activation = Some(activation_id);
                sight.claim_by_ms = claim_by_ms;
                sight.expire_ms = expire_ms;
            }
            Message::Ended { state, reason } => {
                sight.state = PlaceState::of_end(state);
                sight.reason = Some(reason);
            }
            Message::Snapshot { .. }
            | Message::RoomChanged { .. }
            | Message::Heartbeat
            | Message::Drain => return,
        }
        self.all.push(sight);
    }
}

/// What a room's policy may have been at some time within a span.
pub(super) fn possible(
    changes: &[Change],
    from_ms: u64,
    to_ms: u64,
) -> impl Iterator<Item = &Policy> {
    changes.iter().filter_map(move |change| {
        let replaced = change.certain
            && changes.iter().any(|later| {
                later.certain
                    && later.invoked_ms >= change.returned_ms
                    && !std::ptr::eq(later, change)
                    && later.returned_ms <= from_ms
            });
        (change.invoked_ms <= to_ms && !replaced).then_some(&change.policy)
    })
}
