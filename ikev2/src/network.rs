//! Configuration payloads: what we ask the gateway for, and what comes of its reply (RFC 7296 §2.19, §3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::{Dns, IpNet, NetworkConfig, Route, RouteVia};
use bytes::Bytes;

use crate::{
    child::ChildSa,
    message::{
        Configuration, Message,
        numbers::{CfgAttribute, CfgType, NotifyType},
    },
    sa::Context,
    selectors,
};

/// CFG_REQUEST: addresses of both families, those we had if any, name servers, networks and domains.
pub(crate) fn request(addresses: &[IpAddr]) -> Configuration {
    let (mut v4, mut v6) = (Bytes::new(), Bytes::new());
    for address in addresses {
        match address {
            IpAddr::V4(ip) => v4 = Bytes::copy_from_slice(&ip.octets()),
            // Sixteen bytes and a prefix length.
            IpAddr::V6(ip) => v6 = ip.octets().into_iter().chain([128]).collect(),
        }
    }
    let empty = |attribute| (attribute, Bytes::new());
    let attributes = vec![
        (CfgAttribute::INTERNAL_IP4_ADDRESS, v4),
        empty(CfgAttribute::INTERNAL_IP4_DNS),
        empty(CfgAttribute::INTERNAL_IP4_SUBNET),
        (CfgAttribute::INTERNAL_IP6_ADDRESS, v6),
        empty(CfgAttribute::INTERNAL_IP6_DNS),
        empty(CfgAttribute::INTERNAL_IP6_SUBNET),
        empty(CfgAttribute::INTERNAL_DNS_DOMAIN),
    ];
    Configuration { cfg_type: CfgType::REQUEST, attributes }
}

/// What the gateway gave us, and what its traffic selectors say.
pub(crate) fn config(cx: &Context<'_>, reply: Option<&Configuration>, child: &ChildSa) -> NetworkConfig {
    let mtu = cx.config.settings().mtu.unwrap_or_else(|| child.mtu(cx.path.remote.is_ipv6()));
    let mut network = NetworkConfig { mtu, tcp_mtu: mtu, ..NetworkConfig::default() };
    let mut netmask = None;
    for (attribute, value) in reply.iter().flat_map(|reply| &reply.attributes).take(MAX_ATTRIBUTES) {
        apply(&mut network, &mut netmask, *attribute, value);
    }
    if let Some(netmask) = netmask {
        for net in &mut network.addresses {
            if let IpAddr::V4(address) = net.address() {
                *net = IpNet::from_netmask(address, netmask).unwrap_or(*net);
            }
        }
    }
    if network.addresses.is_empty() {
        // Without a pool the selectors name us, as a rule by our outer address.
        let single = child.local.iter().filter(|ts| ts.addresses.0 == ts.addresses.1).map(|ts| ts.addresses.0);
        network.addresses = single.map(IpNet::host).collect();
    }
    let destinations = selectors::to_nets(&child.remote);
    let everything = |v4: bool| destinations.iter().any(|net| net.prefix() == 0 && net.address().is_ipv4() == v4);
    (network.redirect4, network.redirect6) = (everything(true), everything(false));
    let route = |destination| Route { destination, via: RouteVia::Tunnel, metric: None };
    network.routes.extend(destinations.into_iter().filter(|net| net.prefix() != 0).map(route));
    network
}

fn apply(network: &mut NetworkConfig, netmask: &mut Option<Ipv4Addr>, attribute: CfgAttribute, value: &[u8]) {
    let v4 = || value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    let v6 = || value.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
    let route = |destination| Route { destination, via: RouteVia::Tunnel, metric: None };
    match attribute {
        CfgAttribute::INTERNAL_IP4_ADDRESS => network.addresses.extend(v4().map(IpNet::host)),
        CfgAttribute::INTERNAL_IP6_ADDRESS => {
            let prefix = value.get(16).copied().unwrap_or(128);
            network.addresses.extend(v6().and_then(|address| IpNet::new(address, prefix)));
        }
        CfgAttribute::INTERNAL_IP4_NETMASK => *netmask = v4(),
        CfgAttribute::INTERNAL_IP4_DNS => network.dns.servers.extend(v4().map(IpAddr::V4)),
        CfgAttribute::INTERNAL_IP6_DNS => network.dns.servers.extend(v6().map(IpAddr::V6)),
        CfgAttribute::INTERNAL_IP4_SUBNET => {
            let mask = value.get(4..).and_then(|rest| rest.first_chunk::<4>()).map(|octets| Ipv4Addr::from(*octets));
            let net = v4().zip(mask).and_then(|(address, mask)| IpNet::from_netmask(address, mask));
            network.routes.extend(net.map(route));
        }
        CfgAttribute::INTERNAL_IP6_SUBNET => {
            let net = v6().zip(value.get(16)).and_then(|(address, prefix)| IpNet::new(address, *prefix));
            network.routes.extend(net.map(route));
        }
        CfgAttribute::INTERNAL_IP4_SERVER => network.gateway4 = v4(),
        CfgAttribute::INTERNAL_IP6_SERVER => network.gateway6 = v6(),
        CfgAttribute::INTERNAL_DNS_DOMAIN => network.dns.resolve_domains.extend(domain(value)),
        CfgAttribute::UNITY_DEF_DOMAIN => network.dns.search_domains.extend(domain(value)),
        other => tracing::debug!("configuration attribute {other} is not used"),
    }
}

/// A domain that may be shown and asked for: letters, digits, hyphens and dots.
fn domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches(['\0', '.']);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!text.is_empty() && text.len() <= MAX_DOMAIN_BYTES && text.bytes().all(plain)).then(|| text.to_owned())
}

/// Other addresses of the gateway (RFC 4555 §3.4).
pub(crate) fn additional_addresses(message: &Message) -> Vec<IpAddr> {
    let v4 = message.notifies(NotifyType::ADDITIONAL_IP4_ADDRESS);
    let v4 = v4.filter_map(|n| n.data.first_chunk::<4>().map(|octets| IpAddr::from(*octets)));
    let v6 = message.notifies(NotifyType::ADDITIONAL_IP6_ADDRESS);
    let v6 = v6.filter_map(|n| n.data.first_chunk::<16>().map(|octets| IpAddr::from(*octets)));
    v4.chain(v6).take(MAX_ADDRESSES).collect()
}

/// More attributes than any gateway has reason to send.
const MAX_ATTRIBUTES: usize = 256;
/// A gateway has no reason to name more.
const MAX_ADDRESSES: usize = 16;
/// RFC 1035 §2.3.4.
const MAX_DOMAIN_BYTES: usize = 253;
