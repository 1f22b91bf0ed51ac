//! Addresses that change (RFC 4555): ours, those a NAT gives us, and the gateway's.

use std::net::SocketAddr;

use adit_tunnel::{CloseKind, Path, Transport, Tunnel};

use super::{
    millis, mutators,
    pair::{Pair, Setup},
    peer::status,
    secs,
};
use crate::{
    PeerMisbehaved,
    message::{
        Message,
        numbers::{ExchangeType, NotifyType},
    },
};

const MOVED: &str = "198.51.100.7:51111";

fn setup(change: impl FnOnce(&mut Setup)) -> Setup {
    Setup::new(|setup| {
        setup.settings.mobike = true;
        setup.script.mobike = true;
        change(setup);
    })
}

fn updates(pair: &Pair) -> Vec<&Message> {
    pair.peer.heard.iter().filter(|message| message.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some()).collect()
}

fn informationals(pair: &Pair) -> usize {
    pair.peer.heard.iter().filter(|message| message.header.exchange == ExchangeType::INFORMATIONAL).count()
}

#[test]
fn the_mapping_is_asked_for_soon_after_the_start() {
    let pair = setup(|_| {}).up();
    assert_eq!(informationals(&pair), 1);
    let asked = pair.peer.heard.last().unwrap();
    assert!(asked.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some());
    assert!(asked.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).is_some());
    assert_eq!(updates(&pair).len(), 0);
}

#[test]
fn it_is_announced_in_the_first_ike_auth_and_can_be_switched_off() {
    for mobike in [true, false] {
        let pair = setup(|setup| setup.settings.mobike = mobike).up();
        let auth = pair.peer.heard.iter().find(|m| m.header.exchange == ExchangeType::IKE_AUTH).unwrap();
        assert_eq!(auth.notify(NotifyType::MOBIKE_SUPPORTED).is_some(), mobike);
        assert_eq!(informationals(&pair), usize::from(mobike));
    }
}

#[test]
fn a_mapping_that_changes_is_seen_and_the_gateway_told() {
    let mut pair = setup(|_| {}).up();
    pair.seen_as = MOVED.parse().unwrap();
    pair.run(secs(40));
    let update = updates(&pair);
    assert_eq!(update.len(), 1, "once");
    assert!(update[0].notify(NotifyType::COOKIE2).is_some_and(|cookie| (8..=64).contains(&cookie.data.len())));
    assert!(update[0].notify(NotifyType::NAT_DETECTION_DESTINATION_IP).is_some());
    assert_eq!(pair.peer.sas[pair.peer.sa()].client, pair.seen_as);
    pair.run(secs(100));
    assert_eq!(updates(&pair).len(), 1, "the new mapping is known");
    pair.assert_settled();
}

#[test]
fn a_mapping_that_stays_leads_to_nothing() {
    let mut pair = setup(|_| {}).up();
    pair.run(secs(200));
    assert_eq!(updates(&pair).len(), 0);
    assert!(informationals(&pair) > 4);
}

#[test]
fn a_mapping_that_changes_after_the_ike_sa_was_replaced_is_seen() {
    let mut pair = setup(|_| {}).up();
    pair.client_wants(crate::exchange::Wanted::RekeyIke);
    pair.run(secs(5));
    let told = updates(&pair).len();
    pair.seen_as = MOVED.parse().unwrap();
    pair.run(secs(40));
    assert_eq!(updates(&pair).len(), told + 1);
    pair.assert_settled();
}

#[test]
fn an_address_of_ours_that_changes_is_told_at_once() {
    let mut pair = setup(|_| {}).up();
    pair.seen_as = "203.0.113.77:1234".parse().unwrap();
    let path = Path {
        transport: Transport::Udp,
        local: Some("10.1.1.1:5000".parse().unwrap()),
        remote: "192.0.2.1:4500".parse().unwrap(),
    };
    pair.client.handle_path(pair.now, &path);
    pair.run(secs(1));
    assert_eq!(updates(&pair).len(), 1);
    assert_eq!(pair.peer.sas[pair.peer.sa()].client, pair.seen_as);
    pair.assert_traffic_flows();
    pair.assert_settled();
}

#[test]
fn an_address_that_changes_while_a_request_is_in_flight_is_told_after_it() {
    let mut pair = setup(|_| {}).up().all_by_hand();
    pair.client_rekeys_child();
    let first = pair.client_says();
    pair.seen_as = MOVED.parse().unwrap();
    let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:4500".parse().unwrap() };
    pair.client.handle_path(pair.now, &path);
    let again = pair.client_says();
    assert_eq!(again.datagram, first.datagram, "from the new address, too");
    pair.peer_hears(&again);
    pair.peer_answers();
    pair.down();
    pair.peer.script.auto = true;
    pair.by_hand = false;
    pair.assert_settled();
    assert_eq!(updates(&pair).len(), 1);
}

#[test]
fn without_mobike_any_request_from_the_new_address_will_do() {
    let mut pair = Setup::default().up();
    pair.seen_as = MOVED.parse().unwrap();
    let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:4500".parse().unwrap() };
    pair.client.handle_path(pair.now, &path);
    pair.run(secs(1));
    assert_eq!((informationals(&pair), updates(&pair).len()), (1, 0));
    assert_eq!(pair.peer.sas[pair.peer.sa()].client, pair.seen_as);
    pair.assert_settled();
}

