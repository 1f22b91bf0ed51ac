//! Passwords, tokens, challenges: what is sent, what is kept for the next session.

use adit_tunnel::{CloseKind, Prompt, Retry, Secret};

use super::{
    pair::{Pair, Setup},
    secs,
};
use crate::{config::StaticChallenge, control::packet::Opcode, error::SessionError, session::Carry};

/// User and password of the n-th key exchange.
fn login(pair: &Pair, at: usize) -> (&str, &str) {
    let message = &pair.server.client_messages[at];
    (&message.username, std::str::from_utf8(message.password.expose()).unwrap())
}

fn renew(pair: &mut Pair) {
    pair.run(secs(5));
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
}

fn carry_of(pair: Pair) -> Carry {
    assert!(pair.log.closed.is_some(), "{:?}", pair.client);
    pair.client.into_carry()
}

fn says(text: &str) -> Option<Vec<Vec<u8>>> {
    Some(vec![format!("{text}\0").into_bytes()])
}

#[test]
fn user_and_password_are_sent_at_each_key_exchange() {
    let mut pair = Setup::default().up();
    renew(&mut pair);
    assert_eq!((login(&pair, 0), login(&pair, 1)), (("user", "password"), ("user", "password")));
}

#[test]
fn a_token_takes_the_passwords_place() {
    let mut pair = Setup::new(|setup| setup.script.push.push("auth-token SESS_ID_abc".to_owned())).up();
    renew(&mut pair);
    assert_eq!(login(&pair, 1), ("user", "SESS_ID_abc"));
}

#[test]
fn a_token_may_bring_its_own_user() {
    let mut pair = Setup::new(|setup| {
        setup.script.push.push("auth-token SESS_ID_abc".to_owned());
        setup.script.push.push("auth-token-user YWxpY2U=".to_owned());
    })
    .up();
    renew(&mut pair);
    assert_eq!(login(&pair, 1), ("alice", "SESS_ID_abc"));
}

#[test]
fn a_renegotiation_may_renew_the_token() {
    let mut pair = Setup::new(|setup| {
        setup.script.push.push("auth-token SESS_ID_1".to_owned());
        setup.script.says_later = vec![b"PUSH_REPLY,auth-token SESS_ID_2\0".to_vec()];
    })
    .up();
    renew(&mut pair);
    renew(&mut pair);
    assert_eq!((login(&pair, 1).1, login(&pair, 2).1), ("SESS_ID_1", "SESS_ID_2"));
    assert_eq!(pair.log.ups.len(), 1);
}

#[test]
fn the_next_session_uses_the_token_and_asks_no_question() {
    let mut pair = Setup::new(|setup| setup.script.push.push("auth-token SESS_ID_abc".to_owned())).up();
    pair.close();
    pair.run(secs(1));
    let carry = carry_of(pair);
    let pair = Setup::new(|setup| {
        setup.carry = carry;
        setup.settings.static_challenge = Some(StaticChallenge { text: "Code".to_owned(), echo: true, concat: false });
    })
    .up();
    assert_eq!(login(&pair, 0), ("user", "SESS_ID_abc"));
    assert!(pair.log.prompts.is_empty());
}

#[test]
fn a_refused_token_is_dropped_and_the_password_tried_at_once() {
    for failure in ["AUTH_FAILED", "AUTH_FAILED,SESSION:token expired"] {
        let mut pair = Setup::new(|setup| setup.script.push.push("auth-token SESS_ID_abc".to_owned())).up();
        pair.server.script.says_later = says(failure).unwrap();
        renew(&mut pair);
        assert!(matches!(pair.error(), SessionError::TokenRefused(_)), "{failure}");
        assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::AuthFailed, &Retry::After(secs(0))));
        let carry = carry_of(pair);
        let pair = Setup::new(|setup| setup.carry = carry).up();
        assert_eq!(login(&pair, 0), ("user", "password"));
    }
}

#[test]
fn a_refused_password_needs_fresh_credentials() {
    let pair = Setup::new(|setup| setup.script.says = says("AUTH_FAILED,expired")).fails();
    assert_eq!(*pair.error(), SessionError::AuthFailed("expired".to_owned()));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::AuthFailed, &Retry::FreshCredentials));
    assert!(pair.log.keys.is_empty());
}

fn with_static_challenge(concat: bool) -> Pair {
    Setup::new(|setup| {
        setup.settings.static_challenge = Some(StaticChallenge { text: "Code".to_owned(), echo: false, concat });
    })
    .start()
}

#[test]
fn a_static_challenge_is_asked_when_the_server_has_proved_itself() {
    let mut pair = with_static_challenge(false);
    pair.to_client.cut = true;
    pair.run(secs(10));
    assert!(pair.log.prompts.is_empty(), "nobody has answered yet");
    pair.to_client.cut = false;
    pair.run(secs(30));
    assert_eq!(pair.log.prompts, [Prompt::Challenge { text: "Code".to_owned(), echo: false }]);
    assert!(pair.server.client_messages.is_empty());
    pair.answer("123456");
    pair.come_up();
    assert_eq!(login(&pair, 0), ("user", "SCRV1:cGFzc3dvcmQ=:MTIzNDU2"));
}

