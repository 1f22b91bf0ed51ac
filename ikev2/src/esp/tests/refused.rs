//! What must not be sealed, and what must not be opened.

use super::*;
use crate::selectors::{from_net, host};

/// Padding, its length and the next header for content of this length so far.
fn trailer(suite: &EspSuite, len: usize, next_header: u8) -> Vec<u8> {
    let pad_to = Protection::new(suite, &keys(suite)).unwrap().pad_to();
    let pad_len = ((len + 2).next_multiple_of(pad_to) - len - 2) as u8;
    (1..=pad_len).chain([pad_len, next_header]).collect()
}

/// Opens an authentic datagram around this payload.
fn open_payload(suite: &EspSuite, payload: &[u8], next_header: u8) -> Result<Vec<u8>, OpenError> {
    let content = [payload, &trailer(suite, payload.len(), next_header)].concat();
    open(&mut opener(suite), &seal_content(suite, 1, &content)).map(|(_, bytes)| bytes)
}

#[test]
fn every_truncation_is_refused() {
    for suite in every_suite() {
        let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
        let datagram = seal(&mut sealer, &ipv4(50)).unwrap();
        for len in 0..datagram.len() {
            let refused = open(&mut opener, &datagram[..len]).unwrap_err();
            assert!(matches!(refused, OpenError::Malformed | OpenError::Forged), "{suite:?} {len} {refused}");
        }
        open(&mut opener, &[datagram.as_slice(), &[0]].concat()).unwrap_err();
        open(&mut opener, &[datagram.as_slice(), &[0; 16]].concat()).unwrap_err();
        open(&mut opener, &datagram).unwrap();
    }
}

#[test]
fn a_header_alone_or_with_nothing_but_an_icv_is_malformed() {
    for suite in every_suite() {
        let datagram = seal(&mut sealer(&suite), &ipv4(20)).unwrap();
        let protection = Protection::new(&suite, &keys(&suite)).unwrap();
        let empty = 8 + protection.iv_len() + protection.icv_len();
        for len in [0, 3, 4, 7, 8, empty - 1, empty, empty + 1, empty + 2, empty + 3] {
            assert_eq!(open(&mut opener(&suite), &datagram[..len]), Err(OpenError::Malformed), "{suite:?} {len}");
        }
    }
}

#[test]
fn every_changed_bit_is_refused() {
    for suite in every_suite() {
        let mut opener = opener(&suite);
        let mut sealer = sealer(&suite);
        // No change of one bit makes sequence number 0 out of this one, which would be a replay.
        sealer.set_last_sequence(2);
        let datagram = seal(&mut sealer, &ipv4(24)).unwrap();
        for bit in 0..datagram.len() * 8 {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 0x80 >> (bit % 8);
            // With ESN a number within the window below zero does not exist.
            let expected = if suite.esn && bit == 32 {
                &[OpenError::Forged, OpenError::Replayed][..]
            } else {
                &[OpenError::Forged]
            };
            assert!(expected.contains(&open(&mut opener, &forged).unwrap_err()), "{suite:?} {bit}");
        }
        // None of the forgeries moved the window.
        assert!(open(&mut opener, &datagram).unwrap().0.newest);
    }
}

#[test]
fn a_datagram_of_other_keys_or_another_suite_is_forged() {
    let reversed = |secret: &Secret| Secret::new(secret.expose().iter().rev().copied().collect::<Vec<_>>());
    for suite in every_suite() {
        let right = keys(&suite);
        let other_encryption = EspKeys { encryption: reversed(&right.encryption), integrity: right.integrity.clone() };
        let other_integrity = EspKeys { encryption: right.encryption.clone(), integrity: reversed(&right.integrity) };
        let wrong = if suite.encryption.is_aead() { other_encryption } else { other_integrity };
        let mut opener = EspOpener::new(&suite, &wrong, WINDOW, anything(), Arc::default()).unwrap();
        let datagram = seal(&mut sealer(&suite), &ipv4(50)).unwrap();
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Forged), "{suite:?}");
    }
    let without = seal(&mut sealer(&gcm(false)), &ipv4(50)).unwrap();
    assert_eq!(open(&mut opener(&gcm(true)), &without), Err(OpenError::Forged), "ESN is authenticated");
    let without = seal(&mut sealer(&cbc(false)), &ipv4(50)).unwrap();
    assert_eq!(open(&mut opener(&cbc(true)), &without), Err(OpenError::Forged), "ESN is authenticated");
}

