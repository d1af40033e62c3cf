//! What clients read from their streams, and what they make of it.

use rand::Rng;

use crate::domain::place::{EndReason, Standing};
use crate::fanout::event::{Body, DrainReason, Event};
use crate::view::PlaceState;

use super::super::oracle::streams::{Broken, Sight};
use super::super::plant::Plant;
use super::super::stream::{Said, Stream};
use super::{CLIENTS, World};

impl World {
    /// The next client from here that has a stream reads some of it, or all.
    pub(in crate::sim) fn read(&mut self, client: usize) {
        let reader = (0..CLIENTS)
            .map(|step| (client + step) % CLIENTS)
            .find(|client| self.clients[*client].stream.is_some());
        let Some(reader) = reader else {
            return;
        };
        self.coverage.count("command: read");
        let most = if self.rng.random_bool(0.3) { 1 } else { 16 };
        self.read_up_to(reader, most);
    }

    pub(in crate::sim) fn read_up_to(&mut self, client: usize, most: u32) {
        let Some(mut stream) = self.clients[client].stream.take() else {
            return;
        };
        for _ in 0..most {
            let replaced_before = self.nodes[stream.node].hub.counts().replaced_total;
            let (said, was_woken) = stream.poll();
            if self.nodes[stream.node].hub.counts().replaced_total > replaced_before {
                self.note_moved(&stream);
            }
            // A snapshot waits for the view, and need not be the first to see it.
            if !(was_woken || is_snapshot(&said) || matches!(said, Said::Nothing)) {
                self.oracle
                    .report("Q14", "something is due and nobody was woken");
            }
            let goes_on = matches!(said, Said::Event(_));
            if self.swallowed(&said) {
                continue;
            }
            if let Err((invariant, what)) = self.hear(&mut stream, &said, was_woken) {
                self.oracle.report(invariant, &what);
            }
            if matches!(said, Said::SlowReader | Said::Over) {
                return self.drop_stream(stream);
            }
            if !goes_on {
                break;
            }
        }
        self.clients[client].stream = Some(stream);
    }

    /// Plants between the hub and the wire.
    fn swallowed(&self, said: &Said) -> bool {
        let Said::Event(event) = said else {
            return false;
        };
        match self.plant {
            Some(Plant::HeartbeatForgotten) => matches!(event.body, Body::Heartbeat),
            Some(Plant::DrainForgotten) => matches!(event.body, Body::Drain { .. }),
            Some(Plant::TurnNotRepeated) => matches!(event.body, Body::Activated(_)),
            _ => false,
        }
    }

    fn hear(&mut self, stream: &mut Stream, said: &Said, was_woken: bool) -> Result<(), Broken> {
        if let Said::Event(event) = said
            && let Body::Snapshot(snapshot) = &event.body
        {
            stream.place = snapshot.place.place;
        }
        let now = self.sight(stream);
        let limits = &self.setup.limits;
        match said {
            Said::Nothing => stream.heard.nothing(&now, was_woken, limits),
            Said::SlowReader => {
                self.coverage.count("stream: slow reader");
                stream.heard.slow(&now, limits)
            }
            Said::Over => stream.heard.ended(&now),
            Said::Event(event) => {
                stream.heard.event(event, &now, limits)?;
                if self.plant == Some(Plant::PositionRepeated)
                    && matches!(event.body, Body::Position { .. })
                {
                    stream.heard.event(event, &now, limits)?;
                }
                self.clients[stream.client].seen = stream.heard.cursor();
                self.note_event(stream, event);
                Ok(())
            }
        }
    }

    /// What the stream's node knows of its place.
    fn sight(&self, stream: &Stream) -> Sight {
        let node = &self.nodes[stream.node];
        node.cell.read(|view| Sight {
            ms: node.hub_ms(),
            cursor: view.map_or_else(Default::default, |view| view.told_cursor_of(stream.place)),
            standing: view.and_then(|view| view.standing(stream.place)),
            position: view.and_then(|view| view.report(stream.place, None)?.position),
            room: node.shown_state(view),
        })
    }

    /// What a client makes of an event, whatever stream it came by.
    fn note_event(&mut self, stream: &Stream, event: &Event) {
        let client = stream.client;
        let place = stream.place;
        let (standing, position) = match &event.body {
            Body::Snapshot(snapshot) => {
                if snapshot.is_merged {
                    self.coverage.count("stream: place merged");
                    self.give_token(client, stream.node, place);
                }
                if snapshot.resumed {
                    self.coverage.count("stream: resumed");
                }
                let id = snapshot.place.activation_id;
                match (snapshot.place.state, snapshot.place.end) {
                    (_, Some(reason)) => (Standing::Ended(reason), None),
                    (PlaceState::Scheduled, _) => return,
                    _ if id.is_some() => return,
                    _ => (Standing::Waiting, snapshot.place.position),
                }
            }
            Body::Position { position, .. } => (Standing::Waiting, Some(*position)),
            Body::Activated(turn) => (self.turn_told(stream, turn), None),
            Body::Ended { reason, .. } => {
                self.coverage.count("stream: ended");
                if *reason == EndReason::RoomClosed {
                    self.coverage.count("state: to expired room closed");
                }
                self.oracle.end_told(place, &self.sql);
                (Standing::Ended(*reason), None)
            }
            Body::Drain { reason, .. } => {
                return self.coverage.count(match reason {
                    DrainReason::Replaced => "stream: told replaced",
                    DrainReason::Aged => "stream: told aged",
                    DrainReason::Shutdown => "stream: told shutdown",
                });
            }
            Body::Heartbeat => return self.coverage.count("stream: heartbeat"),
            Body::RoomChanged(_) => return self.coverage.count("stream: room changed"),
        };
        if position.is_some() {
            self.coverage.count("stream: position");
        }
        let shift = u64::from(self.plant == Some(Plant::PositionFromZero));
        let position = position.map(|position| position - shift);
        self.note_told(client, place, event.cursor, standing, position);
    }
}

fn is_snapshot(said: &Said) -> bool {
    matches!(said, Said::Event(event) if matches!(event.body, Body::Snapshot(_)))
}
