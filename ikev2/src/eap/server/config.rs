//! From [`EapServerConfig`] to methods that can run, with everything in it that can be wrong.

use std::{collections::BTreeSet, fmt, sync::Arc};

use adit_pki::ClientIdentity;
use pki_types::{CertificateDer, CertificateRevocationListDer};

use super::{
    gtc::Gtc,
    inner::InnerMethods,
    md5::Md5Challenge,
    method::ServerMethod,
    mschapv2::MsChapV2,
    template::{Clients, ServerTemplate},
    tls::Tls,
    ttls::Ttls,
    users::Users,
};
use crate::{
    config::{MsChapV2Secret, TlsVersion},
    eap::{EapType, EapUnusable},
};

/// How clients prove themselves by EAP.
#[derive(Debug, Clone)]
pub struct EapServerConfig {
    /// Methods, best first; at least one. A client that wants another one of them gets it.
    pub methods: Vec<EapServerMethod>,
    /// Who may come in by methods with a password.
    pub users: Vec<EapUser>,
}

/// Somebody with a password.
#[derive(Debug, Clone)]
pub struct EapUser {
    /// The name, compared byte by byte. Of `DOMAIN\user` the whole is looked for first, then what follows the backslash.
    pub name: String,
    /// The password, or its NT hash, which serves MS-CHAPv2 alone.
    pub secret: MsChapV2Secret,
}

/// A method with what it needs beside the users.
#[derive(Debug, Clone)]
pub enum EapServerMethod {
    /// EAP-MSCHAPv2.
    MsChapV2,
    /// EAP-GTC: asks for the password itself. Makes no key.
    Gtc,
    /// EAP-MD5. Makes no key.
    Md5,
    /// EAP-TLS: who has a certificate is whom it names.
    Tls(EapTlsIdentity),
    /// EAP-TTLS: we prove ourselves by a certificate, and the client inside of TLS.
    Ttls {
        /// Our certificate, and TLS.
        tls: EapTlsIdentity,
        /// What may prove a client inside, at least one; the client chooses.
        inner: Vec<TtlsInnerMethod>,
    },
}

/// Who we are in EAP-TLS and EAP-TTLS, and how clients are judged there.
#[derive(Debug, Clone)]
pub struct EapTlsIdentity {
    /// Our certificate and key.
    pub certificate: Arc<ClientIdentity>,
    /// Trust anchors for certificates of clients; at least one for EAP-TLS, of no effect in EAP-TTLS.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists for them.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// Lowest version of TLS.
    pub min_version: TlsVersion,
    /// Highest version of TLS.
    pub max_version: TlsVersion,
}

/// What may prove a client inside EAP-TTLS.
#[derive(Debug, Clone)]
pub enum TtlsInnerMethod {
    /// The password itself.
    Pap,
    /// MS-CHAPv2 in AVPs.
    MsChapV2,
    /// EAP; only methods without TLS, best first.
    Eap(Vec<EapServerMethod>),
}

/// What EAP asks clients for, checked once and shared by all of them.
pub(crate) struct EapServers {
    users: Arc<Users>,
    offers: Vec<Offer>,
}

/// A method, ready to run.
pub(super) enum Offer {
    MsChapV2,
    Gtc,
    Md5,
    Tls(Arc<ServerTemplate>),
    Ttls(Arc<ServerTemplate>, Arc<InnerMethods>),
}

impl EapServers {
    /// # Errors
    /// [`EapUnusable`] says what cannot be used.
    pub(crate) fn new(config: &EapServerConfig) -> Result<Self, EapUnusable> {
        let methods = &config.methods;
        if config.users.is_empty() && methods.iter().any(EapServerMethod::has_users) {
            return Err(EapUnusable::NoUser);
        }
        let hashed = |user: &&EapUser| matches!(user.secret, MsChapV2Secret::NtHash(_));
        let hash_serves = methods.iter().any(EapServerMethod::takes_hash);
        if let Some(user) = config.users.iter().find(hashed).filter(|_| !methods.is_empty() && !hash_serves) {
            return Err(EapUnusable::HashServesNothing(user.name.clone()));
        }
        Self::with(methods, Arc::new(Users::new(&config.users)?))
    }

