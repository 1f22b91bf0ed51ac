//! Every directive, and what becomes of it.

use std::borrow::Cow;

use super::{
    apply::Context,
    apply::{connection, identity, network, session, tls},
    draft::Trouble,
    outcome::Outcome,
};

/// One directive.
pub(super) struct Directive {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// It may be an inline block.
    pub(super) inline: bool,
    /// It may stand in a `<connection>` block.
    pub(super) in_connection: bool,
}

/// What becomes of a directive.
pub(super) enum Rule {
    /// Depends on its values; the text says what else than "applied" there is.
    Apply(Apply, &'static str),
    /// Depends on its values, and is never more than harmless.
    ByValue(Apply, &'static str),
    Harmless(&'static str),
    Lossy(&'static str),
    Refused(&'static str),
}

/// Applies a directive, or says why it is refused.
pub(super) type Apply = fn(&mut Context<'_>, &[&str]) -> Result<Outcome, Trouble>;

impl Rule {
    pub(super) fn outcome(&self, cx: &mut Context<'_>, arguments: &[&str]) -> Outcome {
        match self {
            Self::Apply(apply, _) | Self::ByValue(apply, _) => apply(cx, arguments).unwrap_or_else(Outcome::Refused),
            Self::Harmless(_) => Outcome::Harmless,
            Self::Lossy(loss) => Outcome::Lossy(Cow::Borrowed(loss)),
            Self::Refused(reason) => Outcome::Refused(Cow::Borrowed(reason)),
        }
    }

    pub(super) const fn summary(&self) -> (&'static str, &'static str) {
        match self {
            Self::Apply(_, text) => ("applied", text),
            Self::ByValue(_, text) => ("by value", text),
            Self::Harmless(text) => ("harmless", text),
            Self::Lossy(text) => ("lossy", text),
            Self::Refused(text) => ("refused", text),
        }
    }
}

/// The directive of this name.
pub(super) fn find(name: &str) -> Option<&'static Directive> {
    TABLE.iter().find(|directive| directive.name == name)
}

/// The known name that is most like this one, if one is like it at all.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > 40 {
        return None;
    }
    let distances = TABLE.iter().map(|directive| (distance(name, directive.name), directive.name));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.min(name.len() / 3)).then_some(nearest)
}

/// How many bytes must be added, left out or changed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

const fn plain(name: &'static str, rule: Rule) -> Directive {
    Directive { name, rule, inline: false, in_connection: false }
}

const fn apply(name: &'static str, apply: Apply, text: &'static str) -> Directive {
    plain(name, Rule::Apply(apply, text))
}

const fn by_value(name: &'static str, apply: Apply, text: &'static str) -> Directive {
    plain(name, Rule::ByValue(apply, text))
}

const fn harmless(name: &'static str, why: &'static str) -> Directive {
    plain(name, Rule::Harmless(why))
}

const fn lossy(name: &'static str, loss: &'static str) -> Directive {
    plain(name, Rule::Lossy(loss))
}

const fn refused(name: &'static str, reason: &'static str) -> Directive {
    plain(name, Rule::Refused(reason))
}

impl Directive {
    const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    const fn in_connection(mut self) -> Self {
        self.in_connection = true;
        self
    }
}

const SERVER: &str = "it is for servers; remove it";
const PUSHED: &str = "only a server says this; remove it";
const COMMAND: &str = "it is a command, not a setting; remove it";
const WINDOWS: &str = "it is about Windows";
const DEVICE: &str = "there is no network device here";
const PROCESS: &str = "the process stays as it was started";
const SCRIPT: &str = "the script is not run";
const TOKEN: &str = "keys on tokens are not supported; use `cert` and `key`, or `pkcs12`";
const PROXY: &str = "proxies are not supported; remove it if the server can be reached directly";
const MANAGEMENT: &str = "there is no management interface";
const LOG: &str = "the log goes to stderr";
const REMOVED: &str = "OpenVPN has removed it as well; remove it";

/// All of them, by theme.
pub(super) const TABLE: &[Directive] = &[
    // Mode.
    apply("client", session::client, ""),
    apply("tls-client", session::tls_client, ""),
    apply("pull", session::pull, ""),
    by_value("mode", session::mode, "`p2p` is harmless, `server` is refused"),
    refused("tls-server", SERVER),
    by_value("dev", session::dev, "`tun`, `tunN` and `null` are harmless, `tap` is refused"),
    by_value("dev-type", session::dev_type, "`tun` is harmless, `tap` is refused"),
    apply(
        "setenv",
        session::setenv,
        "`UV_*` with `push-peer-info`, `IV_GUI_VER`; others are harmless, for they are for scripts",
    ),
    harmless("setenv-safe", "it is for scripts"),
    apply("ignore-unknown-option", session::ignore_unknown_option, ""),
    refused("config", "a profile cannot include another; put its lines here"),
    refused("cd", "it would change where files are looked for; remove it and write whole paths"),
    harmless("compat-mode", "what it brings back is either always on or not supported"),
    // Gateways.
    apply("remote", connection::remote, "").in_connection(),
    apply("proto", connection::proto, "`tcp-server` is refused").in_connection(),
    apply("port", connection::port, "it is the port of the server only").in_connection(),
    apply("rport", connection::port, "").in_connection(),
    apply("lport", connection::lport, "").in_connection(),
    apply("local", connection::local, "an address; names are refused").in_connection(),
    harmless("bind", "without `lport` the system chooses the port").in_connection(),
    by_value("nobind", connection::nobind, "harmless, for it is the default").in_connection(),
    apply("proto-force", connection::proto_force, ""),
    apply("connect-timeout", connection::connect_timeout, "").in_connection(),
    apply("server-poll-timeout", connection::connect_timeout, "").in_connection(),
    apply("connect-retry", connection::connect_retry, "").in_connection(),
    apply("connect-retry-max", connection::connect_retry_max, "").in_connection(),
    apply("remote-random", connection::remote_random, ""),
    lossy("remote-random-hostname", "no random text is put before the names of gateways"),
    refused("ip-remote-hint", "write the address into `remote`"),
    harmless("resolv-retry", "names are resolved anew for each attempt"),
    harmless("preresolve", "names are resolved anew for each attempt"),
    harmless("persist-remote-ip", "names are resolved anew for each attempt"),
    harmless("persist-local-ip", "the system chooses the address"),
    lossy("float", "answers from another address than the gateway's may be dropped").in_connection(),
    harmless("multihome", "it is for servers"),
    lossy("bind-dev", "the outer socket is not bound to a device"),
    lossy("mark", "outer packets are not marked"),
    lossy("passtos", "the type of service is not copied to outer packets"),
    harmless("mtu-disc", "outer packets are sized by `mssfix` and `max-packet-size`").in_connection(),
    harmless("socket-flags", "TCP_NODELAY is always set"),
    harmless("tcp-nodelay", "TCP_NODELAY is always set"),
    apply("sndbuf", connection::sndbuf, ""),
    apply("rcvbuf", connection::rcvbuf, ""),
    refused("http-proxy", PROXY).in_connection(),
    refused("http-proxy-override", PROXY),
    refused("socks-proxy", PROXY).in_connection(),
    harmless("http-proxy-option", "without `http-proxy` it means nothing").in_connection(),
    harmless("http-proxy-retry", "without `http-proxy` it means nothing"),
    harmless("http-proxy-timeout", "without `http-proxy` it means nothing"),
    harmless("http-proxy-user-pass", "without `http-proxy` it means nothing").inline(),
    harmless("socks-proxy-retry", "without `socks-proxy` it means nothing"),
    // Control channel.
    apply("tls-auth", tls::tls_auth, "").inline().in_connection(),
    apply("tls-crypt", tls::tls_crypt, "").inline().in_connection(),
    apply("tls-crypt-v2", tls::tls_crypt_v2, "").inline().in_connection(),
    apply("key-direction", tls::key_direction, "").in_connection(),
    apply("tls-timeout", session::tls_timeout, ""),
    apply("hand-window", session::hand_window, ""),
    apply("tran-window", session::tran_window, ""),
    apply("reneg-sec", session::reneg_sec, ""),
    apply("reneg-bytes", session::reneg_bytes, ""),
    apply("reneg-pkts", session::reneg_packets, ""),
    apply("max-packet-size", connection::max_packet_size, "").in_connection(),
    lossy("tls-exit", "a failed handshake is tried again"),
    harmless("single-session", "a client has only one session"),
    // TLS.
    apply("ca", tls::ca, "").inline(),
    refused("capath", "folders of certificates are not supported; name one file with `ca`"),
    apply("crl-verify", tls::crl_verify, "a file; a folder is refused").inline(),
    apply("peer-fingerprint", tls::peer_fingerprint, "").inline(),
    refused("verify-hash", "use `peer-fingerprint` with the server's own certificate, or put only that CA into `ca`")
        .inline(),
    apply("verify-x509-name", tls::verify_x509_name, ""),
    refused("tls-remote", "write `verify-x509-name NAME name` instead"),
    refused("tls-verify", "scripts are not run, and without it a check would be missing; use `verify-x509-name`"),
    by_value("x509-username-field", tls::x509_username_field, "`CN` is harmless, others are refused"),
    apply("remote-cert-tls", tls::remote_cert_tls, ""),
    apply("remote-cert-ku", tls::remote_cert_ku, ""),
    apply("remote-cert-eku", tls::remote_cert_eku, ""),
    apply("ns-cert-type", tls::ns_cert_type, "`client` is refused"),
    apply("tls-version-min", tls::tls_version_min, "below 1.2 it is lossy, for 1.2 is the lowest"),
    apply("tls-version-max", tls::tls_version_max, "below 1.2 it is refused"),
    apply("tls-cipher", tls::tls_cipher, "lossy where it names suites that are not supported"),
    apply("tls-ciphersuites", tls::tls_ciphersuites, "lossy where it names suites that are not supported"),
    apply("tls-groups", tls::tls_groups, "lossy where it names groups that are not supported"),
    by_value(
        "tls-cert-profile",
        tls::tls_cert_profile,
        "`preferred` is harmless, `legacy` and `insecure` are lossy, `suiteb` is refused",
    ),
    harmless("ecdh-curve", "it is for servers"),
    harmless("dh", "it is for servers").inline(),
    lossy("tls-export-cert", "the server's certificate is not written to a file"),
    harmless("x509-track", "it is for scripts"),
    harmless("keying-material-exporter", "it is for scripts"),
    lossy("engine", "OpenSSL is not used"),
    lossy("providers", "OpenSSL is not used"),
    harmless("prng", "the system's random numbers are used"),
    harmless("use-prediction-resistance", "the system's random numbers are used"),
    // Who we are.
    apply("cert", identity::cert, "").inline(),
    apply("extra-certs", identity::extra_certs, "").inline(),
    apply("key", identity::key, "").inline(),
    apply("pkcs12", identity::pkcs12, "").inline(),
    apply("askpass", identity::askpass, "without a file it is harmless: whoever is needed is asked"),
    apply("auth-user-pass", identity::auth_user_pass, "").inline(),
    lossy("auth-nocache", "the password is kept, for renegotiations need it; it is wiped at the end"),
    by_value(
        "auth-retry",
        identity::auth_retry,
        "`none` is harmless, the others are lossy: rejected passwords are not tried again",
    ),
    apply("static-challenge", identity::static_challenge, ""),
    apply("push-peer-info", session::push_peer_info, ""),
    lossy("auth-token", "a token comes from the server; the password is used"),
    lossy("auth-token-user", "a token comes from the server; the user of `auth-user-pass` is used"),
    refused("cryptoapicert", "the store of Windows is not supported; use `cert` and `key`, or `pkcs12`"),
    refused("pkcs11-providers", TOKEN),
    refused("pkcs11-id", TOKEN),
    refused("pkcs11-id-management", TOKEN),
    refused("pkcs11-protected-authentication", TOKEN),
    refused("pkcs11-cert-private", TOKEN),
    refused("pkcs11-private-mode", TOKEN),
    refused("pkcs11-pin-cache", TOKEN),
    refused("pkcs11-id-type", TOKEN),
    refused("pkcs11-sign-mode", TOKEN),
    refused("pkcs11-slot", TOKEN),
    refused("pkcs11-slot-type", TOKEN),
    // Data channel.
    apply(
        "cipher",
        session::cipher,
        "unsupported ones are lossy, for a server that negotiates chooses another; `none` is refused",
    ),
    apply("data-ciphers", session::data_ciphers, "unsupported ones are left out (lossy); `none` is refused"),
    apply("ncp-ciphers", session::data_ciphers, "the old name of `data-ciphers`"),
    apply("data-ciphers-fallback", session::data_ciphers_fallback, "unsupported ones are lossy; `none` is refused"),
    lossy("ncp-disable", "ciphers are negotiated with servers that do so"),
    apply("auth", session::auth, "`none` and unknown digests are refused"),
    harmless("keysize", "no supported cipher has keys of variable size"),
    by_value("key-method", session::key_method, "`2` is harmless, `1` is refused"),
    refused("secret", "static keys have no forward secrecy; ask for a profile with TLS (`client`, `ca`)").inline(),
    refused("no-replay", "the protection against replayed packets cannot be switched off; remove it"),
    refused("no-iv", REMOVED),
    apply("replay-window", session::replay_window, "its time in seconds is not used"),
    lossy("replay-persist", "counters are not kept in a file; each connection has new keys"),
    harmless("mute-replay-warnings", "it is about the log"),
    apply("compress", session::compress, "`lzo` is refused"),
    apply("comp-lzo", session::compress, "`no` is applied; everything else is refused"),
    harmless("comp-noadapt", "nothing is compressed"),
    by_value(
        "allow-compression",
        session::allow_compression,
        "`no` and `asym` are harmless, `yes` is lossy: nothing is compressed",
    ),
    by_value("fragment", session::fragment, "`0` is harmless, everything else is refused").in_connection(),
    refused("mtu-dynamic", "it is an old name of `fragment`, which is not supported; remove it here and on the server"),
    apply("mssfix", connection::mssfix, "").in_connection(),
    apply("tun-mtu", connection::tun_mtu, "").in_connection(),
    apply("tun-mtu-max", session::tun_mtu_max, "").in_connection(),
    harmless("tun-mtu-extra", DEVICE).in_connection(),
    lossy("link-mtu", "the size of inner packets is that of `tun-mtu`").in_connection(),
    lossy("udp-mtu", "the size of inner packets is that of `tun-mtu`").in_connection(),
    lossy("mtu-test", "the path is not measured"),
    lossy("shaper", "output is not limited"),
    harmless("fast-io", "input and output work in batches anyway"),
    harmless("disable-dco", "there is no offload to the kernel"),
    harmless("disable-occ", "options are compared by the server only"),
    // Keepalive and end.
    apply("keepalive", session::keepalive, ""),
    apply("ping", session::ping, ""),
    apply("ping-restart", session::ping_restart, ""),
    apply("ping-exit", session::ping_exit, ""),
    harmless("ping-timer-rem", "a client always has a remote address"),
    apply("inactive", session::inactive, ""),
    apply("session-timeout", session::session_timeout, ""),
    apply("explicit-exit-notify", connection::explicit_exit_notify, "").in_connection(),
    lossy("remap-usr1", "what restarts the tunnel does not end the program"),
    // Network inside the tunnel.
    apply("pull-filter", network::pull_filter, ""),
    apply("route-nopull", network::route_nopull, ""),
    apply("ifconfig", network::local_option, ""),
    apply("ifconfig-ipv6", network::local_option, ""),
    apply("topology", network::local_option, ""),
    apply("route", network::route, "a route to a name is lossy"),
    apply("route-ipv6", network::local_option, ""),
    apply("route-gateway", network::local_option, "`dhcp` is lossy"),
    apply("route-ipv6-gateway", network::local_option, ""),
    apply("route-metric", network::local_option, ""),
    apply("redirect-gateway", network::local_option, "`block-local` is lossy"),
    by_value("redirect-private", network::redirect_private, "it only changes how routes are set"),
    apply("block-ipv6", network::local_option, ""),
    apply("block-outside-dns", network::local_option, ""),
    apply("dhcp-option", network::local_option, "DNS servers and domains; other types are lossy"),
    apply("dns", network::local_option, "encrypted DNS is lossy"),
    refused("client-nat", "addresses are not translated; use those of the network behind the server"),
    lossy("allow-pull-fqdn", "names in pushed routes are not resolved"),
    harmless("allow-recursive-routing", "there are no routes to loop over"),
    harmless("max-routes", "there is a limit anyway"),
    harmless("route-delay", DEVICE),
    harmless("route-method", WINDOWS),
    harmless("route-noexec", DEVICE),
    harmless("ifconfig-noexec", DEVICE),
    harmless("ifconfig-nowarn", "it is about the log"),
    harmless("iproute", DEVICE),
    harmless("lladdr", DEVICE),
    harmless("dev-node", DEVICE),
    harmless("tun-ipv6", "IPv6 is always possible"),
    harmless("txqueuelen", DEVICE),
    harmless("persist-tun", DEVICE),
    harmless("ip-win32", WINDOWS),
    harmless("tap-sleep", WINDOWS),
    harmless("win-sys", WINDOWS),
    harmless("windows-driver", WINDOWS),
    harmless("register-dns", WINDOWS),
    harmless("dhcp-renew", WINDOWS),
    harmless("dhcp-release", WINDOWS),
    harmless("dhcp-pre-release", WINDOWS),
    harmless("dhcp-internal", WINDOWS),
    harmless("show-net-up", WINDOWS),
    harmless("service", WINDOWS),
    harmless("pause-exit", WINDOWS),
    harmless("allow-nonadmin", WINDOWS),
    refused("msg-channel", "it is internal to OpenVPN on Windows; remove it"),
    // Scripts, plugins, management.
    harmless("script-security", "no scripts are run"),
    lossy("up", SCRIPT),
    lossy("down", SCRIPT),
    lossy("route-up", SCRIPT),
    lossy("route-pre-down", SCRIPT),
    lossy("ipchange", SCRIPT),
    harmless("up-delay", "no scripts are run"),
    harmless("down-pre", "no scripts are run"),
    harmless("up-restart", "no scripts are run"),
    refused("plugin", "plugins are not supported; remove it if it only changes this machine"),
    harmless("tmp-dir", "no scripts are run"),
    lossy("management", MANAGEMENT),
    lossy("management-client", MANAGEMENT),
    lossy("management-client-user", MANAGEMENT),
    lossy("management-client-group", MANAGEMENT),
    lossy("management-forget-disconnect", MANAGEMENT),
    lossy("management-hold", MANAGEMENT),
    lossy("management-log-cache", MANAGEMENT),
    lossy("management-signal", MANAGEMENT),
    lossy("management-up-down", MANAGEMENT),
    lossy("management-query-passwords", "passwords are asked for at the terminal"),
    refused("management-client-auth", SERVER),
    refused("management-client-pf", SERVER),
    refused("management-query-proxy", "there is no management interface to ask for a proxy; remove it"),
    refused("management-query-remote", "there is no management interface to ask for the gateway; write `remote`"),
    refused("management-external-key", "there is no management interface to sign; use `cert` and `key`, or `pkcs12`"),
    refused("management-external-cert", "there is no management interface to ask; use `cert` and `key`, or `pkcs12`"),
    // The process and its log.
    harmless("verb", "the log has its own level"),
    harmless("mute", "it is about the log"),
    harmless("errors-to-stderr", "they go there"),
    harmless("suppress-timestamps", "it is about the log"),
    harmless("machine-readable-output", "the log can be JSON"),
    harmless("echo", "it is for the log"),
    harmless("parameter", "it is for the log"),
    lossy("log", LOG),
    lossy("log-append", LOG),
    lossy("syslog", LOG),
    lossy("daemon", "the program stays in the foreground"),
    lossy("status", "no status file is written"),
    harmless("status-version", "no status file is written"),
    lossy("writepid", "no file with the process id is written"),
    lossy("memstats", "no file of counters is written"),
    harmless("user", PROCESS),
    harmless("group", PROCESS),
    harmless("chroot", PROCESS),
    harmless("nice", PROCESS),
    harmless("setcon", PROCESS),
    lossy("mlock", "memory is not locked; keys may reach the swap"),
    harmless("persist-key", "keys are read once"),
    refused("gremlin", "it damages packets on purpose; remove it"),
    // Commands.
    refused("help", COMMAND),
    refused("version", COMMAND),
    refused("genkey", COMMAND),
    refused("mktun", COMMAND),
    refused("rmtun", COMMAND),
    refused("test-crypto", COMMAND),
    refused("show-adapters", COMMAND),
    refused("show-ciphers", COMMAND),
    refused("show-curves", COMMAND),
    refused("show-digests", COMMAND),
    refused("show-engines", COMMAND),
    refused("show-gateway", COMMAND),
    refused("show-groups", COMMAND),
    refused("show-net", COMMAND),
    refused("show-pkcs11-ids", COMMAND),
    refused("show-pkcs11-objects", COMMAND),
    refused("show-pkcs11-slots", COMMAND),
    refused("show-tls", COMMAND),
    refused("show-valid-subnets", COMMAND),
    // Of servers.
    refused("server", SERVER),
    refused("server-ipv6", SERVER),
    refused("server-bridge", SERVER),
    refused("push", SERVER),
    refused("push-reset", SERVER),
    refused("push-remove", SERVER),
    refused("ifconfig-pool", SERVER),
    refused("ifconfig-pool-linear", SERVER),
    refused("ifconfig-pool-persist", SERVER),
    refused("ifconfig-ipv6-pool", SERVER),
    refused("ifconfig-push", SERVER),
    refused("ifconfig-ipv6-push", SERVER),
    refused("ifconfig-push-constraint", SERVER),
    refused("iroute", SERVER),
    refused("iroute-ipv6", SERVER),
    refused("client-to-client", SERVER),
    refused("duplicate-cn", SERVER),
    refused("disable", SERVER),
    refused("client-config-dir", SERVER),
    refused("ccd-exclusive", SERVER),
    refused("client-connect", SERVER),
    refused("client-disconnect", SERVER),
    refused("client-crresponse", SERVER),
    refused("client-cert-not-required", SERVER),
    refused("verify-client-cert", SERVER),
    refused("username-as-common-name", SERVER),
    refused("auth-user-pass-verify", SERVER),
    refused("auth-user-pass-optional", SERVER),
    refused("auth-gen-token", SERVER),
    refused("auth-gen-token-secret", SERVER).inline(),
    refused("tls-crypt-v2-verify", SERVER),
    refused("force-tls-key-material-export", SERVER),
    refused("opt-verify", SERVER),
    refused("no-name-remapping", REMOVED),
    refused("compat-names", REMOVED),
    refused("learn-address", SERVER),
    refused("hash-size", SERVER),
    refused("bcast-buffers", SERVER),
    refused("tcp-queue-limit", SERVER),
    refused("connect-freq", SERVER),
    refused("connect-freq-initial", SERVER),
    refused("max-clients", SERVER),
    refused("max-routes-per-client", SERVER),
    refused("stale-routes-check", SERVER),
    refused("port-share", SERVER),
    refused("vlan-accept", SERVER),
    refused("vlan-pvid", SERVER),
    refused("vlan-tagging", SERVER),
    // Pushed.
    refused("key-derivation", PUSHED),
    refused("peer-id", PUSHED),
    refused("protocol-flags", PUSHED),
    refused("push-continuation", PUSHED),
];
