//! TLS by rustls: buffered connections, fed and drained one record at a time.

mod accepting;
mod settings;
mod verify;

use std::{
    fmt,
    io::{Read, Write},
    sync::Arc,
};

use adit_pki::TlsTrouble;
use bytes::{Bytes, BytesMut};
use pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error as RustlsError, ProtocolVersion, ServerConfig, ServerConnection,
};
use zeroize::Zeroizing;

pub use accepting::ClientCertificateError;
pub(crate) use accepting::{AcceptTemplate, holder};
pub(crate) use adit_pki::ToldClock;
pub(crate) use settings::TlsTemplate;
pub use verify::ServerCertificateError;
pub(crate) use verify::subject;

/// One TLS connection over the control channel.
pub(crate) struct TlsSession {
    connection: Connection,
    /// Received bytes that are not a whole record yet.
    inbound: BytesMut,
}

/// Why TLS failed, seen by neither end.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// In rustls's words.
    Rustls(RustlsError),
    /// The peer said close_notify.
    Ended,
    /// In our own words.
    Broken(String),
}

/// Why TLS failed, seen by a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFailure {
    /// The server's certificate was refused by us.
    #[error("{0}")]
    ServerCertificate(ServerCertificateError),
    /// The server refused our certificate, or wants one.
    #[error("the server refused our certificate, or the lack of one (TLS alert {0})")]
    OurCertificate(String),
    /// No common version, suite or group.
    #[error("no TLS version, suite or group in common with the server: {0}")]
    NoAgreement(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Protocol(String),
}

impl TlsSession {
    /// Starts a handshake; the ClientHello waits in [`Self::take_ciphertext`].
    pub(crate) fn connect(config: &Arc<ClientConfig>) -> Result<Self, TlsError> {
        // No name is sent (SNI is off) nor compared: see `verify`.
        let name = ServerName::try_from("openvpn.invalid").map_err(|e| TlsError::Broken(e.to_string()))?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(TlsError::Rustls)?;
        Ok(Self { connection: connection.into(), inbound: BytesMut::new() })
    }

    /// Waits for a client's ClientHello.
    pub(crate) fn accept(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        let connection = ServerConnection::new(Arc::clone(config)).map_err(TlsError::Rustls)?;
        Ok(Self { connection: connection.into(), inbound: BytesMut::new() })
    }

    /// Takes in bytes of the control channel.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
    }

    /// Processes received records until one carries plaintext, and returns that. Borders of records matter: old servers
    /// end their key exchange message early.
    pub(crate) fn next_message(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, TlsError> {
        while let Some(record) = self.next_record()? {
            let mut rest: &[u8] = &record;
            while !rest.is_empty() {
                let read = self.connection.read_tls(&mut rest);
                let state = self.connection.process_new_packets().map_err(TlsError::Rustls)?;
                if state.peer_has_closed() {
                    return Err(TlsError::Ended);
                }
                if !read.is_ok_and(|count| count > 0) {
                    return Err(TlsError::Broken("a record was not taken in".to_owned()));
                }
                let size = state.plaintext_bytes_to_read();
                if size > 0 {
                    let mut plaintext = Zeroizing::new(vec![0; size]);
                    if self.connection.reader().read_exact(&mut plaintext).is_ok() {
                        return Ok(Some(plaintext));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Encrypts one message into one record.
    pub(crate) fn write(&mut self, plaintext: &[u8]) -> Result<(), TlsError> {
        self.connection.writer().write_all(plaintext).map_err(|e| TlsError::Broken(e.to_string()))
    }

    /// What is to be sent.
    pub(crate) fn take_ciphertext(&mut self) -> Bytes {
        let mut out = Vec::new();
        while self.connection.wants_write() {
            // Writing to a Vec cannot fail; stop all the same rather than loop.
            if self.connection.write_tls(&mut out).is_err() {
                break;
            }
        }
        out.into()
    }

    /// Says that nothing more will come of us.
    pub(crate) fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Keying material by RFC 5705 without context; fails before the end of the handshake.
    pub(crate) fn export(&self, label: &[u8]) -> Result<Zeroizing<[u8; 256]>, TlsError> {
        self.connection.export_keying_material(Zeroizing::new([0; 256]), label, None).map_err(TlsError::Rustls)
    }

    /// Bytes received that are not a whole record yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.inbound.len()
    }

    /// The certificate the peer has proved to hold.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.connection.peer_certificates()?.first()
    }

    /// Version and suite for logs, once negotiated.
    pub(crate) fn description(&self) -> (&'static str, &'static str) {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(_) | None => "?",
        };
        let suite = self.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("?");
        (version, suite)
    }

    fn next_record(&mut self) -> Result<Option<BytesMut>, TlsError> {
        let Some(&[_, _, _, high, low]) = self.inbound.first_chunk() else { return Ok(None) };
        let length = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        if length > RECORD_HEADER_BYTES + RECORD_MAX_BYTES {
            return Err(TlsError::Broken("a record is longer than TLS allows".to_owned()));
        }
        Ok((self.inbound.len() >= length).then(|| self.inbound.split_to(length)))
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").finish_non_exhaustive()
    }
}

/// Content type, version, length (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// 2^14 bytes of plaintext and what protection may add (RFC 5246 §6.2.3).
const RECORD_MAX_BYTES: usize = (1 << 14) + 2048;

impl From<TlsError> for TlsFailure {
    fn from(error: TlsError) -> Self {
        let error = match error {
            TlsError::Rustls(error) => error,
            TlsError::Ended => return Self::Protocol("the server ended it (close_notify)".to_owned()),
            TlsError::Broken(reason) => return Self::Protocol(reason),
        };
        match TlsTrouble::from(error) {
            TlsTrouble::Refused(refused) => Self::ServerCertificate(refused),
            TlsTrouble::Unreadable => Self::ServerCertificate(ServerCertificateError::Unreadable),
            TlsTrouble::OurCertificate(alert) => Self::OurCertificate(alert),
            TlsTrouble::NoAgreement(reason) => Self::NoAgreement(reason),
            TlsTrouble::Other(reason) => Self::Protocol(reason),
        }
    }
}
