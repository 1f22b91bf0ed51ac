//! One direction of a network: all that may happen to a datagram on its way, drawn from one seed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use adit_tunnel::Random;

use crate::SeededRandom;

/// What a [`Link`] does to datagrams. Shares lie between 0.0 (none) and 1.0 (all).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How long every datagram takes.
    pub latency: Duration,
    /// Up to so much is added at random, which reorders what is sent within this time.
    pub jitter: Duration,
    /// The share that is lost.
    pub loss: f64,
    /// A loss takes so many with it: this one and those after it. 0 is as good as 1.
    pub burst: u32,
    /// The share that arrives twice.
    pub duplication: f64,
    /// The share that is held back for [`Self::held_back`], so that others overtake it.
    pub reordering: f64,
    /// See [`Self::reordering`].
    pub held_back: Duration,
    /// The share in which one to three bits are turned.
    pub corruption: f64,
    /// Larger datagrams vanish. In bytes of the datagram.
    pub mtu: Option<usize>,
}

impl Conditions {
    /// Nothing is lost, and everything arrives in order.
    pub const GOOD: Self = Self {
        latency: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0.0,
        burst: 1,
        duplication: 0.0,
        reordering: 0.0,
        held_back: Duration::ZERO,
        corruption: 0.0,
        mtu: None,
    };
    /// Nothing is lost, but nearly everything is overtaken, and some arrives twice.
    pub const REORDERING: Self = Self {
        latency: Duration::from_millis(5),
        jitter: Duration::from_millis(60),
        duplication: 0.05,
        reordering: 0.1,
        held_back: Duration::from_millis(150),
        ..Self::GOOD
    };
    /// A third is lost nearly, a tenth arrives twice, nothing arrives in order.
    pub const BAD: Self = Self {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(80),
        loss: 0.3,
        duplication: 0.1,
        reordering: 0.1,
        held_back: Duration::from_millis(300),
        ..Self::GOOD
    };
    /// And one in a hundred is damaged.
    pub const DAMAGING: Self = Self { corruption: 0.01, ..Self::BAD };
}

/// What a [`Link`] did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounts {
    /// Given to it.
    pub sent: u64,
    /// Taken from it, copies included.
    pub arrived: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost in a blackout.
    pub blacked_out: u64,
    /// Larger than the MTU.
    pub too_large: u64,
    /// Arrive twice.
    pub duplicated: u64,
    /// Held back.
    pub held_back: u64,
    /// Changed on their way.
    pub corrupted: u64,
}

/// One direction of a network. What it carries is anything that can be copied and has bytes.
///
/// Each datagram takes the same number of draws whatever the conditions, so that a change of one of them leaves the rest of a
/// run as it was.
#[derive(Debug)]
pub struct Link<T> {
    /// May be changed at any time; what is under way is not touched.
    pub conditions: Conditions,
    random: SeededRandom,
    /// By arrival, then in the order of sending.
    under_way: BTreeMap<(Instant, u64), T>,
    number: u64,
    still_to_lose: u32,
    blackouts: Vec<(Instant, Instant)>,
    counts: LinkCounts,
}

impl<T: Clone + AsMut<[u8]>> Link<T> {
    /// A link with nothing under way.
    #[must_use]
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: SeededRandom::new(seed),
            under_way: BTreeMap::new(),
            number: 0,
            still_to_lose: 0,
            blackouts: Vec::new(),
            counts: LinkCounts::default(),
        }
    }

    /// Everything sent from `from` until `until` is lost.
    pub fn blackout(&mut self, from: Instant, until: Instant) {
        self.blackouts.push((from, until));
    }

    /// Ends every blackout, those to come included.
    pub fn end_blackouts(&mut self) {
        self.blackouts.clear();
    }

    /// Sends a datagram.
    pub fn send(&mut self, now: Instant, mut datagram: T) {
        self.counts.sent += 1;
        self.blackouts.retain(|(_, until)| *until > now);
        let draws = Draws::new(&mut self.random);
        let (conditions, len) = (self.conditions, datagram.as_mut().len());
        if self.blackouts.iter().any(|(from, _)| *from <= now) {
            self.counts.blacked_out += 1;
            return;
        }
        if conditions.mtu.is_some_and(|mtu| len > mtu) {
            self.counts.too_large += 1;
            return;
        }
        if self.still_to_lose == 0 && happens(draws.loss, conditions.loss) {
            self.still_to_lose = conditions.burst.max(1);
        }
        if self.still_to_lose > 0 {
            self.still_to_lose -= 1;
            self.counts.lost += 1;
            return;
        }
        let mut at = now + conditions.latency + part(draws.jitter, conditions.jitter);
        if happens(draws.reordering, conditions.reordering) {
            self.counts.held_back += 1;
            at += conditions.held_back;
        }
        if happens(draws.duplication, conditions.duplication) {
            self.counts.duplicated += 1;
            let again = now + conditions.latency + part(draws.copy, conditions.jitter);
            self.enqueue(again, datagram.clone());
        }
        if len > 0 && happens(draws.corruption, conditions.corruption) {
            self.counts.corrupted += 1;
            corrupt(datagram.as_mut(), draws.bits);
        }
        self.enqueue(at, datagram);
    }

    /// The next datagram that has arrived by now.
    pub fn arrived(&mut self, now: Instant) -> Option<T> {
        let first = self.under_way.first_entry().filter(|first| first.key().0 <= now)?;
        self.counts.arrived += 1;
        Some(first.remove())
    }

    /// Loses whatever is under way.
    pub fn lose_all(&mut self) {
        self.counts.lost += self.under_way.len() as u64;
        self.under_way.clear();
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// How many are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> LinkCounts {
        self.counts
    }

    fn enqueue(&mut self, at: Instant, datagram: T) {
        self.number += 1;
        self.under_way.insert((at, self.number), datagram);
    }
}

/// All that is drawn for one datagram.
struct Draws {
    loss: u32,
    jitter: u32,
    reordering: u32,
    duplication: u32,
    copy: u32,
    corruption: u32,
    bits: [u32; 4],
}

impl Draws {
    fn new(random: &mut SeededRandom) -> Self {
        let mut draw = || random.next_u32();
        Self {
            loss: draw(),
            jitter: draw(),
            reordering: draw(),
            duplication: draw(),
            copy: draw(),
            corruption: draw(),
            bits: [draw(), draw(), draw(), draw()],
        }
    }
}

fn happens(draw: u32, share: f64) -> bool {
    f64::from(draw) < share * 4_294_967_296.0
}

/// A part of it, up to all.
fn part(draw: u32, time: Duration) -> Duration {
    time.mul_f64(f64::from(draw) / f64::from(u32::MAX))
}

/// Turns one to three different bits, so that something has changed.
fn corrupt(bytes: &mut [u8], draws: [u32; 4]) {
    let bits = bytes.len() * 8;
    let mut turned = Vec::new();
    let [count, places @ ..] = draws;
    for place in places.iter().take(1 + count as usize % 3) {
        let bit = *place as usize % bits;
        if !turned.contains(&bit) {
            turned.push(bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests;
