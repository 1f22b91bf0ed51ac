//! One direction of a wire that delays, loses, repeats and reorders.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use adit_testing::SeededRandom;
use adit_tunnel::Random;

/// How bad a wire is. Chances are in permille, unless another unit is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// How long the wire is busy with each packet.
    pub(crate) service: Duration,
    /// What would wait longer than that for the wire to be free is dropped.
    pub(crate) queue: Option<Duration>,
    /// Packets lost of a million, besides `loss`.
    pub(crate) rare_loss: u32,
    pub(crate) bursts: Option<Bursts>,
    pub(crate) late: Option<Late>,
}

/// Packets lost in a row, again and again. The time between is drawn from half to three halves of `every`: TCP's own
/// timers must not fall into step with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bursts {
    pub(crate) every: Duration,
    pub(crate) packets: u32,
}

/// Packets overtaken by others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Late {
    pub(crate) chance: u32,
    pub(crate) by: Duration,
}

impl Quality {
    pub(crate) const PERFECT: Self = Self {
        latency: Duration::from_millis(5),
        jitter: Duration::ZERO,
        loss: 0,
        duplication: 0,
        service: Duration::ZERO,
        queue: None,
        rare_loss: 0,
        bursts: None,
        late: None,
    };
}

pub(crate) struct Link {
    quality: Quality,
    random: SeededRandom,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
    busy_until: Option<Instant>,
    next_burst: Option<Instant>,
    /// How many more are lost in this burst.
    burst: u32,
    pub(crate) lost: u64,
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
            next_burst: None,
            burst: quality.bursts.map_or(0, |bursts| bursts.packets),
            lost: 0,
            cut: false,
        }
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.random.next_u32() % 1000 < permille
    }

    pub(crate) fn send(&mut self, now: Instant, packet: &[u8]) {
        let copies = if self.chance(self.quality.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.cut || self.chance(self.quality.loss) || self.is_lost(now) {
                self.lost += 1;
                continue;
            }
            let jitter = u64::try_from(self.quality.jitter.as_micros()).unwrap();
            let extra = if jitter == 0 { 0 } else { self.random.next_u64() % jitter };
            self.sent += 1;
            let free_at = self.busy_until.map_or(now, |until| until.max(now)) + self.quality.service;
            self.busy_until = Some(free_at);
            let late = self.quality.late.filter(|late| self.chance(late.chance)).map_or(Duration::ZERO, |late| late.by);
            let at = free_at + self.quality.latency + Duration::from_micros(extra) + late;
            self.under_way.insert((at, self.sent), packet.to_vec());
        }
    }

    /// Whether a packet is lost to bad luck, a burst, or a full queue.
    fn is_lost(&mut self, now: Instant) -> bool {
        if self.quality.rare_loss > 0 && self.random.next_u32() % 1_000_000 < self.quality.rare_loss {
            return true;
        }
        if let Some(bursts) = self.quality.bursts
            && self.is_in_burst(now, bursts)
        {
            return true;
        }
        let waits = self.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        self.quality.queue.is_some_and(|queue| waits > queue)
    }

    fn is_in_burst(&mut self, now: Instant, bursts: Bursts) -> bool {
        let mut next = self.next_burst.unwrap_or(now + bursts.every);
        while next + LONGEST_BURST <= now {
            next += bursts.every / 1000 * (500 + self.random.next_u32() % 1000);
            self.burst = bursts.packets;
        }
        self.next_burst = Some(next);
        let is_in_burst = next <= now && self.burst > 0;
        self.burst -= u32::from(is_in_burst);
        is_in_burst
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

/// A burst ends by itself when few packets come.
const LONGEST_BURST: Duration = Duration::from_millis(100);
