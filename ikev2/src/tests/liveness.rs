//! Whether the gateway is still there, and the NAT between still open (RFC 7296 §2.4, RFC 3948 §2.3).

use adit_tunnel::{CloseKind, Rekeys, Tunnel};

use super::{
    millis,
    pair::{Pair, Setup},
    secs,
};
use crate::config::Retransmission;
use crate::message::{
    Header, Message, Notify, Payload,
    numbers::{ExchangeType, NotifyType},
};

fn informationals(pair: &Pair) -> usize {
    pair.peer.heard.iter().filter(|message| message.header.exchange == ExchangeType::INFORMATIONAL).count()
}

fn keepalives(pair: &Pair) -> usize {
    pair.log.sent.iter().filter(|(_, _, datagram)| datagram[..] == [0xff]).count()
}

#[test]
fn silence_makes_us_ask_and_an_answer_is_enough() {
    let mut pair = Setup::default().up();
    pair.run(secs(300));
    let asked = informationals(&pair);
    assert!((8..=12).contains(&asked), "every 30 s or so: {asked}");
    assert!(pair.peer.heard.last().unwrap().payloads.is_empty());
    assert!(pair.log.closed.is_none());
    pair.assert_settled();
}

#[test]
fn packets_of_the_gateway_are_as_good_as_an_answer() {
    let mut pair = Setup::default().up();
    pair.start_traffic(secs(1));
    pair.run(secs(120));
    pair.stop_traffic();
    assert_eq!((informationals(&pair), keepalives(&pair)), (0, 0));
    pair.assert_nothing_lost();
}

#[test]
fn forged_packets_are_not() {
    let mut pair = Setup::default().up();
    let child = pair.peer.child();
    let mut forged = pair.peer.seal(child, &super::pair::numbered([10, 8, 0, 1], [10, 8, 0, 2], 0)).to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..40 {
        pair.run(secs(1));
        pair.inject("192.0.2.1:4500".parse().unwrap(), &forged);
    }
    assert_eq!(informationals(&pair), 1);
}

#[test]
fn our_own_packets_alone_do_not_show_that_the_gateway_lives() {
    let mut pair = Setup::default().up();
    pair.network.cut_down = true;
    pair.start_traffic(secs(1));
    pair.ends();
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
    assert!(pair.closed_after() < secs(60), "{:?}", pair.closed_after());
}

#[test]
fn a_gateway_that_is_gone_is_noticed() {
    let mut pair = Setup::new(|setup| setup.settings.liveness = secs(5)).up();
    pair.network.cut_up = true;
    pair.ends();
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
    assert!(pair.closed_after() < secs(31), "{:?}", pair.closed_after());
}

#[test]
fn a_nat_is_kept_open_when_nothing_else_is_sent() {
    let mut pair = Setup::new(|setup| setup.settings.liveness = secs(1000)).up();
    pair.run(secs(100));
    assert_eq!(keepalives(&pair), 5, "every 20 s");
    assert!(pair.log.sent.iter().filter(|(_, _, d)| d.len() == 1).all(|(_, path, _)| path.remote.port() == 4500));
}

#[test]
fn packets_of_ours_keep_it_open_too() {
    let mut pair = Setup::new(|setup| setup.settings.liveness = secs(1000)).up();
    pair.start_traffic(secs(3));
    pair.run(secs(100));
    assert_eq!(keepalives(&pair), 0);
}

#[test]
fn unprotected_messages_end_nothing_but_make_us_ask_once_in_a_while() {
    let mut pair = Setup::default().up();
    pair.run(secs(6));
    let sa = &pair.peer.sas[pair.peer.sa()];
    let spis = (sa.spi_i, sa.spi_r);
    for (notify, response) in
        [(NotifyType::INVALID_IKE_SPI, true), (NotifyType::INVALID_SYNTAX, true), (NotifyType::INVALID_SPI, false)]
    {
        let header = Header {
            response,
            ..Header::request(spis, ExchangeType::INFORMATIONAL, false, crate::message::MessageId(0))
        };
        let message = Message { header, payloads: vec![Payload::Notify(Notify::status(notify, ""))] };
        let datagram = [&[0; 4], &message.encode()[..]].concat();
        for _ in 0..20 {
            pair.inject("192.0.2.1:4500".parse().unwrap(), &datagram);
        }
    }
    pair.settle();
    pair.run(millis(100));
    assert!(pair.log.closed.is_none());
    assert_eq!(informationals(&pair), 1, "one question for all of them");
    pair.assert_settled();
}

