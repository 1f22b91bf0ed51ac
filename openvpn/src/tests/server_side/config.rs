//! What a server's configuration refuses.

use std::{sync::Arc, time::Duration};

use pki_types::CertificateDer;

use crate::{
    config::ConfigError,
    server::{
        ClientAnchors, ClientCertificates, ClientCheck, ServerConfig, ServerConfigError, ServerLimits, ServerSettings,
    },
    tests::{pki, secs},
};

fn build(
    check: ClientCheck,
    settings: impl FnOnce(&mut ServerSettings),
    limits: impl FnOnce(&mut ServerLimits),
) -> Result<ServerConfig, ServerConfigError> {
    let identity = Arc::new(pki::SERVER.identity());
    ServerConfig::builder(identity, check).settings(settings).limits(limits).build()
}

fn login(certificates: ClientCertificates) -> ClientCheck {
    ClientCheck { certificates, login: true }
}

fn anchors() -> ClientAnchors {
    ClientAnchors { ca: vec![pki::CA.as_ref().der().clone()], crls: Vec::new() }
}

#[test]
fn a_server_that_lets_anybody_in_cannot_be_made() {
    for certificates in [ClientCertificates::None, ClientCertificates::Optional(anchors())] {
        let check = ClientCheck { certificates, login: false };
        assert_eq!(build(check, |_| {}, |_| {}).err(), Some(ServerConfigError::NobodyIsChecked));
    }
    for check in [
        login(ClientCertificates::None),
        login(ClientCertificates::Optional(anchors())),
        ClientCheck { certificates: ClientCertificates::Required(anchors()), login: false },
    ] {
        assert!(build(check, |_| {}, |_| {}).is_ok());
    }
}

#[test]
fn certificates_need_something_to_judge_them_by() {
    let none = login(ClientCertificates::Required(ClientAnchors::default()));
    assert_eq!(build(none, |_| {}, |_| {}).err(), Some(ServerConfigError::NoAnchor));
    let broken = ClientAnchors { ca: vec![CertificateDer::from(vec![1, 2, 3])], crls: Vec::new() };
    let refused = build(login(ClientCertificates::Optional(broken)), |_| {}, |_| {}).err();
    assert!(matches!(refused, Some(ServerConfigError::Tls(ConfigError::Ca { number: 1, .. }))));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let mut identity = pki::SERVER.identity();
    identity.key = pki::CLIENT.identity().key.clone_key();
    let built = ServerConfig::builder(Arc::new(identity), login(ClientCertificates::None)).build();
    assert_eq!(built.err(), Some(ServerConfigError::Tls(ConfigError::KeyMismatch)));
}

#[test]
fn options_that_would_end_a_message_cannot_be_pushed() {
    let long = "x".repeat(256);
    for option in ["", "route 10.0.0.0,redirect-gateway", "echo a\0b", "echo a\nb", &long] {
        let built = build(login(ClientCertificates::None), |settings| settings.push = vec![option.to_owned()], |_| {});
        assert!(matches!(built.err(), Some(ServerConfigError::Push { .. })), "{option:?}");
        let info = |settings: &mut ServerSettings| settings.pending_info = Some(option.to_owned());
        assert!(build(login(ClientCertificates::None), info, |_| {}).is_err(), "{option:?}");
    }
}

#[test]
fn numbers_without_sense_are_refused() {
    let settings: [fn(&mut ServerSettings); 6] = [
        |settings| settings.hand_window = secs(0),
        |settings| settings.tun_mtu = 500,
        |settings| settings.max_packet_size = 100,
        |settings| settings.keepalive = Some((secs(0), secs(60))),
        |settings| settings.keepalive = Some((secs(10), secs(15))),
        |settings| settings.data_ciphers.clear(),
    ];
    for change in settings {
        assert!(build(login(ClientCertificates::None), change, |_| {}).is_err());
    }
    let limits: [fn(&mut ServerLimits); 6] = [
        |limits| limits.peers = 0,
        |limits| limits.peers = u32::MAX,
        |limits| limits.half_open = 0,
        |limits| limits.half_open_per_address = 0,
        |limits| limits.initial_packets = 0,
        |limits| limits.peer_bytes = 1000,
    ];
    for change in limits {
        assert!(build(login(ClientCertificates::None), |_| {}, change).is_err());
    }
}

#[test]
fn for_ever_is_no_longer_than_clocks_can_say() {
    let for_ever = |settings: &mut ServerSettings| {
        settings.hand_window = Duration::MAX;
        settings.tran_window = Duration::MAX;
        settings.reneg_sec = Duration::MAX;
        settings.keepalive = Some((secs(10), Duration::MAX));
    };
    let built = build(login(ClientCertificates::None), for_ever, |_| {}).unwrap();
    let ten_years = secs(3650 * 86_400);
    assert_eq!((built.settings().tran_window, built.settings().hand_window), (ten_years, ten_years));
    assert_eq!(built.settings().keepalive.unwrap().1, ten_years);
}
