//! Clients whose address changes.

use std::net::SocketAddr;

use adit_tunnel::{Path, Tunnel};

use super::net::{SERVER, Setup};
use crate::{
    session::iv_proto,
    tests::{pair::numbered, secs},
};

const ELSEWHERE: &str = "203.0.113.77:5555";

fn elsewhere() -> SocketAddr {
    ELSEWHERE.parse().unwrap()
}

#[test]
fn a_client_that_moves_is_followed_with_its_next_packet() {
    let mut net = Setup::default().up();
    net.clients[0].address = elsewhere();
    net.client_sends(0, &numbered(1));
    net.run(secs(1));
    assert_eq!(net.peer().paths.iter().map(|path| path.remote).collect::<Vec<_>>(), [elsewhere()]);
    net.assert_traffic_flows();
    // The control channel follows too.
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(secs(70));
    assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"]);
    net.assert_traffic_flows();
}

#[test]
fn control_packets_from_elsewhere_are_dropped_until_data_has_moved() {
    let mut net = Setup::default().up();
    net.clients[0].address = elsewhere();
    net.setup.server.reneg_sec = secs(0);
    let before = net.peer().end.tunnel.dropped_datagrams();
    net.with_client(|client, now| client.close(now));
    net.run(secs(1));
    assert!(net.peer().end.tunnel.dropped_datagrams() > before);
    assert_eq!(net.peer().path.remote, ([198, 51, 100, 1], 40_000).into());
}

#[test]
fn neither_old_nor_forged_packets_move_a_client() {
    let mut net = Setup::default().up();
    let old = net.client().seal(&numbered(1)).unwrap();
    let newer = net.client().seal(&numbered(2)).unwrap();
    let address = net.clients[0].address;
    net.inject_from(address, &newer);
    net.inject_from(elsewhere(), &old);
    assert_eq!(net.peer().end.opened, [numbered(2), numbered(1)], "late, but authentic");
    let mut forged = net.client().seal(&numbered(3)).unwrap().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    net.inject_from(elsewhere(), &forged);
    net.inject_from(elsewhere(), &newer);
    assert!(net.peer().paths.is_empty());
    assert_eq!(net.peer().path.remote, address);
    net.assert_traffic_flows();
}

#[test]
fn nobody_moves_without_a_peer_id() {
    let mut net = Setup::new(|setup| setup.withheld = iv_proto::DATA_V2).up();
    let datagram = net.client().seal(&numbered(1)).unwrap();
    net.inject_from(elsewhere(), &datagram);
    assert!(net.peer().end.opened.is_empty() && net.peer().paths.is_empty());
    let path = Path { remote: elsewhere(), ..net.peer().path };
    net.with_peer(|peer, now| peer.handle_peer_path(now, &path));
    assert!(net.peer().paths.is_empty());
}

/// CVE-2020-11810 was a move before the client had proved itself.
#[test]
fn nobody_moves_before_the_tunnel_is_up() {
    let mut net = Setup::new(|setup| setup.owner = super::net::Owner::ChecksAfter(secs(5))).start();
    net.run(secs(2));
    let path = Path { remote: elsewhere(), ..net.peer().path };
    net.with_peer(|peer, now| peer.handle_peer_path(now, &path));
    assert!(net.peer().paths.is_empty());
    net.come_up();
    net.assert_traffic_flows();
}

#[test]
fn another_address_of_ours_is_followed() {
    let mut net = Setup::default().up();
    let local = SocketAddr::new(SERVER.ip(), 443);
    let path = Path { local: Some(local), ..net.peer().path };
    net.with_peer(|peer, now| peer.handle_path(now, &path));
    assert_eq!(net.peer().paths, [path]);
    net.assert_traffic_flows();
}
