//! A new handshake beside the tunnel that stands, make before break (RFC 7296 §2.8.3, RFC 4478).

use adit_tunnel::CloseKind;

use super::{
    millis, mutators,
    pair::{Pair, Setup},
    peer::{CLIENT, status},
    secs,
};
use crate::{
    exchange::Wanted,
    message::{
        Payload,
        numbers::{CfgAttribute, ExchangeType, NotifyType},
    },
};

fn lifetime(seconds: u32) -> Payload {
    status(NotifyType::AUTH_LIFETIME, seconds.to_be_bytes().to_vec())
}

fn pair(seconds: u32) -> Pair {
    Setup::new(|setup| setup.script.last_auth = vec![lifetime(seconds)]).up()
}

#[test]
fn a_lifetime_is_obeyed_before_it_is_over_and_no_packet_is_lost() {
    let mut pair = pair(20);
    pair.start_traffic(millis(10));
    pair.run(secs(15));
    assert_eq!(pair.peer.inits.len(), 1);
    pair.peer.script.last_auth.clear();
    pair.run(secs(4));
    assert_eq!(pair.peer.inits.len(), 2);
    pair.stop_traffic();
    pair.assert_nothing_lost();
    assert_eq!(pair.log.ups.len(), 2);
    assert_eq!(pair.log.ups[0], pair.log.ups[1], "the address stays");
    pair.assert_settled();
}

#[test]
fn it_goes_on_as_long_as_the_gateway_wants_it() {
    let mut pair = pair(20);
    pair.start_traffic(millis(50));
    pair.run(secs(200));
    pair.stop_traffic();
    pair.assert_nothing_lost();
    assert!((11..=14).contains(&pair.peer.inits.len()), "{}", pair.peer.inits.len());
    assert_eq!(pair.peer.sas.iter().filter(|sa| sa.alive).count(), 1);
}

#[test]
fn the_second_handshake_asks_for_the_same_address_and_ends_no_other_session() {
    let mut pair = pair(20);
    pair.run(secs(18));
    let first: Vec<_> = pair.peer.heard.iter().filter(|m| m.header.exchange == ExchangeType::IKE_AUTH).collect();
    assert_eq!(first.len(), 2);
    assert!(first[0].notify(NotifyType::INITIAL_CONTACT).is_some());
    assert!(first[1].notify(NotifyType::INITIAL_CONTACT).is_none());
    let wanted = first[1].cp().unwrap().values(CfgAttribute::INTERNAL_IP4_ADDRESS).next().unwrap();
    assert_eq!(wanted[..], CLIENT.octets());
    // At the port in use already (§2.23).
    assert!(pair.log.sent.iter().skip(2).all(|(_, path, _)| path.remote.port() == 4500));
}

#[test]
fn a_lifetime_of_zero_is_nothing_to_run_after() {
    let mut pair = pair(0);
    pair.run(secs(300));
    assert_eq!(pair.peer.inits.len(), 1);
    pair.assert_settled();
}

#[test]
fn a_lifetime_may_come_later() {
    let mut pair = Setup::default().up();
    let sa = pair.peer.sa();
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![lifetime(50)]);
    pair.run(secs(35));
    assert_eq!(pair.peer.inits.len(), 1);
    pair.run(secs(10));
    assert_eq!(pair.peer.inits.len(), 2);
    pair.assert_settled();
}

#[test]
fn a_failure_that_may_pass_is_tried_again() {
    let mut pair = pair(100);
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::IKE_SA_INIT));
    pair.run(secs(110));
    assert!(pair.log.closed.is_none());
    pair.peer.mutators.clear();
    pair.peer.script.last_auth.clear();
    // It has forgotten them as well.
    pair.peer.sas.iter_mut().skip(1).for_each(|sa| sa.alive = false);
    pair.run(secs(30));
    assert_eq!(pair.log.ups.len(), 2);
    pair.assert_settled();
}