    /// For the inside of EAP-TTLS.
    ///
    /// # Errors
    /// [`EapUnusable`] says what cannot run there.
    pub(super) fn inside(methods: &[EapServerMethod], users: &Arc<Users>) -> Result<Self, EapUnusable> {
        let tls = methods.iter().find_map(EapServerMethod::tls_type);
        tls.map_or_else(|| Self::with(methods, Arc::clone(users)), |kind| Err(EapUnusable::InnerMethod(kind)))
    }

    fn with(methods: &[EapServerMethod], users: Arc<Users>) -> Result<Self, EapUnusable> {
        let offers = methods.iter().map(|method| Offer::new(method, &users)).collect::<Result<Vec<_>, _>>()?;
        let mut kinds = BTreeSet::new();
        if let Some(twice) = offers.iter().find(|offer| !kinds.insert(offer.kind().0)) {
            return Err(EapUnusable::Twice(twice.kind()));
        }
        if offers.is_empty() { Err(EapUnusable::NoMethod) } else { Ok(Self { users, offers }) }
    }

    pub(super) fn best(&self) -> Option<&Offer> {
        self.offers.first()
    }

    pub(super) fn find(&self, kind: EapType) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.kind() == kind)
    }

    pub(super) fn users(&self) -> &Arc<Users> {
        &self.users
    }
}

impl fmt::Debug for EapServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.offers.iter().map(Offer::kind).collect();
        f.debug_struct("EapServers").field("kinds", &kinds).finish_non_exhaustive()
    }
}

impl EapServerMethod {
    /// Whether it asks for one of the users.
    fn has_users(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// Whether it can do with the hash of a password.
    pub(super) fn takes_hash(&self) -> bool {
        let inside = |inner: &TtlsInnerMethod| match inner {
            TtlsInnerMethod::Pap => false,
            TtlsInnerMethod::MsChapV2 => true,
            TtlsInnerMethod::Eap(methods) => methods.iter().any(Self::takes_hash),
        };
        match self {
            Self::MsChapV2 => true,
            Self::Gtc | Self::Md5 | Self::Tls(_) => false,
            Self::Ttls { inner, .. } => inner.iter().any(inside),
        }
    }

    /// The type of a method made of TLS.
    fn tls_type(&self) -> Option<EapType> {
        match self {
            Self::MsChapV2 | Self::Gtc | Self::Md5 => None,
            Self::Tls(_) => Some(EapType::TLS),
            Self::Ttls { .. } => Some(EapType::TTLS),
        }
    }
}

impl Offer {
    fn new(method: &EapServerMethod, users: &Arc<Users>) -> Result<Self, EapUnusable> {
        let template = |tls, clients| ServerTemplate::new(tls, clients).map(Arc::new);
        Ok(match method {
            EapServerMethod::MsChapV2 => Self::MsChapV2,
            EapServerMethod::Gtc => Self::Gtc,
            EapServerMethod::Md5 => Self::Md5,
            EapServerMethod::Tls(tls) => Self::Tls(template(tls, Clients::Certified)?),
            EapServerMethod::Ttls { tls, inner } => {
                Self::Ttls(template(tls, Clients::Anybody)?, Arc::new(InnerMethods::new(inner, users)?))
            }
        })
    }

    pub(super) fn kind(&self) -> EapType {
        match self {
            Self::MsChapV2 => EapType::MSCHAPV2,
            Self::Gtc => EapType::GTC,
            Self::Md5 => EapType::MD5,
            Self::Tls(_) => EapType::TLS,
            Self::Ttls(..) => EapType::TTLS,
        }
    }

    pub(super) fn start(&self) -> Box<dyn ServerMethod> {
        match self {
            Self::MsChapV2 => Box::new(MsChapV2::new()),
            Self::Gtc => Box::new(Gtc),
            Self::Md5 => Box::new(Md5Challenge::new()),
            Self::Tls(template) => Box::new(Tls::new(Arc::clone(template))),
            Self::Ttls(template, inner) => Box::new(Ttls::new(Arc::clone(template), Arc::clone(inner))),
        }
    }
}
