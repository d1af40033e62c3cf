//! Parsing at the edge, once: from wire values to types that cannot be wrong.
//!
//! Each parser takes the field's name as the client knows it, and answers
//! [`FieldError`]: what is missing, or what is wrong and why. No raw input is
//! ever repeated: it would end in logs.

use std::borrow::Cow;

use crate::domain::ids::{IdempotencyKey, ResourceId, RoomId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;

/// Items of a page when the client says nothing.
pub const PAGE_ITEMS_DEFAULT: u32 = 10;
/// Items of a page at most; more is lowered to it.
pub const PAGE_ITEMS_MAX: u32 = 100;
/// Longest free text that an operator or a user writes, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_000;
/// 0001-01-01 and the end of 9999: what `Timestamp` may say.
const TIMESTAMP_RANGE_S: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years: what `Duration` may say.
const DURATION_S_MAX: i64 = 315_576_000_000;
pub mod coupon;
pub mod room;
pub mod sale;

const NANOS_PER_MS: i32 = 1_000_000;

/// Why a field is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("{0} must be set")]
    Missing(&'static str),
    #[error("{0} {1}")]
    Invalid(&'static str, Cow<'static, str>),
}

impl FieldError {
    pub(crate) fn invalid(field: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(field, why.into())
    }

    /// Path of the field as the API names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field) | Self::Invalid(field, _) => field,
        }
    }

    #[must_use]
    pub fn why(&self) -> Cow<'static, str> {
        match self {
            Self::Missing(_) => Cow::Borrowed("must be set"),
            Self::Invalid(_, why) => why.clone(),
        }
    }
}

macro_rules! id_parser {
    ($name:ident, $type:ty) => {
        /// # Errors
        /// Empty, too long, or with other characters.
        pub fn $name(field: &'static str, text: &str) -> Result<$type, FieldError> {
            if text.is_empty() {
                return Err(FieldError::Missing(field));
            }
            <$type>::parse(text).map_err(|error| FieldError::invalid(field, error.to_string()))
        }
    };
}

id_parser!(room_id, RoomId);
id_parser!(resource_id, ResourceId);
id_parser!(user_id, UserId);
id_parser!(idempotency_key, IdempotencyKey);

/// # Errors
/// An unset message.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or(FieldError::Missing(field))
}

/// Seats by name; how many may be asked for is the sale's business.
///
/// # Errors
/// A name that is no id.
pub fn resource_ids(field: &'static str, texts: &[String]) -> Result<Vec<ResourceId>, FieldError> {
    texts.iter().map(|text| resource_id(field, text)).collect()
}

/// Free text, bounded and without control characters.
///
/// # Errors
/// Too long, or with a control character other than a line's end.
pub fn text(field: &'static str, text: &str) -> Result<String, FieldError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(FieldError::invalid(field, "must be at most 1000 bytes"));
    }
    printable(field, text.to_owned())
}

/// Text that a terminal, a log and every database bear; its length is the
/// domain's business.
///
/// # Errors
/// A control character other than a line's end.
pub fn printable(field: &'static str, text: String) -> Result<String, FieldError> {
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(FieldError::invalid(
            field,
            "must not contain control characters",
        ));
    }
    Ok(text)
}

/// As [`text`], and not blank: a reason that an operator must give.
///
/// # Errors
/// As [`text`]; [`FieldError::Missing`] when blank.
pub fn reason(field: &'static str, given: &str) -> Result<String, FieldError> {
    if given.trim().is_empty() {
        return Err(FieldError::Missing(field));
    }
    text(field, given)
}

/// An amount of a known currency; its range is the command's business.
///
/// # Errors
/// Unset, or of a currency that is not in ISO 4217.
pub fn money(field: &'static str, money: Option<&wire::Money>) -> Result<Money, FieldError> {
    let money = required(field, money)?;
    let currency = Currency::parse(&money.currency_code)
        .map_err(|error| FieldError::invalid(field, error.to_string()))?;
    Ok(Money::new(currency, money.amount_minor))
}

/// # Errors
/// Not a currency code in capitals.
pub fn currency(field: &'static str, code: &str) -> Result<Currency, FieldError> {
    Currency::parse(code).map_err(|error| FieldError::invalid(field, error.to_string()))
}

