//! From a file to a plan.

use std::time::Duration;

use adit_driver::{
    Any,
    redundancy::{Policy, ProbeTarget},
};

use super::{Workplace, without_columns};
use crate::{
    config::{Configuration, Problems, Questions, assemble},
    plan::{ConnectionPlan, ControlPlan, ForwardKind, Listen, LocalTarget, Plan},
    spec::TransportKind,
    up::{DnsWay, Routing},
};

/// What most connections of these tests have.
const PSK: &str = "protocol = \"ikev2\"\nremotes = [\"a.example\"]\npsk = { file = \"psk.txt\" }\n";

impl Workplace {
    fn read(&self, text: &str) -> (Option<Plan>, Problems) {
        let mut problems = Problems::default();
        let path = self.file("adit.toml", text);
        let plan = assemble::plan(&path, &[], &Questions::of_the_terminal(), &mut |_| (), &mut problems);
        (plan, problems)
    }

    pub(super) fn plan(&self, text: &str) -> Plan {
        let (plan, problems) = self.read(text);
        plan.unwrap_or_else(|| panic!("{:#?}", problems.sorted()))
    }

    /// The only connection, which has these lines.
    fn connection(&self, lines: &str) -> ConnectionPlan {
        let mut plan = self.plan(&format!("[connection.office]\n{lines}"));
        plan.connections.pop().unwrap()
    }

    /// Everything said about a file, a line each, without columns and without this directory.
    pub(super) fn complaints(&self, text: &str) -> Vec<String> {
        let (_, problems) = self.read(text);
        let said = |problem: &&crate::config::Problem| {
            let kind = format!("{:?}: ", problem.severity).to_lowercase();
            without_columns(&format!("{kind}{problem}")).replace(&self.path(""), "")
        };
        problems.sorted().iter().map(said).collect()
    }
}

fn settings(connection: &ConnectionPlan, gateway: usize) -> String {
    match &connection.gateways[gateway].protocol {
        Any::Ikev2(ikev2) => format!("{ikev2:?}"),
        Any::OpenVpn(openvpn) => format!("{openvpn:?}"),
    }
}

#[test]
fn gateways_with_one_identity_are_not_told_that_there_is_no_other() {
    let place = Workplace::new();
    let path = place.file(
        "adit.toml",
        "[connection.office]\nprotocol = \"ikev2\"\npsk = { file = \"psk.txt\" }\n\
         [[connection.office.gateway]]\nname = \"one\"\nremotes = [\"a.example\"]\nremote_id = \"vpn.example\"\n\
         [[connection.office.gateway]]\nname = \"two\"\nremotes = [\"b.example\"]\nremote_id = \"vpn.example\"\n\
         [[connection.office.gateway]]\nname = \"three\"\nremotes = [\"c.example\"]\nremote_id = \"vpn.example\"\n\
         initial_contact = true\n\
         [[connection.office.gateway]]\nname = \"four\"\nremotes = [\"d.example\"]\nremote_id = \"other.example\"\n",
    );
    let (mut problems, mut told) = (Problems::default(), Vec::new());
    let mut adjust = |made: &mut Configuration| match made {
        Configuration::Ikev2(config) => told.push(config.settings().initial_contact),
        Configuration::OpenVpn(_) => unreachable!("all are of IKEv2"),
    };
    let plan = assemble::plan(&path, &[], &Questions::of_the_terminal(), &mut adjust, &mut problems);
    assert!(plan.is_some(), "{:#?}", problems.sorted());
    assert_eq!(told, [false, false, true, true], "unless it is said, and where the identity is another one's");
}

