//! The peer's certificate, identity and signature (RFC 7296 §2.15, §3.6; RFC 4945).

use std::time::Duration;

use adit_pki::{ALGORITHMS, ChainVerifier, TrustError, Unlisted};
use bytes::Bytes;
use pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use ring::digest;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

use super::{Authenticated, PSK, PeerNotAuthenticated, SIGNATURE, algorithm, identity, wrong_identity};
use crate::{
    config::{CertificateVerifier, ExpectedIdentity},
    identity::{CertifiedNames, Identity, short},
    message::{
        Authentication, Certificate, CertificateRequest, Identification,
        numbers::{AuthMethod, CertEncoding},
    },
};

/// How a gateway with a certificate is judged, read once.
#[derive(Debug)]
pub(crate) struct PeerVerification {
    certificates: Certificates,
    expected: ExpectedIdentity,
    request: CertificateRequest,
}

/// How clients with certificates are judged, read once.
#[derive(Debug)]
pub(crate) struct ClientVerification {
    certificates: Certificates,
    request: CertificateRequest,
}

/// Judges chain, purpose and key of certificates.
#[derive(Debug)]
pub(crate) struct Certificates {
    chains: ChainVerifier,
    purposes: &'static [Purpose],
}

/// A purpose of an extended key usage, as the DER of its OID without header.
type Purpose = &'static [u8];

impl PeerVerification {
    /// # Errors
    /// [`TrustError`] names the anchor or the list that cannot be read.
    pub(crate) fn new(verifier: &CertificateVerifier) -> Result<Self, TrustError> {
        let certificates = Certificates::new(&verifier.anchors, &verifier.crls, GATEWAY_PURPOSES)?;
        let request = certificate_request(&certificates.chains);
        Ok(Self { certificates, expected: verifier.identity.clone(), request })
    }

    /// CERTREQ: gateways set to send certificates only when asked want one (RFC 7296 §3.7).
    pub(crate) fn cert_request(&self) -> CertificateRequest {
        self.request.clone()
    }

    /// Judges the gateway that was reached as `host`, in this order: chain, key, identity, signature. The first
    /// certificate is its own, the others may come in any order, and some may be of no use.
    pub(crate) fn verify(
        &self,
        host: &str,
        certs: &[&Certificate],
        idr: &Identification,
        auth: &Authentication,
        octets: &[u8],
        unix_time: Duration,
        legacy: bool,
    ) -> Result<Authenticated, PeerNotAuthenticated> {
        let proof = Proof { certs, auth, octets, unix_time, legacy };
        self.certificates.verify(&proof, |parsed| self.verify_identity(host, parsed, idr)).map(|((), proof)| proof)
    }

    /// IDr must be in the certificate. Beyond that it must be the identity we want; a gateway that calls itself by its
    /// subject, as Windows does, may show the identity we want anywhere in the certificate, and so may any gateway that
    /// is only expected to be the host we called.
    fn verify_identity(
        &self,
        host: &str,
        certificate: &X509Certificate<'_>,
        idr: &Identification,
    ) -> Result<(), PeerNotAuthenticated> {
        let (wanted, is_host) = match &self.expected {
            ExpectedIdentity::AnyOfTheAnchors => return Ok(()),
            ExpectedIdentity::Exactly(identity) => (identity.clone(), false),
            ExpectedIdentity::Host => (Identity::of_host(host), true),
        };
        let (found, names) = certified(certificate, idr)?;
        let by_certificate = is_host || matches!(found, Identity::DistinguishedName(_));
        if found.matches(&wanted) || by_certificate && names.contain(&wanted) {
            return Ok(());
        }
        Err(wrong_identity(&if by_certificate { names.to_string() } else { found.to_string() }, &wanted))
    }
}

impl ClientVerification {
    /// # Errors
    /// [`TrustError`] names the anchor or the list that cannot be read.
    pub(crate) fn new(
        anchors: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, TrustError> {
        let certificates = Certificates::of_clients(anchors, crls)?;
        let request = certificate_request(&certificates.chains);
        Ok(Self { certificates, request })
    }

    /// CERTREQ, which most clients wait for before they send a certificate (RFC 7296 §3.7).
    pub(crate) fn cert_request(&self) -> CertificateRequest {
        self.request.clone()
    }

    /// Judges a client as [`PeerVerification::verify`] judges a gateway. It is who it says, and its certificate must say so
    /// too: the identity is spelled as there, so that a certificate has no more names than it contains.
    pub(crate) fn verify(
        &self,
        certs: &[&Certificate],
        idi: &Identification,
        auth: &Authentication,
        octets: &[u8],
        unix_time: Duration,
        legacy: bool,
    ) -> Result<(Authenticated, Identity), PeerNotAuthenticated> {
        let proof = Proof { certs, auth, octets, unix_time, legacy };
        let (identity, proof) =
            self.certificates.verify(&proof, |parsed| certified(parsed, idi).map(|(found, _)| found))?;
        Ok((proof, identity))
    }
}

/// What a peer with a certificate has sent to be believed, and what else that depends on.
struct Proof<'a> {
    certs: &'a [&'a Certificate],
    auth: &'a Authentication,
    octets: &'a [u8],
    unix_time: Duration,
    legacy: bool,
}

