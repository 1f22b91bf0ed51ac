//! TLS of the answering end, for EAP-TLS and EAP-TTLS.

use std::{fmt, sync::Arc};

use adit_pki::{Judge, JudgedClients, OnlyKey, TlsTrouble, ToldClock};
use pki_types::{CertificateDer, UnixTime};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::{EapClientError, EapTlsIdentity};
use crate::{
    auth::{Certificates, PeerNotAuthenticated},
    eap::{
        EapError, EapUnusable,
        tls::{TlsFailure, TlsSession, versions},
    },
};

/// rustls's configuration without a clock, with everything in it that can be wrong.
pub(super) struct ServerTemplate(ServerConfig);

/// Whether clients must have a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    Certified,
    Anybody,
}

impl ServerTemplate {
    /// # Errors
    /// [`EapUnusable`] names what cannot be used.
    pub(super) fn new(ours: &EapTlsIdentity, clients: Clients) -> Result<Self, EapUnusable> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let key = OnlyKey::new(&ours.certificate, &provider)?;
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ToldClock::default()))
            .with_protocol_versions(&versions(ours.min_version, ours.max_version)?)
            .map_err(|e| EapUnusable::Tls(e.to_string()))?;
        let builder = match clients {
            Clients::Anybody => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
            Clients::Certified if ours.anchors.is_empty() => return Err(EapUnusable::NoAnchor),
            Clients::Certified => {
                let verifier = ClientVerifier(Certificates::of_clients(&ours.anchors, &ours.crls)?);
                builder.with_client_cert_verifier(Arc::new(JudgedClients::new(verifier, algorithms, true)))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(key));
        // A resumed session would prove nothing about the certificates of today.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(config))
    }

    /// Waits for the ClientHello.
    pub(super) fn start(&self) -> Result<TlsSession, EapClientError> {
        let clock = Arc::new(ToldClock::default());
        let mut config = self.0.clone();
        config.time_provider = Arc::<ToldClock>::clone(&clock);
        let connection = ServerConnection::new(Arc::new(config)).map_err(TlsFailure::Rustls)?;
        Ok(TlsSession::new(connection.into(), clock))
    }
}

impl fmt::Debug for ServerTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTemplate").finish_non_exhaustive()
    }
}

/// Judges clients as those with a certificate in IKE_AUTH are judged.
#[derive(Debug)]
struct ClientVerifier(Certificates);

impl Judge for ClientVerifier {
    type Refusal = PeerNotAuthenticated;

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), PeerNotAuthenticated> {
        self.0.judge(leaf, others, now).map(drop)
    }
}

impl From<TlsFailure> for EapClientError {
    fn from(failure: TlsFailure) -> Self {
        let TlsFailure::Rustls(error) = failure else { return EapError::from(failure).into() };
        if error == rustls::Error::NoCertificatesPresented {
            return PeerNotAuthenticated::NoCertificate.into();
        }
        match TlsTrouble::from(error) {
            TlsTrouble::Refused(refused) => Self::Certificate(refused),
            TlsTrouble::Unreadable => Self::Certificate(PeerNotAuthenticated::UnreadableCertificate),
            TlsTrouble::OurCertificate(alert) => Self::OurCertificate(alert),
            TlsTrouble::NoAgreement(reason) => Self::NoTlsAgreement(reason),
            TlsTrouble::Other(reason) => EapError::Tls(reason).into(),
        }
    }
}
