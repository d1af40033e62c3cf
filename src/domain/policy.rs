//! A room's policy: when it opens, how many it lets in, in which order.

use serde::{Deserialize, Serialize};

use super::ids::ResourceId;
use super::time::UnixMs;

/// Largest `capacity` and `max_waiting` a room may have.
pub const PLACES_MAX: u64 = 100_000_000;
/// Largest `rate`, in activations per second.
pub const RATE_PER_S_MAX: f64 = 100_000.0;

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
    /// Name shown to users; the first lane is where a join without a code goes.
    pub name: String,
    /// Share of the activations, relative to the other non-empty lanes.
    pub weight: u32,
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
            lanes: vec![LanePolicy {
                name: "default".to_owned(),
                weight: 1,
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
        if self.lanes.is_empty() || self.lanes.len() > 16 {
            return refuse("policy.lanes", "must be 1 to 16");
        }
        if self
            .lanes
            .iter()
            .any(|lane| lane.name.is_empty() || lane.weight == 0)
        {
            return refuse(
                "policy.lanes",
                "each needs a name and a weight of at least 1",
            );
        }
        Ok(())
    }
}
