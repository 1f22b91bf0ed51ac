//! What a session needs to know before it starts. A [`Config`] that exists is valid.

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use adit_pki::ClientIdentity;
pub use adit_tunnel::Family;
use adit_tunnel::{KeySink, Secret, Transport};
use bytes::Bytes;
use pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::{
    algorithms::{Cipher, Digest},
    crypto::{self, Crypto},
    keys::StaticKey,
    options::PulledOptions,
    tls::TlsTemplate,
};

/// Everything a [`crate::Session`] needs to know; made by [`Config::builder`] or from a [`crate::Profile`].
#[derive(Debug)]
pub struct Config {
    pub(crate) remotes: Vec<Remote>,
    pub(crate) server: ServerCheck,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) settings: Settings,
    /// Made once; the sessions' own differ in their clocks alone.
    pub(crate) tls: TlsTemplate,
}

impl Config {
    /// Starts with the gateways; how they are verified comes next.
    #[must_use]
    pub fn builder(remotes: Vec<Remote>) -> ConfigBuilder<WantsServerCheck> {
        ConfigBuilder { remotes, state: WantsServerCheck(()) }
    }

    /// The gateways, in the order to try them.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// The certificates we show, our own first; none where a user name and password are enough.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Logs the secrets of TLS of all sessions that are made from now on: whoever reads them can read the control channel.
    pub fn log_keys(&mut self, keys: &KeySink) {
        self.tls.log_keys(keys);
    }

    /// Everything that has a default.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is weak about this configuration, one sentence each, for a person to read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.server.checks_role() {
            warnings.push(
                "nothing checks that the server's certificate belongs to a server: any holder of a certificate of the \
                 same CA can pose as it; add `remote-cert-tls server` or `verify-x509-name`"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Withholds features from the server, for tests and odd servers. Never needed with a healthy one.
    pub fn dangerous(&mut self) -> &mut Dangerous {
        &mut self.settings.dangerous
    }
}

/// Builds a [`Config`]; the type says what is still missing.
#[derive(Debug)]
pub struct ConfigBuilder<State> {
    remotes: Vec<Remote>,
    state: State,
}

/// How the server is verified must be said next.
#[derive(Debug)]
pub struct WantsServerCheck(());

/// How we prove who we are must be said next.
#[derive(Debug)]
pub struct WantsIdentity {
    server: ServerCheck,
}

/// Nothing is missing.
#[derive(Debug)]
pub struct Complete {
    server: ServerCheck,
    identity: Option<ClientIdentity>,
    credentials: Option<Credentials>,
    settings: Settings,
}

impl ConfigBuilder<WantsServerCheck> {
    /// How the server is verified.
    #[must_use]
    pub fn server_check(self, server: ServerCheck) -> ConfigBuilder<WantsIdentity> {
        ConfigBuilder { remotes: self.remotes, state: WantsIdentity { server } }
    }
}

impl ConfigBuilder<WantsIdentity> {
    /// A client certificate, a user name with password, or both.
    #[must_use]
    pub fn identity(
        self,
        identity: Option<ClientIdentity>,
        credentials: Option<Credentials>,
    ) -> ConfigBuilder<Complete> {
        let settings = Settings::default();
        let state = Complete { server: self.state.server, identity, credentials, settings };
        ConfigBuilder { remotes: self.remotes, state }
    }
}

impl ConfigBuilder<Complete> {
    /// Changes settings from their defaults.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.state.settings);
        self
    }

    /// Checks everything together, and makes of it what all sessions share.
    ///
    /// # Errors
    /// [`ConfigError`] names what is missing, contradictory or unusable.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        self.remotes.iter_mut().filter_map(|remote| remote.connect_timeout.as_mut()).for_each(bound);
        let Complete { server, identity, credentials, mut settings } = self.state;
        settings.times().for_each(bound);
        let complete = Complete { server, identity, credentials, settings };
        if let Some(first) = complete.mistakes(&self.remotes).into_iter().next() {
            return Err(first);
        }
        let Complete { server, identity, credentials, settings } = complete;
        let tls = TlsTemplate::new(&server, identity.as_ref(), &settings.tls)?;
        let certificates = identity.map(|identity| identity.chain.clone()).unwrap_or_default();
        Ok(Config { remotes: self.remotes, server, certificates, credentials, settings, tls })
    }
}