#[test]
fn what_is_not_said_of_a_connection_has_its_default() {
    let place = Workplace::new();
    let plan = place.plan(&format!("[connection.office]\n{PSK}"));
    assert!(plan.admin.is_none() && plan.activity.is_none() && plan.control == ControlPlan::Default);
    assert_eq!((plan.handshakes, plan.drain), (16, Duration::from_secs(25)));
    let connection = &plan.connections[0];
    assert_eq!((connection.name.as_str(), connection.description.as_str(), connection.autostart), ("office", "", true));
    let label = &connection.gateway_labels[0];
    assert_eq!(
        (label.name.as_str(), label.protocol, &label.servers[..]),
        ("a.example", "ikev2", &["a.example:500".into()][..])
    );
    assert_eq!(connection.gateways[0].name, "a.example");
    let redundancy = &connection.redundancy;
    assert!(redundancy.policy == Policy::Priority && redundancy.hot_standby && redundancy.probe.is_none());
    assert_eq!(redundancy.fail_back_after, Some(Duration::from_secs(60)));
    assert_eq!([redundancy.stagger.as_secs(), redundancy.drain.as_secs(), connection.wait.as_secs()], [3, 30, 30]);
    assert!(connection.forwards.is_empty() && connection.tun.is_none());
}

#[test]
fn the_process_has_tables_of_its_own() {
    let place = Workplace::new();
    let text = format!(
        "[admin]\nlisten = \"127.0.0.1:9002\"\n[control]\nsocket = \"adit.sock\"\n[activity]\nfile = \"log/activity.log\"\n\
        max_kib = 2\nkeep = 0\n[limits]\nhandshakes = 3\ndrain_seconds = 0\n[connection.office]\n{PSK}"
    );
    let plan = place.plan(&text);
    assert_eq!(plan.admin, Some("127.0.0.1:9002".parse().unwrap()));
    assert_eq!(plan.control, ControlPlan::At(place.0.join("adit.sock")));
    let activity = plan.activity.unwrap();
    assert_eq!((activity.file, activity.max_bytes, activity.keep), (place.0.join("log/activity.log"), 2048, 0));
    assert_eq!((plan.handshakes, plan.drain), (3, Duration::ZERO));
    assert_eq!(place.plan(&format!("[control]\nsocket = \"off\"\n[connection.a]\n{PSK}")).control, ControlPlan::Off);
}

#[test]
fn gateways_take_over_what_they_do_not_say() {
    let place = Workplace::new();
    let connection = place.connection(
        "protocol = \"ikev2\"\nca = [\"ca.pem\"]\nuser = \"alice\"\npassword = { file = \"password.txt\" }\nmtu = 1400\n\
        [[connection.office.gateway]]\nname = \"a\"\nremotes = [\"a.example\"]\n\
        [[connection.office.gateway]]\nname = \"b\"\nremotes = [\"b.example\", \"[2001:db8::1]:4500\"]\nmtu = 1300\n\
        [[connection.office.gateway]]\nremotes = [\"c.example\"]\nauth = \"psk\"\npsk = \"file:psk.txt\"\nca = []\n",
    );
    let names: Vec<_> = connection.gateway_labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c.example"]);
    assert_eq!(connection.gateway_labels[1].servers, ["b.example:500", "[2001:db8::1]:4500"]);
    for (gateway, has) in [(0, "mtu: Some(1400)"), (1, "mtu: Some(1300)"), (2, "mtu: Some(1400)")] {
        assert!(settings(&connection, gateway).contains(has), "{gateway}");
    }
    // Had the last one taken over a user and a password, they would have no use.
}

#[test]
fn gateways_of_both_protocols_stand_side_by_side() {
    let place = Workplace::new();
    let ca = std::fs::read_to_string(place.0.join("ca.pem")).unwrap();
    place.file("b.ovpn", format!("client\ndev tun\nremote vpn.example 1194 udp\nauth-user-pass\n<ca>\n{ca}</ca>\n"));
    let connection = place.connection(
        "protocol = \"ikev2\"\nremotes = [\"a.example\"]\npsk = { file = \"psk.txt\" }\n\
        [[connection.office.gateway]]\n\
        [[connection.office.gateway]]\nprotocol = \"openvpn\"\nprofile = \"b.ovpn\"\nuser = \"alice\"\n\
        password = \"file:password.txt\"\nprobe = { tcp = \"10.0.0.5:443\", failures = 9 }\n",
    );
    let labels: Vec<_> =
        connection.gateway_labels.iter().map(|label| (label.protocol, &label.servers[0][..])).collect();
    assert_eq!(labels, [("ikev2", "a.example:500"), ("openvpn", "vpn.example:1194")]);
    let probe = connection.gateways[1].probe.as_ref().unwrap();
    assert_eq!((probe.failures, probe.interval), (9, Duration::from_secs(1)));
    assert!(connection.gateways[0].probe.is_none());
}

