//! From [`EapServerConfig`] to methods that can run, with everything in it that can be wrong.

use std::{collections::BTreeSet, fmt};

use super::{gtc::Gtc, md5::Md5Challenge, method::ServerMethod, mschapv2::MsChapV2, users::Users};
use crate::{
    config::MsChapV2Secret,
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
}

/// What EAP asks clients for, checked once and shared by all of them.
pub(crate) struct EapServers {
    users: Users,
    offers: Vec<Offer>,
}

/// A method, ready to run.
pub(super) enum Offer {
    MsChapV2,
    Gtc,
    Md5,
}

impl EapServers {
    /// # Errors
    /// [`EapUnusable`] says what cannot be used.
    pub(crate) fn new(config: &EapServerConfig) -> Result<Self, EapUnusable> {
        let offers = config.methods.iter().map(Offer::new).collect::<Result<Vec<_>, _>>()?;
        let mut kinds = BTreeSet::new();
        if let Some(twice) = offers.iter().find(|offer| !kinds.insert(offer.kind().0)) {
            return Err(EapUnusable::Twice(twice.kind()));
        }
        if offers.is_empty() {
            return Err(EapUnusable::NoMethod);
        }
        if config.users.is_empty() {
            return Err(EapUnusable::NoUser);
        }
        let needs_password = !config.methods.iter().any(EapServerMethod::takes_hash);
        let hashed = |user: &&EapUser| matches!(user.secret, MsChapV2Secret::NtHash(_));
        if let Some(user) = config.users.iter().find(hashed).filter(|_| needs_password) {
            return Err(EapUnusable::HashServesNothing(user.name.clone()));
        }
        Ok(Self { users: Users::new(&config.users)?, offers })
    }

    pub(super) fn best(&self) -> Option<&Offer> {
        self.offers.first()
    }

    pub(super) fn find(&self, kind: EapType) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.kind() == kind)
    }

    pub(super) fn users(&self) -> &Users {
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
    pub(super) fn takes_hash(&self) -> bool {
        match self {
            Self::MsChapV2 => true,
            Self::Gtc | Self::Md5 => false,
        }
    }
}

impl Offer {
    fn new(method: &EapServerMethod) -> Result<Self, EapUnusable> {
        Ok(match method {
            EapServerMethod::MsChapV2 => Self::MsChapV2,
            EapServerMethod::Gtc => Self::Gtc,
            EapServerMethod::Md5 => Self::Md5,
        })
    }

    pub(super) fn kind(&self) -> EapType {
        match self {
            Self::MsChapV2 => EapType::MSCHAPV2,
            Self::Gtc => EapType::GTC,
            Self::Md5 => EapType::MD5,
        }
    }

    pub(super) fn start(&self) -> Box<dyn ServerMethod> {
        match self {
            Self::MsChapV2 => Box::new(MsChapV2::new()),
            Self::Gtc => Box::new(Gtc),
            Self::Md5 => Box::new(Md5Challenge::new()),
        }
    }
}
