//! What a gateway needs to know before it listens. A [`ResponderConfig`] that exists is valid.

use std::{fmt, sync::Arc};

use adit_pki::ClientIdentity;
use adit_tunnel::Secret;
use pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::{
    auth::{ClientVerification, Signer},
    config::{ConfigError, Settings},
    eap::{EapServerConfig, server::EapServers},
    identity::Identity,
};

/// Everything a [`crate::Responder`] needs to know; made by [`ResponderConfig::builder`].
pub struct ResponderConfig {
    identity: Identity,
    signer: Option<Signer>,
    shared_keys: Vec<SharedKey>,
    clients: Option<ClientVerification>,
    eap: Option<Arc<EapServers>>,
    settings: Settings,
    limits: Limits,
}

/// How clients may prove who they are; at least one way.
#[derive(Debug, Clone, Default)]
pub struct AcceptedPeers {
    /// By a pre-shared key; we prove ourselves to them by the same.
    pub shared_keys: Vec<SharedKey>,
    /// By a certificate; we prove ourselves by ours.
    pub certificates: Option<ClientAnchors>,
    /// By EAP, after we have proved ourselves by our certificate.
    pub eap: Option<EapServerConfig>,
}

/// A pre-shared key.
///
/// Who has a key of its own is let in by no other. A key for anybody proves no name: whoever has it may call itself as it likes, by as
/// many names as it likes, and so the owner is shown `psk:NAME`. No identity with a proof of its own looks like that, as long as no
/// user of EAP is given such a name. Nor does INITIAL_CONTACT count with it: nobody can speak for others who have it too.
#[derive(Debug, Clone)]
pub struct SharedKey {
    /// The key.
    pub key: Secret,
    /// Whose it is; `None` for anybody who has it.
    pub identity: Option<Identity>,
}

impl SharedKey {
    /// Whether it is the own key of whoever calls itself this.
    pub(crate) fn is_of(&self, claim: &Identity) -> bool {
        self.identity.as_ref().is_some_and(|whose| claim.matches(whose))
    }

    pub(crate) const fn is_anybodys(&self) -> bool {
        self.identity.is_none()
    }
}

/// Who vouches for the certificates of clients.
#[derive(Debug, Clone)]
pub struct ClientAnchors {
    /// Trust anchors; at least one.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists; with any, every certificate of the chain below an anchor must be covered by one.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// What strangers may cost us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Peers at a time, of whatever state.
    pub peers: usize,
    /// Peers that have not proved who they are.
    pub half_open: usize,
    /// With so many of these, a newcomer first has to show that it receives what we send to it (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Peers of one address, or one /64 of IPv6, that have not proved who they are; many may be behind one NAT. From half of them on,
    /// a newcomer from there has to show that it receives what we send to it: so nobody elsewhere takes all places of an address.
    pub half_open_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // The threshold is strongSwan's; the others are our judgement: a half-open peer costs some 5 kB, and some 150 kB if it fills
        // with long messages whatever can be filled.
        Self { peers: 10_000, half_open: 256, cookie_threshold: 30, half_open_per_address: 16 }
    }
}

impl ResponderConfig {
    /// Starts with who may come in.
    #[must_use]
    pub fn builder(accepted: AcceptedPeers) -> ResponderBuilder {
        ResponderBuilder {
            accepted,
            identity: None,
            certificate: None,
            settings: Settings::default(),
            limits: Limits::default(),
        }
    }

    /// Who we say we are.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Everything that has a default.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What strangers may cost us.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    pub(crate) fn shared_keys(&self) -> &[SharedKey] {
        &self.shared_keys
    }

    pub(crate) const fn clients(&self) -> Option<&ClientVerification> {
        self.clients.as_ref()
    }

    pub(crate) const fn eap(&self) -> Option<&Arc<EapServers>> {
        self.eap.as_ref()
    }
}

impl fmt::Debug for ResponderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponderConfig")
            .field("identity", &self.identity)
            .field("settings", &self.settings)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Builds a [`ResponderConfig`].
#[derive(Debug)]
pub struct ResponderBuilder {
    accepted: AcceptedPeers,
    identity: Option<Identity>,
    certificate: Option<Arc<ClientIdentity>>,
    settings: Settings,
    limits: Limits,
}

impl ResponderBuilder {
    /// Who we say we are (IDr); by default the subject of our certificate. Most clients want the name they called us by.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Our certificate and key: needed unless all clients have pre-shared keys.
    #[must_use]
    pub fn certificate(mut self, certificate: Arc<ClientIdentity>) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Changes settings from their defaults. Those that are about a client's wishes have no effect: `local_identity`,
    /// `send_remote_identity`, `remote_networks`, `initial_contact`, `nat_keepalive`.
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Changes limits from their defaults.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Checks everything together, and makes of it what all peers share.
    ///
    /// # Errors
    /// [`ConfigError`] names what is missing, contradictory or unusable.
    pub fn build(self) -> Result<ResponderConfig, ConfigError> {
        let Self { accepted, identity, certificate, settings, limits } = self;
        let AcceptedPeers { shared_keys, certificates, eap } = accepted;
        settings.check()?;
        limits.check()?;
        if shared_keys.is_empty() && certificates.is_none() && eap.is_none() {
            return Err(ConfigError::NobodyAccepted);
        }
        if shared_keys.iter().any(|shared| shared.key.expose().is_empty()) {
            return Err(ConfigError::EmptySecret);
        }
        let signer = certificate.map(|certificate| Signer::new(&certificate)).transpose()?;
        if signer.is_none() && (certificates.is_some() || eap.is_some()) {
            return Err(ConfigError::NoCertificate);
        }
        let clients = match certificates {
            Some(clients) if clients.anchors.is_empty() => return Err(ConfigError::NoAnchor),
            Some(clients) => Some(ClientVerification::new(&clients.anchors, &clients.crls)?),
            None => None,
        };
        let eap = eap.map(|eap| EapServers::new(&eap).map(Arc::new)).transpose()?;
        let identity = identity.or_else(|| signer.as_ref().map(Signer::identity)).ok_or(ConfigError::NoIdentity)?;
        let shown = signer.as_ref().filter(|_| clients.is_some() || eap.is_some());
        if let Some(certified) = shown.and_then(|signer| signer.names_instead_of(&identity)) {
            return Err(ConfigError::IdentityNotCertified { identity: identity.to_string(), certified });
        }
        Ok(ResponderConfig { identity, signer, shared_keys, clients, eap, settings, limits })
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let bounds = |ok: bool, name, bounds| if ok { Ok(()) } else { Err(ConfigError::OutOfBounds { name, bounds }) };
        bounds((1..=MOST_PEERS).contains(&self.peers), "limits.peers", "between 1 and 1000000")?;
        bounds(self.half_open > 0, "limits.half_open", "at least 1")?;
        bounds(self.half_open_per_address > 0, "limits.half_open_per_address", "at least 1")
    }
}

/// Fewer than there are names ([`adit_tunnel::PeerId::MAX`]), so that one is soon found that is free.
const MOST_PEERS: usize = 1_000_000;
