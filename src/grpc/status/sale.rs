//! What the sale's refusals are to a client.

use std::borrow::Cow;

use tonic::Code;

use crate::domain::ids::ResourceId;
use crate::engine::error::EngineError;
use crate::proto::v1::ErrorReason as Reason;
use crate::store::sales::SalesError;

use super::{
    Detail, EdgeError, IN_FLIGHT_RETRY_MS, Refusal, degraded, field_invalid, not_found, one_field,
    overloaded, provider_away,
};

impl From<SalesError> for Refusal {
    fn from(error: SalesError) -> Self {
        let log = error.to_string();
        let detail = detail(&error);
        let mut refusal = answer(error);
        if detail != Detail::None {
            refusal = refusal.detail(detail);
        }
        refusal.log(log)
    }
}

fn precondition(reason: Reason, text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::FailedPrecondition, reason, text)
}

fn argument(reason: Reason, text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidArgument, reason, text)
}

fn denied(reason: Reason, text: &'static str) -> Refusal {
    Refusal::new(Code::PermissionDenied, reason, text)
}

fn exists(reason: Reason, text: &'static str) -> Refusal {
    Refusal::new(Code::AlreadyExists, reason, text)
}

fn aborted(reason: Reason, text: &'static str) -> Refusal {
    Refusal::new(Code::Aborted, reason, text)
}

fn answer(error: SalesError) -> Refusal {
    match error {
        SalesError::NotFound => not_found(),
        SalesError::Field(error) => field_invalid(error.field, error.why),
        SalesError::SeatNotInPerformance { .. } => argument(
            Reason::SeatNotInPerformance,
            "seats are not of this performance",
        ),
        SalesError::AmountOutOfRange { max_minor } => {
            let text = format!("the amount must be between 1 and {max_minor} minor units");
            argument(Reason::AmountOutOfRange, text)
        }
        SalesError::CurrencyMismatch { expected } => {
            let text = format!("the amount must be in {expected}");
            argument(Reason::CurrencyMismatch, text)
        }
        SalesError::PassRequired { .. } => {
            denied(Reason::PassRequired, "a pass of the room is needed")
        }
        SalesError::PassWrongRoom { .. } => {
            denied(Reason::PassWrongRoom, "the pass is of another room")
        }
        SalesError::PassOfAnotherUser => EdgeError::TokenOfAnotherUser.into(),
        SalesError::NotActivated => EngineError::NotActivated.into(),
        SalesError::PassEnded => EngineError::PassEnded.into(),
        SalesError::SaleNotOpen => precondition(Reason::SaleNotOpen, "the sale is not open"),
        SalesError::SeatUnavailable { .. } => {
            precondition(Reason::SeatUnavailable, "seats are not available")
        }
        SalesError::SoldOut => precondition(Reason::SoldOut, "no such seats are left"),
        SalesError::LimitPerUser { seats_max } => {
            let text = format!("at most {seats_max} seats of this performance per user");
            precondition(Reason::LimitPerUser, text)
        }
        SalesError::HoldExpired => precondition(Reason::HoldExpired, "the hold has ended"),
        SalesError::ExtensionLimit => {
            precondition(Reason::ExtensionLimit, "the hold cannot be extended again")
        }
        SalesError::AlreadyPaid => exists(Reason::AlreadyPaid, "the reservation is paid"),
        SalesError::TicketRedeemed { .. } => precondition(
            Reason::SeatUnavailable,
            "tickets that were redeemed cannot be given back",
        ),
        SalesError::InsufficientFunds => precondition(
            Reason::InsufficientFunds,
            "the wallet's balance is below the amount",
        ),
        SalesError::CouponSoldOut => precondition(Reason::CouponSoldOut, "all coupons are issued"),
        SalesError::CouponNotApplicable { why } => {
            precondition(Reason::CouponNotApplicable, format!("the coupon {why}"))
        }
        SalesError::PaymentDeclined => precondition(
            Reason::PaymentDeclined,
            "the payment was declined; another attempt needs a new idempotency key",
        ),
        SalesError::PaymentInProgress => aborted(
            Reason::PaymentInProgress,
            "another payment of the reservation is not decided yet",
        )
        .retry_after_ms(IN_FLIGHT_RETRY_MS),
        SalesError::IdempotencyKeyReused => exists(
            Reason::IdempotencyKeyReused,
            "the idempotency key was used with another request",
        ),
        SalesError::InFlight => aborted(
            Reason::InFlight,
            "a request with this idempotency key is still running",
        )
        .retry_after_ms(IN_FLIGHT_RETRY_MS),
        SalesError::Conflict => aborted(
            Reason::Conflict,
            "the resource was changed since its etag was read",
        ),
        SalesError::Overloaded => overloaded(),
        SalesError::Unavailable(_) => degraded(),
        SalesError::ProviderAway => provider_away(),
    }
}

/// Which field, seats, room or limit it was; what other seams decide brings its
/// own.
fn detail(error: &SalesError) -> Detail {
    match error {
        SalesError::SeatNotInPerformance { seats } => {
            named(seats, "is not a seat of this performance")
        }
        SalesError::SeatUnavailable { seats } => named(seats, "is not available"),
        SalesError::TicketRedeemed { seats } => named(seats, "has a ticket that was redeemed"),
        SalesError::AmountOutOfRange { .. } => one_field("amount", "is out of range"),
        SalesError::CurrencyMismatch { .. } => {
            one_field("amount.currency_code", "is another currency")
        }
        SalesError::PassRequired { room } | SalesError::PassWrongRoom { room } => {
            Detail::Room(room.clone())
        }
        SalesError::CouponNotApplicable { why } => one_field("coupon_id", why),
        SalesError::LimitPerUser { .. } => Detail::Quota("seats_per_user_max"),
        SalesError::IdempotencyKeyReused => {
            one_field("idempotency_key", "was used with another request")
        }
        SalesError::NotFound
        | SalesError::Field(_)
        | SalesError::PassOfAnotherUser
        | SalesError::NotActivated
        | SalesError::PassEnded
        | SalesError::SaleNotOpen
        | SalesError::SoldOut
        | SalesError::HoldExpired
        | SalesError::ExtensionLimit
        | SalesError::AlreadyPaid
        | SalesError::CouponSoldOut
        | SalesError::InsufficientFunds
        | SalesError::PaymentDeclined
        | SalesError::ProviderAway
        | SalesError::PaymentInProgress
        | SalesError::InFlight
        | SalesError::Conflict
        | SalesError::Overloaded
        | SalesError::Unavailable(_) => Detail::None,
    }
}

/// The seats that a command cannot have.
fn named(seats: &[ResourceId], why: &str) -> Detail {
    let field = |seat: &ResourceId| (format!("seat_ids[{seat}]"), why.to_owned());
    Detail::Fields(seats.iter().map(field).collect())
}
