//! Who the server is.

use super::with;
use crate::{
    error::SessionError,
    tests::{certificates::changed, pki},
    tls::{ServerCertificateError, TlsFailure},
};

fn check(lines: &str, leaf: &pki::Leaf) -> Option<ServerCertificateError> {
    let mut setup = with(lines);
    setup.script.tls = leaf.server_config();
    let mut pair = setup.start();
    pair.run_until(super::super::secs(10), |pair| pair.log.closed.is_some() || !pair.log.ups.is_empty());
    pair.log.closed.as_ref()?;
    let SessionError::Tls(TlsFailure::ServerCertificate(error)) = pair.error().clone() else {
        panic!("{:?}", pair.error())
    };
    Some(error)
}

fn plain() -> pki::Leaf {
    changed(|params| (params.key_usages, params.extended_key_usages) = (Vec::new(), Vec::new()))
}

#[test]
fn ca_line_is_whose_servers_are_accepted() {
    assert_eq!(check("", &pki::SERVER), None);
    assert_eq!(check("ca ca.crt", &pki::SERVER), Some(ServerCertificateError::UnknownIssuer));
}

#[test]
fn crl_verify_line_is_read() {
    // A list of our own CA, expired.
    let list = crate::tests::revocation::pem_of_an_expired_list();
    let error = check(&format!("<crl-verify>\n{list}</crl-verify>"), &pki::SERVER);
    assert_eq!(error, Some(ServerCertificateError::ExpiredRevocationList));
}

#[test]
fn remote_cert_lines_want_usages() {
    for (line, error) in [
        ("", None),
        ("remote-cert-tls server", Some(ServerCertificateError::NoKeyUsage)),
        ("remote-cert-ku a0", Some(ServerCertificateError::NoKeyUsage)),
        ("remote-cert-eku serverAuth", Some(ServerCertificateError::ExtendedKeyUsage("1.3.6.1.5.5.7.3.1".to_owned()))),
        ("ns-cert-type server", Some(ServerCertificateError::NetscapeType)),
    ] {
        assert_eq!(check(line, &plain()), error, "{line}");
    }
    for line in ["remote-cert-tls server", "remote-cert-ku a0", "remote-cert-eku serverAuth"] {
        assert_eq!(check(line, &pki::SERVER), None, "{line}");
    }
    assert_eq!(check("remote-cert-ku 08", &pki::SERVER), Some(ServerCertificateError::KeyUsage(0xa0)));
}

#[test]
fn verify_x509_name_line_wants_a_name() {
    for line in ["server name", "serv name-prefix", "\"C=DE, O=Example, CN=server\" subject"] {
        assert_eq!(check(&format!("verify-x509-name {line}"), &pki::SERVER), None, "{line}");
    }
    for line in ["serv name", "erver name-prefix", "CN=server subject"] {
        let error = check(&format!("verify-x509-name {line}"), &pki::SERVER);
        assert!(matches!(error, Some(ServerCertificateError::Name { .. })), "{line}");
    }
}

#[test]
fn peer_fingerprint_line_wants_this_certificate() {
    let digest = ring::digest::digest(&ring::digest::SHA256, &pki::SERVER.certificate);
    let pairs = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    assert_eq!(check(&format!("peer-fingerprint {}", pairs(digest.as_ref())), &pki::SERVER), None);
    let error = check(&format!("peer-fingerprint {}", pairs(&[7; 32])), &pki::SERVER);
    assert!(matches!(error, Some(ServerCertificateError::Fingerprint(_))), "{error:?}");
}
