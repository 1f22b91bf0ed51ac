//! Connections that begin at the other end: a SYN waits, almost for free, until its owner knows what to answer.

use std::{net::IpAddr, time::Instant};

use crate::{
    Accept, CloseReason, ConnectionId, Stack, StackEvent, Unreachable,
    connection::{Connection, Incoming, Phase},
    demux::Tuple,
    icmp,
    live::{Live, Opening},
    packet::{self, Packet, Parsed},
    segment::{Segment, Syn},
    slots::Key,
    stack::Farewell,
};

/// How a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// By a RST: nobody listens there.
    Reset,
    /// By an ICMP error.
    Unreachable(Unreachable),
}

impl Stack {
    /// Accepts a connection announced by [`StackEvent::Incoming`]: the SYN-ACK leaves with the next
    /// [`poll_packets`](Self::poll_packets), [`StackEvent::Connected`] follows the handshake. If there is no memory for its
    /// buffers it is refused by a RST, and ends with [`CloseReason::NoMemory`]. Does nothing with any other connection.
    pub fn accept(&mut self, now: Instant, id: ConnectionId) {
        let now = self.clock.advance(now);
        let Some(connection) = self.connections.get(id.0) else { return };
        let (Phase::Incoming(incoming), tuple) = (&connection.phase, connection.tuple) else { return };
        let syn = incoming.syn;
        let Some((bounds, charge)) = self.charge_buffers(now) else {
            self.count_refusal(self.no_memory());
            self.end(id.0, CloseReason::NoMemory, Farewell::Reset);
            return;
        };
        let opening = Opening {
            tuple,
            mtu: self.config.tcp_mtu_for(tuple.local.0),
            bounds,
            seed: self.seed_for(now, &tuple),
            connect_timeout: self.config.connect_timeout,
            keepalive: self.config.keepalive,
        };
        let live = Live::accept(&self.clock, now, opening, &syn);
        let (Some(live), Some(connection)) = (live, self.connections.get_mut(id.0)) else {
            self.budget.give_back(charge);
            self.end(id.0, CloseReason::Aborted, Farewell::Reset);
            return;
        };
        self.budget.give_back(std::mem::replace(&mut connection.charge, charge));
        connection.phase = Phase::Live(Box::new(live));
        self.incoming -= 1;
        self.make_ready(id.0);
        self.arm_give_up(id.0);
    }

    /// Refuses a connection announced by [`StackEvent::Incoming`], within the rate of answers to strangers. No event about it
    /// follows, and it need not be released. Any other connection is released.
    pub fn refuse(&mut self, now: Instant, id: ConnectionId, refusal: Refusal) {
        let now = self.clock.advance(now);
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        let (Phase::Incoming(incoming), tuple) = (&connection.phase, connection.tuple) else {
            self.release(id);
            return;
        };
        let syn = incoming.syn;
        connection.released = true;
        self.end(id.0, CloseReason::Aborted, Farewell::Silent);
        self.counters.incoming_refused += 1;
        if !self.may_answer(now) {
            return;
        }
        match refusal {
            Refusal::Reset => {
                self.counters.resets_sent += 1;
                self.answer(syn.reset(&tuple));
            }
            Refusal::Unreachable(reason) => {
                self.counters.unreachables_sent += 1;
                let about = syn.packet(&tuple);
                self.answer(about.and_then(|about| self.unreachable(&about, reason)));
            }
        }
    }

    /// An error about a packet of the remote's. That nobody listens is said by the host itself, all else by a router: by us.
    pub(crate) fn unreachable(&self, about: &[u8], reason: Unreachable) -> Option<Vec<u8>> {
        let Ok(Parsed::Whole(about)) = packet::parse(about) else { return None };
        let router = self.source_for(about.source).filter(|_| reason != Unreachable::Port);
        icmp::unreachable(router.unwrap_or(about.destination), &about, reason)
    }

    /// Takes connections from the other end to this port of our own addresses: each is announced by [`StackEvent::Incoming`]. `false`
    /// if the port was listened on before.
    pub fn listen(&mut self, port: u16) -> bool {
        self.listening.insert(port)
    }

    /// Takes no more connections to this port. Those there are live on.
    pub fn unlisten(&mut self, port: u16) {
        self.listening.remove(&port);
    }

    /// Whether a segment to this address and port may begin a connection.
    pub(crate) fn is_invited(&self, local: (IpAddr, u16), segment: &Segment) -> bool {
        let opens = segment.syn && segment.acknowledgment.is_none() && !segment.fin && !segment.rst;
        let is_open = || self.listening.contains(&local.1) && self.config.addresses.contains(&local.0);
        opens && (self.config.accept == Accept::Any || is_open())
    }

    /// Takes note of a SYN that may begin a connection. Beyond the bounds it is dropped, not refused: it will be repeated.
    pub(crate) fn on_syn(&mut self, now: Instant, tuple: Tuple, packet: &Packet<'_>, segment: &Segment) {
        if tuple.local.1 == 0 || tuple.remote.1 == 0 {
            self.counters.implausible += 1;
            return;
        }
        if !self.has_room_for_incoming(now) {
            self.counters.incoming_dropped += 1;
            return;
        }
        let incoming =
            Incoming { syn: Syn::parse(packet, segment), until: now.checked_add(self.config.connect_timeout) };
        let key = self.connections.insert(Connection::incoming(tuple, incoming, INCOMING_COST));
        self.demux.insert(tuple, key);
        self.arm_give_up(key);
        self.incoming += 1;
        self.counters.incoming += 1;
        self.events.push_back(StackEvent::Incoming(ConnectionId(key)));
    }

    /// Charges the budget if there is.
    fn has_room_for_incoming(&mut self, now: Instant) -> bool {
        if self.incoming >= self.config.max_incoming {
            return false;
        }
        if self.connections.len() >= self.config.max_connections && !self.drop_orphan(now) {
            return false;
        }
        while !self.budget.charge(INCOMING_COST) {
            if !self.drop_orphan(now) {
                return false;
            }
        }
        true
    }

    /// A segment of a connection without a socket: not answered yet, or ended.
    pub(crate) fn on_segment_of_incoming(&mut self, key: Key, packet: &Packet<'_>, segment: &Segment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Phase::Incoming(incoming) = &mut connection.phase else { return };
        let first = incoming.syn.sequence;
        if segment.rst && (segment.sequence == first || segment.sequence == first.wrapping_add(1)) {
            self.end(key, CloseReason::Reset, Farewell::Silent);
        } else if segment.syn && segment.acknowledgment.is_none() && !segment.rst {
            // The same again, or a newer one: nothing was promised to the older.
            incoming.syn = Syn::parse(packet, segment);
        } else {
            self.counters.implausible += 1;
        }
    }
}

/// What a connection that waits to be accepted is charged with: about what it takes in all tables.
const INCOMING_COST: usize = 512;
