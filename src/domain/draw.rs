//! The draw: who comes first among those who registered before opening, as a function anyone can recompute.
//!
//! Before the first place exists a room publishes the [`commitment`] of a secret; at opening the count `n` of each
//! lane is fixed (and, where the room names one, a public beacon is awaited); then the secret is published. Whoever
//! has these values and a place number computes the place's order without Usher. Write `SHA256[a, b, ...]` for SHA-256
//! over each field in turn, every field preceded by its length in bytes as an unsigned 64-bit big-endian integer.
//!
//! 1. `commitment = SHA256["usher.draw.commitment.v1", secret]`, `secret` being 32 bytes.
//! 2. `seed = SHA256["usher.draw.seed.v1", secret, room_id, lane, n, beacon]`: texts as UTF-8, `n` as an unsigned
//!    64-bit big-endian integer (a field of 8 bytes); without a beacon the last field is left out, length and all.
//! 3. For each round `r = 0 … 11`: `d = SHA256["usher.draw.round.v1", seed, r]`, `r` as one byte; `a[r]` is the
//!    unsigned 64-bit **little-endian** integer in bytes 0–7 of `d`, `b[r]` the one in bytes 8–15.
//! 4. `mix(z)`, all modulo 2⁶⁴: `z = (z xor (z >> 30)) * 0xbf58476d1ce4e5b9`, `z = (z xor (z >> 27)) *
//!    0x94d049bb133111eb`, `z xor (z >> 31)`.
//! 5. `h` is the smallest integer ≥ 1 with `4^h ≥ n`. One pass over `x` (`0 ≤ x < 4^h`): `left = x >> h`,
//!    `right = x mod 2^h`; for `r = 0 … 11`: `f = mix(mix(right xor a[r]) xor b[r]) >> (64 - h)`, then
//!    `(left, right) = (right, left xor f)`; the result is `left * 2^h + right`.
//! 6. `order(number)`, for `1 ≤ number ≤ n`: start with `x = number - 1`, pass until `x < n`, at least once;
//!    the order is `x + 1`. For a number above `n`, who came after opening, the order is the number.
//!
//! Why these parts: a Feistel network is a permutation whatever its round function, and cycle walking (Black and
//! Rogaway, "Ciphers with arbitrary finite domains", 2002) restricts it to `1 … n` and keeps it one; the domain is
//! less than `4·n` (4 for `n = 1`), so both directions take a constant number of passes on average. Nobody can
//! search for a good key: the secret is bound by its commitment before `n` is known, and all becomes public at once.
//! So the round function needs statistical quality, not secrecy: twice the finaliser of SplitMix64 (Steele, Lea,
//! Flood 2014; constants by Stafford, "Mix13"), with independent keys. Luby and Rackoff need 3 or 4 rounds and the
//! bias of a pair of places shrinks by `2^h` with each further one; twelve make tiny lanes uniform as well.

use sha2::{Digest, Sha256};

const ROUNDS: usize = 12;
const COMMITMENT_TAG: &str = "usher.draw.commitment.v1";
const SEED_TAG: &str = "usher.draw.seed.v1";
const ROUND_TAG: &str = "usher.draw.round.v1";

/// The published hash of a room's secret.
#[must_use]
pub fn commitment(secret: &[u8; 32]) -> [u8; 32] {
    hash_fields(&[COMMITMENT_TAG.as_bytes(), secret])
}

/// The seed of one lane's permutation.
#[must_use]
pub fn seed(
    secret: &[u8; 32],
    room_id: &str,
    lane: &str,
    n: u64,
    beacon: Option<&str>,
) -> [u8; 32] {
    let n = n.to_be_bytes();
    let mut fields = vec![
        SEED_TAG.as_bytes(),
        secret,
        room_id.as_bytes(),
        lane.as_bytes(),
        &n,
    ];
    fields.extend(beacon.map(str::as_bytes));
    hash_fields(&fields)
}

/// The drawn order of the numbers `1 … n` of one lane, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [(u64, u64); ROUNDS],
}

