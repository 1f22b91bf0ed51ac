//! Which cipher, which key derivation, which data packets; and what the server is told about us.

use adit_tunnel::{CloseKind, Retry, Transport};

use super::{
    handshake::wraps,
    pair::{Pair, Setup},
};
use crate::{
    algorithms::{Cipher, Digest},
    config::{Framing, Remote},
    error::SessionError,
    session::iv_proto,
};

#[test]
fn every_cipher_works_with_either_key_derivation() {
    for cipher in Cipher::ALL {
        for exporter in [false, true] {
            let mut pair = Setup::new(|setup| {
                setup.settings.data_ciphers = Cipher::ALL.to_vec();
                setup.settings.auth = Digest::Sha256;
                (setup.script.cipher, setup.script.auth) = (cipher, Digest::Sha256);
                setup.script.exporter = exporter;
            })
            .up();
            pair.assert_traffic_flows();
            let agreed = pair.server.tls().protocol_version().is_some();
            assert!(agreed, "{cipher}");
        }
    }
}

#[test]
fn renegotiated_keys_work_with_either_key_derivation() {
    for exporter in [false, true] {
        let mut pair = Setup::new(|setup| setup.script.exporter = exporter).up();
        pair.run(super::secs(10));
        pair.server.renegotiate(pair.now);
        pair.run(super::secs(20));
        assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1", "seal 1"]);
        pair.assert_traffic_flows();
    }
}

#[test]
fn every_framing_works_pushed_or_configured() {
    let framings = [
        (Framing::V1, "comp-lzo no"),
        (Framing::V1Swap, "compress stub"),
        (Framing::V2, "compress stub-v2"),
        (Framing::None, "compress migrate"),
    ];
    for (framing, option) in framings {
        for pushed in [false, true] {
            let mut pair = Setup::new(|setup| {
                setup.script.framing = framing;
                if pushed {
                    setup.script.push.push(option.to_owned());
                } else {
                    setup.settings.framing = framing;
                }
            })
            .up();
            pair.assert_traffic_flows();
        }
    }
}

#[test]
fn a_pushed_cipher_that_is_not_allowed_ends_the_session_by_name() {
    let pair = Setup::new(|setup| {
        setup.settings.data_ciphers = vec![Cipher::Aes256Gcm];
        setup.script.cipher = Cipher::ChaCha20Poly1305;
    })
    .fails();
    assert_eq!(*pair.error(), SessionError::Cipher("CHACHA20-POLY1305".to_owned()));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::NoAgreement, &Retry::NextRemote));
    assert!(pair.log.keys.is_empty());
}

#[test]
fn the_fallback_may_be_pushed_too() {
    let mut pair = Setup::new(|setup| {
        setup.settings.data_ciphers_fallback = Some(Cipher::Aes192Gcm);
        setup.script.cipher = Cipher::Aes192Gcm;
    })
    .up();
    pair.assert_traffic_flows();
}

/// A server that pushes no cipher uses `theirs`.
fn without_negotiation(theirs: Cipher, options: &str, fallback: Option<Cipher>) -> Setup {
    Setup::new(|setup| {
        setup.settings.data_ciphers_fallback = fallback;
        (setup.script.cipher, setup.script.pushes_cipher) = (theirs, false);
        setup.script.options = options.to_owned();
    })
}

#[test]
fn without_a_pushed_cipher_the_options_string_decides_if_we_allow_it() {
    let options = "V4,dev-type tun,cipher AES-128-GCM,auth SHA1";
    let mut pair = without_negotiation(Cipher::Aes128Gcm, options, Some(Cipher::Aes256Cbc)).up();
    pair.assert_traffic_flows();
}

#[test]
fn else_the_fallback_is_used() {
    for options in ["V4,dev-type tun", "", "V4,cipher BF-CBC", "V4,cipher AES-192-CBC"] {
        let mut pair = without_negotiation(Cipher::Aes256Cbc, options, Some(Cipher::Aes256Cbc)).up();
        pair.assert_traffic_flows();
    }
}

#[test]
fn without_a_fallback_there_is_no_cipher() {
    let pair = without_negotiation(Cipher::Aes256Cbc, "V4,cipher AES-256-CBC", None).fails();
    assert_eq!(*pair.error(), SessionError::NoCipher);
    assert_eq!(pair.closed().kind, CloseKind::NoAgreement);
}

#[test]
fn a_server_without_a_common_cipher_is_not_taken_for_a_wrong_password() {
    let text = b"AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)\0";
    let pair = Setup::new(|setup| setup.script.says = Some(vec![text.to_vec()])).fails();
    assert_eq!(*pair.error(), SessionError::NoSharedCipher);
}

fn data_versions(change: impl FnOnce(&mut Setup)) -> Vec<u8> {
    let mut pair = Setup::new(change).up();
    pair.assert_traffic_flows();
    pair.server.opened_versions.clone()
}

#[test]
fn data_v2_needs_a_peer_id_that_we_announced() {
    assert_eq!(data_versions(|_| {}), [2]);
    assert_eq!(data_versions(|setup| setup.script.peer_id = None), [1]);
    assert_eq!(data_versions(|setup| setup.settings.dangerous.withheld_iv_proto = iv_proto::DATA_V2), [1]);
    // A server that pushes one all the same gets none back.
    let defiant = data_versions(|setup| {
        setup.settings.dangerous.withheld_iv_proto = iv_proto::DATA_V2;
        setup.script.defiant = true;
    });
    assert_eq!(defiant, [1]);
}

