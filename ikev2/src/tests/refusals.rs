//! What the gateway refuses, and what becomes of it.

use adit_tunnel::{CloseKind, Retry};
use bytes::Bytes;

use super::{
    millis, mutators,
    pair::{Pair, Setup},
    secs,
};
use crate::{
    PeerMisbehaved, SessionError,
    exchange::Wanted,
    message::{
        Delete, Message, Notify, Payload,
        numbers::{DhGroup, ExchangeType, NotifyType},
    },
};

#[test]
fn no_common_proposal_for_ike() {
    let pair = Setup::new(|setup| {
        setup.settings.ike_proposals = "aes256gcm16-prfsha384-ecp384".parse().unwrap();
        setup.script.ike = "aes128-sha256-x25519".parse().unwrap();
    })
    .fails();
    assert!(matches!(pair.error(), SessionError::NoIkeProposal(_)), "{:?}", pair.error());
    assert_eq!(pair.closed().kind, CloseKind::NoAgreement);
    // Not at once: anybody could have said so.
    assert!(pair.closed_after() >= millis(500));
}

#[test]
fn no_common_proposal_for_esp() {
    let pair = Setup::new(|setup| {
        setup.settings.esp_proposals = "aes256gcm16".parse().unwrap();
        setup.script.esp = "aes128-sha256".parse().unwrap();
    })
    .fails();
    assert!(matches!(pair.error(), SessionError::NoEspProposal(_)), "{:?}", pair.error());
    assert_eq!(pair.closed().kind, CloseKind::NoAgreement);
}

#[test]
fn each_error_about_the_child_has_its_own_end_and_the_gateway_is_told() {
    let cases = [
        (NotifyType::TS_UNACCEPTABLE, SessionError::TrafficSelectors, CloseKind::NoAgreement),
        (NotifyType::SINGLE_PAIR_REQUIRED, SessionError::TrafficSelectors, CloseKind::NoAgreement),
        (NotifyType::INTERNAL_ADDRESS_FAILURE, SessionError::NoAddress, CloseKind::PeerClosed),
        (NotifyType::FAILED_CP_REQUIRED, SessionError::AddressRequired, CloseKind::NoAgreement),
    ];
    for (notify, error, kind) in cases {
        let mut pair = Setup::new(|setup| setup.script.child_error = Some(notify)).fails();
        assert_eq!((pair.error(), pair.closed().kind), (&error, kind), "{notify}");
        pair.run(secs(1));
        assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Ike)], "{notify}");
        assert!(!pair.peer.sas[0].alive);
    }
}

#[test]
fn errors_we_have_no_word_for_are_named_by_their_number() {
    for (number, words) in [(16_383, "16383"), (34, ""), (45, "AUTHORIZATION_FAILED")] {
        let pair = Setup::new(|setup| setup.script.child_error = Some(NotifyType(number))).fails();
        assert!(pair.closed().to_string().contains(words), "{}", pair.closed());
    }
}

#[test]
fn temporary_failure_is_tried_again_and_nothing_is_lost() {
    for wanted in ["child", "ike"] {
        let mut pair = Setup::default().up();
        pair.start_traffic(millis(20));
        pair.peer.script.create_error = Some(Notify::status(NotifyType::TEMPORARY_FAILURE, ""));
        let child = pair.client_child();
        pair.client_wants(if wanted == "ike" { Wanted::RekeyIke } else { Wanted::RekeyChild(child) });
        pair.run(secs(11));
        let tries = pair.peer.heard.iter().filter(|m| m.header.exchange == ExchangeType::CREATE_CHILD_SA).count();
        assert!((5..=7).contains(&tries), "every 2 s or so: {tries}");
        pair.peer.script.create_error = None;
        pair.run(secs(5));
        assert_eq!((pair.peer.sas.len(), pair.peer.children.len()), if wanted == "ike" { (2, 1) } else { (1, 2) });
        pair.stop_traffic();
        pair.assert_nothing_lost();
        pair.assert_settled();
    }
}

#[test]
fn temporary_failure_for_minutes_ends_the_session() {
    let mut pair = Setup::default().up();
    pair.peer.script.create_error = Some(Notify::status(NotifyType::TEMPORARY_FAILURE, ""));
    pair.client_wants(Wanted::RekeyIke);
    pair.ends();
    assert_eq!(pair.error(), &PeerMisbehaved::TemporaryForever.into());
    assert!((secs(180)..secs(190)).contains(&pair.closed_after()), "{:?}", pair.closed_after());
}

/// The peer's KE of every CREATE_CHILD_SA so far.
fn groups_tried(pair: &Pair) -> Vec<Option<DhGroup>> {
    let create = pair.peer.heard.iter().filter(|m| m.header.exchange == ExchangeType::CREATE_CHILD_SA);
    create.map(|m| m.ke().map(|ke| ke.group)).collect()
}

