//! What a session needs to know before it starts. A [`Config`] that exists is valid.

use std::{fmt, sync::Arc, time::Duration};

use adit_pki::{ClientIdentity, IdentityError, TrustError};
use adit_tunnel::{Family, IpNet, KeySink, Secret};
use pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::{
    auth::{PeerVerification, Signer},
    eap::{EapMethods, EapUnusable},
    identity::Identity,
    negotiate::{EspProposals, IkeProposals},
};

/// Everything a [`crate::Session`] needs to know; made by [`Config::builder`].
pub struct Config {
    remotes: Vec<Remote>,
    peer: PeerProof,
    ours: OurProof,
    /// IDi unless it is our address.
    local_identity: Option<Identity>,
    expected: Option<ExpectedIdentity>,
    settings: Settings,
}

/// How the gateway proves itself, ready for use.
pub(crate) enum PeerProof {
    Psk { key: Secret, identity: Option<Identity> },
    Certificate(PeerVerification),
}

/// How we prove ourselves, ready for use.
pub(crate) enum OurProof {
    Psk(Secret),
    Certificate(Signer),
    Eap(Arc<EapMethods>),
}

impl Config {
    /// Starts with the gateways; how they are verified comes next.
    #[must_use]
    pub const fn builder(remotes: Vec<Remote>) -> ConfigBuilder<WantsPeer> {
        ConfigBuilder { remotes, state: WantsPeer(()) }
    }

    /// The gateways, in the order to try them; at least one.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// Everything that has a default.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Logs the keys of all sessions that are made from now on: whoever reads them can read the tunnels.
    pub fn log_keys(&mut self, keys: &KeySink) {
        self.settings.key_log = keys.clone();
        if let OurProof::Eap(methods) = &mut self.ours
            && let Some(methods) = Arc::get_mut(methods)
        {
            methods.log_keys(keys);
        }
    }