impl ConfigBuilder<Complete> {
    /// All that is wrong; [`Self::build`] says the first of it.
    pub(crate) fn mistakes(&self) -> Vec<ConfigError> {
        self.state.mistakes(&self.remotes)
    }
}

impl Complete {
    fn mistakes(&self, remotes: &[Remote]) -> Vec<ConfigError> {
        let Self { server, identity, credentials, settings } = self;
        let mut found = Vec::new();
        let mut demand = |is_fine: bool, error: ConfigError| {
            if !is_fine {
                found.push(error);
            }
        };
        demand(!remotes.is_empty(), ConfigError::NoRemote);
        demand(!(server.ca.is_empty() && server.fingerprints.is_empty()), ConfigError::NoServerCheck);
        let chains = !server.ca.is_empty() || server.fingerprints.is_empty();
        demand(chains || server.crls.is_empty(), ConfigError::CrlWithoutCa);
        let masks = server.key_usage.as_ref();
        demand(!masks.is_some_and(|masks| masks.contains(&0)), ConfigError::EmptyKeyUsage);
        demand(identity.is_some() || credentials.is_some(), ConfigError::NoIdentity);
        demand(!settings.data_ciphers.is_empty(), ConfigError::NoCipher);
        let versions = settings.tls.min.zip(settings.tls.max);
        demand(versions.is_none_or(|(min, max)| min <= max), ConfigError::TlsVersions);
        if let Err(error) = PulledOptions::from_local(settings) {
            found.push(ConfigError::Option(error.to_string()));
        }
        found.extend(TlsTemplate::mistakes(server, identity.as_ref(), &settings.tls));
        found
    }
}

/// Why a configuration cannot work, and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No gateway.
    #[error("no gateway to connect to; add `remote HOST PORT`")]
    NoRemote,
    /// Anybody could pose as the server.
    #[error("nothing to verify the server by; add `ca` or `peer-fingerprint`")]
    NoServerCheck,
    /// Neither a certificate nor a user.
    #[error("nothing to prove who we are; add `cert` and `key`, `pkcs12` or `auth-user-pass`")]
    NoIdentity,
    /// No cipher we know is allowed.
    #[error("no cipher is left for the data channel; add one to `data-ciphers`")]
    NoCipher,
    /// The TLS versions contradict each other.
    #[error("`tls-version-min` is above `tls-version-max`; remove one of them")]
    TlsVersions,
    /// A key without its certificate.
    #[error("`key` has no certificate; add its `cert`")]
    NoCertificate,
    /// A certificate of ours makes no sense.
    #[error("certificate {number} of `cert` cannot be read; copy it again from whoever issued it")]
    Certificate {
        /// Counted from 1, in the order in which they are sent.
        number: usize,
    },
    /// The private key is another's.
    #[error("`key` does not belong to `cert`; use the two that were made together")]
    KeyMismatch,
    /// ring cannot sign with an RSA key of this size.
    #[error(
        "`key` is an RSA key of {bits} bits, and only 2048 to 4096 bits can be used; make a new key and certificate, or \
         ask whoever issued them"
    )]
    RsaKeySize {
        /// Bits of its modulus, as its certificate says.
        bits: usize,
    },
    /// ring cannot sign with this key.
    #[error(
        "`key` cannot be used ({0}): RSA of 2048 to 4096 bits, ECDSA on P-256 and P-384, and Ed25519 can; make a new key \
         and certificate"
    )]
    Key(String),
    /// A certificate of `ca` cannot be read as a trust anchor.
    #[error("certificate {number} of `ca` cannot be used ({reason}); copy it again from the server's administrator")]
    Ca {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A list of `crl-verify` cannot be read.
    #[error(
        "list {number} of `crl-verify` cannot be used ({reason}); make it anew, for example with `openssl ca -gencrl \
         -crlexts SECTION`"
    )]
    Crl {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// `crl-verify`, but no chain to look for in the lists.
    #[error(
        "`crl-verify` needs `ca`: by `peer-fingerprint` alone nobody's chain is looked at; add `ca`, or remove \
         `crl-verify` and the fingerprints that are no longer good"
    )]
    CrlWithoutCa,
    /// A mask that every certificate fulfils.
    #[error("a value 0 of `remote-cert-ku` would accept every certificate; write `remote-cert-tls server`")]
    EmptyKeyUsage,
    /// A list of groups or suites without any we have.
    #[error("`{directive}` names nothing that is supported: {names}; remove it")]
    TlsNames {
        /// The directive of the list.
        directive: &'static str,
        /// The list.
        names: String,
    },
    /// rustls refuses the choice of versions and suites.
    #[error("versions, suites and groups of TLS do not fit together: {0}")]
    Tls(String),
    /// A line that a server could push as well cannot be used.
    #[error("{0}")]
    Option(String),
}

