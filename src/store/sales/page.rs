//! Pages of lists, by the key of the last item and not by a count, so that what
//! is added or goes meanwhile moves nothing.

use serde::{Deserialize, Serialize};

use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;

/// Items of a page if the caller asks for none.
pub const PAGE_ITEMS_DEFAULT: u32 = 10;
/// Items of a page at most.
pub const PAGE_ITEMS_MAX: u32 = 100;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Page<C> {
    /// 1 … [`PAGE_ITEMS_MAX`].
    size: u32,
    pub after: Option<C>,
}

impl<C> Page<C> {
    /// `size` as clients send it: 0 or less is the default, much is lowered.
    #[must_use]
    pub fn new(size: i32, after: Option<C>) -> Self {
        let size = match u32::try_from(size) {
            Ok(0) | Err(_) => PAGE_ITEMS_DEFAULT,
            Ok(size) => size.min(PAGE_ITEMS_MAX),
        };
        Self { size, after }
    }

    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Makes the listing from up to one item more than the page takes.
    #[must_use]
    pub fn listing<T>(&self, mut items: Vec<T>, cursor: impl Fn(&T) -> C) -> Listing<T, C> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let next = (items.len() > size).then(|| cursor(&items[size - 1]));
        items.truncate(size);
        Listing { items, next }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T, C> {
    pub items: Vec<T>,
    /// `None` on the last page.
    pub next: Option<C>,
}

/// Where a list of concerts goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConcertCursor {
    /// The latest opening at the first page: what was open then sorts as open.
    /// It is the same for all who begin before the next sale opens.
    pub anchor: UnixMs,
    /// 0: open, 1: to come, 2: none.
    pub group: u8,
    pub opens_at: UnixMs,
    pub id: ResourceId,
}

/// Where a list of performances goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerformanceCursor {
    pub starts_at: UnixMs,
    pub id: ResourceId,
}

/// Where a list of reservations goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationCursor {
    pub created_at: UnixMs,
    pub id: ResourceId,
}

/// Where a wallet's history goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCursor {
    pub sequence: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Page::<()>::new(asked, None).size(), given, "{asked}");
        }
    }

    #[test]
    fn only_a_page_with_a_successor_has_a_cursor() {
        let page = Page::<u32>::new(2, None);
        let full = page.listing(vec![1, 2], |n| *n);
        assert_eq!((full.items, full.next), (vec![1, 2], None));
        let more = page.listing(vec![1, 2, 3], |n| *n);
        assert_eq!((more.items, more.next), (vec![1, 2], Some(2)));
    }
}
