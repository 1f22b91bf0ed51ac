use proptest::prelude::*;

use super::*;

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

fn any_session_id() -> impl Strategy<Value = SessionId> {
    any::<[u8; 8]>().prop_filter_map("all zero", SessionId::new)
}

/// Any packet that is consistent in itself.
pub(in crate::control) fn any_packet() -> impl Strategy<Value = ControlPacket> {
    let opcode = prop::sample::select(vec![3u8, 4, 5, 7, 8, 10, 11]).prop_map(Opcode);
    let acks = prop::collection::vec(any::<u32>(), 0..=AckList::MAX);
    let ids = (any_session_id(), any_session_id(), any::<u32>(), 0u8..8);
    let payload = prop::collection::vec(any::<u8>(), 0..100);
    (opcode, acks, ids, payload).prop_map(|(opcode, acks, (session_id, peer, id, key_id), payload)| {
        let carries = opcode != Opcode::ACK_V1;
        ControlPacket {
            opcode,
            key_id: KeyId::new(key_id).unwrap(),
            session_id,
            peer_session_id: (!acks.is_empty()).then_some(peer),
            acks: acks.into_iter().collect(),
            packet_id: carries.then_some(id),
            payload: if carries { payload.into() } else { Bytes::new() },
        }
    })
}

fn encoded(packet: &ControlPacket) -> Bytes {
    let mut w = Writer::default();
    packet.encode(&mut w);
    w.finish()
}

proptest! {
    #[test]
    fn every_packet_survives_encoding_and_decoding(packet in any_packet()) {
        let bytes = encoded(&packet);
        prop_assert_eq!(bytes.len(), packet.encoded_len());
        prop_assert_eq!(ControlPacket::decode(&bytes), Ok(packet));
    }

    #[test]
    fn every_packet_cut_before_its_payload_is_refused(packet in any_packet()) {
        let bytes = encoded(&packet);
        for end in 0..bytes.len() - packet.payload.len() {
            prop_assert_eq!(ControlPacket::decode(&bytes[..end]), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(packet) = ControlPacket::decode(&bytes) {
            prop_assert_eq!(&encoded(&packet)[..], &bytes[..]);
        }
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(bytes.len(), Header::LEN);
            prop_assert!(header.opcode.is_control());
        }
        if let Ok(negotiation) = EarlyNegotiation::decode(&bytes) {
            prop_assert!(!negotiation.resend_wrapped_key || bytes.len() >= 6);
        }
    }
}

#[test]
fn a_packet_with_nine_acknowledgements_is_refused() {
    let mut bytes = hex::decode("2001020304050607080900000000").unwrap();
    bytes.extend([0; 60]);
    assert_eq!(ControlPacket::decode(&bytes), Err(DecodeError::Invalid("number of acknowledgements")));
}

#[test]
fn an_acknowledgement_with_something_behind_it_is_refused() {
    let bytes = hex::decode("28010203040506070801000000071112131415161718ff").unwrap();
    assert_eq!(ControlPacket::decode(&bytes), Err(DecodeError::TrailingBytes));
    assert!(ControlPacket::decode(&bytes[..bytes.len() - 1]).is_ok());
}

#[test]
fn obsolete_data_and_unknown_opcodes_are_no_control_packets() {
    for opcode in [0u8, 1, 2, 6, 9, 12, 31] {
        let mut bytes = vec![1; 40];
        bytes[0] = opcode << 3;
        assert_eq!(ControlPacket::decode(&bytes), Err(DecodeError::Invalid("opcode")), "{opcode}");
    }
}

#[test]
fn a_session_id_of_zeros_is_neither_accepted_nor_drawn() {
    let mut bytes = vec![0; 14];
    bytes[0] = 4 << 3;
    assert_eq!(ControlPacket::decode(&bytes), Err(DecodeError::Invalid("session id")));
    assert_ne!(SessionId::random(&mut Zeros).bytes(), &[0; 8]);
}

#[test]
fn key_id_one_follows_seven() {
    let ids = std::iter::successors(Some(KeyId::FIRST), |id| Some(id.next()));
    assert_eq!(ids.take(10).map(KeyId::value).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 1, 2]);
    assert_eq!(KeyId::new(8), None);
}

#[test]
fn early_negotiation_reads_the_flag_and_skips_what_it_does_not_know() {
    let decode = |hex: &str| EarlyNegotiation::decode(&hex::decode(hex).unwrap());
    let resend = EarlyNegotiation { resend_wrapped_key: true };
    assert_eq!(decode(""), Ok(EarlyNegotiation::default()));
    assert_eq!(decode("000100020001"), Ok(resend));
    assert_eq!(decode("000100020002"), Ok(EarlyNegotiation::default()));
    assert_eq!(decode("0007000312345600010002ffff"), Ok(resend));
    assert_eq!(decode("00010001ff"), Err(DecodeError::Invalid("early negotiation flags")));
    for malformed in ["00", "0001", "000100", "00010002", "0001000200"] {
        assert_eq!(decode(malformed), Err(DecodeError::Truncated), "{malformed}");
    }
}

#[test]
fn debug_names_opcodes_and_hides_payloads() {
    let packet = ControlPacket {
        opcode: Opcode::CONTROL_V1,
        key_id: KeyId::FIRST,
        session_id: SessionId([0xab; 8]),
        acks: AckList::from_iter([1, 2]),
        peer_session_id: SessionId::new([1; 8]),
        packet_id: Some(3),
        payload: Bytes::from_static(b"secret"),
    };
    let text = "CONTROL_V1 KeyId(0) SessionId(abababababababab) acks [1, 2] id 3 + 6 bytes";
    assert_eq!(format!("{packet:?}"), text);
}
