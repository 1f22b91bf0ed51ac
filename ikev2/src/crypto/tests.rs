//! Known answers; what `ring` computes is checked by RustCrypto too.

use adit_testing::{Vector, vectors};
use proptest::prelude::*;

use super::*;
use crate::message::numbers::IntegrityId;

pub(crate) fn vectors_of(names: &[&str]) -> Vec<Vector> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/vectors");
    names.iter().flat_map(|name| vectors(format!("{folder}/{name}.txt"))).collect()
}

const AEADS: [EncryptionId; 7] = [
    EncryptionId::AES_GCM_8,
    EncryptionId::AES_GCM_12,
    EncryptionId::AES_GCM_16,
    EncryptionId::AES_CCM_8,
    EncryptionId::AES_CCM_12,
    EncryptionId::AES_CCM_16,
    EncryptionId::CHACHA20_POLY1305,
];

fn with_tag_len(ids: [EncryptionId; 3], tag_len: usize) -> EncryptionId {
    ids[tag_len / 4 - 2]
}

fn gcm(tag_len: usize) -> EncryptionId {
    with_tag_len([EncryptionId::AES_GCM_8, EncryptionId::AES_GCM_12, EncryptionId::AES_GCM_16], tag_len)
}

fn ccm(tag_len: usize) -> EncryptionId {
    with_tag_len([EncryptionId::AES_CCM_8, EncryptionId::AES_CCM_12, EncryptionId::AES_CCM_16], tag_len)
}

fn check_aead(id: EncryptionId, vector: &Vector, tag: &[u8]) {
    let key = aead(id, &vector["key"]).unwrap();
    let (iv, aad) = (vector["iv"].as_slice().try_into().unwrap(), &vector["aad"]);
    let (mut data, mut computed) = (vector["plaintext"].clone(), vec![0; key.tag_len()]);
    key.seal(iv, aad, &mut data, &mut computed);
    assert_eq!((&data, computed.as_slice()), (&vector["ciphertext"], tag), "{id}");
    assert!(key.open(iv, aad, &mut data, tag), "{id}");
    assert_eq!(data, vector["plaintext"], "{id}");
}

#[test]
fn aes_gcm_gives_the_known_answers_with_tags_of_every_length() {
    for vector in vectors_of(&["aes_gcm", "generated_aes_gcm"]) {
        for tag_len in [8, 12, 16].into_iter().filter(|len| *len <= vector["tag"].len()) {
            check_aead(gcm(tag_len), &vector, &vector["tag"][..tag_len]);
        }
    }
}

#[test]
fn aes_ccm_gives_the_known_answers() {
    for vector in vectors_of(&["aes_ccm", "generated_aes_ccm"]) {
        check_aead(ccm(vector["tag"].len()), &vector, &vector["tag"]);
    }
}

#[test]
fn chacha20_poly1305_gives_the_known_answers() {
    for vector in vectors_of(&["chacha20_poly1305"]) {
        check_aead(EncryptionId::CHACHA20_POLY1305, &vector, &vector["tag"]);
    }
}

#[test]
fn ciphers_give_the_known_answers() {
    for (id, name) in [
        (EncryptionId::AES_CBC, "aes_cbc"),
        (EncryptionId::AES_CTR, "aes_ctr"),
        (EncryptionId::TRIPLE_DES, "triple_des_cbc"),
    ] {
        for vector in vectors_of(&[name]) {
            let key = cipher(id, &vector["key"]).unwrap();
            let mut data = vector["plaintext"].clone();
            key.encrypt(&vector["iv"], &mut data);
            assert_eq!(data, vector["ciphertext"], "{id}");
            key.decrypt(&vector["iv"], &mut data);
            assert_eq!(data, vector["plaintext"], "{id}");
            assert_eq!((key.iv_len(), data.len() % key.block_len()), (vector["iv"].len(), 0));
        }
    }
}

