//! Sessions that only want to know: they find out, tell nobody's secrets, and leave nothing behind.

use std::sync::Arc;

use adit_testing::SeededRandom;
use adit_tunnel::{CloseKind, Epoch, Path, Transport};
use bytes::Bytes;

use super::{
    START, UNIX_START,
    authentication::eap,
    mutators,
    pair::{GATEWAY, Pair, SEEN_AS, Setup},
    peer::EapScript,
    pki::{Leaf, OTHER_CA},
    secs,
};
use crate::{
    Detour, PeerNotAuthenticated, Probe, ProbeChild, ProbeReport, Session, SessionError,
    message::{
        Payload,
        numbers::{ExchangeType, NotifyType},
    },
};

/// Runs a probe to its end, and checks that nothing of it is left.
fn probe(setup: Setup, login: bool) -> (Pair, ProbeReport) {
    probe_of(setup, login, |_| {})
}

fn probe_of(setup: Setup, login: bool, change: impl FnOnce(&mut Pair)) -> (Pair, ProbeReport) {
    let mut pair = setup.start();
    change(&mut pair);
    let path = Path {
        transport: Transport::Udp,
        local: Some(SEEN_AS.parse().unwrap()),
        remote: format!("{GATEWAY}:{}", pair.config.remotes()[0].port).parse().unwrap(),
    };
    let random = Box::new(SeededRandom::new(7));
    let epoch = Epoch::new(*START, UNIX_START);
    pair.client = Session::probe(Arc::clone(&pair.config), 0, path, random, epoch, *START, Probe { login }).unwrap();
    pair.ends();
    pair.run(secs(30));
    assert!(pair.peer.children.is_empty(), "a child came of it");
    let report = pair.client.probe_report().unwrap().clone();
    (pair, report)
}

fn announces_childless(setup: &mut Setup) {
    setup.script.childless = true;
}

/// It ended well, and the gateway has been told.
fn assert_good(pair: &Pair, report: &ProbeReport) {
    assert_eq!(pair.closed().kind, CloseKind::Local, "{:?}", pair.error());
    assert!(report.authenticated && report.deleted, "{report:?}");
    assert!(pair.peer.sas.iter().all(|sa| !sa.alive));
}

#[test]
fn a_probe_with_a_pre_shared_key_makes_no_child_and_deletes_its_ike_sa() {
    for childless in [true, false] {
        let (pair, report) = probe(Setup::new(|setup| setup.script.childless = childless), false);
        assert_good(&pair, &report);
        assert_eq!(report.child, Some(if childless { ProbeChild::Childless } else { ProbeChild::Unacceptable }));
        assert_eq!(report.accepted_us, Some(true));
        assert_eq!(report.identity.as_deref(), Some("vpn.example"));
        assert_eq!(report.proof.as_deref(), Some("pre-shared key"));
        assert_eq!(report.suite.as_deref(), Some(&*pair.peer.sas[0].suite.to_string()));
        assert!(report.first_answer.is_some());
        let auth = &pair.peer.heard[1];
        assert_eq!(auth.sa().is_some(), !childless, "what is offered");
        assert!(auth.cp().is_none(), "no address is asked for");
        assert!(auth.notify(NotifyType::INITIAL_CONTACT).is_none(), "nobody else's session is ended");
        assert_eq!(pair.peer.heard.last().unwrap().header.exchange, ExchangeType::INFORMATIONAL);
    }
}

#[test]
fn without_login_eap_ends_where_the_gateway_has_proved_itself() {
    let (pair, report) = probe(eap(announces_childless), false);
    assert_good(&pair, &report);
    assert_eq!((report.eap, report.accepted_us), (vec!["EAP-Identity".to_owned()], None));
    assert_eq!(report.certificates.len(), 1);
    assert!(report.certificates[0].names.contains(&"vpn.example".to_owned()), "{:?}", report.certificates);
    assert!(pair.peer.heard.iter().all(|message| message.eap().is_none()), "something was said in EAP");
}

