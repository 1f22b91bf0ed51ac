//! What a client is told about the network, and what of it the child carries.

use adit_testing::Judgement;
use adit_tunnel::{IpNet, NetworkConfig, Route, RouteVia, Verdict};

use super::{plan, secs, up};
use crate::selectors;

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet::new(address.parse::<std::net::IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn split(networks: &[&str]) -> NetworkConfig {
    let route = |text: &&str| Route { destination: net(text), via: RouteVia::Tunnel, metric: None };
    let mut network = NetworkConfig { routes: networks.iter().map(route).collect(), ..NetworkConfig::default() };
    network.dns.servers = vec!["10.20.0.53".parse().unwrap(), "fd00:20::53".parse().unwrap()];
    network.dns.resolve_domains = vec!["corp.example".to_owned()];
    network
}

#[test]
fn selectors_are_narrowed_to_the_networks_of_both_families() {
    let mut world = up(|ends| ends.world.network = split(&["10.20.0.0/16", "fd00:20::/64"]));
    let network = world.clients[0].driven.network.clone().unwrap();
    let routes: Vec<_> = network.routes.iter().map(|route| route.destination).collect();
    assert!(routes.contains(&net("10.20.0.0/16")) && routes.contains(&net("fd00:20::/64")), "{routes:?}");
    assert!(!network.redirect4 && !network.redirect6);
    assert_eq!(network.dns.servers.len(), 2);
    assert_eq!(network.dns.resolve_domains, ["corp.example"]);
    let child = &world.clients[0].driven.tunnel.established().unwrap().children[0];
    let expected = ["10.20.0.0/16", "fd00:20::/64"].map(|text| selectors::from_net(&net(text)));
    assert_eq!(child.remote, expected);
}

#[test]
fn what_a_client_wants_less_of_it_gets_less_of() {
    let mut world = up(|ends| {
        ends.world.network = split(&["10.20.0.0/16", "fd00:20::/64"]);
        ends.client.remote_networks = vec![net("10.20.7.0/24")];
    });
    let child = &world.clients[0].driven.tunnel.established().unwrap().children[0];
    assert_eq!(child.remote, [selectors::from_net(&net("10.20.7.0/24"))]);
}

#[test]
fn without_networks_everything_goes_through_the_tunnel() {
    let mut world = up(|_| {});
    let network = world.clients[0].driven.network.clone().unwrap();
    assert!(network.redirect4 && network.redirect6);
    world.assert_agree();
}

/// A client that comes again asks for what it had, and the owner hears of that.
#[test]
fn addresses_that_are_asked_for_reach_the_owner() {
    let mut world = up(|ends| ends.named("client.example"));
    let before = world.clients[0].driven.network.clone().unwrap().addresses;
    let first = world.listener.peers[&world.newest_peer()].applicant.clone().unwrap();
    assert!(first.addresses.iter().all(std::net::IpAddr::is_unspecified) && first.addresses.len() == 2);
    assert!(first.alone && !first.again && first.login.is_none());
    // Authenticates anew, beside the old association.
    world.with_client(0, |client, now| client.act(now, |established, _| established.needs_reauthentication = true));
    world.run(secs(5));
    let second = world.listener.peers[&world.newest_peer()].applicant.clone().unwrap();
    let asked: Vec<_> = before.iter().map(|net| net.address()).collect();
    assert_eq!(second.addresses, asked);
    assert!(!second.alone);
}

#[test]
fn an_owner_that_gives_no_address_gives_no_child() {
    let mut world = plan(|_| {}).start(1);
    world.listener.policy = Box::new(|_, _| Judgement::Say(Verdict::Admitted(Box::default())));
    world.run(secs(40));
    assert!(world.clients[0].driven.closed().is_some() && world.clients[0].driven.log.ups.is_empty());
    assert_eq!(world.census().peers, 0);
}

#[test]
fn an_address_of_one_family_makes_a_tunnel_of_one_family() {
    let mut world = up(|ends| ends.world.ipv6 = false);
    let network = world.clients[0].driven.network.clone().unwrap();
    assert_eq!(network.addresses.len(), 1);
    assert!(network.redirect4 && !network.redirect6);
    world.assert_agree();
}
