//! Children and IKE SAs deleted by either end, and by both at once (RFC 7296 §1.4.1, §2.25).

use adit_tunnel::CloseKind;

use super::{
    pair::{Pair, Setup},
    peer::status,
    secs,
};
use crate::{
    SessionError,
    exchange::Wanted,
    message::{
        Delete, Payload,
        numbers::{ExchangeType, NotifyType},
    },
};

fn pair() -> Pair {
    Setup::default().up().all_by_hand()
}

#[test]
fn child_delete_regular_makes_the_client_ask_for_another() {
    let mut pair = pair();
    let old = pair.peer.child();
    assert!(pair.peer_deletes(old));
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert_eq!(request.header.exchange, ExchangeType::CREATE_CHILD_SA);
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn the_child_after_a_deletion_keeps_our_address() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.peer_deletes(old);
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert_eq!(request.ts_i().unwrap(), [crate::selectors::host(super::peer::CLIENT.into())]);
    assert!(request.cp().is_none());
}

#[test]
fn a_gateway_that_closes_every_child_is_left() {
    let mut pair = pair();
    for _ in 0..4 {
        let child = pair.peer.child();
        pair.peer_deletes(child);
        if pair.log.closed.is_some() {
            break;
        }
        pair.up();
        pair.peer_answers();
        pair.down();
    }
    assert_eq!(pair.closed().kind, CloseKind::PeerMisbehaved);
}

#[test]
fn child_delete_of_one_we_do_not_have_is_answered_with_nothing() {
    let mut pair = pair();
    let sa = pair.peer.sa();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::Esp(vec![0x0102_0304, 7]))]);
    pair.down();
    pair.up();
    assert_eq!(pair.response().payloads, []);
    pair.assert_settled();
}

/// Both delete the same child.
#[test]
fn child_delete_collision() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_answers();
    pair.down();
    let old = pair.peer.live_children()[0];
    let ours = pair.client_says();
    pair.peer.delete_child(old);
    let theirs = pair.peer_says();
    pair.client_hears(&theirs);
    pair.peer_hears(&ours);
    assert!(!pair.delete_answered(old), "not mentioned in our answer, for we delete it ourselves");
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

/// The client replaces a child while the peer deletes another one of the two: see `child_rekey`.
#[test]
fn child_delete_of_a_child_that_waits_leaves_the_one_in_use() {
    let mut pair = pair();
    let old = pair.peer.child();
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    let new = pair.peer.child_rekeyed(request);
    assert!(pair.peer_deletes(new));
    pair.assert_traffic_flows();
    pair.assert_settled();
}

#[test]
fn ike_delete_regular_is_answered_and_ends_the_session() {
    let mut pair = pair();
    let sa = pair.peer.sa();
    pair.peer.delete_ike(sa);
    pair.down();
    pair.up();
    assert_eq!(pair.response().payloads, []);
    assert_eq!(pair.closed().kind, CloseKind::PeerClosed);
    assert_eq!(pair.error(), &SessionError::Deleted);
}

#[test]
fn ike_delete_by_the_client_waits_for_the_answer() {
    let mut pair = pair();
    pair.close();
    assert!(pair.log.closed.is_none());
    pair.up();
    assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Ike)]);
    pair.peer_answers();
    pair.down();
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

#[test]
fn ike_delete_by_the_client_does_not_wait_for_ever() {
    let mut pair = pair();
    pair.close();
    let begin = pair.now;
    pair.wait(secs(10));
    assert_eq!(pair.closed().kind, CloseKind::Local);
    assert!(pair.log.closed.as_ref().unwrap().0 - begin <= secs(3));
    assert!(pair.client_sent.len() > 1, "asked again");
    assert!(pair.client_sent.iter().all(|said| said.datagram == pair.client_sent[0].datagram));
}

#[test]
fn ike_delete_collision() {
    let mut pair = pair();
    let sa = pair.peer.sa();
    pair.close();
    let ours = pair.client_says();
    pair.peer.delete_ike(sa);
    pair.down();
    pair.up_one();
    assert_eq!(pair.response().payloads, [], "an empty answer (§1.4.1)");
    if pair.log.closed.is_none() {
        pair.peer_hears(&ours);
        pair.peer_answers();
        pair.down();
    }
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

#[test]
fn closing_while_a_request_is_in_flight_waits_for_its_answer_first() {
    let mut pair = pair();
    pair.client_wants(Wanted::Liveness);
    pair.close();
    pair.up();
    pair.peer_answers();
    pair.down();
    pair.up();
    assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Ike)]);
    pair.peer_answers();
    pair.down();
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

#[test]
fn closing_while_a_child_is_being_replaced_ends_cleanly() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.close();
    pair.up();
    pair.peer_answers();
    pair.down();
    pair.wait(secs(10));
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

#[test]
fn the_answer_to_a_deletion_is_given_again() {
    let mut pair = pair();
    let old = pair.peer.sa();
    let request = pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    pair.peer.ike_rekeyed(request);
    pair.peer.delete_ike(old);
    pair.down();
    let lost = pair.client_says();
    pair.wait(secs(10));
    pair.peer.resend(old);
    pair.down();
    let again = pair.client_says();
    assert_eq!(again.datagram, lost.datagram);
    pair.peer_hears(&again);
    pair.response();
    pair.peer.sas[old].alive = false;
    pair.assert_settled();
}

/// A gateway that lost the child without a word, as after a restart of its kernel's part (RFC 7296 §1.5).
#[test]
fn invalid_spi_makes_the_client_ask_for_another_child() {
    let mut pair = pair();
    let (sa, old) = (pair.peer.sa(), pair.peer.child());
    pair.peer.children[old].alive = false;
    let spi = pair.peer.children[old].spi_in.to_be_bytes();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![status(NotifyType::INVALID_SPI, spi.to_vec())]);
    pair.down();
    pair.up_one();
    assert_eq!(pair.response().payloads, []);
    pair.client_exchange();
    assert_eq!(pair.peer.live_children(), [old + 1]);
    pair.assert_settled();
}

/// Of a child that was replaced, or never was.
#[test]
fn invalid_spi_of_another_child_changes_nothing() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.client_exchange();
    // The old one is deleted.
    pair.client_exchange();
    let sa = pair.peer.sa();
    for data in [pair.peer.children[old].spi_in.to_be_bytes().to_vec(), vec![1, 2, 3, 4], vec![], vec![7; 3]] {
        pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![status(NotifyType::INVALID_SPI, data)]);
        pair.down();
        pair.up();
        assert_eq!(pair.response().payloads, []);
        pair.assert_traffic_flows();
    }
    pair.assert_settled();
}
