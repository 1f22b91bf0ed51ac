//! EAP-TLS.

use std::io::Write;

use adit_pki::{IdentityError, TrustError};
use adit_tunnel::CloseKind;
use pki_types::{CertificateDer, CertificateRevocationListDer, PrivatePkcs8KeyDer};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, KeyIdMethod,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::version::{TLS12, TLS13};

use super::{
    pki::{self, CA, CLIENT, Ca, Leaf, OTHER_CA, SERVER, expected, leaf},
    server::{Server, TLS},
    *,
};
use crate::config::{EapTlsServer, TlsVersion};

fn peer_expecting(server: EapTlsServer) -> Peer {
    Peer::new(vec![EapMethod::Tls { certificate: CLIENT.identity(), server }])
}

fn peer() -> Peer {
    peer_expecting(expected())
}

fn server_12() -> Server {
    Server::new(TLS, SERVER.server(&TLS12, Some(&CA)))
}

fn server_13() -> Server {
    Server::new(TLS, SERVER.server(&TLS13, Some(&CA)))
}

/// A server and a peer that have finished the handshake.
fn finished(mut server: Server) -> (Server, Peer) {
    let mut peer = peer();
    server.handshake(&mut peer).unwrap();
    (server, peer)
}

#[test]
fn both_ends_get_the_same_key() {
    for fragment in [90, 1000, 5000] {
        for tells_length in [false, true] {
            let shape = |mut server: Server| {
                (server.fragment, server.tells_length) = (fragment, tells_length);
                server
            };
            let (server, mut peer) = finished(shape(server_12()));
            server.succeed(&mut peer);
            let (mut server, mut peer) = finished(shape(server_13()));
            assert_eq!(server.say(&mut peer, &[0]), Ok(vec![]));
            server.succeed(&mut peer);
            assert!(server.fragments_received > 0, "the client certificate must not fit in one packet");
        }
    }
}

#[test]
fn tls_1_3_without_protected_success_is_refused() {
    let (_, mut peer) = finished(server_13());
    let error = peer.handle(&SUCCESS).unwrap_err();
    assert_eq!((error.close_kind(), error), (CloseKind::PeerNotAuthenticated, EapError::NoProtectedSuccess));
}

#[test]
fn tickets_may_come_with_the_protected_success_or_before() {
    let with_tickets = || {
        let mut config = SERVER.server(&TLS13, Some(&CA));
        config.send_tls13_tickets = 2;
        Server::new(TLS, config)
    };
    let (mut server, mut peer) = finished(with_tickets());
    assert_eq!(server.say(&mut peer, &[0]), Ok(vec![]));
    server.succeed(&mut peer);

    let (mut server, mut peer) = (with_tickets(), self::peer());
    let hello = server.start(&mut peer).unwrap();
    server.feed(&hello);
    let flight = server.take_output();
    let finished = server.exchange(&mut peer, &flight).unwrap();
    server.feed(&finished);
    assert!(server.connection.wants_write(), "tickets");
    assert_eq!(server.say(&mut peer, &[0]), Ok(vec![]));
    server.succeed(&mut peer);
}

#[test]
fn only_one_zero_byte_is_the_protected_success() {
    for wrong in [&[1][..], &[0, 0], &[0xff], b"hello"] {
        let (mut server, mut peer) = finished(server_13());
        assert_eq!(server.say(&mut peer, wrong), Err(EapError::NotProtectedSuccess));
    }
    let (mut server, mut peer) = finished(server_13());
    server.say(&mut peer, &[0]).unwrap();
    assert_eq!(server.say(&mut peer, &[0]), Err(EapError::NotProtectedSuccess));
    let (mut server, mut peer) = finished(server_12());
    assert_eq!(server.say(&mut peer, &[0]), Err(EapError::NotProtectedSuccess));
}

/// Data in the server's first flight was written before it had seen our certificate.
#[test]
fn a_protected_success_before_our_finished_is_refused() {
    let mut config = SERVER.server(&TLS13, None);
    config.send_half_rtt_data = true;
    let (mut server, mut peer) = (Server::new(TLS, config), peer());
    let hello = server.start(&mut peer).unwrap();
    server.feed(&hello);
    server.connection.writer().write_all(&[0]).unwrap();
    let flight = server.take_output();
    assert_eq!(server.exchange(&mut peer, &flight), Err(EapError::DataTooEarly));
}

