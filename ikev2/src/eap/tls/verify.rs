//! Whether a certificate is that of the EAP server. It need not be the gateway: often a RADIUS server far behind it is asked.

use std::net::IpAddr;

use adit_pki::{ALGORITHMS, ChainVerifier, Judge, Unlisted};
use pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::super::{EapServerRefused, EapUnusable};
use crate::config::EapTlsServer;

/// Judges the chain, the purpose and the name.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    chain: ChainVerifier,
    name: Option<(String, ServerName<'static>)>,
}

impl ServerVerifier {
    pub(super) fn new(server: &EapTlsServer) -> Result<Self, EapUnusable> {
        let chain = ChainVerifier::new(&server.anchors, &server.crls, Unlisted::Refuse)?;
        if chain.has_no_anchor() {
            return Err(EapUnusable::NoAnchor);
        }
        let name = server.name.as_deref().map(|name| server_name(name).map(|parsed| (name.to_owned(), parsed)));
        Ok(Self { chain, name: name.transpose()? })
    }
}

impl Judge for ServerVerifier {
    type Refusal = EapServerRefused;

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), EapServerRefused> {
        self.chain.verify(leaf, others, now, KeyUsage::server_auth(), ALGORITHMS).map_err(refused)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| EapServerRefused::Unreadable)?;
        match &self.name {
            Some((text, name)) => verify_name(leaf, &certificate, text, name),
            None => verify_purpose(&certificate),
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, EapUnusable> {
    let address = name.parse::<IpAddr>().map(|address| ServerName::IpAddress(address.into()));
    address.or_else(|_| ServerName::try_from(name.to_owned())).map_err(|_| EapUnusable::ServerName(name.to_owned()))
}

/// The common name counts only for a certificate that has no alternative name at all (RFC 6125 §6.4.4).
fn verify_name(
    leaf: &CertificateDer<'_>,
    certificate: &X509Certificate<'_>,
    text: &str,
    name: &ServerName<'_>,
) -> Result<(), EapServerRefused> {
    let matches = match certificate.subject_alternative_name() {
        Ok(None) => common_name_is(certificate, text),
        Ok(Some(_)) => {
            EndEntityCert::try_from(leaf).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(name).is_ok())
        }
        Err(_) => return Err(EapServerRefused::Unreadable),
    };
    if matches { Ok(()) } else { Err(EapServerRefused::Name(text.to_owned())) }
}

/// There must be one alone: which of several counts, implementations disagree about.
fn common_name_is(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    names.next().is_none() && name.is_some_and(|name| name.eq_ignore_ascii_case(wanted))
}

/// Without a name to expect, the purpose must be written down: else every user of the same CA could pose as the server.
fn verify_purpose(certificate: &X509Certificate<'_>) -> Result<(), EapServerRefused> {
    let usage = certificate.extended_key_usage().map_err(|_| EapServerRefused::Unreadable)?;
    if usage.is_some_and(|usage| usage.value.server_auth) { Ok(()) } else { Err(EapServerRefused::KeyUsage) }
}

fn refused(error: webpki::Error) -> EapServerRefused {
    #[expect(clippy::wildcard_enum_match_arm, reason = "webpki's list is open; the rest is passed on whole")]
    match error {
        webpki::Error::BadDer => EapServerRefused::Unreadable,
        // The second: somebody else's CA with the name of ours.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => EapServerRefused::UnknownIssuer,
        webpki::Error::CertExpired { .. } => EapServerRefused::Expired,
        webpki::Error::CertNotValidYet { .. } => EapServerRefused::NotValidYet,
        webpki::Error::CertRevoked => EapServerRefused::Revoked,
        webpki::Error::UnknownRevocationStatus => EapServerRefused::NotCovered,
        webpki::Error::CrlExpired { .. } => EapServerRefused::ExpiredRevocationList,
        webpki::Error::RequiredEkuNotFoundContext(_) => EapServerRefused::KeyUsage,
        other => EapServerRefused::Chain(other.to_string()),
    }
}
