//! Signatures of other programs: OpenSSL's over one message, and those of RFCs.

use std::collections::BTreeMap;

use adit_testing::{Vector, vectors};
use pki_types::SignatureVerificationAlgorithm;
use proptest::prelude::*;

use super::{
    super::algorithm::{self, ECDSA_256, ECDSA_384, ECDSA_521},
    *,
};

struct Signatures {
    message: Vec<u8>,
    all: BTreeMap<(String, String), Vec<u8>>,
}

impl Signatures {
    fn read() -> Self {
        let vectors = vectors(testdata("certificates/signatures.txt"));
        let text = |vector: &Vector, name: &str| String::from_utf8(vector[name].clone()).unwrap();
        let all =
            vectors[1..].iter().map(|v| ((text(v, "key"), text(v, "algorithm")), v["signature"].clone())).collect();
        Self { message: vectors[0]["message"].clone(), all }
    }

    fn get(&self, key: &str, algorithm: &str) -> &[u8] {
        &self.all[&(key.to_owned(), algorithm.to_owned())]
    }

    fn judge(&self, key: &str, algorithm: &str, method: AuthMethod, id: &[u8]) -> Result<(), PeerNotAuthenticated> {
        let signature = self.get(key, algorithm);
        let data = if method == AuthMethod::DIGITAL_SIGNATURE { digital(id, signature) } else { signature.to_vec() };
        judge(key, method, &data, &self.message, false)
    }
}

const HASHES: [(&str, HashAlgorithm); 3] =
    [("sha256", HashAlgorithm::SHA2_256), ("sha384", HashAlgorithm::SHA2_384), ("sha512", HashAlgorithm::SHA2_512)];

#[test]
fn signatures_of_openssl_are_good() {
    let signatures = Signatures::read();
    let mut judged = 0;
    for (name, hash) in HASHES {
        let mut good = |key: &str, algorithm: &str, method, id: Option<Vec<u8>>| {
            let result = signatures.judge(key, &format!("{algorithm}{name}"), method, &id.unwrap_or_default());
            assert_eq!(result, Ok(()), "{key} {algorithm}{name}");
            judged += 1;
        };
        for key in ["rsa", "rsa4096"] {
            good(key, "pkcs1-", AuthMethod::RSA, None);
            good(key, "pkcs1-", AuthMethod::DIGITAL_SIGNATURE, algorithm::rsa_pkcs1(hash));
        }
        good("rsa", "pss-", AuthMethod::DIGITAL_SIGNATURE, algorithm::rsa_pss(hash));
        // libreswan signs with SHA-512 on every curve.
        for key in ["p256", "p384", "p521"] {
            good(key, "ecdsa-", AuthMethod::DIGITAL_SIGNATURE, algorithm::ecdsa(hash));
        }
    }
    assert_eq!(signatures.judge("ed25519", "ed25519", AuthMethod::DIGITAL_SIGNATURE, &algorithm::ed25519()), Ok(()));
    assert_eq!(judged, 24);
}

#[test]
fn sha1_is_good_only_for_those_who_allow_it() {
    let signatures = Signatures::read();
    let rfc = vectors(testdata("vectors/rfc7427.txt"));
    for key in ["rsa", "rsa4096"] {
        let signature = signatures.get(key, "pkcs1-sha1");
        let cases = [
            (AuthMethod::RSA, signature.to_vec()),
            (AuthMethod::DIGITAL_SIGNATURE, digital(&rfc[0]["der"], signature)),
        ];
        for (method, data) in cases {
            assert_eq!(judge(key, method, &data, &signatures.message, false), Err(PeerNotAuthenticated::Sha1));
            assert_eq!(judge(key, method, &data, &signatures.message, true), Ok(()));
            let wrong = judge(key, method, &data, b"other octets", true);
            assert_eq!(wrong, Err(PeerNotAuthenticated::WrongSignature));
        }
    }
}