impl Certificates {
    fn new(
        anchors: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'static>],
        purposes: &'static [Purpose],
    ) -> Result<Self, TrustError> {
        Ok(Self { chains: ChainVerifier::new(anchors, crls, Unlisted::Refuse)?, purposes })
    }

    /// For clients, in IKE and in EAP-TLS.
    ///
    /// # Errors
    /// [`TrustError`] names the anchor or the list that cannot be read.
    pub(crate) fn of_clients(
        anchors: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'static>],
    ) -> Result<Self, TrustError> {
        Self::new(anchors, crls, CLIENT_PURPOSES)
    }

    /// Judges chain and key, and gives the certificate to read.
    pub(crate) fn judge<'a>(
        &self,
        leaf: &'a CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<X509Certificate<'a>, PeerNotAuthenticated> {
        self.chains.verify(leaf, others, now, Purposes(self.purposes), ALGORITHMS)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| PeerNotAuthenticated::UnreadableCertificate)?;
        verify_key(&parsed)?;
        Ok(parsed)
    }

    /// Chain, key, identity, signature, in this order.
    fn verify<T>(
        &self,
        proof: &Proof<'_>,
        identity: impl FnOnce(&X509Certificate<'_>) -> Result<T, PeerNotAuthenticated>,
    ) -> Result<(T, Authenticated), PeerNotAuthenticated> {
        let x509 = proof.certs.iter().filter(|cert| cert.encoding == CertEncoding::X509_SIGNATURE);
        let ders: Vec<CertificateDer<'_>> = x509.map(|cert| CertificateDer::from(&*cert.data)).collect();
        let Some((leaf, others)) = ders.split_first() else {
            let psk = proof.auth.method == AuthMethod::PSK;
            return Err(if psk { by_psk() } else { PeerNotAuthenticated::NoCertificate });
        };
        let parsed = self.judge(leaf, others, UnixTime::since_unix_epoch(proof.unix_time))?;
        let identity = identity(&parsed)?;
        verify_signature(&EndEntityCert::try_from(leaf)?, proof.auth, proof.octets, proof.legacy)?;
        Ok((identity, Authenticated(())))
    }
}

/// Who somebody says to be, as the certificate spells it, and who else that certifies.
fn certified(
    certificate: &X509Certificate<'_>,
    id: &Identification,
) -> Result<(Identity, CertifiedNames), PeerNotAuthenticated> {
    let names = CertifiedNames::new(certificate).ok_or(PeerNotAuthenticated::UnreadableCertificate)?;
    let claimed = identity(id)?;
    if let Some(found) = names.find(&claimed).cloned() {
        return Ok((found, names));
    }
    let found = short(&claimed.to_string());
    Err(PeerNotAuthenticated::IdentityNotCertified { found, certified: names.to_string() })
}

/// SHA-1 hashes of the anchors' public keys. A list of all public CAs would only make the message long; an empty one
/// asks for any certificate.
fn certificate_request(chains: &ChainVerifier) -> CertificateRequest {
    let hash = |key: Vec<u8>| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &key).as_ref().to_vec();
    let hashes: Vec<Vec<u8>> = chains.anchor_keys().map(hash).collect();
    let authorities = if hashes.len() <= MAX_AUTHORITIES { Bytes::from(hashes.concat()) } else { Bytes::new() };
    CertificateRequest { encoding: CertEncoding::X509_SIGNATURE, authorities }
}

/// An extended key usage, if there is one, must name one of these purposes.
struct Purposes(&'static [Purpose]);

impl ExtendedKeyUsageValidator for Purposes {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut found = Vec::new();
        for purpose in purposes {
            found.push(purpose?);
        }
        if found.is_empty() || found.iter().any(|purpose| self.0.iter().any(|good| *purpose == KeyPurposeId::new(good)))
        {
            return Ok(());
        }
        // webpki's own error can only be made by its own rule.
        let present: Vec<_> = found.iter().map(KeyPurposeId::to_decoded_oid).collect();
        let required = KeyUsage::server_auth();
        Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext { required, present }))
    }
}