impl Permutation {
    #[must_use]
    pub fn new(seed: &[u8; 32], n: u64) -> Self {
        let keys = std::array::from_fn(|round| {
            let digest = hash_fields(&[ROUND_TAG.as_bytes(), seed, &[round as u8]]);
            let (words, _) = digest.as_chunks::<8>();
            (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
        });
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self {
            n,
            half_bits: bits.div_ceil(2).max(1),
            keys,
        }
    }

    /// How many numbers take part in the draw.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The order of a number; numbers behind `n` (and 0, which is never issued) keep themselves.
    #[must_use]
    pub fn order(&self, number: u64) -> u64 {
        self.walk(number, |x| self.encrypt(x))
    }

    /// The number at an order: the inverse of [`Self::order`].
    #[must_use]
    pub fn number(&self, order: u64) -> u64 {
        self.walk(order, |x| self.decrypt(x))
    }

    // Ends: x lies on a cycle of the pass that comes back to a value below n, at the latest to x itself.
    fn walk(&self, from: u64, pass: impl Fn(u64) -> u64) -> u64 {
        if from == 0 || from > self.n {
            return from;
        }
        let mut x = pass(from - 1);
        while x >= self.n {
            x = pass(x);
        }
        x + 1
    }

    fn encrypt(&self, x: u64) -> u64 {
        let (mut left, mut right) = self.split(x);
        for &key in &self.keys {
            (left, right) = (right, left ^ self.round(right, key));
        }
        self.join(left, right)
    }

    fn decrypt(&self, x: u64) -> u64 {
        let (mut left, mut right) = self.split(x);
        for &key in self.keys.iter().rev() {
            (left, right) = (right ^ self.round(left, key), left);
        }
        self.join(left, right)
    }

    fn round(&self, half: u64, (a, b): (u64, u64)) -> u64 {
        mix(mix(half ^ a) ^ b) >> (u64::BITS - self.half_bits)
    }

    fn split(&self, x: u64) -> (u64, u64) {
        (x >> self.half_bits, x & ((1 << self.half_bits) - 1))
    }

    fn join(&self, left: u64, right: u64) -> u64 {
        (left << self.half_bits) | right
    }
}

/// What a room publishes about the draw of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub room_id: String,
    pub lane: String,
    pub commitment: [u8; 32],
    pub secret: [u8; 32],
    pub n: u64,
    pub beacon: Option<String>,
}

impl Published {
    #[must_use]
    pub fn permutation(&self) -> Permutation {
        let seed = seed(
            &self.secret,
            &self.room_id,
            &self.lane,
            self.n,
            self.beacon.as_deref(),
        );
        Permutation::new(&seed, self.n)
    }
}

/// Why a claimed order is not the drawn one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrawMismatch {
    #[error("the published secret is not the one the room committed to before the first place")]
    Secret,
    #[error("number 0 is never issued")]
    NumberZero,
    #[error(
        "number {number} came after the draw of {n} places, so its order is {number}, not {claimed}"
    )]
    NotDrawn { number: u64, n: u64, claimed: u64 },
    #[error("order {claimed} of number {number} lies outside the draw of {n} places")]
    OutsideDraw { number: u64, n: u64, claimed: u64 },
    #[error(
        "the draw gives number {number} the order {drawn}, not {claimed}: the order, the count or the beacon is not \
         the one of the draw"
    )]
    Order {
        number: u64,
        drawn: u64,
        claimed: u64,
    },
}

/// Recomputes one place's order from published data alone. An altered secret is always named. One place cannot tell
/// an altered count or beacon from an altered order, and meets its own order by chance once in `n`; two places do so
/// once in `n²`.
pub fn verify(published: &Published, number: u64, claimed_order: u64) -> Result<(), DrawMismatch> {
    if commitment(&published.secret) != published.commitment {
        return Err(DrawMismatch::Secret);
    }
    if number == 0 {
        return Err(DrawMismatch::NumberZero);
    }
    let (n, claimed) = (published.n, claimed_order);
    let drawn = published.permutation().order(number);
    match drawn == claimed {
        true => Ok(()),
        false if number > n => Err(DrawMismatch::NotDrawn { number, n, claimed }),
        false if claimed == 0 || claimed > n => {
            Err(DrawMismatch::OutsideDraw { number, n, claimed })
        }
        false => Err(DrawMismatch::Order {
            number,
            drawn,
            claimed,
        }),
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hash_fields(fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
