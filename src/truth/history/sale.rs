//! Records of seats and money.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivationId, IdempotencyKey, ResourceId};

use super::Answer;

/// Money in minor units of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Amount {
    /// ISO 4217.
    pub currency: String,
    pub minor: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    Held,
    Confirmed,
    Released,
    Expired,
    Cancelled,
}

/// A `Reservation` of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationSeen {
    pub id: ResourceId,
    pub seats: Vec<ResourceId>,
    pub total: Amount,
    pub state: ReservationState,
    pub hold_expire_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    Pending,
    Succeeded,
    Declined,
    Refunding,
    Refunded,
}

impl PaymentState {
    /// The money was taken, whatever happened to it since.
    #[must_use]
    pub fn is_captured(self) -> bool {
        matches!(self, Self::Succeeded | Self::Refunding | Self::Refunded)
    }
}

/// A `Payment` of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSeen {
    pub id: ResourceId,
    pub reservation: ResourceId,
    /// From the wallet; else from a gateway.
    pub from_wallet: bool,
    pub amount: Amount,
    pub state: PaymentState,
}

/// Which seats a hold asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Seats(Vec<ResourceId>),
    BestAvailable { count: u64 },
}

/// What a buyer did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaleOp {
    Hold {
        performance: ResourceId,
        wanted: Wanted,
        key: IdempotencyKey,
        /// The activation of the pass that was shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<ActivationId>,
        answer: Answer<ReservationSeen>,
    },
    Extend {
        reservation: ResourceId,
        answer: Answer<ReservationSeen>,
    },
    GetReservation {
        reservation: ResourceId,
        answer: Answer<ReservationSeen>,
    },
    /// Frees all seats of a reservation and refunds what was paid.
    Cancel {
        reservation: ResourceId,
        key: IdempotencyKey,
        answer: Answer<ReservationSeen>,
    },
    Pay {
        reservation: ResourceId,
        from_wallet: bool,
        key: IdempotencyKey,
        answer: Answer<PaymentSeen>,
    },
    GetPayment {
        payment: ResourceId,
        answer: Answer<PaymentSeen>,
    },
    TopUp {
        amount: Amount,
        key: IdempotencyKey,
        /// The entry's id.
        answer: Answer<ResourceId>,
    },
    GetWallet {
        /// The balance.
        answer: Answer<Amount>,
    },
}
