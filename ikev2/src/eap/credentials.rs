//! From [`EapCredentials`] to methods that can run, with everything in it that can be wrong.

use std::{collections::BTreeSet, fmt, str, sync::Arc};

use adit_tunnel::{KeySink, Secret};
use mschapv2::NtHash;

use super::{
    EapUnusable,
    gtc::Gtc,
    md5::Md5Challenge,
    method::Method,
    mschapv2::MsChapV2,
    packet::EapType,
    tls::{Tls, TlsTemplate},
    ttls::{Inner, Ttls},
};
use crate::config::{EapCredentials, EapMethod, MsChapV2Secret, TtlsInner};

/// What EAP may use, checked once and shared by all sessions.
pub(crate) struct EapMethods {
    /// The answer to an Identity request: that of the best method.
    identity: String,
    offers: Vec<Offer>,
}

/// A method and what it needs.
pub(super) struct Offer {
    name: String,
    kind: OfferKind,
}

enum OfferKind {
    MsChapV2(NtHash),
    Gtc(Secret),
    Md5(Secret),
    Tls(Arc<TlsTemplate>),
    Ttls(Arc<TlsTemplate>, Arc<Inner>),
}

impl EapMethods {
    /// # Errors
    /// [`EapUnusable`] says what cannot be used.
    pub(crate) fn new(credentials: &EapCredentials) -> Result<Self, EapUnusable> {
        let name = credentials.identity.clone();
        check_length("identity", name.as_bytes())?;
        let offers =
            credentials.methods.iter().map(|method| Offer::new(&name, method)).collect::<Result<Vec<_>, _>>()?;
        let mut kinds = BTreeSet::new();
        if let Some(twice) = offers.iter().find(|offer| !kinds.insert(offer.kind().0)) {
            return Err(EapUnusable::Twice(twice.kind()));
        }
        if offers.is_empty() {
            return Err(EapUnusable::NoMethod);
        }
        let identity = match credentials.methods.first() {
            Some(EapMethod::Ttls { anonymous_identity: Some(anonymous), .. }) => anonymous.clone(),
            _ => name,
        };
        check_length("identity", identity.as_bytes())?;
        Ok(Self { identity, offers })
    }

    /// The answer to an Identity request; outside of EAP, too, no other name is given away.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Logs the secrets of TLS.
    pub(crate) fn log_keys(&mut self, keys: &KeySink) {
        for offer in &mut self.offers {
            if let OfferKind::Tls(template) | OfferKind::Ttls(template, _) = &mut offer.kind
                && let Some(template) = Arc::get_mut(template)
            {
                template.log_keys(keys);
            }
        }
    }

    /// Types of the methods, best first.
    pub(super) fn kinds(&self) -> impl Iterator<Item = EapType> {
        self.offers.iter().map(Offer::kind)
    }

    pub(super) fn find(&self, kind: EapType) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.kind() == kind)
    }
}

impl fmt::Debug for EapMethods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds().collect();
        f.debug_struct("EapMethods").field("identity", &self.identity).field("kinds", &kinds).finish_non_exhaustive()
    }
}

impl Offer {
    fn new(name: &str, method: &EapMethod) -> Result<Self, EapUnusable> {
        let kind = match method {
            EapMethod::MsChapV2(secret) => OfferKind::MsChapV2(nt_hash(secret)?),
            EapMethod::Gtc(answer) => {
                check_length("password", answer.expose())?;
                OfferKind::Gtc(answer.clone())
            }
            EapMethod::Md5(password) => OfferKind::Md5(password.clone()),
            EapMethod::Tls { certificate, server } => {
                OfferKind::Tls(Arc::new(TlsTemplate::new(server, Some(certificate))?))
            }
            EapMethod::Ttls { server, inner, .. } => {
                OfferKind::Ttls(Arc::new(TlsTemplate::new(server, None)?), Arc::new(ttls_inner(name, inner)?))
            }
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    pub(super) fn kind(&self) -> EapType {
        match self.kind {
            OfferKind::MsChapV2(_) => EapType::MSCHAPV2,
            OfferKind::Gtc(_) => EapType::GTC,
            OfferKind::Md5(_) => EapType::MD5,
            OfferKind::Tls(_) => EapType::TLS,
            OfferKind::Ttls(..) => EapType::TTLS,
        }
    }

    pub(super) fn start(&self) -> Box<dyn Method> {
        match &self.kind {
            OfferKind::MsChapV2(hash) => Box::new(MsChapV2::new(&self.name, hash.clone())),
            OfferKind::Gtc(answer) => Box::new(Gtc::new(answer.clone())),
            OfferKind::Md5(password) => Box::new(Md5Challenge::new(&self.name, password.clone())),
            OfferKind::Tls(template) => Box::new(Tls::new(Arc::clone(template))),
            OfferKind::Ttls(template, inner) => Box::new(Ttls::new(Arc::clone(template), Arc::clone(inner))),
        }
    }
}

fn ttls_inner(name: &str, inner: &TtlsInner) -> Result<Inner, EapUnusable> {
    let name = name.to_owned();
    match inner {
        TtlsInner::Pap(password) => {
            check_length("password", password.expose())?;
            Ok(Inner::Pap { name, password: password.clone() })
        }
        TtlsInner::MsChapV2(secret) => Ok(Inner::MsChapV2 { name, hash: nt_hash(secret)? }),
        TtlsInner::Eap(method) => match **method {
            EapMethod::Tls { .. } => Err(EapUnusable::InnerMethod(EapType::TLS)),
            EapMethod::Ttls { .. } => Err(EapUnusable::InnerMethod(EapType::TTLS)),
            EapMethod::MsChapV2(_) | EapMethod::Gtc(_) | EapMethod::Md5(_) => {
                let credentials = EapCredentials { identity: name, methods: vec![(**method).clone()] };
                Ok(Inner::Eap(Arc::new(EapMethods::new(&credentials)?)))
            }
        },
    }
}

pub(super) fn nt_hash(secret: &MsChapV2Secret) -> Result<NtHash, EapUnusable> {
    match secret {
        MsChapV2Secret::Password(password) => {
            let password = str::from_utf8(password.expose()).map_err(|_| EapUnusable::PasswordNotUtf8)?;
            Ok(NtHash::of_password(password))
        }
        MsChapV2Secret::NtHash(hash) => {
            let hash = hash.expose();
            Ok(NtHash::new(hash.try_into().map_err(|_| EapUnusable::NtHashLength(hash.len()))?))
        }
    }
}

/// # Errors
/// [`EapUnusable::TooLong`].
pub(super) fn check_length(what: &'static str, bytes: &[u8]) -> Result<(), EapUnusable> {
    if bytes.len() > MAX_BYTES { Err(EapUnusable::TooLong(what)) } else { Ok(()) }
}

/// RADIUS, which most EAP servers speak, has no room for more in an attribute (RFC 2865 §5).
pub(super) const MAX_BYTES: usize = 253;
