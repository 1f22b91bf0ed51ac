//! `crl-verify`, with lists of version 2 and of version 1.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pki_types::CertificateRevocationListDer;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, SigningKey as _, date_time_ymd,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    certificates::{changed, refusal, with_server},
    pair::Setup,
    pki,
};
use crate::{config::ConfigError, tls::ServerCertificateError};

type List = CertificateRevocationListDer<'static>;
/// Makes a list of these serial numbers, good until January of this year.
type Make = fn(&pki::Ca, &[u8], u16) -> List;
const BOTH_VERSIONS: [Make; 2] = [version_2, version_1];

fn version_2(ca: &pki::Ca, revoked: &[u8], until: u16) -> List {
    let entry = |serial: u8| RevokedCertParams {
        serial_number: SerialNumber::from(vec![serial]),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(until.into(), 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(|serial| entry(*serial)).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().der().clone()
}

/// As `openssl ca -gencrl` makes them without `crl_extensions`: no version, no extensions (RFC 5280 §5.1).
fn version_1(ca: &pki::Ca, revoked: &[u8], until: u16) -> List {
    let time = |year: u16| der(0x17, &[format!("{:02}0101000000Z", year % 100).as_bytes()]);
    let entries: Vec<u8> =
        revoked.iter().flat_map(|serial| der(0x30, &[&der(0x02, &[&[*serial]]), &time(2026)])).collect();
    let entries = if entries.is_empty() { Vec::new() } else { der(0x30, &[&entries]) };
    let (_, certificate) = X509Certificate::from_der(ca.as_ref().der()).unwrap();
    let algorithm = der(0x30, &[&der(0x06, &[ECDSA_WITH_SHA256])]);
    let content = der(0x30, &[&algorithm, certificate.subject().as_raw(), &time(2025), &time(until), &entries]);
    let signature = ca.key().sign(&content).unwrap();
    der(0x30, &[&content, &algorithm, &der(0x03, &[&[0], &signature])]).into()
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], &content].concat()
}

/// 1.2.840.10045.4.3.2
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Of our CA, which has gone out of date at the start of the year.
pub(super) fn pem_of_an_expired_list() -> String {
    let list = STANDARD.encode(version_2(&pki::CA, &[], 2026));
    format!("-----BEGIN X509 CRL-----\n{list}\n-----END X509 CRL-----\n")
}

fn numbered(serial: u8) -> pki::Leaf {
    changed(|params| params.serial_number = Some(SerialNumber::from(vec![serial])))
}

fn listed(leaf: &pki::Leaf, lists: Vec<List>) -> Setup {
    with_server(leaf, |setup| setup.check.crls = lists)
}

#[test]
fn a_revoked_certificate_is_refused() {
    let leaf = numbered(5);
    for make in BOTH_VERSIONS {
        let list = |revoked: &[u8]| listed(&leaf, vec![make(&pki::CA, revoked, 2030)]);
        assert_eq!(refusal(list(&[4, 5, 6])), ServerCertificateError::Revoked);
        list(&[4, 6]).up();
        list(&[]).up();
    }
}

#[test]
fn an_expired_list_is_refused() {
    for make in BOTH_VERSIONS {
        // It is June.
        let setup = listed(&numbered(5), vec![make(&pki::CA, &[], 2026)]);
        assert_eq!(refusal(setup), ServerCertificateError::ExpiredRevocationList);
    }
}

#[test]
fn a_revoked_intermediate_ca_is_refused_with_everything_below_it() {
    let intermediate = pki::numbered_intermediate("Intermediate", &pki::CA, 9);
    let mut leaf = pki::leaf(&intermediate, |params| params.serial_number = Some(SerialNumber::from(vec![5])));
    leaf.intermediates.push(intermediate.as_ref().der().clone());
    for make in BOTH_VERSIONS {
        let root_and_intermediate = |root: &[u8], below: &[u8]| {
            listed(&leaf, vec![make(&pki::CA, root, 2030), make(&intermediate, below, 2030)])
        };
        assert_eq!(refusal(root_and_intermediate(&[9], &[])), ServerCertificateError::Revoked);
        assert_eq!(refusal(root_and_intermediate(&[], &[5])), ServerCertificateError::Revoked);
        // The numbers of one CA say nothing about those of another.
        root_and_intermediate(&[5], &[9]).up();
    }
}

#[test]
fn a_list_of_another_ca_says_nothing() {
    for make in BOTH_VERSIONS {
        listed(&numbered(5), vec![make(&pki::ca("Other CA"), &[5], 2030)]).up();
    }
}

#[test]
fn a_list_that_the_ca_has_not_signed_is_refused() {
    let forger = pki::ca("Test CA");
    for make in BOTH_VERSIONS {
        let error = refusal(listed(&numbered(5), vec![make(&forger, &[], 2030)]));
        assert!(matches!(error, ServerCertificateError::Chain(_)), "{error}");
    }
}

#[test]
fn lists_without_a_ca_make_no_configuration() {
    let setup = Setup::new(|setup| {
        setup.check.ca = Vec::new();
        setup.check.fingerprints = vec![[7; 32]];
        setup.check.crls = vec![version_1(&pki::CA, &[], 2030)];
    });
    assert_eq!(setup.config().map(drop), Err(ConfigError::CrlWithoutCa));
}
