//! The network inside the tunnel.

use adit_tunnel::{NetworkConfig, RouteVia};

use super::{profile, with_server};
use crate::{
    error::SessionError,
    tests::{pair::Setup, secs},
};

/// What comes of the profile's own lines: nothing is asked of the server.
fn local(lines: &str) -> NetworkConfig {
    let lines = format!("cipher AES-256-GCM\n{lines}");
    let mut pair = Setup::new(|setup| setup.profile = Some(profile("tls-client", &lines))).start();
    pair.run(secs(1));
    pair.log.ups.remove(0)
}

fn addresses(network: &NetworkConfig) -> Vec<String> {
    network.addresses.iter().map(ToString::to_string).collect()
}

fn routes(network: &NetworkConfig) -> Vec<String> {
    let shown = |route: &adit_tunnel::Route| match route.via {
        RouteVia::Tunnel => route.destination.to_string(),
        RouteVia::Underlay => format!("{} outside", route.destination),
    };
    network.routes.iter().map(shown).collect()
}

#[test]
fn without_lines_there_is_nothing() {
    let network = local("");
    let bare = NetworkConfig { mtu: network.mtu, tcp_mtu: network.tcp_mtu, ..NetworkConfig::default() };
    assert_eq!(network, bare);
}

#[test]
fn ifconfig_and_topology_lines_give_addresses() {
    let network = local("ifconfig 10.8.0.6 10.8.0.5\nifconfig-ipv6 fd00::2/64 fd00::1");
    assert_eq!(addresses(&network), ["10.8.0.6/32", "fd00::2/64"]);
    assert_eq!(network.gateway4, Some("10.8.0.5".parse().unwrap()));
    assert_eq!(network.gateway6, Some("fd00::1".parse().unwrap()));
    let network = local("topology subnet\nifconfig 10.8.0.6 255.255.255.0\nroute-gateway 10.8.0.1");
    assert_eq!(addresses(&network), ["10.8.0.6/24"]);
    assert_eq!(network.gateway4, Some("10.8.0.1".parse().unwrap()));
    assert_eq!(local("route-ipv6-gateway fd00::9").gateway6, Some("fd00::9".parse().unwrap()));
}

#[test]
fn route_lines_give_routes() {
    let network = local("route 192.168.100.0 255.255.255.0\nroute-ipv6 fd01::/64\nroute-metric 5");
    assert_eq!(routes(&network), ["192.168.100.0/24", "fd01::/64"]);
    assert_eq!(network.routes[0].metric, Some(5));
    assert_eq!(routes(&local("route 192.0.2.7 255.255.255.255 net_gateway")), ["192.0.2.7/32 outside"]);
}

#[test]
fn redirect_and_block_lines_are_told() {
    let network = local("redirect-gateway def1 ipv6");
    assert!(network.redirect4 && network.redirect6);
    assert!(local("block-ipv6").block_ipv6);
    assert!(local("block-outside-dns").block_outside_dns);
}

#[test]
fn dhcp_option_and_dns_lines_give_name_servers() {
    let network = local("dhcp-option DNS 10.8.0.1\ndhcp-option DOMAIN corp.example");
    assert_eq!(network.dns.servers, ["10.8.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(network.dns.search_domains, ["corp.example"]);
    let network = local("dns server 1 address 10.8.0.2\ndns search-domains lan.example");
    assert_eq!(network.dns.servers, ["10.8.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(network.dns.search_domains, ["lan.example"]);
}

/// The tunnel with a server that pushes two routes and a name server.
fn pushed(lines: &str) -> Setup {
    with_server(lines, |script| {
        script.push = ["route 10.1.0.0 255.255.0.0", "route 10.2.0.0 255.255.0.0", "dhcp-option DNS 10.8.0.1"]
            .map(str::to_owned)
            .into();
    })
}

#[test]
fn pull_filter_lines_accept_ignore_and_reject() {
    for (lines, expected) in [
        ("", vec!["10.1.0.0/16", "10.2.0.0/16"]),
        ("pull-filter ignore \"route \"", vec![]),
        ("pull-filter accept \"route 10.2.\"\npull-filter ignore \"route \"", vec!["10.2.0.0/16"]),
    ] {
        let pair = pushed(lines).up();
        assert_eq!(routes(&pair.log.ups[0]), expected, "{lines}");
        assert_eq!(pair.log.ups[0].dns.servers.len(), 1);
    }
    let pair = pushed("pull-filter reject \"route 10.2.\"").fails();
    assert!(matches!(pair.error(), SessionError::PushedOption(text) if text.contains("10.2.")), "{:?}", pair.error());
}

#[test]
fn route_nopull_line_leaves_pushed_routes_and_dns_out_and_keeps_our_own() {
    let pair = pushed("route-nopull\nroute 10.3.0.0 255.255.0.0").up();
    let network = &pair.log.ups[0];
    assert_eq!((routes(network), addresses(network)), (vec!["10.3.0.0/16".to_owned()], vec!["10.8.0.2/24".to_owned()]));
    assert!(network.dns.servers.is_empty());
}
