//! What a server has shown, whatever is thought of it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};

use crate::facts::CertificateFacts;

/// The chain of a server, as it was shown first: a chain that is refused is forgotten by rustls.
#[derive(Default)]
pub struct SeenChain(OnceLock<Vec<CertificateDer<'static>>>);

impl SeenChain {
    /// What its certificates say, its own first; nothing before it has shown any. Also returns how many cannot be read.
    #[must_use]
    pub fn facts(&self) -> (Vec<CertificateFacts>, usize) {
        let chain = self.0.get().map_or(&[][..], Vec::as_slice);
        let read: Vec<_> = chain.iter().map(|der| CertificateFacts::read(der)).collect();
        let unreadable = read.iter().filter(|facts| facts.is_none()).count();
        (read.into_iter().flatten().collect(), unreadable)
    }

    /// A verifier that judges as another does, and remembers here what it has judged.
    #[must_use]
    pub fn watch(self: &Arc<Self>, judge: Arc<dyn ServerCertVerifier>) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Watched { judge, seen: Arc::clone(self) })
    }
}

impl fmt::Debug for SeenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeenChain({} certificates)", self.0.get().map_or(0, Vec::len))
    }
}

#[derive(Debug)]
struct Watched {
    judge: Arc<dyn ServerCertVerifier>,
    seen: Arc<SeenChain>,
}

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.seen.0.get_or_init(|| {
            let chain = std::iter::once(end_entity).chain(intermediates).take(MAX_CERTIFICATES);
            chain.map(|certificate| certificate.clone().into_owned()).collect()
        });
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// Certificates kept of a chain; our own judgement.
const MAX_CERTIFICATES: usize = 32;
