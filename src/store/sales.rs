//! The seam to what is sold: the catalog, holds, money, and their audit.
//!
//! Promises of every implementation, held by `store::sales::conformance`:
//! - Each method is one transaction, durable when it answers `Ok`, that runs to
//!   its end even if the caller goes away. A refusal changed nothing; after
//!   [`SalesError::Unavailable`] it may have happened, and the same key tells.
//! - A command with a [`Once`] has one effect per `(user, command, key)`: a
//!   repeat gets the answer first given, before anything else is checked. The
//!   key is kept for 24 hours, in the transaction of the effect; refusals are
//!   not kept.
//! - A seat has at most one live hold and at most one live ticket, for ever.
//! - A hold is live while its expiry is later than the database's clock; nobody
//!   can use an expired one, whether it was swept or not.
//! - All seats of a request or none; the price is the one of the hold.
//! - Where a room protects the performance, a hold commits only if its
//!   activation is ACTIVE at that moment.
//! - The ledger sums to zero per currency, and no wallet is ever below zero.
//! - Payment, seats, tickets, the end of the pass and the events of it commit
//!   together.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivationId, IdempotencyKey, ResourceId, RoomId, UserId};
use crate::domain::sale::catalog::{Concert, NewConcert, NewPerformance, Performance, SeatMap};
use crate::domain::sale::command::{FieldError, SeatChoice};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::hold::{HoldRefusal, Reservation};
use crate::domain::sale::ledger::WalletEntry;
use crate::domain::sale::money::{Money, MoneyError};
use crate::domain::sale::payment::Payment;
use crate::domain::time::UnixMs;
use crate::domain::trace::Trace;

use super::rooms::{NewRoom, RoomRegistry};

pub mod admission;
pub mod answers;
pub mod audit;
pub mod cleaning;
pub mod conformance;
pub mod coupons;
pub mod gates;
pub mod intents;
pub mod notices;
pub mod operators;
pub mod page;
pub mod refunds;

pub use admission::{Admission, SeatVersions};
pub use answers::{Answers, Asked};
pub use audit::{AuditCheck, AuditReport};
pub use coupons::{CouponCursor, Coupons, IssueCoupon, Issued, UpdateCampaign};
pub use gates::{Gates, Redeemed, SoldTicket, VoidedCursor, VoidedTicket};
pub use intents::{
    AwaitBuyer, BeginPayment, BeginTopUp, Begun, Elsewhere, GatewayEvent, Intents, OwedRefund,
    Settle, Settled, Unsettled,
};
pub use operators::{
    BlockSeats, Blocked, CancelPerformance, CancelledPerformance, Operators, UpdateConcert,
    UpdatePerformance, UpdatedPerformance, WindUp, WoundUp,
};
pub use page::{ConcertCursor, EntryCursor, Listing, Page, PerformanceCursor, ReservationCursor};
pub use refunds::{Instead, OpenRefund, RefundState, Refunds};

