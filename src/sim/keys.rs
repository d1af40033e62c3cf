//! The keys of simulated nodes, made once for all seeds: a node's keys are a
//! value, and loading them costs more than a seed.

use std::sync::Arc;

use crate::domain::time::UnixMs;
use crate::fanout::{PassRequest, PassSigner};
use crate::keys::Keys;
use crate::keys::pass::PassClaims;
use crate::keys::ring::KeyRing;

/// A fifth key would make the oldest tokens unreadable.
pub(super) const ROTATIONS_MAX: usize = 3;
pub(super) const ROTATION_LEAD_MS: u64 = 5_000;

/// A ring after each rotation, read before its newest key signs and after.
#[derive(Debug, Clone)]
pub struct KeySets(Vec<[Arc<Keys>; 2]>);

impl KeySets {
    #[must_use]
    pub fn new() -> Self {
        let next = std::cell::Cell::new(1_u8);
        let bytes = |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = next.get().wrapping_mul(167).wrapping_add(13);
                next.set(next.get().wrapping_add(1));
            }
        };
        let mut now = UnixMs(1_000_000);
        let mut ring = KeyRing::generate(now, &bytes);
        let load = |ring: &KeyRing, now| Arc::new(Keys::load(ring, now).expect("a good ring"));
        let mut sets = vec![[load(&ring, now), load(&ring, now)]];
        for _ in 0..ROTATIONS_MAX {
            ring.rotate(now, ROTATION_LEAD_MS / 1_000, &bytes);
            let signs_from = now.plus_ms(ROTATION_LEAD_MS);
            sets.push([load(&ring, now), load(&ring, signs_from)]);
            now = signs_from;
        }
        Self(sets)
    }

    pub(super) fn of(&self, rotations: usize, signs: bool) -> Arc<Keys> {
        Arc::clone(&self.0[rotations][usize::from(signs)])
    }
}

impl Default for KeySets {
    fn default() -> Self {
        Self::new()
    }
}

/// Signs each pass anew: seeds share keys, and must not share a memory of
/// what was signed.
pub(super) struct Signer(pub(super) Arc<Keys>);

impl PassSigner for Signer {
    fn pass(&self, request: &PassRequest) -> Arc<str> {
        let claims = PassClaims::from(request);
        self.0.passes.sign(&claims).into()
    }
}
