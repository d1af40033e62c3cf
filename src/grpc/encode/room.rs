//! Rooms, and their policies in public.

use crate::domain::access::RoomAccess;
use crate::domain::draw::commitment;
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::proto::v1 as wire;
use crate::store::rooms::RoomRecord;

use super::{duration, timestamp};

/// A policy as anyone may see it: without access codes.
#[must_use]
pub fn policy(policy: &RoomPolicy) -> wire::RoomPolicy {
    let texts = |ids: &[crate::domain::ids::ResourceId]| {
        ids.iter().map(|id| id.as_str().to_owned()).collect()
    };
    let order = match policy.order {
        ServingOrder::Fifo => wire::RoomOrder::Fifo,
        ServingOrder::Draw => wire::RoomOrder::Draw,
    };
    wire::RoomPolicy {
        opens_at: policy.opens_at.map(timestamp),
        closes_at: policy.closes_at.map(timestamp),
        order: order.into(),
        capacity: u32::try_from(policy.capacity).unwrap_or(u32::MAX),
        rate: policy.rate_per_s,
        pass_ttl: Some(duration(policy.pass_ttl_ms)),
        claim_window: Some(duration(policy.claim_window_ms)),
        absence_grace: Some(duration(policy.absence_grace_ms)),
        max_waiting: policy.max_waiting,
        access: match policy.access {
            RoomAccess::Open => wire::RoomAccess::Open,
            RoomAccess::Code => wire::RoomAccess::Code,
        }
        .into(),
        lanes: policy
            .lanes
            .iter()
            .map(|lane| wire::Lane {
                name: lane.name.clone(),
                weight: lane.weight,
                codes: Vec::new(),
            })
            .collect(),
        protects: Some(wire::Protects {
            concert_ids: texts(&policy.protects.concerts),
            performance_ids: texts(&policy.protects.performances),
            campaign_ids: texts(&policy.protects.campaigns),
        }),
        required_claims: policy.required_claims.clone(),
        draw_beacon: policy.draw_beacon.as_ref().map(beacon),
    }
}

fn beacon(beacon: &crate::domain::policy::DrawBeacon) -> wire::DrawBeacon {
    wire::DrawBeacon {
        description: beacon.description.clone(),
        value: beacon.value.clone(),
    }
}

/// What is public of a draw: the commitment from the beginning, the secret once
/// the order is fixed (N told, and the beacon's value if there is a beacon).
#[must_use]
pub fn draw(record: &RoomRecord) -> Option<wire::Draw> {
    let draw = record.draw.as_ref()?;
    let beacon_policy = record.policy.draw_beacon.as_ref();
    let is_drawn =
        !draw.participants.is_empty() && beacon_policy.is_none_or(|beacon| beacon.value.is_some());
    let participants = record.policy.lanes.iter().zip(&draw.participants);
    Some(wire::Draw {
        commitment: commitment(&draw.secret).to_vec(),
        participants: participants
            .map(|(lane, count)| wire::DrawParticipants {
                lane: lane.name.clone(),
                count: *count,
            })
            .collect(),
        beacon: beacon_policy.map(beacon),
        secret: is_drawn.then(|| draw.secret.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RoomId;
    use crate::domain::place::RoomSwitches;
    use crate::domain::policy::DrawBeacon;
    use crate::domain::time::UnixMs;
    use crate::store::rooms::DrawRecord;

    fn drawn(value: Option<&str>, participants: Vec<u64>) -> RoomRecord {
        RoomRecord {
            id: RoomId::parse("room").expect("room"),
            display_name: "Room".to_owned(),
            epoch: 1,
            version: 1,
            policy: RoomPolicy {
                order: ServingOrder::Draw,
                draw_beacon: Some(DrawBeacon {
                    description: "tomorrow's lottery".to_owned(),
                    value: value.map(str::to_owned),
                }),
                ..RoomPolicy::default()
            },
            switches: RoomSwitches::default(),
            draw: Some(DrawRecord {
                secret: [7; 32],
                participants,
            }),
            created_at: UnixMs(1),
        }
    }

    #[test]
    fn the_secret_of_a_draw_stays_one_until_the_order_is_fixed() {
        for (record, is_public) in [
            (drawn(None, vec![]), false),
            (drawn(None, vec![10]), false),
            (drawn(Some("42"), vec![]), false),
            (drawn(Some("42"), vec![10]), true),
        ] {
            let draw = draw(&record).expect("a draw");
            assert_eq!(draw.secret.is_some(), is_public);
            assert_eq!(draw.commitment.len(), 32);
        }
    }
}
