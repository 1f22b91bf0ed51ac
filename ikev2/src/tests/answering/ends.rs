//! How an association ends, and what stays of it.

use adit_testing::{Judgement, Port};
use adit_tunnel::{CloseKind, IpNet, NetworkConfig, Tunnel, Verdict};

use super::{ServerError, plan, secs, up, why};
use crate::{
    exchange::Wanted,
    message::{Delete, Payload, numbers::ExchangeType},
};

#[test]
fn a_client_that_is_silent_is_asked_and_then_forgotten() {
    let mut world = up(|_| {});
    world.suspend_client(0, secs(1000));
    world.run(secs(29));
    assert_eq!(world.census().peers, 1);
    world.run(secs(45));
    assert_eq!(world.census().peers, 0);
    assert!(matches!(why(&world), ServerError::Gone(_)));
    assert_eq!(world.listener.listener.peers(), 0);
}

#[test]
fn a_client_that_answers_stays() {
    let mut world = up(|_| {});
    world.run(secs(600));
    assert_eq!((world.census().peers, world.clients[0].incarnation), (1, 0));
    world.assert_agree();
}

#[test]
fn a_gateway_that_closes_tells_the_client() {
    let mut world = up(|_| {});
    let peer = world.newest_peer();
    world.with_peer(peer, |tunnel, now| tunnel.close(now));
    world.run(secs(1));
    assert_eq!(world.clients[0].driven.closed().map(|closed| closed.kind), Some(CloseKind::PeerClosed));
    assert_eq!(why(&world), ServerError::ClosedLocally);
    assert_eq!((world.census().peers, world.census().openers, world.census().leases), (0, 0, 0));
}

#[test]
fn a_gateway_does_not_wait_long_for_the_last_answer() {
    let mut world = up(|_| {});
    let peer = world.newest_peer();
    world.suspend_client(0, secs(1000));
    world.with_peer(peer, |tunnel, now| tunnel.close(now));
    world.run(secs(1));
    assert_eq!(world.census().peers, 1);
    world.run(secs(2));
    assert_eq!(world.census().peers, 0);
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let mut world = up(|_| {});
    world.with_client(0, |client, now| client.close(now));
    world.run(secs(1));
    assert_eq!(why(&world), ServerError::Deleted);
    assert_eq!((world.census().peers, world.listener.listener.peers()), (0, 0));
}

/// It deletes its child, and wants no other: it has half a minute.
#[test]
fn a_client_without_a_child_has_to_leave() {
    let mut world = up(|_| {});
    world.with_client(0, |client, now| {
        client.act(now, |established, cx| {
            let spis: Vec<_> = established.children.iter().map(|child| child.spi_in).collect();
            let spi = established.current().unwrap().ike.our_spi();
            let payloads = vec![Payload::Delete(Delete::Esp(spis))];
            let exchange = crate::exchange::Exchange::DeleteChild(0);
            established.request(cx, spi, ExchangeType::INFORMATIONAL, payloads, exchange);
        });
    });
    world.run(secs(29));
    assert_eq!((world.census().peers, world.listener.peers[&world.newest_peer()].driven.sealers().len()), (1, 0));
    world.run(secs(4));
    assert!(matches!(why(&world), ServerError::NoChild(_)));
}

/// A client that has lost its child makes another in time.
#[test]
fn a_client_with_another_child_stays() {
    let mut world = up(|_| {});
    let child = world.clients[0].driven.tunnel.established().unwrap().children[0].spi_in;
    world.with_client(0, |client, now| client.want(now, Wanted::DeleteChild(child)));
    world.run(secs(100));
    assert_eq!(world.clients[0].incarnation, 0);
    world.assert_agree();
}

/// INITIAL_CONTACT ends what the client has left behind (RFC 7296 §2.4).
#[test]
fn a_client_that_comes_again_replaces_itself() {
    let mut world = up(|ends| ends.named("client.example"));
    world.restart_client(0, Port::New);
    world.come_up();
    world.run(secs(5));
    assert_eq!(world.census().peers, 1);
    assert_eq!(why(&world), ServerError::ClosedLocally);
    world.assert_agree();
}

/// Authenticating anew makes a second peer; the first is deleted, and no packet is lost.
#[test]
fn a_client_that_authenticates_anew_takes_its_packets_along() {
    let mut world = plan(|_| {}).start(1);
    let addresses = vec![IpNet::host(std::net::IpAddr::from([10, 8, 0, 9]))];
    let network = NetworkConfig { addresses, ..NetworkConfig::default() };
    world.listener.policy = Box::new(move |_, _| Judgement::Say(Verdict::Admitted(Box::new(network.clone()))));
    world.come_up();
    let before = world.newest_peer();
    world.start_traffic(super::millis(10), 100);
    world.run(secs(1));
    world.with_client(0, |client, now| client.act(now, |established, _| established.needs_reauthentication = true));
    world.run(secs(10));
    assert_ne!(world.newest_peer(), before);
    assert_eq!((world.census().peers, why(&world)), (1, ServerError::Deleted));
    let report = world.stop_traffic();
    let of_clients = report.lost.iter().filter(|(name, _)| name.contains("client")).count();
    assert_eq!((of_clients, report.duplicated), (0, 0), "{report:?}");
    world.assert_agree();
}
