//! Messages as they are on the wire without protection.

use adit_tunnel::wire::DecodeError;
use proptest::prelude::*;

use super::{
    super::{numbers::PayloadType, *},
    any,
};

/// A message of these payloads: type, flags, body. Its I flag is set.
fn message(payloads: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let types = payloads.iter().map(|(kind, ..)| *kind).chain([0]).collect::<Vec<_>>();
    let mut bytes = [[1u8; 8], [2; 8]].concat();
    bytes.extend([types[0], 0x20, 34, 0x08, 0, 0, 0, 0]);
    bytes.extend([0; 4]);
    for ((_, flags, body), next) in payloads.iter().zip(&types[1..]) {
        bytes.extend([*next, *flags]);
        bytes.extend((body.len() as u16 + 4).to_be_bytes());
        bytes.extend(*body);
    }
    with_length(bytes)
}

/// Corrects the length in the header.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    bytes[24..28].copy_from_slice(&length);
    bytes
}

fn malformed(error: DecodeError) -> Result<Message, Undecodable> {
    Err(UnauthenticatedReason::Malformed(error).into())
}

fn critical(payload_type: u8) -> Result<Message, Undecodable> {
    Err(UnauthenticatedReason::CriticalPayload(PayloadType(payload_type)).into())
}

const NOT_IKE: Result<Message, Undecodable> = Err(Undecodable::Unauthenticated(UnauthenticatedReason::NotIke));
const COOKIE: (u8, u8, &[u8]) = (41, 0, b"\0\0\x40\x06cookie");
const NONCE: (u8, u8, &[u8]) = (40, 0, &[7; 32]);

