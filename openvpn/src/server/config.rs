//! What a server needs to know before it starts. A [`ServerConfig`] that exists is valid.

use std::{sync::Arc, time::Duration};

use adit_pki::ClientIdentity;
use pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::{
    algorithms::{Cipher, Digest},
    config::{ConfigError, KeyDirection, Mssfix, TlsSettings},
    crypto::{self, Crypto},
    keys::{StaticKey, TlsCryptV2ServerKey},
    tls::AcceptTemplate,
};

/// Everything a [`crate::Server`] needs to know; made by [`ServerConfig::builder`].
#[derive(Debug)]
pub struct ServerConfig {
    pub(crate) clients: ClientCheck,
    pub(crate) settings: ServerSettings,
    pub(crate) limits: ServerLimits,
    /// Made once; the sessions' own differ in their clocks alone.
    pub(crate) tls: AcceptTemplate,
}

impl ServerConfig {
    /// Starts with our certificate and how clients prove who they are.
    #[must_use]
    pub fn builder(identity: Arc<ClientIdentity>, clients: ClientCheck) -> ServerConfigBuilder {
        ServerConfigBuilder { identity, clients, settings: ServerSettings::default(), limits: ServerLimits::default() }
    }

    /// Everything that has a default.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// What strangers and peers can make us hold.
    #[must_use]
    pub fn limits(&self) -> &ServerLimits {
        &self.limits
    }
}

/// Builds a [`ServerConfig`].
#[derive(Debug)]
pub struct ServerConfigBuilder {
    identity: Arc<ClientIdentity>,
    clients: ClientCheck,
    settings: ServerSettings,
    limits: ServerLimits,
}

impl ServerConfigBuilder {
    /// Changes settings from their defaults.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut ServerSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Changes limits from their defaults.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut ServerLimits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Checks everything together, and makes of it what all sessions share.
    ///
    /// # Errors
    /// [`ServerConfigError`] names what is missing, contradictory or unusable.
    pub fn build(self) -> Result<ServerConfig, ServerConfigError> {
        let Self { identity, clients, mut settings, limits } = self;
        clients.validate()?;
        settings.validate()?;
        limits.validate()?;
        let tls = AcceptTemplate::new(&identity, &clients.certificates, &settings.tls)?;
        Ok(ServerConfig { clients, settings, limits, tls })
    }
}

