//! Known answers, malformed packets, and both ends against each other.

extern crate std;

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use adit_testing::{Vector, vectors};
use proptest::prelude::*;

use crate::{
    AuthenticatorNotAuthenticated, Challenged, Challenging, NtHash, PeerNotAuthenticated, crypto,
    packet::{Challenge, Failure, Malformed, Packet, Response, SUCCESS_ACKNOWLEDGEMENT, Success},
};

fn load(name: &str) -> Vec<Vector> {
    vectors(format!("{}/testdata/{name}.txt", env!("CARGO_MANIFEST_DIR")))
}

fn bytes<const N: usize>(vector: &Vector, name: &str) -> [u8; N] {
    vector[name][..].try_into().unwrap()
}

fn text(vector: &Vector, name: &str) -> String {
    String::from_utf8(vector[name].clone()).unwrap()
}

#[test]
fn the_functions_give_the_answers_of_rfc_2759() {
    for v in load("rfc2759") {
        let hash = NtHash::of_password(&text(&v, "password"));
        let utf16: Vec<u8> = text(&v, "password").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(utf16, v["password_utf16"]);
        let challenge =
            crypto::challenge_hash(&bytes(&v, "peer_challenge"), &bytes(&v, "authenticator_challenge"), &v["user"]);
        assert_eq!(challenge[..], v["challenge"]);
        assert_eq!(hash.hashed()[..], v["password_hash_hash"]);
        let nt_response = crypto::nt_response(&challenge, &hash);
        assert_eq!(nt_response[..], v["nt_response"]);
        assert_eq!(crypto::nt_response(&challenge, &NtHash::new(bytes(&v, "password_hash"))), nt_response);
        let authenticator_response = crypto::authenticator_response(&hash, &nt_response, &challenge);
        let success = Success { id: 0, authenticator_response, message: String::new() };
        assert_eq!(success.text(), text(&v, "authenticator_response") + " M=");
    }
}

#[test]
fn the_keys_are_those_of_rfc_3079() {
    for v in load("rfc3079") {
        let hash = NtHash::new(bytes(&v, "password_hash"));
        assert_eq!(hash.hashed()[..], v["password_hash_hash"]);
        let master = crypto::master_key(&hash, &bytes(&v, "nt_response"));
        assert_eq!(master[..], v["master_key"]);
        // The RFC's example is the server's: it sends with what the peer receives with.
        assert_eq!(crypto::peer_receive_key(&master)[..], v["send_start_key"]);
        assert_eq!(crypto::peer_send_key(&master)[..], v["receive_start_key"]);
        let msk = crypto::msk(&hash, &bytes(&v, "nt_response"));
        assert_eq!(msk.expose()[..], [&v["receive_start_key"][..], &v["send_start_key"], &[0; 32]].concat());
    }
}

#[test]
fn passwords_are_hashed_in_utf_16_as_typed() {
    let all = load("nt_hash");
    assert_eq!(all.len(), 7);
    for v in all {
        let challenge = [7; 8];
        let ours = crypto::nt_response(&challenge, &NtHash::of_password(&text(&v, "password")));
        assert_eq!(ours, crypto::nt_response(&challenge, &NtHash::new(bytes(&v, "nt_hash"))), "{v:?}");
    }
}

#[test]
fn a_recorded_exchange_of_strongswan_is_reproduced_from_both_ends() {
    for v in load("strongswan") {
        let hash = NtHash::of_password(&text(&v, "password"));
        let Packet::Challenge(challenge) = Packet::parse(&v["challenge"]).unwrap() else { panic!() };
        let Packet::Response(recorded) = Packet::parse(&v["response"]).unwrap() else { panic!() };
        let Packet::Success(success) = Packet::parse(&v["success"]).unwrap() else { panic!() };
        assert_eq!((challenge.encode(), &challenge.name[..]), (v["challenge"].clone(), &b"strongSwan"[..]));
        assert_eq!(success.message, "Welcome2strongSwan");

        let (peer, response) = Challenged::new(&challenge).respond(&v["user"], &hash, recorded.peer_challenge);
        assert_eq!(response.encode(), v["response"]);
        let authenticator =
            Challenging::new(challenge.id, challenge.challenge, &challenge.name).verify(&recorded, &hash).unwrap();
        assert_eq!(authenticator.success().authenticator_response, success.authenticator_response);
        assert_eq!(peer.handle_success(&success).unwrap().msk().expose()[..], v["msk"]);
        assert_eq!(authenticator.acknowledged().msk().expose()[..], v["msk"]);
        assert_eq!(SUCCESS_ACKNOWLEDGEMENT[..], v["acknowledgement"]);
    }
}

