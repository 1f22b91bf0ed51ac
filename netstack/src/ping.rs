//! Echo requests of our own, and their answers.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use crate::{
    Stack, StackEvent, UdpError,
    icmp::{self, EchoId},
    packet,
};

/// Names an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PingId {
    remote: IpAddr,
    id: EchoId,
}

/// Those not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    /// The same for all of a stack; unpredictable, as a port is.
    identifier: Option<u16>,
    sequence: u16,
    waiting: HashMap<PingId, Instant>,
}

impl Pings {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn contains(&self, remote: IpAddr, id: EchoId) -> bool {
        self.waiting.contains_key(&PingId { remote, id })
    }
}

impl Stack {
    /// Queues an echo request; it leaves with the next [`poll_packets`](Self::poll_packets), and [`StackEvent::Pong`] tells of its
    /// answer. Who has waited for long enough calls [`forget_ping`](Self::forget_ping).
    ///
    /// # Errors
    /// `TooLarge` for what does not fit into one packet, `QueueFull` when too many wait, `NoAddressOfFamily`, `Unaddressable`.
    pub fn ping(&mut self, now: Instant, remote: IpAddr, data: &[u8]) -> Result<PingId, UdpError> {
        let now = self.clock.advance(now);
        let remote = remote.to_canonical();
        if !self.config.is_peer(remote) {
            return Err(UdpError::Unaddressable);
        }
        let source = self.source_for(remote).ok_or(UdpError::NoAddressOfFamily)?;
        let limit = self.config.mtu_for(remote).saturating_sub(packet::header_len(remote) + HEADER);
        if data.len() > limit {
            return Err(UdpError::TooLarge { limit });
        }
        if self.pings.waiting.len() >= MAX_WAITING {
            return Err(UdpError::QueueFull);
        }
        let identifier = match self.pings.identifier {
            Some(identifier) => identifier,
            None => *self.pings.identifier.insert(self.random.below(u16::MAX)),
        };
        self.pings.sequence = self.pings.sequence.wrapping_add(1);
        let id = EchoId { identifier, sequence: self.pings.sequence };
        let packet = icmp::echo_request(source, remote, id, data).ok_or(UdpError::TooLarge { limit })?;
        let ping = PingId { remote, id };
        self.pings.waiting.insert(ping, now);
        self.outbox.push(packet);
        Ok(ping)
    }

    /// Its answer is not waited for any more.
    pub fn forget_ping(&mut self, ping: PingId) {
        self.pings.waiting.remove(&ping);
    }

    /// Says whether it was asked for.
    pub(crate) fn on_echo_reply(&mut self, now: Instant, remote: IpAddr, id: EchoId) -> bool {
        let ping = PingId { remote, id };
        let Some(sent) = self.pings.waiting.remove(&ping) else { return false };
        self.events.push_back(StackEvent::Pong(ping, now.saturating_duration_since(sent)));
        true
    }
}

/// Of an echo request, as long as that of UDP.
const HEADER: usize = 8;
/// So many may wait for their answers; our own judgement.
const MAX_WAITING: usize = 1024;
