//! Entry points for fuzzers: each takes any bytes and must neither panic nor take long.

use std::sync::Arc;

use adit_tunnel::{Content, Opener, Sealer, Usage};

use crate::{
    algorithms::{Cipher, Digest},
    config::Framing,
    crypto,
    data::{DataKeyParams, DataOpener, DataSealer, Role, data_keys},
    keys::StaticKey,
};

/// Opens the bytes as a datagram; then seals them as if the peer had, so that they reach what lies behind the
/// authentication, and opens that. The first byte chooses cipher, data version and framing.
pub fn data_open(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let framings = [Framing::None, Framing::V1, Framing::V1Swap, Framing::V2];
    let Some(&framing) = framings.get(usize::from(choice & 3)) else { return };
    let peer_id = (choice & 4 != 0).then_some(7);
    let Some(&cipher) = Cipher::ALL.get(usize::from(choice >> 3) % Cipher::ALL.len()) else { return };
    let Some((_, mut opener)) = keys(cipher, Role::Client, framing, peer_id) else { return };
    // The payload is chosen freely: the peer frames nothing.
    let Some((mut peer, _)) = keys(cipher, Role::Server, Framing::None, peer_id) else { return };

    open(&mut opener, &mut rest.to_vec());
    let mut buf = vec![0; peer.sealed_len(rest.len())];
    let packet = peer.header_len()..peer.header_len() + rest.len();
    let Some(space) = buf.get_mut(packet.clone()) else { return };
    space.copy_from_slice(rest);
    if let Ok(range) = peer.seal(&mut buf, packet)
        && let Some(datagram) = buf.get_mut(range)
    {
        open(&mut opener, datagram);
    }
}

fn keys(cipher: Cipher, role: Role, framing: Framing, peer_id: Option<u32>) -> Option<(DataSealer, DataOpener)> {
    let keys = StaticKey::new([0x5a; 256]);
    let auth = Digest::Sha256;
    let params =
        DataKeyParams { cipher, auth, keys: &keys, role, key_id: 0, peer_id, framing, replay_window: 64, mtu: 1500 };
    data_keys(&params, &*crypto::default_backend(), Arc::new(Usage::default())).ok()
}

fn open(opener: &mut DataOpener, datagram: &mut [u8]) {
    match opener.open(datagram).map(|opened| opened.content) {
        Ok(Content::Packet(range) | Content::Message(range)) => {
            assert!(datagram.get(range).is_some_and(|content| !content.is_empty()));
        }
        Ok(Content::Unpacked) => assert!(!opener.unpacked().is_empty()),
        Ok(Content::Filler) | Err(_) => {}
    }
}
