//! How large the buffers of a connection are: small while little goes through them, larger as its traffic asks for it.

use std::time::{Duration, Instant};

/// Bytes of both buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

impl Sizes {
    pub(crate) const fn bytes(self) -> usize {
        self.receive.saturating_add(self.send)
    }
}

/// What a connection begins with and goes back to, and what it may have in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) least: Sizes,
    pub(crate) most: Sizes,
}

impl Bounds {
    /// Requests are shorter than their answers, and a send buffer grows without loss of time as long as nothing is in flight:
    /// it begins with half of the receive buffer.
    pub(crate) const fn new(least: usize, most: usize) -> Self {
        let send = if least < most { least / 2 } else { least };
        Self { least: Sizes { receive: least, send }, most: Sizes { receive: most, send: most } }
    }
}

/// What the buffers of one connection are, and whether others are wanted.
#[derive(Debug)]
pub(crate) struct Fitting {
    sizes: Sizes,
    bounds: Bounds,
    /// Bytes received since.
    received: usize,
    since: Option<Instant>,
    /// Since when a larger receive buffer is wanted.
    wants_receive: Option<Instant>,
    /// The send buffer is what kept its owner from sending more.
    wants_send: bool,
    /// There was no memory, or the other end is not as it should be.
    not_before: Option<Instant>,
    /// When data went in either direction last.
    active: Instant,
}

impl Fitting {
    pub(crate) const fn new(now: Instant, bounds: Bounds) -> Self {
        Self {
            sizes: bounds.least,
            bounds,
            received: 0,
            since: None,
            wants_receive: None,
            wants_send: false,
            not_before: None,
            active: now,
        }
    }

    pub(crate) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The remote knows no scaled windows (RFC 7323 §1.3): more than its header can say is of no use.
    pub(crate) fn without_scaling(&mut self) {
        self.bounds.most.receive = self.bounds.most.receive.min(usize::from(u16::MAX)).max(self.bounds.least.receive);
    }

    /// The buffer holds about what one round trip brings (RFC 9293 §3.8.6): if half of it has come within a few, it soon
    /// will not.
    pub(crate) fn on_received(&mut self, now: Instant, bytes: usize, round_trip: Duration) {
        self.active = now;
        let period = (round_trip * PERIOD).max(SHORTEST_PERIOD);
        if self.since.is_none_or(|since| now > since + period) {
            self.since = Some(now);
            self.received = 0;
        }
        self.received += bytes;
        if self.received >= self.sizes.receive / 2 {
            self.want_receive(now);
        }
    }

    /// The remote uses more of what was promised to it than the buffer holds now.
    pub(crate) fn want_receive(&mut self, now: Instant) {
        if self.sizes.receive < self.bounds.most.receive {
            self.wants_receive.get_or_insert(now);
        }
    }

    pub(crate) const fn on_sent(&mut self, now: Instant) {
        self.active = now;
    }

    /// The owner has more to send than the buffer holds.
    pub(crate) fn want_send(&mut self, now: Instant) {
        self.wants_send |= self.sizes.send < self.bounds.most.send && self.may(now);
    }

    /// Whether nothing more is to be sent until everything is acknowledged: buffers are exchanged only then. `may_receive`: more room to
    /// receive would be given now.
    pub(crate) fn holds(&self, now: Instant, may_receive: bool) -> bool {
        let is_overdue = may_receive && self.wants_receive.is_some_and(|since| now >= since + PATIENCE);
        self.may(now) && (self.wants_send || is_overdue)
    }

