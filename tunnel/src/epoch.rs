//! Pairs the monotonic clock with the calendar.

use std::time::{Duration, Instant};

/// One moment on both clocks, from which calendar time is computed for certificates and timestamps.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    instant: Instant,
    unix: Duration,
}

impl Epoch {
    /// `unix` is the time since 1970-01-01 UTC at `instant`.
    #[must_use]
    pub const fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// Time since 1970-01-01 UTC at `now`.
    #[must_use]
    pub fn unix_time(&self, now: Instant) -> Duration {
        match now.checked_duration_since(self.instant) {
            Some(later) => self.unix.saturating_add(later),
            None => self.unix.saturating_sub(self.instant.duration_since(now)),
        }
    }
}
