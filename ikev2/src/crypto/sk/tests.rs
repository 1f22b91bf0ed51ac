use adit_testing::SeededRandom;
use proptest::prelude::*;

use super::*;
use crate::{
    crypto::{encryption_key_len, tests::vectors_of},
    message::numbers::IntegrityId,
    negotiate::IkeProposals,
};

/// Every way to protect a message.
const SUITES: [&str; 33] = [
    "aes128gcm8-prfsha256",
    "aes192gcm8-prfsha256",
    "aes256gcm8-prfsha256",
    "aes128gcm12-prfsha256",
    "aes192gcm12-prfsha256",
    "aes256gcm12-prfsha256",
    "aes128gcm16-prfsha256",
    "aes192gcm16-prfsha256",
    "aes256gcm16-prfsha256",
    "aes128ccm8-prfsha256",
    "aes192ccm8-prfsha256",
    "aes256ccm8-prfsha256",
    "aes128ccm12-prfsha256",
    "aes192ccm12-prfsha256",
    "aes256ccm12-prfsha256",
    "aes128ccm16-prfsha256",
    "aes192ccm16-prfsha256",
    "aes256ccm16-prfsha256",
    "chacha20poly1305-prfsha256",
    "aes128-sha1",
    "aes128-sha256",
    "aes192-sha384",
    "aes256-sha512",
    "aes256-sha256",
    "aes128ctr-sha1",
    "aes128ctr-sha256",
    "aes192ctr-sha384",
    "aes256ctr-sha512",
    "3des-sha1",
    "3des-sha256",
    "3des-sha512",
    "aes128-aesxcbc",
    "aes128ctr-aescmac",
];

const HEADER_LEN: usize = 32;

fn suite(text: &str) -> IkeSuite {
    let proposals: IkeProposals = format!("{text}-x25519").parse().unwrap();
    let (suite, ..) = proposals.choose(&proposals.sa_payload(None)).unwrap();
    assert_eq!(suite.to_string(), format!("{text}-x25519"));
    suite
}

fn keys_of(suite: &IkeSuite, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = SeededRandom::new(seed);
    let encryption_len = encryption_key_len(suite.encryption, suite.key_bits).unwrap();
    let (mut encryption, mut integrity) =
        (vec![0; encryption_len], vec![0; Integrity::key_len(suite.integrity).unwrap_or(0)]);
    random.fill(&mut encryption);
    random.fill(&mut integrity);
    (encryption, integrity)
}

fn cipher_of(suite: &IkeSuite, seed: u64) -> Box<dyn SkCipher> {
    let (encryption, integrity) = keys_of(suite, seed);
    sk_cipher(suite, &encryption, &integrity).unwrap()
}

/// Header, room for the IV, plaintext, room for the ICV.
fn unsealed(cipher: &dyn SkCipher, blocks: usize) -> (Vec<u8>, Range<usize>) {
    let plaintext = HEADER_LEN + cipher.iv_len()..HEADER_LEN + cipher.iv_len() + blocks * cipher.pad_to();
    let mut buffer: Vec<u8> = (0..plaintext.end + cipher.icv_len()).map(|i| i as u8).collect();
    buffer[HEADER_LEN..plaintext.start].fill(0xaa);
    (buffer, plaintext)
}

#[test]
fn the_message_of_rfc_7634_opens() {
    let vector = &vectors_of(&["sk_chacha20_poly1305"])[0];
    let cipher = sk_cipher(&suite("chacha20poly1305-prfsha256"), &vector["key"], &[]).unwrap();
    let mut message = vector["message"].clone();
    let range = cipher.open(&mut message, HEADER_LEN).unwrap();
    assert_eq!(message[range], vector["plaintext"]);
}

#[test]
fn lengths_are_those_of_the_rfcs() {
    for (text, iv_len, pad_to, icv_len) in [
        ("aes256gcm16-prfsha256", 8, 1, 16),
        ("aes256gcm12-prfsha256", 8, 1, 12),
        ("aes256gcm8-prfsha256", 8, 1, 8),
        ("aes128ccm12-prfsha256", 8, 1, 12),
        ("chacha20poly1305-prfsha256", 8, 1, 16),
        ("aes256-sha256", 16, 16, 16),
        ("aes256-sha384", 16, 16, 24),
        ("aes128ctr-sha512", 8, 1, 32),
        ("3des-sha1", 8, 8, 12),
    ] {
        let cipher = cipher_of(&suite(text), 1);
        assert_eq!((cipher.iv_len(), cipher.pad_to(), cipher.icv_len()), (iv_len, pad_to, icv_len), "{text}");
    }
}

