//! What silence, idleness and volume make of a session.

use std::time::{Duration, Instant};

use adit_tunnel::{Event, FlowId, Retry};
use bytes::Bytes;

use super::{Phase, Session, Timer};
use crate::{
    config::Settings,
    data::PING_PAYLOAD,
    error::SessionError,
    keepalive::{Finding, Keepalive, Limits},
};

impl Session {
    /// Begins to look at the counters, as the pulled options say.
    pub(super) fn start_keepalive(&mut self, now: Instant) {
        let options = &self.options;
        let limits = Limits {
            ping: options.ping,
            ping_restart: options.ping_restart,
            ping_exit: options.ping_exit,
            inactive: options.inactive,
        };
        self.keepalive = Keepalive::new(limits, now);
        self.timers.set(Timer::Sample, now + self.keepalive.interval());
        if let Some(limit) = options.session_timeout {
            self.timers.set(Timer::SessionTimeout, self.started + limit);
        }
    }

    pub(super) fn sample(&mut self, now: Instant) {
        self.timers.set(Timer::Sample, now + self.keepalive.interval());
        match self.keepalive.look(now, self.keys.totals()) {
            Finding::Exit(silence) => {
                self.fail(now, SessionError::Silence { silence, directive: "ping-exit" }, Retry::Never);
            }
            Finding::Restart(silence) => {
                self.fail(now, SessionError::Silence { silence, directive: "ping-restart" }, Retry::NextAddress);
            }
            Finding::Inactive => self.fail(now, SessionError::Inactive, Retry::Never),
            Finding::Alive { ping } => {
                if ping {
                    let packet = Bytes::from_static(&PING_PAYLOAD);
                    self.events.push_back(Event::Inject { flow: FlowId::default(), packet });
                }
                self.check_volume(now);
            }
        }
    }

    fn check_volume(&mut self, now: Instant) {
        let due = self.keys.wants_renewal(&self.renewal(), &mut self.events);
        if due && self.phase == Phase::Up && self.slot.is_ready() {
            self.renegotiate(now, "us, by volume");
        }
    }
}

/// Whether the profile leaves it to the server how long silence may last; 0 would say "for ever".
pub(super) fn is_unsaid(settings: &Settings) -> bool {
    settings.ping_restart.is_none() && settings.ping_exit.is_none()
}

/// What 2.x clients take over UDP until a server pushes something else (openvpn.8, `--ping-restart`; seen with 2.6.14).
pub(super) const PULL_PING_RESTART: Duration = Duration::from_secs(120);
