//! Why there is no tunnel.

use std::{error::Error, fmt, io, sync::Arc};

use adit_tunnel::{CloseKind, Closed};

/// Why connecting failed, or why a tunnel ended. Cheap to clone.
#[derive(Clone)]
pub struct Failure {
    kind: FailureKind,
    remote: Option<Arc<str>>,
    source: Arc<dyn Error + Send + Sync>,
    lost: bool,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The configuration cannot work.
    Configuration,
    /// A gateway's name has no usable address.
    Resolve,
    /// No gateway could be reached, or none answered in time.
    Unreachable,
    /// The gateway could not prove who it is.
    PeerNotAuthenticated,
    /// The gateway did not accept our proof.
    AuthFailed,
    /// No common algorithm, version or mode.
    NoAgreement,
    /// A local socket could not be made or bound.
    LocalSocket,
    /// The gateway said goodbye.
    PeerClosed,
    /// The gateway broke the protocol.
    PeerMisbehaved,
    /// We closed the tunnel.
    Closed,
    /// A fault of ours.
    Internal,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, remote: None, source: Arc::from(source.into()), lost: false }
    }

    pub(crate) fn io(kind: FailureKind, source: io::Error) -> Self {
        Self::new(kind, source)
    }

    pub(crate) fn from_closed(closed: Closed) -> Self {
        let kind = match closed.kind {
            CloseKind::Local => FailureKind::Closed,
            CloseKind::PeerClosed => FailureKind::PeerClosed,
            CloseKind::TimedOut => FailureKind::Unreachable,
            CloseKind::PeerNotAuthenticated => FailureKind::PeerNotAuthenticated,
            CloseKind::AuthFailed => FailureKind::AuthFailed,
            CloseKind::NoAgreement => FailureKind::NoAgreement,
            CloseKind::PeerMisbehaved => FailureKind::PeerMisbehaved,
            CloseKind::Internal => FailureKind::Internal,
        };
        Self::new(kind, closed.source)
    }

    /// Says which gateway it was.
    pub(crate) fn at(mut self, remote: &str) -> Self {
        self.remote = Some(remote.into());
        self
    }

    /// The tunnel had been up before.
    pub(crate) fn after_up(mut self, was_up: bool) -> Self {
        self.lost = was_up;
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The gateway, as `host:port`, if the failure belongs to one.
    #[must_use]
    pub fn remote(&self) -> Option<&str> {
        self.remote.as_deref()
    }

    /// Whether the tunnel had been up before: it was lost, and the attempts to bring it back are exhausted.
    #[must_use]
    pub fn was_up(&self) -> bool {
        self.lost
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.kind {
            FailureKind::Resolve => "check the name in the profile's `remote` line, and this machine's DNS",
            FailureKind::Unreachable => {
                "check address, port and protocol of the profile's `remote` line, and that a firewall lets them pass"
            }
            FailureKind::PeerNotAuthenticated => {
                "the server is not the one the profile names, or its certificate was changed or has expired"
            }
            FailureKind::AuthFailed => {
                "check user name, password and certificate; not trying again, to spare the account"
            }
            FailureKind::NoAgreement => {
                "client and server have no algorithm in common; see the profile's `data-ciphers`"
            }
            FailureKind::LocalSocket => "check the profile's `local` and `lport`, and this user's permissions",
            FailureKind::Configuration
            | FailureKind::PeerClosed
            | FailureKind::PeerMisbehaved
            | FailureKind::Closed
            | FailureKind::Internal => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(remote) = &self.remote {
            write!(f, "{remote}: ")?;
        }
        self.source.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("remote", &self.remote)
            .field("source", &self.source.to_string())
            .field("lost", &self.lost)
            .finish()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Resolve => io::ErrorKind::NotFound,
            FailureKind::Unreachable => io::ErrorKind::TimedOut,
            FailureKind::PeerNotAuthenticated | FailureKind::AuthFailed => io::ErrorKind::PermissionDenied,
            FailureKind::Configuration => io::ErrorKind::InvalidInput,
            FailureKind::PeerClosed | FailureKind::Closed => io::ErrorKind::NotConnected,
            FailureKind::NoAgreement
            | FailureKind::LocalSocket
            | FailureKind::PeerMisbehaved
            | FailureKind::Internal => io::ErrorKind::Other,
        };
        Self::new(kind, failure)
    }
}
