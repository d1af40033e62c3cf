//! A place as its user reads it.

use crate::domain::place::{EndReason, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;
use crate::view::{PlaceReport, PlaceState, WaitRange};

use super::{cursor, duration, timestamp};

#[must_use]
pub fn place_state(state: PlaceState) -> wire::PlaceState {
    match state {
        PlaceState::Scheduled => wire::PlaceState::Scheduled,
        PlaceState::Waiting => wire::PlaceState::Waiting,
        PlaceState::Activated => wire::PlaceState::Activated,
        PlaceState::Active => wire::PlaceState::Active,
        PlaceState::Completed => wire::PlaceState::Completed,
        PlaceState::Expired => wire::PlaceState::Expired,
        PlaceState::Left => wire::PlaceState::Left,
    }
}

#[must_use]
pub fn wait(range: WaitRange) -> wire::WaitEstimate {
    wire::WaitEstimate {
        low: Some(duration(range.low_ms)),
        high: Some(duration(range.high_ms)),
    }
}

#[must_use]
pub fn place(
    room_id: &str,
    policy: &RoomPolicy,
    report: &PlaceReport,
    as_of: UnixMs,
) -> wire::Place {
    let lane = policy.lanes.get(usize::from(report.place.lane));
    wire::Place {
        room_id: room_id.to_owned(),
        lane: lane.map(|lane| lane.name.clone()).unwrap_or_default(),
        number: report.place.number,
        state: place_state(report.state).into(),
        position: report.position,
        waiting_total: report.waiting_total,
        estimated_wait: report.estimated_wait.map(wait),
        activation_id: report.activation_id.map(|id| id.to_string()),
        claim_by: report.claim_by.map(timestamp),
        expire_time: report.expire_time.map(timestamp),
        opens_at: report.opens_at.map(timestamp),
        cursor: Some(cursor(report.cursor)),
        as_of: Some(timestamp(as_of)),
    }
}

/// The end that a store told of a place, for a view that forgot it.
#[must_use]
pub fn known_end(standing: Standing) -> Option<EndReason> {
    match standing {
        Standing::Ended(reason) => Some(reason),
        Standing::Waiting | Standing::Activated { .. } | Standing::Active { .. } => None,
    }
}

/// Raises what a view says to what a store just said: the view may not have
/// heard of an activation yet. Never the other way, since a view read later may
/// know more.
pub fn catch_up(report: &mut PlaceReport, standing: Standing) {
    let (state, id, claim_by, expire_time) = match standing {
        Standing::Activated { id, claim_by } => (PlaceState::Activated, id, Some(claim_by), None),
        Standing::Active {
            id, expire_time, ..
        } => (PlaceState::Active, id, None, Some(expire_time)),
        Standing::Waiting | Standing::Ended(_) => return,
    };
    let is_behind = match report.state {
        PlaceState::Scheduled | PlaceState::Waiting => true,
        PlaceState::Activated => state == PlaceState::Active,
        PlaceState::Active | PlaceState::Completed | PlaceState::Expired | PlaceState::Left => {
            false
        }
    };
    if is_behind {
        *report = PlaceReport {
            state,
            position: None,
            estimated_wait: None,
            activation_id: Some(id),
            claim_by,
            expire_time,
            opens_at: None,
            ..report.clone()
        };
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::{ActivationId, Cursor, PlaceKey};

    fn report(state: PlaceState) -> PlaceReport {
        PlaceReport {
            place: PlaceKey { lane: 0, number: 7 },
            state,
            end: None,
            position: Some(7),
            waiting_total: 9,
            estimated_wait: None,
            activation_id: None,
            claim_by: None,
            expire_time: None,
            opens_at: None,
            cursor: Cursor::default(),
        }
    }

    #[test]
    fn an_activation_the_view_has_not_heard_of_is_told_and_nothing_is_undone() {
        let id = ActivationId(Uuid::from_u128(1));
        let activated = Standing::Activated {
            id,
            claim_by: UnixMs(5),
        };
        let active = Standing::Active {
            id,
            claimed_at: UnixMs(4),
            expire_time: UnixMs(9),
        };
        for (seen, said, told) in [
            (PlaceState::Waiting, Standing::Waiting, PlaceState::Waiting),
            (PlaceState::Waiting, activated, PlaceState::Activated),
            (PlaceState::Activated, active, PlaceState::Active),
            (PlaceState::Active, activated, PlaceState::Active),
            (PlaceState::Completed, active, PlaceState::Completed),
        ] {
            let mut report = report(seen);
            catch_up(&mut report, said);
            assert_eq!(report.state, told);
            let is_raised = seen != told;
            assert_eq!(report.position.is_none(), is_raised);
            assert_eq!(report.activation_id.is_some(), is_raised);
        }
    }
}
