//! Is the peer the server we want? Chain by webpki, roles and names by our own reading of the certificate.
//!
//! OpenVPN servers mostly have no subjectAltName, so no TLS host name is compared; `verify-x509-name` and the usage
//! extensions take its place.

use std::fmt;

use adit_pki::{ChainVerifier, Judge, TrustError, Unlisted};
use pki_types::{CertificateDer, UnixTime};
use rustls::crypto::WebPkiSupportedAlgorithms;
use subtle::ConstantTimeEq;
use webpki::KeyUsage;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer, x509::X509Name};

use crate::config::{ConfigError, NameCheck, ServerCheck};

/// Checks the server's certificate as a [`ServerCheck`] says.
pub(crate) struct ServerVerifier {
    check: ServerCheck,
    chains: ChainVerifier,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a server's certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerCertificateError {
    /// The certificate cannot be read.
    #[error("the server's certificate cannot be read")]
    Unreadable,
    /// The chain does not lead to a certificate of `ca`.
    #[error("no certificate of `ca` has issued the server's certificate; is this the CA of this server?")]
    UnknownIssuer,
    /// The certificate, or one above it, has expired.
    #[error("the server's certificate, or one above it, has expired")]
    Expired,
    /// The certificate, or one above it, is not valid yet.
    #[error("the server's certificate, or one above it, is not valid yet; is this machine's clock right?")]
    NotValidYet,
    /// `crl-verify` lists the certificate.
    #[error("the server's certificate, or one above it, is revoked (`crl-verify`)")]
    Revoked,
    /// The list of `crl-verify` is out of date.
    #[error("the revocation list of `crl-verify` has expired; get a fresh one")]
    ExpiredRevocationList,
    /// The chain is broken in another way.
    #[error("the chain of the server's certificate is not acceptable: {0}")]
    Chain(webpki::Error),
    /// `peer-fingerprint` does not list the certificate.
    #[error("the server's certificate has the SHA-256 fingerprint {0}, which `peer-fingerprint` does not list")]
    Fingerprint(String),
    /// `remote-cert-tls` or `remote-cert-ku`: the extension is missing.
    #[error("the server's certificate has no key usage, which `remote-cert-tls`/`remote-cert-ku` demands")]
    NoKeyUsage,
    /// `remote-cert-ku`: the extension has other bits.
    #[error("the server's certificate has the key usage {0:02x}, none of those `remote-cert-ku` accepts")]
    KeyUsage(u16),
    /// `remote-cert-tls` or `remote-cert-eku`: the extension or the purpose is missing.
    #[error("the server's certificate lacks the extended key usage {0} (`remote-cert-tls`/`remote-cert-eku`)")]
    ExtendedKeyUsage(String),
    /// `ns-cert-type server` is not fulfilled.
    #[error("the server's certificate is not of Netscape type \"server\" (`ns-cert-type`)")]
    NetscapeType,
    /// `verify-x509-name` is not fulfilled.
    #[error("the server's certificate is of {found:?}, not of {wanted:?} (`verify-x509-name`)")]
    Name {
        /// What the certificate says.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
}

impl ServerVerifier {
    /// # Errors
    /// [`ConfigError::Ca`] or [`ConfigError::Crl`] when a certificate or list cannot be read.
    pub(crate) fn new(check: ServerCheck, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, ConfigError> {
        let chains = ChainVerifier::new(&check.ca, &check.crls, Unlisted::Accept).map_err(|error| match error {
            TrustError::Anchor { number, reason } => ConfigError::Ca { number, reason },
            TrustError::List { number, reason } => ConfigError::Crl { number, reason },
        })?;
        Ok(Self { check, chains, algorithms })
    }

    fn verify_fingerprint(&self, leaf: &CertificateDer<'_>) -> Result<(), ServerCertificateError> {
        if self.check.fingerprints.is_empty() {
            return Ok(());
        }
        let found = ring::digest::digest(&ring::digest::SHA256, leaf);
        if self.check.fingerprints.iter().any(|wanted| wanted.ct_eq(found.as_ref()).into()) {
            return Ok(());
        }
        let text: Vec<_> = found.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Err(ServerCertificateError::Fingerprint(text.join(":")))
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), ServerCertificateError> {
        self.chains.verify(leaf, intermediates, now, KeyUsage::server_auth(), self.algorithms.all).map_err(chain_error)
    }

    fn verify_key_usage(&self, certificate: &X509Certificate<'_>) -> Result<(), ServerCertificateError> {
        let Some(accepted) = &self.check.key_usage else { return Ok(()) };
        let usage = certificate.key_usage().ok().flatten().ok_or(ServerCertificateError::NoKeyUsage)?;
        // x509-parser numbers the bits from the least significant one, OpenVPN writes the first octet as on the wire.
        let octet = u16::from((usage.value.flags as u8).reverse_bits());
        if accepted.is_empty() || accepted.iter().any(|mask| octet & mask == *mask) {
            return Ok(());
        }
        Err(ServerCertificateError::KeyUsage(octet))
    }

    fn verify_extended_key_usage(&self, certificate: &X509Certificate<'_>) -> Result<(), ServerCertificateError> {
        let Some(wanted) = &self.check.extended_key_usage else { return Ok(()) };
        let purposes = certificate.extended_key_usage().ok().flatten();
        let found = purposes.is_some_and(|extension| {
            let eku = extension.value;
            let known = [
                (eku.server_auth, "1.3.6.1.5.5.7.3.1"),
                (eku.client_auth, "1.3.6.1.5.5.7.3.2"),
                (eku.code_signing, "1.3.6.1.5.5.7.3.3"),
                (eku.email_protection, "1.3.6.1.5.5.7.3.4"),
                (eku.time_stamping, "1.3.6.1.5.5.7.3.8"),
                (eku.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
                (eku.any, "2.5.29.37.0"),
            ];
            known.iter().any(|(set, oid)| *set && oid == wanted)
                || eku.other.iter().any(|oid| oid.to_id_string() == *wanted)
        });
        if found { Ok(()) } else { Err(ServerCertificateError::ExtendedKeyUsage(wanted.clone())) }
    }

    fn verify_netscape_type(&self, certificate: &X509Certificate<'_>) -> Result<(), ServerCertificateError> {
        let is_server = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::NSCertType(kind) if kind.ssl_server());
        if !self.check.netscape_server
            || certificate.extensions().iter().any(|extension| is_server(extension.parsed_extension()))
        {
            return Ok(());
        }
        Err(ServerCertificateError::NetscapeType)
    }

    fn verify_name(&self, certificate: &X509Certificate<'_>) -> Result<(), ServerCertificateError> {
        let subject = certificate.subject();
        let (found, wanted, matches) = match &self.check.name {
            None => return Ok(()),
            Some(NameCheck::Subject(wanted)) => {
                let found = subject_text(subject);
                let matches = found == *wanted;
                (found, wanted, matches)
            }
            Some(NameCheck::CommonName(wanted)) => {
                let found = common_name(subject);
                let matches = found == *wanted;
                (found, wanted, matches)
            }
            Some(NameCheck::CommonNamePrefix(wanted)) => {
                let found = common_name(subject);
                let matches = found.starts_with(wanted.as_str());
                (found, wanted, matches)
            }
        };
        if matches { Ok(()) } else { Err(ServerCertificateError::Name { found, wanted: wanted.clone() }) }
    }
}

impl Judge for ServerVerifier {
    type Refusal = ServerCertificateError;

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), ServerCertificateError> {
        self.verify_fingerprint(leaf)?;
        if !self.chains.has_no_anchor() {
            self.verify_chain(leaf, intermediates, now)?;
        }
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| ServerCertificateError::Unreadable)?;
        self.verify_key_usage(&certificate)?;
        self.verify_extended_key_usage(&certificate)?;
        self.verify_netscape_type(&certificate)?;
        self.verify_name(&certificate)
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier").field("check", &self.check).finish_non_exhaustive()
    }
}