#[test]
fn another_cookie2_than_ours_ends_the_session() {
    let mut pair = setup(|_| {}).up();
    pair.peer.mutators.push(mutators::payloads(ExchangeType::INFORMATIONAL, |payloads| {
        for payload in payloads {
            if let crate::message::Payload::Notify(notify) = payload
                && notify.notify_type == NotifyType::COOKIE2
            {
                notify.data = vec![1; notify.data.len()].into();
            }
        }
    }));
    pair.client.want(pair.now, crate::exchange::Wanted::UpdateAddresses);
    pair.run(secs(1));
    assert_eq!(pair.error(), &PeerMisbehaved::Cookie2.into());
    assert_eq!(pair.closed().kind, CloseKind::PeerMisbehaved);
}

#[test]
fn a_missing_cookie2_ends_the_session() {
    let mut pair = setup(|_| {}).up();
    pair.peer.mutators.push(mutators::payloads(ExchangeType::INFORMATIONAL, Vec::clear));
    pair.client.want(pair.now, crate::exchange::Wanted::UpdateAddresses);
    pair.run(secs(1));
    assert_eq!(pair.error(), &PeerMisbehaved::Cookie2.into());
}

#[test]
fn the_gateways_cookie2_is_returned_and_its_nat_detection_answered() {
    let mut pair = setup(|_| {}).up().all_by_hand();
    let sa = pair.peer.sa();
    let this = &pair.peer.sas[sa];
    let (spis, client, own) = ((this.spi_i, this.spi_r), this.client, this.own);
    let mut payloads = vec![status(NotifyType::COOKIE2, &b"0123456789abcdef"[..])];
    payloads.extend(pair.peer.nat_detection(spis, client, own));
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, payloads);
    pair.down();
    pair.up();
    let response = pair.response();
    assert_eq!(response.notify(NotifyType::COOKIE2).unwrap().data, &b"0123456789abcdef"[..]);
    assert!(response.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some());
    let seen = response.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).unwrap();
    assert_eq!(seen.data, crate::sa::nat::hash(spis, own));
}

#[test]
fn the_gateways_other_address_is_tried_when_the_first_is_silent() {
    let other: SocketAddr = "192.0.2.99:4500".parse().unwrap();
    for announced_later in [false, true] {
        let notify = status(NotifyType::ADDITIONAL_IP4_ADDRESS, &[192, 0, 2, 99][..]);
        let mut pair = setup(|setup| {
            if !announced_later {
                setup.script.last_auth = vec![notify.clone()];
            }
        })
        .up();
        if announced_later {
            let sa = pair.peer.sa();
            pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![notify]);
            pair.run(secs(1));
        }
        pair.network.lost_gateway = Some("192.0.2.1".parse().unwrap());
        pair.client_wants(crate::exchange::Wanted::Liveness);
        pair.run(secs(12));
        assert!(pair.log.closed.is_none(), "{:?}", pair.log.closed);
        assert_eq!(pair.log.paths.last().unwrap().remote, other);
        assert_eq!(pair.peer.sas[pair.peer.sa()].own, other);
        assert_eq!(updates(&pair).len(), 1);
    }
}

/// Most of the addresses a gateway announces are behind it. A short silence must not lead there for good.
#[test]
fn the_address_that_last_answered_is_tried_every_second_time() {
    let other = status(NotifyType::ADDITIONAL_IP4_ADDRESS, &[10, 99, 0, 1][..]);
    let mut pair = setup(|setup| setup.script.last_auth = vec![other]).up();
    pair.network.cut_up = true;
    let before = pair.log.sent.len();
    pair.client_wants(crate::exchange::Wanted::Liveness);
    assert!(pair.run_until(secs(60), |pair| pair.log.sent.len() == before + 4), "four tries");
    // Behind the gateway there is nobody.
    pair.run(millis(10));
    pair.network.cut_up = false;
    pair.network.lost_gateway = Some([10, 99, 0, 1].into());
    pair.run(secs(30));
    assert!(pair.log.closed.is_none(), "{:?}", pair.log.closed);
    assert_eq!(pair.log.paths.last().unwrap().remote, "192.0.2.1:4500".parse().unwrap());
    pair.assert_settled();
}

#[test]
fn a_gateway_without_another_address_is_gone() {
    let mut pair = setup(|_| {}).up();
    pair.network.lost_gateway = Some("192.0.2.1".parse().unwrap());
    pair.client_wants(crate::exchange::Wanted::Liveness);
    pair.ends();
    assert_eq!(pair.closed().kind, CloseKind::TimedOut);
}

#[test]
fn esp_from_elsewhere_is_not_followed() {
    let mut pair = setup(|_| {}).up();
    let path = Path { transport: Transport::Udp, local: None, remote: "203.0.113.5:4500".parse().unwrap() };
    pair.client.handle_peer_path(pair.now, &path);
    pair.run(secs(60));
    assert!(pair.log.sent.iter().all(|(_, path, _)| path.remote.ip().to_string() == "192.0.2.1"));
}

#[test]
fn an_address_the_gateway_does_not_accept_ends_nothing() {
    let mut pair = setup(|_| {}).up();
    pair.peer.mutators.push(mutators::add_notify(ExchangeType::INFORMATIONAL, 40, &[]));
    pair.client.want(pair.now, crate::exchange::Wanted::UpdateAddresses);
    pair.run(secs(5));
    assert!(pair.log.closed.is_none());
    assert_eq!(updates(&pair).len(), 1);
}