/// Why a server's configuration cannot work, and the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerConfigError {
    /// Anybody would be let in.
    #[error("nothing tells a welcome client from any other; require a certificate, or a user name and password")]
    NobodyIsChecked,
    /// Certificates are asked for, and none could be good.
    #[error("clients are to show certificates, but there is no CA to judge them by; add `ca`")]
    NoAnchor,
    /// No cipher we know is allowed.
    #[error("no cipher is left for the data channel; add one to `data_ciphers`")]
    NoCipher,
    /// The TLS versions contradict each other.
    #[error("the lowest version of TLS is above the highest; remove one of them")]
    TlsVersions,
    /// An option that no control message can carry.
    #[error("the option {option:?} cannot be pushed: {reason}")]
    Push {
        /// As configured.
        option: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A number without sense.
    #[error("`{name}` must be {wanted}")]
    Number {
        /// Of the setting or limit.
        name: &'static str,
        /// What would do.
        wanted: &'static str,
    },
    /// Our certificate, a CA, a revocation list, or a choice of TLS.
    #[error(transparent)]
    Tls(#[from] ConfigError),
}

/// How clients prove who they are. What they have proved is told to the owner, who decides ([`adit_tunnel::Answering`]).
#[derive(Debug, Clone)]
pub struct ClientCheck {
    /// Whether they show certificates (`verify-client-cert`).
    pub certificates: ClientCertificates,
    /// They must say a user name and a password, which are for the owner to judge (`auth-user-pass-verify`); also again at
    /// each renegotiation.
    pub login: bool,
}

/// Whether clients show certificates.
#[derive(Debug, Clone)]
pub enum ClientCertificates {
    /// They are not asked for any.
    None,
    /// Who has one shows it; a bad one is refused.
    Optional(ClientAnchors),
    /// Nobody comes in without.
    Required(ClientAnchors),
}

/// What clients' certificates are judged by.
#[derive(Debug, Clone, Default)]
pub struct ClientAnchors {
    /// Trust anchors (`ca`).
    pub ca: Vec<CertificateDer<'static>>,
    /// Revocation lists (`crl-verify`).
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientCheck {
    fn validate(&self) -> Result<(), ServerConfigError> {
        match &self.certificates {
            ClientCertificates::None | ClientCertificates::Optional(_) if !self.login => {
                Err(ServerConfigError::NobodyIsChecked)
            }
            ClientCertificates::Optional(anchors) | ClientCertificates::Required(anchors) if anchors.ca.is_empty() => {
                Err(ServerConfigError::NoAnchor)
            }
            ClientCertificates::None | ClientCertificates::Optional(_) | ClientCertificates::Required(_) => Ok(()),
        }
    }
}

/// How control packets are wrapped, as a server knows it.
#[derive(Debug, Clone)]
pub enum ServerWrap {
    /// Not at all.
    None,
    /// `tls-auth`: an HMAC over each packet.
    TlsAuth {
        /// The shared key.
        key: StaticKey,
        /// Which half each side sends with: [`KeyDirection::Normal`] if clients have `key-direction 1`.
        direction: KeyDirection,
        /// The HMAC's digest: that of `auth`.
        digest: Digest,
    },
    /// `tls-crypt`: authenticated and encrypted with one key shared by all clients.
    TlsCrypt(StaticKey),
    /// `tls-crypt-v2`: the same, and every client brings along a key of its own, wrapped under this one.
    TlsCryptV2 {
        /// Unwraps the clients' keys.
        key: TlsCryptV2ServerKey,
        /// Refuses clients that cannot bring their key along twice (before OpenVPN 2.6), for whom state would have to be
        /// kept before their address is proved (`force-cookie`).
        force_cookie: bool,
        /// Refuses keys that say they were made longer ago, and those that do not say when (`tls-crypt-v2-max-age`).
        max_age: Option<Duration>,
    },
}

/// How a server says goodbye when it is closed (`explicit-exit-notify`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitNotice {
    /// It does not; clients notice by silence.
    Silent,
    /// Clients come back to the same server (1).
    Restart,
    /// Clients go on to their next server (2).
    NextServer,
}

/// Everything that has a default. Times are OpenVPN 2.6's unless said otherwise.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// How control packets are wrapped.
    pub control_wrap: ServerWrap,
    /// Ciphers accepted, the most preferred first (`data-ciphers`).
    pub data_ciphers: Vec<Cipher>,
    /// The cipher with a client that cannot negotiate and does not name one (`data-ciphers-fallback`).
    pub data_ciphers_fallback: Option<Cipher>,
    /// The digest of CBC ciphers (`auth`).
    pub auth: Digest,
    /// Versions and suites of TLS.
    pub tls: TlsSettings,
    /// Longest time for a TLS handshake with key exchange and verdict (`hand-window`).
    pub hand_window: Duration,
    /// First wait before a control packet is sent again, doubling (`tls-timeout`).
    pub tls_timeout: Duration,
    /// How long an old key remains usable after a renegotiation (`tran-window`).
    pub tran_window: Duration,
    /// We renegotiate this long after the last key, up to a tenth earlier; zero leaves it to the client (`reneg-sec`).
    pub reneg_sec: Duration,
    /// We renegotiate after this many bytes in one direction; 0 never (`reneg-bytes`).
    pub reneg_bytes: u64,
    /// We renegotiate after this many packets in one direction; 0 never (`reneg-pkts`).
    pub reneg_packets: u64,
    /// After so long without sending, both ends send a ping; after so long without receiving, clients start over, and we give
    /// a client up after twice as long (`keepalive`). `None`: dead peers stay.
    pub keepalive: Option<(Duration, Duration)>,
    /// What is said at [`adit_tunnel::Tunnel::close`], over UDP.
    pub exit_notice: ExitNotice,
    /// Size of the data channel's replay window in packets (`replay-window`).
    pub replay_window: u32,
    /// Largest inner packet (`tun-mtu`). Clients that say what they can take (IV_MTU) are told if it is not 1500.
    pub tun_mtu: u16,
    /// Limits inner TCP segments (`mssfix`).
    pub mssfix: Mssfix,
    /// Largest control datagram including IP and UDP headers (`max-packet-size`).
    pub max_packet_size: u16,
    /// Told to a client that waits for a verdict and can show it, as after `INFO_PRE,`: such as `OPEN_URL:https://…`.
    pub pending_info: Option<String>,
    /// Further options for clients, such as `block-outside-dns` (`push`).
    pub push: Vec<String>,
    /// The implementation of our own wire formats' crypto.
    pub crypto: Arc<dyn Crypto>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            control_wrap: ServerWrap::None,
            data_ciphers: Cipher::DEFAULT.to_vec(),
            data_ciphers_fallback: None,
            auth: Digest::Sha1,
            tls: TlsSettings::default(),
            hand_window: Duration::from_secs(60),
            tls_timeout: Duration::from_secs(2),
            tran_window: Duration::from_secs(3600),
            reneg_sec: Duration::from_secs(3600),
            reneg_bytes: 0,
            reneg_packets: 0,
            // What `--keepalive` is always shown with.
            keepalive: Some((Duration::from_secs(10), Duration::from_secs(60))),
            exit_notice: ExitNotice::Restart,
            replay_window: 64,
            tun_mtu: DEFAULT_TUN_MTU,
            mssfix: Mssfix::OuterIp(1492),
            max_packet_size: 1250,
            pending_info: None,
            push: Vec::new(),
            crypto: crypto::default_backend(),
        }
    }
}

