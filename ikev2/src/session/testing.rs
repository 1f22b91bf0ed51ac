//! What tests may look at, and may make a session want.

use std::time::Instant;

use super::{Session, State};
use crate::{
    established::Established,
    exchange::Wanted,
    sa::{Context, Timer, initiator::Handshake},
};

impl Session {
    pub(crate) fn established(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) | State::Closing(established) => Some(established),
            State::Handshake(_) | State::Leaving(_) | State::Parting(_) | State::Closed => None,
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
            State::Handshake(Handshake::Init(_)) => "Init",
            State::Handshake(Handshake::Auth(_)) => "Auth",
            State::Handshake(Handshake::Eap(_)) => "Eap",
            State::Handshake(Handshake::Proved(_)) => "Proved",
            State::Leaving(_) => "Leaving",
            State::Established(_) => "Established",
            State::Closing(_) => "Closing",
            State::Parting(_) => "Parting",
            State::Closed => "Closed",
        }
    }

    /// Every timer that runs.
    pub(crate) fn timers(&self) -> Vec<Timer> {
        self.timers.running().collect()
    }
}
