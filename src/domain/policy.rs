//! A room's policy: when it opens, how many it lets in, in which order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::access::RoomAccess;
use super::ids::{LaneIndex, ResourceId};
use super::time::UnixMs;

/// Largest `capacity` and `max_waiting` a room may have.
pub const PLACES_MAX: u64 = 100_000_000;
/// Largest `rate`, in activations per second.
pub const RATE_PER_S_MAX: f64 = 100_000.0;
/// Lanes of one room.
pub const LANES_MAX: usize = 16;
/// Largest weight of a lane.
pub const WEIGHT_MAX: u32 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServingOrder {
    /// By number.
    Fifo,
    /// By a published permutation of the numbers given before opening.
    Draw,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawBeacon {
    /// Which public value will be mixed into the draw; said before the first join.
    pub description: String,
    /// That value; set once, after `open`.
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanePolicy {
    /// Name shown to users; unique in the room, and never changed.
    pub name: String,
    /// Share of the activations, relative to the other non-empty lanes.
    pub weight: u32,
    /// Codes lead into it; who brings none does not join it.
    #[serde(default)]
    pub has_codes: bool,
}

/// What a room guards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Protects {
    pub concerts: Vec<ResourceId>,
    pub performances: Vec<ResourceId>,
    pub campaigns: Vec<ResourceId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomPolicy {
    /// Joins before it are SCHEDULED; fixed once the room has opened.
    pub opens_at: Option<UnixMs>,
    pub closes_at: Option<UnixMs>,
    /// Fixed once a place exists.
    pub order: ServingOrder,
    /// Slots: places active at once. 0 admits nobody.
    pub capacity: u64,
    /// Activations per second, smooth. Holds together with `capacity`.
    pub rate_per_s: f64,
    /// Life of a pass from its claim (from activation without a claim window).
    pub pass_ttl_ms: u64,
    /// Time to answer an activation; 0: none needed.
    pub claim_window_ms: u64,
    /// How long an absent place keeps its order.
    pub absence_grace_ms: u64,
    /// Places waiting at most; a returning place is never refused. 0: no limit.
    pub max_waiting: u64,
    #[serde(default)]
    pub access: RoomAccess,
    /// At least one.
    pub lanes: Vec<LanePolicy>,
    pub protects: Protects,
    /// Claims a user token must carry.
    pub required_claims: Vec<String>,
    pub draw_beacon: Option<DrawBeacon>,
}

impl Default for RoomPolicy {
    fn default() -> Self {
        Self {
            opens_at: None,
            closes_at: None,
            order: ServingOrder::Fifo,
            capacity: 100,
            rate_per_s: 10.0,
            pass_ttl_ms: 300_000,
            claim_window_ms: 30_000,
            absence_grace_ms: 120_000,
            max_waiting: 0,
            access: RoomAccess::Open,
            lanes: vec![LanePolicy {
                name: "default".to_owned(),
                weight: 1,
                has_codes: false,
            }],
            protects: Protects::default(),
            required_claims: Vec::new(),
            draw_beacon: None,
        }
    }
}

/// A field of a policy that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct PolicyError {
    /// Path of the field as the API names it.
    pub field: &'static str,
    pub why: &'static str,
}

impl RoomPolicy {
    /// # Errors
    /// The first field that cannot be, with the reason.
    pub fn validate(&self) -> Result<(), PolicyError> {
        const DAY_MS: u64 = 86_400_000;
        let refuse = |field, why| Err(PolicyError { field, why });
        if self.capacity > PLACES_MAX {
            return refuse("policy.capacity", "must be at most 100000000");
        }
        if self.max_waiting > PLACES_MAX {
            return refuse("policy.max_waiting", "must be at most 100000000");
        }
        if !self.rate_per_s.is_finite()
            || self.rate_per_s <= 0.0
            || self.rate_per_s > RATE_PER_S_MAX
        {
            return refuse(
                "policy.rate",
                "must be more than 0 and at most 100000 per second",
            );
        }
        if self.pass_ttl_ms < 1_000 || self.pass_ttl_ms > DAY_MS {
            return refuse("policy.pass_ttl", "must be between 1 s and 24 h");
        }
        if self.claim_window_ms > DAY_MS {
            return refuse("policy.claim_window", "must be at most 24 h");
        }
        if self.absence_grace_ms < 1_000 || self.absence_grace_ms > DAY_MS {
            return refuse("policy.absence_grace", "must be between 1 s and 24 h");
        }
        if let (Some(opens), Some(closes)) = (self.opens_at, self.closes_at)
            && closes <= opens
        {
            return refuse("policy.closes_at", "must be after opens_at");
        }
        if self.order == ServingOrder::Draw && self.opens_at.is_none() {
            return refuse("policy.opens_at", "a DRAW room needs a time of opening");
        }
        if self.order == ServingOrder::Fifo && self.draw_beacon.is_some() {
            return refuse("policy.draw_beacon", "only a DRAW room has a beacon");
        }
        self.validate_lanes()
    }

    fn validate_lanes(&self) -> Result<(), PolicyError> {
        let refuse = |field, why| Err(PolicyError { field, why });
        if self.lanes.is_empty() || self.lanes.len() > LANES_MAX {
            return refuse("policy.lanes", "must be 1 to 16");
        }
        let mut names = BTreeSet::new();
        if !self.lanes.iter().all(|lane| names.insert(&lane.name)) {
            return refuse("policy.lanes.name", "must be unique in the room");
        }
        let is_named = |lane: &LanePolicy| ResourceId::parse(&lane.name).is_ok();
        if !self.lanes.iter().all(is_named) {
            return refuse(
                "policy.lanes.name",
                "must be 1 to 64 letters, digits, '_' and '-'",
            );
        }
        let has_weight = |lane: &LanePolicy| (1..=WEIGHT_MAX).contains(&lane.weight);
        if !self.lanes.iter().all(has_weight) {
            return refuse("policy.lanes.weight", "must be 1 to 10000");
        }
        if self.access == RoomAccess::Open && self.lane_without_codes().is_none() {
            return refuse("policy.lanes", "of an OPEN room: one must be without codes");
        }
        Ok(())
    }

    /// Where who brings no code joins.
    #[must_use]
    pub fn lane_without_codes(&self) -> Option<LaneIndex> {
        (0..)
            .zip(&self.lanes)
            .find(|(_, lane)| !lane.has_codes)
            .map(|(index, _)| index)
    }

    /// Where an operator's grant of a new place goes.
    #[must_use]
    pub fn default_lane(&self) -> LaneIndex {
        self.lane_without_codes().unwrap_or(0)
    }

    /// Whether `next` is these lanes, perhaps with other weights, and perhaps
    /// more behind them: a place never changes lane, and its lane's name is
    /// part of a draw.
    #[must_use]
    pub fn lanes_continue_in(&self, next: &Self) -> bool {
        let names = |policy: &Self| -> Vec<String> {
            policy.lanes.iter().map(|lane| lane.name.clone()).collect()
        };
        names(next).starts_with(&names(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(given: &[(&str, u32)]) -> RoomPolicy {
        let lane = |&(name, weight): &(&str, u32)| LanePolicy {
            name: name.to_owned(),
            weight,
            has_codes: false,
        };
        RoomPolicy {
            lanes: given.iter().map(lane).collect(),
            ..RoomPolicy::default()
        }
    }

    #[test]
    fn lanes_have_unique_names_and_a_weight() {
        assert_eq!(lanes(&[("a", 1), ("b", WEIGHT_MAX)]).validate(), Ok(()));
        let long = "x".repeat(65);
        for (bad, field) in [
            (lanes(&[]), "policy.lanes"),
            (lanes(&[("a", 1); 17]), "policy.lanes"),
            (lanes(&[("a", 1), ("a", 2)]), "policy.lanes.name"),
            (lanes(&[("a", 1), ("", 1)]), "policy.lanes.name"),
            (lanes(&[("two words", 1)]), "policy.lanes.name"),
            (lanes(&[(&long, 1)]), "policy.lanes.name"),
            (lanes(&[("a", 0)]), "policy.lanes.weight"),
            (lanes(&[("a", WEIGHT_MAX + 1)]), "policy.lanes.weight"),
        ] {
            let refused = bad.validate().map_err(|error| error.field);
            assert_eq!(refused, Err(field), "{:?}", bad.lanes);
        }
    }

    #[test]
    fn who_brings_no_code_joins_the_first_lane_without() {
        let mut policy = lanes(&[("vip", 1), ("rest", 1), ("more", 1)]);
        assert_eq!(policy.default_lane(), 0);
        policy.lanes[0].has_codes = true;
        assert_eq!(policy.lane_without_codes(), Some(1));
        policy.lanes[1].has_codes = true;
        policy.lanes[2].has_codes = true;
        assert_eq!(policy.lane_without_codes(), None);
        let field = policy.validate().map_err(|error| error.field);
        assert_eq!(field, Err("policy.lanes"), "nobody could join without");
        policy.access = RoomAccess::Code;
        assert_eq!(policy.validate(), Ok(()));
        assert_eq!(policy.default_lane(), 0);
    }

    #[test]
    fn lanes_are_appended_and_never_renamed() {
        let now = lanes(&[("a", 1), ("b", 1)]);
        for (next, goes_on) in [
            (lanes(&[("a", 1), ("b", 1)]), true),
            (lanes(&[("a", 5), ("b", 1), ("c", 1)]), true),
            (lanes(&[("a", 1)]), false),
            (lanes(&[("b", 1), ("a", 1)]), false),
            (lanes(&[("a", 1), ("x", 1)]), false),
        ] {
            assert_eq!(now.lanes_continue_in(&next), goes_on, "{:?}", next.lanes);
        }
    }
}
