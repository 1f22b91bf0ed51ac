//! When our address changes.

use adit_tunnel::{Path, Retry, Transport, Tunnel};

use super::{
    millis,
    pair::{Pair, Setup},
    secs,
};
use crate::{config::Remote, data::PING_PAYLOAD, error::SessionError};

fn move_to(pair: &mut Pair, local: &str) -> Path {
    let path = Path { local: Some(local.parse().unwrap()), ..pair.path };
    pair.client.handle_path(pair.now, &path);
    pair.settle();
    path
}

#[test]
fn the_server_hears_from_the_new_address_at_once() {
    let mut pair = Setup::default().up();
    let path = move_to(&mut pair, "10.0.0.7:5000");
    // Only an authentic data packet makes a server follow.
    assert_eq!(pair.log.paths, [path]);
    assert_eq!(pair.log.injected.len(), 1);
    assert_eq!(*pair.log.injected[0].1, PING_PAYLOAD);
    pair.run(secs(1));
    assert_eq!(pair.server.pings.len(), 1);
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
    assert_eq!((pair.server.key_id(), pair.server.is_ready()), (1, true));
}

#[test]
fn a_handshake_goes_on_from_the_new_address() {
    let mut pair = Setup::default().start();
    pair.run(millis(25));
    move_to(&mut pair, "10.0.0.7:5000");
    assert!(pair.log.paths.is_empty() && pair.log.injected.is_empty());
    pair.come_up();
}

#[test]
fn over_tcp_a_new_stream_is_a_new_client() {
    for up in [false, true] {
        let mut pair = Setup::new(|setup| setup.remote = Remote::new("vpn.example", 443, Transport::Tcp)).start();
        pair.run(if up { secs(1) } else { millis(25) });
        move_to(&mut pair, "10.0.0.7:5000");
        assert_eq!((pair.error(), &pair.closed().retry), (&SessionError::StreamLost, &Retry::After(secs(0))));
    }
}

#[test]
fn we_do_not_follow_the_server() {
    let mut pair = Setup::default().up();
    let elsewhere = Path { remote: "203.0.113.9:1194".parse().unwrap(), ..pair.path };
    pair.client.handle_peer_path(pair.now, &elsewhere);
    pair.settle();
    assert!(pair.log.paths.is_empty());
    // `Pair` checks where datagrams go.
    pair.close();
    pair.run(secs(1));
    assert_eq!(*pair.error(), SessionError::ClosedLocally);
}

#[test]
fn control_packets_from_elsewhere_are_dropped() {
    let mut pair = Setup::default().up();
    pair.server.renegotiate(pair.now);
    let elsewhere = Path { remote: "203.0.113.9:1194".parse().unwrap(), ..pair.path };
    let mut datagram = pair.server.poll_transmit().unwrap().to_vec();
    pair.client.handle_datagram(pair.now, &elsewhere, &mut datagram);
    let sent = pair.log.sent.len();
    pair.settle();
    assert_eq!((pair.log.sent.len(), pair.client.dropped_datagrams()), (sent, 1));
}
