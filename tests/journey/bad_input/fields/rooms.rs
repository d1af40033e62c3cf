//! What operators write of a room. A policy's fields are those of both
//! `CreateRoom` and `UpdateRoom`.

use prost_types::{Duration, Timestamp};
use usher::proto::v1 as wire;

use super::super::world::{self, World};
use super::{Field, bytes, field};
use crate::coupons::campaign;
use crate::sale::{concert, performance, policy};

/// A change of one field of a policy.
pub struct PolicyField<T> {
    pub path: &'static str,
    pub change: fn(&mut wire::RoomPolicy, T),
}

impl<T> PolicyField<T> {
    /// The two RPCs with this field.
    pub fn messages(&self, world: &World, value: T) -> [(&'static str, Vec<u8>); 2] {
        let mut changed = policy();
        (self.change)(&mut changed, value);
        [
            (
                "AdminService/CreateRoom",
                bytes(world::new_room(changed.clone(), "bad")),
            ),
            (
                "AdminService/UpdateRoom",
                bytes(world::new_policy(&world.room, changed)),
            ),
        ]
    }
}

const fn of<T>(path: &'static str, change: fn(&mut wire::RoomPolicy, T)) -> PolicyField<T> {
    PolicyField { path, change }
}

pub const MOMENTS: &[PolicyField<Timestamp>] = &[
    of("room.policy.opens_at", |policy, at| {
        policy.opens_at = Some(at)
    }),
    of("room.policy.closes_at", |policy, at| {
        policy.closes_at = Some(at)
    }),
];

pub const SPANS: &[PolicyField<Duration>] = &[
    of("room.policy.pass_ttl", |policy, span| {
        policy.pass_ttl = Some(span)
    }),
    of("room.policy.claim_window", |policy, span| {
        policy.claim_window = Some(span)
    }),
    of("room.policy.absence_grace", |policy, span| {
        policy.absence_grace = Some(span)
    }),
];

/// Each with its own values that cannot be.
pub const NUMBERS: &[(PolicyField<f64>, &[f64])] = &[
    (
        of("room.policy.rate", |policy, rate| policy.rate = rate),
        &[
            0.0,
            -0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e9,
        ],
    ),
    (
        of("room.policy.capacity", |policy, n| {
            policy.capacity = n as u32
        }),
        &[100_000_001.0, u32::MAX as f64],
    ),
    (
        of("room.policy.max_waiting", |policy, n| {
            policy.max_waiting = n as u64
        }),
        &[100_000_001.0, u64::MAX as f64],
    ),
    // 0 was not said, and is taken as 1.
    (
        of("room.policy.lanes.weight", |policy, n| {
            policy.lanes = vec![wire::Lane {
                name: "default".to_owned(),
                weight: n as u32,
                codes: Vec::new(),
            }];
        }),
        &[10_001.0, u32::MAX as f64],
    ),
];

pub const CHOICES: &[PolicyField<i32>] = &[
    of("room.policy.order", |policy, value| policy.order = value),
    of("room.policy.access", |policy, value| policy.access = value),
];

pub const TARGETS: &[PolicyField<String>] = &[
    of("room.policy.protects.concert_ids", |policy, id| {
        policy.protects.get_or_insert_default().concert_ids.push(id);
    }),
    of("room.policy.protects.performance_ids", |policy, id| {
        policy
            .protects
            .get_or_insert_default()
            .performance_ids
            .push(id);
    }),
    of("room.policy.protects.campaign_ids", |policy, id| {
        policy
            .protects
            .get_or_insert_default()
            .campaign_ids
            .push(id);
    }),
];

/// Must not be blank.
pub const NAMES: &[PolicyField<String>] = &[
    of("room.policy.lanes.name", |policy, name| {
        policy.lanes = vec![wire::Lane {
            name,
            weight: 1,
            codes: Vec::new(),
        }];
    }),
    of("room.policy.lanes.codes", |policy, code| {
        let lane = |name: &str, codes| wire::Lane {
            name: name.to_owned(),
            weight: 1,
            codes,
        };
        policy.lanes = vec![lane("default", Vec::new()), lane("vip", vec![code])];
    }),
    of("room.policy.required_claims", |policy, claim| {
        policy.required_claims = vec![claim]
    }),
    of(
        "room.policy.draw_beacon.description",
        |policy, description| {
            policy.draw_beacon = Some(wire::DrawBeacon {
                description,
                value: None,
            });
        },
    ),
];

pub const TEXTS: &[PolicyField<String>] =
    &[of("room.policy.draw_beacon.value", |policy, value| {
        policy.draw_beacon = Some(wire::DrawBeacon {
            description: "a lottery".to_owned(),
            value: Some(value),
        });
    })];

/// Must not be blank.
pub const ROOM_NAMES: &[Field<String>] = &[
    field("AdminService/CreateRoom", "room.name", |_, name| {
        let mut message = world::new_room(policy(), "bad");
        message.room.get_or_insert_default().name = name;
        bytes(message)
    }),
    field("AdminService/UpdateRoom", "room.name", |world, name| {
        let mut message = world::new_policy(&world.room, policy());
        message.room.get_or_insert_default().name = name;
        bytes(message)
    }),
];

/// What the line is told.
pub const MESSAGES: &[Field<String>] = &[
    field("AdminService/PauseRoom", "message", |world, text| {
        bytes(wire::PauseRoomRequest {
            room_id: world.room.clone(),
            message: Some(text),
            resumes_at: None,
        })
    }),
    field("AdminService/ResumeRoom", "message", |world, text| {
        bytes(wire::ResumeRoomRequest {
            room_id: world.room.clone(),
            message: Some(text),
        })
    }),
    field("AdminService/CloseRoom", "message", |world, text| {
        bytes(wire::CloseRoomRequest {
            room_id: world.room.clone(),
            message: Some(text),
        })
    }),
];

pub const MASKS: &[Field<Vec<String>>] = &[
    field("AdminService/UpdateRoom", "update_mask", |world, paths| {
        bytes(wire::UpdateRoomRequest {
            update_mask: Some(prost_types::FieldMask { paths }),
            ..world::new_policy(&world.room, policy())
        })
    }),
    field(
        "AdminService/UpdateConcert",
        "update_mask",
        |world, paths| {
            bytes(wire::UpdateConcertRequest {
                update_mask: Some(prost_types::FieldMask { paths }),
                ..world::new_texts(&world.concert, concert())
            })
        },
    ),
    field(
        "AdminService/UpdateCampaign",
        "update_mask",
        |world, paths| {
            bytes(wire::UpdateCampaignRequest {
                update_mask: Some(prost_types::FieldMask { paths }),
                ..world::new_stock(&world.campaign, campaign(5))
            })
        },
    ),
    field(
        "AdminService/UpdatePerformance",
        "update_mask",
        |world, paths| {
            bytes(wire::UpdatePerformanceRequest {
                update_mask: Some(prost_types::FieldMask { paths }),
                ..world::new_terms(&world.performance, performance(&world.concert, 20))
            })
        },
    ),
];

pub const ETAGS: &[Field<String>] = &[
    field("AdminService/UpdateRoom", "etag", |world, etag| {
        bytes(wire::UpdateRoomRequest {
            etag,
            ..world::new_policy(&world.room, policy())
        })
    }),
    field("AdminService/UpdateConcert", "etag", |world, etag| {
        bytes(wire::UpdateConcertRequest {
            etag,
            ..world::new_texts(&world.concert, concert())
        })
    }),
    field("AdminService/UpdateCampaign", "etag", |world, etag| {
        bytes(wire::UpdateCampaignRequest {
            etag,
            ..world::new_stock(&world.campaign, campaign(5))
        })
    }),
    field("AdminService/UpdatePerformance", "etag", |world, etag| {
        bytes(wire::UpdatePerformanceRequest {
            etag,
            ..world::new_terms(&world.performance, performance(&world.concert, 20))
        })
    }),
];
