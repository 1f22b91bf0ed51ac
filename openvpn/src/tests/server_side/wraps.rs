//! Every wrapping of control packets, over both transports.

use adit_testing::SeededRandom;
use adit_tunnel::Transport;

use super::net::Setup;
use crate::{
    algorithms::Digest,
    config::{ControlWrap, KeyDirection},
    crypto::Ring,
    keys::{ClientKeyMetadata, StaticKey, TlsCryptV2ServerKey},
    server::ServerWrap,
    tests::{UNIX_START, secs},
};

/// Both ends' wrappings, with their names.
pub(super) fn wraps() -> Vec<(&'static str, ControlWrap, ServerWrap)> {
    let key = StaticKey::new(std::array::from_fn(|at| at as u8));
    let auth = |client, server, digest| {
        let ours = ControlWrap::TlsAuth { key: key.clone(), direction: client, digest };
        (ours, ServerWrap::TlsAuth { key: key.clone(), direction: server, digest })
    };
    let (both, both_server) = auth(KeyDirection::Bidirectional, KeyDirection::Bidirectional, Digest::Sha1);
    let (inverse, normal) = auth(KeyDirection::Inverse, KeyDirection::Normal, Digest::Sha512);
    vec![
        ("none", ControlWrap::None, ServerWrap::None),
        ("tls-auth", both, both_server),
        ("tls-auth with direction", inverse, normal),
        ("tls-crypt", ControlWrap::TlsCrypt(key.clone()), ServerWrap::TlsCrypt(key)),
        ("tls-crypt-v2", v2_client(&ClientKeyMetadata::Made(UNIX_START)), v2_server(true)),
    ]
}

fn v2_key() -> TlsCryptV2ServerKey {
    TlsCryptV2ServerKey::new(&std::array::from_fn(|at| at as u8))
}

fn v2_server(force_cookie: bool) -> ServerWrap {
    ServerWrap::TlsCryptV2 { key: v2_key(), force_cookie, max_age: None }
}

fn v2_client(metadata: &ClientKeyMetadata) -> ControlWrap {
    let file = v2_key().client_file(&mut SeededRandom::new(5), metadata, &Ring).unwrap();
    let (key, wrapped) = StaticKey::parse_tls_crypt_v2(&file).unwrap();
    ControlWrap::TlsCryptV2 { key, wrapped }
}

#[test]
fn every_wrapping_carries_a_tunnel_and_its_renegotiations() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for (name, client, server) in wraps() {
            let mut net = Setup::new(|setup| {
                setup.transport = transport;
                setup.settings.control_wrap = client;
                setup.server.control_wrap = server;
            })
            .up();
            net.assert_traffic_flows();
            net.with_peer(|peer, now| peer.renegotiate_now(now));
            net.run(secs(70));
            assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"], "{name}");
            assert_eq!(net.peer().end.keys, ["+0", "seal 0", "+1", "seal 1"], "{name}");
            net.assert_traffic_flows();
            assert_eq!((net.client().unopened, net.peer().end.unopened), (0, 0), "{name}");
        }
    }
}

#[test]
fn ends_with_different_wrappings_never_meet() {
    for (at, (name, client, _)) in wraps().into_iter().enumerate() {
        for (_, (other, _, server)) in wraps().into_iter().enumerate().filter(|(other, _)| *other != at) {
            let mut net = Setup::new(|setup| {
                setup.settings.control_wrap = client.clone();
                setup.server.control_wrap = server;
            })
            .start();
            net.run(secs(50));
            assert!(net.client().ups.is_empty() && net.peers.is_empty(), "{name} with {other}");
        }
    }
}

#[test]
fn clients_that_cannot_bring_their_key_twice_are_met_only_without_force_cookie() {
    use crate::control::{
        packet::{AckList, ControlPacket, KeyId, Opcode, SessionId},
        wrap::{Role, Wrapper},
    };
    for (force_cookie, peers) in [(true, 0), (false, 1)] {
        let mut net = Setup::new(|setup| setup.server.control_wrap = v2_server(force_cookie)).empty();
        let ControlWrap::TlsCryptV2 { key, wrapped } = v2_client(&ClientKeyMetadata::User(Vec::new())) else {
            panic!("it is tls-crypt-v2")
        };
        // The wrapping ids of clients before 2.6 begin at 1, as those of tls-crypt.
        let mut wrapper = Wrapper::new(&ControlWrap::TlsCrypt(key), Role::Client, &net.setup.server.crypto);
        let reset = ControlPacket {
            opcode: Opcode::HARD_RESET_CLIENT_V3,
            key_id: KeyId::FIRST,
            session_id: SessionId::new([7; 8]).unwrap(),
            acks: AckList::default(),
            peer_session_id: None,
            packet_id: Some(0),
            payload: bytes::Bytes::new(),
        };
        let datagram = [wrapper.wrap(&reset, 1).unwrap(), wrapped].concat();
        let answers = net.inject_from(([203, 0, 113, 9], 9).into(), &datagram);
        assert_eq!((net.peers.len(), answers.len()), (peers, peers));
    }
}

#[test]
fn keys_too_old_or_of_unknown_age_are_refused_if_that_is_wanted() {
    let made = |before| ClientKeyMetadata::Made(UNIX_START - secs(before));
    for (metadata, good) in [(made(10), true), (made(1000), false), (ClientKeyMetadata::User(b"x".to_vec()), false)] {
        let mut net = Setup::new(|setup| {
            setup.settings.control_wrap = v2_client(&metadata);
            setup.server.control_wrap =
                ServerWrap::TlsCryptV2 { key: v2_key(), force_cookie: true, max_age: Some(secs(100)) };
        })
        .start();
        net.run(secs(5));
        assert_eq!(net.client().ups.len(), usize::from(good), "{metadata:?}");
    }
}

#[test]
fn a_key_wrapped_by_another_server_is_refused() {
    let mut net = Setup::new(|setup| {
        setup.settings.control_wrap = v2_client(&ClientKeyMetadata::User(Vec::new()));
        let key = TlsCryptV2ServerKey::new(&[9; 128]);
        setup.server.control_wrap = ServerWrap::TlsCryptV2 { key, force_cookie: true, max_age: None };
    })
    .start();
    net.run(secs(5));
    assert!(net.peers.is_empty() && net.dropped > 0);
}
