//! What two strongSwan daemons said to each other, with the keys they logged.

use adit_testing::{Vector, vectors};

use super::super::{
    numbers::{DhGroup, EncryptionId, IntegrityId, PayloadType, PrfId},
    *,
};
use crate::{
    crypto::{Prf, sk::sk_cipher},
    negotiate::IkeSuite,
};

const FILES: [&str; 3] = ["psk", "eap_mschapv2", "ecdsa"];

fn records(name: &str, kind: &str) -> Vec<Vector> {
    let records = vectors(format!("{}/testdata/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR")));
    records.into_iter().filter(|record| record["record"] == kind.as_bytes()).collect()
}

/// The IKE messages of a recording, without their non-ESP markers.
fn datagrams(name: &str) -> Vec<Vec<u8>> {
    let without_marker = |record: Vector| {
        let datagram = &record["datagram"];
        datagram.strip_prefix(&[0; 4]).unwrap_or(datagram).to_vec()
    };
    records(name, "ike").into_iter().map(without_marker).collect()
}

/// What the sender of the message sealed it with.
fn cipher(name: &str, header: &Header) -> Box<dyn SkCipher> {
    let of_this_sa = |keys: &Vector| {
        keys["spi_i"] == header.initiator_spi.0.to_be_bytes() && keys["spi_r"] == header.responder_spi.0.to_be_bytes()
    };
    let keys = records(name, "ike_sa").into_iter().find(of_this_sa).expect("keys of the IKE SA");
    let suite = std::str::from_utf8(&keys["suite"]).unwrap();
    let (encryption, key_bits, integrity) = match suite.split_once("/PRF").unwrap().0 {
        "AES_CBC_128/HMAC_SHA2_256_128" => (EncryptionId::AES_CBC, 128, IntegrityId::HMAC_SHA2_256_128),
        "AES_GCM_16_256" => (EncryptionId::AES_GCM_16, 256, IntegrityId::NONE),
        "CHACHA20_POLY1305" => (EncryptionId::CHACHA20_POLY1305, 256, IntegrityId::NONE),
        other => panic!("{other}"),
    };
    let prf = Prf::new(PrfId::HMAC_SHA2_256).unwrap();
    let suite = IkeSuite { encryption, key_bits, prf, integrity, group: DhGroup::CURVE25519 };
    let end = if header.from_initiator { "i" } else { "r" };
    let integrity_key = keys.get(&format!("sk_a{end}")).map_or(&[][..], Vec::as_slice);
    sk_cipher(&suite, &keys[&format!("sk_e{end}")], integrity_key).unwrap()
}

/// Opens a datagram, and appends what was inside to `content`.
fn open_one(name: &str, datagram: &[u8], reassembly: &mut Reassembly, content: &mut Vec<u8>) -> Option<Opened> {
    let cipher = cipher(name, &Header::peek(datagram).unwrap());
    let mut buffer = datagram.to_vec();
    let opened = open(&mut buffer, &*cipher, reassembly).unwrap();
    let start = Header::LEN + 4 + if PayloadType(datagram[16]) == PayloadType::SKF { 4 } else { 0 } + cipher.iv_len();
    let padded = &buffer[start..buffer.len() - cipher.icv_len()];
    let padding = usize::from(*padded.last().unwrap()) + 1;
    content.extend(&padded[..padded.len() - padding]);
    opened
}

#[test]
fn unprotected_messages_of_strongswan_decode_and_encode_identically() {
    for name in FILES {
        let is_init = |datagram: &Vec<u8>| Header::peek(datagram).unwrap().exchange == ExchangeType::IKE_SA_INIT;
        let init: Vec<_> = datagrams(name).into_iter().filter(is_init).collect();
        assert_eq!(init.len(), 2, "{name}");
        for datagram in init {
            let message = Message::decode(&datagram).unwrap();
            assert!(message.sa().is_some() && message.ke().is_some() && message.nonce().is_some());
            assert!(message.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some());
            assert_eq!(message.encode(), datagram, "{name}: {message:?}");
        }
    }
}

#[test]
fn protected_messages_of_strongswan_decode_and_encode_identically() {
    let (mut kinds, mut fragmented) = (std::collections::BTreeSet::new(), 0);
    for name in FILES {
        let (mut reassembly, mut content) = (Reassembly::new(), Vec::new());
        for datagram in datagrams(name) {
            if Header::peek(&datagram).unwrap().exchange == ExchangeType::IKE_SA_INIT {
                continue;
            }
            let Some(opened) = open_one(name, &datagram, &mut reassembly, &mut content) else { continue };
            let mut w = Writer::default();
            payload::encode(&opened.message.payloads, &mut w);
            assert_eq!(hex::encode(w.as_slice()), hex::encode(&content), "{name}: {:?}", opened.message);
            kinds.extend(opened.message.payloads.iter().map(Payload::payload_type));
            fragmented += u32::from(opened.fragmented);
            content.clear();
        }
        assert!(content.is_empty(), "{name}: no fragment is left over");
    }
    assert!(fragmented >= 1);
    let seen: Vec<u8> = kinds.into_iter().map(|kind| kind.0).collect();
    assert_eq!(seen, [33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 47, 48], "all kinds but Vendor ID");
}

/// Only the IV is drawn, so with strongSwan's own the datagram is strongSwan's own.
#[test]
fn messages_of_strongswan_sealed_again_are_the_same() {
    struct Iv(Vec<u8>);
    impl Random for Iv {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }

    let mut count = 0;
    for datagram in datagrams("psk") {
        let header = Header::peek(&datagram).unwrap();
        if header.exchange == ExchangeType::IKE_SA_INIT {
            continue;
        }
        let opened = open_one("psk", &datagram, &mut Reassembly::new(), &mut Vec::new()).unwrap();
        let mut iv = Iv(datagram[32..48].to_vec());
        let mut cipher = cipher("psk", &header);
        let sealed = opened.message.seal(&mut *cipher, &mut iv, Some(2000)).remove(0);
        // The padding is ours to choose, so it may differ, and with it the ICV.
        let end = datagram.len() - 32;
        assert_eq!(hex::encode(&sealed[..end]), hex::encode(&datagram[..end]));
        assert_eq!(sealed.len(), datagram.len());
        count += 1;
    }
    assert!(count >= 10);
}
