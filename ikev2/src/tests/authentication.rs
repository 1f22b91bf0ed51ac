//! Who proves what to whom, and when (RFC 7296 §2.15, §2.16): nothing of ours leaves before the gateway has proved itself.

use std::sync::Arc;

use adit_tunnel::{CloseKind, Secret};
use bytes::Bytes;

use super::{
    mutators,
    pair::{Pair, Setup},
    peer::{EapScript, eap_request},
    pki::{CA, Leaf, OTHER_CA},
    secs,
};
use crate::{
    CertificateVerifier, Credentials, EapCredentials, EapMethod, EapTlsServer, ExpectedIdentity, Identity,
    MsChapV2Secret, PeerVerifier, SessionError, TlsVersion, TtlsInner,
    message::{
        Authentication, Identification, Payload,
        numbers::{AuthMethod, ExchangeType, IdType, NotifyType, PayloadType},
    },
};

/// A gateway with a certificate, a client with EAP-MSCHAPv2.
pub(super) fn eap(change: impl FnOnce(&mut Setup)) -> Setup {
    Setup::new(|setup| {
        setup.peer = PeerVerifier::Certificate(CertificateVerifier {
            anchors: vec![CA.as_ref().der().clone()],
            crls: vec![],
            identity: ExpectedIdentity::Host,
        });
        let secret = MsChapV2Secret::Password(Secret::from("secret"));
        let methods = vec![EapMethod::MsChapV2(secret)];
        setup.credentials = Credentials::Eap(EapCredentials { identity: "user".to_owned(), methods });
        setup.script.certificate = Some(Arc::new(Leaf::new("vpn.example", &CA)));
        setup.script.eap = Some(EapScript { password: "secret", identity: true });
        change(setup);
    })
}

fn heard(pair: &Pair, has: impl Fn(&crate::message::Message) -> bool) -> bool {
    pair.peer.heard.iter().any(has)
}

/// It ended because the gateway could not prove itself, it was told so, and nothing of EAP has left.
fn assert_refused_before_eap(mut pair: Pair) {
    assert_eq!(pair.closed().kind, CloseKind::PeerNotAuthenticated, "{:?}", pair.error());
    pair.run(secs(1));
    assert!(!heard(&pair, |message| message.eap().is_some()), "EAP data has left");
    let last = pair.peer.heard.last().unwrap();
    assert_eq!(last.header.exchange, ExchangeType::INFORMATIONAL);
    assert!(last.notify(NotifyType::AUTHENTICATION_FAILED).is_some());
}

#[test]
fn eap_mschapv2_with_and_without_identity() {
    for identity in [true, false] {
        let mut pair = eap(|setup| setup.script.eap = Some(EapScript { password: "secret", identity })).up();
        assert_eq!(pair.peer.heard.len(), if identity { 6 } else { 5 });
        assert!(pair.peer.heard[1].auth().is_none());
        assert!(pair.peer.heard[2].payloads.iter().all(|p| p.payload_type() == PayloadType::EAP));
        pair.assert_settled();
    }
}

/// The script does not verify signatures: what matters here is what we send, and that all ends well.
#[test]
fn a_certificate_of_ours_is_shown_and_signed_with() {
    let leaf = Leaf::new("client.example", &CA);
    let pair = eap(|setup| {
        setup.credentials = Credentials::Certificate(Arc::new(leaf.identity()));
        setup.script.eap = None;
        setup.script.pretend_auth = true;
    })
    .up();
    let auth = &pair.peer.heard[1];
    assert_eq!(auth.certs().next().unwrap().data[..], leaf.certificate[..]);
    assert_eq!(auth.id_i().unwrap().id_type, IdType::DER_ASN1_DN);
    // ecdsa-with-SHA256, of RFC 7427.
    let proof = auth.auth().unwrap();
    assert_eq!(proof.method, AuthMethod::DIGITAL_SIGNATURE);
    assert_eq!(proof.data[..3], [12, 0x30, 10]);
}

#[test]
fn a_wrong_password_is_named_as_such() {
    let pair = eap(|setup| setup.script.eap = Some(EapScript { password: "other", identity: true })).fails();
    assert_eq!(pair.closed().kind, CloseKind::AuthFailed, "{:?}", pair.error());
}

