//! What tests may look at, and may make a gateway's end want.

use std::time::Instant;

use super::{ServerSession, State};
use crate::{established::Established, exchange::Wanted, sa::Timer};

impl ServerSession {
    pub(crate) fn established(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) | State::Closing(established, _) => Some(established),
            State::Handshake(_) | State::Refused(..) | State::Closed => None,
        }
    }

    pub(crate) fn want(&mut self, now: Instant, wanted: Wanted) {
        let (mut cx, state) = self.parts(now);
        if let State::Established(established) = state {
            established.want(&mut cx, wanted);
        }
    }

    /// Every timer that runs.
    pub(crate) fn timers(&self) -> Vec<Timer> {
        self.timers.running().collect()
    }
}
