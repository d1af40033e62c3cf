//! What operators write of concerts and performances, why they act, and the
//! remaining fields of reads and streams.

use prost_types::{Duration, Timestamp};
use usher::proto::v1 as wire;

use super::super::world::{self, World};
use super::{Field, bytes, field};
use crate::grants;
use crate::people::euros;
use crate::sale::{concert, performance};

const PERFORMANCE: &str = "AdminService/CreatePerformance";
const CONCERT: &str = "AdminService/CreateConcert";
const NEW_TERMS: &str = "AdminService/UpdatePerformance";
const NEW_TEXTS: &str = "AdminService/UpdateConcert";

fn changed(world: &World, change: impl FnOnce(&mut wire::Performance)) -> Vec<u8> {
    let mut performance = performance(&world.concert, 10);
    change(&mut performance);
    bytes(wire::CreatePerformanceRequest {
        performance: Some(performance),
        idempotency_key: "bad".to_owned(),
    })
}

fn changed_concert(change: impl FnOnce(&mut wire::Concert)) -> Vec<u8> {
    let mut concert = concert();
    change(&mut concert);
    bytes(wire::CreateConcertRequest {
        concert: Some(concert),
        idempotency_key: "bad".to_owned(),
    })
}

fn terms(world: &World, change: impl FnOnce(&mut wire::Performance)) -> Vec<u8> {
    let mut terms = performance(&world.concert, 20);
    change(&mut terms);
    bytes(world::new_terms(&world.performance, terms))
}

fn texts(world: &World, change: impl FnOnce(&mut wire::Concert)) -> Vec<u8> {
    let mut texts = concert();
    change(&mut texts);
    bytes(world::new_texts(&world.concert, texts))
}

pub const MOMENTS: &[Field<Timestamp>] = &[
    field("AdminService/ListVoidedTickets", "since", |world, since| {
        bytes(wire::ListVoidedTicketsRequest {
            performance_id: world.performance.clone(),
            since: Some(since),
            ..Default::default()
        })
    }),
    field(NEW_TERMS, "performance.sale_opens_at", |world, at| {
        terms(world, |terms| terms.sale_opens_at = Some(at))
    }),
    field(NEW_TERMS, "performance.sale_closes_at", |world, at| {
        terms(world, |terms| terms.sale_closes_at = Some(at))
    }),
    field(PERFORMANCE, "performance.starts_at", |world, at| {
        changed(world, |performance| performance.starts_at = Some(at))
    }),
    field(PERFORMANCE, "performance.sale_opens_at", |world, at| {
        changed(world, |performance| performance.sale_opens_at = Some(at))
    }),
    field(PERFORMANCE, "performance.sale_closes_at", |world, at| {
        changed(world, |performance| performance.sale_closes_at = Some(at))
    }),
];

/// What an operator says of a pause's end.
pub const FUTURE: &[Field<Timestamp>] = &[field(
    "AdminService/PauseRoom",
    "resumes_at",
    |world, at| {
        bytes(wire::PauseRoomRequest {
            room_id: world.room.clone(),
            message: None,
            resumes_at: Some(at),
        })
    },
)];

pub const SPANS: &[Field<Duration>] = &[
    field(PERFORMANCE, "performance.hold_ttl", |world, span| {
        changed(world, |performance| performance.hold_ttl = Some(span))
    }),
    field(PERFORMANCE, "performance.hold_total_max", |world, span| {
        changed(world, |performance| performance.hold_total_max = Some(span))
    }),
    field("AdminService/GrantPlace", "ttl", |world, span| {
        bytes(wire::GrantPlaceRequest {
            ttl: Some(span),
            ..grants::grant(&world.room, "alice", "bad")
        })
    }),
    field(
        "QueueService/Watch",
        "min_update_interval",
        |world, span| {
            bytes(wire::WatchRequest {
                place_token: world.place_token.clone(),
                min_update_interval: Some(span),
                ..Default::default()
            })
        },
    ),
    field("QueueService/Watch", "max_duration", |world, span| {
        bytes(wire::WatchRequest {
            place_token: world.place_token.clone(),
            max_duration: Some(span),
            ..Default::default()
        })
    }),
];

