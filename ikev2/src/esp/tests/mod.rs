//! What a key seals the other end opens, and nothing else.

mod allocation;
mod known_answers;
mod recorded;
mod refused;
mod round_trip;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use adit_testing::SeededRandom;
use adit_tunnel::{Content, OpenError, Opened, Opener, SealError, Sealer, Secret, Usage};

use super::{protection::Protection, *};
use crate::{
    crypto::{Integrity, encryption_key_len},
    message::numbers::{DhGroup, EncryptionId, IntegrityId},
    negotiate::EspSuite,
    sa::keys::EspKeys,
    selectors::{SelectorCheck, any_v4, any_v6},
};

const AEADS: [(EncryptionId, &[u16]); 7] = [
    (EncryptionId::AES_GCM_16, &AES_BITS),
    (EncryptionId::AES_GCM_12, &AES_BITS),
    (EncryptionId::AES_GCM_8, &AES_BITS),
    (EncryptionId::AES_CCM_16, &AES_BITS),
    (EncryptionId::AES_CCM_12, &AES_BITS),
    (EncryptionId::AES_CCM_8, &AES_BITS),
    (EncryptionId::CHACHA20_POLY1305, &[256]),
];
const CIPHERS: [(EncryptionId, &[u16]); 3] =
    [(EncryptionId::AES_CBC, &AES_BITS), (EncryptionId::AES_CTR, &AES_BITS), (EncryptionId::TRIPLE_DES, &[192])];
const AES_BITS: [u16; 3] = [128, 192, 256];
const INTEGRITIES: [IntegrityId; 4] = [
    IntegrityId::HMAC_SHA1_96,
    IntegrityId::HMAC_SHA2_256_128,
    IntegrityId::HMAC_SHA2_384_192,
    IntegrityId::HMAC_SHA2_512_256,
];
const WINDOW: u32 = 64;
const SPI: u32 = 0xc0de_0001;

fn suite(encryption: EncryptionId, key_bits: u16, integrity: IntegrityId, esn: bool) -> EspSuite {
    EspSuite { encryption, key_bits, integrity, group: DhGroup::NONE, esn }
}

fn gcm(esn: bool) -> EspSuite {
    suite(EncryptionId::AES_GCM_16, 256, IntegrityId::NONE, esn)
}

fn cbc(esn: bool) -> EspSuite {
    suite(EncryptionId::AES_CBC, 128, IntegrityId::HMAC_SHA2_256_128, esn)
}

/// Every suite, without and with ESN.
fn every_suite() -> Vec<EspSuite> {
    let aeads = AEADS.iter().flat_map(|(id, bits)| bits.iter().map(|bits| (*id, *bits, IntegrityId::NONE)));
    let ciphers = CIPHERS.iter().flat_map(|(id, bits)| bits.iter().map(|bits| (*id, *bits)));
    let others = ciphers.flat_map(|(id, bits)| INTEGRITIES.map(|integrity| (id, bits, integrity)));
    aeads
        .chain(others)
        .flat_map(|(id, bits, integrity)| [false, true].map(|esn| suite(id, bits, integrity, esn)))
        .collect()
}

/// Keys of the right lengths, all bytes different enough to notice one cut out at the wrong place.
fn keys(suite: &EspSuite) -> EspKeys {
    let bytes = |len: usize| Secret::new((0..len).map(|i| (i * 167 + 13) as u8).collect::<Vec<_>>());
    EspKeys {
        encryption: bytes(encryption_key_len(suite.encryption, suite.key_bits).unwrap()),
        integrity: bytes(Integrity::key_len(suite.integrity).unwrap_or(0)),
    }
}

fn anything() -> SelectorCheck {
    SelectorCheck::new(&[any_v4(), any_v6()], &[any_v4(), any_v6()])
}

fn sealer(suite: &EspSuite) -> EspSealer {
    EspSealer::new(suite, &keys(suite), SPI, &mut SeededRandom::new(1), Arc::default()).unwrap()
}

fn opener(suite: &EspSuite) -> EspOpener {
    checking(suite, anything())
}

fn checking(suite: &EspSuite, check: SelectorCheck) -> EspOpener {
    EspOpener::new(suite, &keys(suite), WINDOW, check, Arc::default()).unwrap()
}

/// Seals with exactly the room asked for.
fn seal(sealer: &mut EspSealer, packet: &[u8]) -> Result<Vec<u8>, SealError> {
    let start = sealer.header_len();
    let mut buf = vec![0xa5; sealer.sealed_len(packet.len())];
    buf[start..start + packet.len()].copy_from_slice(packet);
    let range = sealer.seal(&mut buf, start..start + packet.len())?;
    assert_eq!(range, 0..buf.len());
    Ok(buf)
}

/// Seals what a peer may put behind the header, trailer and all; its length must fit the suite.
fn seal_content(suite: &EspSuite, sequence: u64, content: &[u8]) -> Vec<u8> {
    super::seal_content(suite, &keys(suite), sequence, content).unwrap()
}

/// Opens a copy; returns the content as bytes.
fn open(opener: &mut EspOpener, datagram: &[u8]) -> Result<(Opened, Vec<u8>), OpenError> {
    let mut datagram = datagram.to_vec();
    let opened = opener.open(&mut datagram)?;
    let bytes = match &opened.content {
        Content::Packet(range) => datagram[range.clone()].to_vec(),
        Content::Filler => Vec::new(),
        other @ (Content::Unpacked | Content::Message(_)) => panic!("{other:?}"),
    };
    assert!(opener.unpacked().is_empty());
    Ok((opened, bytes))
}

/// From 192.0.2.1 to 10.0.0.7; at least 20 bytes.
fn ipv4(len: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
    let header = [0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 10, 0, 0, 7];
    header.into_iter().chain((20..).map(|i| i as u8)).take(len).collect()
}

/// From 2001:db8::1 to 2001:db8::7; at least 40 bytes.
fn ipv6(len: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(len - 40).unwrap().to_be_bytes();
    let mut header = [0; 40];
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, 17, 64]);
    header[8..24].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header[24..].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    header.into_iter().chain((40..).map(|i| i as u8)).take(len).collect()
}
