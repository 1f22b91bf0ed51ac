//! EAP-MSCHAPv2.

use ::mschapv2::{
    Challenging, NtHash,
    packet::{Failure, Packet, Success},
};
use adit_testing::vectors;
use adit_tunnel::{CloseKind, Random};

use super::*;

/// Gives the peer challenge of a recording.
struct Recorded([u8; 16]);

impl Random for Recorded {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

#[test]
fn a_recorded_exchange_of_strongswan_is_reproduced() {
    let path = format!("{}/../mschapv2/testdata/strongswan.txt", env!("CARGO_MANIFEST_DIR"));
    let recording = &vectors(path)[0];
    let identity = String::from_utf8(recording["user"].clone()).unwrap();
    let secret = MsChapV2Secret::Password(Secret::new(recording["password"].clone()));
    let credentials = EapCredentials { identity, methods: vec![EapMethod::MsChapV2(secret)] };
    let mut peer = EapPeer::new(Arc::new(EapMethods::new(&credentials).unwrap()));
    let mut random = Recorded(recording["response"][5..21].try_into().unwrap());

    for (id, ask, answer) in [(0xf9, "challenge", "response"), (0xfa, "success", "acknowledgement")] {
        let step = peer.handle(&mut random, NOW, &request(id, 26, &recording[ask])).unwrap();
        let EapStep::Respond(response) = step else { panic!("{step:?}") };
        assert_eq!(response[5..], recording[answer]);
    }
    let done = EapStep::Done(Some(Secret::new(recording["msk"].clone())));
    assert_eq!(peer.handle(&mut random, NOW, &[3, 0xfa, 0, 4]), Ok(done));
}

fn challenging() -> Challenging {
    Challenging::new(7, [0x11; 16], b"gateway")
}

/// A peer that has answered the challenge, and the true success packet.
fn responded(method: EapMethod) -> (Peer, Vec<u8>, Secret) {
    let mut peer = Peer::new(vec![method]);
    let (_, response) = peer.ask(200, 26, &challenging().challenge().encode()).unwrap();
    let Ok(Packet::Response(response)) = Packet::parse(&response) else { panic!() };
    assert_eq!((&response.name[..], response.id), (&b"DOMAIN\\user"[..], 7));
    let accepted = challenging().verify(&response, &NtHash::of_password("secret")).unwrap();
    let success = accepted.success().encode();
    let msk = Secret::new(*accepted.acknowledged().msk().expose());
    (peer, success, msk)
}

#[test]
fn both_ends_get_the_same_key_from_password_or_hash() {
    let hash = Secret::new(hex::decode("878D8014606CDA29677A44EFA1353FC7").unwrap());
    for method in [mschapv2(), EapMethod::MsChapV2(MsChapV2Secret::NtHash(hash))] {
        let (mut peer, success, msk) = responded(method);
        assert_eq!(peer.ask(201, 26, &success), Ok((26, vec![3])));
        assert_eq!(peer.handle(&SUCCESS), Ok(EapStep::Done(Some(msk))));
    }
}

#[test]
fn success_before_our_response_is_refused() {
    let success = Success { id: 7, authenticator_response: [0; 20], message: String::new() }.encode();
    let mut peer = Peer::new(vec![mschapv2()]);
    assert_eq!(peer.ask(1, 26, &success), Err(EapError::MsChapV2OutOfOrder));
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let (mut peer, mut success, _) = responded(mschapv2());
    success[6] = if success[6] == b'0' { b'1' } else { b'0' };
    let error = peer.ask(2, 26, &success).unwrap_err();
    assert_eq!((error.close_kind(), error), (CloseKind::PeerNotAuthenticated, EapError::ServerDoesNotKnowPassword));
    assert_eq!(peer.handle(&SUCCESS), Err(EapError::AfterTheEnd));
}

#[test]
fn eap_success_is_refused_until_the_server_has_proved_itself() {
    let (mut peer, _, _) = responded(mschapv2());
    assert_eq!(peer.handle(&SUCCESS), Err(EapError::SuccessTooEarly(Some(EapType::MSCHAPV2))));
}

#[test]
fn the_server_s_reason_is_told_once() {
    for (message, words) in [("no", ", `no`"), ("", ""), ("Wrong user or password", "")] {
        let message = message.to_owned();
        let failure = Failure { id: 7, error: 691, retry: true, challenge: Some([1; 16]), version: Some(3), message };
        let (mut peer, _, _) = responded(mschapv2());
        let error = peer.ask(2, 26, &failure.encode()).unwrap_err();
        assert_eq!(error.close_kind(), CloseKind::AuthFailed);
        let told = format!("the EAP server refused user or password: wrong user or password (error 691{words})");
        assert_eq!(error.to_string(), told);
    }
}

/// Each packet in each state but the one it belongs to (CVE-2015-8023), and lies about lengths (CVE-2025-62291).
#[test]
fn packets_out_of_order_and_false_lengths_are_errors() {
    let challenge = challenging().challenge().encode();
    let failure =
        Failure { id: 7, error: 691, retry: false, challenge: None, version: None, message: String::new() }.encode();
    assert_eq!(Peer::new(vec![mschapv2()]).ask(1, 26, &failure), Err(EapError::MsChapV2OutOfOrder));
    let (mut peer, _, _) = responded(mschapv2());
    assert_eq!(peer.ask(1, 26, &challenge), Err(EapError::MsChapV2OutOfOrder));
    let (mut peer, _, _) = responded(mschapv2());
    let response = [&[2, 7, 0, 54, 49], &[0; 49][..]].concat();
    assert_eq!(peer.ask(1, 26, &response), Err(EapError::MsChapV2OutOfOrder));
    for packet in [&challenge, &failure] {
        let (mut proven, success, _) = responded(mschapv2());
        proven.ask(2, 26, &success).unwrap();
        assert_eq!(proven.ask(3, 26, packet), Err(EapError::MsChapV2OutOfOrder));
        for length in (0..=600_u16).filter(|length| usize::from(*length) != packet.len()) {
            let (mut peer, _, _) = responded(mschapv2());
            let mut lie = packet.clone();
            lie[2..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(peer.ask(2, 26, &lie), Err(EapError::MsChapV2(::mschapv2::packet::Malformed::Length)));
        }
    }
}
