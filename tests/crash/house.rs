//! What is sold: one performance behind one room.

use tonic::Status;
use usher::domain::ids::RoomId;
use usher::domain::policy::ServingOrder;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::truth::history::{AdminOp, Answer, Op, Performance, Policy};

use crate::client::{Caller, World};
use crate::people::User;
use crate::record::id;

pub const PRICE_MINOR: i64 = 1_000;
const RATE_PER_S: f64 = 200.0;
const PASS_TTL_S: i64 = 600;
const CLAIM_WINDOW_S: i64 = 600;

/// What tests choose of a room.
#[derive(Clone, Copy)]
pub struct Rules {
    pub capacity: u32,
    pub absence_grace_s: i64,
}

/// Many come, few at a time.
const CROWDED: Rules = Rules {
    capacity: 12,
    absence_grace_s: 120,
};

#[derive(Clone)]
pub struct House {
    pub room: RoomId,
    pub performance: String,
}

pub fn euros(amount_minor: i64) -> wire::Money {
    wire::Money {
        currency_code: "EUR".to_owned(),
        amount_minor,
    }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A performance that needs no pass.
pub async fn build_open(root: &User) -> String {
    let concert = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: "Night of Lanterns".to_owned(),
            ..wire::Concert::default()
        }),
        idempotency_key: "concert".to_owned(),
    };
    let made = root.operator().create_concert(root.ask(concert)).await;
    let concert = made.expect("made").into_inner().concert.expect("one").id;
    let performance = wire::CreatePerformanceRequest {
        performance: Some(performance(&concert)),
        idempotency_key: "performance".to_owned(),
    };
    let request = root.ask(performance);
    let made = root.operator().create_performance(request).await;
    let made = made.expect("made").into_inner();
    made.performance.expect("one").id
}

pub async fn build(world: &World) -> House {
    build_with(world, CROWDED).await
}

pub async fn build_with(world: &World, rules: Rules) -> House {
    try_build(world, rules).await.expect("a house")
}

async fn try_build(world: &World, rules: Rules) -> Result<House, Status> {
    let root = Caller {
        is_admin: true,
        ..Caller::new("root")
    };
    let mut admin = AdminServiceClient::new(world.channel.clone());
    let made = admin
        .create_concert(root.ask(wire::CreateConcertRequest {
            concert: Some(wire::Concert {
                name: "Night of Lanterns".to_owned(),
                venue: "Garden Theatre".to_owned(),
                ..wire::Concert::default()
            }),
            idempotency_key: "concert".to_owned(),
        }))
        .await?;
    let concert = made.into_inner().concert.expect("a concert").id;
    let made = admin
        .create_performance(root.ask(wire::CreatePerformanceRequest {
            performance: Some(performance(&concert)),
            idempotency_key: "performance".to_owned(),
        }))
        .await?;
    let performance = made.into_inner().performance.expect("one").id;
    let invoked_ms = world.now_ms();
    let made = admin
        .create_room(root.ask(wire::CreateRoomRequest {
            room: Some(wire::Room {
                name: "The waiting room".to_owned(),
                policy: Some(policy(concert, rules)),
                ..wire::Room::default()
            }),
            idempotency_key: "room".to_owned(),
        }))
        .await?;
    let room = made.into_inner().room.expect("a room").id;
    let room = RoomId::parse(&room).expect("an id");
    describe(world, &root, invoked_ms, &room, &performance, rules);
    Ok(House { room, performance })
}

fn performance(concert: &str) -> wire::Performance {
    wire::Performance {
        concert_id: concert.to_owned(),
        starts_at: at(4_000_000_000),
        sale_opens_at: at(1_000_000_000),
        sections: vec![wire::Section {
            name: "Stalls".to_owned(),
            price: Some(euros(PRICE_MINOR)),
            rows: vec![wire::SeatRow {
                name: "A".to_owned(),
                // More than there are people: nobody is sold out.
                seat_count: 100,
            }],
        }],
        seats_per_user_max: 1,
        ..wire::Performance::default()
    }
}

fn policy(concert: String, rules: Rules) -> wire::RoomPolicy {
    wire::RoomPolicy {
        capacity: rules.capacity,
        rate: RATE_PER_S,
        pass_ttl: span(PASS_TTL_S),
        claim_window: span(CLAIM_WINDOW_S),
        absence_grace: span(rules.absence_grace_s),
        protects: Some(wire::Protects {
            concert_ids: vec![concert],
            ..wire::Protects::default()
        }),
        ..wire::RoomPolicy::default()
    }
}

/// What the checkers hold the server to.
fn describe(
    world: &World,
    root: &Caller,
    invoked_ms: u64,
    room: &RoomId,
    performance: &str,
    rules: Rules,
) {
    let policy = Policy {
        order: ServingOrder::Fifo,
        capacity: rules.capacity.into(),
        rate_per_s: RATE_PER_S,
        pass_ttl_ms: PASS_TTL_S as u64 * 1_000,
        claim_window_ms: CLAIM_WINDOW_S as u64 * 1_000,
    };
    let configured = AdminOp::ConfigureRoom {
        room: room.clone(),
        policy,
        answer: Answer::Ok(()),
    };
    world.record(&root.user, invoked_ms, Op::Admin(configured));
    let performance = Performance {
        id: id(performance),
        room: Some(room.clone()),
        seats_per_user_max: 1,
    };
    let described = AdminOp::DescribePerformance { performance };
    world.record(&root.user, invoked_ms, Op::Admin(described));
}
