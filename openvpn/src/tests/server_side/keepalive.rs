//! Pings, and what silence means.

use adit_tunnel::CloseKind;

use super::net::Setup;
use crate::{
    error::SessionError,
    server::ServerSessionError,
    tests::{millis, secs},
};

#[test]
fn an_idle_tunnel_lives_by_pings() {
    let mut net = Setup::new(|setup| setup.server.reneg_sec = secs(0)).up();
    net.run(secs(2000));
    net.assert_traffic_flows();
    let sent = |usage: &adit_tunnel::Usage| usage.sealed_packets.load(std::sync::atomic::Ordering::Relaxed);
    let pings: u64 = net.peer().end.tunnel.usages().iter().map(|usage| sent(usage)).sum();
    assert!((195..300).contains(&pings), "{pings} in 2000 s with `ping 10`");
}

#[test]
fn a_silent_client_is_given_up_after_twice_what_clients_wait() {
    let mut net = Setup::default().up();
    net.clients[0].up.cut = true;
    net.run(secs(119));
    assert_eq!(net.peers.len(), 1);
    net.run(secs(10));
    assert!(matches!(net.server_error(), (CloseKind::TimedOut, ServerSessionError::Silence(_))));
    assert_eq!(net.server.peers(), 0);
}

#[test]
fn clients_start_over_when_the_server_is_silent() {
    let mut net = Setup::default().up();
    net.clients[0].down.cut = true;
    net.run(secs(75));
    assert!(matches!(net.client_error(), SessionError::Silence { directive: "ping-restart", .. }));
}

#[test]
fn without_keepalive_nobody_is_given_up() {
    let mut net = Setup::new(|setup| {
        setup.server.keepalive = None;
        setup.server.reneg_sec = secs(0);
        setup.settings.reneg_sec = secs(0);
        setup.settings.ping_restart = Some(secs(0));
    })
    .up();
    net.run(secs(100_000));
    net.assert_traffic_flows();
}

#[test]
fn traffic_takes_the_place_of_pings() {
    let mut net = Setup::default().up();
    net.start_traffic(millis(500));
    net.run(secs(60));
    let sealed = &net.peer().end.tunnel.usages()[0];
    let (packets, bytes) = (&sealed.sealed_packets, &sealed.sealed_bytes);
    let packets = packets.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(packets, bytes.load(std::sync::atomic::Ordering::Relaxed) / 60, "no ping among them");
}
