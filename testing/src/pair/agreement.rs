//! Whether what one end seals now the other opens.

use std::net::IpAddr;

use adit_tunnel::{Class, FlowId, IpNet, Listener, Path, PeerId, Routing, Tunnel};

use super::{
    Pair,
    driven::Driven,
    packet::{self, Numbers},
    plane::Inside,
    traffic::ways,
};

impl<C: Tunnel, L: Listener> Pair<C, L> {
    /// Whether at this very moment no packet would be lost for want of a key: what each client seals its tunnel at the listener would
    /// be given and opens, and the other way round, in every flow and family. Nothing travels for that.
    ///
    /// # Errors
    /// What does not agree, for people.
    pub fn agree(&mut self) -> Result<(), String> {
        (0..self.clients.len()).try_for_each(|client| self.client_agrees(client))
    }

    /// The same for one client.
    ///
    /// # Errors
    /// What does not agree, for people.
    pub fn client_agrees(&mut self, client: usize) -> Result<(), String> {
        let end = self.clients.get(client).ok_or_else(|| format!("there is no client {client}"))?;
        let name = end.driven.name().to_owned();
        let network = end.driven.network.clone().ok_or_else(|| format!("{name} is not up"))?;
        let peer = self.peer_of(client).ok_or_else(|| format!("no peer holds an address of {name}"))?;
        for flow in self.clients[client].driven.sealers() {
            for way in ways(&network, false) {
                self.upwards_agrees(client, peer, flow, way)?;
            }
        }
        for flow in self.listener.peers.get(&peer).map(|end| end.driven.sealers()).unwrap_or_default() {
            for way in ways(&network, true) {
                self.downwards_agrees(client, peer, flow, way)?;
            }
        }
        let (up, down) = (self.clients[client].driven.sealers(), self.listener.peers[&peer].driven.sealers());
        if up.is_empty() || down.is_empty() {
            return Err(format!("{name} has the sealers {up:?}, {peer:?} has {down:?}"));
        }
        Ok(())
    }

    /// # Panics
    /// If the ends do not agree.
    pub fn assert_agree(&mut self) {
        if let Err(why) = self.agree() {
            panic!("after {:?}: {why}", self.clock.elapsed());
        }
    }

    fn upwards_agrees(&mut self, client: usize, peer: PeerId, flow: FlowId, way: Way) -> Result<(), String> {
        let end = &mut self.clients[client];
        let Some((packet, mut datagram)) = end.driven.probe(flow, way)? else { return Ok(()) };
        let path =
            Path { local: Some(end.driven.path.remote), remote: end.seen_as(), transport: end.driven.path.transport };
        let routing = self.listener.listener.route(&path, &datagram);
        if routing != Routing::Peer(peer) {
            return Err(format!("the data of client {client} is routed to {routing:?}, not to {peer:?}"));
        }
        let end = self.listener.peers.get_mut(&peer).ok_or("gone")?;
        end.driven.opens(&path, &mut datagram, &packet)
    }

    fn downwards_agrees(&mut self, client: usize, peer: PeerId, flow: FlowId, way: Way) -> Result<(), String> {
        let sender = &mut self.listener.peers.get_mut(&peer).ok_or("gone")?.driven;
        let Some((packet, mut datagram)) = sender.probe(flow, way)? else { return Ok(()) };
        let end = &mut self.clients[client];
        let path = Path { remote: sender.path.local.unwrap_or(end.driven.path.remote), ..end.driven.path };
        end.driven.opens(&path, &mut datagram, &packet)
    }
}

/// From where to where.
type Way = (IpAddr, IpAddr);

/// A packet, and the datagram it is sealed into.
type Probe = (Vec<u8>, Vec<u8>);

impl<T: Tunnel> Driven<T> {
    /// `None` if the flow does not carry such packets.
    fn probe(&mut self, flow: FlowId, (from, to): Way) -> Result<Option<Probe>, String> {
        let carries = |selectors: &[IpNet]| selectors.is_empty() || selectors.iter().any(|net| net.contains(to));
        if !self.plane.flows().any(|(f, selectors)| f == flow && carries(selectors)) {
            return Ok(None);
        }
        let packet = packet::numbered(from, to, Numbers { stream: u32::MAX, number: 0 }, 0);
        match self.plane.seal_in(flow, &packet) {
            Ok(datagram) => Ok(Some((packet, datagram))),
            Err(why) => Err(format!("{} seals nothing in {flow:?}: {why:?}", self.name())),
        }
    }

    fn opens(&mut self, path: &Path, datagram: &mut [u8], packet: &[u8]) -> Result<(), String> {
        let name = self.name().to_owned();
        let Class::Data(tag) = self.tunnel.classify(path, datagram) else {
            return Err(format!("{name} takes data for {:?}", self.tunnel.classify(path, datagram)));
        };
        match self.plane.open(tag, datagram) {
            Ok((Inside::Packet(opened), _)) if opened == packet => Ok(()),
            Ok((inside, _)) => Err(format!("{name} opens something else: {inside:?}")),
            Err(why) => Err(format!("{name} does not open what is sealed now: {why:?}, has {:?}", self.openers())),
        }
    }
}
