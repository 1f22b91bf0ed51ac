//! Identity, Notification, Nak, the methods with one question, and limits.

use super::*;

#[test]
fn identity_is_told_as_often_as_asked_and_need_not_be_asked() {
    let mut peer = Peer::new(vec![EapMethod::Gtc(password())]);
    for id in [0, 1, 255] {
        assert_eq!(peer.ask(id, 1, b"who?"), Ok((1, b"DOMAIN\\user".to_vec())));
    }
    let mut unasked = Peer::new(vec![EapMethod::Gtc(password())]);
    assert_eq!(unasked.ask(7, 6, b"Password: "), Ok((6, b"secret".to_vec())));
    assert_eq!(unasked.handle(&SUCCESS), Ok(EapStep::Done(None)));
}

#[test]
fn notifications_are_acknowledged_at_any_time() {
    let mut peer = Peer::new(vec![EapMethod::Gtc(password())]);
    assert_eq!(peer.ask(1, 2, b"hello\x1b[2J\xff"), Ok((2, vec![])));
    peer.ask(2, 6, b"Password: ").unwrap();
    assert_eq!(peer.ask(3, 2, b""), Ok((2, vec![])));
    assert_eq!(peer.handle(&SUCCESS), Ok(EapStep::Done(None)));
}

#[test]
fn unwanted_methods_are_answered_by_the_list_of_ours() {
    let mut peer = Peer::new(vec![mschapv2(), EapMethod::Gtc(password())]);
    for unwanted in [4, 13, 21, 25, 43, 255] {
        assert_eq!(peer.ask(unwanted, unwanted, b"\x20"), Ok((3, vec![26, 6])));
    }
    let vendor = [0, 0x01, 0x37, 0, 0, 0, 1];
    let wanted = [0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 26, 254, 0, 0, 0, 0, 0, 0, 6];
    assert_eq!(peer.ask(1, 254, &vendor), Ok((254, wanted.to_vec())));
    assert_eq!(peer.ask(2, 6, b"Password: "), Ok((6, b"secret".to_vec())));
}

#[test]
fn failure_after_nak_says_that_no_method_is_common() {
    let mut peer = Peer::new(vec![mschapv2()]);
    peer.ask(1, 1, b"").unwrap();
    peer.ask(2, 4, b"\x01x").unwrap();
    let error = peer.handle(&FAILURE).unwrap_err();
    assert_eq!(error.to_string(), "the EAP server offered EAP-MD5 and supports no method of ours");
    assert_eq!(error.close_kind(), adit_tunnel::CloseKind::NoAgreement);
}

#[test]
fn failure_otherwise_means_that_we_are_refused() {
    let mut unknown = Peer::new(vec![mschapv2()]);
    unknown.ask(1, 1, b"").unwrap();
    assert_eq!(unknown.handle(&FAILURE), Err(EapError::Refused(None)));
    let mut wrong = Peer::new(vec![EapMethod::Gtc(password())]);
    wrong.ask(1, 6, b"").unwrap();
    let error = wrong.handle(&FAILURE).unwrap_err();
    assert_eq!(error.to_string(), "the EAP server refused us during EAP-GTC");
    assert_eq!(error.close_kind(), adit_tunnel::CloseKind::AuthFailed);
}

/// The hash is that of Python's hashlib over identifier, password and challenge.
#[test]
fn md5_answers_with_the_hash_of_rfc_1994() {
    let mut peer = Peer::new(vec![EapMethod::Md5(password())]);
    let challenge: Vec<u8> = (0..16).collect();
    let (kind, data) = peer.ask(0x2a, 4, &[&[16], &challenge[..], b"server"].concat()).unwrap();
    let hash = hex::decode("03dc98c5a832692b49df73cf48fcb4e9").unwrap();
    assert_eq!((kind, data), (4, [&[16], &hash[..], b"DOMAIN\\user"].concat()));
    assert_eq!(peer.handle(&SUCCESS), Ok(EapStep::Done(None)));
}

