//! Why there is no tunnel.

use std::{error::Error, fmt, io, sync::Arc};

use adit_tunnel::{CloseKind, Closed};

/// Why connecting failed, or why a tunnel ended. Cheap to clone.
#[derive(Clone)]
pub struct Failure {
    kind: FailureKind,
    remote: Option<Arc<str>>,
    source: Arc<dyn Error + Send + Sync>,
    stage: Stage,
    hint: Option<&'static str>,
    for_now: bool,
}

/// How far the tunnel was when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It was never up.
    Connecting,
    /// It was up until then.
    Up,
    /// It had been up, and was to be brought back.
    Reconnecting,
}

/// The gateway's byte stream ended, or broke, without a farewell.
#[derive(Debug)]
pub(crate) struct StreamEnded(pub(crate) io::Error);

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
    /// A local socket could not be made or bound, or a TUN device is gone.
    LocalSocket,
    /// The gateway said goodbye.
    PeerClosed,
    /// The gateway's stream ended without a farewell.
    Disconnected,
    /// The gateway broke the protocol.
    PeerMisbehaved,
    /// We closed the tunnel.
    Closed,
    /// A fault of ours.
    Internal,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            remote: None,
            source: Arc::from(source.into()),
            stage: Stage::Connecting,
            hint: None,
            for_now: false,
        }
    }

    /// Whether the gateway's machine, or who stands before it, has said that nothing listens there.
    pub(crate) fn is_refusal(&self) -> bool {
        let error = self.source.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether this machine, or a router on the way, knows no way to the gateway.
    pub(crate) fn is_without_route(&self) -> bool {
        let error = self.source.downcast_ref::<io::Error>();
        let unreachable = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable];
        error.is_some_and(|error| unreachable.contains(&error.kind()))
    }

    pub(crate) fn io(kind: FailureKind, source: io::Error) -> Self {
        Self::new(kind, source)
    }

    pub(crate) fn from_closed(closed: Closed) -> Self {
        let kind = match closed.kind {
            CloseKind::Local => FailureKind::Closed,
            CloseKind::PeerClosed if closed.source.is::<StreamEnded>() => FailureKind::Disconnected,
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

    /// Says how far the tunnel was.
    pub(crate) fn in_stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    /// Says what a person can do about it.
    pub(crate) fn with_hint(mut self, hint: Option<&'static str>) -> Self {
        self.hint = hint;
        self
    }

    /// Says that it is given up for now: another time it may work.
    pub(crate) fn for_now(mut self) -> Self {
        self.for_now = true;
        self
    }

    /// Whether it was given up for now, and not because trying again is no use.
    pub(crate) fn is_for_now(&self) -> bool {
        self.for_now
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

    /// Why, without the gateway.
    #[must_use]
    pub fn reason(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }

    /// How far the tunnel was.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the tunnel had been up before, in this attempt or an earlier one.
    #[must_use]
    pub fn was_up(&self) -> bool {
        self.stage != Stage::Connecting
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}

/// What helps where there is no way to the gateway.
pub(crate) const NO_ROUTE: &str =
    "see that this machine's network is up, and that it has a route there (`ip route get ADDRESS`)";

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
            .field("stage", &self.stage)
            .finish()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl fmt::Display for StreamEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.kind() == io::ErrorKind::UnexpectedEof {
            return f.write_str("the gateway closed the connection");
        }
        write!(f, "the connection broke: {}", self.0)
    }
}

impl Error for StreamEnded {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Resolve => io::ErrorKind::NotFound,
            FailureKind::Unreachable => io::ErrorKind::TimedOut,
            FailureKind::PeerNotAuthenticated | FailureKind::AuthFailed => io::ErrorKind::PermissionDenied,
            FailureKind::Configuration => io::ErrorKind::InvalidInput,
            FailureKind::PeerClosed | FailureKind::Disconnected | FailureKind::Closed => io::ErrorKind::NotConnected,
            FailureKind::NoAgreement
            | FailureKind::LocalSocket
            | FailureKind::PeerMisbehaved
            | FailureKind::Internal => io::ErrorKind::Other,
        };
        Self::new(kind, failure)
    }
}
