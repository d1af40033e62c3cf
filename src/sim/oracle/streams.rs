//! The stream's rules of the API, as one reader can check them.

mod silence;

use crate::domain::ids::{ActivationId, Cursor, PlaceKey};
use crate::domain::place::Standing;
use crate::domain::time::ROOM_STEP_MAX_MS;
use crate::fanout::HubLimits;
use crate::fanout::event::{Body, DrainReason, Event, ShownState, Snapshot};
use crate::view::PlaceState;

/// A rule that was broken: invariant and what happened.
pub(in crate::sim) type Broken = (&'static str, String);

/// What a node knows at the moment a stream is polled.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Sight {
    /// The hub's time.
    pub(in crate::sim) ms: u64,
    pub(in crate::sim) cursor: Cursor,
    pub(in crate::sim) standing: Option<Standing>,
    /// Set where the place waits in an opened room.
    pub(in crate::sim) position: Option<u64>,
    pub(in crate::sim) room: ShownState,
}

/// How a stream was asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Asked {
    pub(in crate::sim) opened_ms: u64,
    pub(in crate::sim) resume: Option<Cursor>,
    pub(in crate::sim) end_on_activation: bool,
    pub(in crate::sim) max_duration_ms: Option<u64>,
}

/// What one stream told, and what it owes.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Heard {
    asked: Asked,
    polled_ms: u64,
    said_ms: u64,
    /// When the last snapshot, position or heartbeat came.
    paced_ms: u64,
    cursor: Cursor,
    place: Option<PlaceKey>,
    /// Of the last snapshot or position.
    positioned: Cursor,
    position: Option<u64>,
    turn: Option<(ActivationId, bool)>,
    owes_turn: bool,
    room: Option<ShownState>,
    /// A newer stream took its turn, or its node stops: it must be told.
    owes_drain: bool,
    /// It, or another of its place, was replaced.
    may_be_replaced: bool,
    /// Nothing more may be said.
    pub(in crate::sim) is_over: bool,
}

impl Heard {
    pub(in crate::sim) fn new(asked: Asked) -> Self {
        let opened_ms = asked.opened_ms;
        Self {
            asked,
            polled_ms: opened_ms,
            said_ms: opened_ms,
            paced_ms: opened_ms,
            cursor: Cursor::default(),
            place: None,
            positioned: Cursor::default(),
            position: None,
            turn: None,
            owes_turn: false,
            room: None,
            owes_drain: false,
            may_be_replaced: false,
            is_over: false,
        }
    }

    pub(in crate::sim) fn opened_ms(&self) -> u64 {
        self.asked.opened_ms
    }

    /// Where the client would resume.
    pub(in crate::sim) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// One more stream of its place than there may be was opened.
    pub(in crate::sim) fn note_replaced(&mut self, is_oldest: bool, ms: u64, limits: &HubLimits) {
        self.may_be_replaced = true;
        self.owes_drain |= is_oldest && self.is_surely_live(ms, limits);
    }

    pub(in crate::sim) fn note_draining(&mut self, ms: u64, limits: &HubLimits) {
        self.owes_drain |= self.is_surely_live(ms, limits);
    }

    /// The hub cannot have ended or drained it unheard.
    pub(in crate::sim) fn is_surely_live(&self, ms: u64, limits: &HubLimits) -> bool {
        let is_young = ms - self.asked.opened_ms < limits.stream_age_max_ms * 9 / 10;
        let is_read = ms - self.polled_ms < limits.write_stall_ms;
        let is_bounded = self.asked.max_duration_ms.is_some();
        is_young && is_read && !is_bounded && !self.is_over && !self.may_be_replaced
    }

    pub(in crate::sim) fn event(
        &mut self,
        event: &Event,
        now: &Sight,
        limits: &HubLimits,
    ) -> Result<(), Broken> {
        let idle_ms = now.ms - self.polled_ms;
        let kept_ms = limits.heartbeat_interval_ms + limits.write_stall_ms + 2 * ROOM_STEP_MAX_MS;
        must(idle_ms <= kept_ms, "Q12", || {
            format!("a reader that took nothing for {idle_ms} ms is kept")
        })?;
        must(!self.is_over, "Q13", || {
            format!("{:?} after the last word", event.body)
        })?;
        must(event.cursor >= self.cursor, "Q12", || {
            format!("cursor {:?} after {:?}", event.cursor, self.cursor)
        })?;
        must(event.cursor == now.cursor, "Q12", || {
            format!("{:?} is told in {:?}", event.cursor, now.cursor)
        })?;
        let is_snapshot = matches!(event.body, Body::Snapshot(_));
        must(self.place.is_some() || is_snapshot, "Q12", || {
            format!("{:?} before the snapshot", event.body)
        })?;
        let settles = matches!(
            event.body,
            Body::Snapshot(_) | Body::Activated(_) | Body::Ended { .. }
        );
        let has_turn = now
            .standing
            .is_some_and(|standing| turn_of(standing).is_some());
        must(!(self.owes_turn && has_turn) || settles, "Q12", || {
            format!("{:?} between a snapshot and its turn", event.body)
        })?;
        self.owes_turn = false;
        (self.cursor, self.polled_ms, self.said_ms) = (event.cursor, now.ms, now.ms);
        self.body(event, now, limits)
    }

