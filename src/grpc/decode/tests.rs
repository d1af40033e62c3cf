use super::*;

const FIELD: &str = "field";

/// Texts that must never reach a key, a query, a script or a log.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        " ",
        "\t",
        "a b",
        "a:b",
        "a*",
        "{a}",
        "a\r\n",
        "a\0",
        "%s",
        "'--",
        "../a",
        "\u{202e}a",
        "\u{1f3ab}",
        "\u{e9}",
        "a'",
        "a\"",
        "a;b",
        "a/b",
        "a\\b",
        "a%00",
    ]
    .map(str::to_owned)
    .into();
    texts.push("a".repeat(10_240));
    texts
}

#[test]
fn ids_of_the_bad_input_catalogue_are_refused() {
    for text in hostile() {
        assert!(room_id(FIELD, &text).is_err(), "{text:.20?}");
        assert!(resource_id(FIELD, &text).is_err(), "{text:.20?}");
        assert!(idempotency_key(FIELD, &text).is_err(), "{text:.20?}");
        let error = resource_id(FIELD, &text).expect_err("refused");
        assert!(error.to_string().len() < 100, "no echo: {error}");
    }
    for text in ["a{b}", "a b", "a\0", "a*", "a/b", "\u{202e}a", "a'--"] {
        assert!(user_id(FIELD, text).is_err(), "{text:?}");
    }
    assert_eq!(room_id(FIELD, ""), Err(FieldError::Missing(FIELD)));
    assert_eq!(user_id(FIELD, ""), Err(FieldError::Missing(FIELD)));
}

#[test]
fn idempotency_keys_are_1_to_64_word_characters() {
    let longest = "k".repeat(64);
    for good in ["a", "0", "Mixed-Case_9", longest.as_str()] {
        assert!(idempotency_key(FIELD, good).is_ok(), "{good}");
    }
    for bad in ["", "k".repeat(65).as_str(), "k".repeat(256).as_str()] {
        assert!(idempotency_key(FIELD, bad).is_err());
    }
}

#[test]
fn money_needs_a_known_currency_in_capitals() {
    let of = |code: &str, amount_minor| wire::Money {
        currency_code: code.to_owned(),
        amount_minor,
    };
    for amount in [0, -1, i64::MIN, i64::MAX] {
        // The range is the command's: a refund and a top-up differ.
        let parsed = money(FIELD, Some(&of("EUR", amount))).expect("parsed");
        assert_eq!(parsed.amount_minor, amount);
    }
    for code in ["JPY", "KWD"] {
        assert!(money(FIELD, Some(&of(code, 1))).is_ok());
    }
    for code in ["", "eur", "EURO", "EU", "XXX", "E\0R", "€", "ZZZ"] {
        assert!(money(FIELD, Some(&of(code, 1))).is_err(), "{code:?}");
    }
    assert_eq!(money(FIELD, None), Err(FieldError::Missing(FIELD)));
}

#[test]
fn timestamps_are_moments_from_1970_to_9999() {
    let parse = |seconds, nanos| timestamp(FIELD, prost_types::Timestamp { seconds, nanos });
    assert_eq!(parse(0, 0), Ok(UnixMs(0)));
    assert_eq!(
        parse(1_700_000_000, 999_999_999),
        Ok(UnixMs(1_700_000_000_999))
    );
    assert_eq!(parse(253_402_300_799, 0), Ok(UnixMs(253_402_300_799_000)));
    for (seconds, nanos) in [
        (0, -1),
        (0, 1_000_000_000),
        (0, i32::MAX),
        (0, i32::MIN),
        (-1, 0),
        (-62_135_596_800, 0),
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
    ] {
        assert!(parse(seconds, nanos).is_err(), "{seconds} s {nanos} ns");
    }
}

#[test]
fn durations_are_not_negative_and_do_not_overflow() {
    let parse = |seconds, nanos| duration_ms(FIELD, prost_types::Duration { seconds, nanos });
    assert_eq!(parse(0, 0), Ok(0));
    assert_eq!(parse(1, 1), Ok(1_001));
    assert_eq!(parse(DURATION_S_MAX, 0), Ok(315_576_000_000_000));
    for (seconds, nanos) in [
        (-1, 0),
        (0, -1),
        (1, -1),
        (-1, 1),
        (0, 1_000_000_000),
        (DURATION_S_MAX + 1, 0),
        (i64::MAX, 999_999_999),
        (i64::MIN, i32::MIN),
    ] {
        assert!(parse(seconds, nanos).is_err(), "{seconds} s {nanos} ns");
    }
}

#[test]
fn page_sizes_are_clamped() {
    for (asked, given) in [
        (0, 10),
        (-1, 10),
        (i32::MIN, 10),
        (1, 1),
        (100, 100),
        (101, 100),
        (1_000_000_000, 100),
    ] {
        assert_eq!(page_items(asked), given, "{asked}");
    }
}

#[test]
fn field_masks_name_known_fields_only() {
    const KNOWN: &[&str] = &["name", "policy.rate"];
    let parse = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        field_mask(FIELD, Some(&prost_types::FieldMask { paths }), KNOWN)
    };
    assert_eq!(parse(&["policy.rate"]), Ok(vec!["policy.rate"]));
    let missing = Err(FieldError::Missing(FIELD));
    assert_eq!(parse(&[]), missing);
    assert_eq!(field_mask(FIELD, None, KNOWN), missing);
    for bad in ["", "policy", "Name", "name ", "version", "*", "name'--"] {
        assert!(parse(&["name", bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn enums_must_be_set_to_a_known_value() {
    let parse = |number| choice::<wire::RoomOrder>(FIELD, number);
    assert_eq!(parse(1), Ok(wire::RoomOrder::Fifo));
    assert_eq!(parse(0), Err(FieldError::Missing(FIELD)));
    for unknown in [3, -1, i32::MAX] {
        assert!(parse(unknown).is_err());
    }
}

#[test]
fn free_text_is_bounded_and_has_no_control_characters() {
    assert!(text(FIELD, "back in 5 minutes,\nsorry \u{1f642}").is_ok());
    assert!(text(FIELD, &"a".repeat(1_000)).is_ok());
    for bad in ["\0", "a\u{7}", "\u{1b}[31m", "a\r\n", &"a".repeat(1_001)] {
        assert!(text(FIELD, bad).is_err(), "{bad:.20?}");
    }
    for blank in ["", "  ", "\n"] {
        assert_eq!(reason(FIELD, blank), Err(FieldError::Missing(FIELD)));
    }
}

#[test]
fn etags_are_versions() {
    assert_eq!(etag(FIELD, "17"), Ok(17));
    for bad in ["-1", "x", "17 ", "1e3", "99999999999999999999"] {
        assert!(etag(FIELD, bad).is_err(), "{bad}");
    }
    assert_eq!(etag(FIELD, ""), Err(FieldError::Missing(FIELD)));
}
