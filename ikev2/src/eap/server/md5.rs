//! EAP-MD5 (RFC 3748 §5.4, RFC 1994 §4), asking.

use zeroize::Zeroizing;

use super::{
    EapClientError,
    method::{Context, Next, ServerMethod},
};
use crate::eap::{EapError, mschapv2::random};

pub(super) struct Md5Challenge([u8; 16]);

impl Md5Challenge {
    pub(super) fn new() -> Self {
        Self([0; 16])
    }
}

impl ServerMethod for Md5Challenge {
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<Zeroizing<Vec<u8>>, EapClientError> {
        self.0 = random(cx.random);
        Ok(Zeroizing::new([&[16], &self.0[..]].concat()))
    }

    /// The name behind the hash does not count: that of the identity does.
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Next, EapClientError> {
        let (&[16], rest) = data.split_first_chunk().ok_or(EapError::Md5)? else { return Err(EapError::Md5.into()) };
        let (response, _) = rest.split_first_chunk().ok_or(EapError::Md5)?;
        let identity = cx.users.claimed(cx.identity).md5(cx.id, &self.0, response)?;
        Ok(Next::Done { key: None, identity })
    }
}
