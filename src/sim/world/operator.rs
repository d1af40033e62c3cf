//! What operators do to one user, and how people join by a code.

use rand::Rng;
use rand::rngs::SmallRng;

use crate::domain::ids::{ActivationId, LaneIndex, PlaceKey, UserId};
use crate::domain::place::Standing;
use crate::domain::policy::{LanePolicy, RoomPolicy};
use crate::domain::room::command::{Presence, Refusal};
use crate::domain::room::grant::GrantOutcome;

use super::super::node::Work;
use super::super::plant::Plant;
use super::steps::in_use;
use super::{CLIENTS, POLL_AFTER_MS, World, user_of};

/// Fewer than users, so that they are fought for.
const CODES: usize = 8;
/// The lane into which codes lead.
const CODED: LaneIndex = 1;
const GRANT_TTL_MS: u64 = 10_000;

/// Two lanes of random weights.
pub(super) fn with_lanes(policy: RoomPolicy, rng: &mut SmallRng) -> RoomPolicy {
    let mut lane = |name: &str, has_codes| LanePolicy {
        name: name.to_owned(),
        weight: rng.random_range(1..4),
        has_codes,
    };
    RoomPolicy {
        lanes: vec![lane("default", false), lane("coded", true)],
        ..policy
    }
}

impl World {
    pub(super) fn give_codes(&mut self) {
        if self.has_operators {
            self.sql.codes = vec![(CODED, None); CODES];
        }
    }

    pub(super) fn operator_step(&mut self, client: usize, node: usize) {
        match self.rng.random_range(0..10) {
            0..5 => self.join_by_code(client, node),
            5..8 => self.grant(client, node),
            _ => self.revoke(client, node),
        }
    }

    /// As `engine::access` does it: who has a live place is asked for nothing.
    fn join_by_code(&mut self, client: usize, node: usize) {
        self.coverage.count("command: join by code");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        let had = self.take(client, node, None, None, presence);
        if had.is_some() || !self.serve(node) {
            return;
        }
        let code = self.rng.random_range(0..CODES);
        let user = self.clients[client].user.clone();
        let was_theirs = self.sql.codes[code].1.as_ref() == Some(&user);
        let again = self.plant == Some(Plant::CodeRedeemedTwice);
        let lane = self.sql.redeem(code, &user, again);
        self.oracle.code_shown(code, &user, lane.is_some());
        let Some(lane) = lane else {
            return self.coverage.count("code: of another user");
        };
        self.coverage.count(match was_theirs {
            true => "code: shown again",
            false => "code: redeemed",
        });
        if self.rng.random_bool(0.1) {
            return self.coverage.count("fault: crash after redemption");
        }
        let taken = self.take(client, node, None, Some(lane), presence);
        if taken.is_some_and(|taken| taken.place.key.lane == CODED) {
            self.coverage.count("state: in the second lane");
        }
    }

    /// The slot is taken first; the row is written by the node's next work.
    fn grant(&mut self, client: usize, node: usize) {
        self.coverage.count("command: grant place");
        if !self.serve(node) {
            return;
        }
        let user = self.clients[client].user.clone();
        self.plant_capacity(100);
        let granted = self.take_slot(&user);
        self.plant_capacity(0);
        let place = match granted {
            Some(GrantOutcome::Granting(place)) => place,
            Some(GrantOutcome::HasTurn(id)) => {
                self.coverage.count("grant: has its turn");
                self.sql.rows[&id].place
            }
            None => return,
        };
        let sealed = self.queue.as_mut().and_then(|room| room.publish());
        self.publish(sealed);
        self.nodes[node].work.push_back(Work::Grant {
            epoch: self.sql.epoch,
            place,
            user,
            ttl_ms: GRANT_TTL_MS,
        });
    }

    /// [`Plant::GrantBeyondCapacity`]: the queue thinks that it has more.
    fn plant_capacity(&mut self, more: u64) {
        if self.plant == Some(Plant::GrantBeyondCapacity) {
            self.extra_capacity = more;
            self.configure();
        }
    }

