//! Who can prove who they are, and who cannot.

use std::sync::Arc;

use adit_testing::Port;
use adit_tunnel::{CloseKind, Secret};

use super::{Ends, ServerError, World, certificates, password, turned_away, up};
use crate::{
    AcceptedPeers, ClientAnchors, ConfigError, Credentials, EapClientError, EapMethod, EapServerMethod, Identity,
    MsChapV2Secret, PeerNotAuthenticated, PeerVerifier, ResponderConfig, SharedKey,
};

fn named(name: &str) -> Identity {
    Identity::Fqdn(name.to_owned())
}

/// Two clients have a key each, everybody else another.
fn keys(ends: &mut Ends, client: &str, key: &str) {
    let shared =
        |key: &str, identity: Option<&str>| SharedKey { key: Secret::from(key), identity: identity.map(named) };
    ends.accepted.shared_keys =
        vec![shared("of anybody", None), shared("of a", Some("a.example")), shared("of b", Some("b.example"))];
    ends.client.local_identity = Some(named(client));
    ends.peer = PeerVerifier::Psk { key: Secret::from(key), identity: None };
    ends.credentials = Credentials::Psk(Secret::from(key));
}

/// What the owner is shown, and whether the client is the only one of its name.
fn applicant(world: &World) -> (String, bool) {
    let applicant = world.listener.peers[&world.newest_peer()].applicant.clone().unwrap();
    (applicant.identity.unwrap(), applicant.alone)
}

#[test]
fn a_shared_key_may_be_one_client_s_or_anybody_s() {
    for (client, key, shown) in [
        ("a.example", "of a", ("a.example", true)),
        ("b.example", "of b", ("b.example", true)),
        // Who has it may say what it likes, and speaks for nobody else.
        ("c.example", "of anybody", ("psk:c.example", false)),
        ("psk:c.example", "of anybody", ("psk:fqdn:psk:c.example", false)),
    ] {
        let world = up(|ends| keys(ends, client, key));
        assert_eq!(applicant(&world), (shown.0.to_owned(), shown.1));
    }
}

#[test]
fn the_key_of_another_client_is_of_no_use() {
    for (said, key) in [
        ("b.example", "of a"),
        ("c.example", "of a"),
        ("a.example", "of nobody"),
        // Who has a key of its own cannot be spoken for with that of anybody, however it is spelled.
        ("a.example", "of anybody"),
        ("A.Example", "of anybody"),
    ] {
        let (client, gateway) = turned_away(|ends| keys(ends, said, key));
        assert_eq!(client, CloseKind::AuthFailed);
        let reason = PeerNotAuthenticated::WrongSharedKey;
        assert_eq!(gateway, ServerError::NotAuthenticated { claimed: Some(said.to_owned()), reason });
    }
}

/// Else one key would make any number of clients.
#[test]
fn a_name_is_spelled_as_it_is_configured_or_certified() {
    let by_key = up(|ends| keys(ends, "A.EXAMPLE", "of a"));
    assert_eq!(applicant(&by_key), ("a.example".to_owned(), true));
    let by_certificate = up(|ends| {
        ends.certificates(&certificates::P256);
        ends.client.local_identity = Some(named(&certificates::CLIENT.to_uppercase()));
    });
    assert_eq!(applicant(&by_certificate), (certificates::CLIENT.to_owned(), true));
}

/// A key for anybody does not let a client end the tunnels of others who have it too.
#[test]
fn initial_contact_with_a_key_for_anybody_ends_nothing() {
    let mut world = up(|ends| keys(ends, "c.example", "of anybody"));
    world.restart_client(0, Port::New);
    world.come_up();
    world.run(super::secs(5));
    assert_eq!(world.census().peers, 2);
    // The one that has gone is missed in the end.
    world.run(super::secs(75));
    assert_eq!(world.census().peers, 1);
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    let (client, gateway) = turned_away(|ends| {
        ends.certificates(&certificates::P256);
        ends.credentials = Credentials::Certificate(Arc::clone(&certificates::STRANGER));
    });
    assert_eq!(client, CloseKind::AuthFailed);
    assert!(matches!(gateway, ServerError::NotAuthenticated { .. }), "{gateway}");
}

