//! EAP-TLS.

use adit_tunnel::CloseKind;
use pki_types::CertificateRevocationListDer;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;
use crate::{
    auth::PeerNotAuthenticated,
    eap::tests::pki::{CLIENT, OTHER_CA, expected, leaf},
};

const KIND: EapType = EapType::TLS;

fn server(version: TlsVersion) -> Server {
    Server::new(vec![EapServerMethod::Tls(tls_identity(&SERVER, &CA, version))])
}

fn of(certificate: &Leaf) -> EapMethod {
    EapMethod::Tls { certificate: certificate.identity(), server: expected() }
}

/// A client of the usual CA with whatever is changed.
fn client_leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    leaf(ca, |params| {
        params.subject_alt_names = vec![
            SanType::Rfc822Name("user@example".try_into().unwrap()),
            SanType::DnsName("laptop.example".try_into().unwrap()),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(vec![5]));
        change(params);
    })
}

/// The client is told by an alert, and the server says why.
fn refusal(server: &mut Server, certificate: &Leaf) -> EapClientError {
    let end = server.run(vec![of(certificate)], "user");
    let End::GaveUp(error @ EapError::OurCertificate(_)) = end else { panic!("{end:?}") };
    assert_eq!(error.close_kind(), CloseKind::AuthFailed);
    server.refuses(KIND, &[0])
}

/// With TLS 1.3 this means that the success indication of RFC 9190 has come: the peer insists on it.
#[test]
fn both_ends_agree_on_the_key() {
    for version in VERSIONS {
        let key = success("user@example", server(version).run(vec![of(&client_leaf(&CA, |_| {}))], "user@example"));
        assert_eq!(key.unwrap().expose().len(), 64);
    }
}

#[test]
fn both_versions_are_spoken_by_one_server() {
    let both = EapTlsIdentity { max_version: TlsVersion::V1_3, ..tls_identity(&SERVER, &CA, TlsVersion::V1_2) };
    for max_version in VERSIONS {
        let ours = crate::config::EapTlsServer { max_version, ..expected() };
        let client = EapMethod::Tls { certificate: client_leaf(&CA, |_| {}).identity(), server: ours };
        let mut server = Server::new(vec![EapServerMethod::Tls(both.clone())]);
        assert!(success("user@example", server.run(vec![client], "somebody")).is_some());
    }
}

/// Whatever a client calls itself: it is whom its certificate names.
#[test]
fn the_identity_is_what_the_certificate_certifies() {
    let nameless = |params: &mut CertificateParams| params.subject_alt_names.clear();
    for (claimed, identity) in [
        ("laptop.example", "laptop.example"),
        ("USER@example", "user@example"),
        ("CN=common.example", "CN=common.example"),
        ("CN=COMMON.Example", "CN=common.example"),
        ("admin@example", "user@example"),
        ("common.example", "user@example"),
        ("", "user@example"),
    ] {
        let end = server(TlsVersion::V1_3).run(vec![of(&client_leaf(&CA, |_| {}))], claimed);
        assert!(success(identity, end).is_some(), "{claimed}");
    }
    let end = server(TlsVersion::V1_2).run(vec![of(&client_leaf(&CA, nameless))], "user@example");
    assert!(success("CN=common.example", end).is_some());
    let nobody = client_leaf(&CA, |params| {
        params.subject_alt_names.clear();
        params.distinguished_name = DistinguishedName::new();
    });
    for version in VERSIONS {
        let End::Refused { server, .. } = server(version).run(vec![of(&nobody)], "user") else { panic!() };
        assert_eq!(server, EapClientError::Nameless);
    }
}

