//! The keys of the data plane in use: openers by tag, sealers by flow.

use std::net::IpAddr;

use adit_tunnel::{Content, FlowId, IpNet, KeyChange, KeyTag, Opener, Sealer};

use crate::reach::Reach;

/// Openers and sealers, a handful of each: looking through them beats a hash.
#[derive(Debug)]
pub(crate) struct Plane<S, O> {
    openers: Vec<(KeyTag, FlowId, Box<O>)>,
    pub(crate) sealers: Sealers<S>,
}

/// The sealers of all flows.
#[derive(Debug)]
pub(crate) struct Sealers<S> {
    flows: Vec<Flow<S>>,
    header_len: usize,
}

#[derive(Debug)]
struct Flow<S> {
    id: FlowId,
    selectors: Vec<IpNet>,
    sealer: Box<S>,
}

/// A datagram that passed every check.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) content: Inner<'a>,
    /// Whether its source may move the peer's path.
    pub(crate) newest: bool,
}

/// What was in a datagram.
#[derive(Debug)]
pub(crate) enum Inner<'a> {
    /// An inner packet.
    Packet(&'a [u8]),
    /// Something for the tunnel itself.
    Message(&'a [u8]),
    /// Nothing.
    Filler,
}

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// There is no opener for it.
    UnknownKey,
    /// It is malformed, forged or replayed.
    Refused,
}

impl<S: Sealer, O: Opener> Plane<S, O> {
    pub(crate) const fn new() -> Self {
        Self { openers: Vec::new(), sealers: Sealers { flows: Vec::new(), header_len: 0 } }
    }

    pub(crate) fn apply(&mut self, change: KeyChange<S, O>) {
        match change {
            KeyChange::AddOpener { tag, flow, opener } => {
                self.openers.retain(|(t, ..)| *t != tag);
                // The newest key carries most of the traffic: it is found first.
                self.openers.insert(0, (tag, flow, opener));
            }
            KeyChange::SetSealer { flow, selectors, sealer } => self.sealers.set(Flow { id: flow, selectors, sealer }),
            KeyChange::RemoveOpener { tag } => self.openers.retain(|(t, ..)| *t != tag),
            KeyChange::RemoveFlow { flow } => self.sealers.remove(flow),
        }
    }

    /// Opens a datagram, in place.
    pub(crate) fn open<'a>(&'a mut self, tag: KeyTag, datagram: &'a mut [u8]) -> Result<Opening<'a>, Unopened> {
        let opener = self.openers.iter_mut().find(|(t, ..)| *t == tag).map(|(.., opener)| &mut **opener);
        let opener = opener.ok_or(Unopened::UnknownKey)?;
        let opened = opener.open(datagram).map_err(|_| Unopened::Refused)?;
        let content = match opened.content {
            Content::Packet(range) => Inner::Packet(datagram.get(range).unwrap_or_default()),
            Content::Unpacked => Inner::Packet(opener.unpacked()),
            Content::Message(range) => Inner::Message(datagram.get(range).unwrap_or_default()),
            Content::Filler => Inner::Filler,
        };
        Ok(Opening { content, newest: opened.newest })
    }
}

impl<S: Sealer> Sealers<S> {
    fn set(&mut self, flow: Flow<S>) {
        match self.flows.iter_mut().find(|f| f.id == flow.id) {
            Some(old) => *old = flow,
            None => self.flows.push(flow),
        }
        self.measure();
    }

    fn remove(&mut self, id: FlowId) {
        self.flows.retain(|f| f.id != id);
        self.measure();
    }

    fn measure(&mut self) {
        self.header_len = self.flows.iter().map(|f| f.sealer.header_len()).max().unwrap_or(0);
    }

