//! Every answer of the handshake, changed in every way of [`super::mutators`]: what RFC 7296 wants ignored is ignored, and
//! nothing else brings a tunnel up.

use adit_tunnel::CloseKind;
use bytes::Bytes;

use super::{
    mutators::{self, Mutator},
    pair::{Pair, Setup},
    secs,
};
use crate::message::{
    Transform,
    numbers::{DhGroup, EncryptionId, ExchangeType, NotifyType, PayloadType, TransformType},
};

pub(super) const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
pub(super) const AUTH: ExchangeType = ExchangeType::IKE_AUTH;

/// The tunnel comes up all the same.
pub(super) fn comes_up_with(mutator: Mutator) -> Pair {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(mutator);
    pair.come_up();
    pair.peer.mutators.clear();
    pair.assert_settled();
    pair
}

/// No tunnel comes up, and no key is handed out.
pub(super) fn fails_with(mutator: Mutator) -> Pair {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(mutator);
    pair.ends();
    assert_eq!((pair.log.ups.len(), pair.log.keys.len()), (0, 0));
    pair
}

#[test]
fn what_must_be_ignored_is() {
    for exchange in [INIT, AUTH] {
        comes_up_with(mutators::add_notify(exchange, 65_535, b"?"));
        comes_up_with(mutators::add_notify(exchange, 40_000, &[]));
        for payload_type in [1, 13, 32, 49, 127, 255] {
            comes_up_with(mutators::add_payload(exchange, payload_type, false));
        }
        comes_up_with(mutators::set_critical(exchange));
        comes_up_with(mutators::set_reserved(exchange));
        comes_up_with(mutators::set_reserved_flags(exchange));
        comes_up_with(mutators::set_ike_version(exchange, 0x21));
        comes_up_with(mutators::set_ike_version(exchange, 0x2f));
        comes_up_with(mutators::unsort_message(exchange));
    }
}

/// Of 100 payloads that nobody knows (CVE-2026-12413).
#[test]
fn a_hundred_unknown_payloads_do_no_harm() {
    for exchange in [INIT, AUTH] {
        let mut pair = Setup::default().start();
        for _ in 0..120 {
            pair.peer.mutators.push(mutators::add_payload(exchange, 200, false));
        }
        pair.come_up();
    }
}

#[test]
fn nothing_else_brings_a_tunnel_up() {
    for exchange in [INIT, AUTH] {
        fails_with(mutators::ignore_message(exchange));
        fails_with(mutators::add_notify(exchange, 16_383, &[]));
        for payload_type in [1, 32, 49, 255] {
            fails_with(mutators::add_payload(exchange, payload_type, true));
        }
        for payload_type in [46, 53] {
            fails_with(mutators::add_payload(exchange, payload_type, false));
        }
        for version in [0x10, 0x30, 0xf0, 0x00] {
            fails_with(mutators::set_ike_version(exchange, version));
        }
        fails_with(mutators::set_ike_initiator(exchange));
        fails_with(mutators::set_ike_request(exchange));
        fails_with(mutators::set_ike_spi(exchange, false, 7));
        fails_with(mutators::set_ike_spi(exchange, true, 0));
        for change in [1, -1, 4, -4, 1000, -1000] {
            fails_with(mutators::set_length(exchange, change));
        }
        for number in [0, 9, 255] {
            fails_with(mutators::set_proposal_number(exchange, number));
        }
        fails_with(mutators::datagram(exchange, |datagram| datagram.truncate(datagram.len() - 1)));
        fails_with(mutators::datagram(exchange, |datagram| datagram.push(0)));
        fails_with(mutators::datagram(exchange, |datagram| datagram.truncate(28)));
        fails_with(mutators::datagram(exchange, |datagram| datagram.truncate(27)));
        fails_with(mutators::datagram(exchange, Vec::clear));
    }
    // Another SPI in the answer to IKE_SA_INIT than the peer's own: its keys are others.
    fails_with(mutators::set_ike_spi(INIT, true, 7));
}

#[test]
fn any_single_wrong_byte_of_a_protected_answer_is_fatal_to_it() {
    let length = {
        let mut pair = Setup::default().start();
        pair.take_over();
        pair.up();
        pair.down();
        pair.up();
        pair.peer_says().datagram.len() - 4
    };
    for at in (0..length).step_by(7) {
        let mut pair = Setup::default().start();
        pair.peer.mutators.push(mutators::datagram(AUTH, move |datagram| datagram[at] ^= 0x80));
        pair.run(secs(2));
        assert_eq!((pair.log.ups.len(), pair.log.keys.len()), (0, 0), "{at}");
        // The true one comes with the next try, unless the first one ended it.
        assert!(pair.log.closed.is_none(), "{at}: {:?}", pair.log.closed);
    }
}