#[test]
fn the_domain_does_not_count() {
    for (name, user) in
        [("D\\u", "u"), ("D\\u\\v", "u\\v"), ("\\u", "u"), ("u", "u"), ("u@realm", "u@realm"), ("D\\", "")]
    {
        assert_eq!(crypto::user_part(name.as_bytes()), user.as_bytes());
    }
    let hash = |name: &[u8]| crypto::challenge_hash(&[1; 16], &[2; 16], name);
    assert_eq!(hash(b"DOMAIN\\user"), hash(b"user"));
    assert_ne!(hash(b"user@realm"), hash(b"user"));
}

fn packet(code: u8, content: &[u8]) -> Vec<u8> {
    [&[code, 9, 0, u8::try_from(4 + content.len()).unwrap()], content].concat()
}

fn success(text: &str) -> Result<Success, Malformed> {
    let parsed = Packet::parse(&packet(3, text.as_bytes()))?;
    let Packet::Success(success) = parsed else { panic!("{parsed:?}") };
    Ok(success)
}

fn failure(text: &str) -> Result<Failure, Malformed> {
    let parsed = Packet::parse(&packet(4, text.as_bytes()))?;
    let Packet::Failure(failure) = parsed else { panic!("{parsed:?}") };
    Ok(failure)
}

const PROOF: &str = "407A5589115FD0D6209F510FE9C04566932CDA56";

