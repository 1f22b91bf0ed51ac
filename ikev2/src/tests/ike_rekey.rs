//! The IKE SA replaced by either end, and by both at once (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).

use adit_tunnel::{CloseKind, Rekeys, Tunnel};
use bytes::Bytes;

use super::{
    pair::{Pair, Setup},
    peer::{IkeRequest, status},
    secs,
};
use crate::{
    exchange::Wanted,
    message::{Delete, Payload, numbers::NotifyType},
};

fn pair() -> Pair {
    Setup::default().up().all_by_hand()
}

const LOW: Bytes = Bytes::from_static(&[0; 32]);
const HIGH: Bytes = Bytes::from_static(&[0xff; 32]);

/// The peer's answer to the client's rekeying has arrived, and so has its deletion of `sa`.
fn peer_deletes_ike(pair: &mut Pair, sa: usize) {
    pair.peer.delete_ike(sa);
    pair.down();
    pair.up_one();
    assert_eq!(pair.response().payloads, [], "an empty answer");
    pair.peer.sas[sa].alive = false;
}

/// Requests of both ends work on the IKE SA in use.
fn assert_ike_works(pair: &mut Pair) {
    let sa = pair.peer.sa();
    let before = pair.peer.sas[sa].expected;
    pair.client_wants(Wanted::Liveness);
    pair.up();
    assert_eq!(pair.peer.sas[sa].expected, before + 1, "it is in use");
    pair.peer_answers();
    pair.down();
    pair.peer.request(sa, crate::message::numbers::ExchangeType::INFORMATIONAL, vec![]);
    pair.down();
    pair.up();
    pair.response();
    pair.assert_traffic_flows();
}

#[test]
fn regular_the_client_replaces_the_ike_sa_and_deletes_the_old_one() {
    let mut pair = pair();
    for _ in 0..3 {
        let old = pair.peer.sa();
        pair.client_wants(Wanted::RekeyIke);
        pair.client_exchange();
        assert_eq!(pair.peer.sas.len(), old + 2);
        pair.up();
        assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Ike)]);
        pair.peer_answers();
        assert!(!pair.peer.sas[old].alive);
        pair.down();
        assert_eq!(pair.peer.sas[old + 1].expected, 0, "ids start anew");
        assert_ike_works(&mut pair);
    }
    pair.assert_settled();
}

#[test]
fn regular_the_peer_replaces_the_ike_sa_and_deletes_the_old_one() {
    let mut pair = pair();
    for _ in 0..3 {
        let old = pair.peer.sa();
        let request = pair.peer.rekey_ike(old);
        pair.down();
        pair.up();
        pair.peer.ike_rekeyed(request);
        peer_deletes_ike(&mut pair, old);
        assert_ike_works(&mut pair);
    }
    pair.assert_settled();
}

#[test]
fn roles_follow_whoever_started_the_last_rekeying() {
    // The peer's assertion on the I flag, and its keys, check the rest.
    let mut pair = pair();
    let old = pair.peer.sa();
    let request = pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    pair.peer.ike_rekeyed(request);
    peer_deletes_ike(&mut pair, old);
    pair.client_rekeys_child();
    pair.client_exchange();
    pair.client_exchange();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_exchange();
    pair.client_exchange();
    pair.client_rekeys_child();
    pair.client_exchange();
    pair.client_exchange();
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

#[test]
fn children_made_before_outlive_the_old_ike_sa_and_are_replaced_on_the_new_one() {
    let mut pair = pair();
    let child = pair.peer.child();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_exchange();
    pair.client_exchange();
    let request = pair.peer.rekey_child(child);
    pair.down();
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.peer_deletes(child);
    pair.assert_settled();
}

#[test]
fn regular_ke_invalid_the_peer_is_told_the_group_of_the_suite() {
    let mut pair = Setup::new(|setup| {
        setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap();
    })
    .up()
    .all_by_hand();
    let sa = pair.peer.sa();
    // The peer sends KE for a group that we do not have, and offers one we have.
    pair.peer.mutators.push(super::mutators::payloads(
        crate::message::numbers::ExchangeType::CREATE_CHILD_SA,
        |payloads| {
            for payload in payloads {
                if let Payload::Ke(ke) = payload {
                    ke.group = crate::message::numbers::DhGroup::ECP_384;
                }
            }
        },
    ));
    pair.peer.rekey_ike(sa);
    pair.down();
    pair.up();
    assert_eq!(pair.response().notify(NotifyType::INVALID_KE_PAYLOAD).unwrap().data, &[0, 31][..]);
    pair.peer.mutators.clear();
    let request = pair.peer.rekey_ike(sa);
    pair.down();
    pair.up();
    pair.peer.ike_rekeyed(request);
    peer_deletes_ike(&mut pair, sa);
    pair.assert_settled();
}

/// Both requests are under way.
fn crossing(pair: &mut Pair, nonce: &Bytes) -> (super::pair::Travelling, super::pair::Travelling, IkeRequest) {
    let old = pair.peer.sa();
    pair.client_wants(Wanted::RekeyIke);
    let ours = pair.client_says();
    pair.peer.nonces.push_back(nonce.clone());
    let request = pair.peer.rekey_ike(old);
    let theirs = pair.peer_says();
    (ours, theirs, request)
}

#[test]
fn collision_that_the_client_loses() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let (ours, theirs, request) = crossing(&mut pair, &HIGH);
    pair.peer.nonces.push_back(LOW);
    pair.peer_hears(&ours);
    pair.peer_answers();
    let of_client = pair.peer.sas.len() - 1;
    let response = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.ike_rekeyed(request);
    pair.client_hears(&response);
    // The client deletes what it made.
    pair.up();
    assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Ike)]);
    pair.peer_answers();
    assert!(!pair.peer.sas[of_client].alive);
    pair.down();
    peer_deletes_ike(&mut pair, old);
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