impl ConfigError {
    /// The directives one of which is to be changed, the likeliest first.
    pub(crate) const fn directives(&self) -> &'static [&'static str] {
        match self {
            Self::TlsVersions => &["tls-version-min", "tls-version-max"],
            Self::NoCertificate | Self::KeyMismatch | Self::RsaKeySize { .. } | Self::Key(_) => &["pkcs12", "key"],
            Self::Certificate { .. } => &["pkcs12", "cert"],
            Self::Ca { .. } => &["ca", "pkcs12"],
            Self::Crl { .. } | Self::CrlWithoutCa => &["crl-verify"],
            Self::EmptyKeyUsage => &["remote-cert-ku"],
            Self::NoCipher => &["data-ciphers", "ncp-ciphers"],
            Self::TlsNames { .. } | Self::Tls(_) => &["tls-cipher", "tls-ciphersuites", "tls-groups"],
            Self::NoRemote | Self::NoServerCheck | Self::NoIdentity | Self::Option(_) => &[],
        }
    }
}

/// One gateway: a `remote` line, or a `<connection>` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// UDP or TCP.
    pub transport: Transport,
    /// `None` tries IPv6 and IPv4.
    pub family: Option<Family>,
    /// Replaces [`Settings::control_wrap`] for this gateway.
    pub control_wrap: Option<ControlWrap>,
    /// Replaces [`Settings::explicit_exit_notify`] for this gateway.
    pub explicit_exit_notify: Option<u32>,
    /// Replaces [`Settings::connect_timeout`] for this gateway.
    pub connect_timeout: Option<Duration>,
    /// Replaces [`Settings::tun_mtu`] for this gateway.
    pub tun_mtu: Option<u16>,
    /// Replaces [`Settings::mssfix`] for this gateway.
    pub mssfix: Option<Mssfix>,
}

impl Remote {
    /// A gateway without settings of its own.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, transport: Transport) -> Self {
        Self {
            host: host.into(),
            port,
            transport,
            family: None,
            control_wrap: None,
            explicit_exit_notify: None,
            connect_timeout: None,
            tun_mtu: None,
            mssfix: None,
        }
    }
}

