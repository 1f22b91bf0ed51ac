//! Configuration payloads: what we ask the gateway for, and what comes of its reply (RFC 7296 §2.19, §3.15).

use std::net::IpAddr;

use adit_tunnel::{IpNet, NetworkConfig, Route, RouteVia};
use bytes::Bytes;

use crate::{
    child::ChildSa,
    message::{
        Configuration, Message, TrafficSelector,
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

/// Our addresses inside.
pub(crate) fn addresses(reply: Option<&Configuration>, local: &[TrafficSelector]) -> Vec<IpNet> {
    let given = reply.into_iter().flat_map(|reply| reply.ip4_addresses().map(IpNet::host).chain(reply.ip6_addresses()));
    let given: Vec<_> = given.collect();
    if !given.is_empty() {
        return given;
    }
    // Without a pool the selectors name us, as a rule by our outer address.
    let single = local.iter().filter(|ts| ts.addresses.0 == ts.addresses.1).map(|ts| ts.addresses.0);
    single.map(IpNet::host).collect()
}

/// What the gateway gave us beside our addresses, and what its traffic selectors say.
pub(crate) fn config(
    cx: &Context<'_>,
    addresses: Vec<IpNet>,
    reply: Option<&Configuration>,
    child: &ChildSa,
) -> NetworkConfig {
    let mtu = cx.config.settings().mtu.unwrap_or_else(|| child.mtu(cx.path.remote.is_ipv6()));
    let mut network = NetworkConfig { addresses, mtu, tcp_mtu: mtu, ..NetworkConfig::default() };
    let route = |destination| Route { destination, via: RouteVia::Tunnel, metric: None };
    if let Some(reply) = reply {
        network.dns.servers.extend(reply.dns_servers());
        network.dns.resolve_domains.extend(reply.dns_domains().map(str::to_owned));
        network.routes.extend(reply.subnets().map(route));
    }
    let destinations = selectors::to_nets(&child.remote);
    let everything = |v4: bool| destinations.iter().any(|net| net.prefix() == 0 && net.address().is_ipv4() == v4);
    (network.redirect4, network.redirect6) = (everything(true), everything(false));
    network.routes.extend(destinations.into_iter().filter(|net| net.prefix() != 0).map(route));
    network
}

/// Other addresses of the gateway (RFC 4555 §3.4).
pub(crate) fn additional_addresses(message: &Message) -> Vec<IpAddr> {
    let v4 = message.notifies(NotifyType::ADDITIONAL_IP4_ADDRESS);
    let v4 = v4.filter_map(|n| n.data.first_chunk::<4>().map(|octets| IpAddr::from(*octets)));
    let v6 = message.notifies(NotifyType::ADDITIONAL_IP6_ADDRESS);
    let v6 = v6.filter_map(|n| n.data.first_chunk::<16>().map(|octets| IpAddr::from(*octets)));
    v4.chain(v6).take(MAX_ADDRESSES).collect()
}

/// A gateway has no reason to name more.
const MAX_ADDRESSES: usize = 16;