#[test]
fn keys_of_wrong_length_and_unknown_suites_make_nothing() {
    let random = &mut SeededRandom::new(1);
    for suite in every_suite() {
        let right = keys(&suite);
        for (encryption, integrity) in [(0, 0), (1, 0), (0, 1)] {
            let shorter =
                |secret: &Secret, by| Secret::new(&secret.expose()[..secret.expose().len().saturating_sub(by)]);
            let keys = EspKeys {
                encryption: shorter(&right.encryption, encryption),
                integrity: shorter(&right.integrity, integrity),
            };
            let fits = encryption == 0 && (integrity == 0 || suite.encryption.is_aead());
            assert_eq!(EspSealer::new(&suite, &keys, SPI, random, Arc::default()).is_some(), fits, "{suite:?}");
            assert_eq!(EspOpener::new(&suite, &keys, WINDOW, anything(), Arc::default()).is_some(), fits, "{suite:?}");
        }
    }
    let shorter_key = keys(&suite(EncryptionId::AES_GCM_16, 128, IntegrityId::NONE, false));
    assert!(EspSealer::new(&gcm(false), &shorter_key, SPI, random, Arc::default()).is_none());
    let no_integrity = suite(EncryptionId::AES_CBC, 128, IntegrityId::NONE, false);
    assert!(EspSealer::new(&no_integrity, &keys(&no_integrity), SPI, random, Arc::default()).is_none());
    let null = suite(EncryptionId::NULL, 0, IntegrityId::HMAC_SHA2_256_128, false);
    let null_keys = EspKeys { encryption: Secret::default(), integrity: Secret::new([1; 32]) };
    assert!(EspOpener::new(&null, &null_keys, WINDOW, anything(), Arc::default()).is_none());
}

#[test]
fn a_datagram_is_opened_once_and_late_ones_only_inside_the_window() {
    for suite in every_suite() {
        // With ESN, right where the lower half of the sequence number starts over.
        let before = if suite.esn { (1 << 32) - 30 } else { 0 };
        let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
        sealer.set_last_sequence(before);
        if suite.esn {
            opener.set_newest(before);
        }
        let datagrams: Vec<_> = (0..90).map(|_| seal(&mut sealer, &ipv4(40)).unwrap()).collect();
        let newest = |opened: Result<(Opened, Vec<u8>), OpenError>| opened.map(|(opened, _)| opened.newest);
        assert_eq!(newest(open(&mut opener, &datagrams[79])), Ok(true), "{suite:?}");
        assert_eq!(newest(open(&mut opener, &datagrams[79])), Err(OpenError::Replayed));
        assert_eq!(newest(open(&mut opener, &datagrams[16])), Ok(false), "63 before the newest, {suite:?}");
        assert_eq!(newest(open(&mut opener, &datagrams[16])), Err(OpenError::Replayed));
        // What is too old for the window is taken for one of the next 2^32 with ESN.
        let too_old = if suite.esn { OpenError::Forged } else { OpenError::Replayed };
        assert_eq!(newest(open(&mut opener, &datagrams[15])), Err(too_old), "64 before the newest");
        assert_eq!(newest(open(&mut opener, &datagrams[89])), Ok(true));
        assert_eq!(newest(open(&mut opener, &datagrams[80])), Ok(false));
    }
}

#[test]
fn sequence_number_zero_is_a_replay() {
    for suite in [gcm(false), gcm(true), cbc(false), cbc(true)] {
        let content = [ipv4(62), vec![0, 4]].concat();
        let datagram = seal_content(&suite, 0, &content);
        assert_eq!(open(&mut opener(&suite), &datagram), Err(OpenError::Replayed));
        // With its lower half only it is a number like any other.
        let datagram = seal_content(&EspSuite { esn: true, ..suite.clone() }, 1 << 32, &content);
        let mut opener = opener(&EspSuite { esn: true, ..suite });
        opener.set_newest((1 << 32) - 1);
        assert!(open(&mut opener, &datagram).unwrap().0.newest);
    }
}

#[test]
fn an_exhausted_counter_seals_nothing_and_leaves_the_buffer_alone() {
    for suite in every_suite() {
        let last = if suite.esn { u64::MAX } else { u32::MAX.into() };
        let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
        sealer.set_last_sequence(last - 1);
        opener.set_newest(last - 1);
        assert!(open(&mut opener, &seal(&mut sealer, &ipv4(50)).unwrap()).unwrap().0.newest, "{suite:?}");
        let mut buf = [0x45; 300];
        for _ in 0..3 {
            assert_eq!(sealer.seal(&mut buf, 120..170), Err(SealError::Exhausted));
        }
        assert_eq!(buf, [0x45; 300]);
    }
}

