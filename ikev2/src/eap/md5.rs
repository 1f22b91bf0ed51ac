//! EAP-MD5 (RFC 3748 §5.4, RFC 1994 §4): a hash over identifier, password and challenge. It makes no key, and the server proves
//! nothing.

use adit_tunnel::Secret;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::{
    EapError,
    method::{Context, Method},
    packet::EapType,
};

pub(super) struct Md5Challenge {
    name: String,
    password: Secret,
    answered: bool,
}

impl Md5Challenge {
    pub(super) fn new(name: &str, password: Secret) -> Self {
        Self { name: name.to_owned(), password, answered: false }
    }
}

impl Method for Md5Challenge {
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, EapError> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(EapError::AskedAgain(EapType::MD5));
        }
        let (&size, rest) = data.split_first().ok_or(EapError::Md5)?;
        let challenge = rest.get(..usize::from(size)).filter(|challenge| !challenge.is_empty()).ok_or(EapError::Md5)?;
        let hash = Md5::new().chain_update([cx.id]).chain_update(self.password.expose()).chain_update(challenge);
        Ok(Zeroizing::new([&[16], &hash.finalize()[..], self.name.as_bytes()].concat()))
    }

    fn finish(&mut self) -> Result<Option<Secret>, EapError> {
        if self.answered { Ok(None) } else { Err(EapError::SuccessTooEarly(Some(EapType::MD5))) }
    }
}
