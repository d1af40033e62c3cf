//! A room and a concert for one run.

use prost_types::Timestamp;
use usher::domain::ids::RoomId;
use usher::domain::policy::ServingOrder;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::proto::v1::payment_service_client::PaymentServiceClient;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::truth::history::{AdminOp, Answer, Op, Performance, Policy};

use super::Stage;
use crate::error::BenchError;
use crate::session::{Refused, Session, key};
use crate::trace::{self, now_ms};

const SEATS_PER_ROW: u32 = 50;
/// As in the demo catalog.
pub const SEATS_PER_PERFORMANCE: u32 = 1_000;
const SEATS_PER_USER_MAX: u32 = 4;
const PRICE_MINOR: i64 = 4_500;
const DAY_S: i64 = 24 * 3_600;

/// The policy of a room that a measurement makes.
#[derive(Clone, Copy)]
pub struct RoomPlan {
    pub capacity: u32,
    pub rate_per_s: f64,
    pub claim_window_s: i64,
    pub pass_ttl_s: i64,
    /// None: the server's own.
    pub absence_grace_s: Option<i64>,
}

/// A room and the concert that it protects.
#[derive(Clone)]
pub struct Sale {
    pub room: RoomId,
    pub concert_id: String,
}

fn setup(step: &'static str) -> impl Fn(Refused) -> BenchError {
    move |refused| BenchError::Setup {
        step,
        why: refused.reason,
    }
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn from_now(seconds: i64) -> Option<Timestamp> {
    let now_s = i64::try_from(now_ms() / 1_000).unwrap_or(0);
    Some(Timestamp {
        seconds: now_s + seconds,
        nanos: 0,
    })
}

fn ms(span: Option<&prost_types::Duration>) -> u64 {
    span.map_or(0, |span| u64::try_from(span.seconds).unwrap_or(0) * 1_000)
}

/// One section of equal seats.
fn house(currency_code: &str) -> wire::Section {
    let row = |nth: u32| wire::SeatRow {
        name: (nth + 1).to_string(),
        seat_count: SEATS_PER_ROW,
    };
    wire::Section {
        name: "Floor".to_owned(),
        price: Some(wire::Money {
            currency_code: currency_code.to_owned(),
            amount_minor: PRICE_MINOR,
        }),
        rows: (0..SEATS_PER_PERFORMANCE / SEATS_PER_ROW)
            .map(row)
            .collect(),
    }
}

/// A concert without a date; answers its id.
pub async fn make_concert(operator: &Session, name: &str) -> Result<String, BenchError> {
    let message = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: name.to_owned(),
            ..Default::default()
        }),
        idempotency_key: key().as_str().to_owned(),
    };
    let send = |channel, request| async move {
        AdminServiceClient::new(channel)
            .create_concert(request)
            .await
    };
    let made = operator.look("CreateConcert", message, None, send).await?;
    Ok(made.concert.unwrap_or_default().id)
}

impl Stage {
    /// A concert with so many performances, behind a room of its own.
    pub async fn make_sale(&self, plan: RoomPlan, performances: u32) -> Result<Sale, BenchError> {
        let concert_id = make_concert(&self.operator, "Measured").await?;
        let currency_code = self.currency().await?;
        for nth in 0..performances {
            self.make_performance(&concert_id, &currency_code, i64::from(nth))
                .await?;
        }
        let protects = wire::Protects {
            concert_ids: vec![concert_id.clone()],
            ..Default::default()
        };
        let room = self.make_room(plan, Some(protects)).await?;
        let sale = Sale { room, concert_id };
        self.describe(&sale).await?;
        Ok(sale)
    }

    /// The one that wallets have when nobody says another.
    async fn currency(&self) -> Result<String, BenchError> {
        let message = wire::GetWalletRequest {
            currency_code: None,
        };
        let send = |channel, request| async move {
            PaymentServiceClient::new(channel).get_wallet(request).await
        };
        let read = self.operator.look("GetWallet", message, None, send).await;
        let wallet = read.map_err(setup("the currency"))?.wallet;
        let balance = wallet.unwrap_or_default().balance.unwrap_or_default();
        Ok(balance.currency_code)
    }

