//! Numbered packets in both directions, and what became of them.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use adit_tunnel::{Listener, NetworkConfig, PeerId, Tunnel};

use super::{
    Pair,
    driven::{Driven, Outgoing},
    judge::{HOST4, HOST6},
    packet::{self, Numbers},
};

/// Sent by one tunnel each.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    every: Duration,
    next: Option<Instant>,
    /// Length of the packets, in bytes.
    len: usize,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    name: String,
    unsealed: u64,
    /// How often each number has arrived.
    arrived: Vec<u8>,
}

/// What became of numbered packets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrafficReport {
    /// Packets sealed and sent.
    pub sent: u64,
    /// Of those, the ones that arrived, each counted once.
    pub arrived: u64,
    /// Which did not, by who had sent them.
    pub lost: Vec<(String, Vec<u64>)>,
    /// Packets that arrived more than once.
    pub duplicated: u64,
    /// Packets for which there was no key, or none that could be used any more.
    pub unsealed: u64,
    /// Datagrams of the data plane, of any kind, that their receiver had no key for or refused.
    pub unopened: u64,
}

impl Traffic {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The next packet of a tunnel, from and to addresses of the same family.
    fn packet<T: Tunnel>(&mut self, driven: &mut Driven<T>, ways: &[(IpAddr, IpAddr)]) -> Option<Vec<u8>> {
        let index = driven.stream.unwrap_or(self.streams.len());
        if driven.stream.is_none() {
            driven.stream = Some(index);
            self.streams.push(Stream { name: driven.name().to_owned(), unsealed: 0, arrived: Vec::new() });
        }
        let stream = self.streams.get_mut(index)?;
        let number = stream.arrived.len() as u64;
        let (from, to) = *ways.get(number as usize % ways.len().max(1))?;
        stream.arrived.push(0);
        Some(packet::numbered(from, to, Numbers { stream: index as u32, number }, self.len))
    }
}

impl<C: Tunnel, L: Listener> Pair<C, L> {
    /// From now on each tunnel that is up sends a numbered packet now and then, IPv4 and IPv6 in turn if it has both.
    pub fn start_traffic(&mut self, every: Duration, len: usize) {
        let next = Some(self.clock.now());
        self.traffic = Some(Traffic { every, next, len, streams: Vec::new() });
    }

    /// Stops it, waits for what is under way, and tells what became of it.
    pub fn stop_traffic(&mut self) -> TrafficReport {
        if let Some(traffic) = &mut self.traffic {
            traffic.next = None;
        }
        self.run(Duration::from_secs(1));
        let report = self.traffic_report();
        self.traffic = None;
        self.clients.iter_mut().for_each(|end| end.driven.stream = None);
        self.listener.peers.values_mut().for_each(|end| end.driven.stream = None);
        report
    }

    /// What became of the packets so far; those under way count as lost.
    #[must_use]
    pub fn traffic_report(&self) -> TrafficReport {
        let mut report = TrafficReport { unopened: self.unopened(), ..TrafficReport::default() };
        for stream in self.traffic.iter().flat_map(|traffic| &traffic.streams) {
            report.unsealed += stream.unsealed;
            report.sent += stream.arrived.len() as u64 - stream.unsealed;
            report.arrived += stream.arrived.iter().filter(|times| (1..UNSEALED).contains(*times)).count() as u64;
            report.duplicated += stream.arrived.iter().filter(|times| (2..UNSEALED).contains(*times)).count() as u64;
            let lost: Vec<u64> = (0..).zip(&stream.arrived).filter(|(_, times)| **times == 0).map(|(n, _)| n).collect();
            if !lost.is_empty() {
                report.lost.push((stream.name.clone(), lost));
            }
        }
        report
    }

    /// Seals a packet at a client, and sends it.
    pub fn send_from(&mut self, client: usize, packet: &[u8]) {
        if let Some(outgoing) = self.clients[client].driven.seal(packet) {
            self.send_from_client(client, outgoing);
        }
    }

    /// Seals a packet for a peer, and sends it.
    pub fn send_to(&mut self, peer: PeerId, packet: &[u8]) {
        let sealed = self.listener.peers.get_mut(&peer).and_then(|end| end.driven.seal(packet));
        sealed.into_iter().for_each(|outgoing| self.send_from_listener(outgoing));
    }