#[test]
fn long_certificates_are_fragmented_both_ways() {
    let long = leaf(&CA, |params| {
        let name = |number: u32| SanType::DnsName(format!("name-{number}.radius.example").try_into().unwrap());
        params.subject_alt_names.extend((0..100).map(name));
    });
    for version in VERSIONS {
        let mut server = Server::new(vec![EapServerMethod::Tls(tls_identity(&long, &CA, version))]);
        let mut fragments = (0, 0);
        let end = server.run_changed(client(vec![of(&CLIENT)], "name-7.client.example"), |response| {
            assert!(response.len() < 1100);
            fragments.0 += u32::from(response.get(5).is_some_and(|flags| flags & 0x40 != 0) && response[4] == 13);
            fragments.1 += u32::from(response[4..] == [13, 0]);
        });
        assert!(success("name-7.client.example", end).is_some());
        assert!(fragments.0 >= 2 && fragments.1 >= 3, "{version:?} {fragments:?}");
    }
}

#[test]
fn certificates_that_are_not_good_are_refused() {
    use PeerNotAuthenticated as Refused;
    let year = |params: &mut CertificateParams, from, until| {
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    };
    for version in VERSIONS {
        for (certificate, wanted) in [
            (client_leaf(&OTHER_CA, |_| {}), Refused::UnknownIssuer),
            (client_leaf(&CA, |params| year(params, 2020, 2021)), Refused::Expired),
            (client_leaf(&CA, |params| year(params, 2039, 2040)), Refused::NotValidYet),
            (
                client_leaf(&CA, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                Refused::ExtendedKeyUsage,
            ),
            (client_leaf(&CA, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Refused::CaCertificate),
        ] {
            assert_eq!(refusal(&mut server(version), &certificate), EapClientError::Certificate(wanted));
        }
    }
}

fn list(revoked: &[u8]) -> CertificateRevocationListDer<'static> {
    let entry = |serial: &u8| RevokedCertParams {
        serial_number: SerialNumber::from(vec![*serial]),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(2040, 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&CA).unwrap().der().clone()
}

#[test]
fn revoked_certificates_are_refused() {
    for version in VERSIONS {
        let with = |revoked: &[u8]| {
            let ours = EapTlsIdentity { crls: vec![list(revoked)], ..tls_identity(&SERVER, &CA, version) };
            Server::new(vec![EapServerMethod::Tls(ours)])
        };
        let certificate = client_leaf(&CA, |_| {});
        assert!(success("user@example", with(&[4]).run(vec![of(&certificate)], "user")).is_some());
        let revoked = EapClientError::Certificate(PeerNotAuthenticated::Revoked);
        assert_eq!(refusal(&mut with(&[4, 5]), &certificate), revoked);
    }
}

/// The certificate is public: the key is what proves.
#[test]
fn a_certificate_of_somebody_else_is_of_no_use() {
    let (theirs, mine) = (client_leaf(&CA, |_| {}), client_leaf(&CA, |_| {}));
    let stolen = adit_pki::ClientIdentity { chain: vec![theirs.certificate.clone()], key: mine.key.clone_key() };
    let method = EapMethod::Tls { certificate: Arc::new(stolen), server: expected() };
    let credentials = EapCredentials { identity: "user".to_owned(), methods: vec![method] };
    // Our own peer would not even try.
    assert!(matches!(EapMethods::new(&credentials), Err(EapUnusable::ClientCertificate(_))));
    for version in VERSIONS {
        // Nor does it help to damage the proof on its way: one bit anywhere in the client's last flight.
        for quarter in 1..4 {
            let mut server = server(version);
            let mut flights = 0;
            let end = server.run_changed(client(vec![of(&theirs)], "user"), |response| {
                if response.len() > 500 {
                    flights += 1;
                    let at = response.len() * quarter / 4;
                    response[at] ^= 1;
                }
            });
            assert!(flights > 0 && !matches!(end, End::Success { .. }), "{version:?} {quarter}: {end:?}");
        }
    }
}

#[test]
fn versions_must_have_something_in_common() {
    let ours = crate::config::EapTlsServer { max_version: TlsVersion::V1_2, ..expected() };
    let method = EapMethod::Tls { certificate: client_leaf(&CA, |_| {}).identity(), server: ours };
    let mut server = server(TlsVersion::V1_3);
    let end = server.run(vec![method], "user");
    assert!(matches!(end, End::GaveUp(EapError::NoTlsAgreement(_))), "{end:?}");
    assert!(matches!(server.refuses(KIND, &[0]), EapClientError::NoTlsAgreement(_)));
}

/// The client's doubts: it stops, and the server waits for nothing.
#[test]
fn a_client_that_does_not_believe_us_gives_up() {
    let impostor = leaf(&OTHER_CA, |_| {});
    for version in VERSIONS {
        let mut server = Server::new(vec![EapServerMethod::Tls(tls_identity(&impostor, &CA, version))]);
        let end = server.run(vec![of(&client_leaf(&CA, |_| {}))], "user");
        assert!(matches!(end, End::GaveUp(EapError::ServerCertificate(_))), "{end:?}");
    }
}

/// A fatal alert of the client, in clear: unknown_ca.
#[test]
fn an_alert_of_the_client_is_named() {
    let mut server = server(TlsVersion::V1_2);
    server.identified("user");
    let error = server.refuses(KIND, &[0, 21, 3, 3, 0, 2, 2, 48]);
    assert_eq!(error, EapClientError::OurCertificate("UnknownCA".to_owned()));
}

#[test]
fn a_client_must_have_a_certificate() {
    for version in VERSIONS {
        let mut server = server(version);
        server.identified("user");
        // A client without a certificate is that of EAP-TTLS, under the name of EAP-TLS.
        let ttls = EapMethod::Ttls {
            server: expected(),
            anonymous_identity: None,
            inner: crate::config::TtlsInner::Pap(password()),
        };
        let mut peer = client(vec![ttls], "user");
        let mut random = SeededRandom::new(1);
        let error = loop {
            let mut request = server.request.to_vec();
            request[4] = 21;
            let Ok(EapStep::Respond(response)) = peer.handle(&mut random, NOW, &request) else {
                break server.refuses(KIND, &[0]);
            };
            if let Err(error) = server.answer(KIND, &response[5..]) {
                break error;
            }
        };
        assert_eq!(error, EapClientError::Certificate(PeerNotAuthenticated::NoCertificate), "{version:?}");
    }
}

#[test]
fn nonsense_instead_of_a_hello_is_the_end() {
    for (data, wanted) in [
        (&b""[..], EapError::TlsPacket),
        (b"\x80", EapError::TlsPacket),
        (b"\x00", EapError::TlsPacket),
        (b"\x20", EapError::TlsStart),
        (b"\xa0\0\0\0\0", EapError::TlsStart),
        (b"\x40", EapError::FragmentLength),
        (b"\x80\0\0\0\x04abc", EapError::FragmentLength),
        (b"\x80\xff\xff\xff\xffabc", EapError::TlsMessageTooLong),
        (b"\xc0\0\x01\0\0abc", EapError::TlsMessageTooLong),
    ] {
        let mut server = server(TlsVersion::V1_3);
        assert_eq!(server.identified("user"), (KIND, vec![0x20]));
        assert_eq!(server.refuses(KIND, data), EapClientError::Packet(wanted), "{data:?}");
    }
    let mut server = server(TlsVersion::V1_3);
    server.identified("user");
    // Told by an alert.
    let (_, alert) = server.answer(KIND, b"\x00hello there").unwrap();
    assert_eq!(alert[..2], [0, 21]);
    assert!(matches!(server.refuses(KIND, b"\x00"), EapClientError::Packet(EapError::Tls(_))));
}

/// Fragments that come twice, out of order, or without end.
#[test]
fn fragments_must_come_in_order_and_end() {
    for version in VERSIONS {
        // The first fragment loses its end, tells another length, or comes as the last one.
        let spoil: [fn(&mut Vec<u8>); 3] =
            [|response| response.truncate(1000), |response| response[9] ^= 1, |response| response[5] &= !0x40];
        for spoil in spoil {
            let mut server = server(version);
            let mut spoilt = false;
            let end = server.run_changed(client(vec![of(&CLIENT)], "user"), |response| {
                if response[4] == 13 && response[5] == 0xc0 && !spoilt {
                    spoilt = true;
                    spoil(response);
                    let length = u16::try_from(response.len()).unwrap().to_be_bytes();
                    response[2..4].copy_from_slice(&length);
                }
            });
            assert!(spoilt && !matches!(end, End::Success { .. }), "{end:?}");
        }
    }
    let mut server = server(TlsVersion::V1_3);
    server.identified("user");
    let fragment = [&[0x40][..], &[22; 1000]].concat();
    let error = (0..200).find_map(|_| server.answer(KIND, &fragment).err()).unwrap();
    assert_eq!(error, EapClientError::Packet(EapError::TlsMessageTooLong));
}

/// Instead of an acknowledgement of our own fragments.
#[test]
fn data_in_the_midst_of_our_fragments_is_the_end() {
    let long = leaf(&CA, |params| {
        let name = |number: u32| SanType::DnsName(format!("name-{number}.radius.example").try_into().unwrap());
        params.subject_alt_names.extend((0..100).map(name));
    });
    for version in VERSIONS {
        let mut server = Server::new(vec![EapServerMethod::Tls(tls_identity(&long, &CA, version))]);
        let mut client = client(vec![of(&CLIENT)], "user");
        let mut random = SeededRandom::new(1);
        while server.request[4] != 13 || server.request[5] & 0x40 == 0 {
            let Ok(EapStep::Respond(response)) = client.handle(&mut random, NOW, &server.request) else { panic!() };
            server.handle(&response);
        }
        let wanted = EapClientError::Packet(EapError::NotAnAcknowledgement);
        assert_eq!(server.refuses(KIND, b"\x00more"), wanted);
    }
}

/// Only an empty response follows our last word.
#[test]
fn data_after_the_handshake_is_the_end() {
    for version in VERSIONS {
        let mut server = server(version);
        let mut client = client(vec![of(&client_leaf(&CA, |_| {}))], "user");
        let mut random = SeededRandom::new(1);
        // The acknowledgement of our last message is the first empty one that is not of a fragment.
        let acknowledges = |request: &[u8], response: &[u8]| {
            request.get(5).is_some_and(|flags| flags & 0x40 == 0) && response[4..] == [13, 0]
        };
        loop {
            let Ok(EapStep::Respond(response)) = client.handle(&mut random, NOW, &server.request) else { panic!() };
            if acknowledges(&server.request, &response) {
                break;
            }
            server.handle(&response);
        }
        let error = server.refuses(KIND, &[0, 23, 3, 3, 0, 1, 0]);
        let tls_or_data =
            matches!(error, EapClientError::DataAfterHandshake | EapClientError::Packet(EapError::Tls(_)));
        assert!(tls_or_data, "{error}");
        assert_eq!(server.refuses(KIND, &[0]), EapClientError::AfterTheEnd);
    }
}

#[test]
fn what_cannot_work_is_not_accepted() {
    let ours = || tls_identity(&SERVER, &CA, TlsVersion::V1_3);
    let refused = |ours| EapServers::new(&config(vec![EapServerMethod::Tls(ours)])).unwrap_err();
    assert_eq!(refused(EapTlsIdentity { anchors: vec![], ..ours() }), EapUnusable::NoAnchor);
    assert_eq!(refused(EapTlsIdentity { max_version: TlsVersion::V1_2, ..ours() }), EapUnusable::TlsVersions);
    let unreadable = EapTlsIdentity { anchors: vec![vec![0x30, 0].into()], ..ours() };
    assert!(matches!(refused(unreadable), EapUnusable::Trust(_)));
    let unreadable = EapTlsIdentity { crls: vec![vec![0x30, 0].into()], ..ours() };
    assert!(matches!(refused(unreadable), EapUnusable::Trust(_)));
    let other = adit_pki::ClientIdentity { chain: vec![CLIENT.certificate.clone()], key: SERVER.key.clone_key() };
    let mismatched = EapTlsIdentity { certificate: Arc::new(other), ..ours() };
    assert!(matches!(refused(mismatched), EapUnusable::ClientCertificate(_)));
    // Nobody needs to be a user to have a certificate.
    let alone = EapServerConfig { methods: vec![EapServerMethod::Tls(ours())], users: vec![] };
    assert!(EapServers::new(&alone).is_ok());
}