#[test]
fn collision_that_the_peer_loses() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let (ours, theirs, request) = crossing(&mut pair, &LOW);
    pair.peer.nonces.push_back(HIGH);
    pair.peer_hears(&ours);
    pair.peer_answers();
    let of_client = pair.peer.sas.len() - 1;
    let response = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    let of_peer = pair.peer.ike_rekeyed(request);
    pair.client_hears(&response);
    pair.up();
    pair.peer_answers();
    assert!(!pair.peer.sas[old].alive, "the client deletes the old one");
    pair.down();
    peer_deletes_ike(&mut pair, of_peer);
    assert_eq!(pair.peer.sa(), of_client);
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

#[test]
fn collision_delayed_response_that_the_client_loses() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let (ours, theirs, request) = crossing(&mut pair, &HIGH);
    pair.peer.nonces.push_back(LOW);
    pair.peer_hears(&ours);
    pair.peer_answers();
    let of_client = pair.peer.sas.len() - 1;
    let delayed = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.ike_rekeyed(request);
    // "reply as usual, and forget about its own rekeying" (§2.25.2): nobody needs what it made.
    peer_deletes_ike(&mut pair, old);
    pair.peer.sas[of_client].alive = false;
    pair.client_hears(&delayed);
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

#[test]
fn collision_delayed_response_that_the_peer_loses() {
    let mut pair = pair();
    let (ours, theirs, request) = crossing(&mut pair, &LOW);
    pair.peer.nonces.push_back(HIGH);
    pair.peer_hears(&ours);
    pair.peer_answers();
    let of_client = pair.peer.sas.len() - 1;
    let delayed = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    let of_peer = pair.peer.ike_rekeyed(request);
    // It knows that its own is redundant before we do.
    peer_deletes_ike(&mut pair, of_peer);
    pair.client_hears(&delayed);
    pair.up();
    pair.peer_answers();
    pair.down();
    assert_eq!(pair.peer.sa(), of_client);
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

/// The peer has finished its own rekeying when the client's request arrives.
#[test]
fn collision_delayed_request() {
    for deleted_first in [false, true] {
        let mut pair = pair();
        let old = pair.peer.sa();
        let (ours, theirs, request) = crossing(&mut pair, &HIGH);
        pair.client_hears(&theirs);
        pair.up();
        pair.peer.ike_rekeyed(request);
        if deleted_first {
            peer_deletes_ike(&mut pair, old);
        } else {
            pair.peer_hears(&ours);
            pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
            pair.down();
            pair.assert_client_is_silent();
            peer_deletes_ike(&mut pair, old);
        }
        assert_ike_works(&mut pair);
        pair.assert_settled();
    }
}

#[test]
fn collision_delayed_request_and_delete() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let (ours, theirs, request) = crossing(&mut pair, &HIGH);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.ike_rekeyed(request);
    pair.peer.delete_ike(old);
    let delete = pair.peer_says();
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    let refusal = pair.peer_says();
    pair.client_hears(&delete);
    pair.up();
    pair.response();
    pair.peer.sas[old].alive = false;
    pair.client_hears(&refusal);
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

#[test]
fn collision_dropped_request() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let (_, theirs, request) = crossing(&mut pair, &HIGH);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.ike_rekeyed(request);
    peer_deletes_ike(&mut pair, old);
    pair.wait(secs(2));
    pair.assert_client_is_silent();
    assert_ike_works(&mut pair);
    pair.assert_settled();
}

/// The peer closes the IKE SA that we are rekeying.
#[test]
fn collision_delete() {
    let mut pair = pair();
    let sa = pair.peer.sa();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_says();
    peer_deletes_ike(&mut pair, sa);
    assert_eq!(pair.closed().kind, CloseKind::PeerClosed);
}

