//! Identity, Nak, identifiers, limits, and what cannot be configured.

use super::*;

const ALL: [EapServerMethod; 3] = [EapServerMethod::MsChapV2, EapServerMethod::Gtc, EapServerMethod::Md5];

#[test]
fn the_client_s_wish_among_our_methods_is_granted() {
    let [ms_chap_v2, gtc, md5] = ALL;
    for (method, methods) in [
        (ms_chap("secret"), vec![md5.clone(), ms_chap_v2.clone()]),
        (EapMethod::Gtc(password()), vec![ms_chap_v2, md5.clone(), gtc.clone()]),
        (EapMethod::Md5(password()), vec![gtc, md5]),
    ] {
        let mut server = Server::new(methods);
        drop(success("user", server.run(vec![method], "user")));
    }
}

#[test]
fn wishes_are_granted_in_the_client_s_order_once_each() {
    let mut server = Server::new(ALL.to_vec());
    assert_eq!(server.identified("user").0, EapType::MSCHAPV2);
    assert_eq!(server.answer(EapType::NAK, &[13, 26, 4, 6]).unwrap().0, EapType::MD5);
    assert_eq!(server.answer(EapType::NAK, &[26, 4, 6]).unwrap().0, EapType::GTC);
    assert_eq!(server.refuses(EapType::NAK, &[26, 4, 6]), EapClientError::NoCommonMethod(EapType::GTC));
}

#[test]
fn expanded_naks_are_understood() {
    let mut server = Server::new(ALL.to_vec());
    server.identified("user");
    let wishes = [0, 0, 0, 0, 0, 0, 3, 254, 0, 1, 2, 0, 0, 0, 4, 254, 0, 0, 0, 0, 0, 0, 6];
    assert_eq!(server.answer(EapType::EXPANDED, &wishes).unwrap().0, EapType::GTC);
}

#[test]
fn a_wish_that_cannot_be_granted_is_the_end() {
    for wishes in [&[][..], &[0], &[13, 21, 25], &[254], &[3], &[1], &[26]] {
        let mut server = Server::new(vec![EapServerMethod::MsChapV2]);
        server.identified("user");
        let error = server.refuses(EapType::NAK, wishes);
        assert_eq!(error, EapClientError::NoCommonMethod(EapType::MSCHAPV2), "{wishes:?}");
        assert_eq!(server.refuses(EapType::NAK, wishes), EapClientError::AfterTheEnd);
    }
    let refused = Server::new(vec![EapServerMethod::MsChapV2]).run(vec![EapMethod::Gtc(password())], "user");
    let server = EapClientError::NoCommonMethod(EapType::MSCHAPV2);
    assert_eq!(refused, End::Refused { server, client: EapError::NoCommonMethod(EapType::MSCHAPV2) });
}

#[test]
fn nak_comes_too_late_once_a_method_has_begun() {
    let mut server = Server::new(ALL.to_vec());
    let (_, challenge) = server.identified("user");
    server.answer(EapType::MSCHAPV2, &mschapv2::right_response(&challenge)).unwrap();
    let out_of_turn = EapClientError::OutOfTurn { running: EapType::MSCHAPV2, answered: EapType::NAK };
    assert_eq!(server.refuses(EapType::NAK, &[6]), out_of_turn);
}

#[test]
fn other_types_than_the_one_asked_for_are_refused() {
    for kind in [0, 2, 3, 4, 13, 26, 254, 255].map(EapType) {
        let out_of_turn = EapClientError::OutOfTurn { running: EapType::IDENTITY, answered: kind };
        assert_eq!(Server::new(ALL.to_vec()).refuses(kind, b"user"), out_of_turn);
    }
    for kind in [0, 1, 2, 4, 6, 13, 254, 255].map(EapType) {
        let mut server = Server::new(ALL.to_vec());
        server.identified("user");
        let out_of_turn = EapClientError::OutOfTurn { running: EapType::MSCHAPV2, answered: kind };
        assert_eq!(server.refuses(kind, b"user"), out_of_turn);
    }
}

/// An answer to something else does not move the server, and costs nobody the attempt.
#[test]
fn a_response_to_another_request_is_answered_by_the_request_again() {
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    server.identified("user");
    let request = server.request.clone();
    for id in (0..=255).filter(|id| *id != request[1]).take(50) {
        assert_eq!(server.handle(&response(id, EapType::GTC, b"wrong")), EapServerStep::Request(request.clone()));
    }
    let step = server.handle(&response(request[1], EapType::GTC, b"secret"));
    assert!(matches!(step, EapServerStep::Success { packet, .. } if packet[..] == [3, request[1], 0, 4]));
}

