//! What the server says once the keys are exchanged.

use std::time::{Duration, Instant};

use adit_tunnel::{Event, Prompt, Retry};

use super::{PUSH_REQUEST_INTERVAL, Phase, Session, Timer};
use crate::{
    control::message::{self, Advance, AuthFailure, DynamicChallenge, Info, Message, MessageError, Push, Restart},
    error::{PeerMisbehaved, SessionError},
};

impl Session {
    /// One TLS record: usually one message.
    pub(super) fn on_record(&mut self, now: Instant, record: &[u8]) -> Result<(), SessionError> {
        for message in message::messages(record) {
            match message {
                Ok(message) => self.on_message(now, message)?,
                Err(MessageError::TooManyMessages) => return Err(PeerMisbehaved::ControlMessageTooLong.into()),
                Err(error) => tracing::warn!(%error, "control message ignored"),
            }
            if !self.listens() {
                break;
            }
        }
        Ok(())
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), SessionError> {
        tracing::debug!(?message, "control message");
        match message {
            Message::PushReply(push) => self.on_push_reply(now, push),
            Message::AuthFailed(failure) => {
                self.on_auth_failed(now, failure);
                Ok(())
            }
            Message::AuthPending { timeout } => {
                self.on_auth_pending(timeout);
                Ok(())
            }
            Message::InfoPre(info) | Message::Info(info) => {
                self.on_info(info);
                Ok(())
            }
            Message::Restart(restart) => {
                self.on_restart(now, restart);
                Ok(())
            }
            Message::Halt { message } => {
                self.fail(now, SessionError::ServerHalts(message), Retry::Never);
                Ok(())
            }
            Message::Exit => {
                self.on_server_exit(now);
                Ok(())
            }
            Message::PushUpdate(_) | Message::PushRequest | Message::Unknown(_) => {
                tracing::debug!("control message not understood");
                Ok(())
            }
        }
    }

    pub(super) fn request_push(&mut self, now: Instant) {
        if self.phase == Phase::Pulling {
            self.send_control_message(message::PUSH_REQUEST);
            self.timers.set(Timer::PushRequest, now + PUSH_REQUEST_INTERVAL);
        }
    }

    /// Options count only while they are asked for: keys and credentials have been exchanged then, and nothing that runs
    /// is changed (CVE-2020-15078 is about options too early). A token may be renewed at any time.
    fn on_push_reply(&mut self, now: Instant, push: Push) -> Result<(), SessionError> {
        let Some(options) = self.push_reply.add(push).map_err(|_| PeerMisbehaved::PushReplyTooLong)? else {
            return Ok(());
        };
        match self.phase {
            Phase::Pulling => {
                let notes = self
                    .options
                    .apply(&options, &self.config.settings)
                    .map_err(|e| SessionError::PushedOption(e.to_string()))?;
                notes.iter().for_each(|note| tracing::info!("{note}"));
                self.login.on_options(&self.options);
                self.go_up(now)
            }
            Phase::Up => {
                self.renew_token(&options);
                Ok(())
            }
            Phase::Asking
            | Phase::Handshaking
            | Phase::Challenged
            | Phase::Parting
            | Phase::Leaving
            | Phase::Closed => Ok(()),
        }
    }

    fn renew_token(&mut self, options: &[String]) {
        let tokens: Vec<String> = options.iter().filter(|option| option.starts_with("auth-token")).cloned().collect();
        let mut renewed = self.options.clone();
        if !tokens.is_empty() && renewed.apply(&tokens, &self.config.settings).is_ok() {
            self.login.on_options(&renewed);
            tracing::debug!("the server renewed our auth-token");
        }
    }

