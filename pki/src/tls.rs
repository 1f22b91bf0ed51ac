//! What both protocols need of rustls where they judge certificates by rules of their own.

use std::{error::Error, fmt, sync::Arc};

use pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::WebPkiSupportedAlgorithms,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// Decides whether a certificate is one of the peers we want.
pub trait Judge: fmt::Debug + Send + Sync + 'static {
    /// Why it is not.
    type Refusal: Error + Send + Sync + 'static;

    /// The peer's own certificate, and what it sent along.
    ///
    /// # Errors
    /// The refusal, which comes back as [`TlsTrouble::Refused`].
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Self::Refusal>;
}

/// A [`Judge`] of servers as rustls wants it; signatures of the handshake are verified by rustls.
#[derive(Debug)]
pub struct Judged<J> {
    judge: J,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<J: Judge> Judged<J> {
    /// `algorithms` are those of the provider.
    pub const fn new(judge: J, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { judge, algorithms }
    }
}

impl<J: Judge> ServerCertVerifier for Judged<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match self.judge.judge(end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(refusal) => Err(CertificateError::Other(OtherError(Arc::new(refusal))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A [`Judge`] of clients as rustls wants it.
#[derive(Debug)]
pub struct JudgedClients<J> {
    judged: Judged<J>,
    mandatory: bool,
}

impl<J: Judge> JudgedClients<J> {
    /// A client without a certificate passes unless one is `mandatory`. `algorithms` are those of the provider.
    pub const fn new(judge: J, algorithms: WebPkiSupportedAlgorithms, mandatory: bool) -> Self {
        Self { judged: Judged::new(judge, algorithms), mandatory }
    }
}

impl<J: Judge> ClientCertVerifier for JudgedClients<J> {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: a client has one certificate for us, and sends it whatever we hint at.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self.judged.judge.judge(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => Err(CertificateError::Other(OtherError(Arc::new(refusal))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.judged.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.judged.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judged.supported_verify_schemes()
    }
}

/// What a failure of TLS means to a client.
#[derive(Debug)]
pub enum TlsTrouble<R> {
    /// The [`Judge`] refused the server's certificate.
    Refused(R),
    /// The server's certificate cannot be read.
    Unreadable,
    /// The server refused our certificate, or the lack of one; the name of the alert.
    OurCertificate(String),
    /// No common version, suite or group.
    NoAgreement(String),
    /// Anything else.
    Other(String),
}

impl<R: Error + Clone + 'static> From<TlsError> for TlsTrouble<R> {
    fn from(error: TlsError) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "rustls's lists are open; the rest is passed on whole")]
        match &error {
            TlsError::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref::<R>().map_or_else(|| Self::Other(error.to_string()), |r| Self::Refused(r.clone()))
            }
            TlsError::InvalidCertificate(CertificateError::BadEncoding) => Self::Unreadable,
            TlsError::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied => Self::OurCertificate(format!("{alert:?}")),
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity => Self::NoAgreement(format!("TLS alert {alert:?}")),
                _ => Self::Other(error.to_string()),
            },
            TlsError::PeerIncompatible(reason) => Self::NoAgreement(format!("{reason:?}")),
            _ => Self::Other(error.to_string()),
        }
    }
}
