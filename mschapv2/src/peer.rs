//! The client's end.

use core::{error, fmt};

use subtle::ConstantTimeEq;

use crate::{
    crypto::{self, Msk, NtHash},
    packet::{Challenge, Response, Success},
};

/// Has the authenticator's challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenged {
    id: u8,
    challenge: [u8; 16],
}

/// Has answered the challenge; the authenticator has not proved anything yet.
pub struct Responded {
    expected: [u8; 20],
    msk: Msk,
}

/// Both ends know the password.
#[derive(Debug)]
pub struct Proven {
    msk: Msk,
}

/// The authenticator does not know the password's hash: it is not who it poses as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticatorNotAuthenticated;

impl Challenged {
    /// Starts from a challenge packet.
    #[must_use]
    pub fn new(challenge: &Challenge) -> Self {
        Self::with(challenge.id, challenge.challenge)
    }

    /// Starts from a challenge that both ends know without a packet, as in EAP-TTLS (RFC 5281 §11.2.4).
    #[must_use]
    pub fn with(id: u8, challenge: [u8; 16]) -> Self {
        Self { id, challenge }
    }

    /// Answers as `name`, which may begin with a domain and a backslash. `peer_challenge` must be random.
    #[must_use]
    pub fn respond(self, name: &[u8], hash: &NtHash, peer_challenge: [u8; 16]) -> (Responded, Response) {
        let challenge = crypto::challenge_hash(&peer_challenge, &self.challenge, name);
        let nt_response = crypto::nt_response(&challenge, hash);
        let expected = crypto::authenticator_response(hash, &nt_response, &challenge);
        let response = Response { id: self.id, peer_challenge, nt_response, name: name.to_vec() };
        (Responded { expected, msk: crypto::msk(hash, &nt_response) }, response)
    }
}

impl Responded {
    /// Lets the authenticator prove itself. Its identifier is not compared: what it proves depends on the response anyhow.
    ///
    /// # Errors
    /// [`AuthenticatorNotAuthenticated`] if it does not know the password's hash.
    pub fn handle_success(self, success: &Success) -> Result<Proven, AuthenticatorNotAuthenticated> {
        if self.expected.ct_eq(&success.authenticator_response).into() {
            Ok(Proven { msk: self.msk })
        } else {
            Err(AuthenticatorNotAuthenticated)
        }
    }
}

impl Proven {
    pub(crate) fn new(msk: Msk) -> Self {
        Self { msk }
    }

    /// The keying material, the same on both ends.
    #[must_use]
    pub fn msk(&self) -> &Msk {
        &self.msk
    }
}

/// Says nothing of the proof expected: whoever knows it can pose as the authenticator.
impl fmt::Debug for Responded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responded(..)")
    }
}

impl fmt::Display for AuthenticatorNotAuthenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the MS-CHAPv2 server did not prove that it knows the password")
    }
}

impl error::Error for AuthenticatorNotAuthenticated {}
