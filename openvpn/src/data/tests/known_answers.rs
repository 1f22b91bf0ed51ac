//! Whole datagrams computed by a script that knows only the wire format.

use adit_testing::{Vector, vectors};

use super::*;

fn load(name: &str) -> Vec<Vector> {
    vectors(format!("{}/testdata/vectors/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn text<'a>(vector: &'a Vector, name: &str) -> &'a str {
    std::str::from_utf8(&vector[name]).unwrap()
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The parameters of the end that sent the vector.
fn sender<'a>(vector: &Vector, keys: &'a StaticKey) -> DataKeyParams<'a> {
    DataKeyParams {
        cipher: Cipher::from_name(text(vector, "cipher")).unwrap(),
        auth: Digest::from_name(text(vector, "auth")).unwrap(),
        keys,
        role: if text(vector, "sender") == "client" { Role::Client } else { Role::Server },
        key_id: vector["key_id"][0],
        peer_id: vector.get("peer_id").map(|bytes| number(bytes)),
        framing: match text(vector, "framing") {
            "none" => Framing::None,
            "v1" => Framing::V1,
            "v1-swap" => Framing::V1Swap,
            "v2" => Framing::V2,
            other => panic!("{other}"),
        },
        replay_window: 64,
        mtu: 1500,
    }
}

fn receiver<'a>(sender: &DataKeyParams<'a>) -> DataKeyParams<'a> {
    let role = match sender.role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    DataKeyParams { role, ..*sender }
}

fn static_key(vector: &Vector) -> StaticKey {
    StaticKey::new(vector["keys"].as_slice().try_into().unwrap())
}

#[test]
fn sealers_write_the_known_datagrams() {
    for (vector, crypto) in load("data_packets.txt").iter().flat_map(|vector| BACKENDS.map(|c| (vector, c))) {
        let key = static_key(vector);
        let params = sender(vector, &key);
        let (mut sealer, _) = keys(&params, crypto);
        sealer.set_last_id(number(&vector["packet_id"]) - 1);
        assert_eq!(seal(&mut sealer, &vector["packet"]).unwrap(), vector["datagram"], "{crypto:?} {params:?}");
    }
}

#[test]
fn openers_read_the_known_datagrams() {
    let all = [load("data_packets.txt"), load("data_received.txt")].concat();
    for (vector, crypto) in all.iter().flat_map(|vector| BACKENDS.map(|crypto| (vector, crypto))) {
        let key = static_key(vector);
        let params = receiver(&sender(vector, &key));
        let (_, mut opener) = keys(&params, crypto);
        let (opened, packet) = open(&mut opener, &vector["datagram"]).unwrap_or_else(|e| panic!("{e} {params:?}"));
        assert_eq!(packet, vector["packet"], "{crypto:?} {params:?}");
        assert!(opened.newest);
        assert_eq!(opened.content == Content::Unpacked, vector.contains_key("compressed"));
        assert_eq!(open(&mut opener, &vector["datagram"]), Err(OpenError::Replayed));
    }
}

#[test]
fn known_datagrams_cover_every_cipher_version_and_framing() {
    let formats: std::collections::HashSet<_> = load("data_packets.txt")
        .iter()
        .map(|vector| {
            (text(vector, "cipher").to_owned(), text(vector, "framing").to_owned(), vector.get("peer_id").cloned())
        })
        .collect();
    assert_eq!(formats.len(), Cipher::ALL.len() * FRAMINGS.len() * 3);
}