/// serverAuth (RFC 5280 §4.2.1.12), as Windows and iOS demand of gateways; ipsecIKE (RFC 4945 §5.1.3.12); ikeIntermediate, Apple's
/// of old; or any.
const GATEWAY_PURPOSES: &[Purpose] = &[SERVER_AUTH, IPSEC_IKE, &[0x2b, 6, 1, 5, 5, 8, 2, 2], ANY_PURPOSE];
/// clientAuth, which certificates of users have; ipsecIKE; or any.
const CLIENT_PURPOSES: &[Purpose] = &[CLIENT_AUTH, IPSEC_IKE, ANY_PURPOSE];
/// 1.3.6.1.5.5.7.3.1
const SERVER_AUTH: Purpose = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// 1.3.6.1.5.5.7.3.2
const CLIENT_AUTH: Purpose = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
/// 1.3.6.1.5.5.7.3.17
const IPSEC_IKE: Purpose = &[0x2b, 6, 1, 5, 5, 7, 3, 17];
/// 2.5.29.37.0
const ANY_PURPOSE: Purpose = &[0x55, 0x1d, 0x25, 0];

/// What of the key is to be said before a signature fails for it.
fn verify_key(certificate: &X509Certificate<'_>) -> Result<(), PeerNotAuthenticated> {
    let usage = certificate.key_usage().map_err(|_| PeerNotAuthenticated::UnreadableCertificate)?;
    if usage.is_some_and(|usage| !usage.value.digital_signature() && !usage.value.non_repudiation()) {
        return Err(PeerNotAuthenticated::KeyUsage);
    }
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if !RSA_BITS.contains(&key.key_size()) => {
            Err(PeerNotAuthenticated::RsaKeySize { bits: key.key_size() })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Verifies AUTH with the key of the certificate.
pub(super) fn verify_signature(
    leaf: &EndEntityCert<'_>,
    auth: &Authentication,
    octets: &[u8],
    legacy: bool,
) -> Result<(), PeerNotAuthenticated> {
    let (signature, verifiers) = match auth.method {
        AuthMethod::RSA => (&*auth.data, algorithm::rsa_verifiers()),
        AuthMethod::ECDSA_256 => (&*auth.data, vec![algorithm::ECDSA_256]),
        AuthMethod::ECDSA_384 => (&*auth.data, vec![algorithm::ECDSA_384]),
        AuthMethod::ECDSA_521 => (&*auth.data, vec![algorithm::ECDSA_521]),
        AuthMethod::DIGITAL_SIGNATURE => {
            let (algorithm, signature) =
                split_digital_signature(&auth.data).ok_or(PeerNotAuthenticated::WrongSignature)?;
            (signature, algorithm::verifiers(algorithm).ok_or_else(|| unsupported_signature(algorithm))?)
        }
        AuthMethod::PSK => return Err(by_psk()),
        method => return Err(PeerNotAuthenticated::unsupported(method)),
    };
    let mut error = PeerNotAuthenticated::SignatureOfAnotherKind;
    for verifier in verifiers {
        match leaf.verify_signature(verifier, octets, signature) {
            Ok(()) if algorithm::is_sha1(verifier) && !legacy => return Err(PeerNotAuthenticated::Sha1),
            Ok(()) => return Ok(()),
            // A deliberate fault, which tests must notice: any AUTH will do.
            Err(webpki::Error::InvalidSignatureForPublicKey) if cfg!(adit_sabotage = "auth") => return Ok(()),
            Err(webpki::Error::InvalidSignatureForPublicKey) => error = PeerNotAuthenticated::WrongSignature,
            Err(_) => {}
        }
    }
    Err(error)
}

fn unsupported_signature(algorithm: &[u8]) -> PeerNotAuthenticated {
    let hex: String = algorithm.iter().map(|byte| format!("{byte:02x}")).collect();
    PeerNotAuthenticated::UnsupportedSignature { algorithm: short(&hex) }
}

/// AlgorithmIdentifier and signature of method 14: a length in a byte stands in front (RFC 7427 §3).
fn split_digital_signature(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = data.split_first()?;
    rest.split_at_checked(length.into())
}

fn by_psk() -> PeerNotAuthenticated {
    PeerNotAuthenticated::OtherMethod { found: PSK, wanted: SIGNATURE }
}

/// Bits of RSA keys that ring verifies with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Most hashes in a CERTREQ; our judgement.
const MAX_AUTHORITIES: usize = 32;
