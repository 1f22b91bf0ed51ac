//! Unpredictable numbers out of one seed: initial sequence numbers and ports.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::demux::Tuple;

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

    /// The first sequence number of a connection (RFC 6528), `time` after the beginning: not to be foreseen, but for the same 5-tuple later
    /// always greater, so that a remote that still remembers the connection before knows the SYN of a new one (RFC 9293 §3.6.1).
    pub(crate) fn first_sequence(&self, tuple: &Tuple, time: Duration) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        tuple.hash(&mut hasher);
        let ticks = time.as_nanos() >> TICK_BITS;
        // Both go round.
        (hasher.finish() as u32).wrapping_add(ticks as u32)
    }

    /// A number below `bound`, which is at most 65536: the bias is below 2^-47.
    pub(crate) fn below(&mut self, bound: u16) -> u16 {
        let bound = u64::from(bound.max(1));
        u16::try_from(self.next_u64() % bound).unwrap_or(0)
    }
}

/// A tick of 256 ns: a connection that sends less than 3.9 MB for each second until its port comes again leaves no number above the
/// next one's first, and half of all numbers last nine minutes, longer than any TIME-WAIT.
const TICK_BITS: u32 = 8;
