//! The server's certificate, and ours.

use adit_tunnel::{CloseKind, Retry};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    date_time_ymd,
};

use super::{
    millis,
    pair::{Pair, Setup},
    pki,
};
use crate::{
    config::{ClientIdentity, ConfigError, NameCheck, TlsVersion},
    error::SessionError,
    tls::{ServerCertificateError, TlsFailure},
};

pub(super) fn with_server(leaf: &pki::Leaf, change: impl FnOnce(&mut Setup)) -> Setup {
    Setup::new(|setup| {
        setup.script.tls = leaf.server_config();
        change(setup);
    })
}

/// Why the certificate is refused. The server learns of it too.
pub(super) fn refusal(setup: Setup) -> ServerCertificateError {
    let mut pair = setup.fails();
    let SessionError::Tls(TlsFailure::ServerCertificate(error)) = pair.error().clone() else {
        panic!("{:?}", pair.error())
    };
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::PeerNotAuthenticated, &Retry::NextRemote));
    assert!(pair.log.keys.is_empty());
    assert!(pair.server.client_messages.is_empty(), "nothing secret was said");
    pair.run(millis(100));
    assert!(matches!(pair.server.tls_error, Some(rustls::Error::AlertReceived(_))), "{:?}", pair.server.tls_error);
    error
}

fn refused(leaf: &pki::Leaf) -> ServerCertificateError {
    refusal(with_server(leaf, |_| {}))
}

pub(super) fn changed(change: impl FnOnce(&mut CertificateParams)) -> pki::Leaf {
    pki::leaf(&pki::CA, change)
}

#[test]
fn another_ca_is_refused() {
    let other = pki::leaf(&pki::ca("Test CA"), |_| {});
    // The names of both CAs are the same, their keys are not.
    assert!(matches!(refused(&other), ServerCertificateError::UnknownIssuer | ServerCertificateError::Chain(_)));
    assert_eq!(refused(&pki::leaf(&pki::ca("Other CA"), |_| {})), ServerCertificateError::UnknownIssuer);
    assert_eq!(refused(&pki::self_signed(|_| {})), ServerCertificateError::UnknownIssuer);
}

#[test]
fn validity_is_judged_by_the_time_we_were_told() {
    let expired = changed(|params| params.not_after = date_time_ymd(2026, 5, 31));
    assert_eq!(refused(&expired), ServerCertificateError::Expired);
    let early = changed(|params| params.not_before = date_time_ymd(2026, 6, 2));
    assert_eq!(refused(&early), ServerCertificateError::NotValidYet);
    with_server(&changed(|params| params.not_after = date_time_ymd(2026, 6, 2)), |_| {}).up();
}

#[test]
fn a_certificate_that_expires_while_the_tunnel_is_up_is_refused_at_the_renegotiation() {
    let leaf = changed(|params| params.not_after = date_time_ymd(2026, 6, 2));
    let mut pair = with_server(&leaf, |setup| setup.settings.reneg_sec = super::secs(0)).up();
    pair.run(super::secs(2 * 24 * 3600));
    pair.server.renegotiate(pair.now);
    pair.run(super::secs(1));
    let expected = TlsFailure::ServerCertificate(ServerCertificateError::Expired);
    assert_eq!(*pair.error(), SessionError::Tls(expected));
}

#[test]
fn a_clients_certificate_does_not_make_a_server() {
    let client = changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(matches!(refused(&client), ServerCertificateError::ExtendedKeyUsage(_)));
    // Not even where no role is asked for: webpki knows what we use it as.
    let unasked = with_server(&client, |setup| setup.check.extended_key_usage = None);
    assert!(matches!(refusal(unasked), ServerCertificateError::ExtendedKeyUsage(_)));
}

#[test]
fn a_certificate_without_purposes_passes_only_if_none_is_asked_for() {
    let plain = changed(|params| params.extended_key_usages = Vec::new());
    assert_eq!(refused(&plain), ServerCertificateError::ExtendedKeyUsage("1.3.6.1.5.5.7.3.1".to_owned()));
    with_server(&plain, |setup| setup.check.extended_key_usage = None).up();
}