#[test]
fn a_refusal_leaves_what_stands_and_is_not_repeated() {
    let mut pair = pair(20);
    // It no longer takes our key, and shows its own no more.
    pair.peer.script.psk = b"another key".to_vec();
    pair.run(secs(120));
    assert!(pair.log.closed.is_none(), "the gateway decides when the old one ends");
    assert_eq!(pair.peer.inits.len(), 2);
}

/// IKE_SA_INIT is not protected: whoever can send to us could end the tunnel otherwise.
#[test]
fn an_unprotected_refusal_ends_nothing() {
    let mut pair = pair(600);
    pair.run(secs(470));
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::IKE_SA_INIT));
    pair.run_until(secs(60), |pair| pair.peer.inits.len() == 2);
    let init = pair.log.sent.iter().rev().map(|(_, _, datagram)| &datagram[4..]).find(|m| m.get(18) == Some(&34));
    let mut forged = init.unwrap()[..28].to_vec();
    forged[8..16].copy_from_slice(&[7; 8]);
    (forged[16], forged[19]) = (41, 0x20);
    forged[24..28].copy_from_slice(&36u32.to_be_bytes());
    // N(NO_PROPOSAL_CHOSEN)
    forged.extend([0, 0, 0, 8, 0, 0, 0, 14]);
    pair.inject("192.0.2.1:4500".parse().unwrap(), &[&[0; 4][..], &forged].concat());
    pair.run(secs(2));
    assert!(pair.log.closed.is_none());
    pair.peer.mutators.clear();
    pair.peer.script.last_auth.clear();
    pair.run(secs(60));
    assert_eq!(pair.log.ups.len(), 2, "it is tried again");
}

#[test]
fn the_old_association_is_deleted_even_if_a_request_was_in_flight() {
    for wanted in [Wanted::Liveness, Wanted::RekeyIke] {
        let mut pair = pair(20);
        pair.peer.script.last_auth.clear();
        pair.run(secs(14));
        pair.run_until(secs(5), |pair| pair.peer.inits.len() == 2);
        pair.run(millis(22));
        pair.client_wants(wanted);
        pair.run(secs(60));
        assert_eq!(pair.log.ups.len(), 2);
        assert_eq!(pair.peer.sas.iter().filter(|sa| sa.alive).count(), 1, "{wanted:?}");
        pair.assert_settled();
    }
}

#[test]
fn a_refused_rekeying_leads_to_it_long_before_the_lifetime_is_over() {
    let mut pair = pair(86_400).all_by_hand();
    pair.client_rekeys_child();
    for _ in 0..2 {
        pair.up();
        pair.peer_refuses(NotifyType::NO_PROPOSAL_CHOSEN);
        pair.down();
    }
    pair.peer.script.auto = true;
    pair.by_hand = false;
    pair.run(secs(10));
    assert_eq!(pair.peer.inits.len(), 2);
}

#[test]
fn closing_meanwhile_closes_both() {
    let mut pair = pair(20);
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::IKE_AUTH));
    pair.run(secs(17));
    assert_eq!(pair.peer.inits.len(), 2);
    pair.close();
    pair.run(secs(5));
    assert_eq!(pair.closed().kind, CloseKind::Local);
    assert!(!pair.peer.sas[0].alive);
}

#[test]
fn the_gateway_may_end_the_old_session_in_the_middle() {
    let mut pair = pair(20);
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::IKE_AUTH));
    pair.run(secs(17));
    pair.peer.delete_ike(0);
    pair.run(secs(1));
    assert_eq!(pair.closed().kind, CloseKind::PeerClosed);
}

#[test]
fn requests_for_the_old_ike_sa_are_answered_until_it_is_deleted() {
    let mut pair = pair(20);
    pair.peer.script.last_auth.clear();
    // Its answer to our deletion is lost for a while.
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::INFORMATIONAL));
    pair.run(secs(17));
    assert_eq!(pair.log.ups.len(), 2);
    pair.peer.mutators.clear();
    pair.peer.request(0, ExchangeType::INFORMATIONAL, vec![]);
    pair.run(millis(100));
    assert_eq!(pair.peer.responses.len(), 1);
    pair.assert_settled();
}
