//! Each mandatory payload left out in turn, of every message a gateway sends: an end with a name where we wait for it, a
//! refusal where it asks, and never a crash (CVE-2016-3071, CVE-2015-3240, CVE-2013-6467 are of this kind).

use super::{
    authentication::eap,
    mutators,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    PeerMisbehaved, SessionError,
    exchange::Wanted,
    message::numbers::{ExchangeType, NotifyType, PayloadType as P},
};

fn fails_without(setup: Setup, exchange: ExchangeType, id: u32, payload_type: P) -> Pair {
    let mut pair = setup.start();
    pair.peer.mutators.push(mutators::remove(exchange, payload_type).at(id));
    pair.ends();
    assert_eq!(pair.log.ups.len(), 0);
    assert_eq!(pair.log.keys, [], "no key was handed out");
    pair
}

#[test]
fn of_the_answer_to_ike_sa_init() {
    let cases = [
        (P::SA, PeerMisbehaved::SaMissing),
        (P::KE, PeerMisbehaved::KeMissing),
        (P::NONCE, PeerMisbehaved::NonceMissing),
    ];
    for (payload_type, error) in cases {
        let pair = fails_without(Setup::default(), ExchangeType::IKE_SA_INIT, 0, payload_type);
        assert_eq!(pair.error(), &error.into());
    }
}

#[test]
fn of_the_answer_to_ike_auth() {
    let cases: [(P, SessionError); 5] = [
        (P::IDR, PeerMisbehaved::IdMissing.into()),
        (P::AUTH, SessionError::NoProof),
        (P::SA, PeerMisbehaved::SaMissing.into()),
        (P::TSI, PeerMisbehaved::SelectorsMissing.into()),
        (P::TSR, PeerMisbehaved::SelectorsMissing.into()),
    ];
    for (payload_type, error) in cases {
        let pair = fails_without(Setup::default(), ExchangeType::IKE_AUTH, 1, payload_type);
        assert_eq!(pair.error(), &error);
    }
}

#[test]
fn of_the_answers_with_eap() {
    for payload_type in [P::IDR, P::CERT, P::AUTH, P::EAP] {
        let pair = fails_without(eap(|_| {}), ExchangeType::IKE_AUTH, 1, payload_type);
        assert!(pair.peer.heard.iter().all(|message| message.eap().is_none()), "{payload_type}: EAP data has left");
    }
    for id in [2, 3, 4] {
        let pair = fails_without(eap(|_| {}), ExchangeType::IKE_AUTH, id, P::EAP);
        assert_eq!(pair.error(), &PeerMisbehaved::EapMissing.into(), "{id}");
    }
    for payload_type in [P::AUTH, P::SA, P::TSI, P::TSR] {
        fails_without(eap(|_| {}), ExchangeType::IKE_AUTH, 5, payload_type);
    }
}

#[test]
fn of_the_answer_to_the_replacement_of_a_child() {
    let cases = [
        (P::SA, PeerMisbehaved::SaMissing),
        (P::NONCE, PeerMisbehaved::NonceMissing),
        (P::KE, PeerMisbehaved::KeMissing),
        (P::TSI, PeerMisbehaved::SelectorsMissing),
        (P::TSR, PeerMisbehaved::SelectorsMissing),
    ];
    for (payload_type, error) in cases {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutators::remove(ExchangeType::CREATE_CHILD_SA, payload_type));
        let child = pair.client_child();
        pair.client_wants(Wanted::RekeyChild(child));
        pair.run(secs(1));
        assert_eq!(pair.error(), &error.into());
        assert!(!pair.peer.sas[0].alive, "the gateway is told");
    }
}

#[test]
fn of_the_answer_to_the_replacement_of_the_ike_sa() {
    let cases = [
        (P::SA, PeerMisbehaved::SaMissing),
        (P::NONCE, PeerMisbehaved::NonceMissing),
        (P::KE, PeerMisbehaved::KeMissing),
    ];
    for (payload_type, error) in cases {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutators::remove(ExchangeType::CREATE_CHILD_SA, payload_type));
        pair.client_wants(Wanted::RekeyIke);
        pair.run(secs(1));
        assert_eq!(pair.error(), &error.into());
        assert!(!pair.peer.sas[0].alive, "the gateway is told");
    }
}

#[test]
fn of_a_request_to_replace_a_child() {
    for payload_type in [P::SA, P::NONCE, P::KE, P::TSI, P::TSR, P::NOTIFY] {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutators::remove(ExchangeType::CREATE_CHILD_SA, payload_type));
        pair.peer.rekey_child(0);
        pair.run(secs(1));
        let response = pair.response();
        assert!(response.error().is_some() && response.sa().is_none(), "{payload_type}: {response:?}");
        if payload_type == P::KE {
            assert_eq!(response.notify(NotifyType::INVALID_KE_PAYLOAD).unwrap().data, &[0, 31][..]);
        }
        pair.peer.mutators.clear();
        pair.assert_settled();
    }
}

#[test]
fn of_a_request_to_replace_the_ike_sa() {
    for payload_type in [P::SA, P::NONCE, P::KE] {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutators::remove(ExchangeType::CREATE_CHILD_SA, payload_type));
        pair.peer.rekey_ike(0);
        pair.run(secs(1));
        let response = pair.response();
        assert!(response.error().is_some() && response.sa().is_none(), "{payload_type}: {response:?}");
        pair.peer.mutators.clear();
        pair.assert_settled();
    }
}

/// Nothing at all in any message.
#[test]
fn of_everything() {
    for id in 1..=5 {
        let mut pair = eap(|_| {}).start();
        pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_AUTH, Vec::clear).at(id));
        pair.ends();
        assert_eq!(pair.log.ups.len(), 0, "{id}");
    }
    let mut pair = Setup::default().up();
    pair.peer.mutators.push(mutators::payloads(ExchangeType::CREATE_CHILD_SA, Vec::clear));
    pair.peer.rekey_child(0);
    pair.run(secs(1));
    assert!(pair.response().error().is_some());
}
