//! What a room tells its readers: one [`RoomDelta`] per revision, and a
//! [`RoomSnapshot`] that replaces all deltas up to its cursor.
//!
//! A delta's size follows what happened, never how many wait. A pass is never
//! in it: each node signs its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{ActivationId, Cursor, LaneIndex, Number, Order, PlaceKey};
use super::place::{EndReason, RoomSwitches, Standing};
use super::policy::RoomPolicy;
use super::rank::DepartedRank;
use super::time::UnixMs;

/// Facts every reader needs about a room, repeated in each delta: they are few.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomFacts {
    pub switches: RoomSwitches,
    pub opens_at: Option<UnixMs>,
    /// Activation rests until the line had time to come back after a loss.
    pub rebuilding: bool,
    pub capacity: u64,
    /// In effect now: the policy's, or less while the sale is strained.
    pub rate_per_s: f64,
    pub pass_ttl_ms: u64,
    pub claim_window_ms: u64,
    /// Each lane's weight.
    #[serde(default)]
    pub lane_weights: Vec<u32>,
    /// `granting` + ACTIVATED + ACTIVE.
    pub slots_in_use: u64,
    /// Filled once the room is CLOSED: the places whose activation is being
    /// written. Every other waiting place of a closed room is over.
    pub granting: Vec<PlaceKey>,
}

impl RoomFacts {
    /// What a policy and its switches say; the room adds what only it knows.
    #[must_use]
    pub fn configured(policy: &RoomPolicy, switches: &RoomSwitches) -> Self {
        Self {
            switches: switches.clone(),
            opens_at: policy.opens_at,
            rebuilding: false,
            capacity: policy.capacity,
            rate_per_s: policy.rate_per_s,
            pass_ttl_ms: policy.pass_ttl_ms,
            claim_window_ms: policy.claim_window_ms,
            lane_weights: policy.lanes.iter().map(|lane| lane.weight).collect(),
            slots_in_use: 0,
            granting: Vec::new(),
        }
    }
}

/// How a DRAW lane's numbers were ordered at opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawOrder {
    /// Numbers drawn: 1…n; larger ones stand behind them in order of number.
    pub n: u64,
    pub seed: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneDelta {
    pub lane: LaneIndex,
    /// Every order below it has departed.
    pub head: Order,
    /// Highest number issued.
    pub tail: Number,
    /// Orders that no longer wait since the last delta. Before a DRAW opens
    /// they are numbers; so they are in the delta that first carries `draw`.
    pub departed: Vec<Order>,
    /// Set in the delta of the opening, and in every one after it.
    pub draw: Option<DrawOrder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceEnded {
    pub place: PlaceKey,
    pub activation_id: Option<ActivationId>,
    pub reason: EndReason,
    /// Set with [`EndReason::Merged`]: the user's surviving place.
    pub survivor: Option<PlaceKey>,
}

/// Everything that happened between two revisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomDelta {
    pub cursor: Cursor,
    /// By the server's clock. Activations are published as soon as their rows
    /// are committed, other changes up to a tick later.
    pub published_at: UnixMs,
    pub facts: RoomFacts,
    pub lanes: Vec<LaneDelta>,
    /// Became absent: a node that still has a stream of one answers `present`.
    pub absent: Vec<PlaceKey>,
    /// New ACTIVATED or ACTIVE places.
    pub activated: Vec<(PlaceKey, Standing)>,
    /// ACTIVATED places that became ACTIVE.
    pub claimed: Vec<(PlaceKey, Standing)>,
    pub ended: Vec<PlaceEnded>,
}

#[derive(Debug, Clone)]
pub struct LaneSnapshot {
    pub lane: LaneIndex,
    pub head: Order,
    pub tail: Number,
    pub draw: Option<DrawOrder>,
    /// Departed *numbers*, as they are stored; a reader of an opened DRAW maps
    /// them to orders.
    pub departed_numbers: DepartedRank,
}

/// The whole current state of a room, for a reader that starts or has a gap.
#[derive(Debug, Clone)]
pub struct RoomSnapshot {
    pub cursor: Cursor,
    pub policy: Arc<RoomPolicy>,
    pub facts: RoomFacts,
    pub lanes: Vec<LaneSnapshot>,
    /// ACTIVATED and ACTIVE places.
    pub live: Vec<(PlaceKey, Standing)>,
}
