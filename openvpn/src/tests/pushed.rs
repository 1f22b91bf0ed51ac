//! Pushed options: when they count, and how they may be cut into messages and records.

use adit_tunnel::{CloseKind, Retry};

use super::{
    millis,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    config::{PullAction, PullFilter},
    error::{PeerMisbehaved, SessionError},
};

#[test]
fn options_before_the_key_exchange_do_not_count() {
    // CVE-2020-15078.
    let reply = b"PUSH_REPLY,ifconfig 10.8.0.2 255.255.255.0,peer-id 1,cipher AES-256-GCM,auth-token stolen\0";
    let pair = Setup::new(|setup| setup.script.says_first = vec![reply.to_vec()]).fails();
    assert_eq!(*pair.error(), SessionError::Protocol(PeerMisbehaved::KeyExchangeMalformed));
    assert_eq!(pair.closed().kind, CloseKind::PeerMisbehaved);
    assert!(pair.log.ups.is_empty() && pair.log.keys.is_empty());
    let next = Setup::new(|setup| setup.carry = pair.client.into_carry()).up();
    assert_eq!(next.server.client_messages[0].password.expose(), b"password");
}

#[test]
fn there_is_no_data_plane_before_the_options() {
    let mut pair = Setup::new(|setup| setup.script.says = Some(Vec::new())).start();
    pair.run(secs(30));
    assert!(pair.log.keys.is_empty() && pair.log.ups.is_empty() && pair.log.injected.is_empty());
}

#[test]
fn options_come_in_several_messages_or_records() {
    for (parts, one_record) in [(2, false), (3, true), (6, false)] {
        let mut pair = Setup::new(|setup| {
            setup.script.push = (0..20).map(|n| format!("route 10.{n}.0.0 255.255.0.0")).collect();
            (setup.script.parts, setup.script.one_record) = (parts, one_record);
        })
        .up();
        assert_eq!(pair.log.ups[0].routes.len(), 20, "{parts} parts");
        pair.assert_traffic_flows();
    }
}

#[test]
fn a_message_may_need_many_packets() {
    let mut pair = Setup::new(|setup| {
        setup.script.push = (0..250).map(|n| format!("route 10.{n}.0.0 255.255.0.0 vpn_gateway 10")).collect();
    })
    .up();
    assert_eq!(pair.log.ups[0].routes.len(), 250);
    pair.assert_traffic_flows();
}

#[test]
fn several_messages_may_share_a_record() {
    let mut pair = Setup::new(|setup| setup.script.push.push("auth-token SESS_ID_1".to_owned())).up();
    pair.server_says(b"INFO,one\0INFO,two\0\0PUSH_REPLY,auth-token SESS_ID_2\0INFO,three");
    assert_eq!(pair.log.prompts.len(), 3);
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
    assert_eq!(pair.server.client_messages[1].password.expose(), b"SESS_ID_2");
}

#[test]
fn options_after_the_tunnel_is_up_change_nothing() {
    let mut pair = Setup::default().up();
    pair.server_says(b"PUSH_REPLY,ifconfig 10.9.9.9 255.255.255.0,ping 1,cipher AES-128-CBC,session-timeout 1\0");
    pair.server_says(b"PUSH_UPDATE,ifconfig 10.9.9.9 255.255.255.0\0");
    pair.run(secs(100));
    assert_eq!((pair.log.ups.len(), pair.log.injected.len()), (1, 0));
    pair.server.renegotiate(pair.now);
    pair.run(secs(100));
    pair.assert_traffic_flows();
}

#[test]
fn options_without_end_end_the_session() {
    for up in [false, true] {
        let mut pair = Setup::new(|setup| setup.script.says = (!up).then(Vec::new)).start();
        pair.run(secs(1));
        let routes: String = (0..400).map(|n| format!(",route 10.0.{}.0 255.255.255.0", n % 256)).collect();
        for _ in 0..60 {
            pair.server.say(pair.now, format!("PUSH_REPLY{routes},push-continuation 2\0").as_bytes());
        }
        pair.run(secs(40));
        assert_eq!(*pair.error(), SessionError::Protocol(PeerMisbehaved::PushReplyTooLong));
    }
}

