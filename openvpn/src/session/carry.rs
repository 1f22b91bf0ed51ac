//! What outlives a session.

use adit_tunnel::Secret;

/// Hands what one session learnt to the next one with the same [`crate::Config`]: a token in place of the password, the
/// answer to a question. Taken from a closed session by [`crate::Session::into_carry`].
#[derive(Debug, Clone, Default)]
pub struct Carry {
    /// `auth-token`: used in place of the password until it is refused.
    pub(crate) token: Option<AuthToken>,
    /// The answer to a dynamic challenge: used once in place of the password.
    pub(crate) challenge: Option<ChallengeAnswer>,
    /// The answer to `static-challenge`, if it has not been sent yet.
    pub(crate) response: Option<Secret>,
}

/// A token the server gave us.
#[derive(Debug, Clone)]
pub(crate) struct AuthToken {
    /// `auth-token-user`, if it came along.
    pub(crate) username: Option<String>,
    pub(crate) token: Secret,
}

/// What to send after AUTH_FAILED,CRV1.
#[derive(Debug, Clone)]
pub(crate) struct ChallengeAnswer {
    pub(crate) username: String,
    /// Already in the form `CRV1::STATE::RESPONSE`.
    pub(crate) password: Secret,
}