const INTEGRITIES: [(IntegrityId, &str, usize); 6] = [
    (IntegrityId::AES_XCBC_96, "auth_xcbc", 12),
    (IntegrityId::AES_CMAC_96, "auth_cmac", 12),
    (IntegrityId::HMAC_SHA1_96, "auth1", 12),
    (IntegrityId::HMAC_SHA2_256_128, "auth256", 16),
    (IntegrityId::HMAC_SHA2_384_192, "auth384", 24),
    (IntegrityId::HMAC_SHA2_512_256, "auth512", 32),
];

fn sign(key: &Integrity, parts: &[&[u8]]) -> Vec<u8> {
    let mut tag = vec![0; key.tag_len()];
    key.sign(parts, &mut tag);
    tag
}

#[test]
fn integrity_algorithms_give_the_known_answers() {
    for (id, name, tag_len) in INTEGRITIES {
        let mut checked = 0;
        for vector in vectors_of(&["hmac_sha1", "hmac_sha2", "aes_mac"]) {
            let Some(tag) = vector.get(name) else { continue };
            let Some(key) = Integrity::new(id, &vector["key"]) else { continue };
            let (first, second) = vector["data"].split_at(vector["data"].len() / 3);
            assert_eq!((&sign(&key, &[first, second]), tag.len()), (tag, tag_len), "{id}");
            assert!(key.verify(&[first, second], tag));
            checked += 1;
        }
        assert!(checked >= 3, "{id}");
    }
}

#[test]
fn an_integrity_tag_cut_short_or_changed_in_one_bit_is_refused() {
    for (id, ..) in INTEGRITIES {
        let key = Integrity::new(id, &vec![7; Integrity::key_len(id).unwrap()]).unwrap();
        let tag = sign(&key, &[b"data"]);
        for len in 0..tag.len() {
            assert!(!key.verify(&[b"data"], &tag[..len]), "{id} {len}");
        }
        for bit in 0..tag.len() * 8 {
            let mut forged = tag.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(&[b"data"], &forged), "{id} {bit}");
        }
        assert!(!key.verify(&[b"data"], &[tag.as_slice(), &[0]].concat()));
    }
}

#[test]
fn only_the_announced_key_length_makes_a_key() {
    let all = AEADS.into_iter().chain([EncryptionId::AES_CBC, EncryptionId::AES_CTR, EncryptionId::TRIPLE_DES]);
    for id in all.chain([EncryptionId::NULL, EncryptionId(1024)]) {
        let good: Vec<usize> = [128, 192, 256].iter().filter_map(|bits| encryption_key_len(id, *bits)).collect();
        for len in 0..80 {
            let made = aead(id, &vec![1; len]).is_some() || cipher(id, &vec![1; len]).is_some();
            assert_eq!(made, good.contains(&len), "{id} {len}");
        }
    }
    for id in INTEGRITIES.map(|(id, ..)| id) {
        for len in 0..80 {
            assert_eq!(Integrity::new(id, &vec![1; len]).is_some(), Integrity::key_len(id) == Some(len), "{id} {len}");
        }
    }
    assert!(Integrity::new(IntegrityId::NONE, &[]).is_none() && Integrity::new(IntegrityId(1024), &[0; 20]).is_none());
}

proptest! {
    #[test]
    fn an_aead_opens_what_it_sealed_and_nothing_else(
        key in any::<[u8; 36]>(), iv in any::<[u8; 8]>(),
        aad in prop::collection::vec(any::<u8>(), 0..40),
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        flip in any::<prop::sample::Index>(),
    ) {
        for (id, bits) in AEADS.into_iter().flat_map(|id| [128, 192, 256].map(|bits| (id, bits))) {
            let Some(key_len) = encryption_key_len(id, bits) else { continue };
            let key = aead(id, &key[..key_len]).unwrap();
            let (mut data, mut tag) = (plaintext.clone(), vec![0; key.tag_len()]);
            key.seal(&iv, &aad, &mut data, &mut tag);
            let mut forged = [data.as_slice(), &tag].concat();
            let bit = flip.index(forged.len() * 8);
            forged[bit / 8] ^= 1 << (bit % 8);
            let (forged_data, forged_tag) = forged.split_at_mut(data.len());
            prop_assert!(!key.open(&iv, &aad, forged_data, forged_tag));
            prop_assert!(!key.open(&iv, &aad, &mut data.clone(), &tag[1..]));
            prop_assert!(!key.open(&iv, &[&aad[..], &[0]].concat(), &mut data.clone(), &tag));
            prop_assert!(key.open(&iv, &aad, &mut data, &tag));
            prop_assert_eq!(&data, &plaintext);
        }
    }
}