#[test]
fn without_esn_a_counter_ends_where_32_bits_do() {
    let mut sealer = sealer(&gcm(false));
    sealer.set_last_sequence((1 << 32) - 2);
    assert_eq!(seal(&mut sealer, &ipv4(20)).unwrap()[4..16], [255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255]);
    assert_eq!(seal(&mut sealer, &ipv4(20)), Err(SealError::Exhausted));
}

#[test]
fn a_buffer_without_room_is_refused_and_costs_no_sequence_number() {
    for suite in every_suite() {
        let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
        let (start, len) = (sealer.header_len(), sealer.sealed_len(50));
        let mut buf = vec![0x45; len];
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let hopeless = [start - 1..start + 49, start + 4..start + 54, 0..0, 40..20, len + 1..len + 51, 0..usize::MAX];
        for range in hopeless {
            assert_eq!(sealer.seal(&mut buf, range.clone()), Err(SealError::NoRoom), "{suite:?} {range:?}");
        }
        assert_eq!(sealer.seal(&mut buf, start..usize::MAX), Err(SealError::NoRoom));
        assert_eq!(sealer.seal(&mut buf[..len - 1], start..start + 50), Err(SealError::NoRoom));
        assert!(buf.iter().all(|byte| *byte == 0x45));
        assert!(format!("{sealer:?}").contains("last_sequence: 0"));
        let datagram = seal(&mut sealer, &ipv4(50)).unwrap();
        assert_eq!(datagram[4..8], [0, 0, 0, 1]);
        assert!(open(&mut opener, &datagram).unwrap().0.newest);
    }
}

#[test]
fn what_is_no_packet_of_ip_is_not_sealed() {
    let mut sealer = sealer(&gcm(false));
    for version in (0..=15).filter(|version| ![4, 6].contains(version)) {
        assert_eq!(seal(&mut sealer, &[version << 4; 60]), Err(SealError::NoRoom));
    }
    assert_eq!(seal(&mut sealer, &[]), Err(SealError::NoRoom));
    assert_eq!(seal(&mut sealer, &ipv4(20)).unwrap()[4..8], [0, 0, 0, 1]);
}

#[test]
fn the_next_header_must_be_the_version_of_the_packet() {
    for suite in [gcm(false), cbc(false)] {
        for next_header in 0..=255 {
            let (v4, v6) = (open_payload(&suite, &ipv4(60), next_header), open_payload(&suite, &ipv6(60), next_header));
            match next_header {
                4 => assert_eq!((v4, v6), (Ok(ipv4(60)), Err(OpenError::Malformed))),
                41 => assert_eq!((v4, v6), (Err(OpenError::Malformed), Ok(ipv6(60)))),
                59 => assert_eq!((v4, v6), (Ok(vec![]), Ok(vec![]))),
                _ => assert_eq!((v4, v6), (Err(OpenError::Malformed), Err(OpenError::Malformed))),
            }
        }
    }
}

#[test]
fn padding_that_does_not_count_from_one_is_refused() {
    let open_content =
        |suite: &EspSuite, content: &[u8]| open(&mut opener(suite), &seal_content(suite, 1, content)).map(drop);
    for suite in [gcm(false), cbc(false), cbc(true)] {
        let packet = ipv4(23);
        let padded = |padding: [u8; 7]| [&packet[..], &padding, &[7, 4]].concat();
        assert_eq!(open_content(&suite, &padded([1, 2, 3, 4, 5, 6, 7])), Ok(()));
        for wrong in [[0; 7], [7; 7], [0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 8], [2, 2, 3, 4, 5, 6, 7]] {
            assert_eq!(open_content(&suite, &padded(wrong)), Err(OpenError::Malformed));
        }
        // A length that reaches beyond the content.
        for pad_len in [31, 32, 255] {
            let content: Vec<u8> = (1..=30).chain([pad_len, 59]).collect();
            assert_eq!(open_content(&suite, &content), Err(OpenError::Malformed), "{pad_len}");
        }
        let all_padding: Vec<u8> = (1..=30).chain([30, 59]).collect();
        assert_eq!(open_content(&suite, &all_padding), Ok(()), "an empty dummy");
        let nothing: Vec<u8> = (1..=30).chain([30, 4]).collect();
        assert_eq!(open_content(&suite, &nothing), Err(OpenError::Malformed), "an empty packet");
    }
}

