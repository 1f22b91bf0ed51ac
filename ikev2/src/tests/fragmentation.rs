//! Messages in fragments, ours and theirs (RFC 7383).

use bytes::Bytes;

use super::{
    pair::{Pair, Setup},
    peer::status,
};
use crate::message::{
    Header,
    numbers::{ExchangeType, NotifyType},
};

/// IKE_AUTH datagrams of the client, without marker.
fn auth_datagrams(pair: &Pair) -> Vec<Bytes> {
    let ike = pair.log.sent.iter().filter(|(_, path, _)| path.remote.port() == 4500).map(|(_, _, d)| d.slice(4..));
    ike.filter(|datagram| Header::peek(datagram).unwrap().exchange == ExchangeType::IKE_AUTH).collect()
}

#[test]
fn our_long_messages_are_cut_to_the_size_wanted() {
    for size in [296, 400, 576, 1280] {
        let mut pair = Setup::new(|setup| setup.settings.fragment_size = size).up();
        let datagrams = auth_datagrams(&pair);
        // 20 + 8 bytes of IPv4 and UDP, and the marker of 4.
        assert!(datagrams.iter().all(|datagram| datagram.len() + 32 <= usize::from(size)), "{size}");
        assert_eq!(datagrams.len() > 1, size < 500, "{size}: {}", datagrams.len());
        pair.assert_settled();
    }
}

#[test]
fn a_gateway_that_does_not_know_fragments_gets_none() {
    let pair = Setup::new(|setup| {
        setup.settings.fragment_size = 296;
        setup.script.fragment_size = None;
    })
    .up();
    assert_eq!(auth_datagrams(&pair).len(), 1);
}

#[test]
fn fragmentation_can_be_switched_off() {
    let pair = Setup::new(|setup| {
        setup.settings.fragment_size = 296;
        setup.settings.fragmentation = false;
    })
    .up();
    assert_eq!(auth_datagrams(&pair).len(), 1);
    let init = &pair.peer.heard[0];
    assert!(init.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_none());
}

#[test]
fn every_fragment_is_sent_again() {
    let mut pair = Setup::new(|setup| setup.settings.fragment_size = 296).start();
    pair.peer.mutators.push(super::mutators::ignore_message(ExchangeType::IKE_AUTH));
    pair.run(super::secs(1));
    let datagrams = auth_datagrams(&pair);
    let (first, again) = datagrams.split_at(datagrams.len() / 2);
    assert!(first.len() > 1);
    assert_eq!(first, again);
}

/// The gateway's answers in pieces, in any order, more than once.
#[test]
fn fragments_of_the_gateway_are_put_together_in_any_order() {
    for reversed in [false, true] {
        let mut pair = Setup::new(|setup| {
            setup.script.fragment_size = Some(150);
            setup.script.last_auth = vec![status(NotifyType(40_000), vec![7; 1000])];
        })
        .start();
        pair.take_over();
        pair.up();
        pair.down();
        pair.up();
        let mut fragments: Vec<_> = pair.peer.out.drain(..).collect();
        assert!(fragments.len() > 8, "{}", fragments.len());
        if reversed {
            fragments.reverse();
        }
        for fragment in fragments {
            for _ in 0..2 {
                pair.inject(fragment.from, &fragment.datagram);
            }
        }
        assert_eq!(pair.log.ups.len(), 1);
        pair.assert_settled();
    }
}

#[test]
fn a_missing_fragment_comes_with_the_next_try() {
    let mut pair = Setup::new(|setup| setup.script.fragment_size = Some(120)).start();
    pair.take_over();
    pair.up();
    pair.down();
    pair.up();
    let fragments: Vec<_> = pair.peer.out.drain(..).collect();
    for fragment in fragments.iter().skip(1) {
        pair.inject(fragment.from, &fragment.datagram);
    }
    assert_eq!(pair.log.ups.len(), 0);
    pair.wait(super::millis(600));
    pair.up();
    assert_eq!(pair.peer.repeated, 1);
    let again: Vec<_> = pair.peer.out.drain(..).collect();
    pair.inject(again[0].from, &again[0].datagram);
    assert_eq!(pair.log.ups.len(), 1);
    pair.assert_settled();
}

/// The datagrams of a long request of the gateway.
fn request_in_fragments(pair: &mut Pair) -> Vec<Bytes> {
    let sa = pair.peer.sa();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![status(NotifyType(40_000), vec![7; 600])]);
    pair.peer.out.drain(..).map(|outgoing| outgoing.datagram).collect()
}

/// What the client says to each datagram.
fn answers(pair: &mut Pair, datagrams: &[Bytes]) -> Vec<Vec<Bytes>> {
    let mut answer = |datagram| {
        pair.inject("192.0.2.1:4500".parse().unwrap(), datagram);
        pair.client_sent.drain(..).map(|said| said.datagram).collect()
    };
    datagrams.iter().map(|datagram| answer(datagram)).collect()
}

#[test]
fn requests_of_the_gateway_may_come_in_fragments_and_again() {
    for reversed in [false, true] {
        let mut pair = Setup::new(|setup| setup.script.fragment_size = Some(150)).up().all_by_hand();
        let mut fragments = request_in_fragments(&mut pair);
        assert!(fragments.len() > 4);
        let first = fragments[0].clone();
        if reversed {
            fragments.reverse();
        }
        let answer = answers(&mut pair, &fragments).concat();
        assert_eq!(answer.len(), 1);
        // All of them again: the same answer, to the first fragment alone (§2.6.1).
        for (fragment, again) in fragments.iter().zip(answers(&mut pair, &fragments)) {
            assert_eq!(again, if *fragment == first { answer.clone() } else { vec![] });
        }
        let seen_as = pair.seen_as;
        pair.peer.handle(seen_as, "192.0.2.1:4500".parse().unwrap(), &answer[0]);
        pair.response();
        pair.peer.script.fragment_size = Some(1200);
        pair.assert_settled();
    }
}

/// Its retransmission may be in smaller fragments (§2.5.2): answered again, to the first one alone, and only if it is authentic.
#[test]
fn a_request_cut_anew_is_answered_again() {
    for before in [None, Some(300)] {
        let mut pair = Setup::new(|setup| setup.script.fragment_size = before.or(Some(1200))).up().all_by_hand();
        let fragments = request_in_fragments(&mut pair);
        let answer = answers(&mut pair, &fragments).concat();
        assert_eq!(answer.len(), 1);
        pair.peer.script.fragment_size = Some(150);
        let sa = pair.peer.sa();
        pair.peer.sas[sa].next_request -= 1;
        let smaller = request_in_fragments(&mut pair);
        assert!(smaller.len() > fragments.len());
        let mut forged = smaller[0].to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(answers(&mut pair, &[forged.into()]).concat().len(), 0);
        for (number, again) in answers(&mut pair, &smaller).into_iter().enumerate() {
            assert_eq!(again, if number == 0 { answer.clone() } else { vec![] }, "{number}");
        }
    }
}

#[test]
fn forged_fragments_between_the_true_ones_change_nothing() {
    let mut pair = Setup::new(|setup| setup.script.fragment_size = Some(120)).start();
    pair.take_over();
    pair.up();
    pair.down();
    pair.up();
    let fragments: Vec<_> = pair.peer.out.drain(..).collect();
    for fragment in &fragments {
        let mut forged = fragment.datagram.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        pair.inject(fragment.from, &forged);
        pair.inject(fragment.from, &fragment.datagram);
    }
    assert_eq!(pair.log.ups.len(), 1);
}
