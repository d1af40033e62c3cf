//! A place and a pass, from what store, view and row say together.

use crate::domain::place::{RoomState, Standing};
use crate::keys::pass::PassClaims;
use crate::proto::v1 as wire;
use crate::store::queue::Taken;
use crate::store::rooms::{ActivationRow, RoomRecord};
use crate::view::{PlaceReport, PlaceState};

use super::super::edge::Edge;
use super::super::encode::place::{catch_up, known_end, place};

/// The place a store just answered for, with what the view adds: position,
/// totals, estimate. In an outage it is of its beginning, as on a stream.
#[must_use]
pub fn encode_place(edge: &Edge, record: &RoomRecord, taken: &Taken) -> wire::Place {
    let standing = taken.place.standing;
    let report = edge
        .views
        .get(&record.id)
        .and_then(|cell| cell.read(|view| view?.report(taken.place.key, known_end(standing))));
    let mut report = report.unwrap_or_else(|| without_view(record, taken));
    catch_up(&mut report, standing);
    if edge.engine.is_degraded() {
        report.estimated_wait = None;
    }
    let as_of = edge.hub.degraded_since(&record.id);
    let as_of = as_of.unwrap_or_else(|| edge.now());
    place(record.id.as_str(), &record.policy, &report, as_of)
}

/// All that can be said before there is a view.
fn without_view(record: &RoomRecord, taken: &Taken) -> PlaceReport {
    let is_scheduled = record.switches.state() == RoomState::Scheduled;
    let state = match taken.place.standing {
        Standing::Ended(reason) => reason.state().into(),
        Standing::Waiting | Standing::Activated { .. } | Standing::Active { .. } => {
            if is_scheduled {
                PlaceState::Scheduled
            } else {
                PlaceState::Waiting
            }
        }
    };
    PlaceReport {
        place: taken.place.key,
        state,
        end: known_end(taken.place.standing),
        position: None,
        waiting_total: 0,
        estimated_wait: None,
        activation_id: None,
        claim_by: None,
        expire_time: None,
        opens_at: record.policy.opens_at.filter(|_| is_scheduled),
        cursor: crate::domain::ids::Cursor {
            epoch: record.epoch,
            revision: 0,
        },
    }
}

/// What the pass of an ACTIVE row says: a function of the row alone.
#[must_use]
pub fn pass_of(row: &ActivationRow) -> Option<PassClaims> {
    Some(PassClaims {
        user: row.user.clone(),
        room: row.room.clone(),
        activation: row.id,
        issued_at: row.claimed_at?,
        expire_time: row.expire_time?,
    })
}
