//! What a pass opens, and as of which changes.

use super::PassStanding;
use crate::domain::time::UnixMs;

/// Someone may see the seats of a performance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// `None` where no room protects.
    pub standing: Option<PassStanding>,
    /// The changes that there were.
    pub versions: SeatVersions,
    /// The database's clock.
    pub as_of: UnixMs,
}

/// Which changes of a performance a seat map has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeatVersions {
    /// Of its terms.
    pub performance: u64,
    /// Of its seats.
    pub seats: u64,
}

impl SeatVersions {
    /// Whether nothing of `others` is missing.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        self.performance >= others.performance && self.seats >= others.seats
    }
}
