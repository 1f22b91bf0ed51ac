//! What a gateway gives us, and what of it reaches the owner (RFC 7296 §2.19, §3.15, §2.9).

use adit_tunnel::{FlowId, IpNet, RouteVia, SealError, Sealer};
use bytes::Bytes;

use super::{
    pair::Setup,
    peer::{CLIENT, SERVER},
};
use crate::{
    message::{
        Payload, TrafficSelector,
        numbers::{CfgAttribute, CfgType, ExchangeType},
    },
    selectors,
};

fn net(text: &str) -> IpNet {
    let (address, prefix) = text.split_once('/').unwrap();
    IpNet::new(address.parse::<std::net::IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
}

#[test]
fn a_tunnel_comes_up_and_carries_packets() {
    let mut pair = Setup::default().up();
    pair.assert_traffic_flows();
    pair.assert_settled();
}

#[test]
fn we_ask_for_addresses_name_servers_networks_and_domains() {
    let pair = Setup::default().up();
    let first = pair.peer.heard.iter().find(|message| message.header.exchange == ExchangeType::IKE_AUTH).unwrap();
    let cp = first.cp().unwrap();
    assert_eq!(cp.cfg_type, CfgType::REQUEST);
    let asked: Vec<_> = cp.attributes.iter().map(|(kind, value)| (kind.0, value.len())).collect();
    assert_eq!(asked, [(1, 0), (3, 0), (13, 0), (8, 0), (10, 0), (15, 0), (25, 0)]);
    assert_eq!(first.ts_i().unwrap(), [selectors::any_v4(), selectors::any_v6()]);
    assert_eq!(first.ts_r().unwrap(), [selectors::any_v4(), selectors::any_v6()]);
}

#[test]
fn what_the_gateway_gives_reaches_the_owner() {
    let mut ip6 = [0; 17];
    (ip6[0], ip6[15], ip6[16]) = (0xfd, 9, 64);
    let pair = Setup::new(|setup| {
        setup.script.cp = vec![
            (CfgAttribute::INTERNAL_IP4_ADDRESS, Bytes::copy_from_slice(&CLIENT.octets())),
            (CfgAttribute::INTERNAL_IP4_NETMASK, Bytes::from_static(&[255, 255, 255, 0])),
            (CfgAttribute::INTERNAL_IP6_ADDRESS, Bytes::copy_from_slice(&ip6)),
            (CfgAttribute::INTERNAL_IP4_DNS, Bytes::from_static(&[10, 8, 0, 53])),
            (CfgAttribute::INTERNAL_IP4_SUBNET, Bytes::from_static(&[10, 9, 0, 0, 255, 255, 0, 0])),
            (CfgAttribute::INTERNAL_DNS_DOMAIN, Bytes::from_static(b"corp.example")),
            (CfgAttribute::APPLICATION_VERSION, Bytes::from_static(b"gateway 1.0")),
            (CfgAttribute(12345), Bytes::from_static(b"?")),
        ];
        setup.script.network_selectors =
            vec![selectors::from_net(&net("10.8.0.0/16")), selectors::from_net(&net("fd00::/16"))];
    })
    .up();
    let network = &pair.log.ups[0];
    assert_eq!(network.addresses[0], IpNet::host(CLIENT));
    assert_eq!(network.addresses[1].address(), "fd00::9".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(network.dns.servers, ["10.8.0.53".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(network.dns.resolve_domains, ["corp.example"]);
    let routes: Vec<_> = network.routes.iter().map(|route| route.destination).collect();
    for wanted in ["10.9.0.0/16", "10.8.0.0/16", "fd00::/16"] {
        assert!(routes.contains(&net(wanted)), "{wanted} in {routes:?}");
    }
    assert!(network.routes.iter().all(|route| route.via == RouteVia::Tunnel));
    assert!(!network.redirect4 && !network.redirect6);
}

#[test]
fn selectors_of_everything_redirect_everything_of_their_family() {
    let pair = Setup::default().up();
    let network = &pair.log.ups[0];
    assert!(network.redirect4 && !network.redirect6);
    assert_eq!(network.routes, []);
}

#[test]
fn a_gateway_without_a_pool_names_us_by_its_selectors() {
    let pair = Setup::new(|setup| setup.script.cp.clear()).up();
    assert_eq!(pair.log.ups[0].addresses, [IpNet::host(CLIENT)]);
}

/// Attributes of lengths they must not have tell nothing, and hurt nobody (CVE-2026-35330 is of this kind).
#[test]
fn attributes_of_every_length_do_no_harm() {
    for length in [0, 1, 3, 5, 15, 16, 17, 18, 255] {
        let value = Bytes::from(vec![7; length]);
        let pair = Setup::new(|setup| {
            setup.script.cp.extend((0..40).map(|kind| (CfgAttribute(kind), value.clone())));
        })
        .up();
        assert!(pair.log.ups[0].addresses.contains(&IpNet::host(CLIENT)), "{length}");
    }
}

#[test]
fn the_inner_mtu_leaves_room_for_esp() {
    let pair = Setup::new(|setup| setup.settings.esp_proposals = "aes256gcm16".parse().unwrap()).up();
    // 1500 less 20 (IPv4), 8 (UDP), 8 + 8 (ESP, IV), 2 (trailer), 16 (ICV).
    assert_eq!(pair.log.ups[0].mtu, 1438);
    let pair = Setup::new(|setup| setup.settings.esp_proposals = "aes128-sha256".parse().unwrap()).up();
    assert_eq!(pair.log.ups[0].mtu, 1422);
}

#[test]
fn narrower_selectors_are_taken_and_packets_outside_of_them_refused() {
    let mut pair = Setup::new(|setup| setup.script.network_selectors = vec![selectors::host(SERVER.into())]).up();
    assert_eq!(pair.log.ups[0].routes.len(), 1);
    pair.assert_traffic_flows();
    let foreign = super::pair::numbered([10, 8, 0, 77], CLIENT.octets(), 1);
    let child = pair.peer.child();
    let datagram = pair.peer.seal(child, &foreign);
    pair.inject("192.0.2.1:4500".parse().unwrap(), &datagram);
    assert_eq!((pair.log.opened.len(), pair.log.unopened), (0, 1));
}

#[test]
fn wider_selectors_than_asked_for_are_refused() {
    let mut pair = Setup::new(|setup| {
        setup.settings.remote_networks = vec![net("10.8.0.0/16")];
        setup.script.network_selectors = vec![selectors::from_net(&net("10.0.0.0/8"))];
    })
    .fails();
    pair.run(super::secs(1));
    assert_eq!(pair.error(), &crate::PeerMisbehaved::SelectorsWider.into());
    let last = pair.peer.heard.last().unwrap();
    assert_eq!(last.payloads, [Payload::Delete(crate::message::Delete::Ike)], "the gateway is told");
}

#[test]
fn networks_wanted_are_asked_for() {
    let pair = Setup::new(|setup| {
        setup.settings.remote_networks = vec![net("10.8.0.0/16")];
        setup.script.network_selectors = vec![selectors::from_net(&net("10.8.0.0/16"))];
    })
    .up();
    let first = pair.peer.heard.iter().find(|message| message.header.exchange == ExchangeType::IKE_AUTH).unwrap();
    assert_eq!(first.ts_r().unwrap(), [selectors::from_net(&net("10.8.0.0/16"))]);
    assert_eq!(first.ts_i().unwrap(), [selectors::any_v4()], "of the same family");
}

#[test]
fn a_tunnel_without_an_address_of_ours_does_not_come_up() {
    // Neither a pool nor a selector of one address; and an address that is no reply to what we asked for.
    for cfg_type in [None, Some(CfgType::REQUEST), Some(CfgType(3))] {
        let mut pair = Setup::new(|setup| setup.script.client_selectors = vec![selectors::any_v4()]).start();
        pair.peer.mutators.push(super::mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| {
            payloads.retain(|payload| cfg_type.is_some() || !matches!(payload, Payload::Cp(_)));
            for payload in payloads {
                if let (Payload::Cp(cp), Some(cfg_type)) = (payload, cfg_type) {
                    cp.cfg_type = cfg_type;
                }
            }
        }));
        pair.ends();
        assert_eq!(pair.error(), &crate::SessionError::NoInnerAddress);
        assert_eq!(pair.closed().kind, adit_tunnel::CloseKind::NoAgreement);
        assert_eq!(pair.log.keys, []);
        pair.run(super::secs(1));
        assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(crate::message::Delete::Ike)]);
    }
}

/// Only what does not depend on the destination is left to the sealer: packets are sent by that anyway.
#[test]
fn packets_of_ours_outside_of_the_selectors_are_not_sealed() {
    let web = TrafficSelector { protocol: 17, ports: (53, 53), ..selectors::any_v4() };
    let mut pair = Setup::new(|setup| setup.script.network_selectors = vec![web]).up();
    let mut packet = super::pair::numbered(CLIENT.octets(), SERVER.octets(), 1);
    let mut seal = |packet: &[u8]| {
        let sealer = pair.plane.sealers.get_mut(&FlowId(0)).unwrap();
        let mut buffer = [vec![0; sealer.header_len()], packet.to_vec(), vec![0; 100]].concat();
        let start = sealer.header_len();
        sealer.seal(&mut buffer, start..start + packet.len()).map(drop)
    };
    assert_eq!(seal(&packet), Err(SealError::NotAgreed));
    packet[22..24].copy_from_slice(&53_u16.to_be_bytes());
    assert_eq!(seal(&packet), Ok(()));
    packet[9] = 6;
    assert_eq!(seal(&packet), Err(SealError::NotAgreed));
    packet[9] = 17;
    packet[15] ^= 1;
    assert_eq!(seal(&packet), Err(SealError::NotAgreed), "from somebody else");
}

/// RFC 7296 §2.9.2 wants it to stay as it was; who lives with a gateway that does otherwise has to know.
#[test]
fn another_child_with_other_selectors_or_mtu_is_told() {
    let narrow = vec![selectors::from_net(&net("10.8.0.0/16"))];
    let mut pair = Setup::default().up();
    let before = pair.log.ups[0].clone();
    pair.client_rekeys_child();
    pair.run(super::secs(1));
    assert_eq!(pair.log.ups.len(), 1, "as before");
    pair.peer.script.network_selectors.clone_from(&narrow);
    pair.client_rekeys_child();
    pair.run(super::secs(1));
    assert_eq!(pair.log.ups.len(), 2);
    assert!(before.redirect4 && !pair.log.ups[1].redirect4);
    assert_eq!(pair.log.ups[1].routes.iter().map(|route| route.destination).collect::<Vec<_>>(), [net("10.8.0.0/16")]);
    assert_eq!((&pair.log.ups[1].addresses, &pair.log.ups[1].dns), (&before.addresses, &before.dns));
    // Another child where there was none, of another suite.
    pair.peer.script.esp = "aes128-sha512".parse().unwrap();
    let child = pair.peer.child();
    pair.peer.delete_child(child);
    pair.peer.children[child].alive = false;
    pair.run(super::secs(1));
    assert_eq!(pair.log.ups.len(), 3);
    assert!(pair.log.ups[2].mtu < before.mtu);
    pair.assert_settled();
}

#[test]
fn a_child_that_the_gateway_narrows_is_told_once_it_is_used() {
    let mut pair = Setup::default().up().all_by_hand();
    let old = pair.peer.child();
    pair.peer.script.network_selectors = vec![selectors::from_net(&net("10.8.0.0/16"))];
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    pair.peer.child_rekeyed(request);
    assert_eq!(pair.log.ups.len(), 1);
    assert!(pair.peer_deletes(old));
    assert_eq!(pair.log.ups.len(), 2);
    assert!(!pair.log.ups[1].redirect4);
    pair.assert_settled();
}