/// The client closes the IKE SA that the peer is rekeying.
#[test]
fn a_rekeying_of_the_peer_while_the_client_closes_is_put_off() {
    let mut pair = pair();
    let sa = pair.peer.sa();
    pair.close();
    let delete = pair.client_says();
    pair.peer.rekey_ike(sa);
    pair.down();
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some());
    pair.peer_hears(&delete);
    pair.peer_answers();
    pair.down();
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

#[test]
fn a_second_rekeying_of_the_peer_waits_for_the_first() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let request = pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    pair.peer.ike_rekeyed(request);
    pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some());
    peer_deletes_ike(&mut pair, old);
    pair.assert_settled();
}

#[test]
fn an_ike_sa_that_the_peer_made_and_forgot_does_not_stay() {
    let mut pair = pair();
    let old = pair.peer.sa();
    pair.peer.rekey_ike(old);
    pair.down();
    // Our answer never arrives, nor anything on the new one.
    pair.client_says();
    pair.peer.script.auto = true;
    pair.by_hand = false;
    pair.run(secs(200));
    assert_eq!(pair.client.established().unwrap().sas.len(), 1);
    pair.assert_settled();
}

#[test]
fn the_old_ike_sa_that_the_peer_never_deletes_does_not_stay() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let request = pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    let new = pair.peer.ike_rekeyed(request);
    // It is used, so we may, too.
    pair.peer.request(new, crate::message::numbers::ExchangeType::INFORMATIONAL, vec![]);
    pair.down();
    pair.up();
    pair.response();
    pair.peer.sas[old].alive = false;
    assert_ike_works(&mut pair);
    pair.peer.script.auto = true;
    pair.by_hand = false;
    pair.run(secs(200));
    pair.assert_settled();
}

#[test]
fn a_refused_rekeying_leads_to_a_new_handshake() {
    let mut pair = pair();
    pair.client_wants(Wanted::RekeyIke);
    pair.up();
    pair.peer_refuses(NotifyType::NO_PROPOSAL_CHOSEN);
    pair.down();
    pair.assert_settled();
    assert_eq!(pair.peer.inits.len(), 2);
    assert_eq!(pair.peer.sas.len(), 2);
    let details = pair.client.details();
    // What the new handshake made is the rekeying that was wanted.
    assert_eq!((details.rekeys.control, details.failed_rekeys), (1, Rekeys { data: 0, control: 1 }));
}

#[test]
fn what_is_put_off_has_not_failed_and_what_the_session_ends_in_has() {
    let mut pair = pair();
    pair.client_wants(Wanted::RekeyIke);
    pair.up();
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    pair.down();
    assert_eq!(pair.client.details().failed_rekeys, Rekeys::default());
    // It is asked again, and nobody answers any more.
    pair.network.cut_down = true;
    pair.ends();
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
    assert_eq!(pair.client.details().failed_rekeys, Rekeys { data: 0, control: 1 });
}

#[test]
fn the_unanswered_deletion_of_an_old_ike_sa_ends_nothing() {
    let mut pair = pair();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_exchange();
    pair.client_says();
    // It does not know the old one any more.
    let old = pair.peer.sa() - 1;
    (pair.peer.sas[old].spi_r.0, pair.peer.sas[old].alive) = (1, false);
    pair.peer.script.auto = true;
    pair.by_hand = false;
    pair.run(secs(60));
    pair.assert_settled();
}

/// It wants another group now that it has taken before, as after a change of its configuration.
#[test]
fn a_gateway_that_wants_another_group_gets_it_if_it_was_offered() {
    let ask = |pair: &mut Pair, group: u16| {
        let incoming = pair.peer.inbox.pop_front().unwrap();
        let answer = status(NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes().to_vec());
        pair.peer.respond(&incoming, vec![answer]);
        pair.down();
    };
    let start = || {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256-ecp384".parse().unwrap();
        })
        .up()
        .all_by_hand();
        pair.client_wants(Wanted::RekeyIke);
        pair.up();
        pair
    };
    let mut pair = start();
    ask(&mut pair, 19);
    pair.peer.script.ike = "aes256gcm16-prfsha256-ecp256".parse().unwrap();
    pair.client_exchange();
    assert_eq!(pair.peer.sas[1].suite.group, crate::message::numbers::DhGroup::ECP_256);
    pair.assert_settled();
    // Not offered, the one it was given, and another one again: a new handshake.
    for groups in [&[14][..], &[31], &[19, 20], &[19, 31]] {
        let mut pair = start();
        for (place, group) in groups.iter().enumerate() {
            if place > 0 {
                pair.up();
            }
            ask(&mut pair, *group);
        }
        pair.wait(super::millis(1));
        pair.up_one();
        assert_eq!(pair.peer.inits.len(), 2, "{groups:?}");
    }
}