#[test]
fn a_client_that_does_not_come_to_an_end_is_refused() {
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    let other = server.request[1].wrapping_add(1);
    let again = |server: &mut Server| server.handle(&response(other, EapType::IDENTITY, b"user"));
    assert!((0..MAX_ROUNDS).all(|_| matches!(again(&mut server), EapServerStep::Request(_))));
    let EapServerStep::Failure { error, .. } = again(&mut server) else { panic!() };
    assert_eq!(error, EapClientError::TooManyRounds);
}

#[test]
fn packets_that_are_none_are_the_end() {
    let id = Server::new(vec![EapServerMethod::Gtc]).request[1];
    for (packet, wanted) in [
        (vec![], EapError::Malformed),
        (vec![2, id, 0, 4], EapError::Malformed),
        (vec![2, id, 0, 6, 1], EapError::Malformed),
        (vec![1, id, 0, 5, 1], EapError::Code(1)),
        (vec![3, id, 0, 4], EapError::Code(3)),
        (vec![4, id, 0, 4], EapError::Code(4)),
        (vec![5, id, 0, 4], EapError::Code(5)),
    ] {
        let mut server = Server::new(vec![EapServerMethod::Gtc]);
        let EapServerStep::Failure { error, packet: failure } = server.handle(&packet) else { panic!("{packet:?}") };
        assert_eq!((error, &failure[..]), (EapClientError::Packet(wanted), &[4, id, 0, 4][..]));
    }
}

#[test]
fn sizes_are_limited() {
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    assert_eq!(server.refuses(EapType::IDENTITY, &[b'x'; 254]), EapClientError::IdentityTooLong);
    assert!(Server::new(vec![EapServerMethod::Gtc]).answer(EapType::IDENTITY, &[b'x'; 253]).is_ok());
    let mut server = Server::new(vec![EapServerMethod::Gtc]);
    assert_eq!(server.refuses(EapType::IDENTITY, &[b'x'; 4092]), EapClientError::PacketTooLong);
}

#[test]
fn nothing_happens_before_the_start() {
    let servers = Arc::new(EapServers::new(&config(vec![EapServerMethod::Gtc])).unwrap());
    let mut server = EapServer::new(servers);
    let step = server.handle(&mut SeededRandom::new(1), NOW, &response(0, EapType::IDENTITY, b"user"));
    assert!(matches!(step, EapServerStep::Failure { error: EapClientError::AfterTheEnd, .. }));
}

#[test]
fn what_cannot_work_is_not_accepted() {
    let refused = |config: &EapServerConfig| EapServers::new(config).unwrap_err();
    assert_eq!(refused(&config(vec![])), EapUnusable::NoMethod);
    let twice = config(vec![EapServerMethod::Gtc, EapServerMethod::Gtc]);
    assert_eq!(refused(&twice), EapUnusable::Twice(EapType::GTC));
    let mut nobody = config(vec![EapServerMethod::Gtc]);
    nobody.users.clear();
    assert_eq!(refused(&nobody), EapUnusable::NoUser);
    let mut somebody_twice = config(vec![EapServerMethod::Gtc]);
    somebody_twice.users.push(somebody_twice.users[0].clone());
    assert_eq!(refused(&somebody_twice), EapUnusable::UserTwice("user".to_owned()));
    let mut hashed = config(vec![EapServerMethod::MsChapV2]);
    hashed.methods = vec![EapServerMethod::Gtc, EapServerMethod::Md5];
    assert_eq!(refused(&hashed), EapUnusable::HashServesNothing("hashed".to_owned()));
    let mut short = config(vec![EapServerMethod::MsChapV2]);
    short.users[0].secret = MsChapV2Secret::NtHash(Secret::new([0; 15]));
    assert_eq!(refused(&short), EapUnusable::NtHashLength(15));
}

#[test]
fn nothing_secret_is_shown() {
    let mut server = Server::new(ALL.to_vec());
    let step = server.handle(&response(server.request[1], EapType::IDENTITY, b"user"));
    let shown = format!("{:?} {step:?} {:?}", server.server, config(ALL.to_vec()));
    assert!(!shown.contains("secret\"") && !shown.contains("another"), "{shown}");
}
