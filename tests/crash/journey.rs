//! One person's sale, from the line to the paid seat, whatever the server does.

use std::sync::Arc;

use tonic::{Status, Streaming};
use usher::domain::ids::{ActivationId, Cursor, IdempotencyKey, PlaceKey};
use usher::proto::v1 as wire;
use usher::proto::v1::payment_service_client::PaymentServiceClient;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::proto::v1::reservation_service_client::ReservationServiceClient;
use usher::truth::history::{Op, QueueOp, SaleOp, StreamEnd, TurnSeen, Wanted};
use wire::watch_response::Event;

use crate::client::{Caller, World, is_unknown, reason};
use crate::harness::soon;
use crate::house::{House, PRICE_MINOR, euros};
use crate::record;

struct Person<'a> {
    world: &'a World,
    house: &'a House,
    caller: Caller,
}

/// Who has bought, and where.
pub struct Bought {
    token: String,
    place: PlaceKey,
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).expect("a key")
}

pub async fn go(world: Arc<World>, house: House, index: usize) -> Bought {
    let mut person = Person {
        world: &world,
        house: &house,
        caller: Caller::new(&format!("user-{index}")),
    };
    let bought = person.join().await;
    person.await_turn(&bought).await;
    let activation = person.claim(&bought).await;
    let reservation = person.hold(activation).await;
    person.top_up().await;
    person.pay(&reservation).await;
    bought
}

/// Whoever bought is told that it is over, in every later life of the server.
pub async fn look_back(world: &World, house: &House, index: usize, bought: &Bought) {
    let person = Person {
        world,
        house,
        caller: Caller::new(&format!("user-{index}")),
    };
    let ended = person.watch_until(bought, |event| match event {
        Event::Ended(ended) => Some(ended.reason()),
        _ => None,
    });
    assert_eq!(soon("the end", ended).await, wire::EndReason::Completed);
}

