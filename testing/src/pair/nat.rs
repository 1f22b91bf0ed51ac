//! What a NAT before a client makes of its addresses.

use std::net::SocketAddr;

/// What becomes of the mapping that a NAT gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Datagrams to the old address still reach the client.
    Alive,
    /// They vanish.
    Dead,
}

/// The addresses under which a client is seen.
#[derive(Debug)]
pub(super) struct Nat {
    outside: SocketAddr,
    former: Vec<(SocketAddr, Mapping)>,
}

/// Former addresses of which it is still known whose they were.
const FORMER: usize = 16;

impl Nat {
    pub(super) const fn new(outside: SocketAddr) -> Self {
        Self { outside, former: Vec::new() }
    }

    /// From now on the client is seen at another address.
    pub(super) fn rebind(&mut self, outside: SocketAddr, old: Mapping) {
        if self.former.len() == FORMER {
            self.former.remove(0);
        }
        self.former.push((self.outside, old));
        self.outside = outside;
    }

    /// The client has left whatever was behind its former addresses.
    pub(super) fn forget(&mut self) {
        self.former.iter_mut().for_each(|(_, mapping)| *mapping = Mapping::Dead);
    }

    pub(super) const fn outside(&self) -> SocketAddr {
        self.outside
    }

    /// Whether the address is or was this client's.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.outside == address || self.former.iter().any(|(former, _)| *former == address)
    }

    /// Whether what is sent to the address reaches the client.
    pub(super) fn lets_in(&self, address: SocketAddr) -> bool {
        self.outside == address || self.former.contains(&(address, Mapping::Alive))
    }
}