#[test]
fn other_purposes_can_be_asked_for() {
    let purpose = |setup: &mut Setup| setup.check.extended_key_usage = Some("1.3.6.1.4.1.99999.1".to_owned());
    let leaf = changed(|params| {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 99999, 1]));
    });
    with_server(&leaf, purpose).up();
    assert!(matches!(refusal(with_server(&pki::SERVER, purpose)), ServerCertificateError::ExtendedKeyUsage(_)));
}

#[test]
fn remote_cert_tls_wants_some_key_usage() {
    let none = changed(|params| params.key_usages = Vec::new());
    let wants = |setup: &mut Setup| setup.check.key_usage = Some(Vec::new());
    assert_eq!(refusal(with_server(&none, wants)), ServerCertificateError::NoKeyUsage);
    with_server(&pki::SERVER, wants).up();
    with_server(&none, |_| {}).up();
}

#[test]
fn remote_cert_ku_wants_all_bits_of_one_of_its_masks() {
    // digitalSignature is 80, keyEncipherment 20, keyAgreement 08.
    for (masks, ok) in [
        (vec![0x80], true),
        (vec![0xa0], true),
        (vec![0x88], false),
        (vec![0x88, 0x20], true),
        (vec![0x08, 0x04], false),
    ] {
        let setup = with_server(&pki::SERVER, |setup| setup.check.key_usage = Some(masks.clone()));
        if ok {
            setup.up();
        } else {
            assert_eq!(refusal(setup), ServerCertificateError::KeyUsage(0xa0), "{masks:x?}");
        }
    }
    let agreement = changed(|params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    });
    with_server(&agreement, |setup| setup.check.key_usage = Some(vec![0x88])).up();
}

#[test]
fn ns_cert_type_wants_the_netscape_extension() {
    let netscape = |bits: u8| {
        changed(|params| {
            let extension = CustomExtension::from_oid_content(&[2, 16, 840, 1, 113730, 1, 1], vec![3, 2, 0, bits]);
            params.custom_extensions.push(extension);
        })
    };
    let wants = |setup: &mut Setup| setup.check.netscape_server = true;
    with_server(&netscape(0x40), wants).up();
    assert_eq!(refusal(with_server(&netscape(0x80), wants)), ServerCertificateError::NetscapeType);
    assert_eq!(refusal(with_server(&pki::SERVER, wants)), ServerCertificateError::NetscapeType);
}

#[test]
fn names_are_compared_byte_for_byte() {
    let name = |text: &str| NameCheck::CommonName(text.to_owned());
    let prefix = |text: &str| NameCheck::CommonNamePrefix(text.to_owned());
    let subject = |text: &str| NameCheck::Subject(text.to_owned());
    for (check, ok) in [
        (name("server"), true),
        (name("Server"), false),
        (name("serve"), false),
        (name("*"), false),
        (prefix("serv"), true),
        (prefix("server"), true),
        (prefix("server1"), false),
        (subject("C=DE, O=Example, CN=server"), true),
        (subject("CN=server"), false),
        (subject("C=DE, O=Example, CN=server, OU=x"), false),
    ] {
        let setup = with_server(&pki::SERVER, |setup| setup.check.name = Some(check.clone()));
        if ok {
            setup.up();
        } else {
            assert!(matches!(refusal(setup), ServerCertificateError::Name { .. }), "{check:?}");
        }
    }
}

#[test]
fn a_name_in_another_field_is_no_common_name() {
    let leaf = changed(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "server");
        params.distinguished_name.push(DnType::CommonName, "mallory, CN=server");
    });
    let named = |check: NameCheck| with_server(&leaf, |setup| setup.check.name = Some(check));
    let error = refusal(named(NameCheck::CommonName("server".to_owned())));
    let (found, wanted) = ("mallory, CN=server".to_owned(), "server".to_owned());
    assert_eq!(error, ServerCertificateError::Name { found, wanted });
}

fn fingerprint(leaf: &pki::Leaf) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, &leaf.certificate).as_ref().try_into().unwrap()
}

#[test]
fn a_fingerprint_does_without_a_ca() {
    let (ours, other) = (pki::self_signed(|_| {}), pki::self_signed(|_| {}));
    let pinned = |leaf: &pki::Leaf| {
        with_server(leaf, |setup| {
            setup.check.ca = Vec::new();
            setup.check.fingerprints = vec![[7; 32], fingerprint(&ours)];
        })
    };
    let mut pair = pinned(&ours).up();
    pair.assert_traffic_flows();
    assert!(matches!(refusal(pinned(&other)), ServerCertificateError::Fingerprint(_)));
}

