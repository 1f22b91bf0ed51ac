//! Packets of RFCs and drafts, and packets of every suite written by a script that knows only the wire format.

use std::collections::HashSet;

use adit_testing::{Vector, vectors};
use adit_tunnel::Random;

use super::*;

fn load(name: &str) -> Vec<Vector> {
    vectors(format!("{}/testdata/vectors/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A suite of the generated packets.
fn suite_of(vector: &Vector) -> EspSuite {
    let named = |suite: &EspSuite| {
        suite.encryption.to_string().as_bytes() == vector["encryption"]
            && suite.integrity.to_string().as_bytes() == vector["integrity"]
            && u64::from(suite.key_bits) == number(&vector["key_bits"])
            && suite.esn == (vector["esn"] == [1])
    };
    every_suite().into_iter().find(named).unwrap()
}

fn keys_of(vector: &Vector) -> EspKeys {
    let key = |name| Secret::new(vector.get(name).cloned().unwrap_or_default());
    EspKeys { encryption: key("encryption_key"), integrity: key("integrity_key") }
}

fn opener_of(vector: &Vector) -> EspOpener {
    EspOpener::new(&suite_of(vector), &keys_of(vector), WINDOW, anything(), Arc::default()).unwrap()
}

/// Gives the bytes that a vector says were random.
struct Given<'a>(&'a [u8]);

impl Random for Given<'_> {
    fn fill(&mut self, bytes: &mut [u8]) {
        let (given, rest) = self.0.split_at(bytes.len());
        bytes.copy_from_slice(given);
        self.0 = rest;
    }
}

/// Seals the content of a published packet with its IV, and opens it again.
fn check_published(vector: &Vector, suite: &EspSuite, keys: &EspKeys, expected: &[u8]) {
    let protection = Protection::new(suite, keys).unwrap();
    let sequence = number(&vector["sequence"]);
    let low_half = &vector["sequence"][vector["sequence"].len() - 4..];
    let head = [&vector["spi"], low_half, &vector["iv"]].concat();
    let mut packet = [&head, &vector["content"], &vec![0; protection.icv_len()][..]].concat();
    protection.seal(sequence, &mut packet).unwrap();
    assert_eq!(&packet[..expected.len()], expected);

    let content = protection.open(sequence, &mut packet).unwrap();
    assert_eq!(content, head.len()..head.len() + vector["content"].len());
    assert_eq!(packet[content], vector["content"]);
    if suite.esn {
        let mut again = expected.to_vec();
        assert_eq!(protection.open(sequence ^ 1 << 32, &mut again), Err(OpenError::Forged));
    }
}

#[test]
fn aes_gcm_packets_are_those_of_the_draft() {
    let vectors = load("esp_aes_gcm.txt");
    assert_eq!(vectors.len(), 14);
    for vector in vectors {
        let key_bits = (vector["key"].len() as u16 - 4) * 8;
        let suite = suite(EncryptionId::AES_GCM_16, key_bits, IntegrityId::NONE, vector["sequence"].len() == 8);
        let keys = EspKeys { encryption: Secret::new(vector["key"].clone()), integrity: Secret::default() };
        check_published(&vector, &suite, &keys, &vector["packet"]);
    }
}

/// The packets of the RFC are inner packets of ICMP, in tunnel mode, so that all of an opener can be shown.
#[test]
fn chacha20_poly1305_packets_are_those_of_rfc_7634() {
    for vector in load("esp_chacha20_poly1305.txt") {
        let suite = suite(EncryptionId::CHACHA20_POLY1305, 256, IntegrityId::NONE, false);
        let keys = EspKeys { encryption: Secret::new(vector["key"].clone()), integrity: Secret::default() };
        check_published(&vector, &suite, &keys, &vector["packet"]);
        let mut opener = EspOpener::new(&suite, &keys, WINDOW, anything(), Arc::default()).unwrap();
        let (opened, packet) = open(&mut opener, &vector["packet"]).unwrap();
        assert_eq!((packet.as_slice(), opened.newest), (&vector["content"][..84], true));
    }
}

#[test]
fn aes_cbc_packets_are_those_of_rfc_3602() {
    let vectors = load("esp_aes_cbc.txt");
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let integrity = Secret::new([7; 32]);
        let keys = EspKeys { encryption: Secret::new(vector["key"].clone()), integrity };
        let expected = [&vector["spi"][..], &vector["sequence"], &vector["iv"], &vector["encrypted"]].concat();
        check_published(&vector, &cbc(false), &keys, &expected);
    }
}

#[test]
fn sealers_write_the_known_datagrams_of_every_suite() {
    for vector in load("esp_sealed.txt") {
        let spi = number(&vector["spi"]) as u32;
        let mut random = Given(&vector["iv_key"]);
        let suite = suite_of(&vector);
        let mut sealer = EspSealer::new(&suite, &keys_of(&vector), spi, &mut random, Arc::default()).unwrap();
        sealer.set_last_sequence(number(&vector["sequence"]) - 1);
        assert_eq!(seal(&mut sealer, &vector["packet"]).unwrap(), vector["datagram"], "{suite:?}");
    }
}

#[test]
fn openers_read_the_known_datagrams_of_every_suite() {
    for vector in load("esp_sealed.txt") {
        let mut opener = opener_of(&vector);
        if let Some(newest @ 1..) = number(&vector["sequence"]).checked_sub(1) {
            opener.set_newest(newest);
        }
        let (opened, packet) = open(&mut opener, &vector["datagram"]).unwrap();
        assert_eq!((packet, opened.newest), (vector["packet"].clone(), true), "{opener:?}");
        assert_eq!(open(&mut opener, &vector["datagram"]), Err(OpenError::Replayed));
    }
}

#[test]
fn openers_read_what_only_peers_write() {
    for vector in load("esp_received.txt") {
        let (newest, sequence) = (number(&vector["newest"]), number(&vector["sequence"]));
        let mut opener = opener_of(&vector);
        if newest > 0 {
            opener.set_newest(newest);
        }
        let (opened, packet) = open(&mut opener, &vector["datagram"]).unwrap_or_else(|e| panic!("{e} {opener:?}"));
        assert_eq!(packet, vector["packet"], "{opener:?}");
        assert_eq!(opened.newest, sequence > newest);
        assert_eq!(opened.content == Content::Filler, packet.is_empty());
        assert_eq!(open(&mut opener, &vector["datagram"]), Err(OpenError::Replayed));
    }
}

#[test]
fn known_datagrams_cover_every_suite_the_issue_names() {
    let covered: HashSet<_> = load("esp_sealed.txt").iter().map(|vector| format!("{:?}", suite_of(vector))).collect();
    // CTR and 3DES, which only old gateways want, go with one integrity algorithm there.
    let named = |suite: &&EspSuite| suite.encryption.is_aead() || suite.encryption == EncryptionId::AES_CBC;
    let suites = every_suite();
    assert!(suites.iter().filter(named).all(|suite| covered.contains(&format!("{suite:?}"))));
}
