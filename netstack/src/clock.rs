//! Our time and smoltcp's.

use std::time::{Duration, Instant};

/// Turns instants into smoltcp's microseconds since the first one seen, and back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    times: Option<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    base: Instant,
    latest: Instant,
}

impl Clock {
    /// Takes note of the time, which never goes back: an earlier instant is read as the latest one.
    pub(crate) fn advance(&mut self, now: Instant) -> Instant {
        let times = self.times.get_or_insert(Times { base: now, latest: now });
        times.latest = times.latest.max(now);
        times.latest
    }

    /// The latest time seen, for calls that bring none along.
    pub(crate) fn latest(&self) -> Option<Instant> {
        self.times.map(|times| times.latest)
    }

    /// The time since the first one seen.
    pub(crate) fn since_first(&self, instant: Instant) -> Duration {
        self.times.map_or(Duration::ZERO, |times| instant.saturating_duration_since(times.base))
    }

    pub(crate) fn to_smoltcp(&self, instant: Instant) -> smoltcp::time::Instant {
        let since = self.since_first(instant);
        smoltcp::time::Instant::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// `None` for what lies too far ahead to be an instant.
    pub(crate) fn read_smoltcp(&self, instant: smoltcp::time::Instant) -> Option<Instant> {
        let micros = u64::try_from(instant.total_micros()).unwrap_or(0);
        self.times?.base.checked_add(Duration::from_micros(micros))
    }
}
