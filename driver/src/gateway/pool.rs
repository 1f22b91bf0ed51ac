//! The networks that peers get their addresses of.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use adit_tunnel::IpNet;

/// The networks that peers get their addresses of.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pool {
    pub(super) networks: Vec<Network>,
    /// Given to those alone for whom they are meant.
    pub(super) reserved: BTreeSet<IpAddr>,
}

/// One network of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// With the first address: the gateway's own.
    pub(super) net: IpNet,
    /// The first and the last number that may be given to a peer.
    pub(super) first: u128,
    pub(super) last: u128,
}

/// A network cannot be a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// It leaves no address for a peer beside the gateway's own.
    #[error("{0} has no address for a peer")]
    TooSmall(IpNet),
    /// It shares addresses with another.
    #[error("{0} overlaps {1}")]
    Overlap(IpNet, IpNet),
    /// Peers cannot have such addresses.
    #[error("{0} is not a network of hosts")]
    NotHosts(IpNet),
}

impl Pool {
    /// Of each network, the first address is the gateway's own; those of an IPv4 network that mean the network itself or
    /// all of it (RFC 919) are nobody's. A peer gets one address of each family that it asks for and the pool has.
    ///
    /// # Errors
    /// [`BadPool`] when a network has no room for a peer, overlaps another, or is of loopback, multicast or link-local
    /// addresses.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Result<Self, BadPool> {
        let mut pool = Self::default();
        for net in networks {
            let network = Network::new(net)?;
            if let Some(other) = pool.networks.iter().find(|other| other.overlaps(&net)) {
                return Err(BadPool::Overlap(net, other.net));
            }
            pool.networks.push(network);
        }
        Ok(pool)
    }

    /// Keeps these for the peers that an [`Authenticator`](super::Authenticator) gives them to
    /// ([`Judgement::Admit`](super::Judgement::Admit)): nobody else gets one, whatever it asks for.
    #[must_use]
    pub fn reserving(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.reserved.extend(addresses.into_iter().map(|address| address.to_canonical()));
        self
    }

    /// The gateway's own addresses, each with the prefix of its network.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpNet> {
        self.networks.iter().map(|network| network.net)
    }

    /// Whether the address lies in one of its networks, in whatever form, and whoever has it.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.net.contains(address))
    }

    /// The network a peer's address may be of.
    pub(super) fn network_of(&self, address: IpAddr) -> Option<&Network> {
        self.networks.iter().find(|network| network.may_give(address))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.own_addresses()).finish()
    }
}

impl Network {
    fn new(net: IpNet) -> Result<Self, BadPool> {
        let number = number(net.address());
        let (host_bits, is_v4) = match net.address() {
            IpAddr::V4(address) => {
                if address.is_loopback() || address.is_link_local() || address.is_multicast() || net.prefix() == 0 {
                    return Err(BadPool::NotHosts(net));
                }
                (32 - u32::from(net.prefix()), true)
            }
            IpAddr::V6(address) => {
                if address.is_loopback()
                    || address.is_unicast_link_local()
                    || address.is_multicast()
                    || net.prefix() == 0
                {
                    return Err(BadPool::NotHosts(net));
                }
                (128 - u32::from(net.prefix()), false)
            }
        };
        let hosts = (1u128 << host_bits) - 1;
        let base = number & !hosts;
        let own = base + 1;
        let last = base + hosts - u128::from(is_v4);
        if hosts < 2 || last <= own {
            return Err(BadPool::TooSmall(net));
        }
        let own_address = address(own, is_v4);
        let net = IpNet::new(own_address, net.prefix()).ok_or(BadPool::TooSmall(net))?;
        Ok(Self { net, first: own + 1, last })
    }

    fn overlaps(&self, net: &IpNet) -> bool {
        self.net.contains(net.address()) || net.contains(self.net.address())
    }

    pub(super) fn is_v4(&self) -> bool {
        self.net.address().is_ipv4()
    }

    fn may_give(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4() && (self.first..=self.last).contains(&number(address))
    }
}

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The inverse of [`number`]; the numbers of IPv4 fit.
pub(super) fn address(number: u128, is_v4: bool) -> IpAddr {
    if is_v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gateway) fn net(text: &str) -> IpNet {
        let (address, prefix) = text.split_once('/').unwrap();
        IpNet::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn networks_without_room_for_a_peer_are_refused() {
        for text in ["10.8.0.1/32", "10.8.0.0/31", "fd00::1/128", "fd00::/127"] {
            assert!(matches!(Pool::new([net(text)]), Err(BadPool::TooSmall(_))), "{text}");
        }
        for text in ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/8", "0.0.0.0/0", "fe80::/64", "ff00::/16", "::/0"] {
            assert!(matches!(Pool::new([net(text)]), Err(BadPool::NotHosts(_))), "{text}");
        }
        for (one, two) in [("10.8.0.0/24", "10.8.0.128/25"), ("10.8.0.128/25", "10.8.0.0/16")] {
            assert!(matches!(Pool::new([net(one), net(two)]), Err(BadPool::Overlap(..))), "{one} {two}");
        }
        assert!(Pool::new([net("10.8.0.0/30"), net("fd00::/126"), net("1.0.0.0/1")]).is_err(), "1/1 holds 10.8/30");
        assert!(Pool::new([net("fd00::/126")]).is_ok());
    }
}