#[test]
fn contents_that_are_no_payloads_end_the_handshake() {
    for bytes in [&[][..], &[0], &[0, 0, 0, 4], &[33, 0, 0, 4], &[0; 100], &[0xff; 100], &[39, 0, 0xff, 0xff, 1]] {
        for first in [33, 36, 39, 41, 43, 48, 0, 255] {
            fails_with(mutators::ike_auth_fill(PayloadType(first), Box::leak(bytes.to_vec().into_boxed_slice())));
        }
    }
}

#[test]
fn only_one_of_our_own_proposals_is_an_answer() {
    fn refused(exchange: ExchangeType, edit: impl Fn(&mut Vec<crate::message::Proposal>) + 'static) {
        let pair = fails_with(mutators::custom_proposal(exchange, edit));
        // One that cannot even be decoded is as good as none.
        let kind = pair.closed().kind;
        assert!(matches!(kind, CloseKind::PeerMisbehaved | CloseKind::TimedOut), "{:?}", pair.error());
    }
    for exchange in [INIT, AUTH] {
        refused(exchange, |proposals| proposals.push(proposals[0].clone()));
        refused(exchange, |proposals| {
            proposals[0].transforms.remove(0);
        });
        refused(exchange, |proposals| {
            let twice = proposals[0].transforms[0];
            proposals[0].transforms.push(twice);
        });
        refused(exchange, |proposals| proposals[0].transforms.clear());
        refused(exchange, |proposals| proposals[0].transforms[0].key_bits = Some(64));
        refused(exchange, |proposals| proposals[0].transforms[0].key_bits = None);
        refused(exchange, |proposals| proposals[0].transforms[0].id = EncryptionId::NULL.0);
        refused(exchange, |proposals| proposals[0].transforms[0].id = 1025);
        refused(exchange, |proposals| proposals[0].transforms.push(Transform::new(TransformType(9), 1)));
    }
    refused(AUTH, |proposals| {
        proposals[0].transforms.push(Transform::new(TransformType::KE, DhGroup::CURVE25519.0));
    });
    for spi in [0u32, 1, 255] {
        refused(AUTH, move |proposals| proposals[0].spi = Bytes::copy_from_slice(&spi.to_be_bytes()));
    }
}

#[test]
fn public_values_of_any_other_length_or_group_are_refused() {
    for edit in [
        |ke: &mut crate::message::KeyExchange| ke.public = ke.public.slice(1..),
        |ke: &mut crate::message::KeyExchange| ke.public = [&ke.public[..], &[0]].concat().into(),
        |ke: &mut crate::message::KeyExchange| ke.public = Bytes::new(),
        |ke: &mut crate::message::KeyExchange| ke.public = vec![0; ke.public.len()].into(),
        |ke: &mut crate::message::KeyExchange| ke.group = DhGroup(1025),
        |ke: &mut crate::message::KeyExchange| ke.group = DhGroup::ECP_256,
    ] {
        fails_with(mutators::payloads(INIT, move |payloads| {
            for payload in payloads {
                if let crate::message::Payload::Ke(ke) = payload {
                    edit(ke);
                }
            }
        }));
    }
}

#[test]
fn an_error_that_anybody_could_have_sent_does_not_stop_the_true_answer() {
    for notify in [NotifyType::INVALID_SYNTAX, NotifyType::NO_PROPOSAL_CHOSEN, NotifyType::AUTHENTICATION_FAILED] {
        comes_up_with(mutators::unencrypted_notify(INIT, notify));
        comes_up_with(mutators::unencrypted_notify(AUTH, notify));
    }
}

#[test]
fn a_gateway_behind_a_nat_is_no_different() {
    let mut pair = Setup::new(|setup| setup.script.fake_nat = true).up();
    pair.assert_settled();
}

#[test]
fn packets_with_numbers_that_were_seen_are_refused() {
    let mut pair = Setup::default().up();
    let packet = super::pair::numbered([10, 8, 0, 1], [10, 8, 0, 2], 5);
    for expected in [1, 1, 2] {
        let child = pair.peer.child();
        let datagram = pair.peer.seal(child, &packet);
        pair.inject("192.0.2.1:4500".parse().unwrap(), &datagram);
        assert_eq!(pair.log.opened.len(), expected);
        if expected == 1 && pair.log.unopened == 0 {
            pair.peer.reset_seq(child);
        }
    }
    assert_eq!(pair.log.unopened, 1);
}
