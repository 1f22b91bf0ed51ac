//! The control channel, keys and timers.

use std::time::Duration;

use adit_tunnel::Transport;

use super::{file, with, with_server};
use crate::{
    algorithms::Digest,
    config::{ControlWrap, KeyDirection},
    error::SessionError,
    keys::StaticKey,
    tests::{
        START, millis,
        pair::{Pair, Setup},
        secs,
        volume::key_id_after_traffic,
    },
};

fn without_answer(lines: &str) -> Pair {
    let mut pair = with(lines).start();
    pair.to_server.cut = true;
    pair.run_until(secs(1000), |pair| pair.log.closed.is_some());
    pair
}

#[test]
fn tls_timeout_line_is_the_first_wait() {
    let sent = |pair: Pair| pair.log.sent.iter().map(|(at, _)| at.duration_since(*START).as_secs()).take(3).collect();
    let times: [Vec<u64>; 2] = ["", "tls-timeout 3"].map(|lines| sent(without_answer(lines)));
    assert_eq!(times, [[0, 2, 6], [0, 3, 9]]);
}

#[test]
fn lines_about_waiting_decide_when_a_silent_server_is_given_up() {
    for (line, seconds) in [("", 60), ("hand-window 30", 30), ("connect-timeout 7", 7), ("server-poll-timeout 9", 9)] {
        assert_eq!(without_answer(line).closed_after(), secs(seconds), "{line}");
    }
}

/// When the first key stops to open, after a renegotiation at 1000 s.
fn lifetime_of_the_old_key(lines: &str) -> Duration {
    let mut pair = with(&format!("reneg-sec 0\nping-restart 0\n{lines}")).up();
    pair.run(secs(1000));
    let began = pair.now;
    pair.server.renegotiate(began);
    pair.run(secs(3700));
    pair.key_change_at("-0").duration_since(began)
}

#[test]
fn tran_window_line_is_the_old_keys_life() {
    let [usual, shorter] = ["", "tran-window 600"].map(lifetime_of_the_old_key);
    assert!(usual >= secs(3600) && usual < secs(3601), "{usual:?}");
    assert!(shorter >= secs(600) && shorter < secs(601), "{shorter:?}");
}

#[test]
fn reneg_sec_line_is_the_age_of_a_key() {
    for (line, key_id) in [("", 0), ("reneg-sec 100", 1), ("reneg-sec 400", 0)] {
        let mut pair = with(line).up();
        pair.run(secs(150));
        assert_eq!(pair.server.key_id(), key_id, "{line}");
    }
}

#[test]
fn reneg_bytes_and_reneg_pkts_lines_bound_what_a_key_carries() {
    // Each packet has 60 bytes.
    for (line, key_id) in [("", 0), ("reneg-bytes 6000", 1), ("reneg-pkts 100", 1), ("reneg-pkts 1000", 0)] {
        assert_eq!(key_id_after_traffic(&mut with(line).up(), 110), key_id, "{line}");
    }
}

#[test]
fn max_packet_size_line_bounds_control_datagrams() {
    let largest = |lines: &str| {
        let pair = with(lines).up();
        pair.log.sent.iter().map(|(_, datagram)| datagram.len()).max().unwrap()
    };
    assert!(largest("") > 272);
    assert!(largest("max-packet-size 300") <= 272, "with headers of 28 bytes");
}

/// The wrap of a server with the key of `static.txt`.
fn server_wrap(wrap: impl FnOnce(StaticKey) -> ControlWrap) -> ControlWrap {
    wrap(StaticKey::parse(str::from_utf8(&file("static.txt").unwrap()).unwrap()).unwrap())
}

fn comes_up(lines: &str, wrap: &ControlWrap) -> bool {
    let mut pair = with_server(lines, |script| script.wrap = wrap.clone()).start();
    pair.run_until(secs(70), |pair| pair.log.closed.is_some() || !pair.log.ups.is_empty());
    !pair.log.ups.is_empty()
}

#[test]
fn tls_auth_key_direction_and_auth_lines_are_what_the_server_must_have() {
    let server = |direction, digest| server_wrap(|key| ControlWrap::TlsAuth { key, direction, digest });
    let normal = server(KeyDirection::Normal, Digest::Sha1);
    assert!(comes_up("tls-auth static.txt 1", &normal));
    assert!(comes_up("tls-auth static.txt\nkey-direction 1", &normal));
    for lines in ["", "tls-auth static.txt", "tls-auth static.txt 0", "tls-auth static.txt 1\nauth SHA256"] {
        assert!(!comes_up(lines, &normal), "{lines}");
    }
    assert!(comes_up("tls-auth static.txt 1\nauth SHA256", &server(KeyDirection::Normal, Digest::Sha256)));
    assert!(comes_up("tls-auth static.txt", &server(KeyDirection::Bidirectional, Digest::Sha1)));
}

#[test]
fn tls_crypt_line_is_what_the_server_must_have() {
    let server = server_wrap(ControlWrap::TlsCrypt);
    assert!(comes_up("tls-crypt static.txt", &server));
    assert!(!comes_up("tls-auth static.txt 1", &server));
    assert!(!comes_up("", &server));
}