/// Why a command or a read of the sale was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SalesError {
    /// Unknown, or someone else's.
    #[error("not found")]
    NotFound,
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("seats are not of this performance")]
    SeatNotInPerformance { seats: Vec<ResourceId> },
    #[error("amount must be between 1 and {max_minor} minor units")]
    AmountOutOfRange { max_minor: i64 },
    #[error("amount must be in {expected}")]
    CurrencyMismatch { expected: Currency },

    /// The performance is protected and no pass was shown.
    #[error("a pass of room {room} is needed")]
    PassRequired { room: RoomId },
    #[error("the pass is of another room than {room}")]
    PassWrongRoom { room: RoomId },
    #[error("the pass is of another user")]
    PassOfAnotherUser,
    /// The turn has come but was not claimed.
    #[error("the place is not active yet")]
    NotActivated,
    #[error("the pass has ended")]
    PassEnded,

    /// Not yet, not any more, or the performance is cancelled.
    #[error("the sale is not open")]
    SaleNotOpen,
    /// Held, sold or blocked.
    #[error("seats are not available")]
    SeatUnavailable { seats: Vec<ResourceId> },
    /// No seats are left that satisfy a request for the best available.
    #[error("no such seats are left")]
    SoldOut,
    #[error("a user may have at most {seats_max} seats of this performance")]
    LimitPerUser { seats_max: u32 },
    #[error("the hold has ended")]
    HoldExpired,
    #[error("the hold cannot be extended again")]
    ExtensionLimit,
    #[error("the reservation is paid")]
    AlreadyPaid,
    /// Their owner gives them back after a gate admitted them.
    #[error("tickets were redeemed")]
    TicketRedeemed { seats: Vec<ResourceId> },
    /// All of the campaign's stock is issued.
    #[error("all coupons are issued")]
    CouponSoldOut,
    /// Used, out of its time, or not meant for this.
    #[error("the coupon {why}")]
    CouponNotApplicable { why: &'static str },
    #[error("the wallet's balance is below the amount")]
    InsufficientFunds,
    /// By a provider. Its key is answered so again.
    #[error("the payment was declined")]
    PaymentDeclined,
    /// The payment provider was not reached, and nothing was charged. Nothing is
    /// kept under the key.
    #[error("the payment provider cannot be reached")]
    ProviderAway,
    /// Another key's payment of the reservation is not decided yet.
    #[error("a payment of the reservation is in progress")]
    PaymentInProgress,

    /// The same key with another request.
    #[error("the idempotency key was used with another request")]
    IdempotencyKeyReused,
    /// The same key, not answered yet.
    #[error("a request with this idempotency key is in flight")]
    InFlight,
    /// The resource was changed since its etag was read.
    #[error("changed meanwhile")]
    Conflict,

    /// Too much waits; it did not run.
    #[error("too much work is waiting")]
    Overloaded,
    /// The database cannot be reached, or is full; it may have happened.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

impl From<MoneyError> for SalesError {
    fn from(error: MoneyError) -> Self {
        match error {
            MoneyError::OutOfRange { max_minor } => Self::AmountOutOfRange { max_minor },
            MoneyError::CurrencyMismatch { expected } => Self::CurrencyMismatch { expected },
        }
    }
}

impl From<HoldRefusal> for SalesError {
    fn from(refusal: HoldRefusal) -> Self {
        match refusal {
            HoldRefusal::Ended => Self::HoldExpired,
            HoldRefusal::AlreadyPaid => Self::AlreadyPaid,
            HoldRefusal::ExtensionLimit => Self::ExtensionLimit,
        }
    }
}

/// Who gives a command, and the name under which it has one effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Once {
    pub user: UserId,
    pub key: IdempotencyKey,
    /// That the caller sent.
    pub trace: Option<Trace>,
}

impl Once {
    /// What its effects are traced by.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let own = || Trace::of_command(&self.user, &self.key);
        self.trace.unwrap_or_else(own)
    }
}

#[derive(Debug, Clone)]
pub struct HoldSeats {
    pub once: Once,
    /// Random, from the caller; used if the key is new.
    pub id: ResourceId,
    pub performance: ResourceId,
    pub choice: SeatChoice,
    /// The `jti` of the pass that was shown.
    pub activation: Option<ActivationId>,
}

#[derive(Debug, Clone)]
pub struct CancelReservation {
    pub once: Once,
    pub reservation: ResourceId,
    /// None: all that it has.
    pub seats: Vec<ResourceId>,
}

#[derive(Debug, Clone)]
pub struct PayReservation {
    pub once: Once,
    /// Random, from the caller; used if the key is new.
    pub id: ResourceId,
    pub reservation: ResourceId,
    pub coupon: Option<ResourceId>,
}

#[derive(Debug, Clone)]
pub struct RefundPayment {
    /// The operator.
    pub once: Once,
    pub payment: ResourceId,
    /// `None`: all that is left.
    pub amount: Option<Money>,
    pub reason: String,
}