#[test]
fn a_method_that_is_not_accepted_is_refused() {
    let refused = |change: &dyn Fn(&mut Ends)| {
        let (client, gateway) = turned_away(|ends| change(ends));
        assert!(matches!(client, CloseKind::AuthFailed | CloseKind::PeerNotAuthenticated), "{client:?}");
        gateway
    };
    let key = Secret::from("a key of both ends");
    // A certificate alone is accepted, and the client comes with a key.
    let with_key = refused(&|ends| {
        ends.certificates(&certificates::P256);
        ends.peer = PeerVerifier::Psk { key: key.clone(), identity: None };
        ends.credentials = Credentials::Psk(key.clone());
    });
    assert_eq!(with_key, ServerError::MethodNotAccepted("a pre-shared key"));
    // EAP alone is accepted, and the client comes with a certificate; and the other way round.
    let with_certificate = refused(&|ends| {
        ends.eap(EapMethod::Md5(password()), EapServerMethod::Md5);
        ends.credentials = Credentials::Certificate(Arc::clone(&certificates::P256.client));
    });
    assert_eq!(with_certificate, ServerError::MethodNotAccepted("a certificate"));
    let with_eap = refused(&|ends| {
        ends.eap(EapMethod::Md5(password()), EapServerMethod::Md5);
        let eap = ends.credentials.clone();
        ends.certificates(&certificates::P256);
        ends.credentials = eap;
    });
    assert_eq!(with_eap, ServerError::MethodNotAccepted("EAP"));
}

#[test]
fn a_wrong_password_is_refused() {
    let wrong = || Secret::from("wrong");
    for (client, gateway) in [
        (EapMethod::MsChapV2(MsChapV2Secret::Password(wrong())), EapServerMethod::MsChapV2),
        (EapMethod::Gtc(wrong()), EapServerMethod::Gtc),
        (EapMethod::Md5(wrong()), EapServerMethod::Md5),
    ] {
        let (client, gateway) = turned_away(|ends| ends.eap(client, gateway));
        assert_eq!(client, CloseKind::AuthFailed);
        // Also with MS-CHAPv2, where the client goes by itself when it has been told.
        assert_eq!(gateway, ServerError::Eap(EapClientError::WrongPassword("user".to_owned())));
    }
}

#[test]
fn a_gateway_with_nothing_in_common_says_so() {
    let mut world = super::plan(|ends| {
        ends.client.ike_proposals = "aes256gcm16-prfsha256-x25519".parse().unwrap();
        ends.gateway.ike_proposals = "aes128gcm16-prfsha384-ecp384".parse().unwrap();
    })
    .start(1);
    world.run(super::secs(70));
    assert_eq!(world.clients[0].driven.closed().map(|closed| closed.kind), Some(CloseKind::NoAgreement));
    // NO_PROPOSAL_CHOSEN costs nothing.
    assert!(world.listener.replies > 0 && world.listener.departed.is_empty());
    // Nothing in common for ESP: the IKE SA stands, and the client leaves.
    let (client, gateway) = turned_away(|ends| {
        ends.client.esp_proposals = "aes256gcm16".parse().unwrap();
        ends.gateway.esp_proposals = "aes128gcm16".parse().unwrap();
    });
    assert_eq!(client, CloseKind::NoAgreement);
    assert!(matches!(gateway, ServerError::Deleted | ServerError::RefusedUs(_)), "{gateway}");
}

#[test]
fn a_gateway_whose_certificate_is_not_for_it_is_refused() {
    let built = |name: &str| {
        let config = ResponderConfig::builder(AcceptedPeers {
            certificates: Some(ClientAnchors { anchors: vec![certificates::anchor()], crls: vec![] }),
            ..AcceptedPeers::default()
        });
        config.identity(named(name)).certificate(Arc::clone(&certificates::P256.gateway)).build()
    };
    assert!(built(certificates::GATEWAY).is_ok());
    let Err(ConfigError::IdentityNotCertified { identity, certified }) = built("gateway.example") else {
        panic!("it is another name");
    };
    assert_eq!(identity, "gateway.example");
    assert!(certified.contains(certificates::GATEWAY), "{certified}");
}
