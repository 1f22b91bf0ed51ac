//! How long is waited for what, and what is sent again meanwhile.

use std::time::Duration;

use adit_tunnel::{CloseKind, Retry};

use super::{
    START,
    handshake::wraps,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    control::{packet::ControlPacket, wrap::Wrapper},
    data::Role,
    error::SessionError,
};

fn send_times(pair: &Pair) -> Vec<u64> {
    pair.log.sent.iter().map(|(at, _)| at.duration_since(*START).as_secs()).collect()
}

fn without_answer(change: impl FnOnce(&mut Setup)) -> Pair {
    let mut pair = Setup::new(change).start();
    pair.to_server.cut = true;
    pair.run_until(secs(1000), |pair| pair.log.closed.is_some());
    pair
}

#[test]
fn a_server_that_never_answers_is_given_up_after_hand_window() {
    let pair = without_answer(|_| {});
    assert_eq!(pair.closed_after(), secs(60));
    assert_eq!(*pair.error(), SessionError::NoAnswer(secs(60)));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::NextAddress));
}

#[test]
fn connect_timeout_gives_up_sooner_and_a_gateways_own_comes_first() {
    let pair = without_answer(|setup| setup.settings.connect_timeout = secs(12));
    assert_eq!(pair.closed_after(), secs(12));
    let pair = without_answer(|setup| {
        setup.settings.connect_timeout = secs(12);
        setup.remote.connect_timeout = Some(secs(5));
    });
    assert_eq!((pair.closed_after(), pair.error()), (secs(5), &SessionError::NoAnswer(secs(5))));
}

#[test]
fn connect_timeout_ends_with_the_first_answer() {
    let mut pair = Setup::new(|setup| {
        setup.settings.connect_timeout = secs(5);
        setup.script.says = Some(Vec::new());
    })
    .start();
    pair.run(secs(50));
    assert!(pair.log.closed.is_none());
}

#[test]
fn a_server_that_falls_silent_is_given_up_after_hand_window() {
    let pair = Setup::new(|setup| {
        // It answers the reset, and nothing else.
        (setup.script.cookie, setup.script.mute) = (true, true);
        setup.settings.hand_window = secs(40);
    })
    .fails();
    let expected = SessionError::HandshakeTimeout { window: secs(40), stage: "TLS was shaking hands" };
    assert_eq!((pair.closed_after(), pair.error()), (secs(40), &expected));
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::NextAddress));
}

#[test]
fn a_server_that_never_pushes_is_asked_every_5_s_and_given_up_after_hand_window() {
    let pair = Setup::new(|setup| setup.script.says = Some(Vec::new())).fails();
    assert_eq!(pair.closed_after(), secs(60));
    let expected = SessionError::HandshakeTimeout { window: secs(60), stage: "waiting for the server's options" };
    assert_eq!(*pair.error(), expected);
    // After 1 s, as the server had been told that it need not be asked.
    assert_eq!(pair.server.control_messages, ["PUSH_REQUEST"; 12]);
}

#[test]
fn a_renegotiation_that_gets_no_answer_ends_the_session_after_hand_window() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(100)).up();
    pair.to_server.cut = true;
    pair.run(secs(200));
    let begun = pair.key_change_at("+0").duration_since(*START) + secs(100);
    assert_eq!(pair.closed_after(), begun + secs(60));
}

#[test]
fn the_same_packet_is_sent_again_after_2_4_8_and_16_s() {
    let pair = without_answer(|_| {});
    assert_eq!(send_times(&pair), [0, 2, 6, 14, 30, 46]);
    assert!(pair.log.sent.iter().all(|(_, datagram)| *datagram == pair.log.sent[0].1));
}

#[test]
fn tls_timeout_is_the_first_wait() {
    let pair = without_answer(|setup| setup.settings.tls_timeout = secs(5));
    assert_eq!(send_times(&pair), [0, 5, 15, 31, 47]);
}

#[test]
fn retransmissions_have_wrapping_ids_of_their_own() {
    for (name, ours, theirs) in wraps().into_iter().skip(1) {
        let pair = without_answer(|setup| setup.settings.control_wrap = ours);
        // It would refuse an id for the second time.
        let mut wrapper = Wrapper::new(&theirs, Role::Server, &pair.config.settings.crypto);
        let packets: Vec<ControlPacket> =
            pair.log.sent.iter().map(|(_, datagram)| wrapper.unwrap(datagram).unwrap()).collect();
        assert_eq!(packets.len(), 6, "{name}");
        assert!(packets.iter().all(|packet| *packet == packets[0]), "{name}");
    }
}

#[test]
fn early_calls_do_no_harm() {
    let mut pair = Setup::default().start();
    pair.settle();
    for _ in 0..1000 {
        adit_tunnel::Tunnel::handle_timeout(&mut pair.client, pair.now);
        pair.settle();
    }
    assert_eq!(pair.log.sent.len(), 1);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.log.ups.len(), 1);
}

#[test]
fn times_without_end_are_borne() {
    let mut pair = Setup::new(|setup| {
        let settings = &mut setup.settings;
        for time in [
            &mut settings.hand_window,
            &mut settings.tran_window,
            &mut settings.reneg_sec,
            &mut settings.connect_timeout,
            &mut settings.connect_retry,
        ] {
            *time = Duration::MAX;
        }
        settings.session_timeout = Some(Duration::MAX);
        settings.ping = Some(Duration::MAX);
        settings.inactive = Some((Duration::MAX, 1));
    })
    .up();
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
    assert_eq!(pair.server.client_messages.len(), 2);
    pair.assert_traffic_flows();
}