/// What facts say of perfect forward secrecy: configured here, or there, or nowhere.
#[test]
fn perfect_forward_secrecy_is_found_out_at_the_first_rekeying() {
    const X: Option<DhGroup> = Some(DhGroup::CURVE25519);
    const P: Option<DhGroup> = Some(DhGroup::ECP_256);
    let none = vec![DhGroup::NONE];
    let cases = [
        // Ours, theirs, what is tried.
        ("aes256gcm16", vec![DhGroup::CURVE25519, DhGroup::NONE], vec![X]),
        ("aes256gcm16", vec![DhGroup::CURVE25519], vec![X]),
        ("aes256gcm16", none, vec![X]),
        ("aes256gcm16-ecp256", vec![DhGroup::ECP_256], vec![P]),
        ("aes256gcm16-x25519-ecp256", vec![DhGroup::ECP_256], vec![X, P]),
    ];
    for (ours, theirs, tried) in cases {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = "aes256gcm16-prfsha256-x25519".parse().unwrap();
            setup.settings.esp_proposals = ours.parse().unwrap();
            setup.script.groups = theirs.clone();
        })
        .up();
        let child = pair.client_child();
        pair.client_wants(Wanted::RekeyChild(child));
        pair.run(secs(1));
        assert_eq!(groups_tried(&pair), tried, "{ours} with {theirs:?}");
        assert_eq!(pair.peer.children.len(), 2);
        pair.assert_settled();
    }
}

#[test]
fn a_gateway_without_groups_is_asked_again_without() {
    let mut pair = Setup::new(|setup| setup.settings.esp_proposals = "aes256gcm16".parse().unwrap()).up().all_by_hand();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_refuses(NotifyType::NO_PROPOSAL_CHOSEN);
    pair.down();
    pair.up();
    let request = pair.peer.heard.last().unwrap();
    assert!(request.ke().is_none() && request.notify(NotifyType::REKEY_SA).is_some());
    assert!(request.sa().unwrap().proposals.iter().all(|p| p.transforms.iter().all(|t| t.transform_type.0 != 4)));
    pair.peer_answers();
    pair.down();
    pair.client_exchange();
    pair.assert_settled();
}

#[test]
fn a_refused_rekeying_of_a_child_leads_to_a_new_handshake() {
    let group = |number: u16| Bytes::copy_from_slice(&number.to_be_bytes());
    let cases = [
        // Perfect forward secrecy is insisted on.
        ("aes256gcm16-ecp256", Notify::status(NotifyType::NO_PROPOSAL_CHOSEN, "")),
        // Groups we do not have, or do not want: 1025 is an internal number of somebody (CVE-2014-9221).
        ("aes256gcm16", Notify::status(NotifyType::INVALID_KE_PAYLOAD, group(1025))),
        ("aes256gcm16", Notify::status(NotifyType::INVALID_KE_PAYLOAD, group(0))),
        ("aes256gcm16", Notify::status(NotifyType::INVALID_KE_PAYLOAD, group(2))),
        ("aes256gcm16", Notify::status(NotifyType::INVALID_KE_PAYLOAD, "")),
        ("aes256gcm16", Notify::status(NotifyType::INVALID_KE_PAYLOAD, &b"\0"[..])),
        ("aes256gcm16", Notify::status(NotifyType::NO_ADDITIONAL_SAS, "")),
        ("aes256gcm16", Notify::status(NotifyType::TS_UNACCEPTABLE, "")),
        ("aes256gcm16", Notify::status(NotifyType(16_383), "")),
    ];
    for (esp, error) in cases {
        let mut pair = Setup::new(|setup| setup.settings.esp_proposals = esp.parse().unwrap()).up();
        pair.peer.script.create_error = Some(error.clone());
        pair.start_traffic(millis(20));
        let child = pair.client_child();
        pair.client_wants(Wanted::RekeyChild(child));
        pair.run(secs(2));
        assert_eq!(pair.peer.inits.len(), 2, "{error:?}");
        pair.stop_traffic();
        pair.assert_nothing_lost();
        pair.assert_settled();
    }
}

