//! What a client is told about the network, as text (OpenVPN 2.6 `push.c`, openvpn.8).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_tunnel::{IpNet, NetworkConfig, Route, RouteVia};

use super::{
    client::Abilities,
    config::{DEFAULT_TUN_MTU, ServerSettings},
};
use crate::{algorithms::Cipher, session::iv_proto};

/// What both ends use from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agreed {
    pub(crate) cipher: Cipher,
    pub(crate) peer_id: Option<u32>,
    pub(crate) exporter: bool,
    pub(crate) dynamic_tls_crypt: bool,
    pub(crate) tun_mtu: u16,
}

/// Every option for a client, in order.
pub(super) fn options(
    network: &NetworkConfig,
    agreed: &Agreed,
    client: &Abilities,
    settings: &ServerSettings,
) -> Vec<String> {
    let mut options = Vec::new();
    addresses(network, &mut options);
    options.extend(network.routes.iter().map(route));
    redirects(network, &mut options);
    if client.announces(iv_proto::DNS_OPTION_V2) {
        dns(network, &mut options)
    } else {
        dhcp(network, &mut options)
    }
    if let Some((ping, restart)) = settings.keepalive {
        options.push(format!("ping {}", ping.as_secs()));
        options.push(format!("ping-restart {}", restart.as_secs()));
    }
    options.extend(settings.push.iter().cloned());
    options.extend(agreed.peer_id.map(|id| format!("peer-id {id}")));
    if client.negotiates_ciphers() {
        options.push(format!("cipher {}", agreed.cipher));
    }
    protocol(agreed, client, &mut options);
    if agreed.tun_mtu != DEFAULT_TUN_MTU && client.mtu.is_some() {
        options.push(format!("tun-mtu {}", agreed.tun_mtu));
    }
    options
}

/// The PUSH_REPLY, in as many messages as it takes.
pub(super) fn messages(options: &[String]) -> Vec<String> {
    let mut parts = vec![String::new()];
    for option in options {
        let fits = parts.last().is_some_and(|part| part.len() + 1 + option.len() <= MAX_PART);
        if !fits {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(',');
            part.push_str(option);
        }
    }
    let last = parts.len() - 1;
    let ended = |(at, part): (usize, String)| match at {
        _ if last == 0 => format!("PUSH_REPLY{part}\0"),
        at if at < last => format!("PUSH_REPLY{part},push-continuation 2\0"),
        _ => format!("PUSH_REPLY{part},push-continuation 1\0"),
    };
    parts.into_iter().enumerate().map(ended).collect()
}

fn addresses(network: &NetworkConfig, options: &mut Vec<String>) {
    for net in &network.addresses {
        match net.address() {
            IpAddr::V4(address) => {
                options.push("topology subnet".to_owned());
                options.push(format!("ifconfig {address} {}", netmask(net.prefix())));
                let gateway = network.gateway4.or_else(|| first4(address, net.prefix()));
                options.extend(gateway.map(|gateway| format!("route-gateway {gateway}")));
            }
            IpAddr::V6(address) => {
                // Clients insist on a second address, whatever it is.
                let gateway = network.gateway6.unwrap_or_else(|| first6(address, net.prefix()));
                options.push(format!("ifconfig-ipv6 {address}/{} {gateway}", net.prefix()));
            }
        }
    }
}

fn route(route: &Route) -> String {
    let metric = route.metric.map(|metric| format!(" {metric}")).unwrap_or_default();
    let (address, prefix) = (route.destination.address(), route.destination.prefix());
    match (address, route.via) {
        (IpAddr::V4(address), RouteVia::Underlay) => {
            format!("route {} {} net_gateway{metric}", masked4(address, prefix), netmask(prefix))
        }
        (IpAddr::V4(address), RouteVia::Tunnel) => {
            let gateway = if metric.is_empty() { "" } else { " vpn_gateway" };
            format!("route {} {}{gateway}{metric}", masked4(address, prefix), netmask(prefix))
        }
        (IpAddr::V6(address), RouteVia::Underlay) => {
            format!("route-ipv6 {}/{prefix} net_gateway_ipv6{metric}", masked6(address, prefix))
        }
        (IpAddr::V6(address), RouteVia::Tunnel) => {
            let gateway = if metric.is_empty() { "" } else { " default" };
            format!("route-ipv6 {}/{prefix}{gateway}{metric}", masked6(address, prefix))
        }
    }
}

fn redirects(network: &NetworkConfig, options: &mut Vec<String>) {
    match (network.redirect4, network.redirect6) {
        (true, true) => options.push("redirect-gateway def1 ipv6".to_owned()),
        (true, false) => options.push("redirect-gateway def1".to_owned()),
        (false, true) => options.push("redirect-gateway def1 ipv6 !ipv4".to_owned()),
        (false, false) => {}
    }
    if network.block_ipv6 {
        options.push("block-ipv6".to_owned());
    }
    if network.block_outside_dns {
        options.push("block-outside-dns".to_owned());
    }
}