fn chain_error(error: webpki::Error) -> ServerCertificateError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "webpki's list is open; the rest is passed on whole")]
    match error {
        webpki::Error::UnknownIssuer => ServerCertificateError::UnknownIssuer,
        webpki::Error::CertExpired { .. } => ServerCertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => ServerCertificateError::NotValidYet,
        webpki::Error::CertRevoked => ServerCertificateError::Revoked,
        webpki::Error::CrlExpired { .. } => ServerCertificateError::ExpiredRevocationList,
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            ServerCertificateError::ExtendedKeyUsage("1.3.6.1.5.5.7.3.1".to_owned())
        }
        other => ServerCertificateError::Chain(other),
    }
}

/// The subject as OpenVPN writes it: parts in the certificate's order, `, ` between them, ` + ` inside one of several
/// values (OpenVPN 2.6 `ssl_verify_openssl.c`, observable with `verb 3`).
fn subject_text(name: &X509Name<'_>) -> String {
    let part = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let oid = attribute.attr_type().to_id_string();
        let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map_or(oid.as_str(), |(_, short)| *short);
        format!("{short}={}", attribute.as_str().unwrap_or_default())
    };
    let set =
        |rdn: &x509_parser::x509::RelativeDistinguishedName<'_>| rdn.iter().map(part).collect::<Vec<_>>().join(" + ");
    name.iter_rdn().map(set).collect::<Vec<_>>().join(", ")
}

/// The subject of a certificate, without what a terminal would obey.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(subject_text(certificate.subject()).chars().filter(|c| !c.is_control()).collect())
}

/// The last common name, as OpenVPN picks it.
pub(super) fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name().last().and_then(|cn| cn.as_str().ok()).unwrap_or_default().to_owned()
}

/// OpenSSL's short names of what occurs in subjects.
const SHORT_NAMES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];
