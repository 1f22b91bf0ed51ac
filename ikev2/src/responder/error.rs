//! Why the gateway's end of a session came to its end.

use std::time::Duration;

use adit_tunnel::{CloseKind, Closed, Retry};

use crate::{
    auth::PeerNotAuthenticated,
    eap::EapClientError,
    error::{PeerMisbehaved, SessionError},
    identity::{Identity, short},
    message::Identification,
};

/// The `source` of every [`Closed`] of a [`crate::ServerSession`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// [`adit_tunnel::Tunnel::close`] was called.
    #[error("closed by us")]
    ClosedLocally,
    /// It did not finish the handshake.
    #[error("the client did not finish the handshake within {} s, it stopped while {stage}", .window.as_secs())]
    HandshakeTimeout {
        /// The time allowed.
        window: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// It could not prove who it is.
    #[error("the client could not prove {}: {reason}", what(.claimed.as_deref()))]
    NotAuthenticated {
        /// Who it says it is, which anybody can say.
        claimed: Option<String>,
        /// What is wrong with the proof.
        reason: PeerNotAuthenticated,
    },
    /// It shows no proof that is asked for.
    #[error("the client wants to prove itself by {0}, which is not accepted here")]
    MethodNotAccepted(&'static str),
    /// EAP failed.
    #[error("the client could not prove who it is: {0}")]
    Eap(#[from] EapClientError),
    /// The owner does not want it.
    #[error("the client was not let in")]
    NotAdmitted,
    /// It did not accept our proof, or what else we are.
    #[error("the client refused us: {0}")]
    RefusedUs(String),
    /// It was let in, and has no use for what it got.
    #[error("the client has had no ESP SA for {} s", .0.as_secs())]
    NoChild(Duration),
    /// It said goodbye.
    #[error("the client ended the session")]
    Deleted,
    /// It no longer answers.
    #[error("the client no longer answers ({0} tries)")]
    Gone(u32),
    /// It broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] PeerMisbehaved),
    /// Keys cannot be renewed.
    #[error("the client refuses to rekey: {0}")]
    RekeyRefused(crate::Refusal),
    /// Anything else of an association that stood.
    #[error("{0}")]
    Other(SessionError),
}

impl From<PeerNotAuthenticated> for ServerError {
    fn from(reason: PeerNotAuthenticated) -> Self {
        Self::NotAuthenticated { claimed: None, reason }
    }
}

impl From<SessionError> for ServerError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are a client's, or internal")]
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::ClosedLocally => Self::ClosedLocally,
            SessionError::Deleted => Self::Deleted,
            SessionError::PeerGone(tries) => Self::Gone(tries),
            SessionError::Protocol(offence) => Self::Protocol(offence),
            SessionError::RekeyRefused(refusal) => Self::RekeyRefused(refusal),
            SessionError::AuthFailed(_) => Self::RefusedUs("AUTHENTICATION_FAILED".to_owned()),
            other => Self::Other(other),
        }
    }
}

impl ServerError {
    /// The same, with who the client says it is.
    pub(crate) fn claimed(self, identity: &Identification) -> Self {
        let Self::NotAuthenticated { reason, .. } = self else { return self };
        let claimed = Identity::from_payload(identity).ok().map(|identity| short(&identity.to_string()));
        Self::NotAuthenticated { claimed, reason }
    }

    pub(super) fn closed(self) -> Closed {
        let kind = match &self {
            Self::ClosedLocally | Self::NoChild(_) => CloseKind::Local,
            Self::HandshakeTimeout { .. } | Self::Gone(_) => CloseKind::TimedOut,
            Self::NotAuthenticated { .. } | Self::MethodNotAccepted(_) | Self::Eap(_) | Self::NotAdmitted => {
                CloseKind::PeerNotAuthenticated
            }
            Self::RefusedUs(_) => CloseKind::AuthFailed,
            Self::Deleted | Self::RekeyRefused(_) => CloseKind::PeerClosed,
            Self::Protocol(_) => CloseKind::PeerMisbehaved,
            Self::Other(_) => CloseKind::Internal,
        };
        // Nobody goes back to a client.
        Closed { kind, source: Box::new(self), retry: Retry::Never }
    }
}

/// What was to be proved.
fn what(claimed: Option<&str>) -> String {
    claimed.map_or_else(|| "who it is".to_owned(), |claimed| format!("that it is {claimed}"))
}