impl Person<'_> {
    fn queue(&self) -> QueueServiceClient<tonic::transport::Channel> {
        QueueServiceClient::new(self.world.channel.clone())
    }

    async fn join(&self) -> Bought {
        let request = wire::JoinRequest {
            room_id: self.house.room.as_str().to_owned(),
            ..wire::JoinRequest::default()
        };
        let call = async || self.queue().join(self.caller.ask(request.clone())).await;
        let joined = self
            .world
            .until_known(
                &self.caller.user,
                call,
                |reply| record::place(reply.place.as_ref().expect("a place")),
                |answer| {
                    Op::Queue(QueueOp::Join {
                        room: self.house.room.clone(),
                        presented: None,
                        code: None,
                        answer,
                    })
                },
            )
            .await
            .expect("joined");
        let place = joined.place.expect("a place");
        Bought {
            token: joined.place_token,
            place: PlaceKey {
                lane: 0,
                number: place.number,
            },
        }
    }

    async fn await_turn(&self, at: &Bought) {
        let turn = self.watch_until(at, |event| match event {
            Event::Activated(_) => Some(()),
            Event::Ended(ended) => panic!("{} lost the place: {ended:?}", self.caller.user),
            _ => None,
        });
        soon("the turn", turn).await;
    }

    /// Watches, again after every end, until an event is the one waited for.
    async fn watch_until<T>(&self, at: &Bought, pick: impl Fn(&Event) -> Option<T>) -> T {
        let mut resume = None;
        loop {
            let stream = self.world.next_stream();
            let opened = QueueOp::StreamOpened {
                stream,
                room: self.house.room.clone(),
                place: at.place,
                resume,
            };
            self.note(opened);
            let request = self.caller.ask(wire::WatchRequest {
                place_token: at.token.clone(),
                resume: resume.map(|cursor| wire::Cursor {
                    epoch: cursor.epoch,
                    revision: cursor.revision,
                }),
                ..wire::WatchRequest::default()
            });
            let end = match self.queue().watch(request).await {
                Err(status) => self.stream_end(&status),
                Ok(reply) => {
                    let messages = reply.into_inner();
                    match self.read(stream, messages, &mut resume, &pick).await {
                        Ok(found) => {
                            let end = StreamEnd::Dropped;
                            self.note(QueueOp::StreamClosed { stream, end });
                            return found;
                        }
                        Err(end) => end,
                    }
                }
            };
            self.note(QueueOp::StreamClosed { stream, end });
            self.world.back_off().await;
        }
    }

    async fn read<T>(
        &self,
        stream: u64,
        mut messages: Streaming<wire::WatchResponse>,
        resume: &mut Option<Cursor>,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, StreamEnd> {
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Err(StreamEnd::Ok),
                Err(status) => return Err(self.stream_end(&status)),
            };
            let cursor = record::cursor(message.cursor);
            *resume = Some(cursor);
            let event = message.event.expect("an event");
            self.note(QueueOp::StreamMessage {
                stream,
                cursor,
                as_of_ms: record::ms(message.as_of.expect("a time")),
                message: record::message(&event),
            });
            if let Some(found) = pick(&event) {
                return Ok(found);
            }
        }
    }

    fn stream_end(&self, status: &Status) -> StreamEnd {
        if is_unknown(status) {
            return StreamEnd::Broken;
        }
        let reason = reason(status);
        assert!(
            !matches!(reason.as_str(), "Unauthenticated" | "TOKEN_USER_MISMATCH"),
            "{} is not known any more",
            self.caller.user
        );
        StreamEnd::Status(reason)
    }

    fn note(&self, op: QueueOp) {
        let now_ms = self.world.now_ms();
        self.world.record(&self.caller.user, now_ms, Op::Queue(op));
    }

    async fn claim(&mut self, at: &Bought) -> ActivationId {
        let request = wire::ClaimRequest {
            place_token: at.token.clone(),
        };
        let seen = |reply: &wire::ClaimResponse| TurnSeen {
            activation_id: activation_of(&reply.pass),
            expire_ms: record::ms(reply.expire_time.expect("a time")),
        };
        let call = async || self.queue().claim(self.caller.ask(request.clone())).await;
        let claimed = self
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Queue(QueueOp::Claim {
                    room: self.house.room.clone(),
                    place: at.place,
                    answer,
                })
            });
        let pass = claimed.await.expect("claimed").pass;
        let activation = activation_of(&pass);
        self.caller.pass = Some(pass);
        activation
    }

    async fn hold(&self, activation: ActivationId) -> String {
        let request = wire::HoldSeatsRequest {
            performance_id: self.house.performance.clone(),
            seat_ids: Vec::new(),
            best_available: Some(wire::BestAvailable {
                count: 1,
                ..wire::BestAvailable::default()
            }),
            idempotency_key: "hold".to_owned(),
        };
        let seen = |reply: &wire::HoldSeatsResponse| {
            record::reservation(reply.reservation.as_ref().expect("a reservation"))
        };
        let call = async || {
            let mut sale = ReservationServiceClient::new(self.world.channel.clone());
            sale.hold_seats(self.caller.ask(request.clone())).await
        };
        let held = self
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Sale(SaleOp::Hold {
                    performance: record::id(&self.house.performance),
                    wanted: Wanted::BestAvailable { count: 1 },
                    key: key("hold"),
                    pass: Some(activation),
                    answer,
                })
            });
        held.await.expect("held").reservation.expect("one").id
    }

    async fn top_up(&self) {
        let request = wire::TopUpWalletRequest {
            amount: Some(euros(PRICE_MINOR)),
            source: Some(wire::top_up_wallet_request::Source::Sandbox(
                wire::SandboxSource {},
            )),
            idempotency_key: "money".to_owned(),
        };
        let seen =
            |reply: &wire::TopUpWalletResponse| record::id(&reply.entry.as_ref().expect("one").id);
        let call = async || {
            let mut money = PaymentServiceClient::new(self.world.channel.clone());
            money.top_up_wallet(self.caller.ask(request.clone())).await
        };
        let added = self
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Sale(SaleOp::TopUp {
                    amount: record::amount(Some(&euros(PRICE_MINOR))),
                    key: key("money"),
                    answer,
                })
            });
        added.await.expect("topped up");
    }

    async fn pay(&self, reservation: &str) {
        let request = wire::PayReservationRequest {
            reservation_id: reservation.to_owned(),
            method: Some(wire::pay_reservation_request::Method::Wallet(
                wire::WalletSource {},
            )),
            coupon_id: None,
            idempotency_key: "pay".to_owned(),
        };
        let seen = |reply: &wire::PayReservationResponse| {
            record::payment(reply.payment.as_ref().expect("a payment"))
        };
        let call = async || {
            let mut money = PaymentServiceClient::new(self.world.channel.clone());
            money
                .pay_reservation(self.caller.ask(request.clone()))
                .await
        };
        let paid = self
            .world
            .until_known(&self.caller.user, call, seen, |answer| {
                Op::Sale(SaleOp::Pay {
                    reservation: record::id(reservation),
                    from_wallet: true,
                    key: key("pay"),
                    answer,
                })
            });
        paid.await.expect("paid");
    }
}

/// The `jti` of a pass, unverified: clients may read what they hold.
fn activation_of(pass: &str) -> ActivationId {
    use base64::Engine as _;
    let claims = pass.split('.').nth(1).expect("claims");
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims);
    let claims: serde_json::Value = serde_json::from_slice(&claims.expect("base64")).expect("JSON");
    record::activation(claims["jti"].as_str().expect("a jti"))
}