/// How the server's certificate is checked.
#[derive(Debug, Clone, Default)]
pub struct ServerCheck {
    /// Trust anchors (`ca`). With none, one of [`Self::fingerprints`] must match, and the chain is not looked at.
    pub ca: Vec<CertificateDer<'static>>,
    /// SHA-256 of accepted leaf certificates (`peer-fingerprint`); empty accepts any that the chain proves.
    pub fingerprints: Vec<[u8; 32]>,
    /// Acceptable values of the key usage extension, each a bit mask as `remote-cert-ku` writes it; empty accepts any.
    /// `Some` with no value only demands that the extension is there (`remote-cert-tls`).
    pub key_usage: Option<Vec<u16>>,
    /// The extended key usage that must be there, as dotted OID (`remote-cert-eku`; `remote-cert-tls server` means
    /// 1.3.6.1.5.5.7.3.1).
    pub extended_key_usage: Option<String>,
    /// The old Netscape extension must say "server" (`ns-cert-type server`).
    pub netscape_server: bool,
    /// The name the subject must have (`verify-x509-name`).
    pub name: Option<NameCheck>,
    /// Revocation lists (`crl-verify`).
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl ServerCheck {
    /// Whether anything tells the server from other holders of certificates of the same CA.
    #[must_use]
    pub fn checks_role(&self) -> bool {
        self.extended_key_usage.is_some()
            || self.netscape_server
            || self.name.is_some()
            || !self.fingerprints.is_empty()
            || self.key_usage.as_ref().is_some_and(|masks| !masks.is_empty())
    }
}

/// `verify-x509-name`: no wildcards, everything compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameCheck {
    /// The whole subject, as OpenVPN writes it: `C=DE, O=Example, CN=server`.
    Subject(String),
    /// The common name.
    CommonName(String),
    /// The beginning of the common name.
    CommonNamePrefix(String),
}

/// User name and password (`auth-user-pass`).
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How control packets are wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlWrap {
    /// Not at all.
    None,
    /// `tls-auth`: an HMAC over each packet.
    TlsAuth {
        /// The shared key.
        key: StaticKey,
        /// Which half each side sends with.
        direction: KeyDirection,
        /// The HMAC's digest: that of `auth`.
        digest: Digest,
    },
    /// `tls-crypt`: authenticated and encrypted with one key shared by all clients.
    TlsCrypt(StaticKey),
    /// `tls-crypt-v2`: the same with a key of our own, which we bring along in wrapped form.
    TlsCryptV2 {
        /// Our key.
        key: StaticKey,
        /// The key as only the server can unwrap it, with its length at the end; at most 1024 bytes.
        wrapped: Bytes,
    },
}

/// `key-direction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyDirection {
    /// Not given: the first key for both directions.
    Bidirectional,
    /// 0: send with the first key, receive with the second.
    Normal,
    /// 1: send with the second key, receive with the first. The usual choice of clients.
    Inverse,
}

/// What packets look like where compression was configured once. We never compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// No framing (no `compress`, no `comp-lzo`).
    None,
    /// One byte before each packet (`comp-lzo no`).
    V1,
    /// One byte swapped with the packet's first, which moves to the end (`compress`, `compress stub`, `compress lz4`).
    V1Swap,
    /// Nothing, unless the packet's first byte is 0x50 (`compress stub-v2`, `compress lz4-v2`).
    V2,
}

/// `mssfix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mssfix {
    /// `mssfix 0`.
    Off,
    /// `mssfix N`: inner TCP segments such that the datagram's UDP payload has at most this many bytes.
    Payload(u16),
    /// `mssfix N mtu`: such that the outer IP packet has at most this many bytes.
    OuterIp(u16),
}

/// `tls-version-min`, `tls-version-max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What of TLS is configurable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Lowest version; `None` is TLS 1.2.
    pub min: Option<TlsVersion>,
    /// Highest version; `None` is TLS 1.3.
    pub max: Option<TlsVersion>,
    /// Key exchange groups by preference, as `tls-groups` names them; empty is the default.
    pub groups: Vec<String>,
    /// Cipher suites of TLS 1.2, as `tls-cipher` names them; empty is the default.
    pub ciphers: Vec<String>,
    /// Cipher suites of TLS 1.3, as `tls-ciphersuites` names them; empty is the default.
    pub ciphersuites: Vec<String>,
}

/// `pull-filter`: the first rule whose text begins the pushed option decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFilter {
    /// What to do with a match.
    pub action: PullAction,
    /// Compared with the beginning of the pushed option.
    pub prefix: String,
}

