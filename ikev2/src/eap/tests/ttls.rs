//! EAP-TTLS.

use ::mschapv2::{Challenging, NtHash, packet::Response};
use adit_tunnel::CloseKind;
use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{
    pki::{CA, OTHER_CA, SERVER, expected, leaf},
    server::{Server, TTLS},
    *,
};
use crate::config::{EapTlsServer, TtlsInner};

const TOO_EARLY: Result<EapStep, EapError> = Err(EapError::SuccessTooEarly(Some(EapType::TTLS)));

fn method(inner: TtlsInner) -> EapMethod {
    EapMethod::Ttls { server: expected(), anonymous_identity: Some("anonymous@example".to_owned()), inner }
}

/// A server and a peer in phase 2, and what the peer began it with.
fn phase2(inner: TtlsInner, version: &'static rustls::SupportedProtocolVersion) -> (Server, Peer, Vec<u8>) {
    let mut peer = Peer::new(vec![method(inner)]);
    let mut server = Server::new(TTLS, SERVER.server(version, None));
    server.handshake(&mut peer).unwrap();
    if server.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
        // As FreeRADIUS 3.2.1: an empty request with L set and length 0.
        assert_eq!(server.plaintext, b"");
        let answer = server.exchange(&mut peer, b"").unwrap();
        server.feed(&answer);
    }
    let begun = mem::take(&mut server.plaintext);
    assert_eq!(begun.len() % 4, 0);
    (server, peer, begun)
}

/// Both versions of TLS, with the same result.
fn with_both_versions(inner: impl Fn() -> TtlsInner, test: impl Fn(Server, Peer, Vec<u8>)) {
    for version in [&TLS12, &TLS13] {
        let (server, peer, begun) = phase2(inner(), version);
        test(server, peer, begun);
    }
}

fn pap() -> TtlsInner {
    TtlsInner::Pap(password())
}

fn ms_chap() -> TtlsInner {
    TtlsInner::MsChapV2(MsChapV2Secret::Password(password()))
}

fn eap(method: EapMethod) -> impl Fn() -> TtlsInner {
    move || TtlsInner::Eap(Box::new(method.clone()))
}

#[test]
fn the_anonymous_identity_is_told_outside() {
    let mut peer = Peer::new(vec![method(pap())]);
    assert_eq!(peer.ask(1, 1, b""), Ok((1, b"anonymous@example".to_vec())));
    let mut second = Peer::new(vec![mschapv2(), method(pap())]);
    assert_eq!(second.ask(1, 1, b""), Ok((1, b"DOMAIN\\user".to_vec())));
}

#[test]
fn pap_tells_name_and_password() {
    with_both_versions(pap, |server, mut peer, begun| {
        let name = b"\0\0\0\x01\x40\0\0\x13DOMAIN\\user\0";
        let password = b"\0\0\0\x02\x40\0\0\x18secret\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(begun, [&name[..], password].concat());
        server.succeed(&mut peer);
    });
}

#[test]
fn pap_with_a_wrong_password_ends_with_failure() {
    with_both_versions(pap, |_, mut peer, _| {
        assert_eq!(peer.handle(&FAILURE), Err(EapError::Refused(Some(EapType::TTLS))));
    });
    with_both_versions(pap, |mut server, mut peer, _| {
        let reply_message = b"\0\0\0\x12\x40\0\0\x0dtoken\0\0\0";
        assert_eq!(server.say(&mut peer, reply_message), Err(EapError::AskedAgain(EapType::TTLS)));
    });
}

fn challenge(server: &Server) -> [u8; 17] {
    server.connection.export_keying_material([0; 17], b"ttls challenge", None).unwrap()
}