    async fn make_performance(
        &self,
        concert_id: &str,
        currency_code: &str,
        nth: i64,
    ) -> Result<(), BenchError> {
        let message = wire::CreatePerformanceRequest {
            performance: Some(wire::Performance {
                concert_id: concert_id.to_owned(),
                starts_at: from_now((nth + 7) * DAY_S),
                sale_opens_at: from_now(-60),
                sections: vec![house(currency_code)],
                seats_per_user_max: SEATS_PER_USER_MAX,
                ..Default::default()
            }),
            idempotency_key: key().as_str().to_owned(),
        };
        let send = |channel, request| async move {
            AdminServiceClient::new(channel)
                .create_performance(request)
                .await
        };
        let made = self
            .operator
            .look("CreatePerformance", message, None, send)
            .await;
        made.map_err(setup("a performance"))?;
        Ok(())
    }

    /// A FIFO room that is open.
    pub async fn make_room(
        &self,
        plan: RoomPlan,
        protects: Option<wire::Protects>,
    ) -> Result<RoomId, BenchError> {
        let policy = wire::RoomPolicy {
            capacity: plan.capacity,
            rate: plan.rate_per_s,
            claim_window: span(plan.claim_window_s),
            pass_ttl: span(plan.pass_ttl_s),
            absence_grace: plan.absence_grace_s.and_then(span),
            protects,
            ..Default::default()
        };
        let message = wire::CreateRoomRequest {
            room: Some(wire::Room {
                name: "Measured".to_owned(),
                policy: Some(policy.clone()),
                ..Default::default()
            }),
            idempotency_key: key().as_str().to_owned(),
        };
        let invoked_ms = now_ms();
        let send = |channel, request| async move {
            AdminServiceClient::new(channel).create_room(request).await
        };
        let made = self.operator.look("CreateRoom", message, None, send).await;
        let room = made.map_err(setup("a room"))?.room.unwrap_or_default();
        let id = RoomId::parse(&room.id).map_err(BenchError::failed)?;
        self.configured(&id, &policy, invoked_ms);
        Ok(id)
    }

    /// Ends every place in it; nothing is left to be done for them.
    pub async fn close_room(&self, room: &RoomId) -> Result<(), BenchError> {
        let message = wire::CloseRoomRequest {
            room_id: room.as_str().to_owned(),
            ..Default::default()
        };
        let send = |channel, request| async move {
            AdminServiceClient::new(channel).close_room(request).await
        };
        let closed = self.operator.look("CloseRoom", message, None, send).await;
        closed.map(drop).map_err(setup("closing the room"))
    }

    /// A room that exists, and the first concert that it protects.
    pub async fn take_room(&self, room_id: &str) -> Result<Sale, BenchError> {
        let message = wire::GetRoomRequest {
            room_id: room_id.to_owned(),
        };
        let invoked_ms = now_ms();
        let send = |channel, request| async move {
            QueueServiceClient::new(channel).get_room(request).await
        };
        let read = self.operator.look("GetRoom", message, None, send).await;
        let room = read.map_err(setup("the room"))?.room.unwrap_or_default();
        let policy = room.policy.unwrap_or_default();
        let id = RoomId::parse(room_id).map_err(BenchError::failed)?;
        self.configured(&id, &policy, invoked_ms);
        let concerts = policy.protects.unwrap_or_default().concert_ids;
        let concert_id = concerts.into_iter().next();
        let sale = Sale {
            room: id,
            concert_id: concert_id.ok_or_else(|| BenchError::failed("it protects no concert"))?,
        };
        self.describe(&sale).await?;
        Ok(sale)
    }

    fn configured(&self, room: &RoomId, policy: &wire::RoomPolicy, invoked_ms: u64) {
        self.operator.take_down(invoked_ms, || {
            Op::Admin(AdminOp::ConfigureRoom {
                room: room.clone(),
                policy: Policy {
                    order: match policy.order() {
                        wire::RoomOrder::Draw => ServingOrder::Draw,
                        _ => ServingOrder::Fifo,
                    },
                    capacity: policy.capacity.into(),
                    rate_per_s: policy.rate,
                    pass_ttl_ms: ms(policy.pass_ttl.as_ref()),
                    claim_window_ms: ms(policy.claim_window.as_ref()),
                },
                answer: Answer::Ok(()),
            })
        });
    }

    async fn describe(&self, sale: &Sale) -> Result<(), BenchError> {
        let listed = self.operator.performances(&sale.concert_id).await;
        for performance in listed.map_err(setup("the performances"))? {
            self.operator.take_down(now_ms(), || {
                Op::Admin(AdminOp::DescribePerformance {
                    performance: Performance {
                        id: trace::id(&performance.id),
                        room: RoomId::parse(&performance.room_id).ok(),
                        seats_per_user_max: performance.seats_per_user_max.into(),
                    },
                })
            });
        }
        Ok(())
    }
}
