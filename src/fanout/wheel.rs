//! One hashed timing wheel per shard: insert and fire in constant time.
//!
//! An entry is a slot's key and a stamp; it counts only while the slot carries
//! the same stamp, so nothing is ever searched to be cancelled. What lies
//! beyond the horizon fires there and is put in again by its slot.

/// Granularity of the hub's time.
const STEP_MS: u64 = 100;
const BUCKETS: u64 = 512;

pub(super) type Entry = (usize, u64);

#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<Entry>>,
    /// Steps that have fired.
    turned: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            turned: 0,
        }
    }
}

impl Wheel {
    /// The entry fires at the first `advance` to `at_ms` or later, at the
    /// horizon at the latest.
    pub fn insert(&mut self, entry: Entry, at_ms: u64) {
        let step = at_ms
            .div_ceil(STEP_MS)
            .clamp(self.turned + 1, self.turned + BUCKETS - 1);
        self.buckets[(step % BUCKETS) as usize].push(entry);
    }

    pub fn advance(&mut self, now_ms: u64, fired: &mut Vec<Entry>) {
        while self.turned < now_ms / STEP_MS {
            self.turned += 1;
            fired.append(&mut self.buckets[(self.turned % BUCKETS) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fire_when_due_and_at_the_horizon_at_the_latest() {
        let mut wheel = Wheel::default();
        wheel.insert((1, 0), 250);
        wheel.insert((2, 0), 0);
        wheel.insert((3, 0), u64::MAX);
        let mut fired = Vec::new();
        wheel.advance(200, &mut fired);
        assert_eq!(fired, [(2, 0)]);
        wheel.advance(299, &mut fired);
        assert_eq!(fired.len(), 1, "never early");
        wheel.advance(300, &mut fired);
        assert_eq!(fired[1..], [(1, 0)]);
        wheel.advance(STEP_MS * BUCKETS, &mut fired);
        assert_eq!(fired[2..], [(3, 0)]);
    }
}
