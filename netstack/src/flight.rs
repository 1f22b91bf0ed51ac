//! How much of a connection may be in flight: about twice what the path is seen to hold.
//!
//! Cubic alone fills whatever queue the path has until it overflows, and smoltcp 0.14 recovers from that at a price: without
//! SACK it sends the whole window again. The smallest queue is often the gateway's receive buffer (some 90 packets for a
//! stock OpenVPN server). Twice the product of rate and shortest round trip keeps such a queue busy without filling it, and
//! lets the rate double with each round trip as long as the path gives more (as in BBR, `cwnd_gain` 2).

use std::time::{Duration, Instant};

use crate::device::is_before;

/// The limit of one connection, and what it is reckoned from.
#[derive(Debug)]
pub(crate) struct FlightLimit {
    bytes: usize,
    shortest: Option<Shortest>,
    /// Bytes a second of the latest rounds, the newest first.
    rates: [u64; RATES],
    round: Option<Round>,
    /// The highest sequence number sent so far, plus one.
    next: Option<u32>,
}

/// The shortest round trip seen lately.
#[derive(Debug, Clone, Copy)]
struct Shortest {
    time: Duration,
    seen_at: Instant,
}

/// From the first sending of a segment until it is acknowledged.
#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    /// The oldest sequence number not acknowledged then, and the one after the segment.
    unacknowledged: u32,
    next: u32,
    /// Half of the limit holds during this round, so that the queue drains and the round trip shows its true length.
    drains: bool,
}

impl FlightLimit {
    pub(crate) const fn new() -> Self {
        Self { bytes: LEAST, shortest: None, rates: [0; RATES], round: None, next: None }
    }

    /// Bytes that may be unacknowledged.
    pub(crate) fn bytes(&self) -> usize {
        if self.round.is_some_and(|round| round.drains) { (self.bytes / 2).max(LEAST) } else { self.bytes }
    }

    /// The shortest round trip seen lately; zero before any was.
    pub(crate) fn shortest_round_trip(&self) -> Duration {
        self.shortest.map_or(Duration::ZERO, |shortest| shortest.time)
    }

    /// Everything before this sequence number is acknowledged.
    pub(crate) fn on_acknowledged(&mut self, now: Instant, unacknowledged: u32) {
        if let Some(round) = self.round.take_if(|round| !is_before(unacknowledged, round.next)) {
            self.on_round(now, round, unacknowledged);
        }
    }

    /// A segment was sent; `next` is the highest sequence number sent so far, plus one. What is sent again starts no round:
    /// its acknowledgment may be for the first time (Karn's algorithm).
    pub(crate) fn on_sent(&mut self, now: Instant, unacknowledged: u32, next: u32) {
        let is_new = self.next.is_none_or(|before| is_before(before, next));
        if is_new && self.round.is_none() {
            let drains = self.shortest.is_some_and(|shortest| now >= shortest.seen_at + SHORTEST_LIFETIME);
            self.round = Some(Round { began: now, unacknowledged, next, drains });
        }
        if is_new {
            self.next = Some(next);
        }
    }

    fn on_round(&mut self, now: Instant, round: Round, unacknowledged: u32) {
        let time = now.duration_since(round.began).max(SHORTEST_ROUND);
        if round.drains || self.shortest.is_none_or(|shortest| time <= shortest.time) {
            self.shortest = Some(Shortest { time, seen_at: now });
        }
        let delivered = u64::from(unacknowledged.wrapping_sub(round.unacknowledged));
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.rates.rotate_right(1);
        if let Some(newest) = self.rates.first_mut() {
            *newest = delivered.saturating_mul(1_000_000) / micros;
        }
        let rate = self.rates.iter().copied().max().unwrap_or(0);
        let shortest = self.shortest.map_or(time, |shortest| shortest.time);
        let shortest = u64::try_from(shortest.as_micros()).unwrap_or(u64::MAX);
        let product = rate.saturating_mul(shortest) / 1_000_000;
        self.bytes = usize::try_from(product.saturating_mul(GAIN)).unwrap_or(usize::MAX).max(LEAST);
    }
}

/// What any path takes; also what a new connection begins with, as far as Cubic lets it.
const LEAST: usize = 32 << 10;
const GAIN: u64 = 2;
/// The highest rate of so many rounds counts: a round in which the owner had little to send says nothing.
const RATES: usize = 8;
/// How long a shortest round trip is believed (BBR's `ProbeRTT` interval): the path may have become longer.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
/// Less than that is the clock's noise.
const SHORTEST_ROUND: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries `rate` bytes a second with this round trip; its queue is endless.
    fn limit_after(rounds: u32, rate: u64, round_trip: Duration) -> (FlightLimit, Instant, u32) {
        #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
        let mut now = Instant::now();
        let (mut limit, mut sequence) = (FlightLimit::new(), u32::MAX - 100_000);
        for _ in 0..rounds {
            let flight = limit.bytes() as u32;
            limit.on_sent(now, sequence, sequence.wrapping_add(flight));
            now += round_trip.max(Duration::from_micros(u64::from(flight) * 1_000_000 / rate));
            sequence = sequence.wrapping_add(flight);
            limit.on_acknowledged(now, sequence);
        }
        (limit, now, sequence)
    }

    #[test]
    fn grows_to_twice_what_the_path_holds_and_no_further() {
        let (limit, ..) = limit_after(40, 100_000_000, Duration::from_millis(20));
        let holds = 100_000_000 / 50;
        assert!((holds..=2 * holds + 1000).contains(&limit.bytes()), "{}", limit.bytes());
    }

    #[test]
    fn a_near_gateway_is_not_flooded() {
        let (limit, ..) = limit_after(1000, 60_000_000, Duration::from_micros(300));
        // Nothing less than the least was tried, so the queue it makes passes for the path.
        assert!(limit.bytes() <= 2 * LEAST, "{}", limit.bytes());
    }

    #[test]
    fn a_path_that_has_become_longer_is_believed_in_the_end() {
        let (mut limit, mut now, mut sequence) = limit_after(40, 100_000_000, Duration::from_millis(5));
        let before = limit.bytes();
        for _ in 0..300 {
            let flight = limit.bytes() as u32;
            limit.on_sent(now, sequence, sequence.wrapping_add(flight));
            now += Duration::from_millis(50);
            sequence = sequence.wrapping_add(flight);
            limit.on_acknowledged(now, sequence);
        }
        assert!(limit.bytes() > before, "{} after {before}", limit.bytes());
    }

    #[test]
    fn an_owner_that_sends_little_does_not_shrink_it_at_once() {
        let (mut limit, mut now, sequence) = limit_after(40, 100_000_000, Duration::from_millis(20));
        let before = limit.bytes();
        limit.on_sent(now, sequence, sequence.wrapping_add(100));
        now += Duration::from_millis(20);
        limit.on_acknowledged(now, sequence.wrapping_add(100));
        assert_eq!(limit.bytes(), before);
    }
}
