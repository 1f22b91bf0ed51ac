//! Who may come in, and whether a proof is that of who it says.
//!
//! A name that nobody has is judged like one that somebody has: by the same number of look-ups, against the secrets of a user that
//! does not exist, and then it is refused. Names are looked up by their hash, so that not even the time of a look-up says how much of
//! one was right.

use std::collections::BTreeMap;

use adit_tunnel::Secret;
use md5::Md5;
use mschapv2::{Accepted, Challenging, NtHash, PeerNotAuthenticated, crypto::user_part, packet::Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{EapClientError, EapUser};
use crate::{
    config::MsChapV2Secret,
    eap::{
        EapUnusable,
        credentials::{check_length, nt_hash},
        printable,
    },
};

/// Everybody.
pub(super) struct Users {
    users: BTreeMap<[u8; 32], User>,
    /// Whom a proof is compared with when there is no such user.
    nobody: User,
    /// What a password is compared with when there is none.
    no_password: Password,
}

struct User {
    name: String,
    hash: NtHash,
    password: Option<Password>,
}

/// A password, and its hash, which can be compared in constant time whatever its length.
struct Password {
    password: Secret,
    digest: Zeroizing<[u8; 32]>,
}

/// Who somebody says to be.
pub(super) struct Claimed<'a> {
    user: &'a User,
    password: &'a Password,
    /// `None` if there is a user of this name, else what it was.
    unknown: Option<String>,
}

impl Users {
    /// # Errors
    /// [`EapUnusable`] names the user that is there twice, or says what is wrong with a secret.
    pub(super) fn new(users: &[EapUser]) -> Result<Self, EapUnusable> {
        let mut all = BTreeMap::new();
        for user in users {
            check_length("user name", user.name.as_bytes())?;
            if all.insert(key(user.name.as_bytes()), User::new(user)?).is_some() {
                return Err(EapUnusable::UserTwice(user.name.clone()));
            }
        }
        let nobody = User { name: String::new(), hash: NtHash::new([0; 16]), password: None };
        Ok(Self { users: all, nobody, no_password: Password::new("".into()) })
    }

    /// The user of this name, or else of what follows the domain in it.
    pub(super) fn claimed(&self, name: &[u8]) -> Claimed<'_> {
        // Both, always.
        let (whole, part) = (self.users.get(&key(name)), self.users.get(&key(user_part(name))));
        let known = whole.or(part);
        let user = known.unwrap_or(&self.nobody);
        Claimed {
            user,
            password: user.password.as_ref().unwrap_or(&self.no_password),
            unknown: known.is_none().then(|| printable(name)),
        }
    }
}

impl User {
    fn new(user: &EapUser) -> Result<Self, EapUnusable> {
        let password = match &user.secret {
            MsChapV2Secret::Password(password) => {
                check_length("password", password.expose())?;
                Some(Password::new(password.clone()))
            }
            MsChapV2Secret::NtHash(_) => None,
        };
        Ok(Self { name: user.name.clone(), hash: nt_hash(&user.secret)?, password })
    }
}

impl Password {
    fn new(password: Secret) -> Self {
        let digest = Zeroizing::new(key(password.expose()));
        Self { password, digest }
    }
}

impl Claimed<'_> {
    /// Checks a response of MS-CHAPv2. With it comes the user's name as it is configured.
    pub(super) fn ms_chap(
        self,
        challenging: Challenging,
        response: &Response,
    ) -> Result<(Accepted, String), EapClientError> {
        match challenging.verify(response, &self.user.hash) {
            Err(PeerNotAuthenticated::OtherIdentifier) => Err(EapClientError::OtherChallenge),
            Err(PeerNotAuthenticated::WrongResponse) => Err(self.refusal()),
            Ok(accepted) => self.admit_if(Choice::from(1)).map(|name| (accepted, name)),
        }
    }

    /// Checks a password. The user's name as it is configured.
    pub(super) fn password(self, password: &[u8]) -> Result<String, EapClientError> {
        let digest = Zeroizing::new(key(password));
        let same = digest.ct_eq(&*self.password.digest);
        self.admit_with_password(same)
    }

    /// Checks the hash of a response to EAP-MD5 (RFC 1994 §4.1). The user's name as it is configured.
    pub(super) fn md5(self, id: u8, challenge: &[u8], response: &[u8; 16]) -> Result<String, EapClientError> {
        let hash = Md5::new().chain_update([id]).chain_update(self.password.password.expose()).chain_update(challenge);
        let same = hash.finalize()[..].ct_eq(response);
        self.admit_with_password(same)
    }

    fn admit_with_password(self, same: Choice) -> Result<String, EapClientError> {
        if self.unknown.is_none() && self.user.password.is_none() {
            return Err(EapClientError::OnlyHash(self.user.name.clone()));
        }
        self.admit_if(same)
    }

    /// Nobody is never admitted, whatever proof comes.
    fn admit_if(self, same: Choice) -> Result<String, EapClientError> {
        if bool::from(same) && self.unknown.is_none() { Ok(self.user.name.clone()) } else { Err(self.refusal()) }
    }

    fn refusal(self) -> EapClientError {
        match self.unknown {
            Some(name) => EapClientError::UnknownUser(name),
            None => EapClientError::WrongPassword(self.user.name.clone()),
        }
    }
}

fn key(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
