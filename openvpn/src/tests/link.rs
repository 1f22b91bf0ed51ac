//! One direction of a network: delay, loss, duplication, reordering, all from a seed.

use std::time::{Duration, Instant};

use adit_testing::SeededRandom;
use adit_tunnel::Random;
use bytes::Bytes;

use super::millis;

/// What a link does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkSettings {
    pub(super) delay: Duration,
    /// Added at random: reorders.
    pub(super) jitter: Duration,
    /// Of 100 control datagrams.
    pub(super) loss: u32,
    /// Of 100 datagrams.
    pub(super) duplicates: u32,
}

impl LinkSettings {
    /// Nothing is lost, and everything arrives in order.
    pub(super) const GOOD: Self = Self { delay: millis(10), jitter: Duration::ZERO, loss: 0, duplicates: 0 };
    /// A bad mobile network.
    pub(super) const BAD: Self = Self { delay: millis(20), jitter: millis(80), loss: 20, duplicates: 10 };
    /// Nothing is lost, but nearly everything is overtaken.
    pub(super) const REORDERING: Self = Self { delay: millis(5), jitter: millis(60), loss: 0, duplicates: 5 };
}

pub(super) struct Link {
    settings: LinkSettings,
    random: SeededRandom,
    in_flight: Vec<(Instant, u64, Bytes)>,
    sent: u64,
    /// Everything is lost while set.
    pub(super) cut: bool,
}

impl Link {
    pub(super) fn new(settings: LinkSettings, seed: u64) -> Self {
        Self { settings, random: SeededRandom::new(seed), in_flight: Vec::new(), sent: 0, cut: false }
    }

    pub(super) fn send(&mut self, now: Instant, datagram: Bytes) {
        let lost = self.percent() < self.settings.loss;
        if self.cut || lost {
            return;
        }
        if self.percent() < self.settings.duplicates {
            self.enqueue(now, datagram.clone());
        }
        self.enqueue(now, datagram);
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.iter().map(|(at, ..)| *at).min()
    }

    pub(super) fn arrived(&mut self, now: Instant) -> Option<Bytes> {
        let due = self.in_flight.iter().enumerate().filter(|(_, (at, ..))| *at <= now);
        let (index, _) = due.min_by_key(|(_, (at, order, _))| (*at, *order))?;
        Some(self.in_flight.swap_remove(index).2)
    }

    fn enqueue(&mut self, now: Instant, datagram: Bytes) {
        let jitter = self.settings.jitter.as_micros() as u32;
        let jitter = if jitter == 0 { 0 } else { self.random.next_u32() % jitter };
        self.sent += 1;
        self.in_flight.push((now + self.settings.delay + Duration::from_micros(jitter.into()), self.sent, datagram));
    }

    fn percent(&mut self) -> u32 {
        self.random.next_u32() % 100
    }
}