#[test]
fn an_answer_that_comes_too_late_for_the_server_is_sent_by_the_next_session() {
    let mut pair = with_static_challenge(false);
    pair.run(secs(200));
    pair.answer("123456");
    assert_eq!(*pair.error(), SessionError::ChallengeAnswered);
    assert_eq!(pair.closed().retry, Retry::After(secs(0)));
    assert!(pair.server.client_messages.is_empty());
    let carry = carry_of(pair);
    let mut pair = Setup::new(|setup| {
        setup.carry = carry;
        setup.settings.static_challenge = Some(StaticChallenge { text: "Code".to_owned(), echo: true, concat: true });
    })
    .up();
    assert!(pair.log.prompts.is_empty());
    assert_eq!(login(&pair, 0), ("user", "password123456"));
    pair.close();
    pair.run(secs(1));
    assert!(carry_of(pair).response.is_none(), "it has been used");
}

#[test]
fn a_concatenated_answer_follows_the_password() {
    let mut pair = with_static_challenge(true);
    pair.run(secs(1));
    pair.answer("123456");
    pair.come_up();
    assert_eq!(login(&pair, 0), ("user", "password123456"));
}

#[test]
fn nobody_answering_ends_the_session() {
    let mut pair = with_static_challenge(false);
    pair.run(secs(1));
    pair.cancel();
    assert_eq!(*pair.error(), SessionError::ChallengeUnanswered);
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::AuthFailed, &Retry::Never));

    let mut pair = with_static_challenge(false);
    pair.run(secs(1000));
    assert_eq!(*pair.error(), SessionError::ChallengeUnanswered);
    assert!(pair.closed_after() >= secs(300) && pair.closed_after() < secs(301));
    assert!(pair.server.client_messages.is_empty());
}

/// Asks `user` "PIN?" with the state `STATE`.
const CHALLENGE: &str = "AUTH_FAILED,CRV1:R,E:STATE:Ym9i:PIN?";

fn challenged() -> Pair {
    let mut pair = Setup::new(|setup| setup.script.says = says(CHALLENGE)).start();
    pair.run(secs(1));
    assert_eq!(pair.log.prompts, [Prompt::Challenge { text: "PIN?".to_owned(), echo: true }]);
    assert!(pair.log.closed.is_none());
    pair
}

#[test]
fn a_dynamic_challenge_is_answered_in_the_next_session() {
    let mut pair = challenged();
    pair.run(secs(250));
    pair.answer("42");
    assert_eq!(*pair.error(), SessionError::ChallengeAnswered);
    assert_eq!(pair.closed().retry, Retry::After(secs(0)));
    let carry = carry_of(pair);
    assert!(!format!("{carry:?}").contains("42"));
    let mut pair = Setup::new(|setup| setup.carry = carry).up();
    assert_eq!(login(&pair, 0), ("bob", "CRV1::STATE::42"));
    // It is good for one login.
    renew(&mut pair);
    assert_eq!(login(&pair, 1), ("user", "password"));
    pair.close();
    pair.run(secs(1));
    let carry = carry_of(pair);
    let pair = Setup::new(|setup| setup.carry = carry).up();
    assert_eq!(login(&pair, 0), ("user", "password"));
}

#[test]
fn a_renegotiation_asks_no_question() {
    let mut pair = challenged();
    pair.answer("42");
    let carry = carry_of(pair);
    let mut pair = Setup::new(|setup| {
        setup.carry = carry;
        setup.settings.static_challenge = Some(StaticChallenge { text: "Code".to_owned(), echo: true, concat: false });
    })
    .up();
    renew(&mut pair);
    assert_eq!((pair.server.key_id(), pair.server.is_ready()), (1, true));
    assert!(pair.log.prompts.is_empty());
    assert_eq!(login(&pair, 1), ("user", "password"));
}

#[test]
fn what_the_server_says_after_its_challenge_does_not_take_the_question_away() {
    let mut pair = challenged();
    for text in ["RESTART\0", "EXIT\0", "HALT\0", "AUTH_FAILED\0", "PUSH_REPLY,ping 1\0"] {
        pair.server_says(text.as_bytes());
    }
    pair.server.close_tls(pair.now);
    pair.run(secs(1));
    pair.answer("42");
    assert_eq!(*pair.error(), SessionError::ChallengeAnswered);
}

#[test]
fn a_challenge_is_acknowledged() {
    let pair = challenged();
    let acknowledged = pair.server.packets.iter().rev().find(|packet| packet.opcode == Opcode::ACK_V1);
    assert!(acknowledged.is_some());
}

#[test]
fn an_unanswered_dynamic_challenge_ends_the_session() {
    let mut pair = challenged();
    pair.cancel();
    assert_eq!((pair.error(), &pair.closed().retry), (&SessionError::ChallengeUnanswered, &Retry::Never));
    let mut pair = challenged();
    pair.run(secs(1000));
    assert_eq!(*pair.error(), SessionError::ChallengeUnanswered);
}

#[test]
fn a_password_that_no_server_could_read_ends_the_session() {
    for password in ["x".repeat(3000), "a\0b".to_owned()] {
        let pair = Setup::new(|setup| {
            setup.credentials.as_mut().unwrap().password = Secret::from(password.as_str());
        })
        .fails();
        assert!(matches!(pair.error(), SessionError::KeyExchange(_)));
        assert_eq!(pair.closed().kind, CloseKind::Internal);
    }
}