/// The `dns` option, which OpenVPN 2.6 knows.
fn dns(network: &NetworkConfig, options: &mut Vec<String>) {
    let dns = &network.dns;
    if !dns.search_domains.is_empty() {
        options.extend(domains(&dns.search_domains).map(|names| format!("dns search-domains {names}")));
    }
    if dns.servers.is_empty() {
        return;
    }
    let servers: Vec<String> = dns.servers.iter().take(MAX_DNS_SERVERS).map(ToString::to_string).collect();
    options.push(format!("dns server 0 address {}", servers.join(" ")));
    options.extend(domains(&dns.resolve_domains).map(|names| format!("dns server 0 resolve-domains {names}")));
}

/// The same for older clients.
fn dhcp(network: &NetworkConfig, options: &mut Vec<String>) {
    for server in &network.dns.servers {
        let kind = if server.is_ipv4() { "DNS" } else { "DNS6" };
        options.push(format!("dhcp-option {kind} {server}"));
    }
    let names = network.dns.search_domains.iter().filter(|name| is_domain(name));
    options.extend(names.map(|name| format!("dhcp-option DOMAIN-SEARCH {name}")));
}

/// `protocol-flags`, or what clients before OpenVPN 2.6 know of it.
fn protocol(agreed: &Agreed, client: &Abilities, options: &mut Vec<String>) {
    if !client.announces(iv_proto::CC_EXIT_NOTIFY) {
        if agreed.exporter {
            options.push("key-derivation tls-ekm".to_owned());
        }
        return;
    }
    let exporter = if agreed.exporter { " tls-ekm" } else { "" };
    let dynamic = if agreed.dynamic_tls_crypt { " dyn-tls-crypt" } else { "" };
    options.push(format!("protocol-flags cc-exit{exporter}{dynamic}"));
}

/// Those that an option can carry.
fn domains(names: &[String]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_domain(name)).take(MAX_DOMAINS).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// Neither an end of an option or a word, nor more than a domain has.
fn is_domain(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(good)
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

fn masked4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    address & netmask(prefix)
}

fn masked6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    address & Ipv6Addr::from(u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0))
}

/// The first address of the subnet, which servers usually have.
fn first4(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let first = Ipv4Addr::from(u32::from(masked4(address, prefix)) | 1);
    (first != address && IpNet::new(address, prefix)?.contains(first.into())).then_some(first)
}

fn first6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(masked6(address, prefix)) | 1)
}

/// A message of 1024 bytes with `PUSH_REPLY`, `push-continuation` and NUL (2.6 `push.h`, PUSH_BUNDLE_SIZE).
const MAX_PART: usize = 1024 - 10 - 20 - 1;
/// What one `dns server` of 2.6 clients holds (`dns.h`).
const MAX_DNS_SERVERS: usize = 8;
/// 2.x splits an option into 16 words at most (`options.h`, MAX_PARMS).
const MAX_DOMAINS: usize = 12;

#[cfg(test)]
mod tests {
    use adit_tunnel::Dns;

    use super::*;
    use crate::{
        config::Settings,
        control::message::{Message, PushAssembler},
        options::PulledOptions,
    };

    fn net(text: &str, prefix: u8) -> IpNet {
        IpNet::new(text.parse::<IpAddr>().unwrap(), prefix).unwrap()
    }