/// A moment since 1970; finer than milliseconds is cut off.
///
/// # Errors
/// Nanos out of range, outside the years 1 to 9999, or before 1970.
pub fn timestamp(
    field: &'static str,
    timestamp: prost_types::Timestamp,
) -> Result<UnixMs, FieldError> {
    if !(0..1_000 * NANOS_PER_MS).contains(&timestamp.nanos) {
        return Err(FieldError::invalid(field, "nanos must be 0 to 999999999"));
    }
    if !TIMESTAMP_RANGE_S.contains(&timestamp.seconds) {
        return Err(FieldError::invalid(field, "must be in the years 1 to 9999"));
    }
    let seconds = u64::try_from(timestamp.seconds)
        .map_err(|_| FieldError::invalid(field, "must not be before 1970"))?;
    let millis = u64::from(timestamp.nanos.unsigned_abs()) / u64::from(NANOS_PER_MS.unsigned_abs());
    Ok(UnixMs(seconds * 1_000 + millis))
}

/// A moment that is still to come.
///
/// # Errors
/// As [`timestamp`]; `now` or earlier.
pub fn future(
    field: &'static str,
    at: prost_types::Timestamp,
    now: UnixMs,
) -> Result<UnixMs, FieldError> {
    let at = timestamp(field, at)?;
    if at <= now {
        return Err(FieldError::invalid(field, "must be in the future"));
    }
    Ok(at)
}

/// A span in milliseconds; a part of one counts as one.
///
/// # Errors
/// Negative, nanos out of range, or longer than a `Duration` may be.
pub fn duration_ms(
    field: &'static str,
    duration: prost_types::Duration,
) -> Result<u64, FieldError> {
    if duration.seconds < 0 || duration.nanos < 0 {
        return Err(FieldError::invalid(field, "must not be negative"));
    }
    if duration.nanos >= 1_000 * NANOS_PER_MS {
        return Err(FieldError::invalid(field, "nanos must be 0 to 999999999"));
    }
    if duration.seconds > DURATION_S_MAX {
        return Err(FieldError::invalid(field, "must be at most 10000 years"));
    }
    let millis = duration
        .nanos
        .unsigned_abs()
        .div_ceil(NANOS_PER_MS.unsigned_abs());
    Ok(duration.seconds.unsigned_abs() * 1_000 + u64::from(millis))
}

/// Items of a page: what is asked for, at least one, at most 100.
#[must_use]
pub fn page_items(page_size: i32) -> u32 {
    match u32::try_from(page_size) {
        Ok(0) | Err(_) => PAGE_ITEMS_DEFAULT,
        Ok(size) => size.min(PAGE_ITEMS_MAX),
    }
}

/// The paths of a mask, each one of `known`.
///
/// # Errors
/// No path, or one that is not known.
pub fn field_mask(
    field: &'static str,
    mask: Option<&prost_types::FieldMask>,
    known: &'static [&'static str],
) -> Result<Vec<&'static str>, FieldError> {
    let paths = mask.map_or(&[][..], |mask| &mask.paths);
    if paths.is_empty() {
        return Err(FieldError::Missing(field));
    }
    let find = |path: &String| known.iter().find(|known| *known == path).copied();
    paths
        .iter()
        .map(|path| {
            find(path).ok_or_else(|| {
                FieldError::invalid(field, format!("must name any of {}", known.join(", ")))
            })
        })
        .collect()
}

/// A value of an enum that must be set.
///
/// # Errors
/// `_UNSPECIFIED`, or a number this version does not know.
pub fn choice<E>(field: &'static str, number: i32) -> Result<E, FieldError>
where
    E: TryFrom<i32> + Into<i32> + Copy,
{
    if number == 0 {
        return Err(FieldError::Missing(field));
    }
    E::try_from(number).map_err(|_| FieldError::invalid(field, "is not a value of this version"))
}

/// The version behind an etag.
///
/// # Errors
/// Not one that this server gave.
pub fn etag(field: &'static str, text: &str) -> Result<u64, FieldError> {
    if text.is_empty() {
        return Err(FieldError::Missing(field));
    }
    text.parse()
        .map_err(|_| FieldError::invalid(field, "must be the etag of an earlier answer"))
}

/// What the domain says of a field.
fn of_domain(error: crate::domain::sale::command::FieldError) -> FieldError {
    FieldError::invalid(error.field, error.why)
}

#[cfg(test)]
mod tests;