#[test]
fn a_signature_is_good_for_its_own_hash_padding_key_and_octets_alone() {
    let signatures = Signatures::read();
    let method = AuthMethod::DIGITAL_SIGNATURE;
    let wrong = Err(PeerNotAuthenticated::WrongSignature);
    for (name, hash) in HASHES {
        for (other, other_hash) in HASHES.into_iter().filter(|(other, _)| *other != name) {
            let pkcs1 = algorithm::rsa_pkcs1(other_hash).unwrap();
            assert_eq!(signatures.judge("rsa", &format!("pkcs1-{name}"), method, &pkcs1), wrong, "{name} as {other}");
            let pss = algorithm::rsa_pss(other_hash).unwrap();
            assert_eq!(signatures.judge("rsa", &format!("pss-{name}"), method, &pss), wrong, "{name} as {other}");
            let ecdsa = algorithm::ecdsa(other_hash).unwrap();
            assert_eq!(signatures.judge("p256", &format!("ecdsa-{name}"), method, &ecdsa), wrong, "{name} as {other}");
        }
        let (pkcs1, pss) = (algorithm::rsa_pkcs1(hash).unwrap(), algorithm::rsa_pss(hash).unwrap());
        assert_eq!(signatures.judge("rsa", &format!("pkcs1-{name}"), method, &pss), wrong);
        assert_eq!(signatures.judge("rsa", &format!("pss-{name}"), method, &pkcs1), wrong);
        // Salts of another length than the hash's (CVE-2021-41990).
        for salt in ["long-salt", "no-salt"] {
            assert_eq!(signatures.judge("rsa", &format!("pss-{name}-{salt}"), method, &pss), wrong, "{name} {salt}");
        }
        let data = digital(&pkcs1, signatures.get("rsa", &format!("pkcs1-{name}")));
        assert_eq!(judge("rsa4096", method, &data, &signatures.message, true), wrong);
        assert_eq!(judge("rsa", method, &data, &signatures.message[1..], true), wrong);
        let another_kind = Err(PeerNotAuthenticated::SignatureOfAnotherKind);
        for key in ["p256", "p521", "ed25519"] {
            assert_eq!(judge(key, method, &data, &signatures.message, true), another_kind, "{key}");
            assert_eq!(judge(key, AuthMethod::RSA, &data, &signatures.message, true), another_kind, "{key}");
        }
    }
}

#[test]
fn paddings_that_only_a_lax_parser_takes_are_wrong() {
    let signatures = Signatures::read();
    let pkcs1 = algorithm::rsa_pkcs1(HashAlgorithm::SHA2_256).unwrap();
    let paddings = signatures.all.keys().filter(|(_, name)| name.starts_with("padding-") || name.starts_with("forged"));
    let mut judged = 0;
    for (key, name) in paddings {
        let expected = if name == "padding-good" { Ok(()) } else { Err(PeerNotAuthenticated::WrongSignature) };
        assert_eq!(signatures.judge(key, name, AuthMethod::DIGITAL_SIGNATURE, &pkcs1), expected, "{name}");
        assert_eq!(signatures.judge(key, name, AuthMethod::RSA, &[]), expected, "{name}");
        judged += 1;
    }
    assert_eq!(judged, 12);
}

