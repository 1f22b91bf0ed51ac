//! TLS by rustls, fed and drained one message at a time.

use std::{
    fmt,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use adit_pki::{ClientIdentity, Judged, OnlyKey, TlsKeyLog, TlsTrouble, ToldClock};
use adit_tunnel::KeySink;
use pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error as RustlsError, ProtocolVersion, SupportedProtocolVersion,
    client::Resumption,
    crypto::ring,
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::{
    super::{EapError, EapServerRefused, EapUnusable},
    verify::ServerVerifier,
};
use crate::config::{EapTlsServer, TlsVersion};

/// rustls's configuration without a clock, with everything in it that can be wrong.
pub(in super::super) struct TlsTemplate(ClientConfig);

/// One TLS connection, of either end.
pub(in super::super) struct TlsSession {
    connection: Connection,
    clock: Arc<ToldClock>,
}

/// Why TLS failed.
#[derive(Debug)]
pub(in super::super) enum TlsFailure {
    Rustls(RustlsError),
    /// close_notify came.
    Ended,
    /// rustls took in less than it was given.
    NotTaken,
}

impl TlsTemplate {
    /// # Errors
    /// [`EapUnusable`] names what cannot be used.
    pub(in super::super) fn new(server: &EapTlsServer, identity: Option<&ClientIdentity>) -> Result<Self, EapUnusable> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Judged::new(ServerVerifier::new(server)?, provider.signature_verification_algorithms);
        let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(ToldClock::default()))
            .with_protocol_versions(&versions(server.min_version, server.max_version)?)
            .map_err(|e| EapUnusable::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(OnlyKey::new(identity, &provider)?)),
            None => builder.with_no_client_auth(),
        };
        // EAP servers are not chosen by name, and a resumed session would prove nothing about the certificates of today.
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self(config))
    }

    pub(in super::super) fn log_keys(&mut self, keys: &KeySink) {
        self.0.key_log = Arc::new(TlsKeyLog(keys.clone()));
    }

    /// Begins a handshake; the ClientHello waits in [`TlsSession::take_output`].
    pub(in super::super) fn start(&self) -> Result<TlsSession, EapError> {
        let clock = Arc::new(ToldClock::default());
        let mut config = self.0.clone();
        config.time_provider = Arc::<ToldClock>::clone(&clock);
        // Neither sent nor compared: see `verify`.
        let name = ServerName::try_from("eap.invalid").map_err(|e| EapError::Tls(e.to_string()))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(TlsFailure::Rustls)?;
        Ok(TlsSession::new(connection.into(), clock))
    }
}

impl fmt::Debug for TlsTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTemplate").finish_non_exhaustive()
    }
}

impl TlsSession {
    /// `clock` is the one that the connection reads.
    pub(in super::super) fn new(connection: Connection, clock: Arc<ToldClock>) -> Self {
        Self { connection, clock }
    }

    /// Takes in what the other end sent, and returns the plaintext in it.
    pub(in super::super) fn feed(
        &mut self,
        unix_time: Duration,
        mut message: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TlsFailure> {
        self.clock.tell(unix_time);
        let mut plaintext = Zeroizing::new(Vec::with_capacity(message.len()));
        while !message.is_empty() {
            let read = self.connection.read_tls(&mut message);
            let state = self.connection.process_new_packets().map_err(TlsFailure::Rustls)?;
            if state.peer_has_closed() {
                return Err(TlsFailure::Ended);
            }
            // Plaintext is shorter than its records: there is room without moving what is there already.
            let start = plaintext.len();
            plaintext.resize(start + state.plaintext_bytes_to_read(), 0);
            let filled = self.connection.reader().read_exact(plaintext.get_mut(start..).unwrap_or_default());
            if filled.is_err() || !read.is_ok_and(|count| count > 0) {
                return Err(TlsFailure::NotTaken);
            }
        }
        Ok(plaintext)
    }

    /// Encrypts.
    pub(in super::super) fn write(&mut self, plaintext: &[u8]) -> Result<(), EapError> {
        self.connection.writer().write_all(plaintext).map_err(|e| EapError::Tls(e.to_string()))
    }

    /// What is to be sent.
    pub(in super::super) fn take_output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            // Writing to a Vec cannot fail; stop all the same rather than loop.
            if self.connection.write_tls(&mut output).is_err() {
                break;
            }
        }
        output
    }

    pub(in super::super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(in super::super) fn is_1_3(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// The certificate of the other end, once it has been accepted.
    pub(in super::super) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Keying material (RFC 5705, RFC 8446 §7.5); without context if `None`.
    pub(in super::super) fn export<const N: usize>(
        &self,
        label: &str,
        context: Option<&[u8]>,
    ) -> Result<Zeroizing<[u8; N]>, TlsFailure> {
        let material = Zeroizing::new([0; N]);
        self.connection.export_keying_material(material, label.as_bytes(), context).map_err(TlsFailure::Rustls)
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

/// The text of what is nobody's certificate.
impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustls(error) => error.fmt(f),
            Self::Ended => f.write_str("the other end ended it (close_notify)"),
            Self::NotTaken => f.write_str("a record was not taken in"),
        }
    }
}

impl From<TlsFailure> for EapError {
    fn from(failure: TlsFailure) -> Self {
        let TlsFailure::Rustls(error) = failure else { return Self::Tls(failure.to_string()) };
        match TlsTrouble::from(error) {
            TlsTrouble::Refused(refused) => Self::ServerCertificate(refused),
            TlsTrouble::Unreadable => Self::ServerCertificate(EapServerRefused::Unreadable),
            TlsTrouble::OurCertificate(alert) => Self::OurCertificate(alert),
            TlsTrouble::NoAgreement(reason) => Self::NoTlsAgreement(reason),
            TlsTrouble::Other(reason) => Self::Tls(reason),
        }
    }
}

/// Newest first.
pub(in super::super) fn versions(
    min: TlsVersion,
    max: TlsVersion,
) -> Result<Vec<&'static SupportedProtocolVersion>, EapUnusable> {
    let all = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let versions: Vec<_> =
        all.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, v)| v).collect();
    if versions.is_empty() { Err(EapUnusable::TlsVersions) } else { Ok(versions) }
}