#[test]
fn a_certificate_of_a_gateway_takes_the_place_of_the_common_one() {
    let place = Workplace::new();
    let connection = place.connection(
        "protocol = \"ikev2\"\nca = [\"ca.pem\"]\ncertificate = \"client.pem\"\nkey = \"client.key\"\n\
        [[connection.office.gateway]]\nremotes = [\"a.example\"]\n\
        [[connection.office.gateway]]\nremotes = [\"b.example\"]\ncertificate = \"both.pem\"\n",
    );
    // Had the second one kept the first one's key, that would not matter here; had it kept both, it would be refused.
    assert_eq!(connection.gateways.len(), 2);
}

#[test]
fn how_gateways_stand_in_for_each_other_is_understood() {
    let place = Workplace::new();
    let connection = place.connection(&format!(
        "{PSK}description = \"Main office\"\nautostart = false\npolicy = \"lowest-latency\"\nstandby = \"cold\"\n\
        liveness = \"fast\"\nstagger_seconds = 7\nprobe = {{ icmp = \"10.0.0.1\", interval_ms = 200, timeout_ms = 300, failures = 4 }}\n\
        fail_back_seconds = \"never\"\nwhile_down = \"refuse\"\ndrain_seconds = 9\n"
    ));
    assert_eq!((connection.description.as_str(), connection.autostart), ("Main office", false));
    let redundancy = &connection.redundancy;
    assert!(redundancy.policy == Policy::LowestLatency && !redundancy.hot_standby);
    assert_eq!(redundancy.fail_back_after, None);
    assert_eq!([redundancy.stagger.as_secs(), redundancy.drain.as_secs(), connection.wait.as_secs()], [7, 9, 0]);
    let probe = redundancy.probe.as_ref().unwrap();
    assert_eq!(probe.target, ProbeTarget::Icmp("10.0.0.1".parse().unwrap()));
    assert_eq!((probe.interval.as_millis(), probe.timeout.as_millis(), probe.failures), (200, 300, 4));
    let connection = place.connection(&format!("{PSK}fail_back_seconds = 5\nwait_seconds = 6\nprobe.gateway = true"));
    assert_eq!((connection.redundancy.fail_back_after, connection.wait.as_secs()), (Some(Duration::from_secs(5)), 6));
    assert_eq!(connection.redundancy.probe.unwrap().target, ProbeTarget::Gateway);
}

