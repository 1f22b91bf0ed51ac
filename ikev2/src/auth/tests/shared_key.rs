//! Pre-shared keys, and keys of EAP methods.

use super::*;
use crate::message::numbers::PrfId;

fn prf() -> Prf {
    Prf::new(PrfId::HMAC_SHA2_256).unwrap()
}

fn judge(key: &[u8], octets: &[u8], theirs: &Authentication) -> Result<(), PeerNotAuthenticated> {
    verify_shared_key(prf(), key, octets, theirs).map(drop)
}

#[test]
fn who_has_the_key_and_the_octets_is_known() {
    let theirs = shared_key(prf(), b"key", b"octets");
    assert_eq!((theirs.method, theirs.data.len()), (AuthMethod::PSK, 32));
    assert_eq!(judge(b"key", b"octets", &theirs), Ok(()));
    for (key, octets) in [(&b"Key"[..], &b"octets"[..]), (b"key", b"octet"), (b"key1", b"octets"), (b"", b"octets")] {
        assert_eq!(judge(key, octets, &theirs), Err(PeerNotAuthenticated::WrongSharedKey));
    }
}

#[test]
fn every_bit_of_the_proof_counts() {
    let good = shared_key(prf(), b"key", b"octets");
    for bit in 0..good.data.len() * 8 {
        let mut data = good.data.to_vec();
        data[bit / 8] ^= 1 << (bit % 8);
        let theirs = Authentication { method: AuthMethod::PSK, data: data.into() };
        assert_eq!(judge(b"key", b"octets", &theirs), Err(PeerNotAuthenticated::WrongSharedKey));
    }
    for data in [&[][..], &good.data[..31], &[&good.data[..], &[0]].concat(), &[0; 65536]] {
        let theirs = Authentication { method: AuthMethod::PSK, data: Bytes::copy_from_slice(data) };
        assert_eq!(judge(b"key", b"octets", &theirs), Err(PeerNotAuthenticated::WrongSharedKey));
    }
}

#[test]
fn an_empty_key_proves_nothing() {
    let theirs = shared_key(prf(), b"", b"octets");
    assert_eq!(judge(b"", b"octets", &theirs), Err(PeerNotAuthenticated::WrongSharedKey));
}

#[test]
fn a_signature_is_no_proof_of_a_key() {
    let data = shared_key(prf(), b"key", b"octets").data;
    for method in [1, 9, 10, 11, 14] {
        let theirs = Authentication { method: AuthMethod(method), data: data.clone() };
        let refused = judge(b"key", b"octets", &theirs);
        assert!(matches!(refused, Err(PeerNotAuthenticated::OtherMethod { .. })), "{method} {refused:?}");
    }
    for method in [0, 3, 12, 13, 200] {
        let theirs = Authentication { method: AuthMethod(method), data: data.clone() };
        assert!(matches!(judge(b"key", b"octets", &theirs), Err(PeerNotAuthenticated::UnsupportedMethod { .. })));
    }
}

#[test]
fn with_a_key_any_identity_is_good_unless_one_is_expected() {
    let expected = Identity::from_text("vpn.example").unwrap();
    assert_eq!(verify_identity(None, &id("@#00")), Ok(()));
    assert_eq!(verify_identity(Some(&expected), &id("VPN.example")), Ok(()));
    let wrong = verify_identity(Some(&expected), &id("192.0.2.1"));
    let told = PeerNotAuthenticated::WrongIdentity { found: "192.0.2.1".to_owned(), wanted: "vpn.example".to_owned() };
    assert_eq!(wrong, Err(told));
}

#[test]
fn the_octets_are_message_nonce_and_the_identity_under_the_key() {
    let body = Identification { reserved: [1, 2, 3], ..id("vpn.example") };
    assert_eq!(&body.body()[..], b"\x02\x01\x02\x03vpn.example", "reserved bytes as they came");
    let octets = octets(prf(), b"message", b"nonce", b"sk_p", &body.body());
    let (start, end) = octets.split_at(12);
    assert_eq!(start, b"messagenonce");
    assert_eq!(end, prf().sign(b"sk_p", &[&body.body()]).expose());
}
