//! Which keys a gateway of a TOML file has.

use super::super::schema::{
    Kind::{self, Choice, Choices, Flag, Named, Number, Secret, Table, Tables, Text, Texts},
    Manner,
};

/// Files of gateways. Nobody is asked for a secret: a gateway starts without somebody at its terminal.
pub(super) const GATEWAY: Manner = Manner {
    example: "examples/serve.toml",
    secret: "write `{ file = \"…\" }` or `{ env = \"…\" }`",
    protocols: &[("ikev2", IKEV2), ("openvpn", OPENVPN)],
};

/// Keys of `protocol = "ikev2"`, without the protocol.
pub(super) const IKEV2: &[(&str, Kind)] = &[
    ("listen", Texts),
    ("certificate", Text),
    ("key", Text),
    ("pool", Texts),
    ("users", USERS),
    ("psk", Tables(PSK)),
    ("client_ca", Texts),
    ("eap", Choices(&["mschapv2", "tls", "ttls", "gtc", "md5"])),
    ("routes", Texts),
    ("dns", Texts),
    ("pkcs12", Text),
    ("passphrase", Secret),
    ("identity", Text),
    ("client_crl", Texts),
    ("ttls_inner", Choices(&["pap", "mschapv2", "eap-mschapv2", "eap-md5", "eap-gtc"])),
    ("eap_tls", Table(EAP_TLS)),
    ("ike_proposals", Text),
    ("esp_proposals", Text),
    ("legacy", Flag),
    ("signature", Choice(&["auto", "rsa-pkcs1", "rsa-pss", "method1"])),
    ("fragmentation", Flag),
    ("fragment_size", Number(296, 1500)),
    ("mobike", Flag),
    ("liveness_seconds", Number(1, MAX)),
    ("child_rekey_seconds", Number(0, MAX)),
    ("ike_rekey_seconds", Number(0, MAX)),
    ("retransmit", Table(RETRANSMIT)),
    ("replay_window", Number(64, 65_536)),
    ("mtu", Number(576, 65_535)),
    ("handshake_seconds", Number(1, MAX)),
    ("max_peers", PEERS),
    ("max_half_open", PEERS),
    ("max_half_open_per_address", PEERS),
    ("cookie_threshold", Number(0, MAX_PEERS)),
    ("search_domains", Texts),
    ("split_domains", Texts),
    ("single", Flag),
    ("allow", Texts),
    ("tun_name", Text),
];

/// Keys of `protocol = "openvpn"`, without the protocol.
pub(super) const OPENVPN: &[(&str, Kind)] = &[
    ("listen", Texts),
    ("certificate", Text),
    ("key", Text),
    ("pool", Texts),
    ("users", USERS),
    ("client_ca", Texts),
    ("client_certificate", Choice(&["required", "optional", "none"])),
    ("tls_crypt", Text),
    ("routes", Texts),
    ("dns", Texts),
    ("pkcs12", Text),
    ("passphrase", Secret),
    ("client_crl", Texts),
    ("tls_auth", Text),
    ("key_direction", Number(0, 1)),
    ("tls_crypt_v2", Text),
    ("tls_crypt_v2_force_cookie", Flag),
    ("tls_crypt_v2_max_age_days", Number(1, MAX)),
    ("auth", Text),
    ("data_ciphers", Texts),
    ("data_ciphers_fallback", Text),
    ("tls_version_min", VERSION),
    ("tls_version_max", VERSION),
    ("reneg_seconds", Number(0, MAX)),
    ("hand_window_seconds", Number(1, MAX)),
    ("ping_seconds", Number(1, 86_400)),
    ("ping_restart_seconds", Number(2, MAX)),
    ("replay_window", Number(64, 65_536)),
    ("mtu", Number(576, 65_535)),
    ("max_peers", PEERS),
    ("max_half_open", PEERS),
    ("max_half_open_per_address", PEERS),
    ("search_domains", Texts),
    ("split_domains", Texts),
    ("single", Flag),
    ("allow", Texts),
    ("tun_name", Text),
];

const USERS: Kind = Named(USER);
const USER: &[(&str, Kind)] = &[("password", Secret), ("nt_hash", Secret)];
const PSK: &[(&str, Kind)] = &[("key", Secret), ("identity", Text)];
const EAP_TLS: &[(&str, Kind)] = &[("min_version", VERSION), ("max_version", VERSION)];
const VERSION: Kind = Choice(&["1.2", "1.3"]);
const RETRANSMIT: &[(&str, Kind)] =
    &[("first_ms", Number(1, MAX)), ("limit_ms", Number(1, MAX)), ("tries", Number(1, 20))];

const MAX: i64 = u32::MAX as i64;
/// As many as both protocols take.
const MAX_PEERS: i64 = 1_000_000;
const PEERS: Kind = Number(1, MAX_PEERS);