/// Each with its own values that cannot be.
pub const NUMBERS: &[(Field<u32>, &[u32])] = &[
    (
        field(
            PERFORMANCE,
            "performance.seats_per_user_max",
            |world, count| changed(world, |performance| performance.seats_per_user_max = count),
        ),
        &[0, 200_001, u32::MAX],
    ),
    (
        field(
            PERFORMANCE,
            "performance.sections.rows.seat_count",
            |world, count| changed(world, |it| it.sections[0].rows[0].seat_count = count),
        ),
        &[0, 1_001, u32::MAX],
    ),
    (
        field(
            "ReservationService/HoldSeats",
            "best_available.count",
            |world, count| {
                let wish = wire::BestAvailable {
                    count,
                    ..Default::default()
                };
                bytes(world::best(&world.performance, wish))
            },
        ),
        &[0, 101, i32::MAX as u32, u32::MAX],
    ),
];

pub const CHOICES: &[Field<i32>] = &[field("CatalogService/ListConcerts", "order", |_, order| {
    bytes(wire::ListConcertsRequest {
        order,
        ..Default::default()
    })
})];

/// Must not be blank.
pub const NAMES: &[Field<String>] = &[
    field(CONCERT, "concert.name", |_, name| {
        changed_concert(|concert| concert.name = name)
    }),
    field(NEW_TEXTS, "concert.name", |world, name| {
        texts(world, |concert| concert.name = name)
    }),
    field(NEW_TERMS, "performance.sections.name", |world, name| {
        terms(world, |it| it.sections[0].name = name)
    }),
    field(PERFORMANCE, "performance.sections.name", |world, name| {
        changed(world, |it| it.sections[0].name = name)
    }),
    field(
        PERFORMANCE,
        "performance.sections.rows.name",
        |world, name| changed(world, |it| it.sections[0].rows[0].name = name),
    ),
    field("AdminService/BlockSeats", "reason", |world, reason| {
        bytes(wire::BlockSeatsRequest {
            reason,
            ..world::block(&world.performance, &[&world.seats[9]])
        })
    }),
    field(
        "AdminService/CancelPerformance",
        "reason",
        |world, reason| {
            bytes(wire::CancelPerformanceRequest {
                reason,
                ..world::call_off(&world.performance, "bad")
            })
        },
    ),
    field("AdminService/GrantPlace", "reason", |world, reason| {
        bytes(wire::GrantPlaceRequest {
            reason,
            ..grants::grant(&world.room, "alice", "bad")
        })
    }),
    field("AdminService/RevokePlace", "reason", |world, reason| {
        bytes(wire::RevokePlaceRequest {
            reason,
            ..grants::revoke(&world.room, "alice", "bad")
        })
    }),
    field("AdminService/CreditWallet", "reason", |_, reason| {
        bytes(wire::CreditWalletRequest {
            reason,
            ..world::credit("alice", Some(euros(1)), "bad")
        })
    }),
    field("AdminService/RefundPayment", "reason", |world, reason| {
        bytes(wire::RefundPaymentRequest {
            reason,
            ..world::refund(&world.payment, "bad")
        })
    }),
];

pub const TEXTS: &[Field<String>] = &[
    field(NEW_TEXTS, "concert.description", |world, text| {
        texts(world, |concert| concert.description = text)
    }),
    field(NEW_TEXTS, "concert.venue", |world, text| {
        texts(world, |concert| concert.venue = text)
    }),
    field(CONCERT, "concert.description", |_, text| {
        changed_concert(|concert| concert.description = text)
    }),
    field(CONCERT, "concert.venue", |_, text| {
        changed_concert(|concert| concert.venue = text)
    }),
    field(
        "ReservationService/HoldSeats",
        "best_available.section",
        |world, text| {
            let wish = wire::BestAvailable {
                count: 1,
                section: Some(text),
                ..Default::default()
            };
            bytes(world::best(&world.performance, wish))
        },
    ),
];

