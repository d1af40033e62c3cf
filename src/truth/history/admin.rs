//! Records of operators: what the checkers must know about rooms and sales.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivationId, IdempotencyKey, PlaceKey, ResourceId, RoomId, UserId};
use crate::domain::policy::ServingOrder;

use super::{Amount, Answer, PaymentSeen};

/// The part of a room's policy that clients can hold it to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub order: ServingOrder,
    pub capacity: u64,
    pub rate_per_s: f64,
    pub pass_ttl_ms: u64,
    pub claim_window_ms: u64,
}

/// What is sold, and where its pass comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    pub id: ResourceId,
    /// The room that protects it; none: no pass needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// Seats one user may hold or own at once; 0: no limit.
    pub seats_per_user_max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomSwitch {
    Pause,
    Resume,
    Close,
}

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminOp {
    /// A room was created, or its policy changed.
    ConfigureRoom {
        room: RoomId,
        policy: Policy,
        answer: Answer<()>,
    },
    SwitchRoom {
        room: RoomId,
        switch: RoomSwitch,
        answer: Answer<()>,
    },
    /// A performance was created, or is known from a seed.
    DescribePerformance { performance: Performance },
    /// A place was activated out of turn.
    GrantPlace {
        room: RoomId,
        user: UserId,
        answer: Answer<(PlaceKey, ActivationId)>,
    },
    RevokePlace {
        room: RoomId,
        user: UserId,
        answer: Answer<()>,
    },
    CreditWallet {
        user: UserId,
        amount: Amount,
        key: IdempotencyKey,
        /// The entry's id.
        answer: Answer<ResourceId>,
    },
    RefundPayment {
        user: UserId,
        payment: ResourceId,
        amount: Amount,
        key: IdempotencyKey,
        answer: Answer<PaymentSeen>,
    },
    CancelPerformance {
        performance: ResourceId,
        answer: Answer<()>,
    },
}
