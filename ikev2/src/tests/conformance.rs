//! IPv6 Ready Logo, End-Node Initiator: what no other file shows. `testdata/tahi_en_i.txt` has every id.

use std::{collections::BTreeMap, fs};

use super::{
    millis,
    mutated::{AUTH, INIT},
    mutators,
    pair::{Pair, Setup},
    peer::status,
    secs,
};
use crate::{
    Identity, IkeProposals,
    exchange::Wanted,
    message::{
        Header, IkeSpi, Message, MessageId, Payload,
        numbers::{DhGroup, ExchangeType, IdType, NotifyType, PayloadType as P},
    },
};

#[test]
fn every_id_has_a_test_or_a_reason() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let table = fs::read_to_string(format!("{folder}/testdata/tahi_en_i.txt")).unwrap();
    let mut ids = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [id, "=", file, test] => {
                let source = fs::read_to_string(format!("{folder}/src/tests/{file}.rs")).unwrap();
                assert!(source.contains(&format!("#[test]\nfn {test}()")), "{line}");
                assert!(ids.insert(id, test).is_none(), "{line}");
            }
            [id, "-", ..] if words.len() > 6 => assert!(ids.insert(id, "").is_none(), "{line}"),
            _ => panic!("{line}"),
        }
    }
    // Whole groups of the document, so that none is forgotten.
    let groups = ["1.1.1", "1.1.2", "1.1.3", "1.1.4", "1.1.5", "1.1.6", "1.1.7", "1.1.8", "1.1.9", "1.1.10", "1.1.11"];
    let more = ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.6", "1.2.7", "1.2.8", "1.3.1", "2.1.1", "2.1.2"];
    for group in groups.into_iter().chain(more) {
        assert!(ids.keys().any(|id| id.starts_with(&format!("{group}."))), "{group}");
    }
    let ours = fs::read_to_string(format!("{folder}/src/tests/conformance.rs")).unwrap();
    for test in ours.lines().filter_map(|line| line.strip_prefix("fn tahi_")) {
        let name = format!("tahi_{}", test.split('(').next().unwrap());
        assert!(ids.values().any(|test| **test == name), "{name} is in no line");
    }
}

fn types(message: &Message) -> Vec<P> {
    message.payloads.iter().map(Payload::payload_type).collect()
}

fn assert_header(header: &Header, exchange: ExchangeType, id: u32) {
    assert_eq!((header.exchange, header.message_id), (exchange, MessageId(id)));
    assert!(header.from_initiator && !header.response && header.initiator_spi != IkeSpi(0));
}

#[test]
fn tahi_en_i_1_1_1_1_the_ike_sa_init_request_is_as_the_rfc_draws_it() {
    let pair = Setup::default().up();
    let init = &pair.peer.heard[0];
    assert_header(&init.header, INIT, 0);
    assert_eq!(init.header.responder_spi, IkeSpi(0));
    assert_eq!(types(init)[..3], [P::SA, P::KE, P::NONCE]);
    // Version 2.0, and the flag I alone.
    assert_eq!((pair.peer.inits[0][17], pair.peer.inits[0][19]), (0x20, 0x08));
    assert!(pair.peer.inits[0].len() < 1200);
    let (ke, nonce) = (init.ke().unwrap(), init.nonce().unwrap());
    assert!(init.sa().unwrap().proposals.iter().all(|p| p.spi.is_empty() && p.protocol.0 == 1));
    assert_eq!(crate::crypto::dh::public_len(ke.group), Some(ke.public.len()));
    assert!((16..=256).contains(&nonce.len()));
}

#[test]
fn tahi_en_i_1_1_1_2_the_ike_auth_request_is_as_the_rfc_draws_it() {
    let pair = Setup::default().up();
    let auth = &pair.peer.heard[1];
    assert_header(&auth.header, AUTH, 1);
    let types = types(auth);
    let place = |kind: P| types.iter().position(|t| *t == kind).unwrap_or_else(|| panic!("{kind}"));
    let order = [P::IDI, P::AUTH, P::CP, P::SA, P::TSI, P::TSR].map(place);
    assert!(order.is_sorted(), "{types:?}");
    assert!(auth.sa().unwrap().proposals.iter().all(|p| p.protocol.0 == 3 && p.spi.len() == 4));
    // In tunnel mode, which is what no notification asks for.
    assert!(auth.notify(NotifyType::USE_TRANSPORT_MODE).is_none());
}

