//! From [`EapCredentials`] to methods that can run, with everything in it that can be wrong.

use std::{collections::BTreeSet, fmt, str};

use adit_tunnel::Secret;
use mschapv2::NtHash;

use super::{EapUnusable, gtc::Gtc, md5::Md5Challenge, method::Method, mschapv2::MsChapV2, packet::EapType};
use crate::config::{EapCredentials, EapMethod, MsChapV2Secret};

/// What EAP may use, checked once and shared by all sessions.
pub(crate) struct EapMethods {
    /// The answer to an Identity request.
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
        Ok(Self { identity: name, offers })
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
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
            EapMethod::Tls { .. } => return Err(EapUnusable::InnerMethod(EapType::TLS)),
            EapMethod::Ttls { .. } => return Err(EapUnusable::InnerMethod(EapType::TTLS)),
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    pub(super) fn kind(&self) -> EapType {
        match self.kind {
            OfferKind::MsChapV2(_) => EapType::MSCHAPV2,
            OfferKind::Gtc(_) => EapType::GTC,
            OfferKind::Md5(_) => EapType::MD5,
        }
    }

    pub(super) fn start(&self) -> Box<dyn Method> {
        match &self.kind {
            OfferKind::MsChapV2(hash) => Box::new(MsChapV2::new(&self.name, hash.clone())),
            OfferKind::Gtc(answer) => Box::new(Gtc::new(answer.clone())),
            OfferKind::Md5(password) => Box::new(Md5Challenge::new(&self.name, password.clone())),
        }
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
const MAX_BYTES: usize = 253;