    pub(super) fn send_numbered(&mut self) {
        let now = self.clock.now();
        let Some(mut traffic) = self.traffic.take_if(|traffic| traffic.next.is_some_and(|next| next <= now)) else {
            return;
        };
        traffic.next = Some(now + traffic.every);
        for client in 0..self.clients.len() {
            let end = &mut self.clients[client];
            if let Some(network) = end.driven.network.clone()
                && !end.is_frozen(now)
                && let Some(packet) = traffic.packet(&mut end.driven, &ways(&network, false))
            {
                let sealed = end.driven.seal(&packet);
                traffic.note_unsealed(&packet, sealed.as_ref());
                sealed.into_iter().for_each(|outgoing| self.send_from_client(client, outgoing));
            }
        }
        let peers: Vec<_> = self.listener.peers.keys().copied().collect();
        for peer in peers {
            let Some(end) = self.listener.peers.get_mut(&peer) else { continue };
            if let Some(network) = end.driven.network.clone()
                && let Some(packet) = traffic.packet(&mut end.driven, &ways(&network, true))
            {
                let sealed = end.driven.seal(&packet);
                traffic.note_unsealed(&packet, sealed.as_ref());
                sealed.into_iter().for_each(|outgoing| self.send_from_listener(outgoing));
            }
        }
        self.traffic = Some(traffic);
    }

    pub(super) fn on_packet_at_client(&mut self, client: usize, packet: Vec<u8>) {
        let end = &mut self.clients[client];
        let is_ours = |to: IpAddr| {
            let network = end.driven.network.as_ref();
            network.is_none_or(|network| network.addresses.iter().any(|net| net.address() == to))
        };
        let numbers = packet::numbers(&packet);
        let fits = numbers.is_none() || packet::destination(&packet).is_some_and(is_ours);
        assert!(fits, "{} opens a packet for {:?}", end.driven.name(), packet::destination(&packet));
        match numbers {
            Some(numbers) => self.on_numbers(numbers),
            None => end.driven.keep(packet),
        }
    }

    pub(super) fn on_packet_at_peer(&mut self, peer: PeerId, packet: Vec<u8>) {
        let Some(end) = self.listener.peers.get_mut(&peer) else { return };
        let numbers = packet::numbers(&packet);
        let fits = numbers.is_none() || packet::source(&packet).is_some_and(|from| end.holds(from));
        assert!(fits, "{} opens a packet from {:?}", end.driven.name(), packet::source(&packet));
        match numbers {
            Some(numbers) => self.on_numbers(numbers),
            None => end.driven.keep(packet),
        }
    }

    fn on_numbers(&mut self, numbers: Numbers) {
        let stream = self.traffic.as_mut().and_then(|traffic| traffic.streams.get_mut(numbers.stream as usize));
        if let Some(times) = stream.and_then(|stream| stream.arrived.get_mut(numbers.number as usize)) {
            *times = (*times + 1).min(UNSEALED - 1);
        }
    }

    fn unopened(&self) -> u64 {
        let clients = self.clients.iter().map(|end| &end.driven.log).map(|log| log.unknown_key + log.refused);
        let peers = self.listener.peers.values().map(|end| &end.driven.log).map(|log| log.unknown_key + log.refused);
        clients.chain(peers).sum()
    }
}

impl Traffic {
    fn note_unsealed(&mut self, packet: &[u8], sealed: Option<&Outgoing>) {
        let Some(numbers) = packet::numbers(packet).filter(|_| sealed.is_none()) else { return };
        if let Some(stream) = self.streams.get_mut(numbers.stream as usize) {
            stream.unsealed += 1;
            stream.arrived[numbers.number as usize] = UNSEALED;
        }
    }
}

impl TrafficReport {
    /// Insists that every packet arrived, and each but once.
    ///
    /// # Panics
    /// If that is not so, or nothing was sent.
    pub fn assert_nothing_lost(&self) {
        assert!(self.sent > 0, "nothing was sent: {self:?}");
        assert!(self.lost.is_empty() && self.duplicated == 0 && self.unsealed == 0, "{self:?}");
    }
}

/// From where to where packets of a tunnel may go. `down`: to the client.
pub(super) fn ways(network: &NetworkConfig, down: bool) -> Vec<(IpAddr, IpAddr)> {
    let way = |inner: IpAddr| {
        let host: IpAddr = if inner.is_ipv4() { HOST4.into() } else { HOST6.into() };
        if down { (host, inner) } else { (inner, host) }
    };
    network.addresses.iter().map(|net| way(net.address())).collect()
}

/// In place of a count: it was never sent.
const UNSEALED: u8 = u8::MAX;