#[test]
fn tahi_en_i_1_1_1_3_packets_use_the_child() {
    let mut pair = Setup::default().up();
    let packet = super::pair::numbered([10, 8, 0, 2], [10, 8, 0, 1], 3);
    let datagram = pair.client_seals(&packet);
    let child = &pair.peer.children[0];
    assert_eq!(datagram[..8], [child.spi_in.to_be_bytes(), 1u32.to_be_bytes()].concat());
    pair.assert_traffic_flows();
}

/// Nothing more comes after the answer.
fn silence_after(mut pair: Pair) {
    let before = pair.log.sent.len();
    pair.run(secs(18));
    assert_eq!(pair.log.sent.len(), before);
}

#[test]
fn tahi_en_i_1_1_2_2_an_answer_ends_the_retransmission_of_ike_sa_init() {
    let mut pair = Setup::default().start();
    pair.network.cut_down = true;
    pair.run(secs(2));
    assert_eq!(pair.peer.inits.len(), 3);
    pair.network.cut_down = false;
    pair.come_up();
    assert_eq!(pair.peer.inits.len(), 4);
    silence_after(pair);
}

#[test]
fn tahi_en_i_1_1_2_4_an_answer_ends_the_retransmission_of_ike_auth() {
    let mut pair = Setup::default().start();
    pair.run(millis(25));
    pair.network.cut_down = true;
    pair.run(secs(2));
    assert!(pair.peer.repeated > 0);
    pair.network.cut_down = false;
    pair.come_up();
    silence_after(pair);
}

#[test]
fn tahi_en_i_1_1_3_4_initial_contact_of_the_gateway_closes_nothing_that_is_not_there() {
    super::mutated::comes_up_with(mutators::add_notify(AUTH, 16_384, &[]));
}

#[test]
fn tahi_en_i_1_1_5_1_a_cookie_comes_back_first_and_the_rest_is_the_same() {
    for cookie in [&b"c"[..], b"a cookie", &[7; 64]] {
        let pair = Setup::new(|setup| setup.script.cookie = Some(cookie.into())).up();
        let [first, second] = &pair.peer.heard[..2] else { panic!() };
        assert_eq!(second.header, first.header);
        assert_eq!(second.payloads[0], status(NotifyType::COOKIE, cookie));
        assert_eq!(second.payloads[1..], first.payloads);
    }
}

fn x25519_or_ecp256(setup: &mut Setup) {
    setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap();
    setup.script.ike = "aes256gcm16-prfsha256-ecp256".parse().unwrap();
}

/// Group and cookie of every IKE_SA_INIT request.
fn tried(pair: &Pair) -> Vec<(DhGroup, Option<&[u8]>)> {
    let init = pair.peer.heard.iter().filter(|message| message.header.exchange == INIT);
    init.map(|m| (m.ke().unwrap().group, m.notify(NotifyType::COOKIE).map(|n| &n.data[..]))).collect()
}

#[test]
fn tahi_en_i_1_1_5_2_a_cookie_then_another_group_keeps_the_cookie() {
    let pair = Setup::new(|setup| {
        x25519_or_ecp256(setup);
        setup.script.cookie = Some("one".into());
    })
    .up();
    let (x, p) = (DhGroup::CURVE25519, DhGroup::ECP_256);
    assert_eq!(tried(&pair), [(x, None), (x, Some(&b"one"[..])), (p, Some(b"one"))]);
}

#[test]
fn tahi_en_i_1_1_5_3_another_group_then_another_cookie_is_answered_too() {
    let mut pair = Setup::new(|setup| {
        x25519_or_ecp256(setup);
        setup.script.cookie = Some("one".into());
    })
    .start();
    pair.take_over();
    pair.up();
    pair.down();
    pair.up();
    pair.down();
    // Its cookies cover the KE payload.
    pair.peer.script.cookie = Some("two".into());
    pair.by_hand = false;
    let said = pair.client_sent.pop_front().unwrap();
    pair.peer_hears(&said);
    pair.come_up();
    let (x, p) = (DhGroup::CURVE25519, DhGroup::ECP_256);
    let expected = [(x, None), (x, Some(&b"one"[..])), (p, Some(b"one")), (p, Some(b"two"))];
    assert_eq!(tried(&pair), expected);
}

