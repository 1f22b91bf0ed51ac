use std::net::Ipv4Addr;

use adit_tunnel::{IpNet, Route, RouteVia};
use proptest::prelude::*;

use super::*;
use crate::config::PullFilter;

fn push_with(settings: &Settings, options: &[&str]) -> Result<(PulledOptions, Vec<OptionNote>), OptionError> {
    let options: Vec<String> = options.iter().map(|&line| line.to_owned()).collect();
    let mut pulled = PulledOptions::from_local(settings)?;
    let notes = pulled.apply(&options, settings)?;
    Ok((pulled, notes))
}

fn push(options: &[&str]) -> Result<(PulledOptions, Vec<OptionNote>), OptionError> {
    push_with(&Settings::default(), options)
}

fn config(options: &[&str]) -> NetworkConfig {
    push(options).unwrap().0.network_config("198.51.100.7".parse().unwrap(), 1500, 1400)
}

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn tunnel_route(text: &str) -> Route {
    Route { destination: net(text), via: RouteVia::Tunnel, metric: None }
}

fn reasons(options: &[&str]) -> Vec<NoteReason> {
    push(options).unwrap().1.into_iter().map(|note| note.reason).collect()
}

#[test]
fn net30_gives_a_host_address_and_the_peer_as_gateway() {
    let config = config(&["ifconfig 10.8.0.6 10.8.0.5", "topology net30", "route 192.168.100.0 255.255.255.0"]);
    assert_eq!(config.addresses, [net("10.8.0.6/32")]);
    assert_eq!(config.gateway4, Some(Ipv4Addr::new(10, 8, 0, 5)));
    assert_eq!(config.routes, [tunnel_route("192.168.100.0/24")]);
    assert_eq!((config.mtu, config.tcp_mtu), (1500, 1400));
}

#[test]
fn subnet_gives_the_netmask_in_whatever_order_it_is_said() {
    let config = config(&["ifconfig 10.8.0.6 255.255.252.0", "route-gateway 10.8.0.1", "topology subnet"]);
    assert_eq!(config.addresses, [net("10.8.0.6/22")]);
    assert_eq!(config.gateway4, Some(Ipv4Addr::new(10, 8, 0, 1)));
}

#[test]
fn a_netmask_is_one_even_when_the_topology_was_forgotten() {
    assert_eq!(config(&["ifconfig 10.8.0.6 255.255.255.0"]).addresses, [net("10.8.0.6/24")]);
}

#[test]
fn a_subnet_without_netmask_ends_the_session() {
    let error = push(&["topology subnet", "ifconfig 10.8.0.6 10.8.0.5"]).unwrap_err();
    assert!(error.to_string().contains("netmask"), "{error}");
}

#[test]
fn ipv6_has_address_gateway_and_routes() {
    let config = config(&[
        "ifconfig-ipv6 fd00:8::1000/64 fd00:8::1",
        "route-ipv6 2001:db8:1::5/48",
        "route-ipv6 ::/0 default 7",
    ]);
    assert_eq!(config.addresses, [net("fd00:8::1000/64")]);
    assert_eq!(config.gateway6, Some("fd00:8::1".parse().unwrap()));
    let with_metric = Route { metric: Some(7), ..tunnel_route("::/0") };
    assert_eq!(config.routes, [tunnel_route("2001:db8:1::/48"), with_metric]);
}