#[test]
fn success_is_refused_at_every_step_before_the_last() {
    let too_early = Err(EapError::SuccessTooEarly(Some(EapType::TLS)));
    for server in [server_12, server_13] {
        let (mut started, mut peer) = (server(), peer());
        started.start(&mut peer).unwrap();
        assert_eq!(peer.handle(&SUCCESS), too_early);

        // While a message of the server, then one of ours, is only half there.
        let (mut halfway, mut peer) = (server(), self::peer());
        let hello = halfway.start(&mut peer).unwrap();
        halfway.feed(&hello);
        let flight = halfway.take_output();
        assert_eq!(halfway.ask(&mut peer, &[&[0x40], &flight[..50]].concat()), Ok(vec![0]));
        assert_eq!(peer.handle(&SUCCESS), too_early);

        let (mut sending, mut peer) = (server(), self::peer());
        let hello = sending.start(&mut peer).unwrap();
        sending.feed(&hello);
        let flight = sending.take_output();
        let part = sending.ask(&mut peer, &[&[0], &flight[..]].concat()).unwrap();
        assert_eq!(part[0], 0xc0);
        assert_eq!(peer.handle(&SUCCESS), too_early);
    }
}

#[test]
fn failure_means_that_our_certificate_is_refused() {
    let (_, mut peer) = finished(server_13());
    assert_eq!(peer.handle(&FAILURE), Err(EapError::Refused(Some(EapType::TLS))));
}

#[test]
fn an_alert_says_that_our_certificate_is_refused() {
    for version in [&TLS12, &TLS13] {
        let mut server = Server::new(TLS, SERVER.server(version, Some(&OTHER_CA)));
        let error = server.handshake(&mut peer()).unwrap_err();
        assert_eq!(error.close_kind(), CloseKind::AuthFailed, "{error}");
        assert!(matches!(error, EapError::OurCertificate(_)), "{error}");
    }
}

#[test]
fn versions_are_those_of_the_settings() {
    let with = |min_version, max_version| peer_expecting(EapTlsServer { min_version, max_version, ..expected() });
    server_12().handshake(&mut with(TlsVersion::V1_2, TlsVersion::V1_2)).unwrap();
    server_13().handshake(&mut with(TlsVersion::V1_3, TlsVersion::V1_3)).unwrap();
    for (mut server, version) in [(server_12(), TlsVersion::V1_3), (server_13(), TlsVersion::V1_2)] {
        let error = server.handshake(&mut with(version, version)).unwrap_err();
        assert_eq!(error.close_kind(), CloseKind::NoAgreement, "{error}");
    }
}

/// What becomes of a server with this certificate.
fn judged(certificate: &Leaf, expected: EapTlsServer) -> Result<(), EapServerRefused> {
    let outcomes = [&TLS12, &TLS13].map(|version| {
        let mut server = Server::new(TLS, certificate.server(version, None));
        match server.handshake(&mut peer_expecting(expected.clone())) {
            Ok(()) => Ok(()),
            Err(EapError::ServerCertificate(refused)) => Err(refused),
            Err(other) => panic!("{other}"),
        }
    });
    let [with_1_2, with_1_3] = outcomes;
    assert_eq!(with_1_2, with_1_3);
    with_1_2
}

fn named(name: &str) -> EapTlsServer {
    EapTlsServer { name: Some(name.to_owned()), ..expected() }
}

#[test]
fn the_server_s_name_must_be_the_one_expected() {
    let wrong = |name: &str| Err(EapServerRefused::Name(name.to_owned()));
    assert_eq!(judged(&SERVER, named("RADIUS.example")), Ok(()));
    for name in ["other.example", "common.example", "example", "sub.radius.example", "192.0.2.1"] {
        assert_eq!(judged(&SERVER, named(name)), wrong(name));
    }
    let address = leaf(&CA, |params| params.subject_alt_names = vec![SanType::IpAddress([192, 0, 2, 1].into())]);
    assert_eq!(judged(&address, named("192.0.2.1")), Ok(()));
    assert_eq!(judged(&address, named("192.0.2.2")), wrong("192.0.2.2"));
    assert_eq!(judged(&address, named("common.example")), wrong("common.example"));
    let without = leaf(&CA, |params| params.subject_alt_names.clear());
    assert_eq!(judged(&without, named("Common.example")), Ok(()));
    assert_eq!(judged(&without, named("radius.example")), wrong("radius.example"));
    let of_address = leaf(&CA, |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "192.0.2.1");
    });
    assert_eq!(judged(&of_address, named("192.0.2.1")), Ok(()));
}

#[test]
fn a_server_certificate_is_for_servers() {
    let with = |usages: &[ExtendedKeyUsagePurpose]| leaf(&CA, |params| params.extended_key_usages = usages.to_vec());
    let any_name = || EapTlsServer { name: None, ..expected() };
    assert_eq!(judged(&SERVER, any_name()), Ok(()));
    // Without a name to check, any user of the CA could pose as the server.
    assert_eq!(judged(&with(&[]), any_name()), Err(EapServerRefused::KeyUsage));
    assert_eq!(judged(&with(&[]), expected()), Ok(()));
    for expected in [any_name(), expected()] {
        assert_eq!(judged(&with(&[ExtendedKeyUsagePurpose::ClientAuth]), expected), Err(EapServerRefused::KeyUsage));
    }
}

