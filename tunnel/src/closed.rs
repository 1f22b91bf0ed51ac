//! Why a tunnel ended, and what its owner may do next.

use std::{error::Error, fmt, time::Duration};

/// The end of a tunnel.
pub struct Closed {
    /// What happened.
    pub kind: CloseKind,
    /// The protocol's own account, for people.
    pub source: Box<dyn Error + Send + Sync>,
    /// What the driver does next.
    pub retry: Retry,
}

/// What ended a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseKind {
    /// We closed it.
    Local,
    /// The peer said goodbye.
    PeerClosed,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer could not prove who it is.
    PeerNotAuthenticated,
    /// The peer did not accept our proof.
    AuthFailed,
    /// No common algorithm, version or mode.
    NoAgreement,
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// A fault of ours.
    Internal,
}

/// What to do after a tunnel has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// Trying again would end the same way.
    Never,
    /// Try the same gateway, not before this long.
    After(Duration),
    /// Try the next address of the same gateway.
    NextAddress,
    /// Try the next gateway.
    NextRemote,
    /// Try again only with other credentials.
    FreshCredentials,
    /// Try this host instead.
    Redirect(String),
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed")
            .field("kind", &self.kind)
            .field("source", &self.source.to_string())
            .field("retry", &self.retry)
            .finish()
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
