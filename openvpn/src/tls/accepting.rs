//! The answering end of TLS: our certificate, and what is asked of the client's.

use std::{fmt, sync::Arc};

use adit_pki::{ChainVerifier, ClientIdentity, Judge, JudgedClients, OnlyKey, TrustError, Unlisted};
use pki_types::{CertificateDer, UnixTime};
use rustls::{
    ServerConfig,
    crypto::WebPkiSupportedAlgorithms,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use webpki::KeyUsage;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    ToldClock,
    settings::{identity_error, provider, versions},
    verify::common_name,
};
use crate::{
    config::{ConfigError, TlsSettings},
    server::{ClientAnchors, ClientCertificates},
};

/// rustls's configuration of the answering end without a clock, with everything in it that can be wrong.
pub(crate) struct AcceptTemplate(ServerConfig);

impl AcceptTemplate {
    /// # Errors
    /// [`ConfigError`] when our certificate, a CA, a list, or a choice of versions or suites cannot be used.
    pub(crate) fn new(
        identity: &ClientIdentity,
        clients: &ClientCertificates,
        settings: &TlsSettings,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(provider(settings)?);
        let algorithms = provider.signature_verification_algorithms;
        let key = OnlyKey::new(identity, &provider).map_err(identity_error)?;
        let verifier = |anchors, mandatory| -> Result<_, ConfigError> {
            Ok(Arc::new(JudgedClients::new(ClientVerifier::new(anchors, algorithms)?, algorithms, mandatory)))
        };
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ToldClock::default()))
            .with_protocol_versions(&versions(settings))
            .map_err(|e| ConfigError::Tls(e.to_string()))?;
        let builder = match clients {
            ClientCertificates::None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
            ClientCertificates::Optional(anchors) => builder.with_client_cert_verifier(verifier(anchors, false)?),
            ClientCertificates::Required(anchors) => builder.with_client_cert_verifier(verifier(anchors, true)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(key));
        // Each renegotiation is a handshake of its own.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(config))
    }

    /// The configuration of one session, whose `clock` is asked for the time of certificates.
    pub(crate) fn with_clock(&self, clock: Arc<ToldClock>) -> Arc<ServerConfig> {
        let mut config = self.0.clone();
        config.time_provider = clock;
        Arc::new(config)
    }
}

impl fmt::Debug for AcceptTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptTemplate").finish_non_exhaustive()
    }
}

/// Why a client's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClientCertificateError(String);

impl ClientCertificateError {
    /// Not even its fields can be read.
    pub(crate) fn unreadable() -> Self {
        Self("it cannot be read".to_owned())
    }
}

/// Judges clients by their chains; who is let in of those that have a good one is the owner's to say.
#[derive(Debug)]
struct ClientVerifier {
    chains: ChainVerifier,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    fn new(anchors: &ClientAnchors, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, ConfigError> {
        let chains = ChainVerifier::new(&anchors.ca, &anchors.crls, Unlisted::Accept).map_err(|error| match error {
            TrustError::Anchor { number, reason } => ConfigError::Ca { number, reason },
            TrustError::List { number, reason } => ConfigError::Crl { number, reason },
        })?;
        Ok(Self { chains, algorithms })
    }
}

impl Judge for ClientVerifier {
    type Refusal = ClientCertificateError;

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), ClientCertificateError> {
        let judged = self.chains.verify(leaf, others, now, KeyUsage::client_auth(), self.algorithms.all);
        judged.map_err(|error| ClientCertificateError(error.to_string()))
    }
}

/// The name of a certificate's holder: its common name. `None` if it has none that a log can show as it is.
pub(crate) fn holder(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(common_name(certificate.subject())).filter(|name| !name.is_empty() && !name.contains(char::is_control))
}