#[test]
fn rsa_signatures_have_the_length_of_the_modulus() {
    let signatures = Signatures::read();
    let good = signatures.get("rsa", "pkcs1-sha256");
    let with = |data: &[u8]| judge("rsa", AuthMethod::RSA, data, &signatures.message, true);
    let wrong = Err(PeerNotAuthenticated::WrongSignature);
    assert_eq!(with(good), Ok(()));
    for data in [
        &[][..],
        &[0],
        &good[1..],
        &[&[0], good].concat(),
        &[good, &[0]].concat(),
        &[0xff; 256],
        &[0; 256],
        &[0; 65536],
    ] {
        assert_eq!(with(data), wrong, "{} bytes", data.len());
    }
    // One larger by the modulus is the same number to a verifier that does not look (CVE-2017-11185).
    let der = certificate("rsa");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let x509_parser::public_key::PublicKey::RSA(key) = parsed.public_key().parsed().unwrap() else { panic!("not RSA") };
    let mut sum = good.to_vec();
    let mut carry = 0;
    for (byte, add) in sum.iter_mut().rev().zip(key.modulus.iter().rev()) {
        let total = u16::from(*byte) + u16::from(*add) + carry;
        (*byte, carry) = (total.to_be_bytes()[1], total >> 8);
    }
    assert_eq!(with(&if carry > 0 { [&[1], &sum[..]].concat() } else { sum }), wrong);
}

