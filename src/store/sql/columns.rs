//! Numbers as columns hold them: every dialect has signed 64-bit integers.

use crate::domain::time::UnixMs;

/// Counts, numbers and versions; what no column holds becomes its largest value.
#[must_use]
pub fn to_column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The inverse of [`to_column`]; nothing negative is ever stored.
#[must_use]
pub fn from_column(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[must_use]
pub fn time_to_column(time: UnixMs) -> i64 {
    to_column(time.0)
}

#[must_use]
pub fn time_from_column(value: i64) -> UnixMs {
    UnixMs(from_column(value))
}
