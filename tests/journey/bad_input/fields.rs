//! Which fields an RPC has, and how it is asked with a value in one of them,
//! all else good. A new RPC or field is a line here; the tests cross each
//! table with the values that must never be taken there.

use prost::Message;
use usher::proto::v1 as wire;

use super::world::{self, World};
use crate::grants;
use crate::people::euros;
use crate::sale::{concert, performance, policy};

pub mod catalog;
pub mod coupons;
pub mod lists;
pub mod money;
pub mod rooms;

/// One field of one RPC.
pub struct Field<T> {
    pub rpc: &'static str,
    /// As a refusal names it.
    pub path: &'static str,
    pub message: fn(&World, T) -> Vec<u8>,
}

pub const fn field<T>(
    rpc: &'static str,
    path: &'static str,
    message: fn(&World, T) -> Vec<u8>,
) -> Field<T> {
    Field { rpc, path, message }
}

fn bytes(message: impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// Names of things; what is unknown is NOT_FOUND.
pub const RESOURCES: &[Field<String>] = &[
    field("QueueService/Join", "room_id", |_, room_id| {
        bytes(wire::JoinRequest {
            room_id,
            ..Default::default()
        })
    }),
    field("QueueService/GetRoom", "room_id", |_, room_id| {
        bytes(wire::GetRoomRequest { room_id })
    }),
    field(
        "CatalogService/GetConcert",
        "concert_id",
        |_, concert_id| bytes(wire::GetConcertRequest { concert_id }),
    ),
    field(
        "CatalogService/ListPerformances",
        "concert_id",
        |_, concert_id| {
            bytes(wire::ListPerformancesRequest {
                concert_id,
                ..Default::default()
            })
        },
    ),
    field(
        "CatalogService/GetSeatMap",
        "performance_id",
        |_, performance_id| bytes(wire::GetSeatMapRequest { performance_id }),
    ),
    field(
        "CatalogService/WatchSeatMap",
        "performance_id",
        |_, performance_id| {
            bytes(wire::WatchSeatMapRequest {
                performance_id,
                resume_cursor: None,
            })
        },
    ),
    field(
        "ReservationService/HoldSeats",
        "performance_id",
        |world, id| bytes(world::hold(&id, &[&world.seats[9]], "bad")),
    ),
    field(
        "ReservationService/GetReservation",
        "reservation_id",
        |_, reservation_id| bytes(wire::GetReservationRequest { reservation_id }),
    ),
    field(
        "ReservationService/ExtendHold",
        "reservation_id",
        |_, reservation_id| bytes(wire::ExtendHoldRequest { reservation_id }),
    ),
    field(
        "ReservationService/CancelReservation",
        "reservation_id",
        |_, id| bytes(world::cancel(&id, "bad")),
    ),
    field(
        "PaymentService/PayReservation",
        "reservation_id",
        |_, id| bytes(world::pay(&id, "bad")),
    ),
    field(
        "PaymentService/GetPayment",
        "payment_id",
        |_, payment_id| bytes(wire::GetPaymentRequest { payment_id }),
    ),
    field("AdminService/UpdateRoom", "room.id", |_, id| {
        bytes(world::new_policy(&id, policy()))
    }),
    field("AdminService/PauseRoom", "room_id", |_, room_id| {
        bytes(wire::PauseRoomRequest {
            room_id,
            ..Default::default()
        })
    }),
    field("AdminService/ResumeRoom", "room_id", |_, room_id| {
        bytes(wire::ResumeRoomRequest {
            room_id,
            message: None,
        })
    }),
    field("AdminService/CloseRoom", "room_id", |_, room_id| {
        bytes(wire::CloseRoomRequest {
            room_id,
            message: None,
        })
    }),
    field("AdminService/GrantPlace", "room_id", |_, room| {
        bytes(grants::grant(&room, "alice", "bad"))
    }),
    field("AdminService/RevokePlace", "room_id", |_, room| {
        bytes(grants::revoke(&room, "alice", "bad"))
    }),
    field("AdminService/WatchRoomStats", "room_id", |_, room_id| {
        bytes(wire::WatchRoomStatsRequest { room_id })
    }),
    field("AdminService/WatchSales", "performance_id", |_, id| {
        bytes(wire::WatchSalesRequest {
            performance_id: Some(id),
        })
    }),
    field(
        "AdminService/CreatePerformance",
        "performance.concert_id",
        |_, id| {
            bytes(wire::CreatePerformanceRequest {
                performance: Some(performance(&id, 10)),
                idempotency_key: "bad".to_owned(),
            })
        },
    ),
    field("AdminService/UpdateConcert", "concert.id", |_, id| {
        bytes(world::new_texts(&id, concert()))
    }),
    field(
        "AdminService/UpdatePerformance",
        "performance.id",
        |_, id| bytes(world::new_terms(&id, performance("c", 20))),
    ),
    field(
        "AdminService/CancelPerformance",
        "performance_id",
        |_, id| bytes(world::call_off(&id, "bad")),
    ),
    field("AdminService/BlockSeats", "performance_id", |world, id| {
        bytes(world::block(&id, &[&world.seats[9]]))
    }),
    field("AdminService/RefundPayment", "payment_id", |_, id| {
        bytes(world::refund(&id, "bad"))
    }),
    field("AdminService/UpdateCampaign", "campaign.id", |_, id| {
        bytes(world::new_stock(&id, crate::coupons::campaign(5)))
    }),
    field(
        "CouponService/GetCampaign",
        "campaign_id",
        |_, campaign_id| bytes(wire::GetCampaignRequest { campaign_id }),
    ),
    field(
        "CouponService/IssueCoupon",
        "campaign_id",
        |_, campaign_id| bytes(wire::IssueCouponRequest { campaign_id }),
    ),
    field(
        "AdminService/ListVoidedTickets",
        "performance_id",
        |_, performance_id| {
            bytes(wire::ListVoidedTicketsRequest {
                performance_id,
                ..Default::default()
            })
        },
    ),
];

/// Seats of a performance; what is unknown is SEAT_NOT_IN_PERFORMANCE.
pub const SEATS: &[Field<Vec<String>>] = &[
    field(
        "ReservationService/HoldSeats",
        "seat_ids",
        |world, seat_ids| {
            bytes(wire::HoldSeatsRequest {
                seat_ids,
                ..world::hold(&world.performance, &[], "bad")
            })
        },
    ),
    field("AdminService/BlockSeats", "seat_ids", |world, seat_ids| {
        bytes(wire::BlockSeatsRequest {
            seat_ids,
            ..world::block(&world.performance, &[])
        })
    }),
];

/// Seats of a reservation; what is not in it is FIELD_INVALID.
pub const OWN_SEATS: &[Field<Vec<String>>] = &[field(
    "ReservationService/CancelReservation",
    "seat_ids",
    |world, seat_ids| {
        bytes(wire::CancelReservationRequest {
            seat_ids,
            ..world::cancel(&world.paid, "bad")
        })
    },
)];

/// Users are not Usher's own: any well-formed name is one.
pub const USERS: &[Field<String>] = &[
    field("AdminService/CreditWallet", "user_id", |_, id| {
        bytes(world::credit(&id, Some(euros(1)), "bad"))
    }),
    field("AdminService/GrantPlace", "user_id", |world, id| {
        bytes(grants::grant(&world.room, &id, "bad"))
    }),
    field("AdminService/RevokePlace", "user_id", |world, id| {
        bytes(grants::revoke(&world.room, &id, "bad"))
    }),
];

/// Signed by the server for one user; whatever else is there is
/// UNAUTHENTICATED.
pub const PLACE_TOKENS: &[Field<String>] = &[
    field("QueueService/Join", "place_token", |world, token| {
        bytes(wire::JoinRequest {
            room_id: world.room.clone(),
            place_token: Some(token),
            ..Default::default()
        })
    }),
    field("QueueService/Watch", "place_token", |_, place_token| {
        bytes(wire::WatchRequest {
            place_token,
            ..Default::default()
        })
    }),
    field("QueueService/GetPlace", "place_token", |_, place_token| {
        bytes(wire::GetPlaceRequest { place_token })
    }),
    field("QueueService/Claim", "place_token", |_, place_token| {
        bytes(wire::ClaimRequest { place_token })
    }),
    field("QueueService/Leave", "place_token", |_, place_token| {
        bytes(wire::LeaveRequest { place_token })
    }),
];

pub const KEYS: &[Field<String>] = &[
    field(
        "ReservationService/HoldSeats",
        "idempotency_key",
        |world, key| bytes(world::hold(&world.performance, &[&world.seats[9]], &key)),
    ),
    field(
        "ReservationService/CancelReservation",
        "idempotency_key",
        |world, key| bytes(world::cancel(&world.held, &key)),
    ),
    field("PaymentService/TopUpWallet", "idempotency_key", |_, key| {
        bytes(world::top_up(Some(euros(1)), &key))
    }),
    field(
        "PaymentService/PayReservation",
        "idempotency_key",
        |world, key| bytes(world::pay(&world.held, &key)),
    ),
    field("AdminService/CreateRoom", "idempotency_key", |_, key| {
        bytes(world::new_room(policy(), &key))
    }),
    field(
        "AdminService/CancelPerformance",
        "idempotency_key",
        |world, key| bytes(world::call_off(&world.performance, &key)),
    ),
    field(
        "AdminService/CreateCampaign",
        "idempotency_key",
        |_, key| bytes(world::new_campaign(crate::coupons::campaign(5), &key)),
    ),
    field("AdminService/CreateConcert", "idempotency_key", |_, key| {
        bytes(wire::CreateConcertRequest {
            concert: Some(concert()),
            idempotency_key: key,
        })
    }),
    field(
        "AdminService/CreatePerformance",
        "idempotency_key",
        |world, key| {
            bytes(wire::CreatePerformanceRequest {
                performance: Some(performance(&world.concert, 10)),
                idempotency_key: key,
            })
        },
    ),
    field(
        "AdminService/GrantPlace",
        "idempotency_key",
        |world, key| bytes(grants::grant(&world.room, "alice", &key)),
    ),
    field(
        "AdminService/RevokePlace",
        "idempotency_key",
        |world, key| bytes(grants::revoke(&world.room, "alice", &key)),
    ),
    field("AdminService/CreditWallet", "idempotency_key", |_, key| {
        bytes(world::credit("alice", Some(euros(1)), &key))
    }),
    field(
        "AdminService/RefundPayment",
        "idempotency_key",
        |world, key| bytes(world::refund(&world.payment, &key)),
    ),
];