#[test]
fn a_gateway_with_a_certificate_of_another_authority_learns_nothing() {
    assert_refused_before_eap(
        eap(|setup| setup.script.certificate = Some(Arc::new(Leaf::new("vpn.example", &OTHER_CA)))).fails(),
    );
}

/// Valid, but somebody else's (CVE-2015-4171).
#[test]
fn a_gateway_with_somebody_elses_name_learns_nothing() {
    let other = || Some(Arc::new(Leaf::new("other.example", &CA)));
    assert_refused_before_eap(eap(|setup| setup.script.certificate = other()).fails());
    let both = |setup: &mut Setup| {
        setup.script.certificate = other();
        setup.script.id = Identity::Fqdn("other.example".to_owned());
    };
    assert_refused_before_eap(eap(both).fails());
}

/// The certificate of the right gateway, without its key (CVE-2020-16088 is of this kind).
#[test]
fn a_gateway_without_the_key_of_its_certificate_learns_nothing() {
    let stolen = Leaf::new("vpn.example", &CA).stolen();
    assert_refused_before_eap(eap(|setup| setup.script.certificate = Some(Arc::new(stolen))).fails());
}

/// A method we did not ask for: here a key that anybody knows.
#[test]
fn a_gateway_with_another_kind_of_proof_learns_nothing() {
    assert_refused_before_eap(eap(|setup| setup.script.certificate = None).fails());
}

#[test]
fn a_proof_of_any_other_method_is_refused() {
    for method in [0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 255] {
        for data in [Bytes::new(), Bytes::from_static(&[0; 32]), Bytes::from_static(&[0xff; 300])] {
            let mut pair = eap(|_| {}).start();
            pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| {
                for payload in payloads {
                    if let Payload::Auth(auth) = payload {
                        *auth = Authentication { method: AuthMethod(method), data: data.clone() };
                    }
                }
            }));
            pair.ends();
            assert_refused_before_eap(pair);
        }
    }
}

#[test]
fn a_gateway_without_proof_learns_nothing() {
    let mut pair = eap(|_| {}).start();
    pair.peer.mutators.push(mutators::remove(ExchangeType::IKE_AUTH, PayloadType::AUTH));
    pair.ends();
    assert_eq!(pair.error(), &SessionError::NoProof);
    assert_refused_before_eap(pair);
}

fn replace_eap(id: u32, packet: &'static [u8]) -> mutators::Mutator {
    mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| {
        for payload in payloads {
            if let Payload::Eap(eap) = payload {
                *eap = Bytes::from_static(packet);
            }
        }
    })
    .at(id)
}

/// Success before the method is done proves nothing (CVE-2021-45079, CVE-2015-8023).
#[test]
fn early_success_is_refused_in_every_state() {
    for id in 1..=3 {
        let mut pair = eap(|_| {}).start();
        pair.peer.mutators.push(replace_eap(id, &[3, 0, 0, 4]));
        pair.ends();
        pair.run(secs(1));
        assert!(matches!(pair.error(), SessionError::Eap(_)), "{id}: {:?}", pair.error());
        assert!(!heard(&pair, |message| message.auth().is_some()), "{id}: AUTH has left");
    }
}

#[test]
fn a_failure_of_eap_in_any_state_is_the_end() {
    for id in 1..=4 {
        let mut pair = eap(|_| {}).start();
        pair.peer.mutators.push(replace_eap(id, &[4, 0, 0, 4]));
        pair.ends();
        assert!(!heard(&pair, |message| message.auth().is_some()), "{id}: AUTH has left");
    }
}

#[test]
fn packets_of_eap_that_make_no_sense_end_it() {
    for packet in [&[1, 1, 0, 4][..], &[2, 1, 0, 5, 1], &[9, 1, 0, 4], &[1, 1, 0, 5, 26], &[1, 1, 0, 6, 26, 3]] {
        for id in 1..=4 {
            let mut pair = eap(|_| {}).start();
            pair.peer.mutators.push(replace_eap(id, packet));
            pair.ends();
            assert_eq!(pair.log.ups.len(), 0);
        }
    }
}

/// The whole child in the first answer, and no EAP: as if we had proved something.
#[test]
fn a_gateway_that_skips_eap_is_refused() {
    let mut pair = eap(|_| {}).start();
    pair.peer.mutators.push(mutators::remove(ExchangeType::IKE_AUTH, PayloadType::EAP));
    pair.ends();
    assert_eq!(pair.error(), &crate::PeerMisbehaved::EapMissing.into());
    assert_eq!(pair.log.keys, []);
}

