//! Logins that wait for something outside.

use adit_tunnel::{Prompt, Retry};

use super::{
    pair::{Pair, Setup},
    secs,
};
use crate::error::SessionError;

/// A server that says this in place of the options.
fn says(texts: &[&str]) -> Setup {
    let records = texts.iter().map(|text| format!("{text}\0").into_bytes()).collect();
    Setup::new(|setup| setup.script.says = Some(records))
}

/// The server pushes at last.
fn push(pair: &mut Pair) {
    pair.server.push_options();
    pair.server.handle_timeout(pair.now);
    pair.come_up();
}

#[test]
fn auth_pending_gives_the_server_more_time() {
    let mut pair = says(&["AUTH_PENDING,timeout 200"]).start();
    pair.run(secs(190));
    push(&mut pair);
    pair.assert_traffic_flows();
}

#[test]
fn it_ends_when_the_time_is_over() {
    let pair = says(&["AUTH_PENDING,timeout 200"]).fails();
    assert_eq!(pair.closed_after().as_secs(), 200);
    assert!(matches!(pair.error(), SessionError::HandshakeTimeout { window, .. } if window.as_secs() == 200));
}

#[test]
fn no_more_than_half_of_reneg_sec_is_given() {
    let mut setup = says(&["AUTH_PENDING,timeout 86400"]);
    setup.settings.reneg_sec = secs(400);
    assert_eq!(setup.fails().closed_after().as_secs(), 200);
}

#[test]
fn saying_it_again_gives_no_more_time() {
    let mut setup = says(&["AUTH_PENDING,timeout 90"]);
    setup.settings.reneg_sec = secs(200);
    let mut pair = setup.start();
    for _ in 0..20 {
        pair.run(secs(20));
        if pair.log.closed.is_none() {
            pair.server_says(b"AUTH_PENDING,timeout 90\0");
        }
    }
    assert_eq!(pair.closed_after().as_secs(), 90);
}

#[test]
fn without_a_timeout_or_with_a_short_one_hand_window_stays() {
    for text in ["AUTH_PENDING", "AUTH_PENDING,timeout 5", "AUTH_PENDING,timeout x"] {
        assert_eq!(says(&[text]).fails().closed_after().as_secs(), 60, "{text}");
    }
}

#[test]
fn a_question_is_answered_on_the_control_channel_once() {
    let mut pair = says(&["AUTH_PENDING,timeout 100", "INFO_PRE,CR_TEXT:R,E:Your code: "]).start();
    pair.run(secs(1));
    assert_eq!(pair.log.prompts, [Prompt::Challenge { text: "Your code: ".to_owned(), echo: true }]);
    pair.answer("123456");
    pair.answer("again");
    pair.run(secs(1));
    let responses: Vec<_> = pair.server.control_messages.iter().filter(|text| *text != "PUSH_REQUEST").collect();
    assert_eq!(responses, ["CR_RESPONSE,MTIzNDU2"]);
    push(&mut pair);
}

#[test]
fn nobody_answering_it_ends_the_session() {
    let mut pair = says(&["AUTH_PENDING,timeout 100", "INFO_PRE,CR_TEXT:R:Your code"]).start();
    pair.run(secs(1));
    pair.cancel();
    assert_eq!((pair.error(), &pair.closed().retry), (&SessionError::ChallengeUnanswered, &Retry::Never));
}

#[test]
fn pages_and_texts_are_shown_without_waiting_for_an_answer() {
    let texts = [
        "INFO_PRE,OPEN_URL:https://login.example/1",
        "INFO_PRE,WEB_AUTH:hidden,external:https://login.example/2",
        "INFO_PRE,CR_TEXT:E:Look at your phone",
        "INFO,Welcome",
    ];
    let mut pair = says(&texts).start();
    pair.run(secs(1));
    let url = |url: &str| Prompt::OpenUrl { url: url.to_owned() };
    let text = |text: &str| Prompt::Message { text: text.to_owned() };
    let expected =
        [url("https://login.example/1"), url("https://login.example/2"), text("Look at your phone"), text("Welcome")];
    assert_eq!(pair.log.prompts, expected);
    pair.cancel();
    push(&mut pair);
}