#[test]
fn more_messages_in_a_record_than_anybody_sends_end_the_session() {
    let mut pair = Setup::default().up();
    pair.server_says(&b"INFO,x\0".repeat(1000));
    assert_eq!(*pair.error(), SessionError::Protocol(PeerMisbehaved::ControlMessageTooLong));
    assert!(pair.log.prompts.len() <= 64);
}

#[test]
fn unknown_and_unprintable_messages_are_passed_over() {
    let mut pair = Setup::default().up();
    let texts: [&[u8]; 5] = [b"HALT,\x1b[2J\0", b"EXIT\x07\0", b"ACC,muxed,6,3,abc\0", b"PUSH_REQUEST\0", b"\0\0\0"];
    for text in texts {
        pair.server_says(text);
    }
    pair.server_says(b"INFO,still here\r\n\0");
    assert_eq!(pair.log.prompts.len(), 1);
    pair.assert_traffic_flows();
}

#[test]
fn a_filter_may_reject_the_server() {
    let pair = Setup::new(|setup| {
        setup.settings.pull_filters =
            vec![PullFilter { action: PullAction::Reject, prefix: "redirect-gateway".to_owned() }];
        setup.script.push.push("redirect-gateway def1".to_owned());
    })
    .fails();
    assert!(matches!(pair.error(), SessionError::PushedOption(text) if text.contains("redirect-gateway")));
    assert_eq!(pair.closed().retry, Retry::NextAddress);
    assert!(pair.log.keys.is_empty());
}

#[test]
fn what_would_change_the_wire_format_unread_ends_the_session() {
    for option in ["compress lzo", "tun-mtu 50", "protocol-flags magic", "peer-id x", "cipher BF-CBC"] {
        let pair = Setup::new(|setup| setup.script.push.push(option.to_owned())).fails();
        assert!(matches!(pair.error(), SessionError::PushedOption(_)), "{option}");
    }
}

#[test]
fn a_session_that_does_not_pull_is_up_with_the_keys() {
    let mut pair = Setup::new(|setup| {
        setup.settings.pull = false;
        setup.settings.local_options = vec!["ifconfig 10.8.0.2 10.8.0.1".to_owned()];
        setup.settings.data_ciphers_fallback = Some(crate::Cipher::Aes256Gcm);
    })
    .start();
    pair.run(millis(500));
    assert_eq!(pair.log.ups.len(), 1);
    assert_eq!(pair.key_changes(), ["+0", "seal 0"]);
    assert!(pair.server.control_messages.is_empty());
}

#[test]
fn the_network_is_told_once_complete() {
    let pair = Setup::new(|setup| {
        setup.script.push = vec![
            "route 192.168.100.0 255.255.255.0".to_owned(),
            "dhcp-option DNS 10.8.0.1".to_owned(),
            "tun-mtu 1400".to_owned(),
        ];
    })
    .up();
    let network = &pair.log.ups[0];
    assert_eq!(network.addresses[0].to_string(), "10.8.0.2/24");
    assert_eq!(network.routes[0].destination.to_string(), "192.168.100.0/24");
    assert_eq!(network.dns.servers, ["10.8.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(network.mtu, 1400);
    // Keys come first, so that the owner may send at once.
    assert_eq!(pair.key_changes(), ["+0", "seal 0"]);
}

/// The largest inner TCP packet's datagram keeps to `mssfix`.
#[test]
fn mssfix_bounds_the_datagrams_of_tcp_packets() {
    let pair: Pair = Setup::default().up();
    let tcp_mtu = usize::from(pair.log.ups[0].tcp_mtu);
    let sealer = pair.plane.sealer.as_ref().unwrap();
    let outer = |length| adit_tunnel::Sealer::sealed_len(sealer.as_ref(), length) + 20 + 8;
    assert_eq!(outer(tcp_mtu), 1492);
}
