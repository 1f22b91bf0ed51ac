//! Signs of life, farewells, and ends.

use std::time::{Duration, Instant};

use adit_tunnel::{Event, FlowId, Transport};
use bytes::Bytes;

use super::{
    config::ExitNotice,
    error::ServerSessionError,
    session::{Phase, ServerSession, Timer},
};
use crate::{
    data::{EXIT_MESSAGE, OCC_MAGIC, PING_PAYLOAD},
    keepalive::{Finding, Keepalive, Limits},
};

impl ServerSession {
    /// Begins to look at the counters.
    pub(super) fn start_keepalive(&mut self, now: Instant) {
        let keepalive = self.config.settings.keepalive;
        let limits = Limits {
            ping: keepalive.map(|(ping, _)| ping),
            // Twice what clients take: it is they who start over (2.6 `helper.c`, helper_keepalive).
            ping_restart: keepalive.map(|(_, restart)| restart * 2),
            ..Limits::default()
        };
        self.keepalive = Keepalive::new(limits, now);
        self.timers.set(Timer::Sample, now + self.keepalive.interval());
    }

    pub(super) fn sample(&mut self, now: Instant) {
        self.timers.set(Timer::Sample, now + self.keepalive.interval());
        match self.keepalive.look(now, self.keys.totals()) {
            Finding::Restart(silence) | Finding::Exit(silence) => self.fail(now, ServerSessionError::Silence(silence)),
            // Nothing is configured that could be so.
            Finding::Inactive => {}
            Finding::Alive { ping } => {
                if ping {
                    let packet = Bytes::from_static(&PING_PAYLOAD);
                    self.events.push_back(Event::Inject { flow: FlowId::default(), packet });
                }
                if self.keys.wants_renewal(&self.renewal(), &mut self.events) {
                    self.renegotiate_in_turn(now, "us, by volume");
                }
            }
        }
    }

    /// A message of the data channel: pings only count, and they are counted by the opener.
    pub(super) fn on_data_message(&mut self, now: Instant, message: &[u8]) {
        if message == EXIT_MESSAGE {
            self.fail(now, ServerSessionError::ClientExits);
        } else if message.starts_with(&OCC_MAGIC) {
            tracing::debug!("options consistency message ignored");
        }
    }

    /// Says goodbye. Over TCP the end of the stream is the farewell.
    pub(super) fn leave(&mut self, now: Instant) {
        let notice = match self.config.settings.exit_notice {
            ExitNotice::Silent => None,
            ExitNotice::Restart => Some("RESTART\0"),
            ExitNotice::NextServer => Some("RESTART,[N]\0"),
        };
        match (&self.phase, notice) {
            (Phase::Leaving(_) | Phase::Closed, _) => {}
            (Phase::Up, Some(notice)) if self.path.transport == Transport::Udp && self.slot.is_ready() => {
                self.send_control_message(notice);
                self.say_last_word(now, ServerSessionError::ClosedLocally, FAREWELL_TIMEOUT);
            }
            (Phase::Handshaking | Phase::Judging | Phase::Admitted(_) | Phase::Up, _) => {
                self.end(ServerSessionError::ClosedLocally);
            }
        }
    }

    /// Waits until what was said has arrived, but not longer than this.
    pub(super) fn say_last_word(&mut self, now: Instant, error: ServerSessionError, wait: Duration) {
        self.timers.stop_all();
        self.phase = Phase::Leaving(error);
        self.timers.set(Timer::GiveUp, now + wait);
    }

    /// Whether the last word has arrived.
    pub(super) fn check_farewell(&mut self) {
        if matches!(self.phase, Phase::Leaving(_)) && self.slot.channel.all_arrived() {
            self.on_give_up();
        }
    }

    pub(super) fn on_give_up(&mut self) {
        if let Phase::Leaving(error) = &self.phase {
            let error = error.clone();
            self.end(error);
        }
    }

    /// Ends the session; what is already queued, such as a TLS alert, is still sent.
    pub(super) fn fail(&mut self, now: Instant, error: ServerSessionError) {
        if let Phase::Leaving(_) = &self.phase {
            return self.on_give_up();
        }
        self.flush(now);
        self.end(error);
    }

    fn end(&mut self, error: ServerSessionError) {
        self.push_closed(error.closed());
    }
}

/// Long enough for one retransmission.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