/// Money into a wallet from outside.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// Who gives the command: the owner, or an operator.
    pub once: Once,
    /// Random, from the caller; used if the key is new.
    pub id: ResourceId,
    pub wallet: UserId,
    pub amount: Money,
    /// Largest amount at once.
    pub amount_max_minor: i64,
    /// Largest balance after it.
    pub balance_max_minor: i64,
    pub reason: String,
}

/// What an empty database begins with.
#[derive(Debug, Clone, Default)]
pub struct FirstCatalog {
    pub concerts: Vec<(ResourceId, NewConcert)>,
    pub performances: Vec<(ResourceId, NewPerformance)>,
    pub rooms: Vec<NewRoom>,
}

/// A pass that a payment completed: its slot is to be freed. The outbox says it
/// again as `slot.freed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedPass {
    pub room: RoomId,
    pub activation: ActivationId,
}

/// What others must hear after a change of seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatsChanged {
    pub performance: ResourceId,
    /// The performance became sold out, or ceased to be.
    #[serde(default)]
    pub turned: bool,
    /// The room that protects it, if it did: the room may have, too.
    pub recheck_sold_out: Option<RoomId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub reservation: Reservation,
    pub changed: SeatsChanged,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    pub payment: Payment,
    pub changed: SeatsChanged,
    pub completed: Option<CompletedPass>,
}

/// The answer to a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refunded {
    pub payment: Payment,
    /// Set when nothing of it is left: seats are free again.
    pub changed: Option<SeatsChanged>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    pub reservation: Reservation,
    /// `None` if nothing was paid, or all of it was given back before.
    pub refunded: Option<Money>,
    pub changed: SeatsChanged,
}

/// What one step of the sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds that were ended.
    pub holds: u64,
    /// Performances whose seats came free.
    pub performances: Vec<ResourceId>,
    /// More is due than one step takes.
    pub more: bool,
}

/// A pass as the database knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassStanding {
    pub room: RoomId,
    pub activation: ActivationId,
    pub expire_time: UnixMs,
}

/// Concerts, performances and their seats, as they are now. Who only shows them
/// asks [`super::showing`].
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    async fn create_concert(
        &self,
        once: Once,
        id: ResourceId,
        concert: NewConcert,
    ) -> Result<Concert, SalesError>;

    /// Makes its seats from the rows of its sections.
    async fn create_performance(
        &self,
        once: Once,
        id: ResourceId,
        performance: NewPerformance,
    ) -> Result<Performance, SalesError>;

    /// Creates all of it if there is neither a concert nor a room, else
    /// nothing; answers whether it did.
    async fn create_first(&self, catalog: FirstCatalog) -> Result<bool, SalesError>;

    /// Takes seats out of the sale or puts them back, all or none. Held and
    /// sold ones are [`SalesError::SeatUnavailable`]; what is so already, stays.
    async fn block_seats(&self, command: BlockSeats) -> Result<Blocked, SalesError>;

    /// In the order OPENING_SOON: sales that are open, the latest opened first,
    /// then those to come, the soonest first, then those without one.
    async fn concerts(
        &self,
        page: Page<ConcertCursor>,
    ) -> Result<Listing<Concert, ConcertCursor>, SalesError>;

    async fn concert(&self, id: ResourceId) -> Result<Concert, SalesError>;

    /// By their beginning.
    async fn performances(
        &self,
        concert: ResourceId,
        page: Page<PerformanceCursor>,
    ) -> Result<Listing<Performance, PerformanceCursor>, SalesError>;

    async fn performance(&self, id: ResourceId) -> Result<Performance, SalesError>;

    /// All seats, or those changed after `since`. A hold that ended by time
    /// shows as AVAILABLE at once, but counts as changed only when it is swept.
    async fn seat_map(
        &self,
        performance: ResourceId,
        since: Option<u64>,
    ) -> Result<SeatMap, SalesError>;

    /// Whether a pass opens this performance now.
    async fn check_pass(
        &self,
        user: UserId,
        performance: ResourceId,
        activation: Option<ActivationId>,
    ) -> Result<Admission, SalesError>;
}