#[test]
fn a_gateway_that_asks_for_ever_other_cookies_is_left() {
    let mut pair = Setup::default().start();
    pair.take_over();
    for round in 0..20u8 {
        pair.settle();
        let Some(said) = pair.client_sent.pop_front() else { break };
        pair.peer.script.cookie = Some(vec![round + 1; 8].into());
        pair.peer_hears(&said);
        pair.down();
    }
    assert!(pair.peer.inits.len() < 10);
    pair.peer.mutators.push(mutators::ignore_message(INIT));
    pair.by_hand = false;
    pair.ends();
}

#[test]
fn cookies_that_are_none_are_not_sent_back() {
    for cookie in [&[][..], &[1; 65]] {
        let mut pair = Setup::new(|setup| setup.script.cookie = Some(cookie.into())).start();
        pair.ends();
        assert!(tried(&pair).iter().all(|(_, cookie)| cookie.is_none()));
    }
}

fn comes_up_with(ike: &str, esp: &str) {
    let mut pair = Setup::new(|setup| {
        setup.settings.legacy = true;
        setup.settings.ike_proposals = ike.parse().unwrap();
        setup.settings.esp_proposals = esp.parse().unwrap();
        setup.script.ike = ike.parse().unwrap();
        setup.script.esp = esp.parse().unwrap();
    })
    .up();
    pair.assert_traffic_flows();
    let child = pair.client_child();
    pair.client_wants(Wanted::RekeyChild(child));
    pair.run(millis(200));
    pair.client_wants(Wanted::RekeyIke);
    pair.assert_settled();
    assert_eq!((pair.peer.children.len(), pair.peer.sas.len()), (2, 2), "{ike} {esp}");
}

#[test]
fn tahi_en_i_1_1_6_1_every_suite_for_ike_works() {
    for ike in [
        "aes128-sha1-x25519",
        "aes192-sha256-ecp256",
        "aes256-sha384-ecp384",
        "aes256-sha512-ecp521",
        "aes128ctr-sha256-x25519",
        "aes256gcm8-prfsha256-x25519",
        "aes128gcm12-prfsha384-x25519",
        "aes256gcm16-prfsha512-x25519",
        "aes128ccm8-prfsha1-x25519",
        "aes256ccm16-prfsha256-x25519",
        "chacha20poly1305-prfsha256-x25519",
        "aes128-sha256-modp2048",
        "3des-sha1-modp1024",
    ] {
        comes_up_with(ike, "aes256gcm16");
    }
}

#[test]
fn tahi_en_i_1_1_6_2_every_suite_for_esp_works() {
    for esp in [
        "aes128-sha1",
        "aes192-sha256",
        "aes256-sha384",
        "aes256-sha512",
        "aes128gcm8",
        "aes192gcm12",
        "aes256gcm16",
        "aes256gcm16-esn",
        "aes128-sha256-esn",
        "chacha20poly1305",
    ] {
        comes_up_with("aes256gcm16-prfsha256-x25519", esp);
    }
}

#[test]
fn tahi_en_i_1_1_6_3_several_transforms_of_a_type_leave_the_choice_to_the_gateway() {
    for (ike, esp) in [("aes256-sha512-ecp256", "aes192-sha256"), ("aes128-sha256-x25519", "aes256-sha512")] {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = "aes128-aes256-sha256-sha512-x25519-ecp256".parse().unwrap();
            setup.settings.esp_proposals = "aes128-aes192-aes256-sha256-sha512".parse().unwrap();
            setup.script.ike = ike.parse().unwrap();
            setup.script.esp = esp.parse().unwrap();
        })
        .up();
        assert_eq!(IkeProposals::only(&pair.peer.sas[0].suite), ike.parse().unwrap());
        pair.assert_settled();
    }
}

#[test]
fn tahi_en_i_1_1_6_4_several_proposals_leave_the_choice_to_the_gateway() {
    let all = ["aes256gcm16-prfsha256-x25519", "aes128-sha256-x25519", "chacha20poly1305-prfsha256-x25519"];
    let esps = ["aes256gcm16", "aes128-sha256", "chacha20poly1305"];
    for (ike, esp) in all.into_iter().zip(esps) {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = all.join(",").parse().unwrap();
            setup.settings.esp_proposals = esps.join(",").parse().unwrap();
            setup.script.ike = ike.parse().unwrap();
            setup.script.esp = esp.parse().unwrap();
        })
        .up();
        pair.assert_settled();
    }
}