#[test]
fn a_fingerprint_does_not_replace_the_ca() {
    let other = pki::self_signed(|_| {});
    let setup = with_server(&other, |setup| setup.check.fingerprints = vec![fingerprint(&other)]);
    assert_eq!(refusal(setup), ServerCertificateError::UnknownIssuer);
}

#[test]
fn the_key_must_belong_to_the_pinned_certificate() {
    // Somebody shows the right certificate without its key.
    let ours = pki::self_signed(|_| {});
    let thief = pki::Leaf {
        certificate: ours.certificate.clone(),
        intermediates: Vec::new(),
        key: pki::self_signed(|_| {}).key.clone_key(),
    };
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let pair = Setup::new(|setup| {
            (setup.settings.tls.min, setup.settings.tls.max) = (Some(version), Some(version));
            setup.check.ca = Vec::new();
            setup.check.fingerprints = vec![fingerprint(&ours)];
            setup.script.tls = thief.server_config_of_a_thief();
        })
        .fails();
        let SessionError::Tls(TlsFailure::Protocol(text)) = pair.error() else { panic!("{:?}", pair.error()) };
        assert!(text.contains("BadSignature"), "{version:?}: {text}");
        assert!(pair.server.client_messages.is_empty());
    }
}

#[test]
fn an_intermediate_ca_comes_with_the_servers_certificate() {
    let intermediate = pki::intermediate("Intermediate", &pki::CA);
    let mut leaf = pki::leaf(&intermediate, |_| {});
    assert_eq!(refused(&leaf), ServerCertificateError::UnknownIssuer);
    leaf.intermediates.push(intermediate.as_ref().der().clone());
    let mut pair = with_server(&leaf, |_| {}).up();
    pair.assert_traffic_flows();
}

/// What is wrong before anything is sent.
fn config_error(change: impl FnOnce(&mut Setup)) -> ConfigError {
    Setup::new(change).config().map(drop).unwrap_err()
}

#[test]
fn the_key_must_belong_to_our_certificate() {
    let identity =
        ClientIdentity { chain: pki::CLIENT.identity().chain.clone(), key: pki::SERVER.identity().key.clone_key() };
    let error = config_error(|setup| setup.identity = Some(identity));
    assert_eq!(error, ConfigError::KeyMismatch);
    let without = ClientIdentity { chain: Vec::new(), key: pki::SERVER.identity().key.clone_key() };
    assert_eq!(config_error(|setup| setup.identity = Some(without)), ConfigError::NoCertificate);
}

#[test]
fn unreadable_certificates_and_lists_make_no_configuration() {
    let good = || pki::CA.as_ref().der().clone();
    let error = config_error(|setup| setup.check.ca = vec![good(), vec![0x30, 0].into()]);
    assert!(matches!(error, ConfigError::Ca { number: 2, .. }), "{error}");
    let error = config_error(|setup| setup.check.crls = vec![vec![0x30, 0].into()]);
    assert!(matches!(error, ConfigError::Crl { number: 1, .. }), "{error}");
    let mut identity = pki::CLIENT.identity();
    identity.chain.push(vec![0x30, 0].into());
    let error = config_error(|setup| setup.identity = Some(identity));
    assert_eq!(error, ConfigError::Certificate { number: 2 });
}

#[test]
fn a_key_usage_that_all_certificates_have_is_refused() {
    let error = config_error(|setup| setup.check.key_usage = Some(vec![0xa0, 0]));
    assert_eq!(error, ConfigError::EmptyKeyUsage);
}

#[test]
fn a_server_that_refuses_our_certificate_says_so() {
    let other = pki::leaf(&pki::ca("Other CA"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let pair: Pair = Setup::new(|setup| setup.identity = Some(other.identity())).fails();
    assert!(matches!(pair.error(), SessionError::Tls(TlsFailure::OurCertificate(_))), "{:?}", pair.error());
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::AuthFailed, &Retry::FreshCredentials));
}
