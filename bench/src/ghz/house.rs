//! Users, places, passes, seats and payments for the configurations, under the
//! names that these ask for them by: `${room}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::proto::v1::catalog_service_client::CatalogServiceClient;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::proto::v1::reservation_service_client::ReservationServiceClient;

use crate::error::BenchError;
use crate::session::{Purse, Refused, Session, Turn, key};
use crate::stage::{RoomPlan, Sale, Stage};

/// Two are inside; everyone else stays in line.
const ROOM: RoomPlan = RoomPlan {
    capacity: 2,
    rate_per_s: 100.0,
    claim_window_s: 60,
    pass_ttl_s: 600,
    absence_grace_s: None,
};

pub struct House {
    /// What `${name}` stands for.
    pub words: BTreeMap<&'static str, String>,
    pub users: BTreeMap<&'static str, Arc<Session>>,
    pub passes: BTreeMap<&'static str, String>,
}

/// One who is inside.
struct Guest<'a> {
    user: &'a Session,
    turn: Turn,
    pass: String,
}

impl Guest<'_> {
    async fn hold(&self, performance: &str, seat: &str) -> Result<wire::Reservation, Refused> {
        let seats = vec![seat.to_owned()];
        let turn = &self.turn.activation_id;
        self.user.hold(performance, seats, turn, &self.pass).await
    }

    async fn fund(&self, held: &wire::Reservation, purse: &Purse) -> Result<(), Refused> {
        let total = held.total.clone().unwrap_or_default();
        self.user.fill_wallet(total, purse).await
    }

    /// A seat of one's own; answers payment and ticket.
    async fn buy(
        &self,
        performance: &str,
        seat: &str,
        purse: &Purse,
    ) -> Result<(String, String), Refused> {
        let held = self.hold(performance, seat).await?;
        self.fund(&held, purse).await?;
        let payment = self.user.pay(&held.id).await?.id;
        let message = wire::GetReservationRequest {
            reservation_id: held.id,
        };
        let send = |channel, request| async move {
            ReservationServiceClient::new(channel)
                .get_reservation(request)
                .await
        };
        let read = self
            .user
            .look("GetReservation", message, None, send)
            .await?;
        let tickets = read.reservation.unwrap_or_default().tickets;
        let ticket = tickets.into_iter().next().unwrap_or_default();
        Ok((payment, ticket.code))
    }
}

impl House {
    pub async fn build(stage: &Stage) -> Result<Self, BenchError> {
        let sale = stage.make_sale(ROOM, 2).await?;
        let spare = stage.make_sale(ROOM, 2).await?;
        let closing = stage.make_room(ROOM, None).await?;
        let mut house = Self {
            words: BTreeMap::new(),
            users: BTreeMap::new(),
            passes: BTreeMap::new(),
        };
        house.users.insert("operator", Arc::clone(&stage.operator));
        let names = ["winner", "loser", "waiter", "leaver", "revoked"];
        for (name, user) in names.into_iter().zip(stage.users(names.len())?) {
            house.users.insert(name, Arc::new(user));
        }
        house.word("room", sale.room.as_str());
        house.word("concert", &sale.concert_id);
        house.word("spare_room", spare.room.as_str());
        house.word("spare_concert", &spare.concert_id);
        house.word("closing_room", closing.as_str());
        // Everyone asks for a coupon of the first.
        let campaign = make_campaign(&stage.operator).await?;
        let changed = make_campaign(&stage.operator).await?;
        house.word("campaign", &campaign.id);
        house.word("spare_campaign", &changed.id);
        house.word("spare_campaign_etag", &changed.etag);
        let purse = match stage.target.callers.is_dev() {
            true => Purse::Sandbox,
            false => Purse::Operator(Arc::clone(&stage.operator)),
        };
        house.fill(&sale, &spare, &purse).await?;
        Ok(house)
    }

    fn word(&mut self, name: &'static str, value: &str) {
        self.words.insert(name, value.to_owned());
    }