impl ServerSettings {
    fn validate(&mut self) -> Result<(), ServerConfigError> {
        self.times().for_each(|time| *time = (*time).min(LONGEST_TIME));
        if self.data_ciphers.is_empty() {
            return Err(ServerConfigError::NoCipher);
        }
        if let (Some(min), Some(max)) = (self.tls.min, self.tls.max)
            && min > max
        {
            return Err(ServerConfigError::TlsVersions);
        }
        let second = Duration::from_secs(1);
        number(self.hand_window >= second, "hand_window", "a second or more")?;
        number(self.tun_mtu >= MIN_TUN_MTU, "tun_mtu", "576 or more")?;
        number(self.max_packet_size >= MIN_CONTROL_PACKET, "max_packet_size", "500 or more")?;
        if let Some((ping, restart)) = self.keepalive {
            number(ping >= second && restart >= ping * 2, "keepalive", "a second or more, then at least twice that")?;
        }
        self.push.iter().chain(&self.pending_info).try_for_each(|option| pushable(option))
    }

    fn times(&mut self) -> impl Iterator<Item = &mut Duration> {
        let Self { hand_window, tls_timeout, tran_window, reneg_sec, keepalive, .. } = self;
        let keepalive = keepalive.iter_mut().flat_map(|(ping, restart)| [ping, restart]);
        [hand_window, tls_timeout, tran_window, reneg_sec].into_iter().chain(keepalive)
    }
}

/// What strangers and peers can make us hold.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Peers at a time, half-open ones included (`max-clients`).
    pub peers: u32,
    /// Peers at a time that have not been let in yet.
    pub half_open: u32,
    /// The same from one address; of IPv6, from one /64, which one host has to itself.
    pub half_open_per_address: u32,
    /// First packets of strangers that are answered within [`Self::initial_window`]; those that come back with our cookie do
    /// not count (`connect-freq-initial`).
    pub initial_packets: u32,
    /// See [`Self::initial_packets`].
    pub initial_window: Duration,
    /// Bytes that one peer can make us hold: packets out of order, pieces of TLS records, answers it does not fetch; and
    /// the bytes of one TLS handshake.
    pub peer_bytes: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            peers: 1024,
            half_open: 128,
            // An office that starts over at once behind one address; the others come in when these are through.
            half_open_per_address: 16,
            initial_packets: 100,
            initial_window: Duration::from_secs(10),
            // A chain of RSA certificates takes about 6 kB, a whole TLS record 16.
            peer_bytes: 96 * 1024,
        }
    }
}

impl ServerLimits {
    fn validate(&self) -> Result<(), ServerConfigError> {
        number((1..=MAX_PEERS).contains(&self.peers), "peers", "between 1 and 1000000")?;
        number(self.half_open > 0, "half_open", "1 or more")?;
        number(self.half_open_per_address > 0, "half_open_per_address", "1 or more")?;
        number(self.initial_packets > 0, "initial_packets", "1 or more")?;
        number(self.peer_bytes >= MIN_PEER_BYTES, "peer_bytes", "32768 or more")
    }
}

fn number(good: bool, name: &'static str, wanted: &'static str) -> Result<(), ServerConfigError> {
    if good { Ok(()) } else { Err(ServerConfigError::Number { name, wanted }) }
}

/// Options stand in a line of text, between commas.
fn pushable(option: &str) -> Result<(), ServerConfigError> {
    let reason = match option {
        "" => "it is empty",
        _ if option.contains(',') => "it holds a comma, which ends an option",
        _ if option.contains(char::is_control) => "it holds a character that cannot be printed",
        _ if option.len() > MAX_OPTION_BYTES => "it has more than 255 bytes",
        _ => return Ok(()),
    };
    Err(ServerConfigError::Push { option: option.escape_debug().to_string(), reason })
}

/// Ten years: "for ever" must not be later than clocks can say.
const LONGEST_TIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What clients take without being told.
pub(crate) const DEFAULT_TUN_MTU: u16 = 1500;
/// RFC 791: every host accepts 576 bytes.
const MIN_TUN_MTU: u16 = 576;
/// Room for a wrapped client key of ordinary size besides the headers (2.6 allows as little, `ssl.h`).
const MIN_CONTROL_PACKET: u16 = 500;
/// Fits into [`adit_tunnel::PeerId::MAX`].
const MAX_PEERS: u32 = 1_000_000;
/// A TLS record, and a window of packets.
const MIN_PEER_BYTES: usize = 32 * 1024;
/// Words of 2.x clients (`options.h`, OPTION_PARM_SIZE).
const MAX_OPTION_BYTES: usize = 255;
