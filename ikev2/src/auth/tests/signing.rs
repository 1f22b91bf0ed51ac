//! Our own signatures.

use adit_pki::IdentityError;
use adit_testing::vectors;

use super::*;
use crate::config::SignatureChoice;

const MODERN: [HashAlgorithm; 4] = HASH_ALGORITHMS;

fn schemes(key: &str, choice: SignatureChoice, hashes: &[HashAlgorithm], legacy: bool) -> Vec<Scheme> {
    Signer::new(&identity_of(key)).unwrap().schemes(choice, hashes, legacy)
}

#[test]
fn what_we_sign_verifies() {
    for key in ["rsa", "rsa.pkcs1", "rsa4096", "p256", "p384", "p521", "p521.sec1", "ed25519"] {
        let signer = Signer::new(&identity_of(key)).unwrap();
        let certs = signer.cert_payloads();
        let mut all = [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512]
            .into_iter()
            .flat_map(|hash| signer.schemes(SignatureChoice::Auto, &[hash, HashAlgorithm::IDENTITY], true))
            .collect::<Vec<_>>();
        all.extend(signer.schemes(SignatureChoice::Auto, &[], true));
        assert!(all.len() > 2 || key == "ed25519", "{key} {all:?}");
        for scheme in all {
            let auth = signer.sign(scheme, b"octets").unwrap();
            let judge = |octets: &[u8]| {
                let certs: Vec<_> = certs.iter().collect();
                anyone().verify("", &certs, &signer.identity().to_payload(), &auth, octets, NOW, true).map(drop)
            };
            assert_eq!(judge(b"octets"), Ok(()), "{key} {scheme:?}");
            assert_eq!(judge(b"Octets"), Err(PeerNotAuthenticated::WrongSignature), "{key} {scheme:?}");
        }
    }
}

/// RSASSA-PKCS1-v1_5 leaves no choice: one key makes one signature, whoever computes it.
#[test]
fn rsa_signatures_are_those_of_openssl() {
    let all = vectors(testdata("certificates/signatures.txt"));
    for key in ["rsa", "rsa4096"] {
        let signer = Signer::new(&identity_of(key)).unwrap();
        let openssl = |name: &str| {
            let wanted = |v: &&adit_testing::Vector| v["key"] == key.as_bytes() && v["algorithm"] == name.as_bytes();
            all[1..].iter().find(wanted).unwrap()["signature"].clone()
        };
        let ours = |hash| signer.sign(Scheme::Rsa(hash), &all[0]["message"]).unwrap().data;
        assert_eq!(ours(HashAlgorithm::SHA1), openssl("pkcs1-sha1"));
        assert_eq!(ours(HashAlgorithm::SHA2_256), openssl("pkcs1-sha256"));
        assert_eq!(ours(HashAlgorithm::SHA2_512), openssl("pkcs1-sha512"));
    }
}

#[test]
fn rsa_falls_back_from_the_new_to_the_old() {
    use HashAlgorithm as H;
    use Scheme::{Rsa, RsaPkcs1, RsaPss};
    let auto = SignatureChoice::Auto;
    assert_eq!(schemes("rsa", auto, &MODERN, false), [RsaPkcs1(H::SHA2_256), RsaPss(H::SHA2_256), Rsa(H::SHA2_256)]);
    let with_legacy = [RsaPkcs1(H::SHA2_256), RsaPss(H::SHA2_256), Rsa(H::SHA1), Rsa(H::SHA2_256)];
    assert_eq!(schemes("rsa", auto, &MODERN, true), with_legacy);
    assert_eq!(schemes("rsa", auto, &[], false), [Rsa(H::SHA2_256)]);
    assert_eq!(schemes("rsa", auto, &[H::SHA1], false), [Rsa(H::SHA2_256)]);
    let only_512 = [RsaPkcs1(H::SHA2_512), RsaPss(H::SHA2_512), Rsa(H::SHA2_256)];
    assert_eq!(schemes("rsa", auto, &[H::SHA1, H::SHA2_512], false), only_512);
    assert_eq!(schemes("rsa", SignatureChoice::RsaPss, &MODERN, true), [RsaPss(H::SHA2_256)]);
    assert_eq!(schemes("rsa", SignatureChoice::RsaPkcs1, &MODERN, true), [RsaPkcs1(H::SHA2_256)]);
    assert_eq!(schemes("rsa", SignatureChoice::RsaPss, &[], true), []);
    assert_eq!(schemes("rsa", SignatureChoice::Method1, &MODERN, false), [Rsa(H::SHA2_256)]);
}