#[test]
fn what_one_end_seals_the_other_opens() {
    for text in SUITES {
        let suite = suite(text);
        let (mut sealer, opener, mut random) = (cipher_of(&suite, 1), cipher_of(&suite, 1), SeededRandom::new(2));
        for blocks in [1, 2, 17, 300] {
            let (plain, range) = unsealed(sealer.as_ref(), blocks);
            let mut buffer = plain.clone();
            sealer.seal(&mut random, &mut buffer, HEADER_LEN);
            assert_eq!(buffer[..HEADER_LEN], plain[..HEADER_LEN], "{text}");
            assert!(blocks * sealer.pad_to() < 16 || buffer[range.clone()] != plain[range.clone()], "{text}");
            assert_eq!(opener.open(&mut buffer, HEADER_LEN), Some(range.clone()), "{text}");
            assert_eq!(buffer[range.clone()], plain[range], "{text}");
        }
    }
}

#[test]
fn no_iv_comes_twice() {
    for text in SUITES {
        let (mut cipher, mut random) = (cipher_of(&suite(text), 1), SeededRandom::new(2));
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let (mut buffer, range) = unsealed(cipher.as_ref(), 1);
            cipher.seal(&mut random, &mut buffer, HEADER_LEN);
            assert!(seen.insert(buffer[HEADER_LEN..range.start].to_vec()), "{text}");
        }
    }
}

#[test]
fn any_bit_changed_is_forged() {
    for text in SUITES {
        let suite = suite(text);
        let (mut sealer, opener) = (cipher_of(&suite, 1), cipher_of(&suite, 1));
        let (mut sealed, _) = unsealed(sealer.as_ref(), 2);
        sealer.seal(&mut SeededRandom::new(2), &mut sealed, HEADER_LEN);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opener.open(&mut forged, HEADER_LEN), None, "{text} {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(opener.open(&mut sealed[..len].to_vec(), HEADER_LEN), None, "{text} {len}");
        }
        assert_eq!(cipher_of(&suite, 3).open(&mut sealed.clone(), HEADER_LEN), None, "{text}");
        assert!(opener.open(&mut sealed, HEADER_LEN).is_some(), "{text}");
    }
}

#[test]
fn part_of_a_block_is_refused_even_if_authentic() {
    let suite = suite("aes128-sha256");
    let (encryption, integrity) = keys_of(&suite, 1);
    let mut buffer = vec![7; HEADER_LEN + 16 + 17];
    let mut tag = [0; 16];
    Integrity::new(IntegrityId::HMAC_SHA2_256_128, &integrity).unwrap().sign(&[&buffer], &mut tag);
    buffer.extend(tag);
    let cipher = sk_cipher(&suite, &encryption, &integrity).unwrap();
    assert_eq!(cipher.open(&mut buffer, HEADER_LEN), None);
}

#[test]
fn keys_of_other_lengths_make_no_cipher() {
    for text in SUITES {
        let suite = suite(text);
        let (encryption, integrity) = keys_of(&suite, 1);
        assert!(sk_cipher(&suite, &encryption[1..], &integrity).is_none(), "{text}");
        if suite.integrity != IntegrityId::NONE {
            assert!(sk_cipher(&suite, &encryption, &integrity[1..]).is_none(), "{text}");
            let without = IkeSuite { integrity: IntegrityId::NONE, ..suite };
            assert!(sk_cipher(&without, &encryption, &[]).is_none(), "{text}: no cipher goes without integrity");
        }
    }
}

proptest! {
    #[test]
    fn no_datagram_panics(
        text in prop::sample::select(SUITES.to_vec()),
        mut datagram in prop::collection::vec(any::<u8>(), 0..200),
        header_len in 0..300_usize,
    ) {
        prop_assert_eq!(cipher_of(&suite(text), 1).open(&mut datagram, header_len), None);
    }
}
