//! Turns what is due into events, from the view as it is now.

use crate::clock::Clock;
use crate::domain::ids::Cursor;
use crate::domain::pacing::{next_due_ms, shared_due_ms, spread_ms};
use crate::domain::place::{EndReason, Standing};
use crate::domain::time::UnixMs;
use crate::view::{PlaceReport, PlaceState, RoomView, WaitRange};

use super::calls::Reader;
use super::due::Kind;
use super::event::{Body, DrainReason, Event, ShownState, Snapshot, Turn};
use super::limits::HubLimits;
use super::room::HubRoom;
use super::slot::{NEVER_MS, Phase, Slot};

/// The hub's time, twice: for spans, and for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub ms: u64,
    pub wall: UnixMs,
    /// In `[0, 1)`, another one for each rendering.
    pub jitter: f64,
}

pub(super) enum Polled {
    /// Nothing is due now.
    Nothing,
    /// Say this. An ACTIVE turn still lacks its pass.
    Say(Event),
    /// The place was merged: watch this one.
    Moved(crate::domain::ids::PlaceKey),
    SlowReader,
    Over,
}

impl Slot {
    pub fn poll(
        &mut self,
        room: &HubRoom,
        now: Now,
        clock: &dyn Clock,
        limits: &HubLimits,
    ) -> Polled {
        match self.phase {
            Phase::Over => return Polled::Over,
            Phase::Stalled => {
                self.phase = Phase::Over;
                return Polled::SlowReader;
            }
            Phase::Live => {}
        }
        self.see_room(room);
        let polled = room.cell.read(|view| {
            let polled = self.render(room, view, now, limits);
            if let Polled::Say(event) = &polled {
                self.said(room, view, event, now, limits);
            }
            polled
        });
        match &polled {
            Polled::Say(event) => {
                if event.body.is_news() && self.news_since_ms != NEVER_MS {
                    let published_at = UnixMs(self.news_since_ms);
                    room.delays.record(published_at.until_ms(clock.now()));
                }
            }
            _ => self.due_since_ms = NEVER_MS,
        }
        if !self.due.has_news() {
            self.news_since_ms = NEVER_MS;
        }
        polled
    }

    /// A stream that is carried is not marked when its room changes.
    fn see_room(&mut self, room: &HubRoom) {
        if self.told_room != room.version() && !self.due.contains(Kind::Snapshot) {
            self.due.insert(Kind::RoomChanged);
            self.news_since_ms = self.news_since_ms.min(room.news_at_ms());
        }
    }

    /// Brings the next position forward to a moment within so long: by `jitter`,
    /// in `[0, 1)`, or one that streams of a connection share if they are asked at
    /// one time.
    pub fn refresh(&mut self, now_ms: u64, within_ms: u64, jitter: f64) {
        let after_ms = match &self.reader {
            Reader::Carried { by, .. } => spread_ms(within_ms, by.number()),
            Reader::Alone(_) => (within_ms as f64 * jitter) as u64,
        };
        self.position_at_ms = self.position_at_ms.min(now_ms + after_ms);
    }

    fn render(
        &mut self,
        room: &HubRoom,
        view: Option<&RoomView>,
        now: Now,
        limits: &HubLimits,
    ) -> Polled {
        if let Some(survivor) = self.survivor.as_deref() {
            return Polled::Moved(*survivor);
        }
        let cursor = self.told_cursor_in(view);
        while let Some(kind) = self.due.first() {
            let body = match kind {
                Kind::Snapshot => match self.snapshot(room, view, now, limits) {
                    Ok(snapshot) => Some(snapshot),
                    Err(nothing_or_moved) => return nothing_or_moved,
                },
                Kind::Activated => self.turn(view),
                Kind::Ended => self.ending(view),
                Kind::RoomChanged => self.room_news(room, view, now, limits),
                Kind::Drain => {
                    self.phase = Phase::Over;
                    Some(Body::Drain {
                        reason: self.drain,
                        reconnect_after_ms: self.reconnect_after_ms,
                    })
                }
                Kind::Position => Some(self.position(room, view).unwrap_or(Body::Heartbeat)),
                Kind::Heartbeat => Some(Body::Heartbeat),
            };
            self.due.remove(kind);
            if let Some(survivor) = self.survivor.as_deref() {
                return Polled::Moved(*survivor);
            }
            if let Some(body) = body {
                let as_of = room.degraded_since().unwrap_or(now.wall);
                return Polled::Say(Event {
                    cursor,
                    as_of,
                    body,
                });
            }
        }
        Polled::Nothing
    }

