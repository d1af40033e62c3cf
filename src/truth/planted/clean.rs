//! A clean history: twelve buyers go through one small room in a model that
//! keeps every promise.
//!
//! One tick is 100 ms. A revision is published by a tick that changed
//! something, so what joins and polls see is the state of the last one.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::domain::ids::{
    ActivationId, Cursor, IdempotencyKey, PlaceKey, ResourceId, RoomId, UserId,
};
use crate::domain::place::EndReason;
use crate::domain::policy::ServingOrder;
use crate::truth::history::{
    AdminOp, Amount, Answer, History, Message, Op, Performance, PlaceSeen, PlaceState, Policy,
    QueueOp, Record, RoomShown, StreamEnd, Tolerances, TurnSeen,
};

use super::buyer::{Buyer, Phase};

pub(super) const START_MS: u64 = 1_000_000;
const TICK_MS: u64 = 100;
const TICKS: u64 = 800;
const CAPACITY: usize = 3;
pub(super) const CLAIM_WINDOW_MS: u64 = 10_000;
pub(super) const PASS_TTL_MS: u64 = 60_000;
pub(super) const HEARTBEAT_MS: u64 = 20_000;
/// A number that was never given out; it has departed from the start.
pub(super) const BURNT_NUMBER: u64 = 5;
/// The tick at which the queue store loses its memory.
const RECOVERY_TICK: u64 = 30;

pub(super) fn room() -> RoomId {
    RoomId::parse("room").expect("an id")
}

pub(super) fn performance() -> ResourceId {
    resource("show")
}

pub(super) fn resource(id: &str) -> ResourceId {
    ResourceId::parse(id).expect("an id")
}

pub(super) fn key(key: &str) -> IdempotencyKey {
    IdempotencyKey::parse(key).expect("a key")
}

pub(super) fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

pub(super) fn money(minor: i64) -> Amount {
    Amount {
        currency: "EUR".to_owned(),
        minor,
    }
}

pub(super) struct Model {
    pub records: Vec<Record>,
    cursor: Cursor,
    /// The state of the last revision.
    departed: BTreeSet<u64>,
    /// Since the last revision.
    left: Vec<u64>,
    changed: bool,
    tail: u64,
    streams: u64,
    as_of_ms: u64,
}

/// A history without a violation, in which every kind of record occurs.
#[must_use]
pub fn clean_history() -> History {
    let mut model = Model {
        records: Vec::new(),
        cursor: Cursor {
            epoch: 1,
            revision: 0,
        },
        departed: BTreeSet::from([BURNT_NUMBER]),
        left: Vec::new(),
        changed: false,
        tail: 0,
        streams: 0,
        as_of_ms: START_MS,
    };
    let mut buyers: Vec<Buyer> = (1..=12).map(Buyer::new).collect();
    model.set_up();
    for tick in 0..TICKS {
        let now_ms = START_MS + tick * TICK_MS;
        if tick == RECOVERY_TICK {
            model.recover(now_ms);
        }
        model.tick(now_ms, &mut buyers);
        for index in 0..buyers.len() {
            let others = Buyer::others(&buyers, now_ms);
            buyers[index].act(&mut model, now_ms, others);
        }
    }
    let mut records = model.records;
    records.sort_by_key(|record| record.returned_ms);
    History {
        records,
        tolerances: Tolerances {
            clock_leeway_ms: 0,
            grant_delay_ms: 0,
            silence_ms: 1_000,
            tick_ms: TICK_MS,
        },
    }
}

impl Model {
    pub fn push(&mut self, who: &str, invoked_ms: u64, returned_ms: u64, op: Op) {
        self.records.push(Record {
            invoked_ms,
            returned_ms,
            client: format!("tab-{who}"),
            process: "node-1".to_owned(),
            user: user(who),
            op,
        });
    }

    fn set_up(&mut self) {
        let policy = Policy {
            order: ServingOrder::Fifo,
            capacity: CAPACITY as u64,
            rate_per_s: 10.0,
            pass_ttl_ms: PASS_TTL_MS,
            claim_window_ms: CLAIM_WINDOW_MS,
        };
        let configure = AdminOp::ConfigureRoom {
            room: room(),
            policy,
            answer: Answer::Ok(()),
        };
        let describe = AdminOp::DescribePerformance {
            performance: Performance {
                id: performance(),
                room: Some(room()),
                seats_per_user_max: 2,
            },
        };
        for op in [configure, describe] {
            self.push("admin", START_MS - 20, START_MS - 10, Op::Admin(op));
        }
    }

    /// A new epoch: the same places, at the same positions.
    fn recover(&mut self, now_ms: u64) {
        let fault = Op::Fault {
            what: "the queue store was flushed".to_owned(),
        };
        self.push("nemesis", now_ms - 1, now_ms, fault);
        self.cursor = Cursor {
            epoch: self.cursor.epoch + 1,
            revision: 0,
        };
        self.changed = true;
    }

