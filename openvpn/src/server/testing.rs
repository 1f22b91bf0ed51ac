//! What tests may look at, and set off.

use std::time::Instant;

use super::session::{Phase, ServerSession, Timer};

impl ServerSession {
    /// Our turn to renegotiate has come, if nothing is going on.
    pub(crate) fn renegotiate_soon(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Up) && self.slot.is_ready() && self.slot.channel.all_arrived() {
            self.timers.set(Timer::Renegotiate, now);
        }
    }

    /// The timers that run, and those that have a cause.
    pub(crate) fn timers_and_causes(&self) -> (Vec<String>, Vec<String>) {
        let running: Vec<_> = self.timers.running().collect();
        let in_order = |belongs: &dyn Fn(Timer) -> bool| {
            TIMERS.into_iter().filter(|timer| belongs(*timer)).map(|timer| format!("{timer:?}")).collect()
        };
        (in_order(&|timer| running.contains(&timer)), in_order(&|timer| self.has_cause(timer)))
    }

    fn has_cause(&self, timer: Timer) -> bool {
        let (up, ready) = (matches!(self.phase, Phase::Up), self.slot.is_ready());
        let over = matches!(self.phase, Phase::Closed);
        match timer {
            Timer::Retransmit => !over && self.slot.channel.reliable.poll_timeout().is_some(),
            Timer::HandWindow => {
                matches!(self.phase, Phase::Handshaking | Phase::Judging | Phase::Admitted(_)) || up && !ready
            }
            Timer::Pending => false,
            Timer::Keys => !over && self.keys.poll_timeout().is_some(),
            Timer::Renegotiate => up && ready && !self.config.settings.reneg_sec.is_zero(),
            Timer::Sample => up,
            Timer::GiveUp => matches!(self.phase, Phase::Leaving(_)),
        }
    }
}

const TIMERS: [Timer; 7] = [
    Timer::Retransmit,
    Timer::HandWindow,
    Timer::Pending,
    Timer::Keys,
    Timer::Renegotiate,
    Timer::Sample,
    Timer::GiveUp,
];
