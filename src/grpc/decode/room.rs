//! A room as an operator writes it.

use crate::domain::access::{CODES_PER_REQUEST_MAX, LaneCode, RoomAccess};
use crate::domain::ids::LaneIndex;
use crate::domain::policy::{DrawBeacon, LanePolicy, Protects, RoomPolicy, ServingOrder};
use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;

use super::{FieldError, duration_ms, resource_id, resource_ids, text, timestamp};

const CODES: &str = "room.policy.lanes.codes";

/// Longest name of a room, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Paths that `UpdateRoom` may name; `policy` is all of its fields.
pub const ROOM_PATHS: &[&str] = &[
    "name",
    "policy",
    "policy.opens_at",
    "policy.closes_at",
    "policy.order",
    "policy.capacity",
    "policy.rate",
    "policy.pass_ttl",
    "policy.claim_window",
    "policy.absence_grace",
    "policy.max_waiting",
    "policy.access",
    "policy.lanes",
    "policy.protects",
    "policy.required_claims",
    "policy.draw_beacon",
];

/// # Errors
/// Blank, or longer than 200 characters.
pub fn name(field: &'static str, given: &str) -> Result<String, FieldError> {
    if given.trim().is_empty() {
        return Err(FieldError::Missing(field));
    }
    if given.chars().count() > NAME_CHARS_MAX {
        return Err(FieldError::invalid(
            field,
            "must have at most 200 characters",
        ));
    }
    text(field, given)
}

fn span(
    field: &'static str,
    given: Option<prost_types::Duration>,
    default_ms: u64,
) -> Result<u64, FieldError> {
    given.map_or(Ok(default_ms), |given| duration_ms(field, given))
}

fn moment(
    field: &'static str,
    given: Option<prost_types::Timestamp>,
) -> Result<Option<UnixMs>, FieldError> {
    given.map(|given| timestamp(field, given)).transpose()
}

/// A whole policy; what is unset gets its default. Whether the values fit each
/// other is the policy's own business.
///
/// # Errors
/// A malformed field.
pub fn policy(wire: wire::RoomPolicy) -> Result<RoomPolicy, FieldError> {
    let defaults = RoomPolicy::default();
    let order = match wire::RoomOrder::try_from(wire.order) {
        Ok(wire::RoomOrder::Unspecified | wire::RoomOrder::Fifo) => ServingOrder::Fifo,
        Ok(wire::RoomOrder::Draw) => ServingOrder::Draw,
        Err(_) => return Err(unknown_value("room.policy.order")),
    };
    let access = match wire::RoomAccess::try_from(wire.access) {
        Ok(wire::RoomAccess::Unspecified | wire::RoomAccess::Open) => RoomAccess::Open,
        Ok(wire::RoomAccess::Code) => RoomAccess::Code,
        Err(_) => return Err(unknown_value("room.policy.access")),
    };
    Ok(RoomPolicy {
        opens_at: moment("room.policy.opens_at", wire.opens_at)?,
        closes_at: moment("room.policy.closes_at", wire.closes_at)?,
        order,
        capacity: wire.capacity.into(),
        rate_per_s: wire.rate,
        pass_ttl_ms: span("room.policy.pass_ttl", wire.pass_ttl, defaults.pass_ttl_ms)?,
        claim_window_ms: span(
            "room.policy.claim_window",
            wire.claim_window,
            defaults.claim_window_ms,
        )?,
        absence_grace_ms: span(
            "room.policy.absence_grace",
            wire.absence_grace,
            defaults.absence_grace_ms,
        )?,
        max_waiting: wire.max_waiting,
        access,
        lanes: lanes(&wire.lanes, defaults.lanes)?,
        protects: protects(wire.protects.unwrap_or_default())?,
        required_claims: claims(wire.required_claims)?,
        draw_beacon: wire.draw_beacon.map(beacon).transpose()?,
    })
}

fn unknown_value(field: &'static str) -> FieldError {
    FieldError::invalid(field, "is not a value of this version")
}