    fn told_cursor_in(&self, view: Option<&RoomView>) -> Cursor {
        view.map_or(Cursor::default(), |view| view.told_cursor_of(self.place))
    }

    /// The first message, once the view has reached the client's cursor or
    /// that is given up.
    fn snapshot(
        &mut self,
        room: &HubRoom,
        view: Option<&RoomView>,
        now: Now,
        limits: &HubLimits,
    ) -> Result<Body, Polled> {
        let cursor = self.told_cursor_in(view);
        let is_ahead = self
            .resume
            .as_deref()
            .is_some_and(|resume| *resume > cursor);
        if is_ahead && now.ms < self.opened_ms + 2 * limits.tick_ms {
            return Err(Polled::Nothing);
        }
        if let Some(survivor) = view.and_then(|view| view.survivor(self.place)) {
            return Err(Polled::Moved(survivor));
        }
        let place = match view {
            Some(view) => view.report(self.place, self.known_end),
            None => Some(unknown_report(self.place)),
        };
        let Some(mut place) = place else {
            self.asks_for_end = true;
            return Err(Polled::Nothing);
        };
        if place.activation_id.is_some() {
            self.due.insert(Kind::Activated);
        }
        if place.state.is_final() {
            self.due.insert(Kind::Ended);
        }
        if room.degraded_since().is_some() {
            place.estimated_wait = None;
        }
        self.due.remove(Kind::Position);
        self.due.remove(Kind::Heartbeat);
        self.told_room = room.version();
        self.told_cursor = cursor;
        self.told_position = place.position;
        let resumed = self
            .resume
            .as_deref()
            .is_some_and(|resume| resume.epoch == cursor.epoch);
        let news = room.news(view);
        Ok(Body::Snapshot(Box::new(Snapshot {
            room_state: news.state,
            room_message: news.message,
            resumes_at: news.resumes_at,
            resumed: resumed && !is_ahead,
            heartbeat_interval_ms: limits.heartbeat_interval_ms,
            is_merged: self.is_merged,
            place,
        })))
    }

    fn turn(&mut self, view: Option<&RoomView>) -> Option<Body> {
        // The caller knew of the end before this view did.
        if self.known_end.is_some() {
            return None;
        }
        let (turn, is_active) = match view?.standing(self.place)? {
            Standing::Activated { id, claim_by } => {
                let turn = Turn {
                    claim_by: Some(claim_by),
                    ..Turn::of(id)
                };
                (turn, false)
            }
            Standing::Active {
                id,
                claimed_at,
                expire_time,
            } => {
                let turn = Turn {
                    claimed_at: Some(claimed_at),
                    expire_time: Some(expire_time),
                    ..Turn::of(id)
                };
                (turn, true)
            }
            Standing::Waiting | Standing::Ended(_) => return None,
        };
        let telling = Some((turn.activation_id, is_active));
        if self.told_turn == telling {
            return None;
        }
        self.told_turn = telling;
        if self.end_on_activation {
            self.phase = Phase::Over;
        }
        Some(Body::Activated(turn))
    }

    fn ending(&mut self, view: Option<&RoomView>) -> Option<Body> {
        let reason = match (self.known_end, view?.standing(self.place)) {
            (Some(reason), _) | (None, Some(Standing::Ended(reason))) => reason,
            (None, None) => {
                self.asks_for_end = true;
                return None;
            }
            (None, Some(_)) => return None,
        };
        if reason == EndReason::Merged {
            self.survivor = view?.survivor(self.place).map(Box::new);
            self.asks_for_end = self.survivor.is_none();
            return None;
        }
        self.phase = Phase::Over;
        Some(Body::Ended {
            state: PlaceState::from(reason.state()),
            reason,
        })
    }

    fn room_news(
        &mut self,
        room: &HubRoom,
        view: Option<&RoomView>,
        now: Now,
        limits: &HubLimits,
    ) -> Option<Body> {
        let version = room.version();
        let told = std::mem::replace(&mut self.told_room, version);
        if told == version {
            return None;
        }
        // Whoever stands alone was refreshed when it was marked.
        if self.reader.is_carried() && room.has_other_waits_since(told) {
            self.refresh(now.ms, limits.refresh_spread_ms, now.jitter);
        }
        Some(Body::RoomChanged(room.news(view)))
    }