#[test]
fn success_texts_are_read_as_real_servers_write_them() {
    let reference = success(&format!("S={PROOF} M=OK")).unwrap();
    assert_eq!(reference.message, "OK");
    for (text, message) in [
        (format!("S={PROOF} M="), ""),
        (format!("S={PROOF}"), ""),
        (format!("S={PROOF} "), ""),
        (format!("S={PROOF} M=OK\0"), "OK"),
        (format!("S={PROOF} M=O\0K S=x"), "O"),
        (format!("S={PROOF} V=12 M=OK"), "OK"),
        (format!("V=12 S={PROOF} M=OK"), "OK"),
        (format!("S={PROOF} M=S=second M=third"), "S=second M=third"),
        (format!("S={} M=\x1b[31mred\n", PROOF.to_lowercase()), "[31mred"),
    ] {
        let read = success(&text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(read.authenticator_response, reference.authenticator_response, "{text:?}");
        assert_eq!(read.message, message, "{text:?}");
    }
}

#[test]
fn malformed_success_texts_are_refused() {
    for (text, error) in [
        (String::new(), Malformed::KeyMissing),
        ("M=OK".to_owned(), Malformed::KeyMissing),
        (format!("M=OK S={PROOF}"), Malformed::KeyMissing),
        (format!("\0S={PROOF} M=OK"), Malformed::KeyMissing),
        (format!("XS={PROOF}"), Malformed::KeyMissing),
        (format!("S={PROOF} S={PROOF} M=OK"), Malformed::KeyTwice),
        (format!("S=={PROOF} M=OK"), Malformed::Value),
        ("S= M=OK".to_owned(), Malformed::Value),
        (format!("S={}", &PROOF[1..]), Malformed::Value),
        (format!("S={}", &PROOF[2..]), Malformed::Value),
        (format!("S={PROOF}00 M=OK"), Malformed::Value),
        (format!("S={PROOF}M=OK"), Malformed::Value),
        (format!("S={}G M=OK", &PROOF[1..]), Malformed::Value),
        (format!("S=+{} M=OK", &PROOF[1..]), Malformed::Value),
        (format!("S={}é M=OK", &PROOF[2..]), Malformed::Value),
    ] {
        assert_eq!(success(&text), Err(error), "{text:?}");
    }
}

#[test]
fn failure_texts_are_read_as_real_servers_write_them() {
    let full = failure("E=691 R=1 C=000102030405060708090a0b0c0d0e0F V=3 M=Authentication rejected").unwrap();
    let challenge = Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let message = "Authentication rejected".to_owned();
    assert_eq!(full, Failure { id: 9, error: 691, retry: true, challenge, version: Some(3), message });
    let short = Failure { id: 9, error: 648, retry: false, challenge: None, version: None, message: String::new() };
    for text in ["E=648", "E=648 R=0", "E=0000000648 R=0 M=", "R=0 E=648\0 C=x", "E=648 X=1"] {
        assert_eq!(failure(text), Ok(short.clone()), "{text}");
    }
    assert_eq!(failure(&format!("E=1 M={}", "x".repeat(240))).unwrap().message.len(), 200);
}

#[test]
fn malformed_failure_texts_are_refused() {
    for (text, error) in [
        ("", Malformed::KeyMissing),
        ("R=1", Malformed::KeyMissing),
        ("M=E=691", Malformed::KeyMissing),
        ("E=691 E=691", Malformed::KeyTwice),
        ("E=691 R=0 R=1", Malformed::KeyTwice),
        ("E=", Malformed::Value),
        ("E=+691", Malformed::Value),
        ("E=-691", Malformed::Value),
        ("E=99999999999", Malformed::Value),
        ("E=691 R=2", Malformed::Value),
        ("E=691 R=", Malformed::Value),
        ("E=691 C=", Malformed::Value),
        ("E=691 C=000102030405060708090a0b0c0d0e", Malformed::Value),
        ("E=691 C=000102030405060708090a0b0c0d0e0f10", Malformed::Value),
        ("E=691 C=000102030405060708090a0b0c0d0e0g", Malformed::Value),
        ("E=691 V=three", Malformed::Value),
    ] {
        assert_eq!(failure(text), Err(error), "{text:?}");
    }
}

#[test]
fn lengths_must_be_true() {
    for valid in [Challenge { id: 1, challenge: [2; 16], name: b"name".to_vec() }.encode(), response().encode()] {
        assert!(Packet::parse(&valid).is_ok());
        for lie in (0..=255).filter(|&lie| usize::from(lie) != valid.len()) {
            let mut packet = valid.clone();
            packet[3] = lie;
            assert_eq!(Packet::parse(&packet), Err(Malformed::Length), "{lie}");
        }
        for size in (0..=255).filter(|&size| size != valid[4]) {
            let mut packet = valid.clone();
            packet[4] = size;
            assert_eq!(Packet::parse(&packet), Err(Malformed::ValueSize(size)));
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for (valid, name) in [(response().encode(), 6), (Challenging::new(1, [2; 16], b"name").challenge().encode(), 4)] {
        for end in 0..valid.len() - name {
            let mut cut = valid[..end].to_vec();
            assert!(Packet::parse(&cut).is_err());
            // Also if the length field says so.
            if let Some(length) = cut.get_mut(3) {
                *length = u8::try_from(end).unwrap();
                assert_eq!(Packet::parse(&cut), Err(Malformed::Truncated), "{end}");
            }
        }
    }
    assert_eq!(Success::from_attribute(&[]), Err(Malformed::Truncated));
    assert_eq!(Failure::from_attribute(&[]), Err(Malformed::Truncated));
}

#[test]
fn unknown_codes_are_errors() {
    for code in (0..=255).filter(|code| !(1..=4).contains(code)) {
        assert_eq!(Packet::parse(&packet(code, b"x")), Err(Malformed::Code(code)));
    }
}

#[test]
fn attributes_have_the_order_of_rfc_2548() {
    let attribute = response().attribute();
    assert_eq!(attribute[..], [&[1, 0][..], &[2; 16], &[0; 8], &[3; 24]].concat());
    let text = format!("\x07S={PROOF} M=OK");
    assert_eq!(Success::from_attribute(text.as_bytes()).map(|success| success.id), Ok(7));
    assert_eq!(Failure::from_attribute(b"\x07E=691 R=0").map(|failure| failure.error), Ok(691));
    let failure = Failure {
        id: 7,
        error: 691,
        retry: false,
        challenge: Some([1; 16]),
        version: Some(3),
        message: "no".to_owned(),
    };
    assert_eq!(Failure::from_attribute(&failure.attribute()), Ok(failure));
    let success = Success { id: 8, authenticator_response: [5; 20], message: "yes".to_owned() };
    assert_eq!(Success::from_attribute(&success.attribute()), Ok(success));
    assert_eq!(Response::from_attribute(&attribute, &response().name), Ok(response()));
    for length in 0..50 {
        assert_eq!(Response::from_attribute(&attribute[..length], b""), Err(Malformed::Truncated));
    }
    let longer = [&attribute[..], &[0]].concat();
    assert_eq!(Response::from_attribute(&longer, b""), Err(Malformed::Length));
}

fn response() -> Response {
    Response { id: 1, peer_challenge: [2; 16], nt_response: [3; 24], name: b"DOM\\us".to_vec() }
}

#[test]
fn an_answer_to_another_challenge_is_refused() {
    let hash = NtHash::of_password("secret");
    let authenticator = Challenging::new(1, [1; 16], b"");
    let (_, response) = Challenged::with(2, [1; 16]).respond(b"user", &hash, [3; 16]);
    assert_eq!(authenticator.verify(&response, &hash).unwrap_err(), PeerNotAuthenticated::OtherIdentifier);
}

#[test]
fn debug_shows_no_secret() {
    let hash = NtHash::new([0x77; 16]);
    let (responded, _) = Challenged::with(1, [1; 16]).respond(b"user", &hash, [3; 16]);
    assert_eq!(format!("{responded:?}"), "Responded(..)");
    assert_eq!(format!("{hash:?}"), "NtHash(..)");
}

proptest! {
    #[test]
    fn both_ends_agree_if_and_only_if_the_password_is_the_same(
        name in prop::collection::vec(any::<u8>(), 0..40),
        password in ".{0,30}", other in ".{0,30}", id: u8,
        challenges in any::<([u8; 16], [u8; 16])>(),
    ) {
        let hash = NtHash::of_password(&password);
        let authenticator = || Challenging::new(id, challenges.0, b"server");
        let Ok(Packet::Challenge(challenge)) = Packet::parse(&authenticator().challenge().encode()) else { panic!() };
        let (peer, response) = Challenged::new(&challenge).respond(&name, &hash, challenges.1);
        prop_assert_eq!(Packet::parse(&response.encode()), Ok(Packet::Response(response.clone())));
        let accepted = authenticator().verify(&response, &hash).unwrap();
        let Ok(Packet::Success(success)) = Packet::parse(&accepted.success().encode()) else { panic!() };
        let (ours, theirs) = (peer.handle_success(&success).unwrap(), accepted.acknowledged());
        prop_assert_eq!(ours.msk(), theirs.msk());

        if other != password {
            let other = NtHash::of_password(&other);
            let refused = authenticator().verify(&response, &other).unwrap_err();
            prop_assert_eq!(refused, PeerNotAuthenticated::WrongResponse);
            let (peer, _) = Challenged::new(&challenge).respond(&name, &other, challenges.1);
            prop_assert_eq!(peer.handle_success(&success).unwrap_err(), AuthenticatorNotAuthenticated);
        }
    }

    #[test]
    fn any_failure_survives(
        id: u8, error: u32, retry: bool, challenge: Option<[u8; 16]>, version: Option<u32>, message in "[a-zA-Z =]{0,100}",
    ) {
        let failure = Failure { id, error, retry, challenge, version, message };
        prop_assert_eq!(Packet::parse(&failure.encode()), Ok(Packet::Failure(failure)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), code in 0_u8..9) {
        drop(Packet::parse(&bytes));
        drop(Packet::parse(&packet(code, &bytes)));
        drop((Success::from_attribute(&bytes), Failure::from_attribute(&bytes)));
    }

    #[test]
    fn texts_of_likely_words_do_not_panic(words in prop::collection::vec("(S|E|R|C|V|M)?={0,2}[0-9A-Fa-f ]{0,41}\0?", 0..6)) {
        let text = words.join(" ");
        drop((Success::from_attribute(text.as_bytes()), Failure::from_attribute(text.as_bytes())));
    }
}