/// Whether they fit each other is the policy's own business. A weight of 0 was
/// not said: it is 1.
fn lanes(lanes: &[wire::Lane], default: Vec<LanePolicy>) -> Result<Vec<LanePolicy>, FieldError> {
    if lanes.is_empty() {
        return Ok(default);
    }
    let parse = |lane: &wire::Lane| -> Result<LanePolicy, FieldError> {
        Ok(LanePolicy {
            name: resource_id("room.policy.lanes.name", &lane.name)?
                .as_str()
                .to_owned(),
            weight: lane.weight.max(1),
            has_codes: !lane.codes.is_empty(),
        })
    };
    lanes.iter().map(parse).collect()
}

/// The codes that a policy gives. They are no part of it: nobody reads them
/// again.
///
/// # Errors
/// One that cannot be a code, or more than 5,000.
pub fn codes(lanes: &[wire::Lane]) -> Result<Vec<LaneCode>, FieldError> {
    let given: usize = lanes.iter().map(|lane| lane.codes.len()).sum();
    if given > CODES_PER_REQUEST_MAX {
        return Err(FieldError::invalid(CODES, "must be at most 5000"));
    }
    let of_lane = |(lane, of): (LaneIndex, &'_ wire::Lane)| -> Vec<_> {
        let parse = |code: &String| LaneCode::parse(lane, code);
        of.codes.iter().map(parse).collect()
    };
    (0..)
        .zip(lanes)
        .flat_map(of_lane)
        .map(|code| code.map_err(|why| FieldError::invalid(CODES, why.to_string())))
        .collect()
}

fn protects(wire: wire::Protects) -> Result<Protects, FieldError> {
    Ok(Protects {
        concerts: resource_ids("room.policy.protects.concert_ids", &wire.concert_ids)?,
        performances: resource_ids(
            "room.policy.protects.performance_ids",
            &wire.performance_ids,
        )?,
        campaigns: resource_ids("room.policy.protects.campaign_ids", &wire.campaign_ids)?,
    })
}

fn claims(names: Vec<String>) -> Result<Vec<String>, FieldError> {
    const FIELD: &str = "room.policy.required_claims";
    if names.len() > 16 {
        return Err(FieldError::invalid(FIELD, "must be at most 16"));
    }
    names.iter().map(|given| name(FIELD, given)).collect()
}

fn beacon(wire: wire::DrawBeacon) -> Result<DrawBeacon, FieldError> {
    let value = wire.value.filter(|value| !value.is_empty());
    Ok(DrawBeacon {
        description: name("room.policy.draw_beacon.description", &wire.description)?,
        value: value
            .map(|value| text("room.policy.draw_beacon.value", &value))
            .transpose()?,
    })
}

/// Takes the fields a mask names from `next`; the others stay. Lanes that are
/// not said with a whole policy stay too, since none ever goes.
pub fn merge_policy(policy: &mut RoomPolicy, next: RoomPolicy, paths: &[&str], says_lanes: bool) {
    let names = |path: &str| paths.contains(&"policy") || paths.contains(&path);
    let before = std::mem::take(policy);
    let pick = |path: &str| names(path);
    *policy = RoomPolicy {
        opens_at: if pick("policy.opens_at") {
            next.opens_at
        } else {
            before.opens_at
        },
        closes_at: if pick("policy.closes_at") {
            next.closes_at
        } else {
            before.closes_at
        },
        order: if pick("policy.order") {
            next.order
        } else {
            before.order
        },
        capacity: if pick("policy.capacity") {
            next.capacity
        } else {
            before.capacity
        },
        rate_per_s: if pick("policy.rate") {
            next.rate_per_s
        } else {
            before.rate_per_s
        },
        pass_ttl_ms: if pick("policy.pass_ttl") {
            next.pass_ttl_ms
        } else {
            before.pass_ttl_ms
        },
        claim_window_ms: if pick("policy.claim_window") {
            next.claim_window_ms
        } else {
            before.claim_window_ms
        },
        absence_grace_ms: if pick("policy.absence_grace") {
            next.absence_grace_ms
        } else {
            before.absence_grace_ms
        },
        max_waiting: if pick("policy.max_waiting") {
            next.max_waiting
        } else {
            before.max_waiting
        },
        protects: if pick("policy.protects") {
            next.protects
        } else {
            before.protects
        },
        required_claims: if pick("policy.required_claims") {
            next.required_claims
        } else {
            before.required_claims
        },
        draw_beacon: if pick("policy.draw_beacon") {
            next.draw_beacon
        } else {
            before.draw_beacon
        },
        access: if pick("policy.access") {
            next.access
        } else {
            before.access
        },
        lanes: if says_lanes && pick("policy.lanes") {
            keep_coded(next.lanes, &before.lanes)
        } else {
            before.lanes
        },
    };
}