mod prf {
    use adit_tunnel::Secret;
    use hmac::{KeyInit, Mac};

    use super::*;
    use crate::message::numbers::PrfId;

    const PRFS: [(PrfId, &str); 6] = [
        (PrfId::AES_XCBC, "prf_xcbc"),
        (PrfId::AES_CMAC, "prf_cmac"),
        (PrfId::HMAC_SHA1, "prf1"),
        (PrfId::HMAC_SHA2_256, "prf256"),
        (PrfId::HMAC_SHA2_384, "prf384"),
        (PrfId::HMAC_SHA2_512, "prf512"),
    ];

    fn by_rust_crypto(id: PrfId, key: &[u8], data: &[u8]) -> Vec<u8> {
        fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
            let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
        match id {
            PrfId::HMAC_SHA1 => mac::<hmac::Hmac<sha1::Sha1>>(key, data),
            PrfId::HMAC_SHA2_256 => mac::<hmac::Hmac<sha2::Sha256>>(key, data),
            PrfId::HMAC_SHA2_384 => mac::<hmac::Hmac<sha2::Sha384>>(key, data),
            _ => mac::<hmac::Hmac<sha2::Sha512>>(key, data),
        }
    }

    #[test]
    fn prfs_give_the_known_answers() {
        for (id, name) in PRFS {
            let prf = Prf::new(id).unwrap();
            let mut checked = 0;
            for vector in vectors_of(&["hmac_sha1", "hmac_sha2", "aes_mac"]) {
                let Some(expected) = vector.get(name) else { continue };
                let (first, second) = vector["data"].split_at(vector["data"].len() / 3);
                assert_eq!(prf.sign(&vector["key"], &[first, second]).expose(), expected, "{id}");
                assert_eq!((prf.id(), prf.output_len(), prf.key_len()), (id, expected.len(), expected.len()));
                checked += 1;
            }
            assert!(checked >= 6, "{id}");
        }
    }

    #[test]
    fn prfs_we_do_not_have_are_none() {
        for id in [0, 1, 3, 9, u16::MAX].map(PrfId) {
            assert_eq!(Prf::new(id), None);
        }
    }

    proptest! {
        #[test]
        fn ring_and_rust_crypto_agree(
            key in prop::collection::vec(any::<u8>(), 0..200),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..5),
        ) {
            for (id, _) in &PRFS[2..] {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let ours = Prf::new(*id).unwrap().sign(&key, &parts);
                prop_assert_eq!(ours.expose(), by_rust_crypto(*id, &key, &parts.concat()));
            }
        }

        /// RFC 7296 §2.13: `T1 = prf(K, S | 1)`, `T2 = prf(K, T1 | S | 2)`, …
        #[test]
        fn prf_plus_chains_blocks(key in any::<[u8; 32]>(), seed in prop::collection::vec(any::<u8>(), 0..100), len in 0..600_usize) {
            for (id, _) in PRFS {
                let prf = Prf::new(id).unwrap();
                let (mut all, mut last) = (Vec::new(), Secret::default());
                for counter in (1..=u8::MAX).take(len.div_ceil(prf.output_len())) {
                    last = prf.sign(&key, &[last.expose(), &seed, &[counter]]);
                    all.extend_from_slice(last.expose());
                }
                let (first, second) = seed.split_at(seed.len() / 2);
                let ours = prf.plus(&key, &[first, second], len);
                prop_assert_eq!(ours.expose(), &all[..len]);
            }
        }
    }
}
