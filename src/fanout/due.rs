//! The kinds of news a stream owes, in the order in which they are said.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Before everything: nothing is said without it.
    Snapshot,
    Activated,
    Ended,
    RoomChanged,
    Drain,
    Position,
    Heartbeat,
}

const IN_ORDER: [Kind; 7] = [
    Kind::Snapshot,
    Kind::Activated,
    Kind::Ended,
    Kind::RoomChanged,
    Kind::Drain,
    Kind::Position,
    Kind::Heartbeat,
];

/// What is pushed when it happens; the others come by time.
pub(super) const NEWS: [Kind; 3] = [Kind::Activated, Kind::Ended, Kind::RoomChanged];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DueSet(u8);

impl DueSet {
    pub fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }

    pub fn remove(&mut self, kind: Kind) {
        self.0 &= !(1 << kind as u8);
    }

    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Something that a delta named is due.
    pub fn has_news(self) -> bool {
        NEWS.iter().any(|kind| self.contains(*kind))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn first(self) -> Option<Kind> {
        IN_ORDER.get(self.0.trailing_zeros() as usize).copied()
    }
}
