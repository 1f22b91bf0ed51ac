//! Answers of people, farewells, and ends.

use std::time::{Duration, Instant};

use adit_tunnel::{Answer, CloseKind, Event, FlowId, Path, Retry, Transport};
use bytes::Bytes;

use super::{Phase, Session, Timer, peer_info::iv_proto};
use crate::{
    control::message::{EXIT, cr_response},
    data::{EXIT_MESSAGE, OCC_MAGIC, PING_PAYLOAD},
    error::SessionError,
};

impl Session {
    pub(super) fn on_answer(&mut self, now: Instant, answer: Answer) {
        match (self.phase, answer) {
            (Phase::Asking, Answer::Response(response)) => {
                self.login.on_response(response);
                self.on_challenge_answered(now);
            }
            (Phase::Challenged, Answer::Response(response)) => {
                self.login.answer_dynamic_challenge(&response);
                self.end(SessionError::ChallengeAnswered, Retry::After(Duration::ZERO));
            }
            (Phase::Asking | Phase::Challenged, Answer::Cancelled) => {
                self.end(SessionError::ChallengeUnanswered, Retry::Never);
            }
            (Phase::Handshaking | Phase::Pulling | Phase::Up, Answer::Response(response)) => {
                if self.login.takes_cr_response() {
                    let text = cr_response(&response);
                    self.send_control_message(text.expose());
                }
            }
            (Phase::Handshaking | Phase::Pulling | Phase::Up, Answer::Cancelled) => {
                if self.login.takes_cr_response() {
                    self.fail(now, SessionError::ChallengeUnanswered, Retry::Never);
                }
            }
            (Phase::Parting | Phase::Leaving | Phase::Closed, _) => {}
        }
    }

    /// Goes on with the handshake, or starts over if the server will have given it up meanwhile.
    fn on_challenge_answered(&mut self, now: Instant) {
        let (started, window) = (self.slot.channel.started, self.config.settings.hand_window);
        if now.duration_since(started) > window * 3 / 4 {
            return self.end(SessionError::ChallengeAnswered, Retry::After(Duration::ZERO));
        }
        self.timers.stop(Timer::GiveUp);
        self.timers.set(Timer::HandWindow, started + window);
        self.phase = Phase::Handshaking;
        if let Err(error) = self.send_key_message() {
            self.fail(now, error, Retry::NextRemote);
        }
    }

    /// A message of the data channel: pings only count, and they are counted by the opener.
    pub(super) fn on_data_message(&mut self, now: Instant, message: &[u8]) {
        if message == EXIT_MESSAGE {
            self.on_server_exit(now);
        } else if message.starts_with(&OCC_MAGIC) {
            tracing::debug!("options consistency message ignored");
        }
    }

    /// Our address changed, or the stream was rebuilt.
    pub(super) fn on_new_path(&mut self, now: Instant, path: Path) {
        self.path = path;
        let begun = !matches!(self.phase, Phase::Challenged | Phase::Closed);
        if path.transport == Transport::Tcp && begun {
            return self.fail(now, SessionError::StreamLost, Retry::After(Duration::ZERO));
        }
        if self.phase == Phase::Up {
            // The server follows a peer id to its new address as soon as an authentic data packet comes from there.
            self.events.push_back(Event::Path(path));
            self.events.push_back(Event::Inject { flow: FlowId::default(), packet: Bytes::from_static(&PING_PAYLOAD) });
        }
    }

    /// A probe has seen what it can: TLS ends in good order, which an OpenVPN server takes for the end of the client. What it
    /// still has to say of our certificate comes soon or never.
    pub(super) fn part(&mut self, now: Instant) {
        self.timers.stop_all();
        self.phase = Phase::Parting;
        self.slot.say_goodbye();
        self.timers.set(Timer::GiveUp, now + PARTING);
    }

    /// Says goodbye. Over TCP the end of the stream is the farewell.
    pub(super) fn leave(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Leaving | Phase::Closed) {
            return;
        }
        let up = self.phase == Phase::Up;
        if !up || self.path.transport == Transport::Tcp {
            return self.end(SessionError::ClosedLocally, Retry::Never);
        }
        self.timers.stop_all();
        self.phase = Phase::Leaving;
        if self.options.protocol_flags.cc_exit && self.announces(iv_proto::CC_EXIT_NOTIFY) && self.slot.is_ready() {
            self.send_control_message(EXIT);
            self.timers.set(Timer::GiveUp, now + FAREWELL_TIMEOUT);
            return;
        }
        // Unacknowledged: said as often as configured, for what gets lost, but at least once.
        let configured = self.options.explicit_exit_notify.or(self.remote.explicit_exit_notify);
        let times = configured.or(self.config.settings.explicit_exit_notify).unwrap_or(1).clamp(1, MAX_EXIT_NOTICES);
        for _ in 0..times {
            let packet = Bytes::from_static(&EXIT_MESSAGE);
            self.events.push_back(Event::Inject { flow: FlowId::default(), packet });
        }
        self.end(SessionError::ClosedLocally, Retry::Never);
    }

    pub(super) fn on_give_up(&mut self) {
        match self.phase {
            Phase::Asking | Phase::Challenged => self.end(SessionError::ChallengeUnanswered, Retry::Never),
            Phase::Parting | Phase::Leaving => self.end(SessionError::ClosedLocally, Retry::Never),
            Phase::Handshaking | Phase::Pulling | Phase::Up | Phase::Closed => {}
        }
    }

    /// Whether the farewell has arrived.
    pub(super) fn check_farewell(&mut self) {
        if self.phase == Phase::Leaving && self.slot.channel.all_arrived() {
            self.end(SessionError::ClosedLocally, Retry::Never);
        }
    }

    /// Ends the session; what is already queued, such as a TLS alert, is still sent.
    pub(super) fn fail(&mut self, now: Instant, error: SessionError, retry: Retry) {
        // A probe that has said goodbye wants to hear no more than that its certificate is refused.
        let over = self.phase == Phase::Parting && error.kind() != CloseKind::AuthFailed;
        if over || self.phase == Phase::Leaving {
            return self.end(SessionError::ClosedLocally, Retry::Never);
        }
        if error.kind() == CloseKind::AuthFailed {
            self.note(|probing| probing.report.accepted_us = Some(false));
        }
        self.flush(now);
        self.end(error, retry);
    }

    fn end(&mut self, error: SessionError, retry: Retry) {
        self.push_closed(error.closed(retry));
    }
}

/// Long enough for one retransmission, short enough for a person at a terminal.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server may take to refuse the certificate of a probe.
const PARTING: Duration = Duration::from_secs(1);
/// More farewells than this help nobody.
const MAX_EXIT_NOTICES: u32 = 5;
