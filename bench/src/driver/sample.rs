//! Numbers without an end, in bounded memory: all of them at first, then every
//! second, every fourth, …, and the smallest and largest always.

use super::order::Quantiles;

const KEPT_MAX: usize = 1 << 20;

#[derive(Debug)]
pub struct Sample {
    kept: Vec<f64>,
    /// One of so many is kept.
    every: u64,
    seen: u64,
    low: f64,
    high: f64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            every: 1,
            seen: 0,
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
        }
    }
}

impl Sample {
    pub fn add(&mut self, number: f64) {
        self.low = self.low.min(number);
        self.high = self.high.max(number);
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(number);
        }
        self.seen += 1;
        if self.kept.len() >= KEPT_MAX {
            let mut nth = 0_u32;
            self.kept.retain(|_| {
                nth = nth.wrapping_add(1);
                nth % 2 == 1
            });
            self.every *= 2;
        }
    }

    pub fn quantiles(&self) -> Quantiles {
        let mut quantiles = Quantiles::of(self.kept.clone());
        quantiles.count = self.seen;
        if let Some(first) = quantiles.at.first_mut() {
            *first = self.low;
        }
        if let Some(last) = quantiles.at.last_mut() {
            *last = self.high;
        }
        quantiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_stays_small_and_keeps_its_ends() {
        let mut sample = Sample::default();
        let count: u32 = 3 << 20;
        (0..count).for_each(|number| sample.add(f64::from(number)));
        assert!(sample.kept.len() < KEPT_MAX);
        let quantiles = sample.quantiles();
        assert_eq!(quantiles.count, u64::from(count));
        assert_eq!(quantiles.part(100), f64::from(count - 1));
        let middle = quantiles.part(50) / f64::from(count);
        assert!((middle - 0.5).abs() < 0.01, "{middle}");
        assert!(Sample::default().quantiles().at.is_empty());
    }
}
