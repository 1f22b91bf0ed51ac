//! Answers that belong to no connection's own turn, and how many of them we give.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::PacketSink;

/// Packets waiting for a sink: bounded, the newest are dropped.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    packets: VecDeque<Vec<u8>>,
    /// Buffers to be used again: duplicate acknowledgments come by the hundred when segments arrive out of order.
    spare: Vec<Vec<u8>>,
    pub(crate) dropped: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, packet: Vec<u8>) {
        if self.has_room() {
            self.packets.push_back(packet);
        } else {
            self.dropped += 1;
        }
    }

    /// Moves packets into the sink until one of both is exhausted; says how many.
    pub(crate) fn flush(&mut self, sink: &mut dyn PacketSink) -> u64 {
        let mut sent = 0;
        while !self.packets.is_empty() && sink.has_room() {
            let Some(packet) = self.packets.pop_front() else { break };
            copy_into(sink, &packet);
            sent += 1;
            if self.spare.len() < SPARE && packet.capacity() <= SPARE_CAPACITY {
                self.spare.push(packet);
            }
        }
        sent
    }
}

/// An outbox is a sink itself: for what smoltcp answers at once.
impl PacketSink for Outbox {
    fn has_room(&mut self) -> bool {
        self.packets.len() < LIMIT
    }

    fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        packet.resize(len, 0);
        fill(&mut packet);
        self.push(packet);
    }
}

/// Hands a finished packet to a sink.
pub(crate) fn copy_into(sink: &mut dyn PacketSink, packet: &[u8]) {
    sink.packet(packet.len(), &mut |space| {
        if space.len() == packet.len() {
            space.copy_from_slice(packet);
        }
    });
}

/// A token bucket: answers to strangers must not become a flood of our own (RFC 4443 §2.4 f, RFC 1812 §4.3.2.8).
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    full_since: Option<Instant>,
}

impl RateLimit {
    /// Whether one more answer may be given.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        // The bucket is kept as the instant at which it will be full again.
        let full_at = self.full_since.unwrap_or(now).max(now) + INTERVAL;
        let allowed = full_at <= now + INTERVAL * BURST;
        if allowed {
            self.full_since = Some(full_at);
        }
        allowed
    }
}

/// More than any burst of answers between two calls of `poll_packets` in an honest exchange; our own judgement.
const LIMIT: usize = 1024;
const SPARE: usize = 64;
const SPARE_CAPACITY: usize = 256;
/// One hundred answers a second, fifty at once: Linux allows 1000 and 50 ICMP messages, we have no one to route for.
const INTERVAL: Duration = Duration::from_millis(10);
const BURST: u32 = 50;
