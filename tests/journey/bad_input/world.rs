//! One of everything, so that a request may be good but for one field; and
//! what all of it looks like, to see that a refusal had no effect.

use prost::Message;
use usher::proto::v1 as wire;

use crate::bad_input::ask::ask;
use crate::coupons::campaign;
use crate::harness::{TestApp, eventually};
use crate::people::{User, euros};
use crate::sale::{PRICE_MINOR, concert, performance, policy};

pub struct World {
    pub app: TestApp,
    /// Who asks: an operator, who is a user too.
    pub root: User,
    /// Activates nobody, protects nothing.
    pub room: String,
    pub concert: String,
    /// Needs no pass.
    pub performance: String,
    pub seats: Vec<String>,
    /// Of root in the room.
    pub place_token: String,
    /// Of root, held.
    pub held: String,
    /// Of root, paid with all there was in the wallet but one.
    pub paid: String,
    pub payment: String,
    /// Of five coupons, of which root has one.
    pub campaign: String,
    /// A performance with voided tickets, where a test has made some.
    pub given_back: String,
}

impl World {
    pub async fn build() -> Self {
        let app = TestApp::start().await;
        let root = app.admin();
        let still = wire::RoomPolicy {
            capacity: 0,
            ..policy()
        };
        let room = app.make_room("room", still).await;
        let concert = make_concert(&root, "concert").await;
        let performance = make_performance(&root, &concert, "performance").await;
        let seats = seats_of(&root, &performance).await;
        let place_token = root.join(&room).await.token;
        let hold = async |seat: usize| {
            let key = format!("hold-{seat}");
            let held = root.hold(&performance, &[&seats[seat]], &key).await;
            held.expect("held").id
        };
        let (held, paid) = (hold(0).await, hold(1).await);
        root.top_up(PRICE_MINOR + 1, "top-up").await.expect("money");
        let payment = root.pay(&paid, "pay").await.expect("paid").id;
        let campaign = root.make_campaign(campaign(5), "campaign").await.id;
        root.issue_coupon(&campaign).await.expect("issued");
        eventually("the join on the view", async || {
            let of = wire::GetRoomRequest {
                room_id: room.clone(),
            };
            let answer: wire::GetRoomResponse = read(&root, "QueueService/GetRoom", of).await;
            let lanes = answer.room.expect("a room").lanes;
            (lanes[0].waiting_total == 1).then_some(())
        })
        .await;
        Self {
            app,
            room,
            concert,
            given_back: performance.clone(),
            performance,
            seats,
            place_token,
            held,
            paid,
            payment,
            campaign,
            root,
        }
    }

    /// All that root can see, but for the time of looking.
    pub async fn state(&self) -> String {
        let root = &self.root;
        let mut rooms: wire::ListRoomsResponse = read(
            root,
            "QueueService/ListRooms",
            wire::ListRoomsRequest::default(),
        )
        .await;
        for room in &mut rooms.rooms {
            room.as_of = None;
            let lanes = room.lanes.iter_mut();
            lanes.for_each(|lane| lane.estimated_wait = None);
        }
        let concerts: wire::ListConcertsResponse =
            read(root, "CatalogService/ListConcerts", ()).await;
        let of = wire::ListPerformancesRequest {
            concert_id: self.concert.clone(),
            ..Default::default()
        };
        let performances: wire::ListPerformancesResponse =
            read(root, "CatalogService/ListPerformances", of).await;
        let seats = root.seat_map(&self.performance).await.expect("OK").seats;
        let reservations: wire::ListReservationsResponse =
            read(root, "ReservationService/ListReservations", ()).await;
        let entries: wire::ListWalletEntriesResponse =
            read(root, "PaymentService/ListWalletEntries", ()).await;
        let of = wire::GetPaymentRequest {
            payment_id: self.payment.clone(),
        };
        let payment: wire::GetPaymentResponse = read(root, "PaymentService/GetPayment", of).await;
        let coupons = (root.coupons().await, root.campaign(&self.campaign).await);
        let mut place = root.place(&self.place_token).await;
        (place.as_of, place.cursor) = (None, None);
        let concerts = (concerts.concerts, performances.performances);
        let sold = (seats, reservations.reservations);
        let money = (entries.entries, payment, root.balance().await);
        format!(
            "{:#?}",
            (rooms.rooms, concerts, sold, money, coupons, place)
        )
    }

    /// Nothing that was asked since had an effect.
    pub async fn assert_unchanged(&self, before: &str) {
        let now = self.state().await;
        let mut lines = before.lines().zip(now.lines());
        let changed = lines.find(|(before, now)| before != now);
        assert_eq!(changed, None, "before, now");
        assert_eq!(before.len(), now.len());
    }
}

/// The answer to a request that is good.
pub async fn read<M: Message + Default>(user: &User, rpc: &str, message: impl Message) -> M {
    let answer = ask(user, rpc, message.encode_to_vec()).await.expect("OK");
    M::decode(&answer[..]).expect("the answer")
}

pub async fn make_concert(root: &User, key: &str) -> String {
    let message = wire::CreateConcertRequest {
        concert: Some(concert()),
        idempotency_key: key.to_owned(),
    };
    let made = root.operator().create_concert(root.ask(message)).await;
    let made = made.expect("made").into_inner();
    made.concert.expect("a concert").id
}

pub async fn make_performance(root: &User, concert: &str, key: &str) -> String {
    let many_each = wire::Performance {
        seats_per_user_max: 20,
        ..performance(concert, 20)
    };
    make_performance_as(root, many_each, key).await
}

