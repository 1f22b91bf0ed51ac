//! From nothing to a tunnel, also on bad lines.

use adit_tunnel::{CloseKind, Transport};

use super::{
    net::{Setup, certificates_required},
    wraps::wraps,
};
use crate::{
    config::TlsVersion,
    session::iv_proto,
    tests::{link::LinkSettings, pki, secs},
};

#[test]
fn a_tunnel_comes_up_without_push_request_if_the_client_says_so() {
    for withheld in [0, iv_proto::REQUEST_PUSH] {
        let mut net = Setup::new(|setup| setup.withheld = withheld).start();
        assert!(net.run_until(secs(5), |net| !net.clients[0].end.ups.is_empty()));
        let asked = net.peer().end.tunnel.was_asked_for_options();
        assert_eq!(asked, withheld != 0);
    }
}

#[test]
fn both_versions_of_tls_carry_a_tunnel() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut net = Setup::new(|setup| {
            setup.server.tls.min = Some(version);
            setup.server.tls.max = Some(version);
        })
        .up();
        net.assert_traffic_flows();
    }
}

#[test]
fn small_packets_carry_a_large_handshake() {
    let mut net = Setup::new(|setup| {
        setup.settings.max_packet_size = 500;
        setup.server.max_packet_size = 500;
        setup.check = certificates_required();
        setup.identity = Some(pki::CLIENT.identity());
    })
    .up();
    net.assert_traffic_flows();
}

#[test]
fn long_options_come_in_several_messages() {
    let mut net =
        Setup::new(|setup| setup.server.push = (0..200).map(|at| format!("route 10.9.{at}.0 255.255.255.0")).collect())
            .up();
    assert_eq!(net.client().ups[0].routes.len(), 200);
}

#[test]
fn a_client_that_can_take_it_is_told_the_mtu() {
    for (ours, theirs, agreed) in [(1500, 1600, 1500), (1400, 1600, 1400), (1600, 1550, 1550)] {
        let mut net = Setup::new(|setup| {
            setup.server.tun_mtu = ours;
            setup.settings.tun_mtu_max = theirs;
        })
        .up();
        assert_eq!((net.client().ups[0].mtu, net.peer().end.ups[0].mtu), (agreed, agreed));
    }
}

/// A handshake on a bad line comes to an end, mostly a good one.
fn on_a_bad_line(seed: u64, loss: u32) -> bool {
    let wraps = wraps();
    let (name, client, server) = wraps[seed as usize % wraps.len()].clone();
    let mut net = Setup::new(|setup| {
        setup.settings.control_wrap = client;
        setup.server.control_wrap = server;
        setup.seed = seed;
        setup.link = LinkSettings { loss, ..LinkSettings::BAD };
    })
    .start();
    let over = |net: &super::net::Net| !net.clients[0].end.ups.is_empty() || net.clients[0].end.closed.is_some();
    assert!(net.run_until(secs(130), over), "seed {seed}, {name}: {:?}", net.states());
    let up = !net.client().ups.is_empty();
    if up {
        assert_eq!(net.peers.values().filter(|peer| !peer.end.ups.is_empty()).count(), 1, "seed {seed}, {name}");
    }
    up
}

#[test]
fn handshakes_on_bad_lines_succeed_or_end() {
    match std::env::var("TUNNEL_TEST_SEED") {
        Ok(seed) => drop(on_a_bad_line(seed.parse().unwrap(), 30)),
        Err(_) => {
            let up = (0..40).filter(|seed| on_a_bad_line(*seed, 30)).count();
            assert!(up >= 36, "only {up} of 40 came up");
        }
    }
}

#[test]
fn many_clients_come_in_side_by_side() {
    let mut net = Setup::new(|setup| setup.link = LinkSettings::REORDERING).empty();
    (0..8).for_each(|_| net.add_client());
    net.come_up();
    assert_eq!((net.server.peers(), net.server.half_open_peers()), (8, 0));
    net.assert_traffic_flows();
}

#[test]
fn a_client_that_starts_anew_from_the_same_port_is_a_new_peer() {
    let mut net = Setup::default().up();
    let first = net.peer_of(0);
    let address = net.clients[0].address;
    net.clients.clear();
    net.setup.seed = 2;
    net.add_client();
    net.clients[0].address = address;
    assert!(net.run_until(secs(10), |net| !net.clients[0].end.ups.is_empty()));
    assert_eq!(net.peers.len(), 2);
    // The old one is given up by its silence.
    net.run(secs(130));
    assert_eq!(net.gone.len(), 1);
    assert!(!net.peers.contains_key(&first));
    net.assert_traffic_flows();
}

#[test]
fn a_stream_is_a_tunnel_of_its_own_and_ends_with_it() {
    let mut net = Setup::new(|setup| setup.transport = Transport::Tcp).up();
    net.assert_traffic_flows();
    let path = net.peer().path;
    net.with_peer(|peer, now| adit_tunnel::Tunnel::handle_path(peer, now, &path));
    assert_eq!(net.server_error().0, CloseKind::PeerClosed);
    assert_eq!(net.server.peers(), 0);
}
