use std::collections::HashMap;

use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

fn desk(requests: usize) -> Desk {
    let mut desk = Desk {
        users: requests,
        due_us: vec![1_000; requests],
        got: vec![false; requests],
        open: requests,
        ..Desk::default()
    };
    desk.came.outcomes = vec![Outcome::Nothing; requests];
    desk.came.courses = vec![Course::default()];
    desk
}

fn refused(desk: &mut Desk, tag: u32, code: Code, details: &ErrorDetails) {
    let status = Status::with_error_details(code, "no", details.clone());
    let said = BASE64.encode(status.details());
    let trimmed = said.trim_end_matches('=');
    desk.details(tag, trimmed.as_bytes());
    let code = u16::try_from(i32::from(code)).expect("a code");
    desk.ended(tag, End::Status(code), 3_000);
}

fn told(reason: &str) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "usher.v1", HashMap::new());
    details
}

#[test]
fn grants_and_refusals_are_told_apart() {
    let mut desk = desk(4);
    let reply = wire::IssueCouponResponse {
        coupon: Some(wire::Coupon {
            id: "c".to_owned(),
            ..wire::Coupon::default()
        }),
        already_issued: true,
    };
    desk.message(0, &reply.encode_to_vec(), 2_000);
    desk.ended(0, End::Status(0), 2_000);
    let precondition = Code::FailedPrecondition;
    refused(&mut desk, 1, precondition, &told(SOLD_OUT));
    refused(&mut desk, 2, precondition, &told(SOLD_OUT));
    refused(&mut desk, 3, precondition, &told("COUPON_NOT_APPLICABLE"));
    let Came {
        outcomes, courses, ..
    } = &desk.came;
    let expected = [
        Outcome::Granted,
        Outcome::SoldOut,
        Outcome::SoldOut,
        Outcome::Refused,
    ];
    assert_eq!(outcomes, &expected);
    assert_eq!((courses[0].granted, courses[0].sold_out), (1, 2));
    assert_eq!(
        (courses[0].last_grant_us, courses[0].ended_us),
        (2_000, 3_000)
    );
    assert_eq!((desk.came.already, desk.done, desk.open), (1, 4, 0));
    assert_eq!(desk.came.refused["COUPON_NOT_APPLICABLE"], 1);
}

#[test]
fn what_may_have_happened_is_asked_again() {
    let mut desk = desk(3);
    let mut details = told("OVERLOADED");
    details.set_retry_info(Some(Duration::from_secs(1)));
    refused(&mut desk, 0, Code::ResourceExhausted, &details);
    desk.ended(1, End::Lost, 3_000);
    // Without a coupon in it, it is no grant.
    desk.ended(2, End::Status(0), 3_000);
    let again: Vec<(u64, u32)> = desk.again.iter().copied().collect();
    assert_eq!(again, [(103_000, 1), (1_003_000, 0)]);
    assert_eq!((desk.done, desk.open), (1, 0));
    assert_eq!(desk.came.outcomes[2], Outcome::Refused);
    assert_eq!(desk.came.repeated["Unavailable"], 1);
}
