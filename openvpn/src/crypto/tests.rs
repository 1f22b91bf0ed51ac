//! Both implementations against the same vectors, and against each other.

use adit_testing::{Vector, vectors};
use proptest::prelude::*;

use super::*;

const BACKENDS: [&dyn Crypto; 2] = [&Ring, &RustCrypto];

fn vectors_of(names: &[&str]) -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors");
    names.iter().flat_map(|name| vectors(format!("{folder}/{name}.txt"))).collect()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}

fn hmac_of(crypto: &dyn Crypto, digest: Digest, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = [0; 64];
    crypto.hmac(digest, key).sign(parts, &mut out);
    out[..digest.len()].to_vec()
}

fn check_aead(crypto: &dyn Crypto, cipher: Cipher, vector: &Vector) {
    let key = crypto.aead(cipher, &vector["key"]).unwrap();
    let (nonce, aad, tag) = (array(&vector["nonce"]), &vector["aad"], array(&vector["tag"]));
    let mut data = vector["plaintext"].clone();
    assert_eq!(key.seal(&nonce, aad, &mut data), tag, "{crypto:?} {cipher}");
    assert_eq!(data, vector["ciphertext"], "{crypto:?} {cipher}");
    assert!(key.open(&nonce, aad, &mut data, &tag), "{crypto:?} {cipher}");
    assert_eq!(data, vector["plaintext"], "{crypto:?} {cipher}");
}

#[test]
fn aes_gcm_gives_the_known_answers() {
    for vector in vectors_of(&["aes_gcm", "generated_aes_gcm"]) {
        let cipher = match vector["key"].len() {
            16 => Cipher::Aes128Gcm,
            24 => Cipher::Aes192Gcm,
            _ => Cipher::Aes256Gcm,
        };
        BACKENDS.iter().for_each(|crypto| check_aead(*crypto, cipher, &vector));
    }
}

#[test]
fn chacha20_poly1305_gives_the_known_answers() {
    for vector in vectors_of(&["chacha20poly1305", "generated_chacha20poly1305"]) {
        BACKENDS.iter().for_each(|crypto| check_aead(*crypto, Cipher::ChaCha20Poly1305, &vector));
    }
}

#[test]
fn aes_cbc_gives_the_known_answers() {
    for (vector, crypto) in vectors_of(&["aes_cbc", "generated_aes_cbc"]).iter().flat_map(|v| BACKENDS.map(|c| (v, c)))
    {
        let key = crypto.cbc(&vector["key"]).unwrap();
        let (iv, mut data) = (array(&vector["iv"]), vector["plaintext"].clone());
        key.encrypt(&iv, &mut data);
        assert_eq!(data, vector["ciphertext"], "{crypto:?}");
        key.decrypt(&iv, &mut data);
        assert_eq!(data, vector["plaintext"], "{crypto:?}");
    }
}

#[test]
fn aes256_ctr_gives_the_known_answers() {
    for vector in vectors_of(&["aes256_ctr", "generated_aes256_ctr"]) {
        for crypto in BACKENDS {
            let mut data = vector["plaintext"].clone();
            crypto.aes256_ctr(&array(&vector["key"]), &array(&vector["iv"]), &mut data);
            assert_eq!(data, vector["ciphertext"], "{crypto:?}");
        }
    }
}

#[test]
fn hmac_gives_the_known_answers_for_every_digest() {
    let mut checked = std::collections::HashSet::new();
    for vector in vectors_of(&["hmac", "generated_hmac"]) {
        for digest in Digest::ALL {
            let Some(tag) = vector.get(&digest.name().to_ascii_lowercase()) else { continue };
            let (key, data) = (&vector["key"], &vector["data"]);
            for crypto in BACKENDS {
                assert_eq!(&hmac_of(crypto, digest, key, &[data]), tag, "{crypto:?} {digest}");
                assert!(crypto.hmac(digest, key).verify(&[data], tag), "{crypto:?} {digest}");
            }
            checked.insert(digest);
        }
    }
    assert_eq!(checked.len(), Digest::ALL.len());
}

#[test]
fn a_key_of_the_wrong_length_or_kind_makes_no_key() {
    for crypto in BACKENDS {
        for cipher in Cipher::ALL {
            for len in (0..70).filter(|len| !cipher.is_aead() || *len != cipher.key_len()) {
                assert!(crypto.aead(cipher, &vec![0; len]).is_none(), "{crypto:?} {cipher} {len}");
            }
        }
        for len in (0..70).filter(|len| ![16, 24, 32].contains(len)) {
            assert!(crypto.cbc(&vec![0; len]).is_none(), "{crypto:?} {len}");
        }
    }
}

#[test]
fn a_tag_cut_short_or_changed_in_one_bit_is_refused() {
    for (crypto, digest) in BACKENDS.into_iter().flat_map(|crypto| Digest::ALL.map(|digest| (crypto, digest))) {
        let tag = hmac_of(crypto, digest, b"key", &[b"data"]);
        let key = crypto.hmac(digest, b"key");
        assert!(key.verify(&[b"data"], &tag));
        for len in 0..tag.len() {
            assert!(!key.verify(&[b"data"], &tag[..len]), "{crypto:?} {digest} {len}");
        }
        for bit in 0..tag.len() * 8 {
            let mut forged = tag.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&[b"data"], &forged), "{crypto:?} {digest} {bit}");
        }
        assert!(!key.verify(&[b"data"], &[tag.as_slice(), &[0]].concat()));
    }
}

proptest! {
    #[test]
    fn one_backend_opens_what_the_other_seals(
        key in any::<[u8; 32]>(), nonce in any::<[u8; 12]>(),
        aad in prop::collection::vec(any::<u8>(), 0..40),
        plaintext in prop::collection::vec(any::<u8>(), 0..2000),
        flip in any::<prop::sample::Index>(),
    ) {
        for cipher in Cipher::ALL.into_iter().filter(|cipher| cipher.is_aead()) {
            let [ring, rust] = BACKENDS.map(|crypto| crypto.aead(cipher, &key[..cipher.key_len()]).unwrap());
            for (sealer, opener) in [(&ring, &rust), (&rust, &ring)] {
                let mut data = plaintext.clone();
                let tag = sealer.seal(&nonce, &aad, &mut data);
                let mut forged = (data.clone(), tag);
                let bit = flip.index((data.len() + 16) * 8);
                match forged.0.get_mut(bit / 8) {
                    Some(byte) => *byte ^= 1 << (bit % 8),
                    None => forged.1[bit / 8 - data.len()] ^= 1 << (bit % 8),
                }
                prop_assert!(!opener.open(&nonce, &aad, &mut forged.0, &forged.1));
                prop_assert!(opener.open(&nonce, &aad, &mut data, &tag));
                prop_assert_eq!(&data, &plaintext);
            }
        }
    }

    #[test]
    fn both_backends_compute_the_same_hmac_however_the_data_is_split(
        key in prop::collection::vec(any::<u8>(), 0..200),
        data in prop::collection::vec(any::<u8>(), 0..600),
        split in any::<prop::sample::Index>(),
    ) {
        let (first, second) = data.split_at(split.index(data.len() + 1));
        for digest in Digest::ALL {
            let whole = hmac_of(&Ring, digest, &key, &[&data]);
            prop_assert_eq!(&whole, &hmac_of(&RustCrypto, digest, &key, &[first, second]));
            prop_assert_eq!(&whole, &hmac_of(&Ring, digest, &key, &[first, &[], second]));
        }
    }
}