/// Holds and reservations.
#[async_trait]
pub trait Sales: Send + Sync + 'static {
    async fn hold_seats(&self, command: HoldSeats) -> Result<Held, SalesError>;

    /// By the performance's `hold_ttl`, once, within its `hold_total_max`.
    async fn extend_hold(
        &self,
        user: UserId,
        reservation: ResourceId,
    ) -> Result<Reservation, SalesError>;

    /// The whole reservation: a hold is RELEASED; a paid one is CANCELLED, its
    /// tickets void and what is left of its payment given back. One that is
    /// over already is answered as it is.
    ///
    /// Some of its seats: they go, and what was paid for them is given back;
    /// the others stay as they are. With the last of them it is over.
    ///
    /// [`SalesError::TicketRedeemed`] names those that a gate has admitted; then
    /// none is given back.
    async fn cancel_reservation(&self, command: CancelReservation)
    -> Result<Cancelled, SalesError>;

    async fn reservation(
        &self,
        user: UserId,
        reservation: ResourceId,
    ) -> Result<Reservation, SalesError>;

    /// The latest first.
    async fn reservations(
        &self,
        user: UserId,
        page: Page<ReservationCursor>,
    ) -> Result<Listing<Reservation, ReservationCursor>, SalesError>;

    /// Ends up to `limit` holds that are over by time, and forgets idempotency
    /// keys past their retention. Only cleans up: nothing depends on it.
    async fn sweep(&self, limit: u32) -> Result<Swept, SalesError>;
}

/// Wallets and payments.
#[async_trait]
pub trait Wallets: Send + Sync + 'static {
    /// 0 if never used.
    async fn balance(&self, user: UserId, currency: Currency) -> Result<Money, SalesError>;

    /// The latest first.
    async fn wallet_entries(
        &self,
        user: UserId,
        currency: Currency,
        page: Page<EntryCursor>,
    ) -> Result<Listing<WalletEntry, EntryCursor>, SalesError>;

    /// By its owner, from outside.
    async fn top_up(&self, deposit: Deposit) -> Result<WalletEntry, SalesError>;

    /// By an operator, from the house.
    async fn credit(&self, deposit: Deposit) -> Result<WalletEntry, SalesError>;

    /// From the wallet: the hold is CONFIRMED, the seats are SOLD, tickets are
    /// issued, and the pass is completed unless it has another live hold. A coupon
    /// is used up; with all of it taken off no money moves.
    async fn pay_reservation(&self, command: PayReservation) -> Result<Paid, SalesError>;

    /// A part is money only: seats and tickets stay. With the last of it the
    /// reservation is cancelled, its seats are free and its tickets void. All
    /// refunds of a payment together never exceed it.
    async fn refund_payment(&self, command: RefundPayment) -> Result<Refunded, SalesError>;

    async fn payment(&self, user: UserId, payment: ResourceId) -> Result<Payment, SalesError>;
}

/// Checks the invariants on the stored rows.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// S1–S7, M1–M8, C1–C3 and Q11, on one snapshot.
    async fn audit(&self) -> Result<AuditReport, SalesError>;
}

/// Everything the sale needs of its database.
pub trait SalesStore:
    RoomRegistry
    + Catalog
    + Operators
    + Sales
    + Wallets
    + Intents
    + Refunds
    + Gates
    + Coupons
    + Answers
    + Audit
    + cleaning::Cleaning
    + notices::Notices
{
}

impl<T> SalesStore for T where
    T: RoomRegistry
        + Catalog
        + Operators
        + Sales
        + Wallets
        + Intents
        + Refunds
        + Gates
        + Coupons
        + Answers
        + Audit
        + cleaning::Cleaning
        + notices::Notices
{
}
