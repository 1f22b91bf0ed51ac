//! Everything sealed is opened at the other end.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_packet_arrives_whole_and_nothing_around_it_is_touched(
        len in 40usize..1600,
        v6 in any::<bool>(),
        before in 0usize..40,
        after in 0usize..40,
        last in prop_oneof![Just(0), any::<u64>()],
    ) {
        let packet = if v6 { ipv6(len) } else { ipv4(len) };
        for suite in every_suite() {
            let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
            let last = if suite.esn { last.min(u64::MAX - 1) } else { last & 0xffff_fffe };
            sealer.set_last_sequence(last);
            if last > 0 {
                opener.set_newest(last);
            }
            let (start, end) = (before + sealer.header_len(), before + sealer.sealed_len(len));
            let mut buf = vec![0xa5; end + after];
            buf[start..start + len].copy_from_slice(&packet);
            let range = sealer.seal(&mut buf, start..start + len).unwrap();
            prop_assert_eq!(&range, &(before..end));
            prop_assert!(buf[..before].iter().chain(&buf[end..]).all(|byte| *byte == 0xa5));
            let (opened, bytes) = open(&mut opener, &buf[range]).unwrap();
            prop_assert_eq!(&bytes, &packet);
            prop_assert!(opened.newest);
        }
    }

    #[test]
    fn padding_against_traffic_analysis_is_cut_off(len in 40usize..200, tfc in 0usize..1400, more in 0usize..8, v6 in any::<bool>()) {
        let packet = if v6 { ipv6(len) } else { ipv4(len) };
        for suite in [gcm(false), gcm(true), cbc(false), cbc(true)] {
            let payload = [&packet[..], &vec![0x99; tfc]].concat();
            let pad_to = Protection::new(&suite, &keys(&suite)).unwrap().pad_to();
            let pad_len = (payload.len() + 2).next_multiple_of(pad_to) - payload.len() - 2 + more * pad_to;
            let padding: Vec<u8> = (1..=pad_len as u8).collect();
            let content = [&payload[..], &padding, &[pad_len as u8, if v6 { 41 } else { 4 }]].concat();
            let (_, bytes) = open(&mut opener(&suite), &seal_content(&suite, 1, &content)).unwrap();
            prop_assert_eq!(&bytes, &packet);
        }
    }

    #[test]
    fn no_bytes_make_an_opener_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::fuzzing::esp_open(&data);
    }

    #[test]
    fn no_more_room_is_promised_than_there_is_nor_less(datagram_len in 0usize..1600) {
        for suite in every_suite() {
            let sealer = sealer(&suite);
            let room = sealer.packet_room(datagram_len);
            prop_assert!(room == 0 || sealer.sealed_len(room) <= datagram_len);
            prop_assert!(sealer.sealed_len(room + 1) > datagram_len);
        }
    }
}

#[test]
fn header_and_length_are_what_the_wire_format_adds_up_to() {
    let lens = |suite: EspSuite, packet_len| (sealer(&suite).header_len(), sealer(&suite).sealed_len(packet_len));
    assert_eq!(lens(gcm(false), 1400), (16, 16 + 1404 + 16));
    assert_eq!(lens(gcm(true), 1402), (16, 16 + 1404 + 16));
    assert_eq!(lens(gcm(false), 1403), (16, 16 + 1408 + 16));
    assert_eq!(lens(suite(EncryptionId::AES_GCM_8, 128, IntegrityId::NONE, false), 20), (16, 16 + 24 + 8));
    assert_eq!(lens(cbc(true), 1400), (24, 24 + 1408 + 16));
    assert_eq!(lens(cbc(false), 30), (24, 24 + 32 + 16));
    assert_eq!(lens(cbc(false), 31), (24, 24 + 48 + 16));
    assert_eq!(sealer(&cbc(false)).sealed_len(usize::MAX), usize::MAX);
    // An outer packet of 1500 bytes, less IPv4 and UDP.
    assert_eq!(sealer(&gcm(false)).packet_room(1472), 1438);
    assert_eq!(sealer(&cbc(false)).packet_room(1472), 1422);
}

#[test]
fn packets_and_bytes_are_counted_at_both_ends() {
    let usage = Arc::new(Usage::default());
    let (suite, random) = (gcm(false), &mut SeededRandom::new(1));
    let mut sealer = EspSealer::new(&suite, &keys(&suite), SPI, random, Arc::clone(&usage)).unwrap();
    let mut opener = EspOpener::new(&suite, &keys(&suite), WINDOW, anything(), Arc::clone(&usage)).unwrap();
    for packet in [ipv4(100), ipv6(60)] {
        let datagram = seal(&mut sealer, &packet).unwrap();
        open(&mut opener, &datagram).unwrap();
        open(&mut opener, &datagram).unwrap_err();
    }
    let dummy = seal_content(&suite, 3, &[1, 2, 2, 59]);
    assert_eq!(open(&mut opener, &dummy).unwrap().0.content, Content::Filler);
    assert_eq!(seal(&mut sealer, &[]), Err(SealError::NoRoom));
    let counters = [
        &usage.sealed_packets,
        &usage.sealed_bytes,
        &usage.opened_packets,
        &usage.opened_bytes,
        &usage.refused_packets,
    ];
    assert_eq!(counters.map(|counter| counter.load(Relaxed)), [2, 160, 3, 160, 2]);
}

#[test]
fn no_two_packets_of_a_key_have_the_same_iv() {
    for suite in every_suite() {
        let mut sealer = sealer(&suite);
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let datagram = seal(&mut sealer, &ipv4(20)).unwrap();
            assert!(seen.insert(datagram[8..sealer.header_len()].to_vec()), "{suite:?}");
        }
    }
}

/// Two sealers with one key and one sequence number: what they send as IVs tells nothing about each other.
#[test]
fn ivs_of_cbc_depend_on_a_key_that_is_not_the_packets() {
    for suite in [cbc(false), suite(EncryptionId::TRIPLE_DES, 192, IntegrityId::HMAC_SHA1_96, false)] {
        let iv = |seed| {
            let random = &mut SeededRandom::new(seed);
            let mut sealer = EspSealer::new(&suite, &keys(&suite), SPI, random, Arc::default()).unwrap();
            seal(&mut sealer, &ipv4(20)).unwrap()[8..sealer.header_len()].to_vec()
        };
        assert_eq!(iv(1), iv(1));
        assert_ne!(iv(1), iv(2));
    }
}
