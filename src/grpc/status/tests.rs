use super::*;
use crate::domain::ids::ResourceId;
use crate::store::sales::SalesError;

fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(String::new, |info| {
        assert_eq!(info.domain, DOMAIN);
        info.reason
    })
}

#[test]
fn every_bad_token_gets_one_identical_answer() {
    let answers: Vec<_> = [
        EdgeError::Unauthenticated("no authorization"),
        EdgeError::Unauthenticated("expired"),
        TokenError::Invalid("signature does not match").into(),
    ]
    .into_iter()
    .map(|error| {
        let status = Refusal::from(error).into_status(0.3);
        (
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        )
    })
    .collect();
    assert_eq!(answers[0].0, Code::Unauthenticated);
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn refusals_carry_the_codes_and_reasons_of_the_contract() {
    let cases: Vec<(Refusal, Code, &str, bool)> = vec![
        (
            EdgeError::TokenOfAnotherUser.into(),
            Code::PermissionDenied,
            "TOKEN_USER_MISMATCH",
            false,
        ),
        (
            EdgeError::RoleRequired.into(),
            Code::PermissionDenied,
            "ROLE_REQUIRED",
            false,
        ),
        (
            EdgeError::RateLimited { retry_ms: 1_000 }.into(),
            Code::ResourceExhausted,
            "RATE_LIMITED",
            true,
        ),
        (
            EdgeError::SlowReader.into(),
            Code::ResourceExhausted,
            "SLOW_READER",
            true,
        ),
        (
            EdgeError::TooManyStreams.into(),
            Code::ResourceExhausted,
            "TOO_MANY_STREAMS",
            true,
        ),
        (
            EdgeError::Draining { retry_ms: 100 }.into(),
            Code::Unavailable,
            "DRAINING",
            true,
        ),
        (
            PageTokenError.into(),
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
            false,
        ),
        (
            QueueError::Full.into(),
            Code::ResourceExhausted,
            "ROOM_FULL",
            false,
        ),
        (
            QueueError::Closed.into(),
            Code::FailedPrecondition,
            "ROOM_CLOSED",
            false,
        ),
        (
            QueueError::SoldOut.into(),
            Code::FailedPrecondition,
            "ROOM_SOLD_OUT",
            false,
        ),
        (
            QueueError::Unavailable.into(),
            Code::Unavailable,
            "DEGRADED",
            true,
        ),
        (
            QueueError::Opening.into(),
            Code::Unavailable,
            "REBUILDING",
            true,
        ),
        (RoomsError::UnknownRoom.into(), Code::NotFound, "", false),
        (
            RoomsError::EtagMismatch.into(),
            Code::Aborted,
            "CONFLICT",
            false,
        ),
        (
            EngineError::from(RoomsError::Overloaded).into(),
            Code::ResourceExhausted,
            "OVERLOADED",
            true,
        ),
    ];
    for (refusal, code, reason, retryable) in cases {
        let status = refusal.into_status(0.0);
        assert_eq!(status.code(), code, "{reason}");
        assert_eq!(reason_of(&status), reason);
        let retry = status.get_details_retry_info();
        assert_eq!(retry.is_some(), retryable, "{reason}");
    }
}

#[test]
fn the_words_of_a_database_stay_in_the_log() {
    let secret = "password authentication failed for user usher";
    let status = Refusal::from(RoomsError::Unavailable(secret.to_owned())).into_status(0.0);
    assert!(!status.message().contains("password"));
    assert!(!String::from_utf8_lossy(status.details()).contains("password"));
}

#[test]
fn refusals_of_the_sale_carry_the_codes_and_reasons_of_the_contract() {
    use SalesError as E;
    let room = || RoomId::parse("room").expect("room");
    let seat = || vec![ResourceId::parse("A-1").expect("seat")];
    let expected = crate::domain::sale::currency::Currency::parse("EUR").expect("euro");
    let cases: Vec<(SalesError, Code, &str, bool)> = vec![
        (E::NotFound, Code::NotFound, "", false),
        (
            E::SeatNotInPerformance { seats: seat() },
            Code::InvalidArgument,
            "SEAT_NOT_IN_PERFORMANCE",
            false,
        ),
        (
            E::AmountOutOfRange { max_minor: 9 },
            Code::InvalidArgument,
            "AMOUNT_OUT_OF_RANGE",
            false,
        ),
        (
            E::CurrencyMismatch { expected },
            Code::InvalidArgument,
            "CURRENCY_MISMATCH",
            false,
        ),
        (
            E::PassRequired { room: room() },
            Code::PermissionDenied,
            "PASS_REQUIRED",
            false,
        ),
        (
            E::PassWrongRoom { room: room() },
            Code::PermissionDenied,
            "PASS_WRONG_ROOM",
            false,
        ),
        (
            E::PassOfAnotherUser,
            Code::PermissionDenied,
            "TOKEN_USER_MISMATCH",
            false,
        ),
        (
            E::NotActivated,
            Code::FailedPrecondition,
            "NOT_ACTIVATED",
            false,
        ),
        (E::PassEnded, Code::FailedPrecondition, "PASS_ENDED", false),
        (
            E::SaleNotOpen,
            Code::FailedPrecondition,
            "SALE_NOT_OPEN",
            false,
        ),
        (
            E::SeatUnavailable { seats: seat() },
            Code::FailedPrecondition,
            "SEAT_UNAVAILABLE",
            false,
        ),
        (E::ProviderAway, Code::Unavailable, "DEGRADED", true),
        (E::SoldOut, Code::FailedPrecondition, "SOLD_OUT", false),
        (
            E::LimitPerUser { seats_max: 4 },
            Code::FailedPrecondition,
            "LIMIT_PER_USER",
            false,
        ),
        (
            E::HoldExpired,
            Code::FailedPrecondition,
            "HOLD_EXPIRED",
            false,
        ),
        (
            E::ExtensionLimit,
            Code::FailedPrecondition,
            "EXTENSION_LIMIT",
            false,
        ),
        (E::AlreadyPaid, Code::AlreadyExists, "ALREADY_PAID", false),
        (
            E::TicketRedeemed { seats: seat() },
            Code::FailedPrecondition,
            "SEAT_UNAVAILABLE",
            false,
        ),
        (
            E::InsufficientFunds,
            Code::FailedPrecondition,
            "INSUFFICIENT_FUNDS",
            false,
        ),
        (
            E::PaymentDeclined,
            Code::FailedPrecondition,
            "PAYMENT_DECLINED",
            false,
        ),
        (
            E::PaymentInProgress,
            Code::Aborted,
            "PAYMENT_IN_PROGRESS",
            true,
        ),
        (
            E::IdempotencyKeyReused,
            Code::AlreadyExists,
            "IDEMPOTENCY_KEY_REUSED",
            false,
        ),
        (E::InFlight, Code::Aborted, "IN_FLIGHT", true),
        (E::Conflict, Code::Aborted, "CONFLICT", false),
        (E::Overloaded, Code::ResourceExhausted, "OVERLOADED", true),
        (
            E::Unavailable("disk full".to_owned()),
            Code::Unavailable,
            "DEGRADED",
            true,
        ),
    ];
    for (error, code, reason, retryable) in cases {
        let status = Refusal::from(error).into_status(0.0);
        assert_eq!(status.code(), code, "{reason}");
        assert_eq!(reason_of(&status), reason);
        let retry = status.get_details_retry_info();
        assert_eq!(retry.is_some(), retryable, "{reason}");
    }
}

#[test]
fn refusals_name_the_seats_and_the_room() {
    let seats = vec![ResourceId::parse("A-1").expect("seat")];
    let status = Refusal::from(SalesError::SeatUnavailable { seats }).into_status(0.0);
    let fields = status.get_details_bad_request().expect("fields");
    assert_eq!(fields.field_violations[0].field, "seat_ids[A-1]");
    let room = RoomId::parse("hall").expect("room");
    let status = Refusal::from(SalesError::PassRequired { room }).into_status(0.0);
    let resource = status.get_details_resource_info().expect("a resource");
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("room", "hall")
    );
}

#[test]
fn those_who_come_back_are_spread_over_time() {
    let delay = |error, fraction| {
        let status = Refusal::from(error).into_status(fraction);
        status.get_details_retry_info().expect("there").retry_delay
    };
    let millis = |ms| Some(Duration::from_millis(ms));
    assert_eq!(delay(QueueError::Unavailable, 0.0), millis(2_000));
    assert_eq!(delay(QueueError::Unavailable, 0.5), millis(6_000));
    assert_eq!(delay(QueueError::Recover, 0.0), millis(REBUILDING_RETRY_MS));
    assert_eq!(
        delay(QueueError::Recover, 1.0),
        millis(2 * REBUILDING_RETRY_MS)
    );
}
