//! When to try again.

use std::time::Duration;

use crate::random::Random;

/// Waits that double up to a limit, each shortened at random so that many clients do not return at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    attempt: u32,
}

impl Backoff {
    /// The first wait is at most `first`, later ones at most `limit`.
    #[must_use]
    pub const fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, attempt: 0 }
    }

    /// The next wait: between half and all of the current step.
    pub fn next_wait(&mut self, random: &mut dyn Random) -> Duration {
        let step = self.first.saturating_mul(1u32.checked_shl(self.attempt).unwrap_or(u32::MAX)).min(self.limit);
        self.attempt = self.attempt.saturating_add(1).min(31);
        let half = step / 2;
        half + half.mul_f64(random.next_u32() as f64 / u32::MAX as f64)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn doubles_up_to_the_limit_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<_> = (0..4).map(|_| backoff.next_wait(&mut Fixed(0xff)).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        backoff.reset();
        assert_eq!(backoff.next_wait(&mut Fixed(0)), Duration::from_millis(500));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        for _ in 0..100 {
            assert!(backoff.next_wait(&mut Fixed(0xff)) <= Duration::from_secs(300));
        }
    }
}
