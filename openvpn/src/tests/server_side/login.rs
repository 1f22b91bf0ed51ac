//! Users and passwords, judged at once, later, or never.

use std::time::Duration;

use adit_tunnel::{CloseKind, Prompt, Retry, Secret, Verdict};

use super::net::{Owner, Setup, network};
use crate::{
    config::Credentials,
    error::SessionError,
    server::ServerSessionError,
    session::iv_proto,
    tests::{millis, secs},
};

fn wrong(setup: &mut Setup) {
    setup.credentials = Some(Credentials { username: "user".to_owned(), password: Secret::from("wrong") });
}

#[test]
fn a_right_password_comes_in_and_the_owner_saw_it() {
    let mut net = Setup::default().up();
    let applicant = net.peer().applicants.pop().unwrap();
    let login = applicant.login.unwrap();
    assert_eq!((login.user.as_str(), login.password.expose()), ("user", b"password".as_slice()));
    assert_eq!((applicant.identity, applicant.again, applicant.alone), (None, false, false));
    assert!(net.peer().applicants.is_empty());
}

#[test]
fn the_client_gets_what_the_owner_gave() {
    let mut net = Setup::default().up();
    let id = *net.peers.keys().next().unwrap();
    let given = network(id);
    let (pulled, known) = (net.client().ups[0].clone(), net.peer().end.ups[0].clone());
    assert_eq!((&pulled.addresses, pulled.gateway4), (&given.addresses, given.gateway4));
    assert_eq!(known.addresses, given.addresses);
    assert_eq!((known.mtu, known.tcp_mtu), (pulled.mtu, pulled.tcp_mtu));
}

#[test]
fn a_wrong_password_is_refused_with_auth_failed() {
    let mut net = Setup::new(wrong).fails();
    assert_eq!(*net.client_error(), SessionError::AuthFailed(String::new()));
    net.run(secs(1));
    assert_eq!(net.server_error(), (CloseKind::PeerNotAuthenticated, &ServerSessionError::Refused));
    assert!(net.gone[0].end.keys.is_empty() && net.client().keys.is_empty(), "no key before the verdict");
    assert_eq!((net.server.peers(), net.server.half_open_peers()), (0, 0));
}

#[test]
fn a_verdict_may_take_nearly_the_hand_window() {
    for wait in [millis(500), secs(3), secs(55)] {
        for withheld in [0, iv_proto::AUTH_PENDING, iv_proto::REQUEST_PUSH] {
            let mut net = Setup::new(|setup| {
                setup.owner = Owner::ChecksAfter(wait);
                setup.withheld = withheld;
            })
            .up();
            net.assert_traffic_flows();
        }
    }
}

#[test]
fn a_wrong_password_found_out_later_is_refused_too() {
    let net = Setup::new(|setup| {
        wrong(setup);
        setup.owner = Owner::ChecksAfter(secs(20));
    })
    .fails();
    assert_eq!(*net.client_error(), SessionError::AuthFailed(String::new()));
}

#[test]
fn a_verdict_that_never_comes_ends_with_the_hand_window() {
    let mut net = Setup::new(|setup| setup.owner = Owner::NeverAnswers).start();
    net.run(secs(59));
    assert_eq!((net.peers.len(), net.server.half_open_peers()), (1, 1));
    net.run(secs(2));
    let (kind, error) = net.server_error();
    assert_eq!(kind, CloseKind::TimedOut);
    let stage = "the client was being let in";
    assert_eq!(*error, ServerSessionError::HandshakeTimeout { window: secs(60), stage });
    assert!(net.client().ups.is_empty() && net.gone[0].end.keys.is_empty());
    assert_eq!(net.server.half_open_peers(), 0);
}

