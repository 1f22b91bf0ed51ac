//! Who we say we are: user, password, token, answers to questions.

use std::sync::Arc;

use adit_tunnel::{Prompt, Random, Secret};
use zeroize::Zeroizing;

use super::carry::{AuthToken, Carry, ChallengeAnswer};
use crate::{
    config::Config,
    control::message::{DynamicChallenge, static_challenge_password},
    key_exchange::ClientMessage,
    options::PulledOptions,
};

/// The credentials of one session.
pub(super) struct Login {
    config: Arc<Config>,
    token: Option<AuthToken>,
    /// What the last session was told to send.
    challenge: Option<ChallengeAnswer>,
    /// The answer to `static-challenge`.
    response: Option<Secret>,
    response_sent: bool,
    /// AUTH_FAILED asked for this.
    asked: Option<DynamicChallenge>,
    /// INFO_PRE asked for a CR_RESPONSE.
    cr_response_wanted: bool,
    /// For the next session.
    next_challenge: Option<ChallengeAnswer>,
}

impl Login {
    pub(super) fn new(config: &Arc<Config>, carry: Carry) -> Self {
        Self {
            config: Arc::clone(config),
            token: carry.token,
            challenge: carry.challenge,
            response: carry.response,
            response_sent: false,
            asked: None,
            cr_response_wanted: false,
            next_challenge: None,
        }
    }

    pub(super) fn into_carry(self) -> Carry {
        // An answer that was never sent need not be asked for again; one that was may have been for one use.
        let response = self.response.filter(|_| !self.response_sent);
        Carry { token: self.token, challenge: self.next_challenge, response }
    }

    /// What must be asked before the first message can be sent.
    pub(super) fn question(&self) -> Option<Prompt> {
        let challenge = self.config.settings.static_challenge.as_ref()?;
        let known = self.token.is_some() || self.challenge.is_some() || self.response.is_some();
        (!known).then(|| Prompt::Challenge { text: challenge.text.clone(), echo: challenge.echo })
    }

    pub(super) fn on_response(&mut self, response: Secret) {
        self.response = Some(response);
    }

    /// Whether a token was sent, so that its refusal leaves the password to be tried.
    pub(super) fn uses_token(&self) -> bool {
        self.challenge.is_none() && self.token.is_some()
    }

    pub(super) fn drop_token(&mut self) {
        self.token = None;
    }

    /// The answer to a challenge has been accepted; it is good for one login, not for renegotiations.
    pub(super) fn on_up(&mut self) {
        self.challenge = None;
    }

    /// The server asks a question whose answer goes into the next session.
    pub(super) fn on_dynamic_challenge(&mut self, challenge: DynamicChallenge) -> Prompt {
        let text = challenge.text.clone();
        // Some servers only want the text to be read; the empty answer then follows as well.
        let prompt = Prompt::Challenge { text, echo: challenge.echo };
        self.asked = Some(challenge);
        prompt
    }

    pub(super) fn answer_dynamic_challenge(&mut self, response: &Secret) {
        let Some(asked) = self.asked.take() else { return };
        let password = asked.password(response);
        self.next_challenge = Some(ChallengeAnswer { username: asked.username, password });
    }

    /// Keeps a pushed token for later key exchanges.
    pub(super) fn on_options(&mut self, options: &PulledOptions) {
        if let Some(token) = &options.auth_token {
            self.token = Some(AuthToken { username: options.auth_token_user.clone(), token: token.clone() });
        }
    }

    /// Our key message with fresh random numbers.
    pub(super) fn key_message(&mut self, random: &mut dyn Random, options: String, peer_info: String) -> ClientMessage {
        self.response_sent |= self.response.is_some();
        ClientMessage::new(random, options, Some(self.user_and_password()), peer_info)
    }

    /// The server waits for an answer on this control channel.
    pub(super) fn expect_cr_response(&mut self) {
        self.cr_response_wanted = true;
    }

    /// Whether an answer is for the server's waiting question; there is one answer to a question.
    pub(super) fn takes_cr_response(&mut self) -> bool {
        std::mem::take(&mut self.cr_response_wanted)
    }

    fn user_and_password(&self) -> (String, Secret) {
        if let Some(challenge) = &self.challenge {
            return (challenge.username.clone(), challenge.password.clone());
        }
        let credentials = self.config.credentials.as_ref();
        let username = credentials.map(|credentials| credentials.username.clone()).unwrap_or_default();
        if let Some(token) = &self.token {
            return (token.username.clone().unwrap_or(username), token.token.clone());
        }
        let password = credentials.map(|credentials| credentials.password.clone()).unwrap_or_default();
        (username, self.with_response(password))
    }

    /// `SCRV1:base64(password):base64(response)`, or both one after the other.
    fn with_response(&self, password: Secret) -> Secret {
        let (Some(challenge), Some(response)) = (&self.config.settings.static_challenge, &self.response) else {
            return password;
        };
        if !challenge.concat {
            return static_challenge_password(&password, response);
        }
        let text = Zeroizing::new([password.expose(), response.expose()].concat());
        Secret::new(text.as_slice())
    }
}
