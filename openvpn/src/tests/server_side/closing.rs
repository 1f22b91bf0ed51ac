//! Farewells of either end.

use adit_tunnel::{CloseKind, Transport, Tunnel};

use super::net::Setup;
use crate::{
    error::SessionError,
    server::{ExitNotice, ServerSessionError},
    session::iv_proto,
    tests::{link::LinkSettings, secs},
};

#[test]
fn a_client_says_goodbye_on_the_control_channel_or_the_data_channel() {
    for (withheld, notices) in [(0, 0), (iv_proto::CC_EXIT_NOTIFY, 1)] {
        let mut net = Setup::new(|setup| setup.withheld = withheld).up();
        net.with_client(|client, now| client.close(now));
        net.run(secs(4));
        assert_eq!(net.server_error(), (CloseKind::PeerClosed, &ServerSessionError::ClientExits));
        assert_eq!(net.gone[0].end.exit_notices, notices);
        assert_eq!(*net.client_error(), SessionError::ClosedLocally);
        assert_eq!(net.server.peers(), 0);
    }
}

#[test]
fn the_server_says_goodbye_as_it_is_configured() {
    for (notice, heard) in [(ExitNotice::Restart, true), (ExitNotice::NextServer, true), (ExitNotice::Silent, false)] {
        let mut net = Setup::new(|setup| setup.server.exit_notice = notice).up();
        net.with_peer(|peer, now| peer.close(now));
        net.run(secs(4));
        assert_eq!(net.server_error(), (CloseKind::Local, &ServerSessionError::ClosedLocally));
        let closed = net.client().closed.as_ref();
        assert_eq!(closed.is_some(), heard, "{notice:?}");
        let next = closed.is_some_and(|closed| closed.retry == adit_tunnel::Retry::NextRemote);
        assert_eq!(next, notice == ExitNotice::NextServer);
    }
}

#[test]
fn goodbye_survives_a_lost_packet_and_waits_no_longer_than_three_seconds() {
    let mut net = Setup::default().up();
    net.clients[0].down.cut = true;
    net.with_peer(|peer, now| peer.close(now));
    net.run(secs(1));
    net.clients[0].down.cut = false;
    net.run(secs(2));
    assert!(matches!(net.client_error(), SessionError::ServerRestarts(_)));

    let mut net = Setup::default().up();
    net.clients[0].down.cut = true;
    net.with_peer(|peer, now| peer.close(now));
    net.run(secs(2));
    assert!(net.gone.is_empty());
    net.run(secs(1));
    assert_eq!(net.gone.len(), 1);
}

#[test]
fn over_tcp_the_end_of_the_stream_is_the_farewell() {
    let mut net = Setup::new(|setup| setup.transport = Transport::Tcp).up();
    net.with_peer(|peer, now| peer.close(now));
    assert_eq!(net.server_error(), (CloseKind::Local, &ServerSessionError::ClosedLocally));
}

#[test]
fn closing_during_the_handshake_ends_at_once() {
    let mut net = Setup::new(|setup| setup.link = LinkSettings::GOOD).start();
    assert!(net.run_until(secs(1), |net| !net.peers.is_empty()));
    net.with_peer(|peer, now| peer.close(now));
    assert_eq!(net.gone.len(), 1);
    assert_eq!(net.server.half_open_peers(), 0);
}

#[test]
fn a_closed_session_is_inert() {
    let mut net = Setup::default().up();
    net.with_client(|client, now| client.close(now));
    net.run(secs(4));
    let (now, mut peer) = (net.now, net.gone.pop().unwrap());
    let session = &mut peer.end.tunnel;
    session.close(now);
    session.handle_timeout(now + secs(100));
    session.handle_datagram(now, &peer.path, &mut [0x20; 40]);
    session.handle_message(now, &crate::data::EXIT_MESSAGE);
    session.handle_path(now, &peer.path);
    session.handle_peer_path(now, &peer.path);
    adit_tunnel::Answering::handle_verdict(session, now, adit_tunnel::Verdict::Refused);
    assert!(session.poll_event().is_none() && session.poll_transmit().is_none() && session.poll_timeout().is_none());
}