#[test]
fn routes_know_defaults_and_keywords() {
    let config = config(&[
        "topology subnet",
        "ifconfig 10.8.0.6 255.255.255.0",
        "route-gateway 10.8.0.1",
        "route 10.1.2.3",
        "route 10.2.9.9 255.255.0.0 vpn_gateway 9",
        "route 10.3.0.0 255.255.0.0 net_gateway",
        "route remote_host 255.255.255.255 net_gateway",
        "route vpn_gateway",
        "route 10.4.0.0 255.255.0.0 10.8.0.77",
        "route 10.5.0.0 255.255.0.0 192.168.1.1",
        "route 0.0.0.0 0.0.0.0",
        "route-metric 3",
    ]);
    let expected = [
        ("10.1.2.3/32", RouteVia::Tunnel, 3),
        ("10.2.0.0/16", RouteVia::Tunnel, 9),
        ("10.3.0.0/16", RouteVia::Underlay, 3),
        ("198.51.100.7/32", RouteVia::Underlay, 3),
        ("10.8.0.1/32", RouteVia::Tunnel, 3),
        ("10.4.0.0/16", RouteVia::Tunnel, 3),
        ("10.5.0.0/16", RouteVia::Underlay, 3),
        ("0.0.0.0/0", RouteVia::Tunnel, 3),
    ]
    .map(|(text, via, metric)| Route { destination: net(text), via, metric: Some(metric) });
    assert_eq!(config.routes, expected);
}

#[test]
fn redirect_gateway_knows_its_flags() {
    let redirect = |line| {
        let config = config(&[line]);
        (config.redirect4, config.redirect6)
    };
    assert_eq!(redirect("redirect-gateway"), (true, false));
    assert_eq!(redirect("redirect-gateway def1 bypass-dhcp ipv6"), (true, true));
    assert_eq!(redirect("redirect-gateway !ipv4 ipv6"), (false, true));
    assert_eq!(redirect("redirect-private def1"), (false, false));
    assert!(config(&["block-ipv6"]).block_ipv6);
    assert!(matches!(reasons(&["redirect-gateway sideways"])[..], [NoteReason::Malformed(_)]));
}

#[test]
fn dhcp_options_give_servers_and_domains() {
    let config = config(&[
        "dhcp-option DNS 10.8.0.1",
        "dhcp-option DNS6 fd00::53",
        "dhcp-option DOMAIN-SEARCH b.example",
        "dhcp-option DOMAIN a.example",
        "dhcp-option WINS 10.8.0.2",
        "block-outside-dns",
    ]);
    assert_eq!(config.dns.servers, ["10.8.0.1".parse::<IpAddr>().unwrap(), "fd00::53".parse().unwrap()]);
    assert_eq!(config.dns.search_domains, ["a.example", "b.example"]);
    assert!(config.block_outside_dns);
}

#[test]
fn dns_servers_win_over_dhcp_options_and_the_lowest_usable_number_is_used() {
    let config = config(&[
        "dhcp-option DNS 10.8.0.1",
        "dns server 2 address 10.8.0.3",
        "dns server 1 address 10.8.0.2 [fd00::53]:53",
        "dns server 1 resolve-domains corp.example lab.example",
        "dns server 0 address 10.8.0.9",
        "dns server 0 transport DoT",
        "dns search-domains corp.example",
    ]);
    assert_eq!(config.dns.servers, ["10.8.0.2".parse::<IpAddr>().unwrap(), "fd00::53".parse().unwrap()]);
    assert_eq!(config.dns.resolve_domains, ["corp.example", "lab.example"]);
    assert_eq!(config.dns.search_domains, ["corp.example"]);
}

#[test]
fn domains_cannot_smuggle_anything_into_a_resolver() {
    assert!(matches!(reasons(&["dhcp-option DOMAIN \"a b\""])[..], [NoteReason::Malformed(_)]));
    assert!(matches!(reasons(&["dhcp-option DOMAIN-SEARCH $(reboot)"])[..], [NoteReason::Malformed(_)]));
}

