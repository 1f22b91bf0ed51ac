//! Versions, suites and groups of TLS.

use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

use super::with;

#[test]
fn tls_version_lines_bound_the_version() {
    for (line, version) in [
        ("", ProtocolVersion::TLSv1_3),
        ("tls-version-max 1.2", ProtocolVersion::TLSv1_2),
        ("tls-version-max 1.2\ntls-version-max 1.3", ProtocolVersion::TLSv1_3),
    ] {
        assert_eq!(with(line).up().server.tls().protocol_version(), Some(version), "{line}");
    }
    // A server of TLS 1.2 alone.
    let old = |line: &str| {
        let mut setup = with(line);
        let provider = rustls::crypto::ring::default_provider();
        setup.script.tls = crate::tests::pki::SERVER.server_config_with(&[&rustls::version::TLS12], provider);
        setup
    };
    old("tls-version-min 1.2").up();
    old("tls-version-min 1.3").fails();
}

#[test]
fn tls_cipher_tls_ciphersuites_and_tls_groups_lines_are_what_is_offered() {
    let agreed = |lines: &str| {
        let pair = with(lines).up();
        let tls = pair.server.tls();
        (tls.negotiated_cipher_suite().unwrap().suite(), tls.negotiated_key_exchange_group().unwrap().name())
    };
    let (suite, group) = agreed("tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256\ntls-groups secp384r1");
    assert_eq!((suite, group), (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, NamedGroup::secp384r1));
    let (suite, _) = agreed("tls-version-max 1.2\ntls-cipher TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256");
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let (suite, group) = agreed("");
    assert_eq!((suite, group), (CipherSuite::TLS13_AES_256_GCM_SHA384, NamedGroup::X25519));
}
