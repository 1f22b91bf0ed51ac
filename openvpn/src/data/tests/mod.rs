//! What a key seals the other end opens, and nothing else.

mod known_answers;
mod refused;
mod round_trip;

use std::sync::Arc;

use adit_tunnel::{Content, OpenError, Opened, Opener, SealError, Sealer, Usage};

use super::*;
use crate::crypto::{Ring, RustCrypto};

const BACKENDS: [&dyn Crypto; 2] = [&Ring, &RustCrypto];
const FRAMINGS: [Framing; 4] = [Framing::None, Framing::V1, Framing::V1Swap, Framing::V2];
const PEER_IDS: [Option<u32>; 2] = [None, Some(0x00ab_cdef)];

/// 256 bytes that are all different enough to notice a key cut out at the wrong place.
fn key_material() -> StaticKey {
    StaticKey::new(std::array::from_fn(|i| (i * 167 + 13) as u8))
}

fn params(keys: &StaticKey, cipher: Cipher) -> DataKeyParams<'_> {
    DataKeyParams {
        cipher,
        auth: Digest::Sha256,
        keys,
        role: Role::Client,
        key_id: 5,
        peer_id: Some(7),
        framing: Framing::None,
        replay_window: 64,
        mtu: 1500,
    }
}

fn keys(params: &DataKeyParams<'_>, crypto: &dyn Crypto) -> (DataSealer, DataOpener) {
    data_keys(params, crypto, Arc::default()).unwrap()
}

/// The client's sealer and the server's opener.
fn one_way(params: &DataKeyParams<'_>) -> (DataSealer, DataOpener) {
    let server = DataKeyParams { role: Role::Server, ..*params };
    (keys(params, &Ring).0, keys(&server, &Ring).1)
}

/// Every cipher in both data versions.
fn every_format(keys: &StaticKey) -> impl Iterator<Item = DataKeyParams<'_>> {
    Cipher::ALL
        .into_iter()
        .flat_map(move |cipher| PEER_IDS.map(|peer_id| DataKeyParams { peer_id, ..params(keys, cipher) }))
}

/// Seals with exactly the room asked for.
fn seal(sealer: &mut DataSealer, packet: &[u8]) -> Result<Vec<u8>, SealError> {
    let start = sealer.header_len();
    let mut buf = vec![0xa5; sealer.sealed_len(packet.len())];
    buf[start..start + packet.len()].copy_from_slice(packet);
    let range = sealer.seal(&mut buf, start..start + packet.len())?;
    assert_eq!(range, 0..buf.len());
    Ok(buf)
}

/// Opens a copy; returns the content as bytes.
fn open(opener: &mut DataOpener, datagram: &[u8]) -> Result<(Opened, Vec<u8>), OpenError> {
    let mut datagram = datagram.to_vec();
    let opened = opener.open(&mut datagram)?;
    let bytes = match &opened.content {
        Content::Packet(range) | Content::Message(range) => datagram[range.clone()].to_vec(),
        Content::Unpacked => opener.unpacked().to_vec(),
        Content::Filler => Vec::new(),
    };
    Ok((opened, bytes))
}

fn packet(len: usize) -> Vec<u8> {
    (0..len).map(|i| if i == 0 { 0x45 } else { i as u8 }).collect()
}