    fn network() -> NetworkConfig {
        let route = |text, prefix, via, metric| Route { destination: net(text, prefix), via, metric };
        NetworkConfig {
            addresses: vec![net("10.8.0.9", 24), net("fd00::9", 64)],
            gateway4: Some(Ipv4Addr::new(10, 8, 0, 1)),
            gateway6: Some("fd00::1".parse().unwrap()),
            routes: vec![
                route("10.1.0.0", 16, RouteVia::Tunnel, None),
                route("10.2.0.0", 16, RouteVia::Tunnel, Some(7)),
                route("10.3.3.3", 32, RouteVia::Underlay, None),
                route("fd01::", 64, RouteVia::Tunnel, None),
                route("fd02::", 64, RouteVia::Tunnel, Some(9)),
                route("fd03::", 64, RouteVia::Underlay, Some(1)),
                route("0.0.0.0", 0, RouteVia::Tunnel, None),
            ],
            redirect4: true,
            redirect6: true,
            block_outside_dns: true,
            dns: Dns {
                servers: vec!["10.8.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
                search_domains: vec!["lab.example".to_owned(), "two.example".to_owned()],
                resolve_domains: vec!["only.example".to_owned()],
            },
            mtu: 1400,
            tcp_mtu: 1400,
            ..NetworkConfig::default()
        }
    }

    fn agreed() -> Agreed {
        Agreed { cipher: Cipher::Aes256Gcm, peer_id: Some(5), exporter: true, dynamic_tls_crypt: true, tun_mtu: 1400 }
    }

    /// What a client of ours makes of the messages.
    fn pulled(messages: &[String]) -> PulledOptions {
        let mut assembler = PushAssembler::default();
        let mut options = None;
        for message in messages {
            assert!(message.len() <= 1024 && options.is_none(), "{message}");
            let text = message.strip_suffix('\0').unwrap();
            let Ok(Message::PushReply(push)) = Message::decode(text.as_bytes()) else { panic!("{text}") };
            options = assembler.add(push).unwrap();
        }
        let settings = Settings { tun_mtu_max: 1600, ..Settings::default() };
        let mut pulled = PulledOptions::default();
        let notes = pulled.apply(&options.expect("a last part"), &settings).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        pulled
    }

    fn all_of(info: &str, network: &NetworkConfig) -> PulledOptions {
        let client = Abilities::new(info, "");
        pulled(&messages(&options(network, &agreed(), &client, &ServerSettings::default())))
    }

    #[test]
    fn a_client_reads_the_network_that_was_meant() {
        let pulled = all_of("IV_PROTO=2974\nIV_MTU=1600\nIV_CIPHERS=AES-256-GCM\n", &network());
        assert_eq!(pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400), network());
        assert_eq!((pulled.cipher, pulled.peer_id), (Some(Cipher::Aes256Gcm), Some(5)));
        assert_eq!(pulled.tun_mtu, Some(1400));
        assert!(pulled.tls_ekm() && pulled.protocol_flags.dyn_tls_crypt && pulled.protocol_flags.cc_exit);
        assert!(pulled.ping.is_some() && pulled.ping_restart.is_some());
    }

    #[test]
    fn older_clients_get_what_they_know() {
        let pulled = all_of("IV_PROTO=10\n", &network());
        assert!(pulled.key_derivation_tls_ekm && !pulled.protocol_flags.tls_ekm);
        assert_eq!((pulled.cipher, pulled.tun_mtu), (None, None));
        let config = pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400);
        assert_eq!(config.dns.servers, network().dns.servers);
        assert_eq!(config.dns.search_domains, network().dns.search_domains);
    }

    #[test]
    fn many_routes_take_several_messages() {
        let route = |at: u32| Route {
            destination: IpNet::host(Ipv4Addr::from(0x0a00_0000 + at)),
            via: RouteVia::Tunnel,
            metric: None,
        };
        let network = NetworkConfig { routes: (0..300).map(route).collect(), ..network() };
        let pulled = all_of("IV_PROTO=2974\nIV_MTU=1600\n", &network);
        assert_eq!(pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400), network);
    }

    #[test]
    fn a_gateway_is_made_up_where_none_is_known() {
        let network = NetworkConfig { addresses: vec![net("10.8.0.9", 24), net("fd00::9", 64)], ..Default::default() };
        let config = all_of("", &network).network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400);
        assert_eq!(config.gateway4, Some(Ipv4Addr::new(10, 8, 0, 1)));
        assert_eq!(config.gateway6, Some("fd00::1".parse().unwrap()));
        let alone = NetworkConfig { addresses: vec![net("10.8.0.9", 32)], ..Default::default() };
        let config = all_of("", &alone).network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400);
        assert_eq!((config.addresses, config.gateway4), (alone.addresses, None));
    }

    #[test]
    fn names_that_could_end_an_option_are_left_out() {
        let mut network = network();
        let bad = ["a,route 0.0.0.0 0.0.0.0", "a b", "a\"b", "a\0b", "a\nb", ""];
        network.dns.search_domains.extend(bad.map(str::to_owned));
        network.dns.resolve_domains.extend(bad.map(str::to_owned));
        for info in ["IV_PROTO=2974\n", ""] {
            let config = all_of(info, &network).network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400);
            assert_eq!(config.dns.search_domains, self::network().dns.search_domains);
        }
    }

    #[test]
    fn redirection_of_one_family_says_which() {
        for (redirect4, redirect6) in [(true, false), (false, true), (false, false)] {
            let network = NetworkConfig { redirect4, redirect6, block_ipv6: true, ..network() };
            let config = all_of("", &network).network_config(Ipv4Addr::LOCALHOST.into(), 1400, 1400);
            assert_eq!((config.redirect4, config.redirect6, config.block_ipv6), (redirect4, redirect6, true));
        }
    }
}
