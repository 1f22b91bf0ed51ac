//! Configuration payloads: what we ask the gateway for, and what comes of its reply (RFC 7296 §2.19, §3.15).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
            IpAddr::V6(ip) => v6 = with_prefix(*ip, 128),
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

/// The other end of [`request`] and [`config`]: what a client is given of what it asked for.
pub(crate) fn reply(request: &Configuration, network: &NetworkConfig) -> Configuration {
    let mut attributes = Vec::new();
    for net in &network.addresses {
        match net.address() {
            IpAddr::V4(ip) => {
                attributes.push((CfgAttribute::INTERNAL_IP4_ADDRESS, Bytes::copy_from_slice(&ip.octets())));
            }
            IpAddr::V6(ip) => attributes.push((CfgAttribute::INTERNAL_IP6_ADDRESS, with_prefix(ip, net.prefix()))),
        }
    }
    let asked = |attribute| request.values(attribute).next().is_some();
    for server in &network.dns.servers {
        match server {
            IpAddr::V4(ip) if asked(CfgAttribute::INTERNAL_IP4_DNS) => {
                attributes.push((CfgAttribute::INTERNAL_IP4_DNS, Bytes::copy_from_slice(&ip.octets())));
            }
            IpAddr::V6(ip) if asked(CfgAttribute::INTERNAL_IP6_DNS) => {
                attributes.push((CfgAttribute::INTERNAL_IP6_DNS, Bytes::copy_from_slice(&ip.octets())));
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    for net in tunnelled(network) {
        match net.address() {
            IpAddr::V4(ip) if asked(CfgAttribute::INTERNAL_IP4_SUBNET) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(net.prefix())).unwrap_or(0);
                let value = ip.octets().into_iter().chain(mask.to_be_bytes()).collect();
                attributes.push((CfgAttribute::INTERNAL_IP4_SUBNET, value));
            }
            IpAddr::V6(ip) if asked(CfgAttribute::INTERNAL_IP6_SUBNET) => {
                attributes.push((CfgAttribute::INTERNAL_IP6_SUBNET, with_prefix(ip, net.prefix())));
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    if asked(CfgAttribute::INTERNAL_DNS_DOMAIN) {
        let domains = network.dns.resolve_domains.iter();
        let attribute = CfgAttribute::INTERNAL_DNS_DOMAIN;
        attributes.extend(domains.map(|domain| (attribute, Bytes::copy_from_slice(domain.as_bytes()))));
    }
    Configuration { cfg_type: CfgType::REPLY, attributes }
}

/// Addresses that a client asks for; unspecified ones where any will do.
pub(crate) fn requested(request: &Configuration) -> Vec<IpAddr> {
    let value = |value: &Bytes| match **value {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => value.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
    };
    let any = |attribute, any: IpAddr| {
        request.values(attribute).take(MAX_ADDRESSES).map(move |given| value(given).unwrap_or(any))
    };
    let v4 = any(CfgAttribute::INTERNAL_IP4_ADDRESS, Ipv4Addr::UNSPECIFIED.into());
    let v6 = any(CfgAttribute::INTERNAL_IP6_ADDRESS, Ipv6Addr::UNSPECIFIED.into());
    v4.filter(IpAddr::is_ipv4).chain(v6.filter(IpAddr::is_ipv6)).collect()
}

/// The selectors of a gateway for a client with this network: what lies behind us, of the families of its addresses, and the
/// client's addresses.
pub(crate) fn selectors(network: &NetworkConfig) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let remote: Vec<_> = network.addresses.iter().map(|net| selectors::host(net.address())).collect();
    let has = |v4: bool| network.addresses.iter().any(|net| net.address().is_ipv4() == v4);
    let named: Vec<_> = tunnelled(network).collect();
    let everything = |v4: bool| {
        let redirected = if v4 { network.redirect4 } else { network.redirect6 };
        // Without a word about this family, all of it.
        has(v4) && (redirected || !named.iter().any(|net| net.address().is_ipv4() == v4))
    };
    let mut local: Vec<_> = [(true, selectors::any_v4()), (false, selectors::any_v6())]
        .into_iter()
        .filter(|(v4, _)| everything(*v4))
        .map(|(_, any)| any)
        .collect();
    local.extend(named.iter().filter(|net| has(net.address().is_ipv4())).map(selectors::from_net));
    (local, remote)
}

fn tunnelled(network: &NetworkConfig) -> impl Iterator<Item = IpNet> {
    network.routes.iter().filter(|route| route.via == RouteVia::Tunnel).map(|route| route.destination)
}

fn with_prefix(ip: Ipv6Addr, prefix: u8) -> Bytes {
    ip.octets().into_iter().chain([prefix]).collect()
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
    let mut network = sized(cx, NetworkConfig { addresses, ..NetworkConfig::default() }, child);
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

/// The same, with the size of the packets that this child carries.
pub(crate) fn sized(cx: &Context<'_>, network: NetworkConfig, child: &ChildSa) -> NetworkConfig {
    let mtu = cx.settings.mtu.unwrap_or_else(|| child.mtu(cx.path.remote.is_ipv6()));
    NetworkConfig { mtu, tcp_mtu: mtu, ..network }
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