    fn on_auth_failed(&mut self, now: Instant, failure: AuthFailure) {
        match failure {
            AuthFailure::Plain(reason) if reason.starts_with(NO_SHARED_CIPHER) => {
                self.fail(now, SessionError::NoSharedCipher, Retry::NextRemote);
            }
            AuthFailure::Plain(reason) | AuthFailure::Session(reason) if self.login.uses_token() => {
                // The password itself was not judged: it is tried once more, without the token.
                self.login.drop_token();
                self.fail(now, SessionError::TokenRefused(reason), Retry::After(Duration::ZERO));
            }
            AuthFailure::Plain(reason) | AuthFailure::Session(reason) => {
                self.fail(now, SessionError::AuthFailed(reason), Retry::FreshCredentials);
            }
            AuthFailure::Temporary { backoff, advance, message } => {
                let retry = match (backoff, advance) {
                    (Some(backoff), _) => Retry::After(backoff),
                    (None, Advance::No) => Retry::After(Duration::ZERO),
                    (None, Advance::Address) => Retry::NextAddress,
                    (None, Advance::Remote) => Retry::NextRemote,
                };
                self.fail(now, SessionError::AuthFailedTemporarily(message), retry);
            }
            AuthFailure::Challenge(challenge) => self.on_dynamic_challenge(now, challenge),
        }
    }

    fn on_dynamic_challenge(&mut self, now: Instant, challenge: DynamicChallenge) {
        self.timers.stop_all();
        self.phase = Phase::Challenged;
        let prompt = self.login.on_dynamic_challenge(challenge);
        self.events.push_back(Event::Prompt(prompt));
        self.timers.set(Timer::GiveUp, now + super::ANSWER_TIMEOUT);
    }

    /// The server waits for something outside; so do we, within bounds that it cannot move by asking again and again
    /// (OpenVPN 2.6 `push.c`).
    fn on_auth_pending(&mut self, timeout: Option<Duration>) {
        if self.phase != Phase::Pulling {
            return;
        }
        let settings = &self.config.settings;
        let cap = (settings.reneg_sec / 2).max(settings.hand_window);
        let wait = timeout.unwrap_or(settings.hand_window).min(cap);
        tracing::info!(seconds = wait.as_secs(), "the server waits for a further proof");
        let until = self.pulling_since + wait;
        if self.timers.get(Timer::HandWindow).is_none_or(|at| at < until) {
            self.timers.set(Timer::HandWindow, until);
        }
    }

    fn on_info(&mut self, info: Info) {
        self.prompts = self.prompts.saturating_add(1);
        if self.prompts > MAX_PROMPTS {
            tracing::debug!("the server asks too much of a person; ignored");
            return;
        }
        let prompt = match info {
            Info::OpenUrl(url) | Info::WebAuth { url, .. } => Prompt::OpenUrl { url },
            Info::CrText { text, echo, response: true } => {
                self.login.expect_cr_response();
                Prompt::Challenge { text, echo }
            }
            Info::CrText { text, .. } | Info::Text(text) => Prompt::Message { text },
        };
        self.events.push_back(Event::Prompt(prompt));
    }

    fn on_restart(&mut self, now: Instant, restart: Restart) {
        let retry = if restart.next_server { Retry::NextRemote } else { Retry::After(RESTART_WAIT) };
        if !restart.keep_credentials {
            self.login.drop_token();
        }
        self.fail(now, SessionError::ServerRestarts(restart.message), retry);
    }

    pub(super) fn on_server_exit(&mut self, now: Instant) {
        self.fail(now, SessionError::ServerExits, Retry::After(RESTART_WAIT));
    }

    /// Sends a control message, if there is a control channel to send it on.
    pub(super) fn send_control_message(&mut self, text: &[u8]) {
        if let Err(error) = self.slot.send_message(text) {
            tracing::warn!(?error, "a control message could not be sent");
        }
    }
}

/// What a person can be shown and asked in one session; our own judgement.
const MAX_PROMPTS: u32 = 16;
/// A server that restarts is away for a moment; with `explicit-exit-notify 1` it leaves two seconds after its notice.
const RESTART_WAIT: Duration = Duration::from_secs(2);

/// How a server begins that has no cipher for us, under the heading of a refused password (OpenVPN 2.6 `push.c`).
const NO_SHARED_CIPHER: &str = "Data channel cipher negotiation failed";