    fn user(&self, name: &'static str) -> Arc<Session> {
        Arc::clone(&self.users[name])
    }

    async fn fill(&mut self, sale: &Sale, spare: &Sale, purse: &Purse) -> Result<(), Refused> {
        let (winner, loser) = (self.user("winner"), self.user("loser"));
        let dates = winner.performances(&sale.concert_id).await?;
        let spares = winner.performances(&spare.concert_id).await?;
        let place = winner.join(&sale.room).await?;
        self.word("active_token", &place.token);
        let (turn, pass) = winner.admit(&sale.room).await?;
        self.passes.insert("winner", pass.clone());
        self.passes
            .insert("loser", loser.admit(&sale.room).await?.1);
        for (token, name) in [
            ("place_token", "waiter"),
            ("left_token", "leaver"),
            ("revoked_token", "revoked"),
        ] {
            let place = self.user(name).join(&sale.room).await?;
            self.word(token, &place.token);
        }
        let (room, concert) = etags(&winner, spare).await?;
        self.word("spare_room_etag", &room);
        self.word("spare_concert_etag", &concert);
        let revoked = self.user("revoked").caller.user.clone();
        self.word("revoked_user", revoked.as_str());

        let guest = Guest {
            user: &winner,
            turn,
            pass,
        };
        // At most four seats of each performance.
        let (first, second) = (&dates[0].id, &dates[1].id);
        let seats = winner.free_seats(first, &guest.pass).await?;
        let more = winner.free_seats(second, &guest.pass).await?;
        // Held to the end: the pass lives as long as there is a hold.
        let held = guest.hold(first, &seats[0]).await?;
        let (payment, ticket) = guest.buy(first, &seats[1], purse).await?;
        let (refunded, _) = guest.buy(second, &more[0], purse).await?;
        let unpaid = guest.hold(first, &seats[2]).await?;
        guest.fund(&unpaid, purse).await?;
        let given_back = guest.hold(second, &more[1]).await?;
        let currency = held.total.clone().unwrap_or_default().currency_code;
        for (name, value) in [
            ("performance", first),
            ("taken_seat", &seats[0]),
            ("spare_seat", &seats[3]),
            ("currency", &currency),
            ("held", &held.id),
            ("payment", &payment),
            ("ticket", &ticket),
            ("refunded", &refunded),
            ("unpaid", &unpaid.id),
            ("given_back", &given_back.id),
            ("spare_performance", &spares[0].id),
            ("spare_performance_etag", &spares[0].etag),
            ("cancelled_performance", &spares[1].id),
        ] {
            self.word(name, value);
        }
        Ok(())
    }
}

async fn make_campaign(operator: &Session) -> Result<wire::Campaign, Refused> {
    let message = wire::CreateCampaignRequest {
        campaign: Some(wire::Campaign {
            name: "Measured".to_owned(),
            stock: 1_000_000,
            discount: Some(wire::campaign::Discount::Percent(10)),
            ..Default::default()
        }),
        idempotency_key: key().as_str().to_owned(),
    };
    let send = |channel, request| async move {
        AdminServiceClient::new(channel)
            .create_campaign(request)
            .await
    };
    let made = operator.look("CreateCampaign", message, None, send).await?;
    Ok(made.campaign.unwrap_or_default())
}

/// The versions of a room and of its concert.
async fn etags(user: &Session, sale: &Sale) -> Result<(String, String), Refused> {
    let message = wire::GetRoomRequest {
        room_id: sale.room.as_str().to_owned(),
    };
    let send =
        |channel, request| async move { QueueServiceClient::new(channel).get_room(request).await };
    let room = user.look("GetRoom", message, None, send).await?.room;
    let message = wire::GetConcertRequest {
        concert_id: sale.concert_id.clone(),
    };
    let send = |channel, request| async move {
        CatalogServiceClient::new(channel)
            .get_concert(request)
            .await
    };
    let concert = user.look("GetConcert", message, None, send).await?.concert;
    Ok((
        room.unwrap_or_default().etag,
        concert.unwrap_or_default().etag,
    ))
}
