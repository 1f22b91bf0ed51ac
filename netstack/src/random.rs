//! Unpredictable numbers out of one seed: initial sequence numbers and ports.

use std::hash::{DefaultHasher, Hasher};

/// A generator: SipHash of a secret seed and a counter. Whoever sees some of its numbers has to try 2^64 seeds to know the
/// others; more is not at stake, for they leave through an authenticated tunnel.
pub(crate) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// A number below `bound`, which is at most 65536: the bias is below 2^-47.
    pub(crate) fn below(&mut self, bound: u16) -> u16 {
        let bound = u64::from(bound.max(1));
        u16::try_from(self.next_u64() % bound).unwrap_or(0)
    }
}
