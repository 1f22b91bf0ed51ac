//! Sealing and opening allocate nothing, whatever the cipher, the framing, the data version and the outcome.

use std::sync::Arc;

use adit_testing::{CountingAllocator, allocations_of};
use adit_tunnel::{Content, OpenError, Opener, SealError, Sealer, Usage};
use openvpn::{
    Cipher, DataOpener, DataSealer, Digest, Framing, StaticKey,
    crypto::{Crypto, Ring, RustCrypto},
    internals::{DataKeyParams, PING_PAYLOAD, Role, data_keys},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PACKETS: u32 = 1000;
const FRAMINGS: [Framing; 4] = [Framing::None, Framing::V1, Framing::V1Swap, Framing::V2];

/// A peer that frames nothing, so that it can send what it likes; the sealer and the opener under test.
struct Keys {
    peer: DataSealer,
    sealer: DataSealer,
    far: DataOpener,
    near: DataOpener,
}

impl Keys {
    fn new(
        crypto: &dyn Crypto,
        cipher: Cipher,
        auth: Digest,
        framing: Framing,
        peer_id: Option<u32>,
        key_id: u8,
    ) -> Self {
        let keys = StaticKey::new(std::array::from_fn(|i| (i as u8).wrapping_mul(151) ^ key_id));
        let client = DataKeyParams {
            cipher,
            auth,
            keys: &keys,
            role: Role::Client,
            key_id,
            peer_id,
            framing,
            replay_window: 64,
            mtu: 1500,
        };
        let server = DataKeyParams { role: Role::Server, ..client };
        let make = |params: &DataKeyParams<'_>| data_keys(params, crypto, Arc::new(Usage::default())).unwrap();
        let ((sealer, near), (_, far)) = (make(&client), make(&server));
        let (peer, _) = make(&DataKeyParams { framing: Framing::None, ..server });
        Self { peer, sealer, far, near }
    }

    /// Seals and opens one packet, and everything that can go wrong on the way.
    fn send(&mut self, buf: &mut [u8; 2048], len: usize) {
        let start = self.sealer.header_len();
        buf[start] = 0x45;
        let sealed = self.sealer.seal(buf, start..start + len).unwrap();
        assert_eq!(sealed, 0..self.sealer.sealed_len(len));
        let (mut forged, mut again) = (*buf, *buf);
        forged[sealed.end - 1] ^= 1;
        assert_eq!(self.far.open(&mut forged[sealed.clone()]), Err(OpenError::Forged));
        assert_eq!(self.far.open(&mut forged[..3]), Err(OpenError::Malformed));
        assert!(matches!(self.far.open(&mut buf[sealed.clone()]).unwrap().content, Content::Packet(_)));
        assert_eq!(self.far.open(&mut again[sealed]), Err(OpenError::Replayed));
        assert_eq!(self.sealer.seal(&mut buf[..start + len - 1], start..start + len), Err(SealError::NoRoom));
    }

    /// Opens what a peer may send.
    fn receive(&mut self, buf: &mut [u8; 2048], payload: &[u8], expected: Expected) {
        let start = self.peer.header_len();
        buf[start..start + payload.len()].copy_from_slice(payload);
        let range = self.peer.seal(buf, start..start + payload.len()).unwrap();
        let outcome = match self.near.open(&mut buf[range]).map(|opened| opened.content) {
            Ok(Content::Packet(_)) => Expected::Packet,
            Ok(Content::Unpacked) => Expected::Unpacked,
            Ok(Content::Message(_)) => Expected::Message,
            Ok(Content::Filler) => Expected::Filler,
            Err(_) => Expected::Refused,
        };
        assert_eq!(outcome, expected);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Packet,
    Unpacked,
    Message,
    Filler,
    Refused,
}

/// Payloads of a peer, and what becomes of them.
fn payloads(framing: Framing) -> Vec<(Vec<u8>, Expected)> {
    let lz4 = lz4_flex::block::compress(&[0x45; 1000]);
    // One literal, then a match that would fill more than any packet.
    let bomb = [0x1f, 0, 1, 0, 255, 255, 255, 255, 255, 255, 255, 0].as_slice();
    let swapped = |mark: u8, bytes: &[u8]| [&[mark], &bytes[1..], &bytes[..1]].concat();
    let marked = |marks: &[u8], bytes: &[u8]| [marks, bytes].concat();
    let mut all = vec![(Vec::new(), Expected::Filler)];
    match framing {
        Framing::None => all.push((PING_PAYLOAD.to_vec(), Expected::Message)),
        Framing::V1 | Framing::V1Swap => all.extend([
            (marked(&[0xfa], &PING_PAYLOAD), Expected::Message),
            (swapped(0xfb, &PING_PAYLOAD), Expected::Message),
            (swapped(0xfb, &[0x45; 100]), Expected::Packet),
            (swapped(0x69, &lz4), Expected::Unpacked),
            (swapped(0x69, bomb), Expected::Refused),
            (marked(&[0x66], &[0x45; 100]), Expected::Refused),
        ]),
        Framing::V2 => all.extend([
            (PING_PAYLOAD.to_vec(), Expected::Message),
            (marked(&[0x50, 0], &[0x45; 100]), Expected::Packet),
            (marked(&[0x50, 1], &lz4), Expected::Unpacked),
            (marked(&[0x50, 1], bomb), Expected::Refused),
            (marked(&[0x50, 9], &[0x45; 100]), Expected::Refused),
        ]),
    }
    all
}

/// A thousand packets out, a thousand in.
fn exchange(keys: &mut Keys, payloads: &[(Vec<u8>, Expected)]) -> u64 {
    let mut buf = [0; 2048];
    allocations_of(|| {
        for (i, (payload, expected)) in (0..PACKETS).zip(payloads.iter().cycle()) {
            keys.send(&mut buf, if i < 20 { 1400 } else { 40 });
            keys.receive(&mut buf, payload, *expected);
        }
    })
}

fn check(crypto: &dyn Crypto, cipher: Cipher) {
    for framing in FRAMINGS {
        let payloads = payloads(framing);
        for peer_id in [None, Some(3)] {
            // The second as after a renegotiation, while the first is still there.
            let mut slots = [0, 1].map(|_| None);
            for (key_id, slot) in (0..).zip(&mut slots) {
                let keys = slot.insert(Keys::new(crypto, cipher, Digest::Sha256, framing, peer_id, key_id));
                assert_eq!(exchange(keys, &payloads), 0, "{crypto:?} {cipher} {framing:?} {peer_id:?}");
            }
        }
    }
}

#[test]
fn the_counter_counts() {
    assert!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))) > 0);
}

#[test]
fn no_cipher_allocates_with_ring() {
    Cipher::ALL.into_iter().for_each(|cipher| check(&Ring, cipher));
}

#[test]
fn no_cipher_allocates_with_rustcrypto() {
    Cipher::ALL.into_iter().for_each(|cipher| check(&RustCrypto, cipher));
}

#[test]
fn no_digest_allocates() {
    for crypto in [&Ring as &dyn Crypto, &RustCrypto] {
        for auth in Digest::ALL {
            let mut keys = Keys::new(crypto, Cipher::Aes256Cbc, auth, Framing::None, Some(3), 0);
            assert_eq!(exchange(&mut keys, &payloads(Framing::None)), 0, "{crypto:?} {auth}");
        }
    }
}
