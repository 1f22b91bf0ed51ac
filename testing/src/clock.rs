//! Time that passes only when a test says so.

use std::time::{Duration, Instant};

use adit_tunnel::Epoch;

/// The unix time at which every [`Clock`] starts: 2026-06-01.
pub const UNIX_START: Duration = Duration::from_secs(1_780_272_000);

/// A clock that never runs by itself, and never backwards.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    now: Instant,
}

impl Clock {
    /// Starts now, as good an instant as any.
    #[must_use]
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    /// Lets this much time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Goes to this instant, if it has not passed yet.
    pub fn jump_to(&mut self, instant: Instant) {
        self.now = self.now.max(instant);
    }

    /// What it shows.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.duration_since(self.start)
    }

    /// Its start on the calendar.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        Epoch::new(self.start, UNIX_START)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