/// What to do with a pushed option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullAction {
    /// Use it.
    Accept,
    /// Leave it out.
    Ignore,
    /// End the session and try again.
    Reject,
}

/// `static-challenge`: one more line to ask the user for, sent together with the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticChallenge {
    /// The question.
    pub text: String,
    /// Whether typing is visible.
    pub echo: bool,
    /// `concat`: the answer is appended to the password instead of the `SCRV1` form.
    pub concat: bool,
}

/// Everything that has a default. Times are OpenVPN 2.6's unless said otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How control packets are wrapped.
    pub control_wrap: ControlWrap,
    /// Ciphers offered, the most preferred first (`data-ciphers`).
    pub data_ciphers: Vec<Cipher>,
    /// The cipher with a server that cannot negotiate (`data-ciphers-fallback`, or `cipher`).
    pub data_ciphers_fallback: Option<Cipher>,
    /// The digest of CBC ciphers and of `tls-auth` (`auth`).
    pub auth: Digest,
    /// Framing before the server pushes another.
    pub framing: Framing,
    /// Versions and suites of TLS.
    pub tls: TlsSettings,
    /// Longest time for a TLS handshake with key exchange (`hand-window`).
    pub hand_window: Duration,
    /// First wait before a control packet is sent again, doubling (`tls-timeout`).
    pub tls_timeout: Duration,
    /// How long an old key remains usable after a renegotiation (`tran-window`).
    pub tran_window: Duration,
    /// We renegotiate this long after the last key; zero leaves it to the server (`reneg-sec`).
    pub reneg_sec: Duration,
    /// We renegotiate after this many bytes in one direction; 0 never (`reneg-bytes`).
    pub reneg_bytes: u64,
    /// We renegotiate after this many packets in one direction; 0 never (`reneg-pkts`).
    pub reneg_packets: u64,
    /// Send a ping after so long without sending (`ping`).
    pub ping: Option<Duration>,
    /// Start over after so long without receiving (`ping-restart`). Zero: never, not even before the server's options are
    /// there.
    pub ping_restart: Option<Duration>,
    /// End for good after so long without receiving (`ping-exit`).
    pub ping_exit: Option<Duration>,
    /// End after so long with less than so many bytes of traffic (`inactive`).
    pub inactive: Option<(Duration, u64)>,
    /// End this long after the start (`session-timeout`).
    pub session_timeout: Option<Duration>,
    /// Over UDP, tell the server so many times that we leave (`explicit-exit-notify`).
    pub explicit_exit_notify: Option<u32>,
    /// Size of the data channel's replay window in packets (`replay-window`).
    pub replay_window: u32,
    /// Largest inner packet (`tun-mtu`).
    pub tun_mtu: u16,
    /// Largest inner packet a server may push, told as IV_MTU (`tun-mtu-max`).
    pub tun_mtu_max: u16,
    /// Limits inner TCP segments (`mssfix`).
    pub mssfix: Mssfix,
    /// Largest control datagram including IP and UDP headers (`max-packet-size`).
    pub max_packet_size: u16,
    /// Ask the server for its options (`pull`).
    pub pull: bool,
    /// Filters pushed options (`pull-filter`).
    pub pull_filters: Vec<PullFilter>,
    /// Ignores pushed routes and DNS (`route-nopull`).
    pub route_nopull: bool,
    /// Lines of the profile that a server could push as well (`ifconfig`, `route`, `dhcp-option`, …), applied first.
    pub local_options: Vec<String>,
    /// One more question to the user.
    pub static_challenge: Option<StaticChallenge>,
    /// Tell the server more about us (`push-peer-info`).
    pub push_peer_info: bool,
    /// Further lines of the peer-info, such as `UV_*` variables.
    pub peer_info: Vec<(String, String)>,
    /// Longest time until the server answers at all (`connect-timeout`, `server-poll-timeout`).
    pub connect_timeout: Duration,
    /// First wait between rounds over all gateways (`connect-retry`).
    pub connect_retry: Duration,
    /// Longest wait between rounds (second value of `connect-retry`).
    pub connect_retry_max_wait: Duration,
    /// Rounds over all gateways before giving up; `None` never gives up (`connect-retry-max`).
    pub connect_retry_max: Option<u32>,
    /// Shuffle the gateways (`remote-random`).
    pub remote_random: bool,
    /// Local address and port of the outer socket (`local`, `lport`, `bind`).
    pub local_bind: (Option<IpAddr>, Option<u16>),
    /// Receive and send buffers of the outer socket in bytes (`rcvbuf`, `sndbuf`).
    pub socket_buffers: (Option<u32>, Option<u32>),
    /// The implementation of our own wire formats' crypto.
    pub crypto: Arc<dyn Crypto>,
    pub(crate) dangerous: Dangerous,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            control_wrap: ControlWrap::None,
            data_ciphers: Cipher::DEFAULT.to_vec(),
            data_ciphers_fallback: None,
            auth: Digest::Sha1,
            framing: Framing::None,
            tls: TlsSettings::default(),
            hand_window: Duration::from_secs(60),
            tls_timeout: Duration::from_secs(2),
            tran_window: Duration::from_secs(3600),
            reneg_sec: Duration::from_secs(3600),
            reneg_bytes: 0,
            reneg_packets: 0,
            ping: None,
            ping_restart: None,
            ping_exit: None,
            inactive: None,
            session_timeout: None,
            explicit_exit_notify: None,
            replay_window: 64,
            tun_mtu: 1500,
            tun_mtu_max: 1600,
            mssfix: Mssfix::OuterIp(1492),
            max_packet_size: 1250,
            pull: true,
            pull_filters: Vec::new(),
            route_nopull: false,
            local_options: Vec::new(),
            static_challenge: None,
            push_peer_info: false,
            peer_info: Vec::new(),
            connect_timeout: Duration::from_secs(120),
            connect_retry: Duration::from_secs(1),
            connect_retry_max_wait: Duration::from_secs(300),
            connect_retry_max: None,
            remote_random: false,
            local_bind: (None, None),
            socket_buffers: (None, None),
            crypto: crypto::default_backend(),
            dangerous: Dangerous::default(),
        }
    }
}

