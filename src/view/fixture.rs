//! A room of one lane whose deltas a test writes by hand.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::delta::{
    DrawOrder, LaneDelta, LaneSnapshot, PlaceEnded, RoomDelta, RoomFacts, RoomSnapshot,
};
use crate::domain::ids::{ActivationId, Cursor, PlaceKey};
use crate::domain::place::{EndReason, RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::rank::DepartedRank;
use crate::domain::time::UnixMs;

pub(crate) fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

pub(crate) fn activation(number: u64) -> ActivationId {
    ActivationId(Uuid::from_u128(u128::from(number)))
}

pub(crate) fn ended(number: u64, reason: EndReason) -> PlaceEnded {
    PlaceEnded {
        place: place(number),
        activation_id: None,
        reason,
        survivor: None,
    }
}

pub(crate) struct Line {
    pub cursor: Cursor,
    pub facts: RoomFacts,
    pub tail: u64,
    pub draw: Option<DrawOrder>,
    /// Departed numbers; kept by the test once a draw has opened.
    pub departed: DepartedRank,
    pub live: Vec<(PlaceKey, Standing)>,
}

impl Line {
    /// An open room in which `tail` places wait.
    pub fn open(tail: u64) -> Self {
        Self {
            cursor: Cursor {
                epoch: 1,
                revision: 1,
            },
            facts: RoomFacts {
                switches: RoomSwitches {
                    opened: true,
                    ..RoomSwitches::default()
                },
                opens_at: None,
                rebuilding: false,
                capacity: 10,
                rate_per_s: 10.0,
                pass_ttl_ms: 60_000,
                claim_window_ms: 30_000,
                lane_weights: vec![1],
                slots_in_use: 0,
                granting: Vec::new(),
            },
            tail,
            draw: None,
            departed: DepartedRank::new(),
            live: Vec::new(),
        }
    }

    /// One that opens later.
    pub fn scheduled(tail: u64, opens_at: UnixMs) -> Self {
        let mut line = Self::open(tail);
        line.facts.switches.opened = false;
        line.facts.opens_at = Some(opens_at);
        line
    }

    pub fn snapshot(&self) -> RoomSnapshot {
        RoomSnapshot {
            cursor: self.cursor,
            policy: Arc::new(RoomPolicy::default()),
            facts: self.facts.clone(),
            lanes: vec![LaneSnapshot {
                lane: 0,
                head: 1,
                tail: self.tail,
                draw: self.draw,
                departed_numbers: self.departed.clone(),
            }],
            live: self.live.clone(),
        }
    }

    /// The next delta; what `change` writes into it the line remembers.
    pub fn delta(&mut self, change: impl FnOnce(&mut RoomDelta)) -> Arc<RoomDelta> {
        self.cursor.revision += 1;
        let mut delta = RoomDelta {
            cursor: self.cursor,
            published_at: UnixMs(0),
            facts: self.facts.clone(),
            lanes: vec![LaneDelta {
                lane: 0,
                head: 1,
                tail: self.tail,
                departed: Vec::new(),
                draw: self.draw,
            }],
            absent: Vec::new(),
            activated: Vec::new(),
            claimed: Vec::new(),
            ended: Vec::new(),
        };
        change(&mut delta);
        self.facts.clone_from(&delta.facts);
        self.tail = delta.lanes[0].tail;
        if self.draw.is_none() {
            for &number in &delta.lanes[0].departed {
                self.departed.insert(number);
            }
        }
        self.draw = delta.lanes[0].draw;
        self.live.extend(&delta.activated);
        Arc::new(delta)
    }

    /// These numbers leave the line.
    pub fn leave(&mut self, numbers: &[u64]) -> Arc<RoomDelta> {
        self.delta(|delta| {
            delta.lanes[0].departed.extend(numbers);
            let left = numbers.iter().map(|&number| ended(number, EndReason::Left));
            delta.ended.extend(left);
        })
    }

    /// A number gets its turn.
    pub fn activate(&mut self, number: u64, claim_by: u64) -> Arc<RoomDelta> {
        self.delta(|delta| {
            delta.lanes[0].departed.push(number);
            let standing = Standing::Activated {
                id: activation(number),
                claim_by: UnixMs(claim_by),
            };
            delta.activated.push((place(number), standing));
        })
    }

    pub fn claim(&mut self, number: u64, expire_time: u64) -> Arc<RoomDelta> {
        self.delta(|delta| {
            let standing = Standing::Active {
                id: activation(number),
                claimed_at: UnixMs(1),
                expire_time: UnixMs(expire_time),
            };
            delta.claimed.push((place(number), standing));
        })
    }

    pub fn end(&mut self, number: u64, reason: EndReason) -> Arc<RoomDelta> {
        self.delta(|delta| delta.ended.push(ended(number, reason)))
    }
}