/// The two IKE_SA_INIT requests of a client that was told another group.
fn told_another_group(spi_of_the_gateway: Option<u64>) {
    let mut pair = Setup::new(x25519_or_ecp256).start();
    pair.take_over();
    if let Some(spi) = spi_of_the_gateway {
        pair.peer.mutators.push(mutators::set_ike_spi(INIT, true, spi));
    }
    pair.up();
    pair.peer.mutators.clear();
    pair.down();
    pair.up();
    pair.by_hand = false;
    pair.come_up();
    let [first, second] = &pair.peer.heard[..2] else { panic!() };
    assert_eq!(second.header, first.header, "the same SPI of ours, none of theirs, id 0");
    assert_eq!((second.nonce(), second.sa()), (first.nonce(), first.sa()), "all proposals again (§1.2)");
    assert_eq!(second.ke().unwrap().group, DhGroup::ECP_256);
}

#[test]
fn tahi_en_i_1_1_6_11_a_another_group_is_tried_with_everything_else_the_same() {
    told_another_group(None);
}

#[test]
fn tahi_en_i_1_1_6_11_b_an_spi_of_the_gateway_in_its_refusal_changes_nothing() {
    told_another_group(Some(0x1234_5678_9abc_def0));
}

#[test]
fn groups_we_did_not_offer_are_not_used() {
    for group in [&[0, 14][..], &[0, 2], &[4, 1], &[0, 0], &[0], &[]] {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519".parse().unwrap();
        })
        .start();
        pair.peer.mutators.push(mutators::payloads(INIT, move |payloads| {
            *payloads = vec![status(NotifyType::INVALID_KE_PAYLOAD, group)];
        }));
        pair.ends();
        assert!(tried(&pair).iter().all(|(group, _)| *group == DhGroup::CURVE25519), "{group:?}");
        assert!(pair.closed_after() < secs(60));
    }
}

#[test]
fn tahi_en_i_1_1_8_2_invalid_selectors_are_no_end() {
    let mut pair = Setup::default().up();
    let sa = pair.peer.sa();
    let notify = status(NotifyType::INVALID_SELECTORS, vec![0x45; 40]);
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![notify]);
    pair.run(secs(1));
    assert_eq!(pair.response().payloads, []);
    pair.assert_settled();
}

#[test]
fn tahi_en_i_1_1_9_2_our_own_identity_may_be_of_every_type() {
    let cases = [
        ("client.example", IdType::FQDN),
        ("a@client.example", IdType::RFC822_ADDR),
        ("192.0.2.7", IdType::IPV4_ADDR),
        ("2001:db8::7", IdType::IPV6_ADDR),
        ("keyid:#0102", IdType::KEY_ID),
        ("C=CH, O=x, CN=y", IdType::DER_ASN1_DN),
    ];
    for (text, id_type) in cases {
        let pair = Setup::new(|setup| setup.settings.local_identity = Some(Identity::from_text(text).unwrap())).up();
        assert_eq!(pair.peer.heard[1].id_i().unwrap().id_type, id_type, "{text}");
    }
}

#[test]
fn tahi_en_i_1_2_1_1_the_create_child_sa_request_is_as_the_rfc_draws_it() {
    let mut pair = Setup::default().up().all_by_hand();
    pair.client_rekeys_child();
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert_header(&request.header, ExchangeType::CREATE_CHILD_SA, 2);
    assert_eq!(types(request), [P::NOTIFY, P::SA, P::NONCE, P::KE, P::TSI, P::TSR]);
    let init = &pair.peer.heard[0];
    assert_ne!(request.nonce(), init.nonce());
    pair.peer_answers();
    pair.down();
    pair.client_exchange();
    pair.client_wants(Wanted::RekeyIke);
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert_eq!(types(request), [P::SA, P::NONCE, P::KE]);
    assert!(request.sa().unwrap().proposals.iter().all(|p| p.protocol.0 == 1 && p.spi.len() == 8));
}