impl Settings {
    /// Every time, to be bounded.
    fn times(&mut self) -> impl Iterator<Item = &mut Duration> {
        let always = [
            &mut self.hand_window,
            &mut self.tls_timeout,
            &mut self.tran_window,
            &mut self.reneg_sec,
            &mut self.connect_timeout,
            &mut self.connect_retry,
            &mut self.connect_retry_max_wait,
        ];
        let perhaps = [
            self.ping.as_mut(),
            self.ping_restart.as_mut(),
            self.ping_exit.as_mut(),
            self.session_timeout.as_mut(),
            self.inactive.as_mut().map(|(time, _)| time),
        ];
        always.into_iter().chain(perhaps.into_iter().flatten())
    }
}

/// "For ever" must not be later than clocks can say.
fn bound(time: &mut Duration) {
    *time = (*time).min(LONGEST_TIME);
}

/// Ten years.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Features withheld from the server, for tests and odd servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dangerous {
    pub(crate) withheld_iv_proto: u32,
    pub(crate) withhold_iv_ncp: bool,
}

impl Dangerous {
    /// Does not announce these bits of IV_PROTO, and behaves as if we did not know the features.
    pub fn withhold_iv_proto(&mut self, bits: u32) -> &mut Self {
        self.withheld_iv_proto |= bits;
        self
    }

    /// Announces neither IV_NCP nor IV_CIPHERS, as clients before OpenVPN 2.4 did.
    pub fn withhold_iv_ncp(&mut self) -> &mut Self {
        self.withhold_iv_ncp = true;
        self
    }
}