#[test]
fn chains_that_are_not_good_are_refused() {
    assert_eq!(judged(&leaf(&OTHER_CA, |_| {}), expected()), Err(EapServerRefused::UnknownIssuer));
    let impostor = pki::ca("Test CA");
    assert_eq!(judged(&leaf(&impostor, |_| {}), expected()), Err(EapServerRefused::UnknownIssuer));
    let expired = leaf(&CA, |params| params.not_after = date_time_ymd(2026, 1, 1));
    assert_eq!(judged(&expired, expected()), Err(EapServerRefused::Expired));
    let early = leaf(&CA, |params| params.not_before = date_time_ymd(2027, 1, 1));
    assert_eq!(judged(&early, expected()), Err(EapServerRefused::NotValidYet));
}

fn list(ca: &Ca, revoked: &[u8], until: i32) -> CertificateRevocationListDer<'static> {
    let entry = |serial: &u8| RevokedCertParams {
        serial_number: SerialNumber::from(vec![*serial]),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(ca).unwrap().der().clone()
}

#[test]
fn revocation_lists_are_obeyed() {
    let numbered = |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(vec![5]));
    let server = leaf(&CA, numbered);
    let with = |list| EapTlsServer { crls: vec![list], ..expected() };
    assert_eq!(judged(&server, with(list(&CA, &[4], 2040))), Ok(()));
    assert_eq!(judged(&server, with(list(&CA, &[5], 2040))), Err(EapServerRefused::Revoked));
    assert_eq!(judged(&server, with(list(&CA, &[4], 2026))), Err(EapServerRefused::ExpiredRevocationList));
    assert_eq!(judged(&server, with(list(&OTHER_CA, &[4], 2040))), Err(EapServerRefused::NotCovered));
}

#[test]
fn a_server_without_the_key_of_its_certificate_is_refused() {
    let thief = Leaf { certificate: SERVER.certificate.clone(), ..leaf(&CA, |_| {}) };
    for version in [&TLS12, &TLS13] {
        let error = Server::new(TLS, thief.server(version, None)).handshake(&mut peer()).unwrap_err();
        assert!(matches!(error, EapError::Tls(_)), "{error}");
    }
}

#[test]
fn garbage_instead_of_tls_is_an_error() {
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0; 100], &[0x16, 3, 3, 0xff, 0xff, 1, 2, 3, 4]] {
        let (mut server, mut peer) = (server_12(), peer());
        server.start(&mut peer).unwrap();
        assert!(matches!(server.exchange(&mut peer, garbage), Err(EapError::Tls(_))), "{garbage:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_named() {
    let unusable = |certificate: Arc<adit_pki::ClientIdentity>, server: EapTlsServer| {
        let methods = vec![EapMethod::Tls { certificate, server }];
        EapMethods::new(&EapCredentials { identity: "user".to_owned(), methods }).unwrap_err()
    };
    let server = |server| unusable(CLIENT.identity(), server);
    assert_eq!(server(EapTlsServer { anchors: vec![], ..expected() }), EapUnusable::NoAnchor);
    let damaged = EapTlsServer { anchors: vec![CertificateDer::from(vec![1])], ..expected() };
    assert!(matches!(server(damaged), EapUnusable::Trust(TrustError::Anchor { number: 1, .. })));
    let damaged = EapTlsServer { crls: vec![CertificateRevocationListDer::from(vec![1])], ..expected() };
    assert!(matches!(server(damaged), EapUnusable::Trust(TrustError::List { number: 1, .. })));
    assert_eq!(server(named("not a name")), EapUnusable::ServerName("not a name".to_owned()));
    let none = EapTlsServer { min_version: TlsVersion::V1_3, max_version: TlsVersion::V1_2, ..expected() };
    assert_eq!(server(none), EapUnusable::TlsVersions);
    let key = SERVER.identity().key.clone_key();
    let mismatch = adit_pki::ClientIdentity { chain: CLIENT.identity().chain.clone(), key };
    let mismatch = unusable(Arc::new(mismatch), expected());
    assert_eq!(mismatch, EapUnusable::ClientCertificate(IdentityError::KeyMismatch));
    let key = PrivatePkcs8KeyDer::from(vec![1]).into();
    let damaged = adit_pki::ClientIdentity { chain: CLIENT.identity().chain.clone(), key };
    assert!(matches!(unusable(Arc::new(damaged), expected()), EapUnusable::ClientCertificate(_)));
}