    fn tick(&mut self, now_ms: u64, buyers: &mut [Buyer]) {
        for buyer in buyers.iter_mut() {
            self.changed |= buyer.expire(now_ms);
        }
        let slots = buyers.iter().filter(|buyer| buyer.holds_slot()).count();
        let next = buyers
            .iter_mut()
            .filter(|buyer| matches!(buyer.phase, Phase::Waiting))
            .min_by_key(|buyer| buyer.number);
        // From the 20th tick on, one each tick: the rate's ten a second.
        if let Some(next) = next
            && slots < CAPACITY
            && now_ms >= START_MS + 20 * TICK_MS
        {
            let id = ActivationId(Uuid::from_u128(u128::from(next.number)));
            next.activate(id, now_ms);
            self.left.push(next.number);
            self.changed = true;
        }
        self.as_of_ms = now_ms;
        if self.changed {
            self.changed = false;
            self.cursor.revision += 1;
            self.departed.extend(self.left.drain(..));
        }
        for buyer in buyers.iter_mut() {
            self.tell(now_ms, buyer);
        }
    }

    /// What is due on a buyer's stream.
    fn tell(&mut self, now_ms: u64, buyer: &mut Buyer) {
        let Some(stream) = buyer.stream else { return };
        let message = if let Some(told) = buyer.due.take() {
            told
        } else if matches!(buyer.phase, Phase::Waiting) && buyer.told < self.cursor {
            let position = self.position(buyer.number);
            let waiting_total = self.total();
            Message::Position {
                position,
                waiting_total,
            }
        } else if now_ms - buyer.heard_ms >= HEARTBEAT_MS {
            Message::Heartbeat
        } else {
            return;
        };
        let over = matches!(message, Message::Ended { .. });
        buyer.told = self.cursor;
        buyer.heard_ms = now_ms;
        self.message(&buyer.name, stream, now_ms + 1, message);
        if over {
            buyer.stream = None;
            let closed = QueueOp::StreamClosed {
                stream,
                end: StreamEnd::Ok,
            };
            self.push(&buyer.name, now_ms + 2, now_ms + 2, Op::Queue(closed));
        }
    }

    fn message(&mut self, who: &str, stream: u64, at_ms: u64, message: Message) {
        let op = QueueOp::StreamMessage {
            stream,
            cursor: self.cursor,
            as_of_ms: self.as_of_ms,
            message,
        };
        self.push(who, at_ms, at_ms, Op::Queue(op));
    }

    /// The next number.
    pub fn issue(&mut self) -> u64 {
        self.tail += 1;
        if self.tail == BURNT_NUMBER {
            self.tail += 1;
        }
        self.changed = true;
        self.tail
    }

    pub fn leave(&mut self, number: u64) {
        self.left.push(number);
        self.changed = true;
    }

    pub fn touch(&mut self) {
        self.changed = true;
    }

    fn position(&self, number: u64) -> i64 {
        let before = self.departed.range(..number).count() as u64;
        i64::try_from(number - before).expect("small")
    }

    fn total(&self) -> i64 {
        let departed = self.departed.range(..=self.tail).count() as u64;
        i64::try_from(self.tail - departed).expect("small")
    }

    pub fn seen(&self, buyer: &Buyer) -> PlaceSeen {
        let mut seen = PlaceSeen {
            place: place(buyer.number),
            cursor: self.cursor,
            as_of_ms: self.as_of_ms,
            state: PlaceState::Waiting,
            position: None,
            waiting_total: self.total(),
            activation_id: buyer.activation,
            claim_by_ms: None,
            expire_ms: None,
        };
        match buyer.phase {
            Phase::New | Phase::Waiting => seen.position = Some(self.position(buyer.number)),
            Phase::Activated => {
                seen.state = PlaceState::Activated;
                seen.claim_by_ms = Some(buyer.claim_by_ms);
            }
            Phase::Active | Phase::Held => {
                seen.state = PlaceState::Active;
                seen.expire_ms = Some(buyer.expire_ms);
            }
            Phase::Done => seen.state = PlaceState::Completed,
        }
        seen
    }

    /// Opens a stream; its snapshot comes at once.
    pub fn watch(&mut self, buyer: &mut Buyer, at_ms: u64, resume: Option<Cursor>) {
        self.streams += 1;
        let stream = self.streams;
        let opened = QueueOp::StreamOpened {
            stream,
            room: room(),
            place: place(buyer.number),
            resume,
        };
        self.push(&buyer.name, at_ms, at_ms, Op::Queue(opened));
        let snapshot = Message::Snapshot {
            seen: self.seen(buyer),
            room_state: RoomShown::Open,
            resumed: resume.is_some_and(|resume| resume.epoch == self.cursor.epoch),
            heartbeat_interval_ms: HEARTBEAT_MS,
        };
        self.message(&buyer.name, stream, at_ms + 1, snapshot);
        buyer.stream = Some(stream);
        buyer.told = self.cursor;
        buyer.heard_ms = at_ms + 1;
    }
}

pub(super) fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

pub(super) fn turn(buyer: &Buyer) -> Option<TurnSeen> {
    Some(TurnSeen {
        activation_id: buyer.activation?,
        expire_ms: buyer.expire_ms,
    })
}

pub(super) fn ended(reason: EndReason) -> Message {
    Message::Ended {
        state: reason.state(),
        reason,
    }
}
