//! Something to sell behind a room: what a pass is for.

use tonic::Code;
use usher::proto::v1 as wire;

use crate::call::{Answer, Call};
use crate::harness::eventually;
use crate::whole::{Caller, Whole, join, seconds};

pub const SEAT_MAP: &str = "/usher.v1.CatalogService/GetSeatMap";
pub const WATCH_SEAT_MAP: &str = "/usher.v1.CatalogService/WatchSeatMap";
pub const HOLD_SEATS: &str = "/usher.v1.ReservationService/HoldSeats";
const CLAIM: &str = "/usher.v1.QueueService/Claim";

/// A performance of a few seats, and the room in front of it.
pub struct House {
    pub performance: String,
    pub room: String,
}

async fn create(root: &Caller, rpc: &str, request: &impl prost::Message) -> Answer {
    let call = root.call(&format!("/usher.v1.AdminService/{rpc}"));
    call.message(request).send(&root.channel).await
}

fn performance(concert: &str) -> wire::Performance {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    wire::Performance {
        concert_id: concert.to_owned(),
        starts_at: at(4_000_000_000),
        sale_opens_at: at(1_000_000_000),
        sections: vec![wire::Section {
            name: "Stalls".to_owned(),
            price: Some(wire::Money {
                currency_code: "EUR".to_owned(),
                amount_minor: 2_500,
            }),
            rows: vec![wire::SeatRow {
                name: "A".to_owned(),
                seat_count: 4,
            }],
        }],
        seats_per_user_max: 4,
        ..wire::Performance::default()
    }
}

impl House {
    pub async fn build(app: &Whole, root: &Caller) -> Self {
        Self::build_with(app, root, 10, 1_000.0).await
    }

    /// With a room of this capacity and rate.
    pub async fn build_with(app: &Whole, root: &Caller, capacity: u32, rate: f64) -> Self {
        let request = wire::CreateConcertRequest {
            concert: Some(wire::Concert {
                name: "Night of Lanterns".to_owned(),
                venue: "Garden Theatre".to_owned(),
                ..wire::Concert::default()
            }),
            idempotency_key: "concert".to_owned(),
        };
        let made: wire::CreateConcertResponse = create(root, "CreateConcert", &request).await.ok();
        let concert = made.concert.expect("a concert").id;
        let request = wire::CreatePerformanceRequest {
            performance: Some(performance(&concert)),
            idempotency_key: "performance".to_owned(),
        };
        let made: wire::CreatePerformanceResponse =
            create(root, "CreatePerformance", &request).await.ok();
        let policy = wire::RoomPolicy {
            capacity,
            rate,
            pass_ttl: seconds(600),
            claim_window: seconds(0),
            absence_grace: seconds(60),
            protects: Some(wire::Protects {
                concert_ids: vec![concert],
                ..wire::Protects::default()
            }),
            ..wire::RoomPolicy::default()
        };
        Self {
            performance: made.performance.expect("one").id,
            room: app.make_room_of(root, "house", policy).await,
        }
    }

    /// The pass of someone whose turn it is.
    pub async fn pass(&self, caller: &Caller) -> String {
        let claim = wire::ClaimRequest {
            place_token: caller.join(&self.room).await.place_token,
        };
        eventually("a turn", async || {
            let call = caller.call(CLAIM).message(&claim);
            let answer = call.send(&caller.channel).await;
            let claimed = answer.code == Some(Code::Ok);
            claimed.then(|| answer.ok::<wire::ClaimResponse>().pass)
        })
        .await
    }

    /// Every RPC that looks at a pass, as this caller asks for it.
    pub fn calls(&self, caller: &Caller) -> [Call; 3] {
        let map = wire::GetSeatMapRequest {
            performance_id: self.performance.clone(),
        };
        let watch = wire::WatchSeatMapRequest {
            performance_id: self.performance.clone(),
            ..wire::WatchSeatMapRequest::default()
        };
        [
            caller.call(SEAT_MAP).message(&map),
            caller.call(WATCH_SEAT_MAP).message(&watch),
            self.hold(caller),
        ]
    }

    pub fn hold(&self, caller: &Caller) -> Call {
        let hold = wire::HoldSeatsRequest {
            performance_id: self.performance.clone(),
            best_available: Some(wire::BestAvailable {
                count: 1,
                ..wire::BestAvailable::default()
            }),
            idempotency_key: "one-seat".to_owned(),
            ..wire::HoldSeatsRequest::default()
        };
        caller.call(HOLD_SEATS).message(&hold)
    }

    /// Of four seats, with a good pass.
    pub async fn seats_available(&self, buyer: &Caller) -> usize {
        let [map, ..] = self.calls(buyer);
        let map: wire::GetSeatMapResponse = map.send(&buyer.channel).await.ok();
        let free = |seat: &&wire::Seat| seat.state() == wire::SeatState::Available;
        map.seats.iter().filter(free).count()
    }
}

/// Joins again, bringing a token along.
pub fn rejoin(room: &str, token: &str) -> wire::JoinRequest {
    wire::JoinRequest {
        place_token: Some(token.to_owned()),
        ..join(room)
    }
}