    fn take_slot(&mut self, user: &UserId) -> Option<GrantOutcome> {
        let now = self.now;
        let capacity = self.sql.policy.capacity;
        let room = self.queue.as_mut()?;
        let before = (in_use(room), room.find(user).map(|place| place.key));
        let mut granted = room.grant_place(user, 0, now);
        if let Err(Refusal::NumbersExhausted { lane, reserve_to }) = granted {
            let reserved_to = &mut self.sql.reserved_to[usize::from(lane)];
            *reserved_to = reserve_to.max(*reserved_to);
            room.reserve(lane, *reserved_to).ok()?;
            granted = room.grant_place(user, 0, now);
        }
        match granted {
            Ok(GrantOutcome::Granting(place)) if in_use(room) > before.0 => {
                self.handed_out.insert(place);
                self.oracle.slot_granted(room, place.lane, capacity);
                match before.1 {
                    Some(_) => self.coverage.count("grant: waiting place"),
                    None => {
                        self.coverage.count("grant: fresh number");
                        self.oracle.number_issued(place, user);
                    }
                }
            }
            Err(Refusal::NoSlot) => {
                self.coverage.count("grant: no slot");
                self.oracle.check(before.0 >= capacity, "Q14", || {
                    format!("no slot for a grant with {} of {capacity} in use", before.0)
                });
            }
            Ok(_) | Err(_) => {}
        }
        granted.ok()
    }

    pub(super) fn write_grant(
        &mut self,
        node: usize,
        epoch: u64,
        place: PlaceKey,
        user: &UserId,
        ttl_ms: u64,
    ) {
        if epoch != self.sql.epoch {
            return self.coverage.count("node: fenced");
        }
        let id = self.sql.grant(place, user, ttl_ms, self.now);
        self.oracle.rows_written(&self.sql, self.capacity_max);
        let row = self.sql.confirm(id, self.now);
        let is_live = row.standing.is_live();
        let work = &mut self.nodes[node].work;
        work.push_back(Work::Confirm {
            epoch,
            rows: vec![row.clone()],
        });
        match is_live {
            true => work.push_back(Work::FollowClaim { row }),
            false => self.row_ended(node, id),
        }
    }

    /// SQL first; the queue hears of it by the node's next work, or the outbox.
    fn revoke(&mut self, client: usize, node: usize) {
        self.coverage.count("command: revoke place");
        if !self.serve(node) {
            return;
        }
        // Mostly of someone who has a turn.
        let other = (0..CLIENTS)
            .map(|step| (client + step) % CLIENTS)
            .find(|client| self.clients[*client].pass.is_some());
        let client = other.filter(|_| self.rng.random_bool(0.5));
        let client = client.unwrap_or_else(|| self.rng.random_range(0..CLIENTS));
        let user = self.clients[client].user.clone();
        let room = self.queue.as_ref().expect("served");
        let live = room.find(&user).filter(|place| place.standing.is_live());
        let Some(live) = live else {
            return self.coverage.count("revoke: nothing");
        };
        self.coverage.count(match live.standing {
            Standing::Waiting if self.handed_out.contains(&live.key) => "revoke: granting place",
            Standing::Waiting => "revoke: waiting place",
            _ => "revoke: turn",
        });
        let id = self.sql.revoke(live.key, &user);
        if live.standing == Standing::Waiting {
            self.oracle.revoking.insert(live.key);
        }
        let row = self.sql.confirm(id, self.now);
        self.nodes[node].work.push_back(Work::Confirm {
            epoch: self.sql.epoch,
            rows: vec![row],
        });
        self.row_ended(node, id);
        // With what it has, a device goes on trying.
        if let Some(pass) = self.clients[client].pass.clone() {
            let user = user_of(client);
            self.clients[2 * user].pass = Some(pass.clone());
            self.clients[2 * user + 1].pass = Some(pass);
            self.hold(client, node);
        }
    }

    /// Who frees the slot of a revoked place tells the queue first that it is
    /// over: it may wait there still.
    pub(super) fn bring_revoked(&mut self, id: ActivationId) {
        let row = self.sql.confirm(id, self.now);
        let now = self.now;
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        room.confirm(std::slice::from_ref(&row), now);
        self.handed_out.remove(&row.place);
        self.oracle.revoking.remove(&row.place);
        let sealed = self.queue.as_mut().and_then(|room| room.publish());
        self.publish(sealed);
    }
}
