//! Why a session ended, in the protocol's own words.

use std::time::Duration;

use adit_tunnel::{CloseKind, Closed, Retry};

use crate::tls::{TlsError, TlsFailure};

/// The `source` of every [`Closed`] of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// [`adit_tunnel::Tunnel::close`] was called.
    #[error("closed by us")]
    ClosedLocally,
    /// Nothing that passes our checks came back.
    #[error(
        "no answer from the server within {} s; is it running, the port right, and the tls-auth/tls-crypt key the server's?",
        .0.as_secs()
    )]
    NoAnswer(Duration),
    /// The handshake did not finish in time.
    #[error("the handshake did not finish within {} s (`hand-window`), it stopped while {stage}", .window.as_secs())]
    HandshakeTimeout {
        /// `hand-window`.
        window: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// Silence for longer than `ping-restart` or `ping-exit`.
    #[error("nothing received for {} s (`{directive}`)", .silence.as_secs())]
    Silence {
        /// How long.
        silence: Duration,
        /// The directive that set the limit.
        directive: &'static str,
    },
    /// `inactive`.
    #[error("too little traffic (`inactive`)")]
    Inactive,
    /// `session-timeout`.
    #[error("the session has lasted as long as it may (`session-timeout`)")]
    SessionTimeout,
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// AUTH_FAILED with its reason.
    #[error("the server refused user or password{}", reason(.0))]
    AuthFailed(String),
    /// AUTH_FAILED for a token it gave earlier.
    #[error("the server no longer accepts its auth-token{}", reason(.0))]
    TokenRefused(String),
    /// AUTH_FAILED,TEMP with its reason.
    #[error("the server cannot check user and password at the moment{}", reason(.0))]
    AuthFailedTemporarily(String),
    /// The server asked a question, and the answer is to be sent with the next session.
    #[error("the server asks for one more answer, sent with the next attempt")]
    ChallengeAnswered,
    /// The server asked a question, and nobody answered.
    #[error("the server asked a question and nobody answered")]
    ChallengeUnanswered,
    /// RESTART.
    #[error("the server restarts{}", reason(.0))]
    ServerRestarts(String),
    /// HALT.
    #[error("the server ended the session for good{}", reason(.0))]
    ServerHalts(String),
    /// EXIT, or the exit notice of the data channel.
    #[error("the server leaves")]
    ServerExits,
    /// The TCP connection was lost: to the server, another one is another client.
    #[error("the connection to the server was lost")]
    StreamLost,
    /// The server's cipher is none of ours.
    #[error("the server wants the cipher {0}, which `data-ciphers` does not allow")]
    Cipher(String),
    /// The server names no cipher, and no fallback is configured.
    #[error("the server does not negotiate a cipher; set `data-ciphers-fallback` to the cipher it uses")]
    NoCipher,
    /// AUTH_FAILED, but for want of a cipher.
    #[error("the server allows none of the ciphers in `data-ciphers`")]
    NoSharedCipher,
    /// The server demands a feature that we lack.
    #[error("the server demands {0}, which we do not support")]
    Unsupported(String),
    /// A pushed option that `pull-filter` rejects, or that is out of bounds.
    #[error("pushed option refused: {0}")]
    PushedOption(String),
    /// The peer broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] PeerMisbehaved),
    /// Something of ours is too long for the key exchange message.
    #[error("the key exchange message cannot be made: {0}")]
    KeyExchange(String),
    /// The keys could not be made.
    #[error("the data channel's keys could not be made")]
    DataKeys,
}

/// What the peer must not do, one name per offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The server's key exchange message cannot be decoded.
    #[error("its key exchange message is malformed")]
    KeyExchangeMalformed,
    /// The server's reset has a malformed payload.
    #[error("its reset has a malformed payload")]
    ResetMalformed,
    /// More control messages, or longer ones, than we are willing to hold.
    #[error("its control messages exceed our bounds")]
    ControlMessageTooLong,
    /// More than a peer may make us hold.
    #[error("it makes us hold more bytes than it may")]
    HoldsTooMuch,
    /// PUSH_REPLY is longer than we are willing to hold.
    #[error("its PUSH_REPLY exceeds our bounds")]
    PushReplyTooLong,
}

impl From<TlsError> for SessionError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error.into())
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl SessionError {
    /// Waits of our own choice are short: the driver adds its own backoff.
    pub(crate) fn closed(self, retry: Retry) -> Closed {
        Closed { kind: self.kind(), source: Box::new(self), retry }
    }

    pub(crate) fn kind(&self) -> CloseKind {
        match self {
            Self::ClosedLocally => CloseKind::Local,
            Self::NoAnswer(_)
            | Self::HandshakeTimeout { .. }
            | Self::Silence { .. }
            | Self::Inactive
            | Self::SessionTimeout => CloseKind::TimedOut,
            Self::Tls(TlsFailure::ServerCertificate(_)) => CloseKind::PeerNotAuthenticated,
            Self::Tls(TlsFailure::OurCertificate(_))
            | Self::AuthFailed(_)
            | Self::TokenRefused(_)
            | Self::AuthFailedTemporarily(_)
            | Self::ChallengeAnswered
            | Self::ChallengeUnanswered => CloseKind::AuthFailed,
            Self::ServerRestarts(_) | Self::ServerHalts(_) | Self::ServerExits | Self::StreamLost => {
                CloseKind::PeerClosed
            }
            Self::Cipher(_)
            | Self::NoCipher
            | Self::NoSharedCipher
            | Self::Unsupported(_)
            | Self::Tls(TlsFailure::NoAgreement(_)) => CloseKind::NoAgreement,
            Self::Tls(TlsFailure::Protocol(_)) | Self::Protocol(_) | Self::PushedOption(_) => CloseKind::PeerMisbehaved,
            Self::KeyExchange(_) | Self::DataKeys => CloseKind::Internal,
        }
    }
}