#[test]
fn icmp_errors_end_nothing_but_make_us_ask_once_in_a_while() {
    let mut pair = Setup::default().up();
    pair.run(secs(6));
    for _ in 0..20 {
        pair.client.handle_unreachable(pair.now);
    }
    pair.settle();
    pair.run(millis(100));
    assert!(pair.log.closed.is_none());
    assert_eq!(informationals(&pair), 1, "one question for all of them");
    pair.assert_settled();
}

#[test]
fn a_gateway_that_icmp_says_is_gone_is_noticed_without_the_silence_before() {
    let mut pair = Setup::default().up();
    pair.run(secs(6));
    pair.network.cut_up = true;
    pair.client.handle_unreachable(pair.now);
    let (asked, settings) = (pair.now, crate::Settings::default());
    // Every try is made, as it is without a hint (RFC 7296 §2.4).
    let schedule = settings.retransmission;
    let tries: std::time::Duration = (0..schedule.tries).map(|n| (schedule.first * (1 << n)).min(schedule.limit)).sum();
    pair.ends();
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
    let took = pair.now - asked;
    assert!(took >= tries && took < tries + settings.liveness / 2, "{took:?} for tries of {tries:?}");
}

/// What nobody can have sealed is dropped before and after the session stands.
#[test]
fn garbage_is_dropped() {
    let mut pair = Setup::default().up();
    let before = pair.client.dropped_datagrams();
    let gateway = "192.0.2.1:4500".parse().unwrap();
    let garbage: [&[u8]; 6] = [&[], &[0], &[0; 3], &[0; 4], &[0; 40], &[0xff; 2000]];
    for datagram in garbage {
        pair.inject(gateway, datagram);
    }
    assert!(pair.client.dropped_datagrams() > before);
    assert!(pair.log.closed.is_none());
    pair.assert_settled();
}

#[test]
fn the_gateways_question_is_answered() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
    pair.down();
    pair.up();
    assert_eq!(pair.response().payloads, []);
}

#[test]
fn once_up_a_gateway_may_be_given_up_sooner_than_during_the_handshake() {
    let mut pair = Setup::new(|setup| {
        setup.settings.liveness = millis(500);
        let once_up = Retransmission { first: millis(300), limit: millis(300), tries: 4 };
        setup.settings.retransmission_once_up = Some(once_up);
    })
    .up();
    let before = pair.now;
    pair.network.cut_down = true;
    pair.ends();
    let took = pair.now - before;
    assert!(took > millis(1200) && took < secs(2), "{took:?}");
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);

    // The handshake is as patient as ever.
    let mut pair = Setup::new(|setup| {
        setup.settings.retransmission_once_up = Some(Retransmission { first: millis(1), limit: millis(1), tries: 1 });
    })
    .start();
    pair.network.cut_down = true;
    pair.run(secs(5));
    pair.network.cut_down = false;
    assert!(pair.run_until(secs(30), |pair| !pair.log.ups.is_empty()));
}

#[test]
fn what_was_negotiated_can_be_asked_for() {
    let mut pair = Setup::new(|setup| {
        (setup.settings.child_rekey, setup.settings.ike_rekey) = (secs(100), secs(350));
    })
    .up();
    let details = pair.client.details();
    assert_eq!((details.protocol, details.rekeys), ("ikev2", Rekeys::default()));
    assert!(details.suite.contains("IKE ") && details.suite.contains("ESP "), "{}", details.suite);
    assert!(details.peer_identity.is_some());
    assert!(details.rekey_at.is_some_and(|at| at > pair.now && at <= pair.now + secs(100)), "{details:?}");
    pair.run(secs(390));
    let rekeys = pair.client.details().rekeys;
    assert!(rekeys.data >= 3 && rekeys.control == 1, "{rekeys:?}");
    // A rekeyed child has a key exchange of its own.
    assert!(pair.client.details().suite.starts_with(&details.suite));
}