    /// What all flows carry together.
    pub(crate) fn reach(&self) -> Reach {
        Reach::of(self.flows.iter().map(|flow| &*flow.selectors))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Room to leave before a packet whose flow is not known yet.
    pub(crate) fn header_len(&self) -> usize {
        self.header_len
    }

    /// Room a packet of this length takes, header and trailer included, in whatever flow.
    pub(crate) fn room(&self, packet_len: usize) -> usize {
        let tail = |f: &Flow<S>| f.sealer.sealed_len(packet_len).saturating_sub(f.sealer.header_len());
        self.header_len + self.flows.iter().map(tail).max().unwrap_or(packet_len)
    }

    /// The sealer of this flow.
    pub(crate) fn of_flow(&mut self, id: FlowId) -> Option<&mut S> {
        self.flows.iter_mut().find(|f| f.id == id).map(|f| &mut *f.sealer)
    }

    /// The sealer whose selectors take this packet: the longest prefix wins.
    pub(crate) fn of_packet(&mut self, packet: &[u8]) -> Option<&mut S> {
        if self.flows.len() == 1 && self.flows.iter().all(|f| f.selectors.is_empty()) {
            return self.flows.first_mut().map(|f| &mut *f.sealer);
        }
        let destination = destination(packet)?;
        let fit = |f: &Flow<S>| match &f.selectors[..] {
            [] => Some(0),
            nets => nets.iter().filter(|net| net.contains(destination)).map(|net| u16::from(net.prefix()) + 1).max(),
        };
        let best = self.flows.iter_mut().filter_map(|f| Some((fit(f)?, f))).max_by_key(|(fit, _)| *fit)?;
        Some(&mut best.1.sealer)
    }
}

/// Where an IP packet comes from.
pub(crate) fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(12..16)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*packet.get(8..24)?.first_chunk::<16>()?)),
        _ => None,
    }
}

/// Where an IP packet goes.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(16..20)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*packet.get(24..40)?.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, ops::Range};

    use adit_tunnel::{OpenError, Opened, SealError};

    use super::*;

    struct Named(char);

    impl Sealer for Named {
        fn header_len(&self) -> usize {
            8
        }
        fn sealed_len(&self, packet_len: usize) -> usize {
            8 + packet_len + 16
        }
        fn seal(&mut self, _: &mut [u8], packet: Range<usize>) -> Result<Range<usize>, SealError> {
            Ok(packet)
        }
    }

    struct NoOpener;

    impl Opener for NoOpener {
        fn open(&mut self, _: &mut [u8]) -> Result<Opened, OpenError> {
            Err(OpenError::Malformed)
        }
        fn unpacked(&self) -> &[u8] {
            &[]
        }
    }

    fn packet_to(destination: Ipv4Addr) -> [u8; 20] {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&destination.octets());
        packet
    }

    #[test]
    fn the_flow_with_the_longest_matching_prefix_takes_a_packet() {
        let mut plane = Plane::<Named, NoOpener>::new();
        assert!(plane.sealers.is_empty());
        let net = |text: &str, prefix| IpNet::new(text.parse::<IpAddr>().unwrap(), prefix).unwrap();
        for (flow, name, selectors) in [
            (0, 'a', vec![net("10.0.0.0", 8)]),
            (1, 'b', vec![net("10.1.0.0", 16), net("192.168.0.0", 16)]),
            (2, 'c', vec![net("0.0.0.0", 0)]),
        ] {
            plane.apply(KeyChange::SetSealer { flow: FlowId(flow), selectors, sealer: Box::new(Named(name)) });
        }
        let mut sealer_of = |a, b| plane.sealers.of_packet(&packet_to(Ipv4Addr::new(a, b, 0, 1))).map(|s| s.0);
        assert_eq!(
            [sealer_of(10, 2), sealer_of(10, 1), sealer_of(192, 168), sealer_of(8, 8)].map(Option::unwrap),
            ['a', 'b', 'b', 'c']
        );
        plane.apply(KeyChange::RemoveFlow { flow: FlowId(2) });
        assert!(plane.sealers.of_packet(&packet_to(Ipv4Addr::new(8, 8, 8, 8))).is_none());
        assert!(plane.sealers.of_packet(&[0x45]).is_none());
    }
}