#[test]
fn a_verdict_too_late_or_twice_changes_nothing() {
    let mut net = Setup::default().up();
    let before = net.peer().end.keys.clone();
    for verdict in [Verdict::Refused, Verdict::NoAddress, Verdict::Admitted(Box::default())] {
        net.with_peer(|peer, now| adit_tunnel::Answering::handle_verdict(peer, now, verdict));
    }
    net.assert_traffic_flows();
    assert_eq!((net.peer().end.keys.clone(), net.peer().end.ups.len()), (before, 1));
}

#[test]
fn a_client_that_can_is_told_that_it_has_to_wait() {
    let mut net = Setup::new(|setup| {
        setup.owner = Owner::ChecksAfter(secs(10));
        setup.server.pending_info = Some("OPEN_URL:https://example/login".to_owned());
    })
    .up();
    assert_eq!(net.client().prompts, [Prompt::OpenUrl { url: "https://example/login".to_owned() }]);
}

#[test]
fn no_address_and_not_now_are_told_as_temporary() {
    for (owner, text, kind, retry) in [
        (Owner::HasNoAddress, "no address is free", ServerSessionError::NoAddress, secs(60)),
        (Owner::Says(secs(42)), "come back later", ServerSessionError::Later, secs(42)),
    ] {
        let mut net = Setup::new(|setup| setup.owner = owner).fails();
        assert_eq!(*net.client_error(), SessionError::AuthFailedTemporarily(text.to_owned()));
        assert_eq!(net.client().closed.as_ref().unwrap().retry, Retry::After(retry));
        net.run(secs(1));
        assert_eq!(*net.server_error().1, kind);
        let old = Setup::new(|setup| {
            setup.owner = owner;
            setup.withheld = iv_proto::AUTH_FAILED_TEMP;
        })
        .fails();
        assert_eq!(*old.client_error(), SessionError::AuthFailed(text.to_owned()));
    }
}

#[test]
fn a_client_without_a_user_name_is_not_even_asked_about() {
    let mut net = Setup::new(|setup| {
        setup.credentials = None;
        setup.identity = Some(crate::tests::pki::CLIENT.identity());
    })
    .fails();
    assert_eq!(*net.client_error(), SessionError::AuthFailed(String::new()));
    net.run(secs(1));
    assert_eq!(*net.server_error().1, ServerSessionError::NoLogin);
    assert!(net.gone[0].applicants.is_empty());
}

#[test]
fn the_password_is_judged_again_at_each_renegotiation() {
    let mut net = Setup::default().up();
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(secs(2));
    let applicants = &net.peer().applicants;
    assert_eq!(applicants.len(), 2);
    assert!(applicants[1].again && applicants[1].login.is_some());
    assert_eq!(net.peer().end.ups.len(), 1, "nothing about the network has changed");
}

#[test]
fn a_slow_verdict_at_a_renegotiation_loses_no_packet() {
    let mut net = Setup::default().up();
    net.setup.owner = Owner::ChecksAfter(secs(40));
    net.start_traffic(millis(50));
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(secs(39));
    assert_eq!(net.client().keys, ["+0", "seal 0"], "no key before the verdict");
    net.run(secs(120));
    assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"]);
    net.assert_nothing_lost();
}

#[test]
fn a_refusal_at_a_renegotiation_ends_the_session_and_its_keys_at_once() {
    let mut net = Setup::default().up();
    net.setup.owner = Owner::HasNoAddress;
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(Duration::from_secs(2));
    assert_eq!(net.gone[0].end.keys, ["+0", "seal 0", "no flow", "-0"]);
    assert_eq!(*net.server_error().1, ServerSessionError::NoAddress);
    assert!(matches!(net.client_error(), SessionError::AuthFailedTemporarily(_)));
}

#[test]
fn a_verdict_never_given_at_a_renegotiation_ends_the_session() {
    let mut net = Setup::default().up();
    net.setup.owner = Owner::NeverAnswers;
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(secs(70));
    let stage = "the client's login was being judged";
    assert_eq!(*net.server_error().1, ServerSessionError::HandshakeTimeout { window: secs(60), stage });
}
