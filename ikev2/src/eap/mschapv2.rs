//! EAP-MSCHAPv2 (type 26, `draft-kamath-pppext-eap-mschapv2`): the packets of RFC 2759 inside EAP.
//!
//! ```text
//!   Waiting ── Challenge / Response ──▶ Responded ── Success / acknowledgement ──▶ Proven ── EAP-Success
//! ```

use std::mem;

use adit_tunnel::{Random, Secret};
use mschapv2::{
    Challenged, NtHash, Proven, Responded,
    packet::{Packet, SUCCESS_ACKNOWLEDGEMENT},
};
use zeroize::Zeroizing;

use super::{
    EapError,
    method::{Context, Method},
    packet::EapType,
};

pub(super) struct MsChapV2 {
    name: String,
    hash: NtHash,
    state: State,
}

enum State {
    Waiting,
    Responded(Responded),
    Proven(Proven),
    Failed,
}

impl MsChapV2 {
    /// `name` may have a domain.
    pub(super) fn new(name: &str, hash: NtHash) -> Self {
        Self { name: name.to_owned(), hash, state: State::Waiting }
    }
}

impl Method for MsChapV2 {
    /// A failure is not answered: Windows Server 2008 R2 minds it, Windows clients do not do it either.
    fn handle(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, EapError> {
        match (mem::replace(&mut self.state, State::Failed), Packet::parse(data)?) {
            (State::Waiting, Packet::Challenge(challenge)) => {
                let challenged = Challenged::new(&challenge);
                let (responded, response) = challenged.respond(self.name.as_bytes(), &self.hash, random(cx.random));
                self.state = State::Responded(responded);
                Ok(Zeroizing::new(response.encode()))
            }
            (State::Responded(responded), Packet::Success(success)) => {
                let proven = responded.handle_success(&success).map_err(|_| EapError::ServerDoesNotKnowPassword)?;
                self.state = State::Proven(proven);
                Ok(Zeroizing::new(SUCCESS_ACKNOWLEDGEMENT.to_vec()))
            }
            (State::Responded(_), Packet::Failure(failure)) => {
                Err(EapError::RefusedByMsChapV2 { error: failure.error, message: failure.message })
            }
            _ => Err(EapError::MsChapV2OutOfOrder),
        }
    }

    fn finish(&mut self) -> Result<Option<Secret>, EapError> {
        match &self.state {
            State::Proven(proven) => Ok(Some(Secret::new(*proven.msk().expose()))),
            State::Waiting | State::Responded(_) | State::Failed => {
                Err(EapError::SuccessTooEarly(Some(EapType::MSCHAPV2)))
            }
        }
    }
}

/// A peer challenge.
pub(super) fn random(random: &mut dyn Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes
}
