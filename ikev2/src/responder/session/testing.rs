//! What tests may look at.

use super::{ServerSession, State};
use crate::sa::{IkeSa, responder::Answering};

impl ServerSession {
    /// For tables of what becomes of it.
    pub(crate) const fn state_name(&self) -> &'static str {
        match &self.state {
            State::Handshake(Answering::Secured(_)) => "Secured",
            State::Handshake(Answering::Eap(_)) => "Eap",
            State::Handshake(Answering::Proving(_)) => "Proving",
            State::Handshake(Answering::Applied(_)) => "Applied",
            State::Refused(..) => "Refused",
            State::Established(_) => "Established",
            State::Closing(..) => "Closing",
            State::Closed => "Closed",
        }
    }

    /// The IKE SA, with its keys.
    pub(crate) fn ike(&mut self) -> Option<&mut IkeSa> {
        match &mut self.state {
            State::Handshake(answering) => Some(answering.sa_mut()),
            State::Refused(sa, _) => Some(sa),
            State::Established(established) | State::Closing(established, _) => {
                established.sas.first_mut().map(|sa| &mut sa.ike)
            }
            State::Closed => None,
        }
    }
}
