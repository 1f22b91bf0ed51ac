//! One direction of a wire that delays, loses, repeats and reorders.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::Random;

/// How bad a wire is. Chances are in permille.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// How long the wire is busy with each packet.
    pub(crate) service: Duration,
}

impl Quality {
    pub(crate) const PERFECT: Self = Self {
        latency: Duration::from_millis(5),
        jitter: Duration::ZERO,
        loss: 0,
        duplication: 0,
        service: Duration::ZERO,
    };
}

pub(crate) struct Link {
    quality: Quality,
    random: SeededRandom,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
    busy_until: Option<Instant>,
    pub(crate) cut: bool,
}

impl Link {
    pub(crate) fn new(quality: Quality, seed: u64) -> Self {
        Self {
            quality,
            random: SeededRandom::new(seed),
            under_way: BTreeMap::new(),
            sent: 0,
            busy_until: None,
            cut: false,
        }
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.random.next_u32() % 1000 < permille
    }

    pub(crate) fn send(&mut self, now: Instant, packet: &[u8]) {
        let copies = if self.chance(self.quality.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.cut || self.chance(self.quality.loss) {
                continue;
            }
            let jitter = u64::try_from(self.quality.jitter.as_micros()).unwrap();
            let extra = if jitter == 0 { 0 } else { self.random.next_u64() % jitter };
            self.sent += 1;
            let free_at = self.busy_until.map_or(now, |until| until.max(now)) + self.quality.service;
            self.busy_until = Some(free_at);
            let at = free_at + self.quality.latency + Duration::from_micros(extra);
            self.under_way.insert((at, self.sent), packet.to_vec());
        }
    }

    pub(crate) const fn is_lossy(&self) -> bool {
        self.quality.loss > 0
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn arrive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_arrival()? > now {
            return None;
        }
        self.under_way.pop_first().map(|(_, packet)| packet)
    }
}