#[test]
fn other_keys_leave_no_choice() {
    for choice in [SignatureChoice::Auto, SignatureChoice::Method1, SignatureChoice::RsaPss] {
        for key in ["p256", "p384", "p521"] {
            assert_eq!(schemes(key, choice, &MODERN, false), [Scheme::EcdsaSignature], "{key}");
            assert_eq!(schemes(key, choice, &[], false), [Scheme::Ecdsa], "{key}");
        }
        // Not with the hash of another curve.
        assert_eq!(schemes("p384", choice, &[HashAlgorithm::SHA2_256], false), [Scheme::Ecdsa]);
        assert_eq!(schemes("ed25519", choice, &MODERN, false), [Scheme::Ed25519]);
        // RFC 8420 §2.
        assert_eq!(schemes("ed25519", choice, &MODERN[..3], false), []);
    }
}

#[test]
fn a_scheme_of_another_key_makes_no_signature() {
    let signer = Signer::new(&identity_of("p256")).unwrap();
    for scheme in [Scheme::Ed25519, Scheme::Rsa(HashAlgorithm::SHA1), Scheme::RsaPss(HashAlgorithm::SHA2_256)] {
        assert_eq!(signer.sign(scheme, b"octets"), None);
    }
    let signer = Signer::new(&identity_of("rsa")).unwrap();
    for scheme in [Scheme::Ecdsa, Scheme::EcdsaSignature, Scheme::RsaPss(HashAlgorithm::SHA1)] {
        assert_eq!(signer.sign(scheme, b"octets"), None);
    }
}

#[test]
fn keys_that_cannot_sign_are_told_beforehand() {
    let error = |chain: &[&str], key: &str| {
        let chain = chain.iter().map(|name| certificate(name)).collect();
        Signer::new(&ClientIdentity { chain, key: identity_of(key).key.clone_key() }).map(drop).unwrap_err()
    };
    assert_eq!(error(&["rsa1024"], "rsa1024"), IdentityError::RsaKeySize { bits: 1024 });
    for (certificate, key) in [("rsa", "rsa4096"), ("p521", "p384"), ("p384", "p521"), ("ed25519", "rsa")] {
        assert_eq!(error(&[certificate], key), IdentityError::KeyMismatch, "{certificate} {key}");
    }
    assert_eq!(error(&[], "rsa"), IdentityError::NoCertificate);
    let chain = vec![certificate("rsa"), CertificateDer::from(vec![0x30, 0])];
    let broken = ClientIdentity { chain, key: identity_of("rsa").key.clone_key() };
    assert_eq!(Signer::new(&broken).map(drop), Err(IdentityError::Certificate { number: 2 }));
}

#[test]
fn the_whole_chain_is_sent_and_the_subject_is_who_we_are() {
    let mut identity = identity_of("p256");
    identity.chain.push(certificate("ca-p521"));
    let signer = Signer::new(&identity).unwrap();
    let sent = signer.cert_payloads();
    assert_eq!(
        sent.iter().map(|cert| &cert.data[..]).collect::<Vec<_>>(),
        [&*certificate("p256"), &*certificate("ca-p521")]
    );
    assert_eq!(signer.identity().to_string(), "C=CH, O=adit tests, CN=vpn.example");
    assert_eq!(signer.identity().to_payload().id_type, crate::message::numbers::IdType::DER_ASN1_DN);
    assert!(!format!("{signer:?}").contains("priv"));
}
