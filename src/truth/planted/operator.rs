//! Faults of what operators do: grants, revocations, access codes.

use uuid::Uuid;

use crate::domain::ids::{ActivationId, PlaceKey};
use crate::truth::history::{AdminOp, Answer, History, Op, PlaceState, QueueOp};

use super::clean::{PASS_TTL_MS, room, user};
use super::edit::{copy_after, first};
use super::queue::{activation, is_join, joined};
use super::sale::{another_hold, is_hold};

/// With the capacity in use, a guest is let in as well: in a lane of their own,
/// so that no number is out of order.
pub(super) fn grant_beyond_capacity(history: &mut History) {
    let (told, _) = activation(history, "u3");
    let at_ms = history.records[told].returned_ms;
    let id = ActivationId(Uuid::from_u128(777));
    let place = PlaceKey { lane: 1, number: 1 };
    let join = first(history, "u3", is_join);
    let seen_at = history.records[told].invoked_ms;
    let mut guest = history.records[join].clone();
    guest.user = user("guest");
    guest.client = "tab-guest".to_owned();
    (guest.invoked_ms, guest.returned_ms) = (at_ms + 3, at_ms + 4);
    let seen = joined(&mut guest.op);
    (seen.place, seen.state, seen.position) = (place, PlaceState::Active, None);
    seen.activation_id = Some(id);
    seen.expire_ms = Some(at_ms + PASS_TTL_MS);
    seen.as_of_ms = seen_at;
    copy_after(history, told, 1, |copy| {
        copy.user = user("admin");
        copy.op = Op::Admin(AdminOp::GrantPlace {
            room: room(),
            user: user("guest"),
            answer: Answer::Ok((place, id)),
        });
    });
    history.records.insert(told + 2, guest);
}

pub(super) fn code_redeemed_twice(history: &mut History) {
    for who in ["u3", "u6"] {
        let index = first(history, who, is_join);
        if let Op::Queue(QueueOp::Join { code, .. }) = &mut history.records[index].op {
            *code = Some("only-one".to_owned());
        }
    }
}

/// Between its hold and its end the pass is revoked, and holds again.
pub(super) fn revoked_pass_holds(history: &mut History) {
    let held = first(history, "u7", is_hold);
    copy_after(history, held, 200, |copy| {
        another_hold(&mut copy.op, copy.returned_ms);
    });
    copy_after(history, held, 100, |copy| {
        copy.user = user("admin");
        copy.op = Op::Admin(AdminOp::RevokePlace {
            room: room(),
            user: user("u7"),
            answer: Answer::Ok(()),
        });
    });
}