#[test]
fn tahi_en_i_1_2_2_1_a_create_child_sa_request_is_sent_again_until_it_is_answered() {
    let mut pair = Setup::default().up();
    pair.network.cut_down = true;
    let child = pair.client_child();
    pair.client_wants(Wanted::RekeyChild(child));
    pair.run(secs(2));
    assert_eq!(pair.peer.repeated, 2);
    pair.network.cut_down = false;
    pair.assert_settled();
    assert_eq!(pair.peer.children.len(), 2, "one child, however often it was asked for");
}

#[test]
fn tahi_en_i_1_2_3_3_a_child_is_replaced_at_its_age() {
    let mut pair = Setup::new(|setup| setup.settings.child_rekey = secs(100)).up();
    pair.run(secs(89));
    assert_eq!(pair.peer.children.len(), 1);
    pair.run(secs(11));
    assert_eq!(pair.peer.children.len(), 2);
    pair.assert_settled();
}

#[test]
fn tahi_en_i_1_2_4_5_the_gateway_may_change_the_group_when_it_replaces_the_ike_sa() {
    let mut pair =
        Setup::new(|setup| setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()).up();
    pair.peer.sas[0].suite.group = DhGroup::ECP_256;
    let request = pair.peer.rekey_ike(0);
    pair.run(millis(100));
    let new = pair.peer.ike_rekeyed(request);
    assert_eq!(pair.peer.sas[new].suite.group, DhGroup::ECP_256);
    pair.peer.delete_ike(0);
    pair.run(millis(100));
    pair.peer.sas[0].alive = false;
    pair.assert_settled();
}

#[test]
fn tahi_en_i_1_2_7_1_reserved_fields_of_create_child_sa_are_ignored() {
    let create = ExchangeType::CREATE_CHILD_SA;
    for mutator in
        [mutators::set_reserved(create), mutators::set_critical(create), mutators::set_reserved_flags(create)]
    {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutator);
        let child = pair.client_child();
        pair.client_wants(Wanted::RekeyChild(child));
        pair.run(millis(200));
        pair.client_wants(Wanted::RekeyIke);
        pair.run(millis(200));
        let old = pair.peer.child();
        let request = pair.peer.rekey_child(old);
        pair.run(millis(200));
        pair.peer.child_rekeyed(request);
        pair.peer.delete_child(old);
        pair.run(millis(200));
        pair.peer.children[old].alive = false;
        pair.assert_settled();
        assert_eq!((pair.peer.children.len(), pair.peer.sas.len()), (3, 2));
    }
}

#[test]
fn tahi_en_i_1_3_1_1_the_informational_request_is_as_the_rfc_draws_it() {
    let mut pair = Setup::default().up().all_by_hand();
    pair.client_wants(Wanted::Liveness);
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert_header(&request.header, ExchangeType::INFORMATIONAL, 2);
    assert_eq!(request.payloads, []);
}

#[test]
fn tahi_en_i_1_3_3_1_reserved_fields_of_informational_are_ignored() {
    let info = ExchangeType::INFORMATIONAL;
    for mutator in [mutators::set_reserved(info), mutators::set_critical(info), mutators::set_reserved_flags(info)] {
        let mut pair = Setup::default().up();
        pair.peer.mutators.push(mutator);
        pair.client_wants(Wanted::Liveness);
        let sa = pair.peer.sa();
        pair.peer.request(sa, info, vec![status(NotifyType(40_000), "?")]);
        pair.run(secs(1));
        assert_eq!(pair.response().payloads, []);
        pair.assert_settled();
    }
}

#[test]
fn tahi_en_i_1_3_4_1_notifications_nobody_knows_are_answered_and_forgotten() {
    let mut pair = Setup::default().up();
    let sa = pair.peer.sa();
    for number in [0, 1, 4, 5, 9, 11, 16_383, 16_394, 40_000, 65_535] {
        pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![status(NotifyType(number), "?")]);
        pair.run(millis(100));
        assert_eq!(pair.response().payloads, [], "{number}");
    }
    // A critical payload of an unknown type is named in the answer (§2.5).
    pair.peer.mutators.push(mutators::add_payload(ExchangeType::INFORMATIONAL, 200, true));
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
    pair.run(millis(100));
    pair.peer.mutators.clear();
    assert_eq!(pair.response().payloads, [status(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[200][..])]);
    pair.assert_settled();
}
