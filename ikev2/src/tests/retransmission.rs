//! Requests are sent again, byte for byte, ever more slowly, and not for ever; answers are given again (RFC 7296 §2.1, §2.2).

use std::time::Duration;

use adit_testing::SeededRandom;
use adit_tunnel::{CloseKind, Retry};

use super::{
    millis,
    mutators::ignore_message,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    Retransmission, SessionError,
    exchange::Wanted,
    message::{Payload, numbers::ExchangeType},
};

/// When datagrams were sent, since the first, and how many different ones.
fn schedule(pair: &Pair, from: usize) -> (Vec<Duration>, usize) {
    let sent: Vec<_> = pair.log.sent[from..].iter().filter(|(_, _, datagram)| datagram.len() > 1).collect();
    let times = sent.iter().map(|(at, ..)| at.duration_since(sent[0].0)).collect();
    let mut different: Vec<_> = sent.iter().map(|(_, _, datagram)| datagram).collect();
    different.sort();
    different.dedup();
    (times, different.len())
}

fn expected() -> Vec<Duration> {
    [0, 500, 1500, 3500, 7500, 15_500].map(millis).to_vec()
}

#[test]
fn ike_sa_init_is_sent_again_and_given_up() {
    let mut pair = Setup::default().start();
    pair.network.cut_up = true;
    pair.ends();
    assert_eq!(schedule(&pair, 0), (expected(), 1));
    assert_eq!(pair.error(), &SessionError::NoAnswer { tries: 6, port: 500 });
    assert_eq!((pair.closed().kind, &pair.closed().retry), (CloseKind::TimedOut, &Retry::NextAddress));
    // The last wait is as long as the others make it: 8 s.
    assert_eq!(pair.closed_after(), millis(23_500));
}

#[test]
fn ike_auth_is_sent_again_and_given_up() {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(ignore_message(ExchangeType::IKE_AUTH));
    pair.ends();
    assert_eq!(schedule(&pair, 1), (expected(), 1));
    assert!(matches!(pair.error(), SessionError::HandshakeStalled { port: 4500, .. }), "{:?}", pair.error());
}

#[test]
fn requests_of_a_tunnel_that_stands_are_sent_again_and_given_up() {
    let mut pair = Setup::default().up();
    let before = pair.log.sent.len();
    pair.network.cut_up = true;
    pair.client_wants(Wanted::Liveness);
    pair.ends();
    let (times, different) = schedule(&pair, before);
    assert_eq!((&times[..6], different), (&expected()[..], 1));
    assert_eq!(pair.error(), &SessionError::PeerGone(6));
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
}

#[test]
fn an_answer_stops_it() {
    let mut pair = Setup::default().up();
    let before = pair.log.sent.len();
    pair.network.cut_down = true;
    pair.client_wants(Wanted::Liveness);
    pair.run(secs(1));
    pair.network.cut_down = false;
    pair.run(secs(18));
    let (times, different) = schedule(&pair, before);
    assert_eq!((times, different), (expected()[..3].to_vec(), 1));
    assert_eq!(pair.peer.repeated, 2);
}

#[test]
fn times_and_tries_are_settings() {
    let mut pair = Setup::new(|setup| {
        setup.settings.retransmission = Retransmission { first: millis(100), limit: millis(300), tries: 4 };
    })
    .start();
    pair.network.cut_up = true;
    pair.ends();
    assert_eq!(schedule(&pair, 0).0, [0, 100, 300, 600].map(millis));
}

#[test]
fn a_handshake_has_a_limit_of_its_own() {
    let mut pair = Setup::new(|setup| setup.settings.handshake_timeout = secs(3)).start();
    pair.peer.mutators.push(ignore_message(ExchangeType::IKE_AUTH));
    pair.ends();
    assert_eq!(pair.closed_after(), secs(3));
    assert!(matches!(pair.error(), SessionError::HandshakeTimeout { .. }));
}

#[test]
fn a_request_again_gets_the_same_bytes_again() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    let cookie = super::peer::status(crate::message::numbers::NotifyType::COOKIE2, &b"12345678"[..]);
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![cookie]);
    pair.down();
    let first = pair.client_says();
    for _ in 0..3 {
        pair.peer.resend(sa);
        pair.down();
        assert_eq!(pair.client_says().datagram, first.datagram);
    }
    pair.peer_hears(&first);
    assert_eq!(pair.response().payloads.len(), 1);
    // The one before it is gone, and gets nothing.
    let old = pair.peer.sas[sa].last_request.clone();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
    pair.down();
    pair.up();
    pair.peer.sas[sa].last_request = old;
    pair.peer.resend(sa);
    pair.down();
    pair.assert_client_is_silent();
}

/// Requests of the gateway begin at id 0 right after the handshake, whatever our own ids are.
#[test]
fn requests_of_the_gateway_are_answered_from_id_0_on() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    for id in 0..5 {
        assert_eq!(pair.peer.sas[sa].next_request, id);
        pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
        pair.down();
        pair.up();
        assert_eq!(pair.response().payloads, []);
    }
}

#[test]
fn requests_with_another_id_than_the_next_get_nothing() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    for id in [1, 2, 7, u32::MAX - 1] {
        pair.peer.sas[sa].next_request = id;
        pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
        pair.down();
        pair.assert_client_is_silent();
    }
    pair.peer.sas[sa].next_request = 0;
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
    pair.down();
    pair.up();
    pair.response();
}

#[test]
fn responses_nobody_waits_for_are_dropped() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    for id in [0, 1, 2, 3, 1000] {
        let this = &pair.peer.sas[sa];
        let header = crate::message::Header::request(
            (this.spi_i, this.spi_r),
            ExchangeType::INFORMATIONAL,
            true,
            crate::message::MessageId(id),
        );
        let request = crate::message::Message { header, payloads: vec![] };
        let incoming = super::peer::Incoming { sa, message: request };
        let payload = Payload::Delete(crate::message::Delete::Ike);
        pair.peer.respond(&incoming, vec![payload]);
        pair.down();
        pair.assert_client_is_silent();
    }
    assert!(pair.log.closed.is_none());
    pair.client_wants(Wanted::Liveness);
    pair.up();
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn a_tunnel_comes_up_and_is_rekeyed_over_a_bad_network() {
    for seed in 1..=8 {
        let mut pair = Setup::new(|setup| {
            setup.seed = seed;
            setup.settings.child_rekey = secs(20);
            setup.settings.ike_rekey = secs(50);
            setup.settings.handshake_timeout = secs(60);
            setup.settings.retransmission.tries = 12;
        })
        .start();
        pair.network.loss = Some((25, millis(80), SeededRandom::new(seed)));
        pair.come_up();
        pair.run(secs(200));
        assert!(pair.log.closed.is_none(), "seed {seed}: {:?}", pair.log.closed);
        assert!(pair.peer.sas.len() > 2 && pair.peer.children.len() > 5, "seed {seed}");
        pair.network.loss = None;
        pair.run(secs(10));
        pair.assert_traffic_flows();
    }
}
