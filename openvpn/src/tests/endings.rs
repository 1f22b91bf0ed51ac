//! What the server says last, and what follows from it.

use std::time::Duration;

use adit_tunnel::{Answer, CloseKind, Retry, Secret, Tunnel};

use super::{
    pair::{Pair, Setup, numbered},
    secs,
};
use crate::{control::packet::Opcode, data::EXIT_MESSAGE, error::SessionError};

/// The server says this once the tunnel is up.
fn up_then(text: &str) -> Pair {
    let mut pair = Setup::new(|setup| setup.script.push.push("auth-token SESS_ID_abc".to_owned())).up();
    pair.server_says(format!("{text}\0").as_bytes());
    pair
}

fn says(text: &str) -> Pair {
    Setup::new(|setup| setup.script.says = Some(vec![format!("{text}\0").into_bytes()])).fails()
}

const NOW: Retry = Retry::After(Duration::ZERO);

#[test]
fn temporary_refusals_say_where_to_go_next() {
    let cases = [
        ("AUTH_FAILED,TEMP", NOW),
        ("AUTH_FAILED,TEMP:database down", NOW),
        ("AUTH_FAILED,TEMP[advance no]:database down", NOW),
        ("AUTH_FAILED,TEMP[advance addr]", Retry::NextAddress),
        ("AUTH_FAILED,TEMP[advance remote]:x", Retry::NextRemote),
        ("AUTH_FAILED,TEMP[backoff 42,advance no]:x", Retry::After(secs(42))),
        ("AUTH_FAILED,TEMP[backoff 42]", Retry::After(secs(42))),
    ];
    for (text, retry) in cases {
        let pair = says(text);
        assert!(matches!(pair.error(), SessionError::AuthFailedTemporarily(_)), "{text}");
        assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::AuthFailed, &retry), "{text}");
    }
    let SessionError::AuthFailedTemporarily(reason) =
        says("AUTH_FAILED,TEMP[advance no]:database down").error().clone()
    else {
        panic!()
    };
    assert_eq!(reason, "database down");
}

#[test]
fn restart_says_whether_to_stay_and_whether_to_keep_the_token() {
    let cases = [
        ("RESTART", Retry::After(secs(2)), false),
        ("RESTART,", Retry::After(secs(2)), false),
        ("RESTART,[P]maintenance", Retry::After(secs(2)), true),
        ("RESTART,[N]", Retry::NextRemote, false),
        ("RESTART,[PN]", Retry::NextRemote, true),
    ];
    for (text, retry, keeps_token) in cases {
        let pair = up_then(text);
        assert!(matches!(pair.error(), SessionError::ServerRestarts(_)), "{text}");
        assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::PeerClosed, &retry), "{text}");
        let carry = pair.client.into_carry();
        let next = Setup::new(|setup| setup.carry = carry).up();
        let password = next.server.client_messages[0].password.expose();
        assert_eq!(password == b"SESS_ID_abc", keeps_token, "{text}");
    }
}

#[test]
fn halt_is_for_good() {
    let pair = up_then("HALT,go away");
    assert_eq!(*pair.error(), SessionError::ServerHalts("go away".to_owned()));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::PeerClosed, &Retry::Never));
}

#[test]
fn a_server_may_leave_by_control_message() {
    let pair = up_then("EXIT");
    assert_eq!(*pair.error(), SessionError::ServerExits);
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::PeerClosed, &Retry::After(secs(2))));
}

#[test]
fn a_server_may_leave_by_data_message() {
    let mut pair = Setup::default().up();
    pair.server_sends(&EXIT_MESSAGE);
    pair.run(secs(1));
    assert_eq!((pair.error(), &pair.closed().retry), (&SessionError::ServerExits, &Retry::After(secs(2))));
}

#[test]
fn options_checks_of_old_servers_are_ignored() {
    let mut pair = Setup::default().up();
    let mut request = EXIT_MESSAGE;
    request[16] = 0;
    pair.server_sends(&request);
    pair.run(secs(1));
    assert!(pair.log.closed.is_none());
}

#[test]
fn the_last_word_is_acknowledged() {
    let pair = up_then("HALT");
    let last = pair.server.packets.last().unwrap();
    assert_eq!(last.opcode, Opcode::ACK_V1);
}

#[test]
fn nothing_of_the_same_record_counts_after_the_end() {
    // `Pair` panics on an event after `Closed`.
    let later = "INFO,OPEN_URL:https://evil.example\0AUTH_FAILED,CRV1:R:S:dXNlcg==:Password?\0PUSH_REPLY,ping 1\0EXIT";
    for last in ["HALT", "EXIT", "RESTART", "AUTH_FAILED"] {
        let mut pair = up_then(&format!("{last}\0{later}"));
        pair.run(secs(1000));
        pair.closed();
        assert!(pair.log.prompts.is_empty());
        let pair = says(&format!("{last}\0{later}"));
        assert!(pair.log.prompts.is_empty() && pair.log.keys.is_empty());
    }
}

#[test]
fn a_closed_session_is_inert() {
    let mut pair = up_then("HALT");
    let sent = pair.log.sent.len();
    pair.server.renegotiate(pair.now);
    pair.server_says(b"PUSH_REPLY,auth-token SESS_ID_new\0INFO,hello\0");
    pair.server_sends(&EXIT_MESSAGE);
    pair.server_sends(&numbered(1));
    pair.client.handle_message(pair.now, &EXIT_MESSAGE);
    pair.client.handle_answer(pair.now, Answer::Cancelled);
    pair.client.handle_answer(pair.now, Answer::Response(Secret::from("x")));
    let path = pair.path;
    pair.client.handle_path(pair.now, &path);
    pair.client.handle_peer_path(pair.now, &path);
    pair.client.handle_timeout(pair.now + secs(100_000));
    pair.client.close(pair.now);
    pair.run(secs(1000));
    assert_eq!(pair.log.sent.len(), sent);
    assert_eq!(pair.client.poll_timeout(), None);
}
