//! The data channel.

use super::{with, with_server};
use crate::{
    algorithms::{Cipher, Digest},
    config::Framing,
    tests::{
        pair::{Pair, Setup, numbered},
        secs,
    },
};

fn ciphers(setup: Setup) -> String {
    let pair = setup.up();
    let line = pair.server.peer_info().into_iter().find_map(|line| line.strip_prefix("IV_CIPHERS=").map(str::to_owned));
    line.unwrap_or_default()
}

#[test]
fn cipher_lines_decide_what_is_offered() {
    for (line, offered) in [
        ("", "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305"),
        ("cipher AES-256-CBC", "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305:AES-256-CBC"),
        ("data-ciphers AES-256-GCM:AES-128-CBC", "AES-256-GCM:AES-128-CBC"),
        ("ncp-ciphers AES-256-GCM", "AES-256-GCM"),
    ] {
        assert_eq!(ciphers(with(line)), offered, "{line}");
    }
}

#[test]
fn cipher_and_data_ciphers_fallback_lines_serve_old_servers() {
    for line in ["cipher AES-128-CBC", "data-ciphers-fallback AES-128-CBC"] {
        let mut pair = with_server(line, |script| {
            (script.cipher, script.pushes_cipher, script.options) = (Cipher::Aes128Cbc, false, String::new());
        })
        .up();
        pair.assert_traffic_flows();
    }
    with_server("", |script| (script.pushes_cipher, script.options) = (false, String::new())).fails();
}

/// Whether the packets of either end reach the other.
fn flows(pair: &mut Pair) -> bool {
    pair.client_sends(&numbered(1));
    pair.server_sends(&numbered(2));
    pair.run(secs(1));
    (&pair.server.opened[..], &pair.log.opened[..]) == (&[numbered(1)][..], &[numbered(2)][..])
}

#[test]
fn auth_line_is_the_digest_of_cbc() {
    for (line, works) in [("", false), ("auth SHA512", true), ("auth SHA256", false)] {
        let lines = format!("data-ciphers AES-256-CBC\n{line}");
        let mut pair = with_server(&lines, |script| {
            (script.cipher, script.auth) = (Cipher::Aes256Cbc, Digest::Sha512);
        })
        .up();
        assert_eq!(flows(&mut pair), works, "{line}");
    }
}

#[test]
fn compress_and_comp_lzo_lines_are_the_framing() {
    for (line, framing) in
        [("comp-lzo no", Framing::V1), ("compress stub", Framing::V1Swap), ("compress lz4-v2", Framing::V2)]
    {
        let first = |line: &str| {
            let mut pair = with_server(line, |script| script.framing = framing).up();
            flows(&mut pair)
        };
        assert!(first(line), "{line}");
        // In the second version most packets look the same with and without.
        assert!(framing == Framing::V2 || !first(""), "{line}");
    }
    // Marked as not compressed; no IP packet begins so.
    let marked = |line: &str| {
        let mut pair = with(line).up();
        pair.server_sends(&[&[0x50, 0x00][..], &numbered(1)].concat());
        pair.run(secs(1));
        pair.log.opened == [numbered(1)]
    };
    assert!(marked("compress stub-v2") && !marked(""));
}

#[test]
fn replay_window_line_says_how_late_a_packet_may_come() {
    for (line, late, opened) in
        [("", 60, true), ("", 100, false), ("replay-window 128", 100, true), ("replay-window 128", 200, false)]
    {
        let mut pair = with(line).up();
        let held_back = pair.server.seal(&numbered(0)).unwrap();
        for number in 1..=late {
            pair.server_sends(&numbered(number));
        }
        pair.run(secs(1));
        let before = pair.log.opened.len();
        pair.inject(&held_back);
        assert_eq!((before as u64, pair.log.opened.len() > before), (late, opened), "{line}: {late} later");
    }
}

#[test]
fn mssfix_line_bounds_the_datagrams_of_tcp_packets() {
    let outer = |line: &str| {
        let pair = with(line).up();
        let sealer = pair.plane.sealer.as_ref().unwrap();
        adit_tunnel::Sealer::sealed_len(sealer.as_ref(), pair.log.ups[0].tcp_mtu.into()) + 28
    };
    assert_eq!(outer(""), 1492);
    assert_eq!(outer("mssfix 1300 mtu"), 1300);
    assert_eq!(outer("mssfix 1300"), 1328);
    assert_eq!(with("mssfix 0").up().log.ups[0].tcp_mtu, 1500);
}

#[test]
fn tun_mtu_line_is_the_largest_packet() {
    assert_eq!(with("").up().log.ups[0].mtu, 1500);
    let pair = with("tun-mtu 1400").up();
    assert_eq!(pair.log.ups[0].mtu, 1400);
    assert!(pair.server.client_messages[0].options.contains("tun-mtu 1400"));
}

#[test]
fn tun_mtu_max_line_bounds_what_a_server_may_push() {
    let push = |line: &str| with_server(line, |script| script.push.push("tun-mtu 4000".to_owned()));
    push("").fails();
    assert_eq!(push("tun-mtu-max 9000").up().log.ups[0].mtu, 4000);
}
