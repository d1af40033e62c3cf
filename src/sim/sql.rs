//! SQL as the simulator knows it: the promises of `store::rooms`, in memory.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::domain::ids::{ActivationId, Number, PlaceKey, UserId};
use crate::domain::place::{EndReason, RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::room::command::{Confirm, DepartedPage, Granted, LaneOpening};
use crate::domain::time::UnixMs;

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) place: PlaceKey,
    pub(super) user: UserId,
    pub(super) standing: Standing,
}

#[derive(Debug)]
pub(super) struct Sql {
    pub(super) epoch: u64,
    pub(super) policy: RoomPolicy,
    pub(super) switches: RoomSwitches,
    pub(super) reserved_to: Number,
    pub(super) opening: Option<LaneOpening>,
    pub(super) departed: BTreeSet<Number>,
    pub(super) rows: BTreeMap<ActivationId, Row>,
    pub(super) row_of: BTreeMap<PlaceKey, ActivationId>,
    next_id: u128,
}

impl Sql {
    pub(super) fn new(policy: RoomPolicy, switches: RoomSwitches) -> Self {
        Self {
            epoch: 0,
            policy,
            switches,
            reserved_to: 0,
            opening: None,
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
        self.next_id += 1;
        let id = ActivationId(Uuid::from_u128(self.next_id));
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
        self.row_of.insert(granted.place, id);
        self.rows.insert(
            id,
            Row {
                place: granted.place,
                user: granted.user.clone(),
                standing,
            },
        );
        id
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
            self.departed.extend(page.numbers());
        }
    }

    /// The saved bitmap as pages.
    pub(super) fn pages(&self) -> Vec<DepartedPage> {
        let mut rank = crate::domain::rank::DepartedRank::new();
        for number in &self.departed {
            rank.insert(*number);
        }
        rank.pages()
            .map(|(page, _)| DepartedPage {
                lane: 0,
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
