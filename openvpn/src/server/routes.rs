//! Which datagram belongs to which peer.

use std::{collections::HashMap, net::SocketAddr};

use adit_tunnel::{Path, PeerId, Routing, Transport};

use crate::control::packet::{Header, KeyId, Opcode, SessionId};

/// Peers by what their datagrams say, and by where they come from.
///
/// Control packets are known by the client's session id, so they need no address and follow a peer that moves; data packets by
/// the peer id that we gave, or by their address if the client is too old for one.
#[derive(Default)]
pub(super) struct Routes {
    peers: HashMap<PeerId, Peer>,
    sessions: HashMap<SessionId, PeerId>,
    addresses: HashMap<(Transport, SocketAddr), PeerId>,
    last: u32,
}

struct Peer {
    session: SessionId,
    address: (Transport, SocketAddr),
}

impl Routes {
    /// Where a datagram goes.
    pub(super) fn route(&self, path: &Path, datagram: &[u8]) -> Routing {
        let Some(&first) = datagram.first() else { return Routing::Drop };
        let (opcode, _) = Opcode::split(first);
        if opcode.is_data() { self.route_data(path, opcode, datagram) } else { self.route_control(datagram) }
    }

    fn route_data(&self, path: &Path, opcode: Opcode, datagram: &[u8]) -> Routing {
        let by_id = match datagram {
            &[_, high, middle, low, ..] if opcode == Opcode::DATA_V2 => u32::from_be_bytes([0, high, middle, low]),
            _ => NO_PEER_ID,
        };
        let peer = match by_id {
            NO_PEER_ID => self.addresses.get(&(path.transport, path.remote)).copied(),
            id => Some(PeerId(id)).filter(|id| self.peers.contains_key(id)),
        };
        peer.map_or(Routing::Drop, Routing::Peer)
    }

    fn route_control(&self, datagram: &[u8]) -> Routing {
        let Ok(header) = Header::decode(datagram.get(..Header::LEN).unwrap_or(datagram)) else { return Routing::Drop };
        match self.sessions.get(&header.session_id) {
            Some(peer) => Routing::Peer(*peer),
            None if header.key_id == KeyId::FIRST => Routing::New,
            None => Routing::Drop,
        }
    }

    /// Names a new peer; `None` if all names are taken.
    pub(super) fn add(&mut self, path: &Path, session: SessionId, limit: u32) -> Option<PeerId> {
        if self.peers.len() >= limit as usize {
            return None;
        }
        // A name is given again as late as possible: what is still under way for its last bearer finds nobody.
        let next = |last: u32| if last >= PeerId::MAX.0 { 1 } else { last + 1 };
        self.last = next(self.last);
        while self.peers.contains_key(&PeerId(self.last)) {
            self.last = next(self.last);
        }
        let (peer, address) = (PeerId(self.last), (path.transport, path.remote));
        self.peers.insert(peer, Peer { session, address });
        self.sessions.insert(session, peer);
        // Of two at one address, the other is gone.
        self.addresses.insert(address, peer);
        Some(peer)
    }

    pub(super) fn remove(&mut self, peer: PeerId) {
        let Some(Peer { session, address }) = self.peers.remove(&peer) else { return };
        self.sessions.remove(&session);
        if self.addresses.get(&address) == Some(&peer) {
            self.addresses.remove(&address);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }
}

/// What clients write that were given no peer id (OpenVPN 2.6 `MAX_PEER_ID`).
const NO_PEER_ID: u32 = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { transport: Transport::Udp, local: None, remote: ([192, 0, 2, 1], port).into() }
    }

    fn session(byte: u8) -> SessionId {
        SessionId::new([byte; 8]).unwrap()
    }

    fn control(opcode: Opcode, key_id: u8, session: u8) -> Vec<u8> {
        [&[opcode.0 << 3 | key_id], [session; 8].as_slice(), &[0; 5]].concat()
    }

    #[test]
    fn control_packets_are_known_by_their_session_wherever_they_come_from() {
        let mut routes = Routes::default();
        let one = routes.add(&path(1), session(1), 9).unwrap();
        let two = routes.add(&path(1), session(2), 9).unwrap();
        for port in [1, 2] {
            assert_eq!(routes.route(&path(port), &control(Opcode::CONTROL_V1, 3, 1)), Routing::Peer(one));
            assert_eq!(routes.route(&path(port), &control(Opcode::ACK_V1, 0, 2)), Routing::Peer(two));
            assert_eq!(routes.route(&path(port), &control(Opcode::CONTROL_V1, 0, 3)), Routing::New);
            assert_eq!(routes.route(&path(port), &control(Opcode::SOFT_RESET_V1, 3, 3)), Routing::Drop);
            assert_eq!(routes.route(&path(port), &control(Opcode::CONTROL_V1, 0, 0)), Routing::Drop, "no session");
        }
        routes.remove(one);
        assert_eq!(routes.route(&path(1), &control(Opcode::CONTROL_V1, 0, 1)), Routing::New);
    }

    #[test]
    fn data_packets_are_known_by_peer_id_or_address() {
        let mut routes = Routes::default();
        let one = routes.add(&path(1), session(1), 9).unwrap();
        let two = routes.add(&path(2), session(2), 9).unwrap();
        assert_eq!(routes.route(&path(7), &[9 << 3, 0, 0, 2, 1]), Routing::Peer(two));
        assert_eq!(routes.route(&path(1), &[9 << 3, 0xff, 0xff, 0xff, 1]), Routing::Peer(one));
        assert_eq!(routes.route(&path(1), &[6 << 3, 0, 0, 2]), Routing::Peer(one));
        assert_eq!(routes.route(&path(3), &[6 << 3, 0, 0, 2]), Routing::Drop);
        assert_eq!(routes.route(&path(1), &[9 << 3, 0, 0, 3, 1]), Routing::Drop);
        assert_eq!(routes.route(&path(1), &[]), Routing::Drop);
        let three = routes.add(&path(1), session(3), 9).unwrap();
        routes.remove(one);
        assert_eq!(routes.route(&path(1), &[6 << 3, 0]), Routing::Peer(three), "the newer one stays");
    }

    #[test]
    fn names_are_bounded_and_given_again_late() {
        let mut routes = Routes::default();
        let one = routes.add(&path(1), session(1), 2).unwrap();
        routes.add(&path(2), session(2), 2).unwrap();
        assert_eq!(routes.add(&path(3), session(3), 2), None);
        routes.remove(one);
        assert_eq!(routes.add(&path(3), session(3), 2), Some(PeerId(3)));
        routes.last = PeerId::MAX.0;
        routes.remove(PeerId(3));
        assert_eq!(routes.add(&path(4), session(4), 2), Some(PeerId(1)));
        assert_eq!(routes.len(), 2);
    }
}