#[test]
fn the_last_proof_must_be_made_with_the_key_of_eap() {
    for (method, data) in [(2, &[0; 32][..]), (2, &[]), (14, &[1; 70]), (1, &[0; 256])] {
        let mut pair = eap(|_| {}).start();
        pair.peer.mutators.push(
            mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| {
                for payload in payloads {
                    if let Payload::Auth(auth) = payload {
                        *auth = Authentication { method: AuthMethod(method), data: Bytes::copy_from_slice(data) };
                    }
                }
            })
            .at(5),
        );
        pair.ends();
        assert_eq!(pair.closed().kind, CloseKind::PeerNotAuthenticated, "{:?}", pair.error());
        assert_eq!(pair.log.keys, []);
    }
}

#[test]
fn a_method_we_did_not_configure_gets_a_nak() {
    let mut pair = eap(|_| {}).start();
    // EAP-MD5.
    pair.peer.mutators.push(
        mutators::payloads(ExchangeType::IKE_AUTH, |payloads| {
            for payload in payloads {
                if let Payload::Eap(eap) = payload {
                    *eap = eap_request(1, 4, &[16; 17]);
                }
            }
        })
        .at(1),
    );
    pair.take_over();
    pair.peer.script.auto = false;
    pair.up();
    pair.down();
    pair.up();
    pair.peer_answers();
    pair.down();
    pair.up();
    let response = pair.peer.heard.last().unwrap().eap().unwrap().clone();
    assert_eq!(response[..], [2, 1, 0, 6, 3, 26]);
}

#[test]
fn two_keys_that_differ_do_not_meet() {
    // The gateway finds out first, and says so.
    let pair = Setup::new(|setup| setup.script.psk = b"another".to_vec()).fails();
    assert_eq!(pair.closed().kind, CloseKind::AuthFailed, "{:?}", pair.error());
    // One that lets anybody in still has to prove itself.
    let pair = Setup::new(|setup| {
        setup.script.psk = b"another".to_vec();
        setup.script.pretend_auth = true;
    })
    .fails();
    assert_eq!(pair.closed().kind, CloseKind::PeerNotAuthenticated, "{:?}", pair.error());
    assert_eq!(pair.log.keys, []);
}

#[test]
fn a_gateway_with_the_key_but_another_name_is_refused() {
    let mut pair = Setup::new(|setup| setup.script.id = Identity::Fqdn("other.example".to_owned())).fails();
    assert_eq!(pair.closed().kind, CloseKind::PeerNotAuthenticated, "{:?}", pair.error());
    pair.run(secs(1));
    assert!(pair.peer.heard.last().unwrap().notify(NotifyType::AUTHENTICATION_FAILED).is_some());
}

#[test]
fn any_name_will_do_if_none_is_wanted() {
    let ids = ["other.example", "a@b.example", "192.0.2.7", "2001:db8::7", "keyid:#0102", "C=CH, O=x, CN=y"];
    for id in ids {
        let pair = Setup::new(|setup| {
            setup.script.id = Identity::from_text(id).unwrap();
            setup.peer = PeerVerifier::Psk { key: Secret::new(setup.script.psk.clone()), identity: None };
        })
        .up();
        assert_eq!(pair.log.ups.len(), 1, "{id}");
    }
}

/// The reserved bytes of IDr are covered as they came.
#[test]
fn reserved_bytes_of_the_identity_are_part_of_the_proof() {
    let mut pair = Setup::new(|setup| setup.script.id_reserved = [1, 2, 3]).up();
    pair.assert_settled();
}

/// An identity of any length, also before anything is proved (CVE-2025-9242 is of this kind).
#[test]
fn identities_of_every_length_and_type_do_no_harm() {
    for length in [0, 1, 255, 60_000] {
        for id_type in 0..=14 {
            let mut pair = eap(|setup| setup.script.fragment_size = None).start();
            pair.peer.mutators.push(mutators::payloads(ExchangeType::IKE_AUTH, move |payloads| {
                for payload in payloads {
                    if let Payload::IdR(id) = payload {
                        *id = Identification::new(IdType(id_type), vec![b'a'; length]);
                    }
                }
            }));
            pair.ends();
            assert_refused_before_eap(pair);
        }
    }
}

