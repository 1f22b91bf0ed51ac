//! When what is unacknowledged is sent again: earlier than smoltcp would.
//!
//! smoltcp 0.14 waits at least a second, as RFC 6298 §2.4 has it. Every other stack has gone below that long ago; without
//! SACK we need the timer more often than they do. The least here is Linux', which is made to outlast delayed
//! acknowledgments. What happens when the time is over is still smoltcp's doing: [`Live`](crate::live::Live) puts the clock of
//! the connection forward.

use std::time::{Duration, Instant};

use crate::device::is_before;

/// The retransmission timer of one connection (RFC 6298).
#[derive(Debug, Default)]
pub(crate) struct Rto {
    estimate: Option<Estimate>,
    sample: Option<Sample>,
    /// How often it expired since something new was acknowledged.
    expired: u32,
    /// When it expires; `None` while nothing is unacknowledged, or nothing is known about the path.
    at: Option<Instant>,
}

/// The smoothed round trip and how much it varies.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    smoothed: Duration,
    variation: Duration,
}

/// A round trip being measured: when a segment was sent, and the sequence number after it.
#[derive(Debug, Clone, Copy)]
struct Sample {
    began: Instant,
    next: u32,
}

impl Rto {
    /// When it expires.
    pub(crate) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// How long it runs, once a round trip was seen.
    pub(crate) fn time_out(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.time_out().min(LONGEST))
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// A segment was sent for the first time; `next` is the sequence number after it.
    pub(crate) fn on_sent(&mut self, now: Instant, next: u32) {
        self.sample.get_or_insert(Sample { began: now, next });
        if self.at.is_none() {
            self.restart(now);
        }
    }

    /// A segment was sent again. Its acknowledgment may be for the first time: it measures nothing (RFC 6298 §3).
    pub(crate) fn on_sent_again(&mut self, now: Instant) {
        self.sample = None;
        if self.is_due(now) {
            self.expired = self.expired.saturating_add(1);
        }
        self.restart(now);
    }

    /// Everything before this sequence number is acknowledged, something of it for the first time; `all` that was sent?
    pub(crate) fn on_acknowledged(&mut self, now: Instant, unacknowledged: u32, all: bool) {
        if let Some(sample) = self.sample.take_if(|sample| !is_before(unacknowledged, sample.next)) {
            let time = now.saturating_duration_since(sample.began);
            self.estimate = Some(self.estimate.map_or_else(|| Estimate::first(time), |before| before.with(time)));
        }
        self.expired = 0;
        self.stop();
        if !all {
            self.restart(now);
        }
    }

    /// Lets it expire at once, if it runs.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.at = self.at.map(|at| at.min(now));
    }

    /// Lets it expire at once, also if it never ran.
    pub(crate) const fn expire_now(&mut self, now: Instant) {
        self.at = Some(now);
    }

    pub(crate) const fn stop(&mut self) {
        self.at = None;
    }

    fn restart(&mut self, now: Instant) {
        let time =
            self.estimate.map(|estimate| estimate.time_out().saturating_mul(1 << self.expired.min(MOST_DOUBLINGS)));
        self.at = time.map(|time| now + time.min(LONGEST));
    }
}

impl Estimate {
    fn first(time: Duration) -> Self {
        Self { smoothed: time, variation: time / 2 }
    }

    /// RFC 6298 §2.3.
    fn with(self, time: Duration) -> Self {
        Self {
            smoothed: (self.smoothed * 7 + time) / 8,
            variation: (self.variation * 3 + self.smoothed.abs_diff(time)) / 4,
        }
    }

    fn time_out(self) -> Duration {
        self.smoothed + (self.variation * 4).max(LEAST_MARGIN)
    }
}

/// Linux' `TCP_RTO_MIN`, on top of the round trip.
const LEAST_MARGIN: Duration = Duration::from_millis(200);
/// RFC 6298 §2.5.
const LONGEST: Duration = Duration::from_secs(60);
/// Beyond [`LONGEST`] whatever the round trip.
const MOST_DOUBLINGS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        Instant::now()
    }

    /// A timer that has seen a steady round trip.
    fn steady(now: &mut Instant, round_trip: Duration) -> Rto {
        let mut rto = Rto::default();
        for sequence in 0..50 {
            rto.on_sent(*now, sequence + 1);
            *now += round_trip;
            rto.on_acknowledged(*now, sequence + 1, true);
        }
        rto
    }

    #[test]
    fn nothing_expires_before_a_round_trip_was_seen() {
        let mut rto = Rto::default();
        rto.on_sent(now(), 1);
        assert_eq!(rto.at(), None);
    }

    #[test]
    fn steady_path_gets_the_round_trip_and_the_least_margin() {
        let mut now = now();
        let mut rto = steady(&mut now, 20 * MILLI);
        assert_eq!(rto.at(), None, "all is acknowledged");
        rto.on_sent(now, 100);
        rto.on_sent(now + 50 * MILLI, 200);
        assert_eq!(rto.at(), Some(now + 220 * MILLI), "the oldest counts");
    }

    #[test]
    fn wavering_path_gets_more() {
        let mut now = now();
        let mut rto = Rto::default();
        for sequence in 0..50 {
            rto.on_sent(now, sequence + 1);
            now += if sequence % 2 == 0 { 100 * MILLI } else { 500 * MILLI };
            rto.on_acknowledged(now, sequence + 1, true);
        }
        rto.on_sent(now, 100);
        assert!(rto.at().is_some_and(|at| at > now + 900 * MILLI));
    }

    #[test]
    fn doubles_until_something_new_is_acknowledged() {
        let mut now = now();
        let mut rto = steady(&mut now, 20 * MILLI);
        rto.on_sent(now, 100);
        for expected in [440, 880, 1760, 3520, 7040, 14_080, 28_160, 56_320, 60_000, 60_000] {
            now = rto.at().expect("armed");
            assert!(rto.is_due(now));
            rto.on_sent_again(now);
            assert_eq!(rto.at(), Some(now + expected * MILLI));
        }
        rto.on_acknowledged(now, 50, false);
        assert_eq!(rto.at(), Some(now + 220 * MILLI));
    }

    #[test]
    fn segment_sent_again_measures_nothing() {
        let mut now = now();
        let mut rto = steady(&mut now, 20 * MILLI);
        rto.on_sent(now, 100);
        rto.on_sent_again(now + 20 * MILLI);
        now += 5000 * MILLI;
        rto.on_acknowledged(now, 100, true);
        rto.on_sent(now, 200);
        assert_eq!(rto.at(), Some(now + 220 * MILLI));
    }
}