    /// What is weak about this configuration, one sentence each, for a person to read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.expected == Some(ExpectedIdentity::AnyOfTheAnchors) {
            warnings.push(
                "any holder of a certificate of the trust anchors can pose as the gateway: say who it must be"
                    .to_owned(),
            );
        }
        if self.settings.legacy {
            warnings.push("`legacy` allows algorithms that are no longer safe".to_owned());
        }
        warnings
    }

    pub(crate) const fn peer_proof(&self) -> &PeerProof {
        &self.peer
    }

    pub(crate) const fn our_proof(&self) -> &OurProof {
        &self.ours
    }

    pub(crate) fn local_identity(&self) -> Option<Identity> {
        self.local_identity.clone()
    }

    /// IDr of our request, if one is sent.
    pub(crate) fn requested_identity(&self, remote: &Remote) -> Option<Identity> {
        if !self.settings.send_remote_identity {
            return None;
        }
        match (&self.peer, &self.expected) {
            (PeerProof::Psk { identity, .. }, _) => identity.clone(),
            (_, Some(ExpectedIdentity::Exactly(identity))) => Some(identity.clone()),
            (_, Some(ExpectedIdentity::Host)) => Some(Identity::of_host(&remote.host)),
            (_, Some(ExpectedIdentity::AnyOfTheAnchors) | None) => None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("remotes", &self.remotes)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Config`]; the type says what is still missing.
#[derive(Debug)]
pub struct ConfigBuilder<State> {
    remotes: Vec<Remote>,
    state: State,
}

/// How the gateway is verified must be said next.
#[derive(Debug)]
pub struct WantsPeer(());

/// How we prove who we are must be said next.
#[derive(Debug)]
pub struct WantsCredentials {
    peer: PeerVerifier,
}

/// Nothing is missing.
#[derive(Debug)]
pub struct Complete {
    peer: PeerVerifier,
    credentials: Credentials,
    settings: Settings,
}

impl ConfigBuilder<WantsPeer> {
    /// How the gateway is verified.
    #[must_use]
    pub fn peer(self, peer: PeerVerifier) -> ConfigBuilder<WantsCredentials> {
        ConfigBuilder { remotes: self.remotes, state: WantsCredentials { peer } }
    }
}

impl ConfigBuilder<WantsCredentials> {
    /// How we prove who we are.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> ConfigBuilder<Complete> {
        let state = Complete { peer: self.state.peer, credentials, settings: Settings::default() };
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
    pub fn build(self) -> Result<Config, ConfigError> {
        let Complete { peer, credentials, settings } = self.state;
        let Some(first) = self.remotes.first() else { return Err(ConfigError::NoRemote) };
        if self.remotes.iter().any(|remote| remote.host.is_empty() || remote.port == 0) {
            return Err(ConfigError::Remote(first.to_string()));
        }
        settings.check()?;
        let (peer, expected) = match peer {
            PeerVerifier::Psk { key, .. } if key.expose().is_empty() => return Err(ConfigError::EmptySecret),
            PeerVerifier::Psk { key, identity } => (PeerProof::Psk { key, identity }, None),
            PeerVerifier::Certificate(verifier) => {
                if verifier.anchors.is_empty() {
                    return Err(ConfigError::NoAnchor);
                }
                let expected = verifier.identity.clone();
                (PeerProof::Certificate(PeerVerification::new(&verifier)?), Some(expected))
            }
        };
        let mut local_identity = settings.local_identity.clone();
        let ours = match credentials {
            Credentials::Psk(key) if key.expose().is_empty() => return Err(ConfigError::EmptySecret),
            Credentials::Psk(key) => OurProof::Psk(key),
            Credentials::Certificate(identity) => {
                let signer = Signer::new(&identity)?;
                local_identity = Some(local_identity.unwrap_or_else(|| signer.identity()));
                OurProof::Certificate(signer)
            }
            Credentials::Eap(credentials) => {
                let methods = EapMethods::new(&credentials)?;
                local_identity = Some(local_identity.unwrap_or_else(|| Identity::of_user(methods.identity())));
                OurProof::Eap(Arc::new(methods))
            }
        };
        Ok(Config { remotes: self.remotes, peer, ours, local_identity, expected, settings })
    }
}

/// What is missing, contradictory or unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No gateway.
    #[error("no gateway is configured")]
    NoRemote,
    /// A gateway without name or port.
    #[error("`{0}` is not a gateway: it needs a host and a port")]
    Remote(String),
    /// An empty pre-shared key.
    #[error("the pre-shared key is empty")]
    EmptySecret,
    /// Nothing vouches for the certificate of the gateway.
    #[error("no trust anchor is configured to verify the gateway with")]
    NoAnchor,
    /// The certificate verifier.
    #[error(transparent)]
    Verifier(#[from] TrustError),
    /// Nobody may come in.
    #[error("no way for clients to prove who they are is configured")]
    NobodyAccepted,
    /// A gateway for certificates or EAP without a certificate of its own.
    #[error("a gateway needs a certificate to prove itself to clients without a pre-shared key")]
    NoCertificate,
    /// A gateway without a name.
    #[error("a gateway without a certificate needs an identity")]
    NoIdentity,
    /// A gateway whose certificate does not say what it says of itself: clients would refuse it.
    #[error("the certificate of the gateway is not for {identity}, but for {certified}")]
    IdentityNotCertified {
        /// Who it says it is.
        identity: String,
        /// The names of its certificate.
        certified: String,
    },
    /// Our certificate or key.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// EAP.
    #[error(transparent)]
    Eap(#[from] EapUnusable),
    /// An algorithm that needs the switch.
    #[error("`{0}` is no longer safe; set `legacy` to allow it all the same")]
    Legacy(String),
    /// A number out of bounds.
    #[error("{name} must be {bounds}")]
    OutOfBounds {
        /// The setting.
        name: &'static str,
        /// What it may be.
        bounds: &'static str,
    },
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !self.legacy
            && let Some(word) = self.ike_proposals.legacy_word().or_else(|| self.esp_proposals.legacy_word())
        {
            return Err(ConfigError::Legacy(word));
        }
        let bounds = |ok: bool, name, bounds| if ok { Ok(()) } else { Err(ConfigError::OutOfBounds { name, bounds }) };
        bounds((296..=1500).contains(&self.fragment_size), "fragment_size", "between 296 and 1500 bytes")?;
        bounds(self.liveness >= Duration::from_millis(100), "liveness", "at least 100 ms")?;
        bounds(self.nat_keepalive >= Duration::from_millis(100), "nat_keepalive", "at least 100 ms")?;
        bounds((64..=65_536).contains(&self.replay_window), "replay_window", "between 64 and 65536 packets")?;
        for schedule in [Some(&self.retransmission), self.retransmission_once_up.as_ref()].into_iter().flatten() {
            bounds((1..=20).contains(&schedule.tries), "retransmission.tries", "between 1 and 20")?;
            bounds(!schedule.first.is_zero(), "retransmission.first", "longer than zero")?;
            let longest = schedule.limit >= schedule.first;
            bounds(longest, "retransmission.limit", "no shorter than retransmission.first")?;
        }
        bounds(self.remote_networks.len() <= 255, "remote_networks", "at most 255 networks")?;
        bounds(!self.handshake_timeout.is_zero(), "handshake_timeout", "longer than zero")?;
        bounds(self.mtu.is_none_or(|mtu| mtu >= 576), "mtu", "at least 576 bytes")?;
        let rekeys = [self.child_rekey, self.ike_rekey];
        bounds(
            rekeys.iter().all(|age| age.is_zero() || age.as_millis() >= 500),
            "a rekey interval",
            "0 or at least 0.5 s",
        )
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ike_proposals: IkeProposals::default(),
            esp_proposals: EspProposals::default(),
            legacy: false,
            local_identity: None,
            send_remote_identity: false,
            signature: SignatureChoice::Auto,
            remote_networks: Vec::new(),
            fragmentation: true,
            // What strongSwan uses; it is also IPv6's smallest MTU.
            fragment_size: 1280,
            mobike: true,
            initial_contact: true,
            liveness: Duration::from_secs(30),
            // Most NATs keep a UDP mapping for 30 s or more; strongSwan uses the same.
            nat_keepalive: Duration::from_secs(20),
            child_rekey: Duration::from_secs(3600),
            ike_rekey: Duration::from_secs(4 * 3600),
            retransmission: Retransmission {
                first: Duration::from_millis(500),
                limit: Duration::from_secs(8),
                tries: 6,
            },
            retransmission_once_up: None,
            // Enough for a person to approve a login elsewhere.
            handshake_timeout: Duration::from_secs(60),
            replay_window: 1024,
            mtu: None,
            key_log: KeySink::default(),
        }
    }
}

impl Remote {
    /// A gateway reached over IPv4 or IPv6.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, family: None }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Name or address.
    pub host: String,
    /// 500 floats to 4500 as RFC 7296 §2.23 describes; any other port is spoken to with the non-ESP marker from the first
    /// datagram on.
    pub port: u16,
    /// `None` tries IPv6 and IPv4.
    pub family: Option<Family>,
}

/// How the gateway proves who it is.
#[derive(Debug, Clone)]
pub enum PeerVerifier {
    /// By the same pre-shared key as ours.
    Psk {
        /// The key.
        key: Secret,
        /// The identity it must show; `None` takes any: whoever has the key is the gateway.
        identity: Option<Identity>,
    },
    /// By a signature with a certificate.
    Certificate(CertificateVerifier),
}

/// How a certificate of the gateway is judged.
#[derive(Debug, Clone)]
pub struct CertificateVerifier {
    /// Trust anchors; at least one.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists; with any, every certificate of the chain below an anchor must be covered by one.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// Who the gateway must be.
    pub identity: ExpectedIdentity,
}

/// Who the gateway must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedIdentity {
    /// The host of [`Remote`] it was reached by.
    Host,
    /// This identity.
    Exactly(Identity),
    /// Whatever the trust anchors vouch for: any holder of a certificate of theirs can pose as the gateway.
    AnyOfTheAnchors,
}

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// By a pre-shared key.
    Psk(Secret),
    /// By a signature with a certificate.
    Certificate(Arc<ClientIdentity>),
    /// By EAP, after the gateway has proved itself.
    Eap(EapCredentials),
}

/// What EAP methods may use, and which of them are allowed.
#[derive(Debug, Clone)]
pub struct EapCredentials {
    /// The answer to an EAP Identity request, and the user name of methods with one, such as `DOMAIN\user`.
    pub identity: String,
    /// Methods allowed, best first; at least one.
    pub methods: Vec<EapMethod>,
}

/// An EAP method with what it needs.
#[derive(Debug, Clone)]
pub enum EapMethod {
    /// EAP-MSCHAPv2.
    MsChapV2(MsChapV2Secret),
    /// EAP-TLS.
    Tls {
        /// Our certificate.
        certificate: Arc<ClientIdentity>,
        /// How the EAP server is judged.
        server: EapTlsServer,
    },
    /// EAP-TTLS.
    Ttls {
        /// How the EAP server is judged.
        server: EapTlsServer,
        /// The name shown outside of the TLS tunnel, also as IDi; the identity if `None`.
        anonymous_identity: Option<String>,
        /// What proves us inside.
        inner: TtlsInner,
    },
    /// EAP-GTC with a fixed answer: a password, in clear to the gateway.
    Gtc(Secret),
    /// EAP-MD5: gives no key.
    Md5(Secret),
}

/// What proves us inside EAP-TTLS.
#[derive(Debug, Clone)]
pub enum TtlsInner {
    /// The password itself.
    Pap(Secret),
    /// MS-CHAPv2 in AVPs.
    MsChapV2(MsChapV2Secret),
    /// An EAP method; only those without TLS.
    Eap(Box<EapMethod>),
}

/// The secret of MS-CHAPv2.
#[derive(Debug, Clone)]
pub enum MsChapV2Secret {
    /// A password in UTF-8.
    Password(Secret),
    /// The NT hash of one, 16 bytes.
    NtHash(Secret),
}

/// How the server of a TLS-based EAP method is judged. It may be another than the gateway.
#[derive(Debug, Clone)]
pub struct EapTlsServer {
    /// Trust anchors; at least one.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// A name (DNS, IP address, or common name if the certificate has no alternative name) its certificate must show;
    /// `None` takes any server certificate of the anchors.
    pub name: Option<String>,
    /// Lowest version of TLS.
    pub min_version: TlsVersion,
    /// Highest version of TLS offered.
    pub max_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Everything that has a default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Algorithms for the IKE SA, best first.
    pub ike_proposals: IkeProposals,
    /// Algorithms for ESP, best first.
    pub esp_proposals: EspProposals,
    /// Allows MODP-1024, MODP-1536, 3DES and SHA-1 (signatures too).
    pub legacy: bool,
    /// IDi; by default the subject of our certificate, the EAP identity or our address.
    pub local_identity: Option<Identity>,
    /// Whether IDr is sent to choose among the identities of the gateway.
    pub send_remote_identity: bool,
    /// How we sign; see [`SignatureChoice`].
    pub signature: SignatureChoice,
    /// Networks wanted behind the gateway; everything if empty, at most 255 (RFC 7296 §3.13).
    pub remote_networks: Vec<IpNet>,
    /// Whether IKE messages are fragmented (RFC 7383).
    pub fragmentation: bool,
    /// Largest IP datagram of an IKE fragment, in bytes.
    pub fragment_size: u16,
    /// Whether MOBIKE is announced (RFC 4555).
    pub mobike: bool,
    /// Whether INITIAL_CONTACT is sent with a connect, which ends older sessions of the same identity; not after the gateway has
    /// ended ours, perhaps for another.
    pub initial_contact: bool,
    /// Silence before a liveness check (RFC 7296 §2.4); at least 100 ms.
    pub liveness: Duration,
    /// Silence of ours before a NAT keepalive (RFC 3948 §2.3); at least 100 ms.
    pub nat_keepalive: Duration,
    /// Age at which we rekey a child; zero never does.
    pub child_rekey: Duration,
    /// Age at which we rekey the IKE SA; zero never does.
    pub ike_rekey: Duration,
    /// Retransmission of requests.
    pub retransmission: Retransmission,
    /// The same once the tunnel is up, for who wants to know sooner that the gateway is gone; `None`: as before.
    pub retransmission_once_up: Option<Retransmission>,
    /// Longest handshake, from the first datagram to the tunnel up.
    pub handshake_timeout: Duration,
    /// ESP sequence numbers accepted below the newest; at least 64.
    pub replay_window: u32,
    /// Largest inner packet, in bytes; `None` derives it from an outer MTU of 1500. At least 576; IPv6 inside the tunnel
    /// needs 1280 (RFC 8200 §5).
    pub mtu: Option<u16>,
    /// Where keys are logged, for Wireshark; see [`Config::log_keys`].
    pub(crate) key_log: KeySink,
}

/// When a request is sent again: each wait doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmission {
    /// First wait.
    pub first: Duration,
    /// Longest wait; no shorter than the first.
    pub limit: Duration,
    /// Times a request is sent before the peer counts as gone.
    pub tries: u32,
}

/// How we sign AUTH with an RSA key. Other keys leave no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignatureChoice {
    /// RFC 7427 with PKCS#1, then with PSS, then method 1, each after AUTHENTICATION_FAILED.
    #[default]
    Auto,
    /// RFC 7427 with RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RFC 7427 with RSASSA-PSS.
    RsaPss,
    /// Method 1 of RFC 7296.
    Method1,
}
