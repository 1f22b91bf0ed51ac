//! What arrives: each packet is read once, checked, and given to whom it belongs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{
    Accept, CloseReason, Stack, StackEvent, UdpId, Unreachable,
    connection::Connection,
    demux::{Owner, TimeWait, Tuple},
    icmp::{self, ErrorKind, Message},
    packet::{self, Flaw, Fragment, ICMP, ICMPV6, Packet, Parsed, TCP, UDP},
    segment::{self, Segment},
    slots::Key,
    stack::Farewell,
    udp::{self, Datagram},
};

impl Stack {
    /// Takes an inner packet, as it came out of the tunnel. Whatever it holds, there is no error: what cannot be used is
    /// counted and dropped. TCP segments of no connection are answered by a RST, datagrams of no association by ICMP port
    /// unreachable, echo requests by their reply, all within a rate.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let now = self.clock.advance(now);
        self.counters.packets_in += 1;
        match packet::parse(packet) {
            Ok(Parsed::Whole(packet)) => self.on_packet(now, &packet),
            Ok(Parsed::Fragment(fragment)) => self.on_fragment(now, &fragment),
            Err(Flaw::Malformed) => self.counters.malformed += 1,
            Err(Flaw::BadChecksum) => self.counters.bad_checksum += 1,
        }
    }

    fn on_fragment(&mut self, now: Instant, fragment: &Fragment<'_>) {
        self.counters.fragments += 1;
        if !self.is_for_us(fragment.of.source, fragment.of.destination) {
            return;
        }
        let whole = self.reassembly.add(now, fragment);
        self.counters.fragments_dropped = self.reassembly.dropped;
        // A header of our own making: neither malformed nor a fragment again.
        if let Some(whole) = whole
            && let Ok(Parsed::Whole(packet)) = packet::parse(&whole)
        {
            self.counters.reassembled += 1;
            self.on_packet(now, &packet);
        }
    }

    fn on_packet(&mut self, now: Instant, packet: &Packet<'_>) {
        if !self.is_for_us(packet.source, packet.destination) {
            return;
        }
        match (packet.protocol, packet.source) {
            (TCP, _) => self.on_tcp(now, packet),
            (UDP, _) => self.on_udp(now, packet),
            (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => self.on_icmp(now, packet),
            _ => self.counters.unknown_protocol += 1,
        }
    }

    /// Counts what is not.
    fn is_for_us(&mut self, source: IpAddr, destination: IpAddr) -> bool {
        let (is_peer, is_ours) = (self.config.is_peer(source), self.config.is_ours(destination));
        if !is_peer && self.config.accept == Accept::Any {
            self.counters.not_from_peer += 1;
        } else if !is_peer || !is_ours {
            self.counters.misaddressed += 1;
        }
        is_peer && is_ours
    }

    fn on_tcp(&mut self, now: Instant, packet: &Packet<'_>) {
        let Some(segment) = Segment::parse(packet.payload) else {
            self.counters.malformed += 1;
            return;
        };
        if !packet.checksum_holds() {
            self.counters.bad_checksum += 1;
            return;
        }
        let tuple = Tuple {
            local: (packet.destination, segment.destination_port),
            remote: (packet.source, segment.source_port),
        };
        match self.demux.find(&tuple) {
            Some(Owner::Connection(key)) => self.on_segment(now, key, packet, &segment),
            Some(Owner::TimeWait(time_wait, _))
                if self.is_invited(tuple.local, &segment) && time_wait.is_before(segment.sequence) =>
            {
                self.on_syn(now, tuple, packet, &segment);
            }
            Some(Owner::TimeWait(time_wait, _)) if segment.rst && segment.sequence == time_wait.acknowledgment => {
                // Of a remote that wants to begin anew, and that we have told what we remember (RFC 9293 §3.5.2, figure 9). No
                // old duplicate has this number (RFC 5961 §3.2), which is what RFC 1337 fears.
                self.demux.remove(&tuple);
            }
            Some(Owner::TimeWait(time_wait, _)) => self.on_late_segment(now, packet, &segment, time_wait),
            None if self.is_invited(tuple.local, &segment) => self.on_syn(now, tuple, packet, &segment),
            None => self.on_unknown_segment(now, packet, &segment),
        }
    }

    fn on_segment(&mut self, now: Instant, key: Key, packet: &Packet<'_>, segment: &Segment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(live) = connection.live() else {
            self.on_segment_of_incoming(key, packet, segment);
            return;
        };
        if live.is_implausible(segment) {
            self.counters.implausible += 1;
            return;
        }
        live.on_squeezed(now, segment);
        self.fit(now, key);
        let Some(live) = self.connections.get_mut(key).and_then(Connection::live) else { return };
        live.handle(&self.clock, now, packet, segment, &mut self.outbox);
        self.fit(now, key);
        self.settle(key, segment.rst);
        self.make_ready(key);
    }

    /// Only what takes sequence space needs an answer; any RST must not cut the wait short (RFC 1337).
    fn on_late_segment(&mut self, now: Instant, packet: &Packet<'_>, segment: &Segment, time_wait: TimeWait) {
        if segment.rst || segment.end() == segment.sequence {
            return;
        }
        let TimeWait { sequence, acknowledgment, window } = time_wait;
        if self.may_answer(now) {
            self.answer(segment::acknowledgment_for(packet, segment, sequence, acknowledgment, window));
        }
    }

    fn on_unknown_segment(&mut self, now: Instant, packet: &Packet<'_>, segment: &Segment) {
        self.counters.unknown_tcp += 1;
        if !segment.rst && self.may_answer_stranger(now) {
            self.counters.resets_sent += 1;
            self.answer(segment::reset_for(packet, segment));
        }
    }

    fn on_udp(&mut self, now: Instant, packet: &Packet<'_>) {
        let Some(datagram) = Datagram::parse(packet.payload) else {
            self.counters.malformed += 1;
            return;
        };
        let is_unchecked = datagram.checksum == 0 && packet.source.is_ipv4();
        if !is_unchecked && (datagram.checksum == 0 || !packet.checksum_holds()) {
            self.counters.bad_checksum += 1;
            return;
        }
        let tuple = Tuple {
            local: (packet.destination, datagram.destination_port),
            remote: (packet.source, datagram.source_port),
        };
        let remote = tuple.remote;
        let key = self.bound_to(now, &tuple).or_else(|| self.associated(now, tuple));
        let Some((key, socket)) = key.and_then(|key| Some((key, self.sockets.get_mut(key)?))) else {
            // What could have been an association was dropped for lack of room.
            if self.config.accept == Accept::Nothing {
                self.on_unknown_datagram(now, packet);
            }
            return;
        };
        let cost = udp::cost(datagram.payload.len());
        if !socket.may_receive(cost) || !self.budget.charge(cost) {
            self.counters.udp_dropped += 1;
            return;
        }
        socket.queue_received(SocketAddr::new(remote.0, remote.1), datagram.payload);
        if !std::mem::replace(&mut socket.announced, true) {
            self.events.push_back(StackEvent::UdpReadable(UdpId(key)));
        }
    }

    /// The socket bound to the local port that has sent to this remote lately.
    pub(crate) fn bound_to(&self, now: Instant, tuple: &Tuple) -> Option<Key> {
        let key = *self.ports.get(&tuple.local.1).filter(|_| self.config.addresses.contains(&tuple.local.0))?;
        self.sockets.get(key)?.is_associated(now, tuple.remote, self.config.udp_idle).then_some(key)
    }

    fn on_unknown_datagram(&mut self, now: Instant, packet: &Packet<'_>) {
        self.counters.unknown_udp += 1;
        if self.may_answer_stranger(now) {
            self.counters.unreachables_sent += 1;
            self.answer(icmp::unreachable(packet.destination, packet, Unreachable::Port));
        }
    }

    fn on_icmp(&mut self, now: Instant, packet: &Packet<'_>) {
        if !packet.checksum_holds() {
            self.counters.bad_checksum += 1;
            return;
        }
        match icmp::parse(packet) {
            None => self.counters.malformed += 1,
            Some(Message::Echo(_)) if !self.config.addresses.contains(&packet.destination) => {
                self.counters.icmp_ignored += 1;
            }
            Some(Message::Echo(reply)) => {
                if reply.len() <= self.config.mtu && self.may_answer(now) {
                    self.counters.echoes_answered += 1;
                    self.answer(Some(reply));
                }
            }
            Some(Message::Reply(reply)) if self.on_echo_reply(now, packet.source, reply) => {
                self.counters.icmp_accepted += 1;
            }
            Some(Message::Error(error)) if self.on_icmp_error(now, &error) => self.counters.icmp_accepted += 1,
            Some(Message::Error(_) | Message::Reply(_) | Message::Other) => self.counters.icmp_ignored += 1,
        }
    }

    /// Says whether it was acted on.
    fn on_icmp_error(&mut self, now: Instant, error: &icmp::Error) -> bool {
        let quoted = error.quoted;
        if quoted.protocol == UDP {
            return self.on_icmp_error_for_udp(now, error);
        }
        let tuple = Tuple { local: quoted.local, remote: quoted.remote };
        let Some(Owner::Connection(key)) = self.demux.find(&tuple) else { return false };
        let Some(live) = self.connections.get_mut(key).and_then(Connection::live) else { return false };
        // Who cannot see our segments does not know their numbers (RFC 5927 §4.1).
        if !live.track().is_in_flight(quoted.sequence) {
            return false;
        }
        match error.kind {
            ErrorKind::TooBig(mtu) if mtu < live.mtu() => {
                live.set_mtu(&self.clock, now, mtu);
                self.make_ready(key);
                true
            }
            // An error ends the attempt to connect, and only that: whoever is connected has proof that the remote can be
            // reached, and waits for it to be so again (RFC 5927 §5.2, RFC 5461 §4).
            ErrorKind::Unreachable(unreachable) if !live.is_connected() => {
                self.end(key, CloseReason::Unreachable(unreachable), Farewell::Silent);
                true
            }
            ErrorKind::TooBig(_) | ErrorKind::Unreachable(_) => false,
        }
    }

    fn on_icmp_error_for_udp(&mut self, now: Instant, error: &icmp::Error) -> bool {
        let quoted = error.quoted;
        let tuple = Tuple { local: quoted.local, remote: quoted.remote };
        let Some(key) = self.bound_to(now, &tuple).or_else(|| self.associations.find(&tuple)) else { return false };
        let is_final = matches!(error.kind, ErrorKind::Unreachable(_));
        if !is_final || self.udp_errors >= MAX_UDP_ERRORS {
            return false;
        }
        self.udp_errors += 1;
        let remote = SocketAddr::new(quoted.remote.0, quoted.remote.1);
        self.events.push_back(StackEvent::UdpError(UdpId(key), remote));
        true
    }

    /// As [`Self::may_answer`], to what is of no connection or socket here.
    fn may_answer_stranger(&mut self, now: Instant) -> bool {
        self.counters.answers_suppressed += u64::from(self.quiet);
        !self.quiet && self.may_answer(now)
    }

    pub(crate) fn may_answer(&mut self, now: Instant) -> bool {
        let may = self.rate_limit.allow(now);
        self.counters.answers_suppressed += u64::from(!may);
        may
    }

    pub(crate) fn answer(&mut self, packet: Option<Vec<u8>>) {
        if let Some(packet) = packet {
            self.outbox.push(packet);
        }
    }
}

/// How many [`StackEvent::UdpError`] may wait to be fetched.
const MAX_UDP_ERRORS: usize = 256;