/// Checks what the peer has begun with, and makes the server's proof.
fn ms_chap_success(server: &Server, begun: &[u8]) -> Vec<u8> {
    let [challenge @ .., id] = challenge(server);
    let (name, rest) = begun.split_at(20);
    assert_eq!(name, b"\0\0\0\x01\x40\0\0\x13DOMAIN\\user\0");
    let (ours, rest) = rest.split_at(28);
    assert_eq!(ours, [&b"\0\0\0\x0b\xc0\0\0\x1c\0\0\x01\x37"[..], &challenge].concat());
    let (head, value) = rest.split_at(12);
    assert_eq!((head, value[0], value[1], value.len()), (&b"\0\0\0\x19\xc0\0\0\x3e\0\0\x01\x37"[..], id, 0, 52));
    let response = Response {
        id,
        peer_challenge: value[2..18].try_into().unwrap(),
        nt_response: value[26..50].try_into().unwrap(),
        name: b"DOMAIN\\user".to_vec(),
    };
    let accepted = Challenging::new(id, challenge, b"").verify(&response, &NtHash::of_password("secret")).unwrap();
    let text = [&[id], accepted.success().text().as_bytes()].concat();
    attribute(26, &text)
}

/// An attribute of Microsoft.
fn attribute(code: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(12 + value.len()).unwrap();
    let mut avp = [&[0, 0, 0, code, 0xc0, 0, 0, length, 0, 0, 1, 0x37], value].concat();
    avp.resize(avp.len().next_multiple_of(4), 0);
    avp
}

fn eap_attribute(packet: &[u8]) -> Vec<u8> {
    let mut avp = [&[0, 0, 0, 79, 0x40, 0, 0, u8::try_from(8 + packet.len()).unwrap()], packet].concat();
    avp.resize(avp.len().next_multiple_of(4), 0);
    avp
}

#[test]
fn ms_chap_proves_both_ends() {
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let success = ms_chap_success(&server, &begun);
        assert_eq!(server.say(&mut peer, &success), Ok(vec![]));
        server.succeed(&mut peer);
    });
}

#[test]
fn ms_chap_with_its_success_outside_only_is_refused() {
    with_both_versions(ms_chap, |_, mut peer, _| assert_eq!(peer.handle(&SUCCESS), TOO_EARLY));
    with_both_versions(ms_chap, |mut server, mut peer, _| {
        assert_eq!(server.exchange(&mut peer, b""), Ok(vec![]));
        assert_eq!(peer.handle(&SUCCESS), TOO_EARLY);
    });
}

#[test]
fn ms_chap_with_a_false_proof_is_refused() {
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let mut success = ms_chap_success(&server, &begun);
        success[20] = if success[20] == b'0' { b'1' } else { b'0' };
        assert_eq!(server.say(&mut peer, &success), Err(EapError::ServerDoesNotKnowPassword));
        assert_eq!(peer.handle(&SUCCESS), Err(EapError::AfterTheEnd));
    });
}

#[test]
fn ms_chap_errors_tell_the_reason() {
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let error = attribute(2, b"\x07E=691 R=0 C=000102030405060708090a0b0c0d0e0f V=3 M=no");
        // Not even together with a success.
        let both = [ms_chap_success(&server, &begun), error].concat();
        let refused = server.say(&mut peer, &both).unwrap_err();
        assert_eq!(refused, EapError::RefusedByMsChapV2 { error: 691, message: "no".to_owned() });
    });
}

#[test]
fn inner_eap_runs_inside() {
    with_both_versions(eap(EapMethod::Md5(password())), |mut server, mut peer, begun| {
        assert_eq!(begun, eap_attribute(&[&[2, 0, 0, 16, 1], &b"DOMAIN\\user"[..]].concat()));
        let challenge = eap_attribute(&request(9, 4, b"\x01x"));
        let answer = server.say(&mut peer, &challenge).unwrap();
        assert_eq!((&answer[8..14], &answer[30..41]), (&[2, 9, 0, 33, 4, 16][..], &b"DOMAIN\\user"[..]));
        server.succeed(&mut peer);
    });
}