#[test]
fn with_login_the_credentials_are_tried() {
    let (pair, report) = probe(eap(announces_childless), true);
    assert_good(&pair, &report);
    assert_eq!(
        (report.eap, report.accepted_us),
        (vec!["EAP-Identity".to_owned(), "EAP-MSCHAPv2".to_owned()], Some(true))
    );
    let wrong = eap(|setup| setup.script.eap = Some(EapScript { password: "other", identity: false }));
    let (pair, report) = probe(wrong, true);
    assert_eq!(pair.closed().kind, CloseKind::AuthFailed);
    assert!(report.authenticated && report.accepted_us == Some(false), "{report:?}");
}

#[test]
fn a_refused_gateway_is_described_all_the_same() {
    let other = eap(|setup| setup.script.certificate = Some(Arc::new(Leaf::new("vpn.example", &OTHER_CA))));
    let (pair, report) = probe(other, false);
    assert_eq!(pair.error(), &SessionError::PeerNotAuthenticated(PeerNotAuthenticated::UnknownIssuer));
    assert!(!report.authenticated);
    assert_eq!((report.identity.as_deref(), report.certificates.len()), (Some("vpn.example"), 1));
}

#[test]
fn what_the_gateway_wanted_first_is_told_in_order() {
    let setup = Setup::new(|setup| {
        setup.script.cookie = Some(Bytes::from_static(b"biscuit"));
        setup.settings.ike_proposals = "aes256gcm16-prfsha384-ecp384-modp2048".parse().unwrap();
        setup.script.ike = "aes256gcm16-prfsha384-modp2048".parse().unwrap();
    });
    let (pair, report) = probe(setup, false);
    assert_good(&pair, &report);
    assert_eq!(report.detours[0], Detour::Cookie);
    assert!(matches!(&report.detours[1], Detour::Group(group) if group.contains("2048")), "{report:?}");
    assert_eq!(report.suite.as_deref(), Some("aes256gcm16-prfsha384-modp2048"));
}

#[test]
fn where_nothing_is_agreed_what_was_offered_is_told() {
    let offered = "aes256gcm16-prfsha384-ecp384";
    let setup = Setup::new(|setup| {
        setup.settings.ike_proposals = offered.parse().unwrap();
        setup.script.ike = "aes128-sha256-ecp521".parse().unwrap();
    });
    let (pair, report) = probe(setup, false);
    assert_eq!(pair.closed().kind, CloseKind::NoAgreement);
    assert_eq!(report.detours, [Detour::Refused("NO_PROPOSAL_CHOSEN".to_owned())]);
    assert_eq!((&*report.offered, report.suite), (offered, None));
}

#[test]
fn translated_addresses_are_seen() {
    let (_, report) = probe(Setup::default(), false);
    assert_eq!((report.nat_at_our_end, report.nat_at_their_end), (Some(false), Some(false)));
    let (_, report) = probe(Setup::new(|setup| setup.script.fake_nat = true), false);
    assert_eq!(report.nat_at_their_end, Some(true));
}

#[test]
fn a_gateway_that_wants_a_child_before_it_proves_itself_is_told_apart() {
    let refusal = || vec![Payload::notify(NotifyType::NO_PROPOSAL_CHOSEN, "")];
    let refuses = mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| *payloads = refusal());
    let (pair, report) = probe_of(Setup::default(), false, |pair| pair.peer.mutators.push(refuses));
    assert!(matches!(pair.error(), SessionError::NoProofWithoutChild(_)), "{:?}", pair.error());
    assert!(!report.authenticated && report.certificates.is_empty());
}

#[test]
fn a_silent_gateway_has_no_report() {
    let (pair, report) = probe_of(Setup::default(), false, |pair| pair.network.cut_up = true);
    assert!(matches!(pair.error(), SessionError::NoAnswer { .. }), "{:?}", pair.error());
    assert_eq!((report.first_answer, report.suite), (None, None));
}
