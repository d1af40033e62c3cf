//! The only place that draws randomness, injected like the clock.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::Uuid;

pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);

    /// A number in `[0, 1)`: for jitter.
    fn fraction(&self) -> f64;

    /// A fresh random UUID (version 4).
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The operating system's randomness, through a per-thread generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }

    fn fraction(&self) -> f64 {
        rand::rng().random()
    }
}

/// The same sequence for the same seed: for tests and the simulator.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill_bytes(bytes);
    }

    fn fraction(&self) -> f64 {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random()
    }
}
