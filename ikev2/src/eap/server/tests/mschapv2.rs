//! EAP-MSCHAPv2.

use ::mschapv2::{
    Challenged, NtHash, Responded,
    packet::{Failure, Malformed, Packet},
};

use super::*;

const KIND: EapType = EapType::MSCHAPV2;

fn server() -> Server {
    Server::new(vec![EapServerMethod::MsChapV2])
}

/// What `name` with `password` answers to a challenge.
fn answer(challenge: &[u8], name: &str, password: &str) -> (Responded, ::mschapv2::packet::Response) {
    let Ok(Packet::Challenge(challenge)) = Packet::parse(challenge) else { panic!("{challenge:?}") };
    Challenged::new(&challenge).respond(name.as_bytes(), &NtHash::of_password(password), [9; 16])
}

pub(super) fn right_response(challenge: &[u8]) -> Vec<u8> {
    answer(challenge, "user", "secret").1.encode()
}

#[test]
fn both_ends_agree_on_the_key_by_password_or_hash() {
    for name in ["user", "hashed"] {
        let key = success(name, server().run(vec![ms_chap("secret")], name));
        assert_eq!(key.unwrap().expose().len(), 64);
    }
}

/// The whole name first, then what follows the domain; nothing else is taken off, and case counts.
#[test]
fn users_are_found_with_and_without_their_domain() {
    for (name, password, found) in
        [("OFFICE\\user", "another", "OFFICE\\user"), ("HOME\\user", "secret", "user"), ("\\user", "secret", "user")]
    {
        drop(success(found, server().run(vec![ms_chap(password)], name)));
    }
    for (name, password) in [("OFFICE\\user", "secret"), ("HOME\\user", "another"), ("user", "another")] {
        let end = server().run(vec![ms_chap(password)], name);
        assert!(matches!(end, End::GaveUp(EapError::RefusedByMsChapV2 { .. })), "{end:?}");
    }
    for name in ["User", "user@office", "office\\HOME\\user", "user\\", "", "user "] {
        let mut server = server();
        let (_, challenge) = server.identified(name);
        server.answer(KIND, &answer(&challenge, name, "secret").1.encode()).unwrap();
        assert_eq!(server.refuses(KIND, &[4]), EapClientError::UnknownUser(name.to_owned()));
    }
}

/// What comes back is the same but for random bytes and the MS-CHAPv2 identifier, and EAP-Failure follows the acknowledgement.
#[test]
fn unknown_users_and_wrong_passwords_look_alike() {
    let refused = |name: &str, password: &str| {
        let mut server = server();
        let (_, challenge) = server.identified(name);
        let (kind, failure) = server.answer(KIND, &answer(&challenge, name, password).1.encode()).unwrap();
        let Ok(Packet::Failure(failure)) = Packet::parse(&failure) else { panic!("{failure:?}") };
        (kind, failure, server.refuses(KIND, &[4]))
    };
    let (kind, failure, error) = refused("user", "wrong");
    assert_eq!((kind, &error), (KIND, &EapClientError::WrongPassword("user".to_owned())));
    assert!(matches!(&failure, Failure { error: 691, retry: false, version: Some(3), challenge: Some(_), .. }));
    // Even those who know with what nobody is compared.
    for password in ["secret", ""] {
        assert_eq!(
            refused("nobody", password),
            (kind, failure.clone(), EapClientError::UnknownUser("nobody".to_owned()))
        );
    }
    let client = server().run(vec![ms_chap("wrong")], "user");
    let message = "wrong user or password".to_owned();
    assert_eq!(client, End::GaveUp(EapError::RefusedByMsChapV2 { error: 691, message }));
}

/// The secrets of nobody are no way in: here is a response made with them.
#[test]
fn nobody_is_never_admitted() {
    let mut server = server();
    let (_, challenge) = server.identified("nobody");
    let Ok(Packet::Challenge(challenge)) = Packet::parse(&challenge) else { panic!() };
    let (_, response) = Challenged::new(&challenge).respond(b"nobody", &NtHash::new([0; 16]), [9; 16]);
    let (_, answer) = server.answer(KIND, &response.encode()).unwrap();
    assert!(matches!(Packet::parse(&answer), Ok(Packet::Failure(_))));
    assert_eq!(server.refuses(KIND, &[4]), EapClientError::UnknownUser("nobody".to_owned()));
}