proptest! {
    #[test]
    fn every_message_survives_encoding_and_decoding(message in any::message()) {
        let bytes = message.encode();
        prop_assert_eq!(Header::peek(&bytes), Some(message.header));
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    /// With the length in the header corrected: otherwise there is nothing to see.
    #[test]
    fn every_message_cut_anywhere_is_refused(message in any::message()) {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            prop_assert_eq!(Message::decode(&bytes[..end]), NOT_IKE);
            if (Header::LEN..bytes.len()).contains(&end) {
                prop_assert!(Message::decode(&with_length(bytes[..end].to_vec())).is_err());
            }
        }
    }

    #[test]
    fn what_is_read_of_a_damaged_message_is_read_again_from_what_is_written(
        message in any::message(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = message.encode().to_vec();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(mut read) = Message::decode(&bytes) {
            forget_what_is_never_written(&mut read);
            prop_assert_eq!(Message::decode(&read.encode()), Ok(read));
        }
    }
}

/// Attributes of transforms that we do not know, payloads with selectors of types that we do not know alone.
fn forget_what_is_never_written(message: &mut Message) {
    message.payloads.retain(|payload| !matches!(payload, Payload::TsI(all) | Payload::TsR(all) if all.is_empty()));
    for payload in &mut message.payloads {
        if let Payload::Sa(sa) = payload {
            let transforms = sa.proposals.iter_mut().flat_map(|proposal| &mut proposal.transforms);
            transforms.for_each(|transform| transform.unknown_attribute = false);
        }
    }
}

#[test]
fn payloads_are_found_by_their_kind() {
    let error = (41, 0, &b"\0\0\0\x0e"[..]);
    let read = Message::decode(&message(&[COOKIE, NONCE, error, COOKIE])).unwrap();
    assert_eq!(read.nonce().map(|nonce| nonce.len()), Some(32));
    assert_eq!(read.notifies(NotifyType::COOKIE).count(), 2);
    assert_eq!(read.notify(NotifyType::COOKIE).map(|notify| &notify.data[..]), Some(&b"cookie"[..]));
    assert_eq!(read.error().map(|notify| notify.notify_type), Some(NotifyType::NO_PROPOSAL_CHOSEN));
    assert_eq!((read.sa(), read.eap(), read.ts_i(), read.deletes().count()), (None, None, None, 0));
}

#[test]
fn a_response_has_the_header_of_its_request_and_the_other_flags() {
    let request =
        Message::request((IkeSpi(1), IkeSpi(2)), ExchangeType::INFORMATIONAL, false, MessageId(7), vec![]).header;
    let response = Message::response(&request, vec![]).header;
    assert_eq!(response, Header { from_initiator: true, response: true, ..request });
}

#[test]
fn debug_of_an_eap_payload_does_not_show_it() {
    let payload = Payload::Eap(Bytes::from_static(b"\x02\x01\0\x0c\x06hunter2"));
    assert_eq!(format!("{payload:?}"), "Eap(12 bytes)");
}

#[test]
fn a_header_that_lies_is_not_ike() {
    let good = message(&[NONCE]);
    assert!(Header::peek(&good).is_some());
    let set = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for at in 24..28 {
        for byte in [0, 1, good[27] - 1, good[27] + 1, 255] {
            let bytes = set(at, byte);
            assert_eq!(Header::peek(&bytes).is_some(), bytes == good);
        }
    }
    assert_eq!(Header::peek(&[good.clone(), vec![0]].concat()), None);
    assert_eq!(Header::peek(&set(17, 0x10)), None, "IKEv1");
    let mut no_spi = good.clone();
    no_spi[..8].fill(0);
    assert_eq!(Header::peek(&no_spi), None);
}

#[test]
fn a_higher_minor_version_is_ignored_and_a_higher_major_version_refused() {
    let mut bytes = message(&[NONCE]);
    bytes[17] = 0x2f;
    assert!(Message::decode(&bytes).is_ok());
    bytes[17] = 0x30;
    assert_eq!(Header::peek(&bytes).map(|header| header.major_version), Some(3));
    assert_eq!(Message::decode(&bytes), Err(UnauthenticatedReason::MajorVersion(3).into()));
}

#[test]
fn the_version_flag_and_reserved_flags_are_ignored() {
    let good = message(&[NONCE]);
    let mut bytes = good.clone();
    bytes[19] |= 0xd7;
    assert_eq!(Message::decode(&bytes), Message::decode(&good));
    assert_eq!(Message::decode(&bytes).unwrap().encode(), good);
    let reserved = message(&[(40, 0x7f, &[7; 32])]);
    assert_eq!(Message::decode(&reserved), Message::decode(&good));
}

#[test]
fn payloads_of_unknown_types_are_skipped() {
    for kind in [1, 32, 49, 255] {
        let read = Message::decode(&message(&[(kind, 0, b"?"), NONCE, (kind, 0x7f, b"")])).unwrap();
        assert_eq!(read.nonce().map(|nonce| nonce.len()), Some(32), "{kind}");
    }
}

#[test]
fn a_critical_payload_of_an_unknown_type_is_refused() {
    for kind in [1, 32, 49, 255] {
        assert_eq!(Message::decode(&message(&[NONCE, (kind, 0x80, b"?")])), critical(kind));
    }
}

#[test]
fn the_critical_flag_of_a_payload_we_know_is_ignored() {
    assert!(Message::decode(&message(&[(40, 0x80, &[7; 32]), (41, 0x80, b"\0\0\xff\xff")])).is_ok());
}

#[test]
fn unknown_payloads_beyond_16_are_forgotten() {
    let mut payloads = vec![(200, 0, &b"?"[..]); 150];
    payloads.push(NONCE);
    let read = Message::decode(&message(&payloads)).unwrap();
    assert_eq!((read.payloads.len(), read.nonce().is_some()), (17, true));
    payloads.push((200, 0x80, b""));
    assert_eq!(Message::decode(&message(&payloads)), critical(200), "critical ones count, however late");
}

/// As many as fit into a datagram: nothing is kept of them, so this takes no time.
#[test]
fn a_datagram_full_of_empty_payloads_does_no_harm() {
    let payloads = vec![(200, 0, &b""[..]); 16_000];
    assert_eq!(Message::decode(&message(&payloads)).map(|read| read.payloads.len()), Ok(16));
}

#[test]
fn more_than_64_payloads_we_know_are_refused() {
    let payloads = vec![COOKIE; 64];
    assert_eq!(Message::decode(&message(&payloads)).map(|read| read.payloads.len()), Ok(64));
    let more = [payloads, vec![(43, 0, &b"vendor"[..])]].concat();
    assert_eq!(Message::decode(&message(&more)), malformed(DecodeError::Invalid("number of payloads")));
}

#[test]
fn what_may_come_once_is_refused_twice() {
    let sa = b"\0\0\0\x10\x01\x01\0\x01\0\0\0\x08\x01\0\0\x0c";
    let selectors = b"\x01\0\0\0\x07\0\0\x10\0\0\xff\xff\0\0\0\0\xff\xff\xff\xff";
    let once: [(u8, &[u8]); 10] = [
        (33, sa),
        (34, b"\0\x1f\0\0"),
        (35, b"\x02\0\0\0"),
        (36, b"\x02\0\0\0"),
        (39, b"\x02\0\0\0"),
        (40, &[7; 16]),
        (44, selectors),
        (45, selectors),
        (47, b"\x02\0\0\0"),
        (48, b"\x03\0\0\x04"),
    ];
    for (kind, body) in once {
        assert!(Message::decode(&message(&[(kind, 0, body)])).is_ok(), "{kind}");
        let twice = message(&[(kind, 0, body), (43, 0, b""), (kind, 0, body)]);
        assert_eq!(Message::decode(&twice), malformed(DecodeError::Invalid("payload that may come once")), "{kind}");
    }
    for (kind, body) in [(37, &b"\x04"[..]), (38, b"\x04"), (41, b"\0\0\x40\x06"), (42, b"\x01\0\0\0"), (43, b"")] {
        assert!(Message::decode(&message(&[(kind, 0, body), (kind, 0, body)])).is_ok(), "{kind}");
    }
}

#[test]
fn payload_lengths_that_lie_are_refused() {
    let good = message(&[NONCE]);
    let cases = [
        (0, DecodeError::Invalid("payload length")),
        (3, DecodeError::Invalid("payload length")),
        (4, DecodeError::Invalid("nonce length")),
        (35, DecodeError::TrailingBytes),
        (37, DecodeError::Truncated),
        (0xffff, DecodeError::Truncated),
    ];
    for (length, error) in cases {
        let mut bytes = good.clone();
        bytes[30..32].copy_from_slice(&u16::to_be_bytes(length));
        assert_eq!(Message::decode(&bytes), malformed(error), "{length}");
    }
}

#[test]
fn a_chain_must_end_where_the_message_ends() {
    let good = message(&[NONCE]);
    let mut another_announced = good.clone();
    another_announced[28] = 41;
    assert_eq!(Message::decode(&another_announced), malformed(DecodeError::Truncated));
    let more = with_length([good, vec![0; 4]].concat());
    assert_eq!(Message::decode(&more), malformed(DecodeError::TrailingBytes));
    let mut none = message(&[NONCE]);
    none[16] = 0;
    assert_eq!(Message::decode(&none), malformed(DecodeError::TrailingBytes));
}

#[test]
fn an_encrypted_payload_is_not_skipped() {
    for kind in [46, 53] {
        let error = malformed(DecodeError::Invalid("encrypted payload"));
        assert_eq!(Message::decode(&message(&[NONCE, (kind, 0, &[0; 40])])), error);
        assert_eq!(Message::decode(&message(&[(kind, 0, &[0; 40]), NONCE])), error);
    }
}