/// A lane has the codes it had, whether more are said or not.
fn keep_coded(mut next: Vec<LanePolicy>, before: &[LanePolicy]) -> Vec<LanePolicy> {
    for (lane, before) in next.iter_mut().zip(before) {
        lane.has_codes |= before.has_codes;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> wire::RoomPolicy {
        wire::RoomPolicy {
            capacity: 10,
            rate: 5.0,
            ..wire::RoomPolicy::default()
        }
    }

    #[test]
    fn unset_fields_of_a_policy_get_their_defaults() {
        let policy = policy(good()).expect("good");
        assert_eq!(policy.validate(), Ok(()));
        assert_eq!(policy.pass_ttl_ms, RoomPolicy::default().pass_ttl_ms);
        assert_eq!((policy.capacity, policy.order), (10, ServingOrder::Fifo));
    }

    #[test]
    fn malformed_policies_are_refused_by_the_field() {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let cases = [
            wire::RoomPolicy { order: 9, ..good() },
            wire::RoomPolicy {
                access: -1,
                ..good()
            },
            wire::RoomPolicy {
                pass_ttl: span(-1),
                ..good()
            },
            wire::RoomPolicy {
                claim_window: span(i64::MAX),
                ..good()
            },
            wire::RoomPolicy {
                opens_at: Some(prost_types::Timestamp {
                    seconds: -1,
                    nanos: 0,
                }),
                ..good()
            },
            wire::RoomPolicy {
                protects: Some(wire::Protects {
                    concert_ids: vec!["a{b}".to_owned()],
                    ..wire::Protects::default()
                }),
                ..good()
            },
            wire::RoomPolicy {
                required_claims: vec![String::new()],
                ..good()
            },
        ];
        for (index, case) in cases.into_iter().enumerate() {
            assert!(policy(case).is_err(), "case {index}");
        }
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let parsed = policy(wire::RoomPolicy { rate, ..good() }).expect("parsed");
            assert!(parsed.validate().is_err(), "{rate}");
        }
    }

    #[test]
    fn a_mask_takes_what_it_names_and_nothing_else() {
        let next = || RoomPolicy {
            capacity: 7,
            rate_per_s: 3.0,
            max_waiting: 9,
            lanes: vec![LanePolicy {
                name: "vip".to_owned(),
                weight: 4,
                has_codes: false,
            }],
            ..RoomPolicy::default()
        };
        let mut one = RoomPolicy::default();
        merge_policy(&mut one, next(), &["name", "policy.capacity"], true);
        assert_eq!(
            one,
            RoomPolicy {
                capacity: 7,
                ..RoomPolicy::default()
            }
        );
        let mut all = RoomPolicy::default();
        merge_policy(&mut all, next(), &["policy"], true);
        assert_eq!(all, next());
        let mut silent = RoomPolicy::default();
        merge_policy(&mut silent, next(), &["policy"], false);
        assert_eq!(silent.lanes, RoomPolicy::default().lanes);
        let mut coded = RoomPolicy::default();
        coded.lanes[0].has_codes = true;
        merge_policy(&mut coded, next(), &["policy"], true);
        assert!(coded.lanes[0].has_codes, "codes are never taken away");
    }
}