    fn may(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// Other sizes than those there are.
    pub(crate) fn wanted(&self, now: Instant) -> Option<Sizes> {
        if self.gives_back_at().is_some_and(|at| at <= now) {
            return Some(self.bounds.least);
        }
        let mut sizes = self.sizes;
        if self.may(now) && self.wants_receive.is_some() {
            sizes.receive = sizes.receive.saturating_mul(RECEIVE_GROWTH).min(self.bounds.most.receive);
        }
        if self.may(now) && self.wants_send {
            sizes.send = sizes.send.saturating_mul(SEND_GROWTH).min(self.bounds.most.send);
        }
        (sizes != self.sizes).then_some(sizes)
    }

    /// When what is more than the least is given back, unless data goes before.
    pub(crate) fn gives_back_at(&self) -> Option<Instant> {
        let after = self.active + SILENCE;
        (self.sizes != self.bounds.least).then(|| self.not_before.map_or(after, |at| at.max(after)))
    }

    /// These are the sizes from now on.
    pub(crate) const fn fitted(&mut self, now: Instant, sizes: Sizes) {
        if sizes.receive != self.sizes.receive {
            self.wants_receive = None;
            (self.received, self.since) = (0, None);
        }
        self.sizes = sizes;
        self.wants_send = false;
        self.active = now;
    }

    /// They cannot be had for now: what there is has to do.
    pub(crate) fn put_off(&mut self, now: Instant) {
        self.wants_receive = None;
        self.wants_send = false;
        self.not_before = Some(now + PUT_OFF);
    }
}

/// How many round trips count as one, for what is received is not measured as exactly as what is sent.
const PERIOD: u32 = 4;
/// Shorter ones are the scheduler's doing.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
/// From what a request and its answer need to a segmented send, to what most paths hold, to the most.
const RECEIVE_GROWTH: usize = 4;
/// In larger steps: each may cost a round trip.
const SEND_GROWTH: usize = 8;
/// How long a larger receive buffer waits for a moment at which nothing is in flight, before one is made.
const PATIENCE: Duration = Duration::from_millis(200);
/// Silence after which only the least is kept.
const SILENCE: Duration = Duration::from_secs(10);
const PUT_OFF: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        Instant::now()
    }

    #[test]
    fn a_slow_conversation_keeps_what_it_began_with() {
        let mut now = now();
        let mut fitting = Fitting::new(now, Bounds::new(16 * KIB, 512 * KIB));
        for _ in 0..1000 {
            now += Duration::from_millis(500);
            fitting.on_received(now, 4 * KIB, Duration::from_millis(20));
            assert_eq!(fitting.wanted(now), None);
        }
    }

    #[test]
    fn a_download_gets_the_most_in_three_steps_and_silence_takes_it_back() {
        let mut now = now();
        let mut fitting = Fitting::new(now, Bounds::new(16 * KIB, 512 * KIB));
        let mut steps = Vec::new();
        for _ in 0..1000 {
            now += Duration::from_millis(1);
            fitting.on_received(now, 8 * KIB, Duration::from_millis(20));
            if let Some(sizes) = fitting.wanted(now) {
                fitting.fitted(now, sizes);
                steps.push(sizes.receive / KIB);
            }
        }
        assert_eq!(steps, [64, 256, 512]);
        assert_eq!(fitting.sizes().send, 8 * KIB);
        assert_eq!(fitting.wanted(now + SILENCE - Duration::from_millis(1)), None);
        assert_eq!(fitting.wanted(now + SILENCE), Some(Sizes { receive: 16 * KIB, send: 8 * KIB }));
    }

    #[test]
    fn what_was_refused_is_not_asked_for_at_once() {
        let now = now();
        let mut fitting = Fitting::new(now, Bounds::new(16 * KIB, 512 * KIB));
        fitting.want_send(now);
        assert!(fitting.holds(now, true));
        fitting.put_off(now);
        fitting.want_send(now);
        assert!(!fitting.holds(now, true) && fitting.wanted(now).is_none());
        fitting.want_send(now + PUT_OFF);
        assert_eq!(fitting.wanted(now + PUT_OFF).map(|sizes| sizes.send), Some(64 * KIB));
    }

    #[test]
    fn equal_bounds_leave_nothing_to_wish_for() {
        let now = now();
        let mut fitting = Fitting::new(now, Bounds::new(64 * KIB, 64 * KIB));
        fitting.want_send(now);
        fitting.on_received(now, 1 << 20, Duration::ZERO);
        assert!(fitting.wanted(now + SILENCE).is_none() && !fitting.holds(now + SILENCE, true));
    }
}
