//! What two strongSwan daemons said to each other.

use adit_testing::{Vector, vectors};

use super::super::*;

const FILES: [&str; 3] = ["psk", "eap_mschapv2", "ecdsa"];

/// The IKE messages of a recording, without their non-ESP markers.
fn datagrams(name: &str) -> Vec<Vec<u8>> {
    let records = vectors(format!("{}/testdata/recorded/{name}.txt", env!("CARGO_MANIFEST_DIR")));
    let ike = records.into_iter().filter(|record| record["record"] == b"ike");
    ike.map(|record: Vector| {
        let datagram = &record["datagram"];
        datagram.strip_prefix(&[0; 4]).unwrap_or(datagram).to_vec()
    })
    .collect()
}

#[test]
fn unprotected_messages_of_strongswan_decode_and_encode_identically() {
    for name in FILES {
        let init: Vec<_> = datagrams(name)
            .into_iter()
            .filter(|datagram| Header::peek(datagram).unwrap().exchange == ExchangeType::IKE_SA_INIT)
            .collect();
        assert_eq!(init.len(), 2, "{name}");
        for datagram in init {
            let message = Message::decode(&datagram).unwrap();
            assert!(message.sa().is_some() && message.ke().is_some() && message.nonce().is_some());
            assert!(message.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some());
            assert_eq!(message.encode(), datagram, "{name}: {message:?}");
        }
    }
}
