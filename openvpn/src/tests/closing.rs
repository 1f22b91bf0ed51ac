//! Our own goodbye.

use adit_tunnel::{CloseKind, Retry, Transport};

use super::{
    START,
    pair::{Pair, Setup},
    secs,
};
use crate::{config::Remote, data::EXIT_MESSAGE, error::SessionError};

fn assert_closed_by_us(pair: &Pair) {
    assert_eq!(*pair.error(), SessionError::ClosedLocally);
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::Local, &Retry::Never));
}

#[test]
fn exit_is_said_and_the_session_ends_when_it_has_arrived() {
    let mut pair = Setup::default().up();
    let began = pair.now.duration_since(*START);
    pair.close();
    assert!(pair.log.closed.is_none());
    pair.run(secs(10));
    assert_eq!(pair.server.control_messages, ["EXIT"]);
    assert_eq!(pair.server.exit_notices, 0);
    assert_closed_by_us(&pair);
    // There and back.
    assert_eq!(pair.closed_after() - began, super::millis(20));
}

#[test]
fn without_an_acknowledgement_the_end_comes_after_3_s() {
    let mut pair = Setup::default().up();
    let began = pair.now.duration_since(*START);
    pair.to_server.cut = true;
    pair.close();
    pair.run(secs(100));
    assert_closed_by_us(&pair);
    assert_eq!(pair.closed_after() - began, secs(3));
}

#[test]
fn closing_twice_changes_nothing() {
    let mut pair = Setup::default().up();
    let began = pair.now.duration_since(*START);
    pair.to_server.cut = true;
    pair.close();
    let sent = pair.log.sent.len();
    pair.run(secs(2));
    pair.close();
    pair.run(secs(100));
    assert_eq!(pair.closed_after() - began, secs(3));
    assert_eq!(pair.log.sent.len(), sent + 1, "one retransmission");
    assert_closed_by_us(&pair);
}

#[test]
fn what_the_server_says_meanwhile_does_not_matter() {
    let mut pair = Setup::default().up();
    pair.close();
    pair.server_says(b"AUTH_FAILED,CRV1:R:S:dXNlcg==:Password?\0HALT\0");
    pair.run(secs(10));
    assert!(pair.log.prompts.is_empty());
    assert_closed_by_us(&pair);
}

#[test]
fn servers_that_do_not_know_exit_get_notices_by_data_channel() {
    for (configured, gateways, pushed, expected) in
        [(None, None, None, 1), (Some(3), None, None, 3), (Some(3), Some(2), None, 2), (None, None, Some(60), 5)]
    {
        let mut pair = Setup::new(|setup| {
            setup.script.cc_exit = false;
            setup.settings.explicit_exit_notify = configured;
            setup.remote.explicit_exit_notify = gateways;
            setup.script.push.extend(pushed.map(|count: u32| format!("explicit-exit-notify {count}")));
        })
        .up();
        pair.close();
        assert_closed_by_us(&pair);
        assert!(pair.log.injected.iter().all(|(_, packet)| **packet == EXIT_MESSAGE));
        pair.run(secs(1));
        assert_eq!(pair.server.exit_notices, expected);
        assert!(pair.server.control_messages.is_empty());
    }
}

#[test]
fn during_a_renegotiation_notices_are_sent_too() {
    let mut pair = Setup::default().up();
    pair.server.renegotiate(pair.now);
    pair.run(super::millis(15));
    pair.close();
    assert_closed_by_us(&pair);
    pair.run(secs(1));
    assert_eq!(pair.server.exit_notices, 1);
}

#[test]
fn over_tcp_the_end_of_the_stream_is_the_goodbye() {
    let mut pair = Setup::new(|setup| setup.remote = Remote::new("vpn.example", 443, Transport::Tcp)).up();
    let sent = pair.log.sent.len();
    pair.close();
    assert_closed_by_us(&pair);
    assert_eq!((pair.log.sent.len(), pair.log.injected.len()), (sent, 0));
}

#[test]
fn before_the_tunnel_is_up_there_is_nothing_to_say() {
    for time in [0, 15, 25, 45] {
        let mut pair = Setup::new(|setup| setup.script.says = Some(Vec::new())).start();
        pair.run(super::millis(time));
        let sent = pair.log.sent.len();
        pair.close();
        assert_closed_by_us(&pair);
        assert_eq!(pair.log.sent.len(), sent.max(1));
    }
}