#[test]
fn inner_nak_chooses_the_method() {
    with_both_versions(eap(EapMethod::Gtc(password())), |mut server, mut peer, _| {
        let md5 = eap_attribute(&request(9, 4, b"\x01x"));
        assert_eq!(server.say(&mut peer, &md5), Ok(eap_attribute(&[2, 9, 0, 6, 3, 6])));
        let gtc = eap_attribute(&request(10, 6, b"Password: "));
        assert_eq!(server.say(&mut peer, &gtc), Ok(eap_attribute(b"\x02\x0a\x00\x0b\x06secret")));
        // Some servers say it inside as well.
        assert_eq!(server.say(&mut peer, &eap_attribute(&SUCCESS)), Ok(vec![]));
        server.succeed(&mut peer);
    });
}

/// A packet of a server with a long name is spread over attributes, as RADIUS does.
#[test]
fn inner_ms_chap_proves_both_ends() {
    with_both_versions(eap(mschapv2()), |mut server, mut peer, _| {
        let authenticator = Challenging::new(3, [5; 16], &[b'x'; 100]);
        let packet = request(9, 26, &authenticator.challenge().encode());
        let (first, second) = packet.split_at(61);
        let answer = server.say(&mut peer, &[eap_attribute(first), eap_attribute(second)].concat()).unwrap();
        let length = usize::from(answer[11]);
        let Ok(::mschapv2::packet::Packet::Response(response)) =
            ::mschapv2::packet::Packet::parse(&answer[13..8 + length])
        else {
            panic!("{answer:?}")
        };
        let accepted = authenticator.verify(&response, &NtHash::of_password("secret")).unwrap();
        let success = eap_attribute(&request(10, 26, &accepted.success().encode()));
        assert_eq!(server.say(&mut peer, &success), Ok(eap_attribute(&[2, 10, 0, 6, 26, 3])));
        server.succeed(&mut peer);
    });
}

#[test]
fn success_before_the_inner_method_is_over_is_refused() {
    let inner = || eap(mschapv2());
    with_both_versions(inner(), |_, mut peer, _| {
        assert_eq!(peer.handle(&SUCCESS), Err(EapError::SuccessTooEarly(None)));
    });
    let too_early = EapError::SuccessTooEarly(Some(EapType::MSCHAPV2));
    let challenge = || eap_attribute(&request(9, 26, &Challenging::new(3, [5; 16], b"").challenge().encode()));
    with_both_versions(inner(), |mut server, mut peer, _| {
        server.say(&mut peer, &challenge()).unwrap();
        assert_eq!(peer.handle(&SUCCESS), Err(too_early.clone()));
    });
    with_both_versions(inner(), |mut server, mut peer, _| {
        server.say(&mut peer, &challenge()).unwrap();
        assert_eq!(server.say(&mut peer, &eap_attribute(&SUCCESS)), Err(too_early.clone()));
    });
}

#[test]
fn inner_failure_means_that_we_are_refused() {
    with_both_versions(eap(EapMethod::Gtc(password())), |mut server, mut peer, _| {
        server.say(&mut peer, &eap_attribute(&request(10, 6, b""))).unwrap();
        let refused = Err(EapError::Refused(Some(EapType::GTC)));
        assert_eq!(server.say(&mut peer, &eap_attribute(&FAILURE)), refused);
    });
}

#[test]
fn success_is_refused_before_phase_2() {
    for version in [&TLS12, &TLS13] {
        let mut peer = Peer::new(vec![method(pap())]);
        let mut server = Server::new(TTLS, SERVER.server(version, None));
        let hello = server.start(&mut peer).unwrap();
        if version.version == ProtocolVersion::TLSv1_3 {
            server.feed(&hello);
            let flight = server.take_output();
            server.exchange(&mut peer, &flight).unwrap();
        }
        assert_eq!(peer.handle(&SUCCESS), TOO_EARLY);
    }
}

