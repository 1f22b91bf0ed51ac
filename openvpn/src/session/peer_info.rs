//! What we tell the server about ourselves: peer-info lines, IV_PROTO, the options string.

use adit_tunnel::Transport;

use crate::{
    algorithms::{Cipher, Digest},
    config::{ControlWrap, Framing, Settings},
};

/// The bits of IV_PROTO (facts of OpenVPN 2.6 `ssl.h`). One is announced only if the feature works.
pub mod iv_proto {
    /// Data packets with a peer id.
    pub const DATA_V2: u32 = 1 << 1;
    /// The server may push without being asked.
    pub const REQUEST_PUSH: u32 = 1 << 2;
    /// Data keys from the TLS exporter (RFC 5705).
    pub const TLS_KEY_EXPORT: u32 = 1 << 3;
    /// AUTH_PENDING with keywords.
    pub const AUTH_PENDING: u32 = 1 << 4;
    /// EXIT on the control channel, and `protocol-flags`.
    pub const CC_EXIT_NOTIFY: u32 = 1 << 7;
    /// AUTH_FAILED,TEMP.
    pub const AUTH_FAILED_TEMP: u32 = 1 << 8;
    /// Dynamic tls-crypt.
    pub const DYN_TLS_CRYPT: u32 = 1 << 9;
    /// The epoch format of the data channel (OpenVPN 2.7).
    pub const DATA_EPOCH: u32 = 1 << 10;
    /// The `dns` option, second form.
    pub const DNS_OPTION_V2: u32 = 1 << 11;
    /// Everything we support.
    pub const SUPPORTED: u32 = DATA_V2
        | REQUEST_PUSH
        | TLS_KEY_EXPORT
        | AUTH_PENDING
        | CC_EXIT_NOTIFY
        | AUTH_FAILED_TEMP
        | DYN_TLS_CRYPT
        | DNS_OPTION_V2;
}

/// What IV_PROTO says, after what was withheld.
pub(crate) fn announced(settings: &Settings) -> u32 {
    iv_proto::SUPPORTED & !settings.dangerous.withheld_iv_proto
}

/// The lines of the peer-info, each `NAME=VALUE\n`.
pub(crate) fn peer_info(settings: &Settings) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| lines.push(format!("{name}={value}\n"));
    line("IV_VER", &BEHAVES_LIKE);
    line("IV_PLAT", &platform());
    line("IV_TCPNL", &1);
    line("IV_MTU", &settings.tun_mtu_max);
    if !settings.dangerous.withhold_iv_ncp {
        let offers = |cipher| settings.data_ciphers.contains(&cipher);
        if offers(Cipher::Aes128Gcm) && offers(Cipher::Aes256Gcm) {
            line("IV_NCP", &2);
        }
        let names: Vec<_> = settings.data_ciphers.iter().map(|cipher| cipher.name()).collect();
        line("IV_CIPHERS", &names.join(":"));
    }
    line("IV_PROTO", &announced(settings));
    // Stubs only: we never compress, and what is received compressed is accepted without having been asked for.
    line("IV_LZO_STUB", &1);
    line("IV_COMP_STUB", &1);
    line("IV_COMP_STUBv2", &1);
    line("IV_GUI_VER", &concat!("adit_", env!("CARGO_PKG_VERSION")));
    line("IV_SSO", &"webauth,openurl,crtext");
    if settings.push_peer_info {
        line("IV_SSL", &"rustls_ring");
    }
    for (name, value) in &settings.peer_info {
        line(name, value);
    }
    lines.concat()
}

/// The options string of key method 2, which servers compare with their own and warn about; a server without cipher
/// negotiation takes our cipher from it (OpenVPN 2.6 `options.c`, "occ").
pub(crate) fn options_string(
    settings: &Settings,
    wrap: &ControlWrap,
    tun_mtu: u16,
    transport: Transport,
    remote_is_ipv6: bool,
) -> String {
    let cipher =
        settings.data_ciphers_fallback.or_else(|| settings.data_ciphers.first().copied()).unwrap_or(Cipher::Aes256Gcm);
    let proto = match (transport, remote_is_ipv6) {
        (Transport::Udp, false) => "UDPv4",
        (Transport::Udp, true) => "UDPv6",
        (Transport::Tcp, false) => "TCPv4_CLIENT",
        (Transport::Tcp, true) => "TCPv6_CLIENT",
    };
    let compression = if settings.framing == Framing::None { "" } else { ",comp-lzo" };
    let tls_auth = if matches!(wrap, ControlWrap::TlsAuth { .. }) { ",tls-auth" } else { "" };
    let middle = format!("proto {proto}{compression}");
    occ_string(&middle, tun_mtu, cipher, settings.auth, &format!("{tls_auth},key-method 2,tls-client"))
}

/// The options string of either end; `proto` may have more options behind it.
pub(crate) fn occ_string(proto: &str, tun_mtu: u16, cipher: Cipher, auth: Digest, end: &str) -> String {
    let auth = if cipher.is_aead() { "[null-digest]" } else { auth.name() };
    let key_bits = cipher.key_len() * 8;
    let link_mtu = usize::from(tun_mtu) + LINK_OVERHEAD;
    format!(
        "V4,dev-type tun,link-mtu {link_mtu},tun-mtu {tun_mtu},{proto},cipher {cipher},auth {auth},keysize {key_bits}{end}"
    )
}

/// The cipher a server without negotiation uses, read from its options string.
pub(crate) fn cipher_of_options(options: &str) -> Option<Cipher> {
    options.split(',').find_map(|option| option.strip_prefix("cipher ")).and_then(Cipher::from_name)
}

/// Opcode with peer id, packet id and tag, and what 2.x reserves besides; compared for a warning only.
const LINK_OVERHEAD: usize = 49;
/// Servers turn features on by the version of OpenVPN; this is the one whose behaviour we follow. Our own name stands in
/// IV_GUI_VER.
const BEHAVES_LIKE: &str = "2.6.14";

const fn platform() -> &'static str {
    if cfg!(target_os = "windows") {
        "win"
    } else if cfg!(target_os = "macos") {
        "mac"
    } else if cfg!(target_os = "android") {
        "android"
    } else if cfg!(target_os = "ios") {
        "ios"
    } else if cfg!(target_os = "freebsd") {
        "freebsd"
    } else {
        "linux"
    }
}
