//! Who asked for a payment, while they wait for it. They hear of the payment, or
//! that there is none and the same may be asked again: never both, whoever is
//! first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITS: u8 = 0;
const TOLD: u8 = 1;
const REFUSED: u8 = 2;

#[derive(Clone, Default)]
pub(super) struct Caller(Arc<AtomicU8>);

impl Caller {
    /// Whether they hear of the payment, from now on at the latest.
    pub(super) fn is_told(&self) -> bool {
        self.is(TOLD)
    }

    /// Whether they hear that there is none, from now on at the latest.
    pub(super) fn is_refused(&self) -> bool {
        self.is(REFUSED)
    }

    fn is(&self, state: u8) -> bool {
        let relaxed = Ordering::Relaxed;
        let went = self.0.compare_exchange(WAITS, state, relaxed, relaxed);
        went.is_ok() || went == Err(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_first_decides() {
        let (told, refused) = (Caller::default(), Caller::default());
        assert!(told.is_told() && !told.clone().is_refused() && told.is_told());
        assert!(refused.is_refused() && !refused.clone().is_told() && refused.is_refused());
    }
}