    /// A position newer than the last one told; never a worse one within an
    /// epoch, whatever the view says.
    fn position(&mut self, room: &HubRoom, view: Option<&RoomView>) -> Option<Body> {
        let view = view.filter(|view| view.told_cursor() > self.told_cursor)?;
        let report = view.report(self.place, self.known_end)?;
        let position = report.position?;
        let same_epoch = view.told_cursor().epoch == self.told_cursor.epoch;
        if same_epoch && self.told_position.is_some_and(|told| position > told) {
            return None;
        }
        self.told_cursor = view.told_cursor();
        self.told_position = Some(position);
        let is_stale = room.shown_state(Some(view)) == ShownState::Degraded;
        Some(Body::Position {
            position,
            waiting_total: report.waiting_total,
            estimated_wait: report.estimated_wait.filter(|_| !is_stale),
        })
    }

    /// Books an event as sent, and sets when the next position is due.
    fn said(
        &mut self,
        room: &HubRoom,
        view: Option<&RoomView>,
        event: &Event,
        now: Now,
        limits: &HubLimits,
    ) {
        self.last_sent_ms = now.ms;
        self.due.remove(Kind::Heartbeat);
        self.due_since_ms = match self.due.is_empty() {
            true => NEVER_MS,
            false => now.ms,
        };
        match &event.body {
            Body::Snapshot(_) | Body::Position { .. } | Body::Heartbeat => {
                let told = told_wait(&event.body);
                let wait_ms = view.and_then(|view| self.remaining_wait_ms(room, view, told));
                self.position_at_ms = self.next_position_ms(wait_ms, now, limits);
            }
            Body::Activated(_) | Body::Ended { .. } | Body::RoomChanged(_) | Body::Drain { .. } => {
            }
        }
    }

    /// Streams that are carried share moments instead of having jitter each.
    fn next_position_ms(&self, wait_ms: Option<u64>, now: Now, limits: &HubLimits) -> u64 {
        let silence_max_ms = limits.silence_max_ms();
        let pause_ms = |jitter| {
            next_due_ms(
                wait_ms,
                silence_max_ms,
                Some(self.min_update_interval_ms),
                jitter,
            )
        };
        match &self.reader {
            Reader::Carried { by, .. } if self.min_update_interval_ms == 0 => {
                shared_due_ms(now.ms, pause_ms(0.0), by.number())
            }
            _ => now.ms + pause_ms(now.jitter),
        }
    }

    /// For pacing: the early end of what people are told; where nothing can be
    /// told honestly, what the rate alone would say.
    fn remaining_wait_ms(
        &self,
        room: &HubRoom,
        view: &RoomView,
        told: Option<WaitRange>,
    ) -> Option<u64> {
        let position = self.told_position?;
        if room.shown_state(Some(view)) != ShownState::Open {
            return None;
        }
        if let Some(estimate) = told.or_else(|| view.estimate(self.place.lane, position)) {
            return Some(estimate.low_ms);
        }
        let rate_per_s = view.facts().rate_per_s;
        (rate_per_s > 0.0).then(|| (position as f64 * 1_000.0 / rate_per_s) as u64)
    }
}

/// The wait an event tells, which then need not be estimated again.
fn told_wait(body: &Body) -> Option<WaitRange> {
    match body {
        Body::Snapshot(snapshot) => snapshot.place.estimated_wait,
        Body::Position { estimated_wait, .. } => *estimated_wait,
        _ => None,
    }
}

/// All that can be said of a place without a view.
fn unknown_report(place: crate::domain::ids::PlaceKey) -> PlaceReport {
    PlaceReport {
        place,
        state: PlaceState::Waiting,
        end: None,
        position: None,
        waiting_total: 0,
        estimated_wait: None,
        activation_id: None,
        claim_by: None,
        expire_time: None,
        opens_at: None,
        cursor: Cursor::default(),
    }
}

/// A slot is made with a reason for a drain that has not come.
pub(super) const NO_DRAIN: DrainReason = DrainReason::Shutdown;
