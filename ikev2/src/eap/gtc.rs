//! EAP-GTC (RFC 3748 §5.6): a question, and the password in clear as the answer. It makes no key.

use adit_tunnel::Secret;
use zeroize::Zeroizing;

use super::{
    EapError,
    method::{Context, Method},
    packet::EapType,
};

/// The question is not asked of anybody: the answer is fixed.
pub(super) struct Gtc {
    answer: Secret,
    answered: bool,
}

impl Gtc {
    pub(super) fn new(answer: Secret) -> Self {
        Self { answer, answered: false }
    }
}

impl Method for Gtc {
    /// Answers once: the same password again would only count as one more failure.
    fn handle(&mut self, _: &mut Context<'_>, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, EapError> {
        if std::mem::replace(&mut self.answered, true) {
            return Err(EapError::AskedAgain(EapType::GTC));
        }
        Ok(Zeroizing::new(self.answer.expose().to_vec()))
    }

    fn finish(&mut self) -> Result<Option<Secret>, EapError> {
        if self.answered { Ok(None) } else { Err(EapError::SuccessTooEarly(Some(EapType::GTC))) }
    }
}
