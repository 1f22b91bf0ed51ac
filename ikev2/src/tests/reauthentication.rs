//! A new handshake beside the tunnel that stands, make before break (RFC 7296 §2.8.3, RFC 4478).

use adit_tunnel::CloseKind;

use super::{
    millis, mutators,
    pair::{Pair, Setup},
    peer::{CLIENT, status},
    secs,
};
use crate::{
    SessionError,
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
fn a_refusal_ends_the_session() {
    let mut pair = pair(20);
    pair.peer.script.psk = b"another key".to_vec();
    pair.ends();
    assert!(matches!(pair.error(), SessionError::Reauthentication(_)), "{:?}", pair.error());
    assert!(matches!(pair.closed().kind, CloseKind::AuthFailed | CloseKind::PeerNotAuthenticated));
    pair.run(secs(1));
    assert!(!pair.peer.sas[0].alive, "the gateway is told");
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
