//! When something was broken on purpose: the only excuse a history has.
//!
//! An excuse reaches as far as the fault does, and no further: each check says
//! which moments of its own a fault can have touched, and for how long after.

use crate::truth::history::{History, Op};

/// In the name of a fault that cuts a server off.
const ISOLATED: &str = "isolated";

/// From one moment to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub from_ms: u64,
    pub to_ms: u64,
}

impl Span {
    pub fn new(from_ms: u64, to_ms: u64) -> Self {
        Self { from_ms, to_ms }
    }

    /// Whether they have a moment in common.
    pub fn meets(self, other: Self) -> bool {
        self.from_ms <= other.to_ms && other.from_ms <= self.to_ms
    }

    pub fn has(self, ms: u64) -> bool {
        self.meets(Self::new(ms, ms))
    }

    /// What is left of it outside of others.
    pub fn without(self, others: &[Self]) -> Vec<Self> {
        let mut left = vec![self];
        for other in others {
            let parts = left.into_iter().flat_map(|part| {
                let before = Self::new(part.from_ms, part.to_ms.min(other.from_ms));
                let after = Self::new(part.from_ms.max(other.to_ms), part.to_ms);
                [before, after]
            });
            left = parts.filter(|part| part.from_ms < part.to_ms).collect();
        }
        left
    }

    /// It, and some time before and after.
    pub fn with_margins(self, before_ms: u64, after_ms: u64) -> Self {
        Self {
            from_ms: self.from_ms.saturating_sub(before_ms),
            to_ms: self.to_ms.saturating_add(after_ms),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub all: Vec<Span>,
    /// Those of them that cut a server off with some of its clients, so that an
    /// epoch could go on there beside the next one.
    splits: Vec<Span>,
}

impl Faults {
    pub fn read(history: &History) -> Self {
        let mut faults = Self::default();
        for record in &history.records {
            if let Op::Fault { what } = &record.op {
                let span = Span::new(record.invoked_ms, record.returned_ms);
                faults.all.push(span);
                if what.contains(ISOLATED) {
                    faults.splits.push(span);
                }
            }
        }
        faults
    }

    /// Whether something was broken at any time of a span.
    pub fn during(&self, span: Span) -> bool {
        self.all.iter().any(|fault| fault.meets(span))
    }

    /// When the first split that a span meets began.
    pub fn split_during(&self, span: Span) -> Option<u64> {
        let met = self.splits.iter().filter(|split| split.meets(span));
        met.map(|split| split.from_ms).min()
    }
}
