//! Keys of a file of connections that belong to no protocol: of connections, their gateways and forwards, and of the process.

use super::schema::Kind::{self, Choice, Either, Flag, Number, Secret, Table, Tables, Text, Texts};

/// Keys of `[connection.NAME]`, besides those of the protocol of its gateways.
pub(super) const CONNECTION: &[(&str, Kind)] = &[
    ("protocol", Choice(PROTOCOLS)),
    ("description", Text),
    ("autostart", Flag),
    ("policy", Choice(&["priority", "round-robin", "lowest-latency"])),
    ("standby", Choice(&["hot", "cold"])),
    ("liveness", LIVENESS),
    ("stagger_seconds", Number(0, HOUR)),
    ("probe", Table(PROBE)),
    ("fail_back_seconds", Either(&[Number(0, DAY), Choice(&["never"])])),
    ("while_down", WHILE_DOWN),
    ("wait_seconds", Number(0, DAY)),
    ("drain_seconds", Number(0, DAY)),
    ("max_connections", CONNECTIONS),
    ("tun", Table(TUN)),
    ("gateway", Tables(GATEWAY)),
    ("forward", Tables(FORWARD)),
    ("reverse", Tables(REVERSE)),
    ("socks", Tables(SOCKS)),
    ("http_proxy", Tables(HTTP_PROXY)),
];

/// Keys of `[[connection.NAME.gateway]]`, besides those of its protocol.
pub(super) const GATEWAY: &[(&str, Kind)] = &[("name", Text), ("protocol", Choice(PROTOCOLS)), ("probe", Table(PROBE))];

const PROTOCOLS: &[&str] = &["ikev2", "openvpn"];

const LIVENESS: Kind = Either(&[Choice(&["normal", "fast"]), Table(LIVENESS_TIMES)]);
const LIVENESS_TIMES: &[(&str, Kind)] =
    &[("idle_ms", Number(100, HOUR * 1000)), ("retry_ms", Number(50, HOUR * 1000)), ("tries", Number(1, 20))];

const PROBE: &[(&str, Kind)] = &[
    ("tcp", Text),
    ("icmp", Text),
    ("gateway", Flag),
    ("interval_ms", Number(100, HOUR * 1000)),
    ("timeout_ms", Number(10, HOUR * 1000)),
    ("failures", Number(1, 1000)),
];

pub(super) const TUN: &[(&str, Kind)] = &[
    ("routing", Either(&[Choice(&["pushed", "split", "full"]), Texts])),
    ("device", Text),
    ("netns", Text),
    ("dns", Choice(&["auto", "resolved", "resolvconf", "file", "off"])),
    ("mtu", Number(576, 65_535)),
    ("mss", Number(256, 65_495)),
    ("user", Text),
    ("fail_closed", Flag),
    ("block_ipv6", Flag),
    ("state_dir", Text),
];

pub(super) const FORWARD: &[(&str, Kind)] = &[
    ("listen", LISTEN),
    ("to", Text),
    ("name", Text),
    ("transport", TRANSPORT),
    ("mode", Text),
    ("gateway", Text),
    ("max_connections", CONNECTIONS),
    ("while_down", WHILE_DOWN),
    ("wait_seconds", Number(0, DAY)),
    ("proxy_protocol", Flag),
];

pub(super) const REVERSE: &[(&str, Kind)] = &[
    ("port", Number(1, 65_535)),
    ("to", Text),
    ("name", Text),
    ("transport", TRANSPORT),
    ("gateway", Text),
    ("max_connections", CONNECTIONS),
    ("proxy_protocol", Flag),
];

pub(super) const SOCKS: &[(&str, Kind)] = &[
    ("listen", LISTEN),
    ("name", Text),
    ("mode", Text),
    ("user", Text),
    ("password", Secret),
    ("udp", Flag),
    ("gateway", Text),
    ("max_connections", CONNECTIONS),
    ("while_down", WHILE_DOWN),
    ("wait_seconds", Number(0, DAY)),
];

pub(super) const HTTP_PROXY: &[(&str, Kind)] = &[
    ("listen", LISTEN),
    ("name", Text),
    ("mode", Text),
    ("user", Text),
    ("password", Secret),
    ("gateway", Text),
    ("max_connections", CONNECTIONS),
    ("while_down", WHILE_DOWN),
    ("wait_seconds", Number(0, DAY)),
];

const LISTEN: Kind = Either(&[Text, Number(0, 65_535)]);
const TRANSPORT: Kind = Choice(&["tcp", "udp"]);
const WHILE_DOWN: Kind = Choice(&["wait", "refuse"]);
const CONNECTIONS: Kind = Number(1, 1_000_000);

/// Tables of the process, besides `[connection.NAME]`.
pub(super) const PROCESS: &[(&str, Kind)] = &[
    ("admin", Table(&[("listen", Text)])),
    ("control", Table(&[("socket", Text)])),
    ("activity", Table(&[("file", Text), ("max_kib", Number(1, 1 << 20)), ("keep", Number(0, 1000))])),
    (
        "limits",
        Table(&[
            ("handshakes", Number(1, 100_000)),
            ("drain_seconds", Number(0, DAY)),
            ("memory_mib", Number(1, 1 << 20)),
        ]),
    ),
];

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
