//! What tests may look at, and set off.

use std::time::Instant;

use super::{Phase, Session, Timer};
use crate::control::packet::SessionId;

impl Session {
    /// The newest key id, and how far its slot is.
    pub(crate) fn slot_name(&self) -> (u8, &'static str) {
        (self.slot.channel.key_id.value(), self.slot.state_name())
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.link.session_id
    }

    /// The id of the server's next packet of the newest key.
    pub(crate) fn expected_packet_id(&self) -> u32 {
        self.slot.channel.reliable.expected()
    }

    /// Says something inside TLS, whether or not it is our turn.
    pub(crate) fn say(&mut self, now: Instant, record: &[u8]) {
        self.slot.say(record);
        self.flush(now);
    }

    /// Our turn to renegotiate has come, if nothing is going on.
    pub(crate) fn renegotiate_soon(&mut self, now: Instant) {
        if self.phase == Phase::Up && self.slot.is_ready() {
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
        let (up, ready) = (self.phase == Phase::Up, self.slot.is_ready());
        let over = self.phase == Phase::Closed;
        let (channel, settings) = (&self.slot.channel, &self.config.settings);
        match timer {
            Timer::Retransmit => !over && channel.reliable.poll_timeout().is_some(),
            Timer::Connect => self.phase == Phase::Handshaking && self.link.peer_session_id.is_none(),
            Timer::HandWindow => matches!(self.phase, Phase::Handshaking | Phase::Pulling) || up && !ready,
            Timer::PushRequest => self.phase == Phase::Pulling,
            Timer::Keys => !over && self.keys.poll_timeout().is_some(),
            Timer::Renegotiate => up && ready && !settings.reneg_sec.is_zero(),
            Timer::Sample => up,
            Timer::SessionTimeout => up && self.options.session_timeout.is_some(),
            Timer::GiveUp => matches!(self.phase, Phase::Asking | Phase::Challenged | Phase::Parting | Phase::Leaving),
        }
    }
}

const TIMERS: [Timer; 9] = [
    Timer::Retransmit,
    Timer::Connect,
    Timer::HandWindow,
    Timer::PushRequest,
    Timer::Keys,
    Timer::Renegotiate,
    Timer::Sample,
    Timer::SessionTimeout,
    Timer::GiveUp,
];