#[test]
fn lengths_inside_that_lie_are_refused() {
    let with = |mut packet: Vec<u8>, at: usize, bytes: &[u8]| {
        packet[at..at + bytes.len()].copy_from_slice(bytes);
        packet
    };
    let v4 = |at, bytes: &[u8]| open_payload(&gcm(false), &with(ipv4(60), at, bytes), 4);
    for total_len in [0_u16, 19, 61, 0xffff] {
        assert_eq!(v4(2, &total_len.to_be_bytes()), Err(OpenError::Malformed), "{total_len}");
    }
    assert_eq!(v4(2, &[0, 20]).map(|packet| packet.len()), Ok(20));
    for first in [0x40, 0x44, 0x05, 0x55, 0x65] {
        assert_eq!(v4(0, &[first]), Err(OpenError::Malformed), "{first:#x}");
    }
    assert_eq!(v4(0, &[0x4f]).map(|packet| packet.len()), Ok(60), "a header of 60 bytes");
    assert_eq!(v4(0, &[0x4f, 0, 0, 59]), Err(OpenError::Malformed), "a header longer than the packet");
    let v6 = |at, bytes: &[u8]| open_payload(&gcm(false), &with(ipv6(60), at, bytes), 41);
    for payload_len in [21_u16, 0xffff] {
        assert_eq!(v6(4, &payload_len.to_be_bytes()), Err(OpenError::Malformed), "{payload_len}");
    }
    assert_eq!(v6(4, &[0, 0]).map(|packet| packet.len()), Ok(40));
    assert_eq!(v6(0, &[0x45]), Err(OpenError::Malformed));
    for len in 0..20 {
        assert_eq!(open_payload(&gcm(false), &ipv4(60)[..len], 4), Err(OpenError::Malformed));
        assert_eq!(open_payload(&gcm(false), &ipv6(60)[..2 * len], 41), Err(OpenError::Malformed));
    }
}

#[test]
fn an_authentic_packet_that_makes_no_sense_is_refused_and_spent() {
    for suite in every_suite() {
        let mut opener = opener(&suite);
        let content = [ipv4(30), trailer(&suite, 30, 50)].concat();
        let datagram = seal_content(&suite, 1, &content);
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Malformed), "{suite:?}");
        assert_eq!(open(&mut opener, &datagram), Err(OpenError::Replayed));
    }
}

#[test]
fn packets_outside_of_the_selectors_are_refused_and_counted() {
    let net = |a: [u8; 4], prefix| from_net(&adit_tunnel::IpNet::new(std::net::Ipv4Addr::from(a), prefix).unwrap());
    let us4 = host([10, 0, 0, 7].into());
    for suite in [gcm(false), cbc(false)] {
        let usage = Arc::new(Usage::default());
        let count = |remote, local, packet: &[u8]| {
            let check = SelectorCheck::new(&[remote], &[local]);
            let mut opener = EspOpener::new(&suite, &keys(&suite), WINDOW, check, Arc::clone(&usage)).unwrap();
            open(&mut opener, &seal(&mut sealer(&suite), packet).unwrap()).map(drop)
        };
        assert_eq!(count(net([192, 0, 2, 0], 24), us4, &ipv4(100)), Ok(()));
        assert_eq!(count(any_v6(), any_v6(), &ipv6(100)), Ok(()));
        assert_eq!(count(net([192, 0, 3, 0], 24), us4, &ipv4(100)), Err(OpenError::Malformed));
        assert_eq!(count(any_v4(), host([10, 0, 0, 8].into()), &ipv4(100)), Err(OpenError::Malformed));
        assert_eq!(count(any_v4(), any_v4(), &ipv6(100)), Err(OpenError::Malformed));
        let counters = [&usage.opened_packets, &usage.opened_bytes, &usage.refused_packets];
        assert_eq!(counters.map(|counter| counter.load(Relaxed)), [2, 200, 3]);
    }
}

#[test]
fn dummies_are_not_held_against_the_selectors() {
    let check = SelectorCheck::new(&[host([192, 0, 2, 99].into())], &[any_v4()]);
    let content = [ipv4(60), trailer(&gcm(false), 60, 59)].concat();
    let (opened, _) = open(&mut checking(&gcm(false), check), &seal_content(&gcm(false), 1, &content)).unwrap();
    assert_eq!(opened, Opened { content: Content::Filler, newest: true });
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?} {:?}", sealer(&gcm(true)), opener(&gcm(true)));
    assert_eq!(
        text,
        "EspSealer { spi: c0de0001, esn: true, last_sequence: 0, .. } EspOpener { esn: true, newest: 0, window: 64, .. }"
    );
}