#[test]
fn whatever_answers_the_failure_the_end_is_failure() {
    for (kind, data) in
        [(KIND, &[4][..]), (KIND, &[3]), (KIND, b""), (EapType::NAK, &[6]), (EapType::IDENTITY, b"user")]
    {
        let mut server = server();
        let (_, challenge) = server.identified("user");
        server.answer(KIND, &answer(&challenge, "user", "wrong").1.encode()).unwrap();
        assert_eq!(server.refuses(kind, data), EapClientError::WrongPassword("user".to_owned()));
        let (_, again) = (server.refuses(kind, data), server.refuses(KIND, &right_response(&challenge)));
        assert_eq!(again, EapClientError::AfterTheEnd);
    }
}

#[test]
fn a_response_to_another_challenge_is_the_end() {
    let mut server = server();
    let (_, challenge) = server.identified("user");
    let mut response = right_response(&challenge);
    response[1] = response[1].wrapping_add(1);
    assert_eq!(server.refuses(KIND, &response), EapClientError::OtherChallenge);
}

#[test]
fn the_identifier_of_ms_chap_is_not_that_of_eap() {
    let mut server = server();
    let (_, challenge) = server.identified("user");
    assert_ne!(challenge[1], server.request[1]);
    assert_eq!(server.request[1], server.server.id);
}

/// Challenges and identifiers come from the source of randomness.
#[test]
fn challenges_differ() {
    let servers = Arc::new(EapServers::new(&config(vec![EapServerMethod::MsChapV2])).unwrap());
    let challenge = |seed| {
        let mut server = Server::with(Arc::clone(&servers));
        server.random = SeededRandom::new(seed);
        server.identified("user").1
    };
    assert_ne!(challenge(1), challenge(2));
    assert_eq!(challenge(1), challenge(1));
}

/// CVE-2015-8023: the acknowledgement in the place of the response, and each packet where it does not belong.
#[test]
fn success_cannot_be_had_by_saying_success() {
    let out_of_order = EapClientError::Packet(EapError::MsChapV2OutOfOrder);
    let mut early = server();
    let (_, challenge) = early.identified("user");
    assert_eq!(early.refuses(KIND, &[3]), out_of_order);
    let failure = mschapv2_failure();
    let response = right_response(&challenge);
    for packet in [&challenge, &failure] {
        let mut server = server();
        server.identified("user");
        assert_eq!(server.refuses(KIND, packet), out_of_order);
    }
    for packet in [&challenge, &failure, &response, &vec![4], &vec![], &vec![3, 0]] {
        let mut server = server();
        let (_, challenge) = server.identified("user");
        server.answer(KIND, &right_response(&challenge)).unwrap();
        assert_eq!(server.refuses(KIND, packet), out_of_order, "{packet:?}");
    }
}

fn mschapv2_failure() -> Vec<u8> {
    super::super::mschapv2::refusal(7, [1; 16]).encode()
}

#[test]
fn truncated_and_lying_responses_are_the_end() {
    let response = |server: &mut Server| right_response(&server.identified("user").1);
    let length = response(&mut server()).len();
    for end in 0..length {
        let mut server = server();
        let response = response(&mut server);
        let error = server.refuses(KIND, &response[..end]);
        assert!(matches!(error, EapClientError::Packet(EapError::MsChapV2(_))), "{end}: {error}");
    }
    for lie in (0..=600_u16).filter(|lie| usize::from(*lie) != length) {
        let mut server = server();
        let mut response = response(&mut server);
        response[2..4].copy_from_slice(&lie.to_be_bytes());
        assert_eq!(server.refuses(KIND, &response), EapClientError::Packet(EapError::MsChapV2(Malformed::Length)));
    }
    let mut server = server();
    let mut odd = response(&mut server);
    odd[4] = 48;
    assert_eq!(server.refuses(KIND, &odd), EapClientError::Packet(EapError::MsChapV2(Malformed::ValueSize(48))));
}