#[test]
fn session_options_are_typed() {
    let (pulled, notes) = push(&[
        "cipher AES-256-GCM",
        "peer-id 4711",
        "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
        "ping 10",
        "ping-restart 60",
        "inactive 600 1000",
        "session-timeout 3600",
        "explicit-exit-notify",
        "comp-lzo no",
        "tun-mtu 1400",
        "sndbuf 0",
        "auth-token SESS_ID_AbC+/=",
        "auth-token-user dXNlcg==",
    ])
    .unwrap();
    assert_eq!(notes, []);
    assert_eq!(pulled.cipher, Some(Cipher::Aes256Gcm));
    assert_eq!(pulled.peer_id, Some(4711));
    assert!(pulled.tls_ekm() && pulled.protocol_flags.cc_exit && pulled.protocol_flags.dyn_tls_crypt);
    assert!(!pulled.protocol_flags.aead_epoch);
    assert_eq!(pulled.ping, Some(Duration::from_secs(10)));
    assert_eq!(pulled.ping_restart, Some(Duration::from_secs(60)));
    assert_eq!(pulled.inactive, Some((Duration::from_secs(600), 1000)));
    assert_eq!(pulled.session_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(pulled.explicit_exit_notify, Some(1));
    assert_eq!(pulled.framing, Some(Framing::V1));
    assert_eq!(pulled.tun_mtu, Some(1400));
    assert_eq!(pulled.auth_token.unwrap().expose(), b"SESS_ID_AbC+/=");
    assert_eq!(pulled.auth_token_user.as_deref(), Some("user"));
    assert!(push(&["key-derivation tls-ekm"]).unwrap().0.tls_ekm());
}

#[test]
fn the_last_of_ping_restart_and_ping_exit_counts() {
    let settings = Settings { ping_exit: Some(Duration::from_secs(5)), ..Settings::default() };
    let (pulled, _) = push_with(&settings, &["ping-restart 60"]).unwrap();
    assert_eq!((pulled.ping_restart, pulled.ping_exit), (Some(Duration::from_secs(60)), None));
    let (pulled, _) = push_with(&settings, &["ping 0", "ping-restart 0"]).unwrap();
    assert_eq!((pulled.ping, pulled.ping_restart, pulled.ping_exit), (None, None, None));
}

#[test]
fn what_decides_the_wire_format_is_never_ignored() {
    for line in [
        "cipher BF-CBC",
        "cipher",
        "peer-id 16777215",
        "peer-id -1",
        "protocol-flags tls-ekm warp",
        "key-derivation warp",
        "comp-lzo yes",
        "comp-lzo",
        "compress lzo",
        "compress snappy",
        "tun-mtu 100",
        "tun-mtu 9000",
        "ifconfig 10.8.0.6",
        "ifconfig 10.8.0.6 me.example",
        "topology ring",
    ] {
        assert!(matches!(push(&[line]), Err(OptionError::Malformed { .. })), "{line}");
    }
}

#[test]
fn other_malformed_options_are_noted_as_openvpn_does() {
    for line in [
        "ping",
        "ping x",
        "route",
        "route host.example",
        "route 10.0.0.0 255.0.255.0",
        "ifconfig-ipv6 x",
        "route-ipv6 fd00::/129",
        "dhcp-option DNS x",
        "dns server 200 address 10.0.0.1",
        "auth-token-user %%",
        "route \"10.0.0.0",
    ] {
        assert!(matches!(reasons(&[line])[..], [NoteReason::Malformed(_)]), "{line}");
    }
}

#[test]
fn a_server_may_not_push_what_is_the_clients_own() {
    assert_eq!(reasons(&["up /bin/evil", "reneg-sec 1", "remote evil.example"]), vec![NoteReason::NotPushable; 3]);
    assert_eq!(reasons(&["fly-me to-the-moon"]), [NoteReason::Unknown]);
    assert!(matches!(reasons(&["rcvbuf 393216"])[..], [NoteReason::Unsupported(_)]));
    assert_eq!(reasons(&["verb 9", "echo hello", "persist-tun", "setenv-safe A b", ""]), []);
}

#[test]
fn the_first_matching_pull_filter_decides() {
    let filter = |action, prefix: &str| PullFilter { action, prefix: prefix.to_owned() };
    let settings = Settings {
        pull_filters: vec![
            filter(PullAction::Accept, "route 10."),
            filter(PullAction::Ignore, "route "),
            filter(PullAction::Reject, "redirect-gateway"),
        ],
        ..Settings::default()
    };
    let (pulled, notes) = push_with(&settings, &["route 10.1.1.1", " route 11.1.1.1", "route-metric 5"]).unwrap();
    assert_eq!(notes.iter().map(|note| note.reason.clone()).collect::<Vec<_>>(), [NoteReason::Filtered]);
    assert_eq!(pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1500).routes.len(), 1);
    let rejected = push_with(&settings, &["redirect-gateway def1"]).unwrap_err();
    assert_eq!(rejected, OptionError::Rejected { option: "redirect-gateway def1".to_owned() });
}

