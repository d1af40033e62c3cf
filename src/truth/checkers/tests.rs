//! Hand-made histories: what a correct server may show is never reported, and
//! the least that proves a fault is.

mod queue;
mod sale;

use std::collections::BTreeSet;

use crate::domain::ids::{
    ActivationId, Cursor, IdempotencyKey, PlaceKey, ResourceId, RoomId, UserId,
};
use crate::domain::policy::ServingOrder;
use crate::truth::history::{
    AdminOp, Answer, History, Op, Performance, PlaceSeen, PlaceState, Policy, QueueOp, Record,
    SaleOp, Tolerances, TurnSeen,
};

use super::check;

const ROOM: &str = "room";
const SHOW: &str = "show";

fn room() -> RoomId {
    RoomId::parse(ROOM).expect("id")
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("id")
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).expect("key")
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("id")
}

fn place(number: u64) -> PlaceKey {
    PlaceKey { lane: 0, number }
}

fn activation(number: u128) -> ActivationId {
    ActivationId(uuid::Uuid::from_u128(number))
}

fn at(epoch: u64, revision: u64) -> Cursor {
    Cursor { epoch, revision }
}

fn unknown<T>() -> Answer<T> {
    Answer::Unknown("UNAVAILABLE".to_owned())
}

fn refused<T>(reason: &str) -> Answer<T> {
    Answer::Refused(reason.to_owned())
}

/// A history written line by line.
#[derive(Default)]
struct Script(Vec<Record>);

impl Script {
    /// A FIFO room with capacity 1, a rate of 10 a second, a claim window of
    /// 1 s and passes of 10 s; it protects a show of 2 seats for each user.
    fn new() -> Self {
        let policy = Policy {
            order: ServingOrder::Fifo,
            capacity: 1,
            rate_per_s: 10.0,
            pass_ttl_ms: 10_000,
            claim_window_ms: 1_000,
        };
        Self::default().policy(0, policy).op(
            "admin",
            0..1,
            Op::Admin(AdminOp::DescribePerformance {
                performance: Performance {
                    id: id(SHOW),
                    room: Some(room()),
                    seats_per_user_max: 2,
                },
            }),
        )
    }

    fn policy(self, ms: u64, policy: Policy) -> Self {
        let configure = AdminOp::ConfigureRoom {
            room: room(),
            policy,
            answer: Answer::Ok(()),
        };
        self.op("admin", ms..ms + 1, Op::Admin(configure))
    }

    fn op(mut self, who: &str, span: std::ops::Range<u64>, op: Op) -> Self {
        self.0.push(Record {
            invoked_ms: span.start,
            returned_ms: span.end,
            client: who.to_owned(),
            process: String::new(),
            user: user(who),
            op,
        });
        self
    }

    fn queue(self, who: &str, span: std::ops::Range<u64>, op: QueueOp) -> Self {
        self.op(who, span, Op::Queue(op))
    }

    fn sale(self, who: &str, span: std::ops::Range<u64>, op: SaleOp) -> Self {
        self.op(who, span, Op::Sale(op))
    }

    fn join(self, who: &str, span: std::ops::Range<u64>, answer: Answer<PlaceSeen>) -> Self {
        let op = QueueOp::Join {
            room: room(),
            presented: None,
            code: None,
            answer,
        };
        self.queue(who, span, op)
    }

    fn look(self, who: &str, span: std::ops::Range<u64>, seen: PlaceSeen) -> Self {
        let op = QueueOp::GetPlace {
            room: room(),
            place: seen.place,
            answer: Answer::Ok(seen),
        };
        self.queue(who, span, op)
    }

    fn claim(self, who: &str, span: std::ops::Range<u64>, number: u64, expire_ms: u64) -> Self {
        let turn = TurnSeen {
            activation_id: activation(u128::from(number)),
            expire_ms,
        };
        let op = QueueOp::Claim {
            room: room(),
            place: place(number),
            answer: Answer::Ok(turn),
        };
        self.queue(who, span, op)
    }

    fn leave(self, who: &str, span: std::ops::Range<u64>, number: u64, answer: Answer<()>) -> Self {
        let op = QueueOp::Leave {
            room: room(),
            place: place(number),
            answer,
        };
        self.queue(who, span, op)
    }

    /// The invariants that are reported broken.
    fn broken(self) -> BTreeSet<&'static str> {
        let history = History {
            records: self.0,
            tolerances: Tolerances {
                clock_leeway_ms: 0,
                grant_delay_ms: 0,
                silence_ms: 0,
                tick_ms: 100,
            },
        };
        let found = check(&history);
        found.iter().map(|violation| violation.invariant).collect()
    }

    #[track_caller]
    fn holds(self) {
        assert_eq!(self.broken(), BTreeSet::new());
    }

    #[track_caller]
    fn breaks(self, invariant: &'static str) {
        assert_eq!(self.broken(), BTreeSet::from([invariant]));
    }
}

/// A place that waits.
fn waiting(number: u64, cursor: Cursor, as_of_ms: u64, position: i64) -> PlaceSeen {
    PlaceSeen {
        place: place(number),
        cursor,
        as_of_ms,
        state: PlaceState::Waiting,
        position: Some(position),
        waiting_total: 1_000,
        activation_id: None,
        claim_by_ms: None,
        expire_ms: None,
    }
}

/// A place whose turn began at `as_of_ms`; its activation is named as its number.
fn activated(number: u64, cursor: Cursor, as_of_ms: u64) -> PlaceSeen {
    PlaceSeen {
        state: PlaceState::Activated,
        position: None,
        activation_id: Some(activation(u128::from(number))),
        claim_by_ms: Some(as_of_ms + 1_000),
        ..waiting(number, cursor, as_of_ms, 0)
    }
}

#[test]
fn nothing_breaks_nothing() {
    Script::default().holds();
    Script::new().holds();
}
