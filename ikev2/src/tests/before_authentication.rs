//! Whatever a gateway says out of turn while the handshake lasts is dropped, and the handshake goes on (CVE-2014-2338,
//! CVE-2019-12312: every kind of message in every state).

use super::{
    authentication::eap,
    pair::{Pair, Setup},
    peer::status,
};
use crate::message::{
    Delete, Header, Message, MessageId, Notify, Payload,
    numbers::{ExchangeType, NotifyType},
};

/// Of every exchange, requests and responses, with every id near.
fn headers(pair: &Pair) -> Vec<Header> {
    let spis = match pair.peer.sas.last() {
        Some(sa) => (sa.spi_i, sa.spi_r),
        None => (pair.peer.heard[0].header.initiator_spi, crate::message::IkeSpi(7)),
    };
    let mut headers = Vec::new();
    for exchange in [0, 33, 34, 35, 36, 37, 38, 43, 44, 250] {
        for id in 0..8 {
            for from_initiator in [false, true] {
                for response in [false, true] {
                    let request = Header::request(spis, ExchangeType(exchange), from_initiator, MessageId(id));
                    headers.push(Header { response, ..request });
                }
            }
        }
    }
    headers
}

fn contents() -> [Vec<Payload>; 5] {
    [
        vec![],
        vec![Payload::Delete(Delete::Ike)],
        vec![Payload::Delete(Delete::Esp(vec![0x1234_5678]))],
        vec![Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x1234_5678))],
        vec![status(NotifyType::AUTHENTICATION_FAILED, "")],
    ]
}

/// Everything out of turn at once; the true answer is still to come.
fn disturb(pair: &mut Pair) {
    let gateway = "192.0.2.1:4500".parse().unwrap();
    let awaited = pair.peer.heard.last().unwrap().header.answer();
    for header in headers(pair) {
        let is_answer = header.exchange == awaited.exchange && header.message_id == awaited.message_id;
        for payloads in contents() {
            let message = Message { header, payloads };
            let unprotected = message.encode();
            // That one may be believed, later, if nothing better comes: see `refusals`.
            let mut datagrams =
                if is_answer && header.exchange == ExchangeType::IKE_SA_INIT { Vec::new() } else { vec![unprotected] };
            let the_answer_itself = is_answer && header.response && !header.from_initiator;
            if !pair.peer.sas.is_empty() && !the_answer_itself {
                let sa = pair.peer.sas.len() - 1;
                datagrams.extend(pair.peer.encode(Some(sa), message));
            }
            for datagram in datagrams {
                pair.inject(gateway, &[&[0; 4], &datagram[..]].concat());
            }
        }
    }
    assert!(pair.log.closed.is_none() && pair.log.ups.is_empty() && pair.log.keys.is_empty());
    pair.assert_client_is_silent();
}

fn handshake(setup: Setup) {
    let mut pair = setup.start().all_by_hand();
    for _ in 0..10 {
        pair.up();
        if pair.peer.sas.is_empty() || pair.peer.inbox.is_empty() {
            // The answer to IKE_SA_INIT waits.
            let answer = pair.peer_says();
            let keys = std::mem::take(&mut pair.peer.sas);
            disturb(&mut pair);
            pair.peer.sas = keys;
            pair.client_hears(&answer);
            continue;
        }
        disturb(&mut pair);
        pair.peer_answers();
        pair.down();
        if !pair.log.ups.is_empty() {
            return pair.assert_settled();
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn every_message_out_of_turn_is_dropped_with_a_pre_shared_key() {
    handshake(Setup::default());
}

#[test]
fn every_message_out_of_turn_is_dropped_with_eap() {
    handshake(eap(|_| {}));
}

/// A child or an IKE SA made before anybody proved anything would be an unauthenticated tunnel.
#[test]
fn nothing_is_replaced_before_it_is_authenticated() {
    let mut pair = eap(|_| {}).start().all_by_hand();
    pair.up();
    pair.down();
    pair.up();
    pair.peer.rekey_ike(0);
    pair.down();
    pair.peer.create_child_with(vec![], "aes256gcm16".parse().unwrap(), &[]);
    pair.down();
    pair.assert_client_is_silent();
    assert!(pair.log.ups.is_empty() && pair.log.keys.is_empty());
}

/// After the handshake, too: exchanges that have no place, answered or dropped.
#[test]
fn exchanges_out_of_place_end_no_tunnel() {
    for exchange in [0, 33, 34, 35, 38, 43, 44, 250] {
        let mut pair = Setup::default().up().all_by_hand();
        let sa = pair.peer.sa();
        for payloads in contents() {
            pair.peer.request(sa, ExchangeType(exchange), payloads);
            pair.down();
            while !pair.client_sent.is_empty() {
                pair.up_one();
                let response = pair.response();
                assert!(response.error().is_some(), "{exchange}: {response:?}");
            }
            if pair.log.closed.is_some() {
                break;
            }
            pair.assert_traffic_flows();
        }
        assert!(pair.log.closed.is_none(), "{exchange}: {:?}", pair.log.closed);
    }
}