fn line(pair: &Pair, name: &str) -> Option<String> {
    pair.server.peer_info().iter().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned)
}

#[test]
fn each_bit_can_be_withheld_and_is_then_done_without() {
    for bit in (0..32).map(|shift| 1 << shift).filter(|bit| iv_proto::SUPPORTED & bit != 0) {
        let mut pair = Setup::new(|setup| setup.settings.dangerous.withheld_iv_proto = bit).up();
        assert_eq!(line(&pair, "IV_PROTO"), Some((iv_proto::SUPPORTED & !bit).to_string()));
        pair.assert_traffic_flows();
        pair.run(super::secs(10));
        pair.server.renegotiate(pair.now);
        pair.run(super::secs(20));
        pair.assert_traffic_flows();
        assert_eq!(pair.server.uses_dynamic_tls_crypt(), bit != iv_proto::DYN_TLS_CRYPT);
        assert_eq!(pair.server.control_messages.is_empty(), bit != iv_proto::REQUEST_PUSH);
        pair.close();
        pair.run(super::secs(1));
        let said_goodbye = pair.server.control_messages.contains(&"EXIT".to_owned());
        assert_eq!(said_goodbye, bit != iv_proto::CC_EXIT_NOTIFY);
        assert_eq!(pair.server.exit_notices, usize::from(!said_goodbye));
    }
}

#[test]
fn nothing_can_be_switched_on_that_was_not_announced() {
    for (bit, name) in [(iv_proto::TLS_KEY_EXPORT, "tls-ekm"), (iv_proto::DYN_TLS_CRYPT, "dyn-tls-crypt")] {
        let pair = Setup::new(|setup| {
            setup.settings.dangerous.withheld_iv_proto = bit;
            setup.script.defiant = true;
        })
        .fails();
        assert!(matches!(pair.error(), SessionError::Unsupported(text) if text.starts_with(name)), "{name}");
        assert!(pair.log.keys.is_empty());
    }
    let pair = Setup::new(|setup| setup.script.push.push("protocol-flags aead-epoch".to_owned())).fails();
    assert!(matches!(pair.error(), SessionError::Unsupported(text) if text.starts_with("aead-epoch")));
}

#[test]
fn ciphers_can_be_withheld() {
    let pair = Setup::new(|setup| setup.settings.dangerous.withhold_iv_ncp = true).up();
    assert_eq!((line(&pair, "IV_NCP"), line(&pair, "IV_CIPHERS")), (None, None));
}

#[test]
fn iv_ncp_is_said_only_with_both_of_its_ciphers() {
    let pair = Setup::new(|setup| setup.settings.data_ciphers = vec![Cipher::Aes256Gcm, Cipher::Aes256Cbc]).up();
    assert_eq!((line(&pair, "IV_NCP"), line(&pair, "IV_CIPHERS")), (None, Some("AES-256-GCM:AES-256-CBC".to_owned())));
}

#[test]
fn the_peer_info_is_this() {
    let pair = Setup::new(|setup| {
        setup.settings.push_peer_info = true;
        setup.settings.peer_info = vec![("UV_SITE".to_owned(), "Jena".to_owned())];
    })
    .up();
    let expected = [
        "IV_VER=2.6.14",
        "IV_PLAT=linux",
        "IV_TCPNL=1",
        "IV_MTU=1600",
        "IV_NCP=2",
        "IV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
        "IV_PROTO=2974",
        "IV_LZO_STUB=1",
        "IV_COMP_STUB=1",
        "IV_COMP_STUBv2=1",
        concat!("IV_GUI_VER=adit_", env!("CARGO_PKG_VERSION")),
        "IV_SSO=webauth,openurl,crtext",
        "IV_SSL=rustls_ring",
        "UV_SITE=Jena",
    ];
    assert_eq!(pair.server.peer_info(), expected);
    assert!(pair.server.client_messages[0].peer_info.ends_with('\n'));
}

#[test]
fn the_options_string_is_this() {
    let pair = Setup::default().up();
    let expected = "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,auth [null-digest],keysize \
                    256,key-method 2,tls-client";
    assert_eq!(pair.server.client_messages[0].options, expected);
}

#[test]
fn the_options_string_follows_the_gateways_own_settings() {
    let pair = Setup::new(|setup| {
        let (_, ours, theirs) = wraps().swap_remove(1);
        setup.remote = Remote::new("vpn.example", 443, Transport::Tcp);
        (setup.remote.control_wrap, setup.remote.tun_mtu) = (Some(ours), Some(1400));
        setup.settings.framing = Framing::V1;
        setup.settings.data_ciphers_fallback = Some(Cipher::Aes128Cbc);
        (setup.script.wrap, setup.script.framing) = (theirs, Framing::V1);
    })
    .up();
    let expected = "V4,dev-type tun,link-mtu 1449,tun-mtu 1400,proto TCPv4_CLIENT,comp-lzo,cipher AES-128-CBC,auth \
                    SHA1,keysize 128,tls-auth,key-method 2,tls-client";
    assert_eq!(pair.server.client_messages[0].options, expected);
}
