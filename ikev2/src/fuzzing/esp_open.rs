//! ESP packets, forged and authentic.

use std::sync::Arc;

use adit_tunnel::{Content, Opener, Random, Sealer, Secret};

use crate::{
    crypto::{Integrity, encryption_key_len},
    esp::{EspOpener, EspSealer, seal_content},
    message::{
        TrafficSelector,
        numbers::{DhGroup, EncryptionId, IntegrityId},
    },
    negotiate::EspSuite,
    sa::keys::EspKeys,
    selectors::{SelectorCheck, any_v4, any_v6, host},
};

/// Opens the bytes as a datagram; then encrypts them as what lies behind the header, trailer and all, so that they reach
/// what lies behind the authentication, and opens that. The first byte chooses suite, ESN and selectors.
pub fn esp_open(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let suite = suite(choice);
    let Some(keys) = keys(&suite) else { return };
    let Some(mut opener) = opener(&suite, &keys, choice & 8 != 0) else { return };
    open(&mut opener, &mut rest.to_vec());
    if let Some(packet) = inside(&mut opener, &suite, &keys, rest) {
        again(&suite, &keys, &packet);
    }
}

/// Whether there is a packet inside that is accepted.
#[cfg(test)]
pub(super) fn holds_a_packet(data: &[u8]) -> bool {
    let Some((choice, rest)) = data.split_first() else { return false };
    let suite = suite(*choice);
    let keys = keys(&suite).unwrap();
    inside(&mut opener(&suite, &keys, choice & 8 != 0).unwrap(), &suite, &keys, rest).is_some()
}

/// Opens what a peer could have sealed; the end of the content that does not fill a block is left out.
fn inside(opener: &mut EspOpener, suite: &EspSuite, keys: &EspKeys, content: &[u8]) -> Option<Vec<u8>> {
    let len = content.len() - content.len() % 16;
    open(opener, &mut seal_content(suite, keys, 1, content.get(..len)?)?)
}

fn suite(choice: u8) -> EspSuite {
    let (encryption, key_bits, integrity) = match choice & 3 {
        0 => (EncryptionId::AES_GCM_16, 256, IntegrityId::NONE),
        1 => (EncryptionId::AES_GCM_8, 128, IntegrityId::NONE),
        2 => (EncryptionId::CHACHA20_POLY1305, 256, IntegrityId::NONE),
        _ => (EncryptionId::AES_CBC, 128, IntegrityId::HMAC_SHA2_256_128),
    };
    EspSuite { encryption, key_bits, integrity, group: DhGroup::NONE, esn: choice & 4 != 0 }
}

fn keys(suite: &EspSuite) -> Option<EspKeys> {
    let encryption = vec![0x5a; encryption_key_len(suite.encryption, suite.key_bits)?];
    let integrity = vec![0xa5; Integrity::key_len(suite.integrity).unwrap_or(0)];
    Some(EspKeys { encryption: Secret::new(encryption), integrity: Secret::new(integrity) })
}

fn opener(suite: &EspSuite, keys: &EspKeys, narrow: bool) -> Option<EspOpener> {
    let everything = [any_v4(), any_v6()];
    let tcp = everything.map(|any| TrafficSelector { protocol: 6, ports: (1, 1023), ..any });
    let check = if narrow {
        SelectorCheck::new(&tcp, &[host([10, 0, 0, 7].into()), any_v6()])
    } else {
        SelectorCheck::new(&everything, &everything)
    };
    EspOpener::new(suite, keys, 64, check, Arc::default())
}

/// Returns the packet that was inside, if there was one.
fn open(opener: &mut EspOpener, datagram: &mut [u8]) -> Option<Vec<u8>> {
    let Ok(Content::Packet(range)) = opener.open(datagram).map(|opened| opened.content) else { return None };
    let packet = datagram.get(range);
    assert!(packet.is_some_and(|packet| matches!(packet, [0x45..=0x4f | 0x60..=0x6f, ..])));
    packet.map(<[u8]>::to_vec)
}

/// What was opened once can be sealed, and is the same when it is opened again.
fn again(suite: &EspSuite, keys: &EspKeys, packet: &[u8]) {
    struct Zeros;
    impl Random for Zeros {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    let sealer = EspSealer::new(suite, keys, 0x0102_0304, &mut Zeros, Arc::default());
    let (Some(mut sealer), Some(mut opener)) = (sealer, opener(suite, keys, false)) else { return };
    let mut buf = vec![0; sealer.sealed_len(packet.len())];
    let range = sealer.header_len()..sealer.header_len() + packet.len();
    if let Some(space) = buf.get_mut(range.clone()) {
        space.copy_from_slice(packet);
    }
    assert!(sealer.seal(&mut buf, range).is_ok());
    assert_eq!(open(&mut opener, &mut buf).as_deref(), Some(packet));
}
