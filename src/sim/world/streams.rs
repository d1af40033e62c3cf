//! Streams: opened at a node's hub, replaced, left behind, closed.

use rand::Rng;

use crate::domain::ids::PlaceKey;
use crate::domain::place::{EndReason, Standing};
use crate::domain::room::command::Presence;
use crate::fanout::{OpenError, StreamSpec};

use super::super::oracle::streams::{Asked, Heard};
use super::super::stream::Stream;
use super::{POLL_AFTER_MS, World, user_of};

impl World {
    /// As `grpc::queue::watch`: restores the place, then opens a stream of it.
    pub(in crate::sim) fn open_stream(&mut self, client: usize, node: usize) {
        if self.clients[client].token.is_none() {
            return;
        }
        self.coverage.count("command: open stream");
        let Some(presented) = self.read_token(client, node) else {
            return;
        };
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        let Some(taken) = self.take(client, node, Some(presented), None, presence) else {
            return;
        };
        let place = taken.place.key;
        let known_end = match self.explain(place, taken.place.standing) {
            Standing::Ended(EndReason::Merged) | Standing::Waiting => None,
            Standing::Ended(reason) => Some(reason),
            Standing::Activated { .. } | Standing::Active { .. } => None,
        };
        let asked = Asked {
            opened_ms: self.nodes[node].hub_ms(),
            resume: self.rng.random_bool(0.5).then(|| self.clients[client].seen),
            end_on_activation: self.rng.random_bool(0.1),
            max_duration_ms: self.rng.random_bool(0.1).then_some(3_000),
        };
        let spec = StreamSpec {
            room: self.setup.room.clone(),
            place,
            user: self.clients[client].user.clone(),
            resume: asked.resume,
            min_update_interval_ms: self.rng.random_bool(0.1).then_some(2_000),
            max_duration_ms: asked.max_duration_ms,
            end_on_activation: asked.end_on_activation,
            known_end,
            is_merged: place != presented,
        };
        if known_end.is_some() {
            self.coverage.count("stream: of a finished place");
        }
        self.leave_or_close(client);
        self.subscribe(client, node, spec, asked);
    }

    fn subscribe(&mut self, client: usize, node: usize, spec: StreamSpec, asked: Asked) {
        let place = spec.place;
        let replaced_before = self.nodes[node].hub.counts().replaced_total;
        match self.nodes[node].hub.open(spec) {
            Ok(subscription) => {
                let is_replaced = self.nodes[node].hub.counts().replaced_total > replaced_before;
                self.note_replaced(node, place, is_replaced);
                let incarnation = self.nodes[node].incarnation;
                let heard = Heard::new(asked);
                let stream = Stream::new(subscription, node, incarnation, client, place, heard);
                self.clients[client].stream = Some(stream);
            }
            Err(OpenError::TooManyStreams { .. }) => self.coverage.count("stream: refused"),
            Err(OpenError::Draining) => self.coverage.count("stream: draining node"),
        }
    }

    /// More streams of a place than there may be: the oldest must be told.
    fn note_replaced(&mut self, node: usize, place: PlaceKey, is_replaced: bool) {
        let limits = &self.setup.limits;
        let (ms, incarnation) = (self.nodes[node].hub_ms(), self.nodes[node].incarnation);
        let held = self.clients.iter_mut().filter_map(|it| it.stream.as_mut());
        let mut of_place: Vec<&mut Stream> = self
            .strays
            .iter_mut()
            .chain(held)
            .filter(|it| (it.node, it.incarnation, it.place) == (node, incarnation, place))
            .collect();
        if is_replaced {
            // Of two opened at once either may be the older.
            let oldest_ms = of_place.iter().map(|it| it.heard.opened_ms()).min();
            let mut oldest = of_place
                .iter_mut()
                .filter(|it| Some(it.heard.opened_ms()) == oldest_ms);
            let (first, another) = (oldest.next().is_some(), oldest.next().is_some());
            for stream in &mut of_place {
                let is_oldest = Some(stream.heard.opened_ms()) == oldest_ms && first && !another;
                stream.heard.note_replaced(is_oldest, ms, limits);
            }
            self.coverage.count("stream: replaced");
        } else {
            let live = of_place
                .iter()
                .filter(|it| it.heard.is_surely_live(ms, limits))
                .count();
            if live >= limits.streams_per_place {
                self.oracle.report("Q12", "a stream too many replaced none");
            }
        }
    }

    /// A stream moved to the place its own was merged into, where it was one
    /// too many.
    pub(in crate::sim) fn note_moved(&mut self, moved: &Stream) {
        let held = self.clients.iter_mut().filter_map(|it| it.stream.as_mut());
        let limits = &self.setup.limits;
        let users: Vec<_> = held.chain(&mut self.strays).collect();
        for stream in users {
            let is_same =
                stream.node == moved.node && user_of(stream.client) == user_of(moved.client);
            if is_same {
                stream.heard.note_replaced(false, 0, limits);
            }
        }
    }

    /// A client that moves on closes its stream, or its network loses it: then
    /// the node goes on believing in it.
    fn leave_or_close(&mut self, client: usize) {
        let Some(stream) = self.clients[client].stream.take() else {
            return;
        };
        if self.rng.random_bool(0.5) {
            self.coverage.count("fault: connection lost");
            self.strays.push(stream);
        } else {
            self.drop_stream(stream);
        }
    }

    pub(in crate::sim) fn close_stream(&mut self, client: usize) {
        if let Some(stream) = self.clients[client].stream.take() {
            self.coverage.count("command: close stream");
            self.drop_stream(stream);
        }
    }

    /// Its node noticed at last that nobody is there.
    pub(in crate::sim) fn close_stray(&mut self) {
        if !self.strays.is_empty() {
            let index = self.rng.random_range(0..self.strays.len());
            let stream = self.strays.swap_remove(index);
            self.drop_stream(stream);
        }
    }

    /// Until its node says so, the place is attended.
    pub(in crate::sim) fn drop_stream(&mut self, stream: Stream) {
        self.attended(stream.client);
        drop(stream);
    }

    /// Any device vouches for the user's one place.
    pub(in crate::sim) fn attended(&mut self, client: usize) {
        let user = self.clients[client].user.clone();
        let real_ms = self.real_ms;
        for device in self.clients.iter_mut().filter(|other| other.user == user) {
            device.attended_ms = real_ms;
        }
    }
}