#[test]
fn nothing_of_ours_is_told_to_a_server_that_is_not_trusted() {
    let impostor = leaf(&OTHER_CA, |_| {});
    let unnamed = EapTlsServer { name: Some("other.example".to_owned()), ..expected() };
    let of_other_name = EapMethod::Ttls { server: unnamed, anonymous_identity: None, inner: pap() };
    for version in [&TLS12, &TLS13] {
        for (certificate, method) in [(&impostor, method(pap())), (&*SERVER, of_other_name.clone())] {
            let mut server = Server::new(TTLS, certificate.server(version, None));
            let error = server.handshake(&mut Peer::new(vec![method])).unwrap_err();
            assert_eq!(error.close_kind(), CloseKind::PeerNotAuthenticated, "{error}");
            assert_eq!(server.plaintext, b"");
        }
    }
    assert_ne!(CA.as_ref().der(), OTHER_CA.as_ref().der());
}

#[test]
fn attributes_with_impossible_lengths_are_refused() {
    for length in 0..=7 {
        with_both_versions(eap(mschapv2()), |mut server, mut peer, _| {
            let lie = [0, 0, 0, 79, 0x40, 0, 0, length, 1, 9, 0, 4];
            assert_eq!(server.say(&mut peer, &lie), Err(EapError::Attributes), "{length}");
        });
    }
    for length in 0..=11 {
        with_both_versions(ms_chap, |mut server, mut peer, _| {
            let lie = [0, 0, 0, 26, 0xc0, 0, 0, length, 0, 0, 1, 0x37, b'S', b'=', 0, 0];
            assert_eq!(server.say(&mut peer, &lie), Err(EapError::Attributes), "{length}");
        });
    }
}

#[test]
fn unknown_attributes_are_ignored_unless_mandatory() {
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let success = ms_chap_success(&server, &begun);
        let optional = b"\0\0\x12\x34\0\0\0\x0cabcd";
        let of_microsoft = attribute(10, b"\x01DOMAIN");
        assert_eq!(server.say(&mut peer, &[&optional[..], &of_microsoft, &success].concat()), Ok(vec![]));
        server.succeed(&mut peer);
    });
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let success = ms_chap_success(&server, &begun);
        let mandatory = b"\0\0\x12\x34\xc0\0\0\x10\0\0\0\x09abcd";
        let error = Err(EapError::MandatoryAttribute { vendor: 9, code: 0x1234 });
        assert_eq!(server.say(&mut peer, &[&success[..], mandatory].concat()), error);
    });
}

#[test]
fn attributes_that_answer_nothing_are_refused() {
    with_both_versions(ms_chap, |mut server, mut peer, _| {
        let message = eap_attribute(&request(9, 6, b""));
        assert_eq!(server.say(&mut peer, &message), Err(EapError::AttributeOutOfOrder));
    });
    with_both_versions(eap(mschapv2()), |mut server, mut peer, _| {
        let success = attribute(26, b"\x01S=0000000000000000000000000000000000000000");
        assert_eq!(server.say(&mut peer, &success), Err(EapError::AttributeOutOfOrder));
    });
    with_both_versions(ms_chap, |mut server, mut peer, begun| {
        let success = ms_chap_success(&server, &begun);
        server.say(&mut peer, &success).unwrap();
        assert_eq!(server.say(&mut peer, &success), Err(EapError::AttributeOutOfOrder));
    });
}

#[test]
fn data_before_phase_2_is_refused() {
    let mut peer = Peer::new(vec![method(pap())]);
    let mut server = Server::new(TTLS, SERVER.server(&TLS13, None));
    server.handshake(&mut peer).unwrap();
    assert_eq!(server.say(&mut peer, &attribute(26, b"x")), Err(EapError::DataTooEarly));
}

#[test]
fn tls_cannot_run_inside() {
    let twice = method(TtlsInner::Eap(Box::new(method(pap()))));
    let credentials = EapCredentials { identity: "user".to_owned(), methods: vec![twice] };
    assert_eq!(EapMethods::new(&credentials).unwrap_err(), EapUnusable::InnerMethod(EapType::TTLS));
}
