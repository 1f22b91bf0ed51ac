//! The first handshake, whatever wraps and carries it.

use adit_tunnel::Transport;
use bytes::Bytes;
use rustls::version::{TLS12, TLS13};

use super::{
    pair::{Pair, Setup},
    pki,
    server::header,
};
use crate::{
    algorithms::Digest,
    config::{ControlWrap, KeyDirection, Remote},
    control::packet::Opcode,
    keys::StaticKey,
};

/// Each kind of wrapping, as the client and the server configure it.
pub(super) fn wraps() -> Vec<(&'static str, ControlWrap, ControlWrap)> {
    let key = StaticKey::new(std::array::from_fn(|at| at as u8));
    let auth = |direction, digest| ControlWrap::TlsAuth { key: key.clone(), direction, digest };
    let crypt = || ControlWrap::TlsCrypt(key.clone());
    let v2 = || ControlWrap::TlsCryptV2 { key: key.clone(), wrapped: wrapped_key() };
    vec![
        ("none", ControlWrap::None, ControlWrap::None),
        ("tls-auth 1", auth(KeyDirection::Inverse, Digest::Sha256), auth(KeyDirection::Normal, Digest::Sha256)),
        (
            "tls-auth",
            auth(KeyDirection::Bidirectional, Digest::Sha512),
            auth(KeyDirection::Bidirectional, Digest::Sha512),
        ),
        ("tls-crypt", crypt(), crypt()),
        ("tls-crypt-v2", v2(), v2()),
    ]
}

/// Stands for a key wrapped by a server: only its length matters here.
fn wrapped_key() -> Bytes {
    let mut wrapped = vec![0xee; 600];
    wrapped[598..].copy_from_slice(&600u16.to_be_bytes());
    wrapped.into()
}

fn opcodes(pair: &Pair) -> Vec<Opcode> {
    pair.log.sent.iter().map(|(_, datagram)| header(datagram).opcode).collect()
}

#[test]
fn comes_up_over_every_wrap_transport_and_tls_version() {
    for (name, ours, theirs) in wraps() {
        for (transport, port) in [(Transport::Udp, 1194), (Transport::Tcp, 443)] {
            for version in [&TLS12, &TLS13] {
                let mut pair = Setup::new(|setup| {
                    setup.settings.control_wrap = ours.clone();
                    setup.remote = Remote::new("vpn.example", port, transport);
                    setup.script.wrap = theirs.clone();
                    let provider = rustls::crypto::ring::default_provider();
                    setup.script.tls = pki::SERVER.server_config_with(&[version], provider);
                })
                .up();
                assert_eq!(pair.server.tls().protocol_version(), Some(version.version), "{name}");
                pair.assert_traffic_flows();
                assert_eq!(pair.key_changes(), ["+0", "seal 0"], "{name}");
                assert_eq!(pair.client.dropped_datagrams(), 0, "{name}");
                assert_eq!(pair.server.dropped, 0, "{name}");
            }
        }
    }
}

#[test]
fn servers_without_state_get_their_cookie_back_in_the_third_packet() {
    for (name, ours, theirs) in wraps() {
        let mut pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            setup.script.wrap = theirs;
            setup.script.cookie = true;
        })
        .up();
        assert_eq!(pair.server.refused, [""; 0], "{name}");
        pair.assert_traffic_flows();
    }
}

#[test]
fn the_third_packet_acknowledges_id_0_and_has_id_1() {
    let mut pair = Setup::default().start();
    pair.run(super::millis(50));
    let third = &pair.server.packets[1];
    assert_eq!((third.opcode, third.packet_id), (Opcode::CONTROL_V1, Some(1)));
    assert_eq!(third.acks.as_slice(), [0]);
    assert_eq!(third.peer_session_id, Some(pair.server.session_id()));
}

#[test]
fn the_wrapped_key_goes_with_the_reset_and_again_only_if_the_server_forgot_it() {
    for cookie in [false, true] {
        let (_, ours, theirs) = wraps().pop().unwrap();
        let pair = Setup::new(|setup| {
            setup.settings.control_wrap = ours;
            (setup.script.wrap, setup.script.cookie) = (theirs, cookie);
        })
        .up();
        let sent = opcodes(&pair);
        assert_eq!(sent[0], Opcode::HARD_RESET_CLIENT_V3);
        assert_eq!(sent[1], if cookie { Opcode::CONTROL_WKC_V1 } else { Opcode::CONTROL_V1 });
        assert!(!sent[2..].iter().any(|opcode| opcode.carries_wrapped_key()));
        assert!(pair.log.sent.iter().all(|(_, datagram)| datagram.len() <= 1250 - 28));
    }
}

#[test]
fn each_session_has_an_id_of_its_own() {
    let ids = [1, 2, 3].map(|seed| {
        let mut pair = Setup::new(|setup| setup.seed = seed).start();
        pair.run(super::millis(20));
        pair.server.client_id()
    });
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[test]
fn control_datagrams_keep_to_max_packet_size() {
    let pair = Setup::new(|setup| {
        setup.settings.max_packet_size = 300;
        setup.identity = Some(pki::CLIENT.identity());
    })
    .up();
    let largest = pair.log.sent.iter().map(|(_, datagram)| datagram.len()).max();
    // Payloads leave room for four acknowledgements, however many there are.
    assert!(largest.is_some_and(|length| (300 - 28 - 24..=300 - 28).contains(&length)), "{largest:?}");
}

#[test]
fn a_client_certificate_is_shown() {
    let pair = Setup::new(|setup| {
        setup.identity = Some(pki::CLIENT.identity());
        setup.credentials = None;
    })
    .up();
    assert_eq!(pair.server.peer_certificates, 1);
    assert_eq!(pair.server.client_messages[0].username, "");
}

#[test]
fn no_server_name_is_sent() {
    let pair = Setup::default().up();
    assert_eq!(pair.server.tls().server_name(), None);
}
