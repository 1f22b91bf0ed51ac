//! The operating system's generator, and its clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use adit_tunnel::{Epoch, Random, Randoms};

use crate::active::now;

/// Randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    /// If the operating system has no randomness to give: nothing secure can be done without.
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system provides randomness");
    }
}

/// A source of randomness for each peer: the same for all.
pub(crate) fn os_randoms() -> Randoms {
    Box::new(|| Box::new(OsRandom))
}

/// This moment on both clocks.
pub(crate) fn clocks() -> (Epoch, Instant) {
    let now = now();
    // A clock before 1970 makes certificates look not valid yet, which is then said.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Epoch::new(now, unix), now)
}