pub async fn make_performance_as(root: &User, performance: wire::Performance, key: &str) -> String {
    let message = wire::CreatePerformanceRequest {
        performance: Some(performance),
        idempotency_key: key.to_owned(),
    };
    let made = root.operator().create_performance(root.ask(message)).await;
    let made = made.expect("made").into_inner();
    made.performance.expect("a performance").id
}

pub async fn seats_of(user: &User, performance: &str) -> Vec<String> {
    let map = user.seat_map(performance).await.expect("seats");
    map.seats.into_iter().map(|seat| seat.id).collect()
}

pub fn hold(performance: &str, seats: &[&str], key: &str) -> wire::HoldSeatsRequest {
    wire::HoldSeatsRequest {
        performance_id: performance.to_owned(),
        seat_ids: seats.iter().map(|&seat| seat.to_owned()).collect(),
        best_available: None,
        idempotency_key: key.to_owned(),
    }
}

pub fn best(performance: &str, best: wire::BestAvailable) -> wire::HoldSeatsRequest {
    wire::HoldSeatsRequest {
        best_available: Some(best),
        ..hold(performance, &[], "best")
    }
}

pub fn top_up(amount: Option<wire::Money>, key: &str) -> wire::TopUpWalletRequest {
    wire::TopUpWalletRequest {
        amount,
        source: Some(wire::top_up_wallet_request::Source::Sandbox(
            wire::SandboxSource {},
        )),
        idempotency_key: key.to_owned(),
    }
}

pub fn pay(reservation: &str, key: &str) -> wire::PayReservationRequest {
    wire::PayReservationRequest {
        reservation_id: reservation.to_owned(),
        method: Some(wire::pay_reservation_request::Method::Wallet(
            wire::WalletSource {},
        )),
        coupon_id: None,
        idempotency_key: key.to_owned(),
    }
}

pub fn cancel(reservation: &str, key: &str) -> wire::CancelReservationRequest {
    wire::CancelReservationRequest {
        reservation_id: reservation.to_owned(),
        seat_ids: Vec::new(),
        idempotency_key: key.to_owned(),
    }
}

pub fn credit(user: &str, amount: Option<wire::Money>, key: &str) -> wire::CreditWalletRequest {
    wire::CreditWalletRequest {
        user_id: user.to_owned(),
        amount,
        reason: "a gift".to_owned(),
        idempotency_key: key.to_owned(),
    }
}

/// Of one cent.
pub fn refund(payment: &str, key: &str) -> wire::RefundPaymentRequest {
    wire::RefundPaymentRequest {
        payment_id: payment.to_owned(),
        amount: Some(euros(1)),
        reason: "an apology".to_owned(),
        idempotency_key: key.to_owned(),
    }
}

pub fn block(performance: &str, seats: &[&str]) -> wire::BlockSeatsRequest {
    wire::BlockSeatsRequest {
        performance_id: performance.to_owned(),
        seat_ids: seats.iter().map(|&seat| seat.to_owned()).collect(),
        blocked: true,
        reason: "a broken seat".to_owned(),
    }
}

pub fn call_off(performance: &str, key: &str) -> wire::CancelPerformanceRequest {
    wire::CancelPerformanceRequest {
        performance_id: performance.to_owned(),
        reason: "rain".to_owned(),
        idempotency_key: key.to_owned(),
    }
}

pub fn new_room(policy: wire::RoomPolicy, key: &str) -> wire::CreateRoomRequest {
    wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: "A room".to_owned(),
            policy: Some(policy),
            ..Default::default()
        }),
        idempotency_key: key.to_owned(),
    }
}

/// A change of the whole policy.
pub fn new_policy(room: &str, policy: wire::RoomPolicy) -> wire::UpdateRoomRequest {
    wire::UpdateRoomRequest {
        room: Some(wire::Room {
            id: room.to_owned(),
            name: "A room".to_owned(),
            policy: Some(policy),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["name".to_owned(), "policy".to_owned()],
        }),
        etag: "999999".to_owned(),
    }
}

pub fn new_campaign(campaign: wire::Campaign, key: &str) -> wire::CreateCampaignRequest {
    wire::CreateCampaignRequest {
        campaign: Some(campaign),
        idempotency_key: key.to_owned(),
    }
}

/// A change of all of a campaign that can be changed.
pub fn new_stock(campaign: &str, terms: wire::Campaign) -> wire::UpdateCampaignRequest {
    wire::UpdateCampaignRequest {
        campaign: Some(wire::Campaign {
            id: campaign.to_owned(),
            ..terms
        }),
        update_mask: mask(&["name", "stock", "valid_from", "valid_until"]),
        etag: "999999".to_owned(),
    }
}

/// A change of all of a concert that can be changed.
pub fn new_texts(concert: &str, texts: wire::Concert) -> wire::UpdateConcertRequest {
    wire::UpdateConcertRequest {
        concert: Some(wire::Concert {
            id: concert.to_owned(),
            ..texts
        }),
        update_mask: mask(&["name", "description", "venue"]),
        etag: "999999".to_owned(),
    }
}

/// A change of all of a performance that can be changed.
pub fn new_terms(performance: &str, terms: wire::Performance) -> wire::UpdatePerformanceRequest {
    wire::UpdatePerformanceRequest {
        performance: Some(wire::Performance {
            id: performance.to_owned(),
            ..terms
        }),
        update_mask: mask(&["sale_opens_at", "sale_closes_at", "sections"]),
        etag: "999999".to_owned(),
    }
}

pub fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask {
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
    })
}
