//! SQL as the simulator knows it: the promises of `store::rooms`, in memory.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::domain::ids::{ActivationId, LaneIndex, Number, PlaceKey, UserId};
use crate::domain::place::{EndReason, RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::room::command::{Confirm, DepartedPage, Granted, LaneOpening};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) place: PlaceKey,
    pub(super) user: UserId,
    pub(super) standing: Standing,
    /// Not so for a place that was revoked while it waited.
    pub(super) had_turn: bool,
}

#[derive(Debug)]
pub(super) struct Sql {
    pub(super) epoch: u64,
    pub(super) policy: RoomPolicy,
    pub(super) switches: RoomSwitches,
    /// Of each lane.
    pub(super) reserved_to: Vec<Number>,
    /// Of each lane, once the room is open.
    pub(super) openings: Vec<LaneOpening>,
    pub(super) departed: BTreeSet<PlaceKey>,
    pub(super) rows: BTreeMap<ActivationId, Row>,
    pub(super) row_of: BTreeMap<PlaceKey, ActivationId>,
    /// The lane of each access code, and whose it is.
    pub(super) codes: Vec<(LaneIndex, Option<UserId>)>,
    next_id: u128,
}

impl Sql {
    pub(super) fn new(policy: RoomPolicy, switches: RoomSwitches) -> Self {
        Self {
            epoch: 0,
            reserved_to: vec![0; policy.lanes.len()],
            policy,
            switches,
            openings: Vec::new(),
            codes: Vec::new(),
            departed: BTreeSet::new(),
            rows: BTreeMap::new(),
            row_of: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Rows for granted places; a place that has one keeps it.
    pub(super) fn insert(
        &mut self,
        granted: &[Granted],
        now: UnixMs,
        allow_second: bool,
    ) -> Vec<Confirm> {
        granted
            .iter()
            .map(|granted| {
                if allow_second {
                    self.row_of.remove(&granted.place);
                }
                let id = match self.row_of.get(&granted.place) {
                    Some(id) => *id,
                    None => self.insert_one(granted, now),
                };
                self.confirm(id, now)
            })
            .collect()
    }

    fn insert_one(&mut self, granted: &Granted, now: UnixMs) -> ActivationId {
        let id = self.new_id();
        let standing = match self.policy.claim_window_ms {
            0 => Standing::Active {
                id,
                claimed_at: now,
                expire_time: now.plus_ms(self.policy.pass_ttl_ms),
            },
            window_ms => Standing::Activated {
                id,
                claim_by: now.plus_ms(window_ms),
            },
        };
        self.put(id, granted.place, &granted.user, standing, true);
        id
    }

    fn new_id(&mut self) -> ActivationId {
        self.next_id += 1;
        ActivationId(Uuid::from_u128(self.next_id))
    }

    fn put(
        &mut self,
        id: ActivationId,
        place: PlaceKey,
        user: &UserId,
        standing: Standing,
        had_turn: bool,
    ) {
        self.row_of.insert(place, id);
        let user = user.clone();
        self.rows.insert(
            id,
            Row {
                place,
                user,
                standing,
                had_turn,
            },
        );
    }

    /// An operator's grant: ACTIVE for `ttl_ms`, unless the place had its turn
    /// claimed, or is over.
    pub(super) fn grant(
        &mut self,
        place: PlaceKey,
        user: &UserId,
        ttl_ms: u64,
        now: UnixMs,
    ) -> ActivationId {
        let known = self.row_of.get(&place).copied();
        let id = known.unwrap_or_else(|| self.new_id());
        let active = Standing::Active {
            id,
            claimed_at: now,
            expire_time: now.plus_ms(ttl_ms),
        };
        match known.map(|id| self.rows[&id].standing) {
            None => self.put(id, place, user, active, true),
            Some(Standing::Activated { claim_by, .. }) if now < claim_by => {
                self.put(id, place, user, active, true);
            }
            Some(_) => drop(self.end_if_expired(id, now)),
        }
        id
    }

    /// An operator ends a place, whether it had its turn or not.
    pub(super) fn revoke(&mut self, place: PlaceKey, user: &UserId) -> ActivationId {
        if let Some(id) = self.row_of.get(&place).copied() {
            self.end(id, EndReason::Revoked);
            return id;
        }
        let id = self.new_id();
        self.put(id, place, user, Standing::Ended(EndReason::Revoked), false);
        id
    }

    /// The code's lane, if it is this user's, or is now.
    pub(super) fn redeem(&mut self, code: usize, user: &UserId, again: bool) -> Option<LaneIndex> {
        let (lane, owner) = self.codes.get_mut(code)?;
        if again {
            *owner = None;
        }
        let owner = owner.get_or_insert_with(|| user.clone());
        (owner == user).then_some(*lane)
    }

    /// Rows of a lane that had a turn.
    pub(super) fn served(&self, lane: LaneIndex) -> u64 {
        let of_lane = |row: &&Row| row.place.lane == lane && row.had_turn;
        self.rows.values().filter(of_lane).count() as u64
    }

    pub(super) fn confirm(&self, id: ActivationId, now: UnixMs) -> Confirm {
        let row = &self.rows[&id];
        Confirm {
            place: row.place,
            user: row.user.clone(),
            standing: row.standing,
            remaining_ms: until(row.standing).map_or(0, |until| now.until_ms(until)),
        }
    }

    /// ACTIVATED → ACTIVE inside the window; late ends the row.
    pub(super) fn claim(&mut self, id: ActivationId, now: UnixMs) -> Standing {
        let pass_ttl_ms = self.policy.pass_ttl_ms;
        let Some(row) = self.rows.get_mut(&id) else {
            return Standing::Ended(EndReason::Unclaimed);
        };
        if let Standing::Activated { claim_by, .. } = row.standing {
            row.standing = match now < claim_by {
                true => Standing::Active {
                    id,
                    claimed_at: now,
                    expire_time: now.plus_ms(pass_ttl_ms),
                },
                false => Standing::Ended(EndReason::Unclaimed),
            };
        }
        row.standing
    }

    pub(super) fn end(&mut self, id: ActivationId, reason: EndReason) -> Standing {
        let Some(row) = self.rows.get_mut(&id) else {
            return Standing::Ended(reason);
        };
        if row.standing.is_live() {
            row.standing = Standing::Ended(reason);
        }
        row.standing
    }

    pub(super) fn end_if_expired(&mut self, id: ActivationId, now: UnixMs) -> Standing {
        let Some(row) = self.rows.get(&id) else {
            return Standing::Ended(EndReason::Unclaimed);
        };
        match (row.standing, until(row.standing)) {
            (Standing::Activated { .. }, Some(until)) if now >= until => {
                self.end(id, EndReason::Unclaimed)
            }
            (Standing::Active { .. }, Some(until)) if now >= until => {
                self.end(id, EndReason::PassExpired)
            }
            (standing, _) => standing,
        }
    }

    pub(super) fn live(&self) -> impl Iterator<Item = ActivationId> + '_ {
        self.rows
            .iter()
            .filter(|(_, row)| row.standing.is_live())
            .map(|(id, _)| *id)
    }

    pub(super) fn save(&mut self, pages: &[DepartedPage]) {
        for page in pages {
            let of_lane = |number| PlaceKey {
                lane: page.lane,
                number,
            };
            self.departed.extend(page.numbers().map(of_lane));
        }
    }

    /// The saved bitmap of a lane as pages.
    pub(super) fn pages(&self, lane: LaneIndex) -> Vec<DepartedPage> {
        let mut rank = crate::domain::rank::DepartedRank::new();
        for place in self.departed.iter().filter(|place| place.lane == lane) {
            rank.insert(place.number);
        }
        rank.pages()
            .map(|(page, _)| DepartedPage {
                lane,
                page,
                bits: rank.page_bytes(page),
            })
            .collect()
    }
}

fn until(standing: Standing) -> Option<UnixMs> {
    match standing {
        Standing::Activated { claim_by, .. } => Some(claim_by),
        Standing::Active { expire_time, .. } => Some(expire_time),
        Standing::Waiting | Standing::Ended(_) => None,
    }
}