fn ecdsa_methods() -> [(AuthMethod, &'static dyn SignatureVerificationAlgorithm); 3] {
    [(AuthMethod::ECDSA_256, ECDSA_256), (AuthMethod::ECDSA_384, ECDSA_384), (AuthMethod::ECDSA_521, ECDSA_521)]
}

/// RFC 4754 §8, which prints the method one byte further back than RFC 7296 §3.8 has it.
#[test]
fn the_vectors_of_rfc_4754_are_good() {
    let all = vectors(testdata("vectors/rfc4754.txt"));
    assert_eq!(all.len(), 3);
    for (vector, (method, verifier)) in all.iter().zip(ecdsa_methods()) {
        let (payload, signature) = (&vector["payload"], [&vector["r"][..], &vector["s"]].concat());
        assert_eq!((payload[5], &payload[8..]), (method.0, &signature[..]));
        let point = [&[4], &vector["x"][..], &vector["y"]].concat();
        assert!(verifier.verify_signature(&point, &vector["message"], &signature).is_ok(), "{method}");
        assert!(verifier.verify_signature(&point, b"abd", &signature).is_err(), "{method}");
    }
}

#[test]
fn numbers_out_of_range_are_no_ecdsa_signature() {
    for (vector, (method, verifier)) in vectors(testdata("vectors/rfc4754.txt")).iter().zip(ecdsa_methods()) {
        let (r, s) = (&vector["r"], &vector["s"]);
        let point = [&[4], &vector["x"][..], &vector["y"]].concat();
        let zero = vec![0; r.len()];
        let mut one = zero.clone();
        *one.last_mut().unwrap() = 1;
        let most = vec![0xff; r.len()];
        // Zeros are what fooled Java (CVE-2022-21449).
        for (r, s) in [(&zero, &zero), (r, &zero), (&zero, s), (&one, &one), (&most, s), (r, &most), (s, r)] {
            let signature = [&r[..], s].concat();
            assert!(verifier.verify_signature(&point, &vector["message"], &signature).is_err(), "{method}");
        }
        for signature in [Vec::new(), r.clone(), [&r[..], s, &[0]].concat(), [&[0], &r[..], s].concat()] {
            assert!(verifier.verify_signature(&point, &vector["message"], &signature).is_err(), "{method}");
        }
        // A point that is not on the curve.
        let mut off = point.clone();
        *off.last_mut().unwrap() ^= 1;
        assert!(verifier.verify_signature(&off, &vector["message"], &[&r[..], s].concat()).is_err(), "{method}");
    }
}

#[test]
fn ecdsa_in_method_14_is_strict_der() {
    let signatures = Signatures::read();
    let id = algorithm::ecdsa(HashAlgorithm::SHA2_512).unwrap();
    for key in ["p256", "p384", "p521"] {
        let good = signatures.get(key, "ecdsa-sha512");
        let with =
            |data: &[u8]| judge(key, AuthMethod::DIGITAL_SIGNATURE, &digital(&id, data), &signatures.message, true);
        assert_eq!(with(good), Ok(()));
        let content = &good[if good[1] < 0x80 { 2 } else { 3 }..];
        let long = u8::try_from(content.len()).unwrap();
        for bad in [
            [good, &[0]].concat(),
            good[..good.len() - 1].to_vec(),
            // Lengths that DER writes shorter.
            [&[0x30, 0x82, 0, long], content].concat(),
            [&[0x30, 0x80], content, &[0, 0]].concat(),
            vec![0x30, 6, 2, 1, 0, 2, 1, 0],
            vec![0x30, 0],
            Vec::new(),
        ] {
            assert_eq!(with(&bad), Err(PeerNotAuthenticated::WrongSignature), "{key} {bad:02x?}");
        }
    }
}

#[test]
fn ed25519_signatures_have_one_form() {
    let signatures = Signatures::read();
    let good = signatures.get("ed25519", "ed25519");
    let with = |data: &[u8]| {
        judge(
            "ed25519",
            AuthMethod::DIGITAL_SIGNATURE,
            &digital(&algorithm::ed25519(), data),
            &signatures.message,
            true,
        )
    };
    assert_eq!(with(good), Ok(()));
    // S plus the order of the group (RFC 8032 §5.1.7), 2^252 + 27742317777372353535851937790883648493.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut again = good.to_vec();
    let mut carry = 0;
    for (byte, add) in again[32..].iter_mut().zip(order) {
        let total = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (total.to_be_bytes()[1], total >> 8);
    }
    for bad in [&again[..], &good[1..], &[good, &[0]].concat(), &[0; 64], &[]] {
        assert_eq!(with(bad), Err(PeerNotAuthenticated::WrongSignature));
    }
}

#[test]
fn the_identifiers_of_rfc_7427_and_rfc_8420_are_known_unless_they_are_too_weak() {
    let all = [vectors(testdata("vectors/rfc7427.txt")), vectors(testdata("vectors/rfc8420.txt"))].concat();
    let known = |vector: &&Vector| algorithm::verifiers(&vector["der"]).is_some();
    let known: Vec<_> = all.iter().filter(known).map(|v| String::from_utf8_lossy(&v["name"]).into_owned()).collect();
    let expected = [
        "sha1WithRSAEncryption",
        "sha256WithRSAEncryption",
        "sha384WithRSAEncryption",
        "sha512WithRSAEncryption",
        "ecdsa-with-sha256",
        "ecdsa-with-sha384",
        "ecdsa-with-sha512",
        "RSASSA-PSS with SHA-256",
        "Ed25519",
    ];
    assert_eq!(known, expected);
    // What we send is what the RFCs print, but for the trailer field of PSS.
    let der = |name: &str| all.iter().find(|v| v["name"] == name.as_bytes()).unwrap()["der"].clone();
    for (name, hash) in HASHES {
        assert_eq!(algorithm::rsa_pkcs1(hash), Some(der(&format!("{name}WithRSAEncryption"))));
        assert_eq!(algorithm::ecdsa(hash), Some(der(&format!("ecdsa-with-{name}"))));
    }
    assert_eq!(algorithm::ed25519(), der("Ed25519"));
    let mut pss = der("RSASSA-PSS with SHA-256");
    pss.truncate(pss.len() - 5);
    (pss[1], pss[14]) = (pss[1] - 5, pss[14] - 5);
    assert_eq!(algorithm::rsa_pss(HashAlgorithm::SHA2_256), Some(pss));
}

#[test]
fn parameters_of_pss_that_are_odd_or_left_out_are_refused() {
    let signatures = Signatures::read();
    let der = vectors(testdata("vectors/rfc7427.txt")).pop().unwrap()["der"].clone();
    let with = |id: &[u8]| signatures.judge("rsa", "pss-sha256", AuthMethod::DIGITAL_SIGNATURE, id);
    assert_eq!(with(&der), Ok(()), "the trailer field may be there");
    // One change in any byte is another algorithm, or none.
    for at in 0..der.len() {
        for change in [1, 0x20, 0x80, 0xff] {
            let mut other = der.clone();
            other[at] ^= change;
            let refused = with(&other);
            assert!(matches!(refused, Err(PeerNotAuthenticated::UnsupportedSignature { .. })), "{at} {refused:?}");
        }
        let refused = with(&der[..at]);
        assert!(matches!(refused, Err(PeerNotAuthenticated::UnsupportedSignature { .. })), "{at} {refused:?}");
    }
    let oid = &der[2..13];
    let without = |from: usize, to: usize| {
        let parameters = [&der[15..from], &der[to..]].concat();
        adit_pki::der::sequence(&[oid, &adit_pki::der::sequence(&[&parameters])])
    };
    // Without hash (SHA-1), mask (SHA-1) or salt length (20); the last two with other values.
    let long_salt = [&without(67, 72)[..67 - 1], &[21]].concat();
    for other in [
        without(15, 32),
        without(32, 62),
        without(62, 67),
        adit_pki::der::sequence(&[oid]),
        adit_pki::der::sequence(&[oid, &[5, 0]]),
        long_salt,
    ] {
        let refused = with(&other);
        assert!(matches!(refused, Err(PeerNotAuthenticated::UnsupportedSignature { .. })), "{other:02x?} {refused:?}");
    }
    assert_eq!(with(&without(67, 72)), Ok(()), "the trailer field may be left out");
}

#[test]
fn nullable_parameters_may_be_left_out() {
    let signatures = Signatures::read();
    let id = algorithm::rsa_pkcs1(HashAlgorithm::SHA2_256).unwrap();
    let absent = adit_pki::der::sequence(&[&id[2..13]]);
    assert_eq!(signatures.judge("rsa", "pkcs1-sha256", AuthMethod::DIGITAL_SIGNATURE, &absent), Ok(()));
    // ECDSA has none at all (RFC 5758 §3.2).
    let id = algorithm::ecdsa(HashAlgorithm::SHA2_256).unwrap();
    let null = adit_pki::der::sequence(&[&id[2..], &[5, 0]]);
    let refused = signatures.judge("p256", "ecdsa-sha256", AuthMethod::DIGITAL_SIGNATURE, &null);
    assert!(matches!(refused, Err(PeerNotAuthenticated::UnsupportedSignature { .. })), "{refused:?}");
}

#[test]
fn a_digital_signature_cut_short_is_wrong() {
    let signatures = Signatures::read();
    let data = digital(&algorithm::ed25519(), signatures.get("ed25519", "ed25519"));
    let with = |data: &[u8]| judge("ed25519", AuthMethod::DIGITAL_SIGNATURE, data, &signatures.message, false);
    for length in 0..data.len() {
        assert_eq!(with(&data[..length]), Err(PeerNotAuthenticated::WrongSignature), "{length}");
    }
    assert_eq!(with(&data), Ok(()));
}

#[test]
fn methods_we_do_not_have_are_named() {
    for method in [0, 3, 8, 12, 13, 255] {
        let refused = judge("rsa", AuthMethod(method), &[], b"", true).unwrap_err().to_string();
        assert!(refused.contains(&method.to_string()), "{refused}");
    }
    let by_key = judge("rsa", AuthMethod::PSK, &[0; 32], b"", true).unwrap_err();
    assert_eq!(by_key, PeerNotAuthenticated::OtherMethod { found: "a pre-shared key", wanted: "a certificate" });
}

proptest! {
    #[test]
    fn no_auth_payload_is_too_odd(method in 0u8..=20, mut data: Vec<u8>, key in 0..6usize, prefix: bool) {
        if prefix {
            let id = algorithm::rsa_pss(HashAlgorithm::SHA2_512).unwrap();
            data = digital(&id, &data);
        }
        let key = ["rsa", "rsa-e3", "p256", "p384", "p521", "ed25519"][key];
        prop_assert!(judge(key, AuthMethod(method), &data, b"octets", true).is_err());
    }
}
