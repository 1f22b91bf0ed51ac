//! What tests may look at, and may make a gateway's end want.

use std::time::Instant;

use super::{ServerSession, State};
use crate::{
    established::Established,
    exchange::Wanted,
    sa::{Context, IkeSa, Timer, responder::Answering},
};

impl ServerSession {
    pub(crate) fn established(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) | State::Closing(established, _) => Some(established),
            State::Handshake(_) | State::Refused(..) | State::Closed => None,
        }
    }

    pub(crate) fn want(&mut self, now: Instant, wanted: Wanted) {
        self.act(now, |established, cx| established.want(cx, wanted));
    }

    pub(crate) fn act(&mut self, now: Instant, act: impl FnOnce(&mut Established, &mut Context<'_>)) {
        self.with_established(now, act);
    }

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

    /// Every timer that runs.
    pub(crate) fn timers(&self) -> Vec<Timer> {
        self.timers.running().collect()
    }
}