#[test]
fn forwards_of_every_kind_are_understood() {
    let place = Workplace::new();
    let connection = place.connection(&format!(
        r#"{PSK}
        [[connection.office.gateway]]
        name = "a"
        [[connection.office.forward]]
        name = "crm"
        listen = "127.0.0.1:33000"
        to = "192.168.100.30:8080"
        gateway = "a"
        max_connections = 200
        while_down = "refuse"
        proxy_protocol = true
        [[connection.office.forward]]
        listen = 5353
        to = "dns.corp.example:53"
        transport = "udp"
        [[connection.office.forward]]
        listen = "unix:/run/adit/crm.sock"
        mode = "0660"
        to = "[fd00::30]:80"
        wait_seconds = 3
        [[connection.office.reverse]]
        port = 2222
        to = "127.0.0.1:22"
        [[connection.office.reverse]]
        port = 53
        transport = "udp"
        to = "localhost:53"
        [[connection.office.socks]]
        listen = "127.0.0.1:1080"
        user = "x"
        password = {{ file = "password.txt" }}
        [connection.office.http_proxy]
        listen = "[::1]:3128"
        "#
    ));
    let names: Vec<_> = connection.forwards.iter().map(|forward| forward.name.as_str()).collect();
    let expected = [
        "crm",
        "127.0.0.1:5353/udp",
        "unix:/run/adit/crm.sock",
        "reverse:2222",
        "reverse:53/udp",
        "127.0.0.1:1080",
        "[::1]:3128",
    ];
    assert_eq!(names, expected);
    let [crm, dns, unix, ssh, back, socks, http] = &connection.forwards[..] else { panic!("seven") };
    let listen = Listen::Tcp("127.0.0.1:33000".parse().unwrap());
    assert!(
        matches!(&crm.kind, ForwardKind::Local { listen: on, to } if *on == listen && to.to_string() == "192.168.100.30:8080")
    );
    assert_eq!((crm.gateway.as_deref(), crm.max_connections, crm.wait), (Some("a"), Some(200), Some(Duration::ZERO)));
    assert!(crm.proxy_protocol && !dns.proxy_protocol && dns.wait.is_none());
    assert!(matches!(&dns.kind, ForwardKind::Local { listen: Listen::Udp(_), .. }));
    assert!(matches!(&unix.kind, ForwardKind::Local { listen: Listen::Unix(_, Some(0o660)), .. }));
    assert_eq!(unix.wait, Some(Duration::from_secs(3)));
    let to = LocalTarget::Address("127.0.0.1".into(), 22);
    assert_eq!(ssh.kind, ForwardKind::Reverse { transport: TransportKind::Tcp, port: 2222, to });
    assert!(matches!(back.kind, ForwardKind::Reverse { transport: TransportKind::Udp, .. }));
    let ForwardKind::Socks { login: Some(login), udp: true, .. } = &socks.kind else { panic!("{socks:?}") };
    assert_eq!((login.user.as_str(), login.password.expose()), ("x", &b"secret"[..]));
    assert!(matches!(http.kind, ForwardKind::HttpProxy { login: None, .. }));
}

#[test]
fn a_socks_proxy_carries_datagrams_unless_it_is_told_not_to() {
    let place = Workplace::new();
    let udp = |more: &str| {
        let connection = place.connection(&format!("{PSK}[connection.office.socks]\nlisten = 1080\n{more}"));
        matches!(connection.forwards[0].kind, ForwardKind::Socks { udp: true, .. })
    };
    assert!(udp("") && udp("udp = true") && !udp("udp = false"));
}

#[test]
fn tun_mode_is_understood() {
    let place = Workplace::new();
    let tun = place.connection(&format!("{PSK}tun = {{}}")).tun.unwrap();
    assert_eq!(tun, crate::up::TunOptions::default());
    let tun = place.connection(&format!(
        "{PSK}[connection.office.tun]\ndevice = \"vpn0\"\nnetns = \"blue\"\nrouting = [\"10.0.0.0/8\", \"fd00::/8\"]\ndns = \"off\"\n\
        mtu = 1400\nmss = 1300\nuser = \"nobody:nogroup\"\nfail_closed = true\nstate_dir = \"state\"\n"
    ));
    let tun = tun.tun.unwrap();
    assert_eq!(
        (tun.device.as_deref(), tun.netns.as_deref(), tun.user.as_deref()),
        (Some("vpn0"), Some("blue"), None),
        "the user is for `adit up`"
    );
    let Routing::Only(networks) = &tun.routing else { panic!("{tun:?}") };
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!((tun.dns, tun.mtu, tun.mss, tun.fail_closed), (DnsWay::Off, Some(1400), Some(1300), true));
    assert_eq!(tun.state_dir, Some(place.0.join("state")));
    let tun = place.connection(&format!("{PSK}tun = {{ routing = \"full\" }}")).tun.unwrap();
    assert_eq!(tun.routing, Routing::Full);
}

