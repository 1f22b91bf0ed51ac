//! Why a session with a client ended, in the protocol's own words.

use std::time::Duration;

use adit_pki::TlsTrouble;
use adit_tunnel::{CloseKind, Closed, Retry};

use crate::{
    error::PeerMisbehaved,
    tls::{ClientCertificateError, TlsError},
};

/// The `source` of every [`Closed`] of a [`crate::ServerSession`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerSessionError {
    /// [`adit_tunnel::Tunnel::close`] was called.
    #[error("closed by us")]
    ClosedLocally,
    /// The handshake did not finish in time.
    #[error("the handshake did not finish within {} s (`hand_window`), it stopped while {stage}", .window.as_secs())]
    HandshakeTimeout {
        /// `hand_window`.
        window: Duration,
        /// What was being waited for.
        stage: &'static str,
    },
    /// Silence for longer than `keepalive` allows.
    #[error("nothing received for {} s (`keepalive`)", .0.as_secs())]
    Silence(Duration),
    /// The client's certificate was refused by us.
    #[error("the client's certificate was refused: {0}")]
    ClientCertificate(ClientCertificateError),
    /// The client has none, and must.
    #[error("the client showed no certificate")]
    NoClientCertificate,
    /// Its certificate has no common name, so that nobody knows whose it is.
    #[error("the client's certificate has no common name")]
    NoCommonName,
    /// The client refused our certificate.
    #[error("the client refused our certificate (TLS alert {0}); is our CA the one it knows?")]
    OurCertificate(String),
    /// No common version, suite or group.
    #[error("no TLS version, suite or group in common with the client: {0}")]
    NoTlsAgreement(String),
    /// Anything else of TLS.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The client said no user name, and must.
    #[error("the client said no user name")]
    NoLogin,
    /// The owner refused the client.
    #[error("the client was refused: its login is wrong, or it may not come in")]
    Refused,
    /// A renegotiation under another name.
    #[error("the client renegotiated under another name")]
    NameChanged,
    /// There was no address for it.
    #[error("there is no address left for the client")]
    NoAddress,
    /// The owner told it to come back later.
    #[error("the client was asked to come back later")]
    Later,
    /// None of the client's ciphers is one of ours.
    #[error("the client has none of the ciphers in `data_ciphers`")]
    NoSharedCipher,
    /// EXIT, or the exit notice of the data channel.
    #[error("the client leaves")]
    ClientExits,
    /// The TCP connection was lost.
    #[error("the connection to the client was lost")]
    StreamLost,
    /// The client broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] PeerMisbehaved),
    /// Our key exchange message cannot be made.
    #[error("the key exchange message cannot be made: {0}")]
    KeyExchange(String),
    /// The keys could not be made.
    #[error("the data channel's keys could not be made")]
    DataKeys,
}

impl ServerSessionError {
    /// An answering end tries nothing again.
    pub(super) fn closed(self) -> Closed {
        Closed { kind: self.kind(), source: Box::new(self), retry: Retry::Never }
    }

    fn kind(&self) -> CloseKind {
        match self {
            Self::ClosedLocally => CloseKind::Local,
            Self::HandshakeTimeout { .. } | Self::Silence(_) => CloseKind::TimedOut,
            Self::ClientCertificate(_)
            | Self::NoClientCertificate
            | Self::NoCommonName
            | Self::NoLogin
            | Self::Refused
            | Self::NameChanged => CloseKind::PeerNotAuthenticated,
            Self::OurCertificate(_) => CloseKind::AuthFailed,
            Self::NoTlsAgreement(_) | Self::NoSharedCipher | Self::NoAddress | Self::Later => CloseKind::NoAgreement,
            Self::Tls(_) | Self::Protocol(_) => CloseKind::PeerMisbehaved,
            Self::ClientExits | Self::StreamLost => CloseKind::PeerClosed,
            Self::KeyExchange(_) | Self::DataKeys => CloseKind::Internal,
        }
    }
}

impl From<TlsError> for ServerSessionError {
    fn from(error: TlsError) -> Self {
        let error = match error {
            TlsError::Rustls(rustls::Error::NoCertificatesPresented) => return Self::NoClientCertificate,
            TlsError::Rustls(error) => error,
            TlsError::Ended => return Self::ClientExits,
            TlsError::Broken(reason) => return Self::Tls(reason),
        };
        match TlsTrouble::from(error) {
            TlsTrouble::Refused(refused) => Self::ClientCertificate(refused),
            TlsTrouble::Unreadable => Self::ClientCertificate(ClientCertificateError::unreadable()),
            TlsTrouble::OurCertificate(alert) => Self::OurCertificate(alert),
            TlsTrouble::NoAgreement(reason) => Self::NoTlsAgreement(reason),
            TlsTrouble::Other(reason) => Self::Tls(reason),
        }
    }
}