#[test]
fn a_gateway_that_wants_yet_another_group_for_ever_does_not_keep_us_busy() {
    let mut pair = Setup::new(|setup| setup.settings.esp_proposals = "aes256gcm16-x25519-ecp256".parse().unwrap())
        .up()
        .all_by_hand();
    pair.client_rekeys_child();
    for round in 0..20 {
        pair.settle();
        if pair.client_sent.is_empty() || !pair.peer.inits.is_empty() && pair.peer.inits.len() > 1 {
            return;
        }
        pair.up_one();
        let Some(incoming) = pair.peer.inbox.pop_front() else { return };
        let group: &[u8] = if round % 2 == 0 { &[0, 19] } else { &[0, 31] };
        pair.peer.respond(
            &incoming,
            vec![Payload::Notify(Notify::status(NotifyType::INVALID_KE_PAYLOAD, Bytes::copy_from_slice(group)))],
        );
        pair.down();
    }
    panic!("an endless loop of INVALID_KE_PAYLOAD");
}

#[test]
fn invalid_syntax_in_an_answer_ends_the_session_without_a_farewell() {
    let mut pair = Setup::default().up().all_by_hand();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_refuses(NotifyType::INVALID_SYNTAX);
    pair.down();
    assert_eq!(pair.error(), &PeerMisbehaved::CannotReadUs.into());
    pair.assert_client_is_silent();
}

#[test]
fn authentication_failed_after_the_fact_ends_the_session() {
    let mut pair = Setup::default().up();
    let sa = pair.peer.sa();
    let failed = super::peer::status(NotifyType::AUTHENTICATION_FAILED, "");
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![failed]);
    pair.run(secs(1));
    assert_eq!(pair.closed().kind, CloseKind::AuthFailed);
    assert_eq!(pair.peer.responses.len(), 1);
}

#[test]
fn a_gateway_without_nat_traversal_is_no_use_at_port_500() {
    let pair = {
        let mut pair = Setup::default().start();
        pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_SA_INIT, |payloads| {
            payloads.retain(|payload| {
                !matches!(payload, Payload::Notify(n)
                    if n.notify_type == NotifyType::NAT_DETECTION_DESTINATION_IP
                    || n.notify_type == NotifyType::NAT_DETECTION_SOURCE_IP)
            });
        }));
        pair.ends();
        pair
    };
    assert_eq!(pair.error(), &SessionError::NoEncapsulation);
    assert_eq!(pair.closed().retry, Retry::NextRemote);
}

#[test]
fn windows_tells_its_error_in_a_notification_of_its_own() {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_AUTH, |payloads| {
        *payloads =
            vec![super::peer::status(NotifyType::MS_NOTIFY_STATUS, Bytes::copy_from_slice(&691u32.to_be_bytes()))];
    }));
    pair.ends();
    assert!(pair.closed().to_string().contains("691"), "{}", pair.closed());
}

/// Also what we refused: the answer may be lost.
#[test]
fn a_request_that_was_refused_is_refused_again() {
    let mut pair = Setup::default().up().all_by_hand();
    let sa = pair.peer.sa();
    pair.peer.mutators.push(mutators::add_payload(ExchangeType::INFORMATIONAL, 200, true));
    pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
    let said = pair.peer_says();
    pair.client_hears(&said);
    let answer = pair.client_says().datagram;
    pair.client_hears(&said);
    assert_eq!(pair.client_says().datagram, answer);
    pair.peer_hears(&super::pair::Travelling { datagram: answer, ..said });
    assert!(pair.response().notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).is_some());
    pair.peer.mutators.clear();
    pair.assert_settled();
}

/// Anybody could have sent it: the true answer is still good.
#[test]
fn a_forged_public_value_does_not_end_the_handshake() {
    for group in ["x25519", "ecp256", "ecp384", "ecp521", "modp2048"] {
        let mut pair = Setup::new(|setup| {
            setup.settings.ike_proposals = format!("aes256gcm16-prfsha256-{group}").parse().unwrap();
            setup.script.ike = setup.settings.ike_proposals.clone();
        })
        .start();
        pair.take_over();
        pair.up();
        let truth = pair.peer_says();
        let mut forged = Message::decode(&truth.datagram).unwrap();
        for payload in &mut forged.payloads {
            if let Payload::Ke(ke) = payload {
                ke.public = vec![0; ke.public.len()].into();
            }
        }
        pair.client_hears(&super::pair::Travelling { datagram: forged.encode(), ..truth.clone() });
        assert!(pair.log.closed.is_none(), "{group}: {:?}", pair.log.closed);
        pair.assert_client_is_silent();
        pair.client_hears(&truth);
        pair.up();
        pair.down();
        assert_eq!(pair.log.ups.len(), 1, "{group}");
    }
}

#[test]
fn an_invalid_public_value_is_believed_if_nothing_better_comes() {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_SA_INIT, |payloads| {
        for payload in payloads {
            if let Payload::Ke(ke) = payload {
                ke.public = vec![0; ke.public.len()].into();
            }
        }
    }));
    pair.ends();
    assert_eq!(pair.error(), &PeerMisbehaved::KeInvalid.into());
    assert!(pair.closed_after() >= millis(500));
}