#[test]
fn a_fingerprint_changes_with_everything_a_gateway_is_made_from_and_with_nothing_else() {
    let place = Workplace::new();
    let print = |lines: &str| place.connection(lines).gateways[0].fingerprint;
    let eap = "protocol = \"ikev2\"\nremotes = [\"a\"]\nca = [\"ca.pem\"]\nuser = \"u\"\npassword = { file = \"password.txt\" }\n";
    let first = print(eap);
    assert_eq!(print(eap), first);
    assert_eq!(print(&eap.replace("ikev2\"\n", "ikev2\" # a comment\n\n")), first);
    assert_eq!(print(&format!("{eap}drain_seconds = 1\nforward = [{{ listen = 1, to = \"h:1\" }}]")), first);
    let mut seen = vec![first];
    for other in [
        eap.replace("\"a\"", "\"b\""),
        eap.replace("\"u\"", "\"v\""),
        format!("{eap}mtu = 1400\n"),
        format!("{eap}liveness = \"fast\"\n"),
    ] {
        seen.push(print(&other));
    }
    place.file("password.txt", "another\n");
    seen.push(print(eap));
    place.file("ca.pem", super::certificate("another").0.pem());
    seen.push(print(eap));
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
    let ca = std::fs::read_to_string(place.0.join("ca.pem")).unwrap();
    let profile = format!("client\ndev tun\nremote vpn.example 1194 udp\nauth-user-pass\nca {}\n", "own.pem");
    place.file("own.pem", ca);
    place.file("b.ovpn", &profile);
    let openvpn = "protocol = \"openvpn\"\nprofile = \"b.ovpn\"\nuser = \"u\"\npassword = \"file:password.txt\"";
    let first = print(openvpn);
    assert_eq!(print(openvpn), first);
    place.file("own.pem", super::certificate("third").0.pem());
    assert_ne!(print(openvpn), first, "a file that the profile names");
}

#[test]
fn every_file_is_to_be_watched_also_one_that_is_missing() {
    let place = Workplace::new();
    let text = "[connection.a]\nprotocol = \"ikev2\"\nremotes = [\"a\"]\nca = [\"ca.pem\"]\nuser = \"u\"\n\
        password = { file = \"later.txt\" }\n[connection.b]\nprotocol = \"openvpn\"\nprofile = \"missing.ovpn\"\n";
    let (plan, problems) = place.read(text);
    assert!(plan.is_none());
    let files: Vec<_> =
        problems.files().map(|path| path.strip_prefix(&place.0).unwrap().display().to_string()).collect();
    assert_eq!(files, ["adit.toml", "ca.pem", "later.txt", "missing.ovpn"]);
}

#[test]
fn liveness_is_asked_of_both_protocols_in_their_own_way() {
    let place = Workplace::new();
    let ca = std::fs::read_to_string(place.0.join("ca.pem")).unwrap();
    place.file("b.ovpn", format!("client\ndev tun\nremote vpn.example 1194 udp\nauth-user-pass\n<ca>\n{ca}</ca>\n"));
    let openvpn = "[[connection.office.gateway]]\nprotocol = \"openvpn\"\nprofile = \"b.ovpn\"\nuser = \"u\"\npassword = \"file:password.txt\"\n";
    let of =
        |lines: &str| place.connection(&format!("{PSK}{lines}[[connection.office.gateway]]\nname = \"a\"\n{openvpn}"));
    let connection = of("liveness = { idle_ms = 700, retry_ms = 200, tries = 2 }\n");
    let ikev2 = settings(&connection, 0);
    assert!(ikev2.contains("liveness: 700ms") && ikev2.contains("first: 200ms, limit: 200ms, tries: 2"), "{ikev2}");
    assert!(ikev2.contains("first: 500ms, limit: 8s, tries: 6"), "handshakes stay patient: {ikev2}");
    assert!(connection.gateways[0].probe.is_none());
    let probe = connection.gateways[1].probe.as_ref().unwrap();
    assert_eq!((&probe.target, probe.interval.as_millis(), probe.failures), (&ProbeTarget::Gateway, 700, 2));
    assert!(of("liveness = \"fast\"\n").gateways[1].probe.is_some());
    assert!(of("").gateways[1].probe.is_none() && of("liveness = \"normal\"\n").gateways[1].probe.is_none());
    let asked = of("liveness = \"fast\"\nprobe = { icmp = \"10.0.0.1\" }\n");
    assert!(asked.gateways[1].probe.is_none() && asked.redundancy.probe.is_some());
}