/// Messages and choices that must be there; the world is the same for all.
pub const UNSET: &[Field<()>] = &[
    field("AdminService/GrantPlace", "ttl", |world, ()| {
        bytes(wire::GrantPlaceRequest {
            ttl: None,
            ..grants::grant(&world.room, "alice", "bad")
        })
    }),
    field("AdminService/CreateRoom", "room", |_, ()| {
        bytes(wire::CreateRoomRequest {
            room: None,
            idempotency_key: "bad".to_owned(),
        })
    }),
    field("AdminService/CreateRoom", "room.policy", |_, ()| {
        let mut message = world::new_room(wire::RoomPolicy::default(), "bad");
        message.room.get_or_insert_default().policy = None;
        bytes(message)
    }),
    field("AdminService/UpdateRoom", "room", |world, ()| {
        bytes(wire::UpdateRoomRequest {
            room: None,
            ..world::new_policy(&world.room, wire::RoomPolicy::default())
        })
    }),
    field("AdminService/UpdateRoom", "room.policy", |world, ()| {
        let mut message = world::new_policy(&world.room, wire::RoomPolicy::default());
        message.room.get_or_insert_default().policy = None;
        bytes(message)
    }),
    field("AdminService/UpdateRoom", "update_mask", |world, ()| {
        bytes(wire::UpdateRoomRequest {
            update_mask: None,
            ..world::new_policy(&world.room, wire::RoomPolicy::default())
        })
    }),
    field(CONCERT, "concert", |_, ()| {
        bytes(wire::CreateConcertRequest {
            concert: None,
            idempotency_key: "bad".to_owned(),
        })
    }),
    field(PERFORMANCE, "performance", |_, ()| {
        bytes(wire::CreatePerformanceRequest {
            performance: None,
            idempotency_key: "bad".to_owned(),
        })
    }),
    field(PERFORMANCE, "performance.starts_at", |world, ()| {
        changed(world, |it| it.starts_at = None)
    }),
    field(PERFORMANCE, "performance.sale_opens_at", |world, ()| {
        changed(world, |it| it.sale_opens_at = None)
    }),
    field(PERFORMANCE, "performance.sections", |world, ()| {
        changed(world, |it| it.sections.clear())
    }),
    field(PERFORMANCE, "performance.sections.rows", |world, ()| {
        changed(world, |it| it.sections[0].rows.clear())
    }),
    field(NEW_TEXTS, "concert", |world, ()| {
        bytes(wire::UpdateConcertRequest {
            concert: None,
            ..world::new_texts(&world.concert, concert())
        })
    }),
    field(NEW_TEXTS, "update_mask", |world, ()| {
        bytes(wire::UpdateConcertRequest {
            update_mask: None,
            ..world::new_texts(&world.concert, concert())
        })
    }),
    field(NEW_TERMS, "performance", |world, ()| {
        bytes(wire::UpdatePerformanceRequest {
            performance: None,
            ..world::new_terms(&world.performance, performance(&world.concert, 20))
        })
    }),
    field(NEW_TERMS, "update_mask", |world, ()| {
        bytes(wire::UpdatePerformanceRequest {
            update_mask: None,
            ..world::new_terms(&world.performance, performance(&world.concert, 20))
        })
    }),
    field(NEW_TERMS, "performance.sale_opens_at", |world, ()| {
        terms(world, |it| it.sale_opens_at = None)
    }),
    field(NEW_TERMS, "performance.sections", |world, ()| {
        terms(world, |it| it.sections.clear())
    }),
    field("PaymentService/TopUpWallet", "source", |_, ()| {
        bytes(wire::TopUpWalletRequest {
            source: None,
            ..world::top_up(Some(euros(1)), "bad")
        })
    }),
    field("PaymentService/PayReservation", "method", |world, ()| {
        bytes(wire::PayReservationRequest {
            method: None,
            ..world::pay(&world.held, "bad")
        })
    }),
    field("ReservationService/HoldSeats", "seat_ids", |world, ()| {
        bytes(world::hold(&world.performance, &[], "bad"))
    }),
];