    fn body(&mut self, event: &Event, now: &Sight, limits: &HubLimits) -> Result<(), Broken> {
        match &event.body {
            Body::Snapshot(snapshot) => self.snapshot(snapshot, now, limits)?,
            Body::Position {
                position,
                waiting_total,
                ..
            } => self.position(*position, *waiting_total, now)?,
            Body::Heartbeat => self.paced_ms = now.ms,
            Body::Activated(turn) => {
                let told = (turn.activation_id, turn.expire_time.is_some());
                must(self.turn != Some(told), "Q12", || {
                    "one turn is told twice".to_owned()
                })?;
                must(now.standing.map(turn_of) == Some(Some(told)), "Q12", || {
                    format!("{told:?} is told of {:?}", now.standing)
                })?;
                self.turn = Some(told);
                self.is_over = self.asked.end_on_activation;
            }
            Body::Ended { .. } => self.is_over = true,
            Body::RoomChanged(news) => {
                must(news.state == now.room, "Q12", || {
                    format!("{:?} is told of a room {:?}", news.state, now.room)
                })?;
                self.room = Some(news.state);
            }
            Body::Drain { reason, .. } => {
                must(
                    *reason != DrainReason::Replaced || self.may_be_replaced,
                    "Q12",
                    || "replaced by nobody".to_owned(),
                )?;
                self.is_over = true;
            }
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        now: &Sight,
        limits: &HubLimits,
    ) -> Result<(), Broken> {
        let place = &snapshot.place;
        must(self.place.is_none() || snapshot.is_merged, "Q12", || {
            "a second snapshot of one place".to_owned()
        })?;
        let resume = self.asked.resume;
        let resumes = resume.is_some_and(|resume| {
            resume.epoch == now.cursor.epoch && resume.revision <= now.cursor.revision
        });
        must(snapshot.resumed == resumes, "Q12", || {
            format!("resumed at {resume:?} in {:?}", now.cursor)
        })?;
        must(snapshot.room_state == now.room, "Q12", || {
            format!("a snapshot of {:?} in {:?}", snapshot.room_state, now.room)
        })?;
        must(
            snapshot.heartbeat_interval_ms == limits.heartbeat_interval_ms,
            "Q12",
            || "another heartbeat interval".to_owned(),
        )?;
        must(
            place.position == now.position || place.state.is_final(),
            "Q5",
            || format!("{:?} is told of {:?}", place.position, now.position),
        )?;
        self.owes_turn = matches!(place.state, PlaceState::Activated | PlaceState::Active);
        (self.turn, self.room) = (None, Some(snapshot.room_state));
        (self.place, self.positioned) = (Some(place.place), now.cursor);
        (self.position, self.paced_ms) = (place.position, now.ms);
        Ok(())
    }

    fn position(&mut self, position: u64, total: u64, now: &Sight) -> Result<(), Broken> {
        must(now.cursor > self.positioned, "Q12", || {
            format!("a position twice at {:?}", now.cursor)
        })?;
        must(Some(position) == now.position && position > 0, "Q5", || {
            format!("{position} is told of {:?}", now.position)
        })?;
        must(total >= position, "Q5", || format!("{position} of {total}"))?;
        let same_epoch = now.cursor.epoch == self.positioned.epoch;
        let before = self.position.filter(|_| same_epoch);
        must(before.is_none_or(|before| position <= before), "Q4", || {
            format!("position {before:?} → {position}")
        })?;
        (self.positioned, self.position) = (now.cursor, Some(position));
        self.paced_ms = now.ms;
        Ok(())
    }
}

/// What `activated` says of a standing: which, and whether it has a pass.
fn turn_of(standing: Standing) -> Option<(ActivationId, bool)> {
    match standing {
        Standing::Activated { id, .. } => Some((id, false)),
        Standing::Active { id, .. } => Some((id, true)),
        Standing::Waiting | Standing::Ended(_) => None,
    }
}

fn must(holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Result<(), Broken> {
    match holds {
        true => Ok(()),
        false => Err((invariant, what())),
    }
}
