//! Certificates of clients: required, optional, or not asked for.

use adit_tunnel::CloseKind;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};
use rcgen::{DnType, ExtendedKeyUsagePurpose};

use super::net::{Setup, certificates_required};
use crate::{
    config::TlsVersion,
    error::SessionError,
    server::{ClientAnchors, ClientCertificates, ServerSessionError},
    tests::{
        pki::{self, Leaf},
        secs,
    },
    tls::TlsFailure,
};

fn client(name: &str, serial: u8, usage: ExtendedKeyUsagePurpose) -> Leaf {
    pki::leaf(&pki::CA, |params| {
        params.distinguished_name.remove(DnType::CommonName);
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.extended_key_usages = vec![usage];
    })
}

fn with(leaf: Option<&Leaf>) -> Setup {
    Setup::new(|setup| {
        setup.check = certificates_required();
        setup.identity = leaf.map(Leaf::identity);
    })
}

#[test]
fn a_good_certificate_comes_in_under_its_common_name() {
    let leaf = client("alice", 7, ExtendedKeyUsagePurpose::ClientAuth);
    for max in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut setup = with(Some(&leaf));
        setup.settings.tls.max = Some(max);
        let mut net = setup.up();
        net.assert_traffic_flows();
        let applicant = net.peer().applicants.pop().unwrap();
        assert_eq!(applicant.identity.as_deref(), Some("alice"));
        assert!(applicant.login.is_none(), "no login is asked for");
    }
}

/// The alert reaches the client, in either version of TLS.
#[test]
fn who_has_no_certificate_is_refused_by_tls() {
    for max in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let mut setup = with(None);
        setup.settings.tls.max = Some(max);
        let mut net = setup.fails();
        let error = net.client_error();
        assert!(
            matches!(error, SessionError::Tls(TlsFailure::OurCertificate(_) | TlsFailure::NoAgreement(_))),
            "{error}"
        );
        net.run(secs(1));
        assert_eq!(net.server_error(), (CloseKind::PeerNotAuthenticated, &ServerSessionError::NoClientCertificate));
    }
}

fn refused(leaf: &Leaf) -> ServerSessionError {
    let mut net = with(Some(leaf)).fails();
    let error = net.client_error();
    assert!(matches!(error, SessionError::Tls(TlsFailure::OurCertificate(_))), "{error}");
    net.run(secs(1));
    assert!(net.gone[0].applicants.is_empty());
    let (kind, error) = net.server_error();
    assert_eq!(kind, CloseKind::PeerNotAuthenticated);
    error.clone()
}

#[test]
fn certificates_of_other_cas_and_of_servers_are_refused() {
    let stranger = pki::leaf(&pki::ca("Other CA"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(matches!(refused(&stranger), ServerSessionError::ClientCertificate(_)));
    let server = client("server", 8, ExtendedKeyUsagePurpose::ServerAuth);
    assert!(matches!(refused(&server), ServerSessionError::ClientCertificate(_)));
}

#[test]
fn an_expired_certificate_is_refused() {
    let expired = pki::leaf(&pki::CA, |params| {
        params.not_after = date_time_ymd(2021, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(matches!(refused(&expired), ServerSessionError::ClientCertificate(_)));
}

#[test]
fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2030, 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(vec![77]),
            revocation_time: date_time_ymd(2026, 1, 2),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&pki::CA).unwrap();
    for (serial, good) in [(77, false), (78, true)] {
        let leaf = client("bob", serial, ExtendedKeyUsagePurpose::ClientAuth);
        let mut setup = with(Some(&leaf));
        let anchors = ClientAnchors { ca: vec![pki::CA.as_ref().der().clone()], crls: vec![list.der().clone()] };
        setup.check.certificates = ClientCertificates::Required(anchors);
        let mut net = setup.start();
        net.run(secs(5));
        assert_eq!(net.client().ups.len(), usize::from(good), "serial {serial}");
    }
}

#[test]
fn a_certificate_without_a_common_name_is_nobodys() {
    let leaf = client("", 9, ExtendedKeyUsagePurpose::ClientAuth);
    let mut net = with(Some(&leaf)).fails();
    assert_eq!(*net.client_error(), SessionError::AuthFailed(String::new()));
    net.run(secs(1));
    assert_eq!(*net.server_error().1, ServerSessionError::NoCommonName);
}

#[test]
fn an_optional_certificate_names_the_applicant_if_it_is_there() {
    let leaf = client("carol", 10, ExtendedKeyUsagePurpose::ClientAuth);
    for (identity, name) in [(Some(&leaf), Some("carol")), (None, None)] {
        let mut net = Setup::new(|setup| {
            let anchors = ClientAnchors { ca: vec![pki::CA.as_ref().der().clone()], crls: Vec::new() };
            setup.check.certificates = ClientCertificates::Optional(anchors);
            setup.identity = identity.map(Leaf::identity);
        })
        .up();
        let applicant = net.peer().applicants.pop().unwrap();
        assert_eq!((applicant.identity.as_deref(), applicant.login.is_some()), (name, true));
    }
}
