//! Why a datagram is not a message.

use adit_tunnel::wire::DecodeError;
use bytes::Bytes;

use super::{
    header::Header,
    numbers::{NotifyType, PayloadType},
};

/// Why a datagram did not become a [`Message`](super::Message).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    /// Anybody can have sent it: dropped in silence.
    #[error("{0}")]
    Unauthenticated(UnauthenticatedReason),
    /// The peer sent it, and it makes no sense: a request is answered with the notification, a response discarded
    /// (RFC 7296 §2.21).
    #[error("the peer's message is answered with {notify}")]
    Authenticated { header: Header, notify: NotifyType, data: Bytes },
}

/// Why a datagram that nothing vouches for is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnauthenticatedReason {
    /// Not even a header (see [`Header::peek`]).
    #[error("not an IKE message")]
    NotIke,
    /// Of a version that is not ours.
    #[error("IKE version {0}")]
    MajorVersion(u8),
    /// Payloads that cannot be read.
    #[error("malformed: {0}")]
    Malformed(DecodeError),
    /// A payload of a type we do not know that we must not skip.
    #[error("a critical payload of unknown type {0}")]
    CriticalPayload(PayloadType),
    /// Not protected where it must be.
    #[error("no encrypted payload in a message that needs one")]
    Unprotected,
    /// The integrity check fails, or there is no room for what is checked.
    #[error("the integrity check fails")]
    Forged,
    /// A fragment with a number or total it must not have (RFC 7383 §2.6), or of another message than the one in work.
    #[error("a fragment that does not fit")]
    Fragment,
    /// A fragment that is there already.
    #[error("a fragment that came before")]
    DuplicateFragment,
}

impl From<UnauthenticatedReason> for Undecodable {
    fn from(reason: UnauthenticatedReason) -> Self {
        Self::Unauthenticated(reason)
    }
}

/// What is wrong with a chain of payloads; whether anybody vouches for them is for the caller to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPayloads {
    Malformed(DecodeError),
    Critical(PayloadType),
}

impl BadPayloads {
    pub(super) fn unauthenticated(self) -> Undecodable {
        Undecodable::Unauthenticated(match self {
            Self::Malformed(error) => UnauthenticatedReason::Malformed(error),
            Self::Critical(payload_type) => UnauthenticatedReason::CriticalPayload(payload_type),
        })
    }

    pub(super) fn authenticated(self, header: Header) -> Undecodable {
        let (notify, data) = match self {
            Self::Malformed(_) => (NotifyType::INVALID_SYNTAX, Bytes::new()),
            Self::Critical(payload_type) => {
                (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, Bytes::copy_from_slice(&[payload_type.0]))
            }
        };
        Undecodable::Authenticated { header, notify, data }
    }
}

impl From<DecodeError> for BadPayloads {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}
