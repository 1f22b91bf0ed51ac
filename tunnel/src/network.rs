//! What the peer tells about the network behind it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address with a prefix length, such as `10.8.0.0/24`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

/// Addresses, routes, DNS and sizes of a tunnel, as given by the peer and our own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkConfig {
    /// Our addresses inside the tunnel, each with the prefix of its subnet.
    pub addresses: Vec<IpNet>,
    /// The peer's IPv4 address inside the tunnel, if known.
    pub gateway4: Option<Ipv4Addr>,
    /// The peer's IPv6 address inside the tunnel, if known.
    pub gateway6: Option<Ipv6Addr>,
    /// Networks behind the peer, and networks to keep out of the tunnel.
    pub routes: Vec<Route>,
    /// All IPv4 traffic of the machine is meant for the tunnel.
    pub redirect4: bool,
    /// All IPv6 traffic of the machine is meant for the tunnel.
    pub redirect6: bool,
    /// IPv6 outside the tunnel is to be blocked.
    pub block_ipv6: bool,
    /// DNS servers other than those of the tunnel are to be blocked.
    pub block_outside_dns: bool,
    /// Name resolution.
    pub dns: Dns,
    /// Largest inner packet, in bytes.
    pub mtu: u16,
    /// Largest inner TCP packet to make or ask for, so that outer datagrams are not fragmented; at most `mtu`.
    pub tcp_mtu: u16,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Its destination.
    pub destination: IpNet,
    /// Where it leads.
    pub via: RouteVia,
    /// Lower is preferred.
    pub metric: Option<u32>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteVia {
    /// Into the tunnel.
    Tunnel,
    /// Past the tunnel, through the machine's own gateway.
    Underlay,
}

/// Name resolution inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Servers, best first.
    pub servers: Vec<IpAddr>,
    /// Domains to append to short names.
    pub search_domains: Vec<String>,
    /// Domains that alone are resolved through the tunnel; empty means all.
    pub resolve_domains: Vec<String>,
}

impl IpNet {
    /// `None` when `prefix` is longer than the address.
    #[must_use]
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Self> {
        let address = address.into();
        let max = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= max).then_some(Self { address, prefix })
    }

    /// The prefix of a netmask such as 255.255.255.0; `None` when its ones are not contiguous.
    #[must_use]
    pub fn from_netmask(address: Ipv4Addr, netmask: Ipv4Addr) -> Option<Self> {
        let mask = u32::from(netmask);
        let prefix = mask.leading_ones();
        (mask.count_ones() == prefix).then_some(Self { address: address.into(), prefix: prefix as u8 })
    }

    /// A single address.
    #[must_use]
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The address, with its host bits.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in this network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        fn same(a: u128, b: u128, width: u32, prefix: u8) -> bool {
            let shift = width - u32::from(prefix);
            (a ^ b).checked_shr(shift).unwrap_or(0) == 0
        }
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32, self.prefix),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128, self.prefix),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_compares_only_the_prefix() {
        let net = IpNet::from_netmask(Ipv4Addr::new(10, 8, 3, 7), Ipv4Addr::new(255, 255, 252, 0)).unwrap();
        assert_eq!(net.prefix(), 22);
        assert!(net.contains("10.8.0.1".parse().unwrap()));
        assert!(!net.contains("10.8.4.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert!(IpNet::new(Ipv6Addr::UNSPECIFIED, 0).unwrap().contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_netmask_with_holes_is_refused() {
        assert_eq!(IpNet::from_netmask(Ipv4Addr::LOCALHOST, Ipv4Addr::new(255, 0, 255, 0)), None);
        assert_eq!(IpNet::new(Ipv4Addr::LOCALHOST, 33), None);
    }
}
