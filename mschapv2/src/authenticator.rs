//! The server's end.

use alloc::{string::String, vec::Vec};
use core::{error, fmt};

use subtle::ConstantTimeEq;

use crate::{
    crypto::{self, Msk, NtHash},
    packet::{Challenge, Response, Success},
    peer::Proven,
};

/// Waits for the answer to its challenge.
#[derive(Debug)]
pub struct Challenging {
    challenge: Challenge,
}

/// Knows that the peer knows the password, and proves the same in turn.
#[derive(Debug)]
pub struct Accepted {
    success: Success,
    msk: Msk,
}

/// Why a peer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerNotAuthenticated {
    /// It answers another challenge.
    OtherIdentifier,
    /// It does not know the password.
    WrongResponse,
}

impl Challenging {
    /// `challenge` must be random and never used before; `name` is the authenticator's.
    #[must_use]
    pub fn new(id: u8, challenge: [u8; 16], name: &[u8]) -> Self {
        Self { challenge: Challenge { id, challenge, name: Vec::from(name) } }
    }

    /// What to send.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// Checks the answer against the hash of the password of the user that [`Response::name`] tells. An attempt uses the
    /// challenge up.
    ///
    /// # Errors
    /// [`PeerNotAuthenticated`]; the authenticator may send a [`Failure`](crate::packet::Failure) then.
    pub fn verify(self, response: &Response, hash: &NtHash) -> Result<Accepted, PeerNotAuthenticated> {
        if response.id != self.challenge.id {
            return Err(PeerNotAuthenticated::OtherIdentifier);
        }
        let challenge = crypto::challenge_hash(&response.peer_challenge, &self.challenge.challenge, &response.name);
        let expected = crypto::nt_response(&challenge, hash);
        if bool::from(expected.ct_ne(&response.nt_response)) {
            return Err(PeerNotAuthenticated::WrongResponse);
        }
        let authenticator_response = crypto::authenticator_response(hash, &expected, &challenge);
        let success = Success { id: self.challenge.id, authenticator_response, message: String::new() };
        Ok(Accepted { success, msk: crypto::msk(hash, &expected) })
    }
}

impl Accepted {
    /// What to send.
    #[must_use]
    pub fn success(&self) -> &Success {
        &self.success
    }

    /// The peer has acknowledged [`Self::success`], so it holds the authenticator for genuine.
    #[must_use]
    pub fn acknowledged(self) -> Proven {
        Proven::new(self.msk)
    }
}

impl fmt::Display for PeerNotAuthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherIdentifier => "the MS-CHAPv2 response has another identifier than the challenge",
            Self::WrongResponse => "the MS-CHAPv2 response is wrong",
        })
    }
}

impl error::Error for PeerNotAuthenticated {}
