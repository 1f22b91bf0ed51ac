//! Versions, groups and suites of TLS.

use adit_tunnel::{CloseKind, Retry};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion,
    crypto::ring::default_provider,
    version::{TLS12, TLS13},
};

use super::{
    pair::{Pair, Setup},
    pki,
};
use crate::{
    config::{ConfigError, TlsSettings, TlsVersion},
    error::SessionError,
    tls::TlsFailure,
};

fn with(tls: TlsSettings) -> Setup {
    Setup::new(|setup| setup.settings.tls = tls)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn suite(pair: &Pair) -> CipherSuite {
    pair.server.tls().negotiated_cipher_suite().unwrap().suite()
}

fn assert_no_agreement(pair: &Pair) {
    assert!(matches!(pair.error(), SessionError::Tls(TlsFailure::NoAgreement(_))), "{:?}", pair.error());
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::NoAgreement, &Retry::NextRemote));
}

#[test]
fn version_bounds_hold() {
    let only_1_2 = TlsSettings { max: Some(TlsVersion::V1_2), ..TlsSettings::default() };
    assert_eq!(with(only_1_2.clone()).up().server.tls().protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let only_1_3 = TlsSettings { min: Some(TlsVersion::V1_3), ..TlsSettings::default() };
    assert_eq!(with(only_1_3.clone()).up().server.tls().protocol_version(), Some(ProtocolVersion::TLSv1_3));
    for (settings, servers) in [(only_1_2, &TLS13), (only_1_3, &TLS12)] {
        let mut setup = with(settings);
        setup.script.tls = pki::SERVER.server_config_with(&[servers], default_provider());
        assert_no_agreement(&setup.fails());
    }
}

#[test]
fn groups_are_offered_in_order() {
    for (name, group) in
        [("X25519", NamedGroup::X25519), ("prime256v1", NamedGroup::secp256r1), ("secp384r1", NamedGroup::secp384r1)]
    {
        let tls = TlsSettings { groups: names(&[name]), ..TlsSettings::default() };
        let pair = with(tls).up();
        assert_eq!(pair.server.tls().negotiated_key_exchange_group().unwrap().name(), group, "{name}");
    }
}

#[test]
fn suites_of_either_version_are_chosen_by_name() {
    let tls = TlsSettings { ciphersuites: names(&["TLS_CHACHA20_POLY1305_SHA256"]), ..TlsSettings::default() };
    assert_eq!(suite(&with(tls).up()), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let ciphers = names(&["TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"]);
    let tls = TlsSettings { ciphers, max: Some(TlsVersion::V1_2), ..TlsSettings::default() };
    assert_eq!(suite(&with(tls).up()), CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
}

#[test]
fn names_we_do_not_know_are_passed_over_if_one_is_left() {
    let ciphers = names(&["TLS-DHE-RSA-WITH-AES-256-CBC-SHA", "ECDHE-ECDSA-CHACHA20-POLY1305"]);
    let tls = TlsSettings { ciphers, max: Some(TlsVersion::V1_2), ..TlsSettings::default() };
    assert_eq!(suite(&with(tls).up()), CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    let tls = TlsSettings { ciphers: names(&["DEFAULT", "@SECLEVEL=0"]), ..TlsSettings::default() };
    with(tls).up();
}

#[test]
fn lists_without_anything_we_know_make_no_configuration() {
    let only = |field: fn(&mut TlsSettings) -> &mut Vec<String>| {
        let mut tls = TlsSettings::default();
        *field(&mut tls) = names(&["brainpoolP256r1"]);
        with(tls).config().map(drop)
    };
    for (result, expected) in [
        (only(|tls| &mut tls.groups), "tls-groups"),
        (only(|tls| &mut tls.ciphers), "tls-cipher"),
        (only(|tls| &mut tls.ciphersuites), "tls-ciphersuites"),
    ] {
        assert!(matches!(result, Err(ConfigError::TlsNames { directive, .. }) if directive == expected));
    }
}

#[test]
fn without_a_common_suite_there_is_no_agreement() {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let ciphersuites = names(&["TLS_AES_256_GCM_SHA384"]);
    let mut setup = with(TlsSettings { ciphersuites, min: Some(TlsVersion::V1_3), ..TlsSettings::default() });
    setup.script.tls = pki::SERVER.server_config_with(&[&TLS13], provider);
    assert_no_agreement(&setup.fails());
}