#[test]
fn route_nopull_keeps_address_and_leaves_out_routes_and_dns() {
    let settings = Settings { route_nopull: true, ..Settings::default() };
    let pushed = ["ifconfig 10.8.0.6 10.8.0.5", "route 10.1.1.1", "dhcp-option DNS 10.8.0.1", "redirect-gateway"];
    let (pulled, notes) = push_with(&settings, &pushed).unwrap();
    assert_eq!(notes.len(), 3);
    let config = pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1500);
    assert_eq!((config.addresses.len(), config.routes.len(), config.dns.servers.len()), (1, 0, 0));
    assert!(!config.redirect4);
}

#[test]
fn the_profiles_own_lines_come_first_and_must_be_right() {
    let lines = |lines: &[&str]| Settings {
        local_options: lines.iter().map(|&line| line.to_owned()).collect(),
        route_nopull: true,
        ..Settings::default()
    };
    let (pulled, _) = push_with(&lines(&["route 10.1.0.0 255.255.0.0", "route-ipv6-gateway fd00::1"]), &[]).unwrap();
    let config = pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1500);
    assert_eq!(config.routes, [tunnel_route("10.1.0.0/16")]);
    assert_eq!(config.gateway6, Some("fd00::1".parse().unwrap()));
    assert!(PulledOptions::from_local(&lines(&["route nowhere"])).is_err());
    assert!(PulledOptions::from_local(&lines(&["cipher AES-256-GCM"])).is_err());
}

#[test]
fn routes_and_options_are_bounded() {
    let routes: Vec<String> = (0..5000).map(|i| format!("route 10.{}.{}.0", i / 256, i % 256)).collect();
    let mut pulled = PulledOptions::default();
    let notes = pulled.apply(&routes, &Settings::default()).unwrap();
    assert_eq!(pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1500).routes.len(), 4096);
    assert_eq!(notes.len(), 5000 - 4096);
    let error = pulled.apply(&vec![String::new(); 8193], &Settings::default()).unwrap_err();
    assert_eq!(error, OptionError::TooManyOptions { limit: 8192 });
}

#[test]
fn notes_show_neither_tokens_nor_control_characters() {
    let (_, notes) = push(&["auth-token hunter2 x", "fly \u{1b}[31m"]).unwrap();
    let shown = format!("{notes:?} {} {}", notes[0], notes[1]);
    assert!(!shown.contains("hunter2") && !shown.contains('\u{1b}'), "{shown}");
}

proptest! {
    #[test]
    fn no_pushed_text_panics(lines in prop::collection::vec(line(), 0..20)) {
        let mut pulled = PulledOptions::default();
        if pulled.apply(&lines, &Settings::default()).is_ok() {
            pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1500);
        }
    }
}

/// Options with arguments that are nearly right, and plain noise.
fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "route",
        "route-ipv6",
        "ifconfig",
        "ifconfig-ipv6",
        "dns",
        "dhcp-option",
        "topology",
        "peer-id",
        "ping",
        "cipher",
        "tun-mtu",
        "inactive",
        "redirect-gateway",
        "auth-token-user",
        "route-gateway",
        "compress",
    ]);
    let word = prop_oneof![
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "[0-9a-f:]{1,20}/[0-9]{1,3}",
        Just("server".to_owned()),
        Just("address".to_owned()),
        Just("DNS".to_owned()),
        "[0-9]{1,12}",
        any::<String>(),
    ];
    prop_oneof![
        (name, prop::collection::vec(word, 0..5)).prop_map(|(name, words)| format!("{name} {}", words.join(" "))),
        any::<String>(),
    ]
}