#[test]
fn the_identity_wanted_is_sent_if_configured() {
    for send in [false, true] {
        let pair = eap(|setup| setup.settings.send_remote_identity = send).up();
        let wanted = pair.peer.heard[1].id_r().map(|id| id.data.clone());
        assert_eq!(wanted.as_deref(), send.then_some(&b"vpn.example"[..]));
    }
}

#[test]
fn a_certificate_is_asked_for_only_where_one_is_wanted() {
    let asks = |pair: &Pair| pair.peer.heard[1].payloads.iter().any(|p| p.payload_type() == PayloadType::CERTREQ);
    assert!(asks(&eap(|_| {}).up()));
    assert!(!asks(&Setup::default().up()));
}

#[test]
fn initial_contact_is_sent_unless_switched_off() {
    for send in [true, false] {
        let pair = Setup::new(|setup| setup.settings.initial_contact = send).up();
        assert_eq!(pair.peer.heard[1].notify(NotifyType::INITIAL_CONTACT).is_some(), send);
    }
}

/// The name that EAP-TTLS hides must not stand in IDi, which is sent before the gateway has proved anything.
#[test]
fn an_anonymous_identity_hides_the_other_one_in_idi_too() {
    let mut pair = eap(|setup| {
        let server = EapTlsServer {
            anchors: vec![CA.as_ref().der().clone()],
            crls: vec![],
            name: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        };
        let anonymous_identity = Some("anonymous@example".to_owned());
        let inner = TtlsInner::Pap(Secret::from("secret"));
        let methods = vec![EapMethod::Ttls { server, anonymous_identity, inner }];
        setup.credentials = Credentials::Eap(EapCredentials { identity: "user@example".to_owned(), methods });
    })
    .start();
    pair.run_until(secs(5), |pair| pair.peer.heard.len() > 1);
    assert_eq!(pair.peer.heard[1].id_i().unwrap().data[..], *b"anonymous@example");
}

/// What AUTH of each IKE_AUTH is made with: the method, and the last byte of the algorithm's object identifier.
fn proofs(pair: &Pair) -> Vec<(AuthMethod, Option<u8>)> {
    let proofs = pair.peer.heard.iter().filter_map(|message| message.auth());
    proofs.map(|auth| (auth.method, auth.data.get(13).copied().filter(|_| auth.data[1] == 0x30))).collect()
}

#[test]
fn every_kind_of_signature_is_tried_once_from_the_one_that_worked_last() {
    let rsa = |carry| {
        eap(|setup| {
            let file =
                |name| std::fs::read(format!("{}/testdata/certificates/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let chain = adit_pki::certificates(&file("rsa.crt")).unwrap();
            let key = adit_pki::private_key(&file("rsa.key"), None).unwrap();
            setup.credentials = Credentials::Certificate(Arc::new(adit_pki::ClientIdentity { chain, key }));
            (setup.carry, setup.script.eap) = (carry, None);
        })
    };
    // sha256WithRSAEncryption and RSASSA-PSS (RFC 8017 appendix C), then method 1.
    let (pkcs1, pss, classic) =
        ((AuthMethod::DIGITAL_SIGNATURE, Some(11)), (AuthMethod::DIGITAL_SIGNATURE, Some(10)), (AuthMethod::RSA, None));
    let mut pair = rsa(Default::default()).start();
    pair.run_until(secs(5), |pair| proofs(pair).len() == 1);
    pair.peer.script.pretend_auth = true;
    pair.come_up();
    assert_eq!(proofs(&pair), [pkcs1, pss]);
    let carry = pair.client.into_carry();
    let pair = rsa(carry.clone()).fails();
    assert_eq!(proofs(&pair), [pss, classic, pkcs1]);
    assert_eq!(pair.closed().kind, CloseKind::AuthFailed, "{:?}", pair.error());
    // The one after the last is the first.
    let mut pair = rsa(carry).start();
    pair.run_until(secs(5), |pair| proofs(pair).len() == 2);
    pair.peer.script.pretend_auth = true;
    pair.come_up();
    let pair = rsa(pair.client.into_carry()).fails();
    assert_eq!(proofs(&pair), [pkcs1, pss, classic]);
}