#[test]
fn tls_crypt_v2_line_is_what_the_server_must_have() {
    let text = String::from_utf8(file("tls-crypt-v2.txt").unwrap()).unwrap();
    let (key, wrapped) = StaticKey::parse_tls_crypt_v2(&text).unwrap();
    let server = ControlWrap::TlsCryptV2 { key, wrapped };
    assert!(comes_up("tls-crypt-v2 tls-crypt-v2.txt", &server));
    assert!(!comes_up("tls-crypt static.txt", &server));
}

#[test]
fn a_connection_block_may_have_a_wrap_of_its_own() {
    let server = server_wrap(ControlWrap::TlsCrypt);
    assert!(comes_up("<connection>\nremote vpn.example\ntls-crypt static.txt\n</connection>", &server));
}

#[test]
fn keepalive_and_ping_lines_send_pings() {
    for (line, pings) in [("", 0), ("ping 15", 6), ("keepalive 15 1000", 6)] {
        let mut pair = with(line).up();
        pair.run(secs(100));
        assert_eq!(pair.server.pings.len(), pings, "{line}");
    }
}

#[test]
fn keepalive_ping_restart_and_ping_exit_lines_end_silence() {
    for (line, seconds, directive) in [
        ("keepalive 10 60", 60, "ping-restart"),
        ("ping-restart 45", 45, "ping-restart"),
        // What OpenVPN takes where nobody says anything.
        ("", 120, "ping-restart"),
        ("ping-exit 90", 90, "ping-exit"),
    ] {
        let pair = {
            let mut pair = with(line).up();
            pair.run(secs(150));
            pair
        };
        let SessionError::Silence { silence, directive: by } = pair.error() else {
            panic!("{line}: {:?}", pair.error())
        };
        assert_eq!((*silence, *by), (secs(seconds), directive), "{line}");
    }
    let mut pair = with("ping-restart 0").up();
    pair.run(secs(150));
    assert!(pair.log.closed.is_none());
}

#[test]
fn inactive_and_session_timeout_lines_end_the_session() {
    let ended = |line: &str| {
        let mut pair = with(line).up();
        pair.start_traffic(secs(20));
        pair.run(secs(500));
        pair.log.closed.as_ref().map(|_| (pair.error().clone(), pair.closed_after() <= secs(106)))
    };
    assert_eq!(ended(""), None);
    assert_eq!(ended("inactive 100"), None);
    assert_eq!(ended("inactive 100 1000"), Some((SessionError::Inactive, true)));
    assert_eq!(ended("session-timeout 100"), Some((SessionError::SessionTimeout, true)));
}

#[test]
fn explicit_exit_notify_line_counts_goodbyes() {
    for (line, notices) in [("", 1), ("explicit-exit-notify 3", 3), ("explicit-exit-notify", 1)] {
        let mut pair = with_server(line, |script| script.cc_exit = false).up();
        pair.close();
        pair.run(secs(1));
        assert_eq!(pair.server.exit_notices, notices, "{line}");
    }
}

#[test]
fn client_pull_and_tls_client_lines_decide_whether_options_are_asked_for() {
    for (mode, pulls) in [("client", true), ("tls-client\npull", true), ("tls-client", false)] {
        let mut pair = Setup::new(|setup| {
            setup.profile = Some(super::profile(mode, "cipher AES-256-GCM"));
            // It pushes to whoever asks.
            setup.script.waits_for_request = true;
        })
        .start();
        pair.run(secs(10));
        let asked = pair.server.control_messages.iter().any(|message| message == "PUSH_REQUEST");
        assert_eq!((asked, pair.log.ups.len()), (pulls, 1), "{mode}");
        assert_eq!(pair.log.ups[0].addresses.len(), usize::from(pulls), "{mode}");
    }
}

#[test]
fn proto_and_remote_lines_decide_the_transport() {
    for line in ["proto tcp", "proto-force tcp\nremote vpn.example 443 tcp"] {
        let mut pair = with(line).up();
        assert_eq!(pair.path.transport, Transport::Tcp, "{line}");
        assert!(pair.server.client_messages[0].options.contains("proto TCPv4_CLIENT"), "{line}");
        pair.assert_traffic_flows();
    }
    let pair = with("").up();
    assert!(pair.server.client_messages[0].options.contains("proto UDPv4"));
    assert!(pair.now >= *START + millis(1));
}

#[test]
fn push_peer_info_and_setenv_lines_tell_the_server_more() {
    let info = |lines: &str| {
        let pair = with(lines).up();
        pair.server.peer_info().iter().map(|&line| line.to_owned()).collect::<Vec<_>>()
    };
    let has = |lines: &str, line: &str| info(lines).iter().any(|known| known == line);
    assert!(!has("setenv UV_SITE Jena", "UV_SITE=Jena"));
    assert!(has("push-peer-info\nsetenv UV_SITE Jena", "UV_SITE=Jena"));
    assert!(has("push-peer-info", "IV_SSL=rustls_ring") && !has("", "IV_SSL=rustls_ring"));
    let named: Vec<_> = info("setenv IV_GUI_VER \"some client 1\"");
    assert!(named.contains(&"IV_GUI_VER=some client 1".to_owned()), "{named:?}");
    assert!(has("tun-mtu-max 9000", "IV_MTU=9000") && has("", "IV_MTU=1600"));
}