#[test]
fn malformed_md5_challenges_are_errors() {
    for data in [&b""[..], b"\x00", b"\x00name", b"\x05abcd", b"\xff"] {
        assert_eq!(Peer::new(vec![EapMethod::Md5(password())]).ask(1, 4, data), Err(EapError::Md5));
    }
}

#[test]
fn a_second_question_is_not_answered() {
    let mut gtc = Peer::new(vec![EapMethod::Gtc(password())]);
    gtc.ask(1, 6, b"Password: ").unwrap();
    assert_eq!(gtc.ask(2, 6, b"Password: "), Err(EapError::AskedAgain(EapType::GTC)));
    let mut md5 = Peer::new(vec![EapMethod::Md5(password())]);
    md5.ask(1, 4, b"\x01x").unwrap();
    assert_eq!(md5.ask(2, 4, b"\x01x"), Err(EapError::AskedAgain(EapType::MD5)));
}

#[test]
fn the_same_request_again_is_answered_by_the_same_bytes() {
    let mut peer = Peer::new(vec![EapMethod::Md5(password())]);
    let challenge = request(1, 4, b"\x01x");
    let first = peer.handle(&challenge);
    assert!(first.is_ok());
    for _ in 0..3 {
        assert_eq!(peer.handle(&challenge), first);
    }
    assert_eq!(peer.handle(&SUCCESS), Ok(EapStep::Done(None)));
}

#[test]
fn a_server_that_never_ends_is_left() {
    for packet in [request(1, 1, b""), request(1, 25, b"")] {
        let mut peer = Peer::new(vec![mschapv2()]);
        for _ in 0..100 {
            peer.handle(&packet).unwrap();
        }
        assert_eq!(peer.handle(&packet), Err(EapError::TooManyRounds));
        assert_eq!(peer.handle(&SUCCESS), Err(EapError::TooManyRounds));
    }
}

#[test]
fn success_before_any_method_is_refused() {
    let mut peer = Peer::new(vec![EapMethod::Gtc(password())]);
    assert_eq!(peer.handle(&SUCCESS), Err(EapError::SuccessTooEarly(None)));
    assert_eq!(peer.ask(1, 6, b""), Err(EapError::AfterTheEnd));
}

#[test]
fn nothing_secret_is_shown() {
    let mut peer = Peer::new(vec![mschapv2(), EapMethod::Gtc(password()), EapMethod::Md5(password())]);
    assert!(!format!("{:?}", peer.peer).contains("secret"));
    let step = peer.handle(&request(1, 6, b"Password: ")).unwrap();
    assert_eq!(format!("{step:?}"), "Respond(11 bytes)");
    assert!(!format!("{:?}", peer.peer).contains("secret"));
}

#[test]
fn credentials_that_cannot_work_are_named() {
    let new = |identity: &str, methods: Vec<EapMethod>| {
        EapMethods::new(&EapCredentials { identity: identity.to_owned(), methods }).unwrap_err()
    };
    assert_eq!(new("user", vec![]), EapUnusable::NoMethod);
    assert_eq!(new("user", vec![mschapv2(), mschapv2()]), EapUnusable::Twice(EapType::MSCHAPV2));
    assert_eq!(new(&"x".repeat(254), vec![mschapv2()]), EapUnusable::TooLong("identity"));
    assert_eq!(new("user", vec![EapMethod::Gtc(Secret::new([1; 254]))]), EapUnusable::TooLong("password"));
    let secret = MsChapV2Secret::Password(Secret::new([0xff]));
    assert_eq!(new("user", vec![EapMethod::MsChapV2(secret)]), EapUnusable::PasswordNotUtf8);
    let secret = MsChapV2Secret::NtHash(Secret::new([1; 15]));
    assert_eq!(new("user", vec![EapMethod::MsChapV2(secret)]), EapUnusable::NtHashLength(15));
}
