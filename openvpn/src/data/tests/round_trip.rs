//! Everything sealed is opened at the other end, by either backend.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed};

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn every_packet_arrives_whole_and_nothing_around_it_is_touched(
        mut packet in prop::collection::vec(any::<u8>(), 0..1600),
        before in 0usize..40,
        after in 0usize..40,
        auth in prop::sample::select(Digest::ALL.to_vec()),
        key_id in 0u8..8,
    ) {
        if let Some(first) = packet.first_mut() {
            *first = 0x40 | *first & 0x2f;
        }
        let key = key_material();
        for (i, format) in every_format(&key).enumerate() {
            let params = DataKeyParams { auth, key_id, framing: FRAMINGS[i % 4], ..format };
            let server = DataKeyParams { role: Role::Server, ..params };
            for (ours, theirs) in [(BACKENDS[0], BACKENDS[1]), (BACKENDS[1], BACKENDS[0])] {
                let (mut sealer, mut opener) = (keys(&params, ours).0, keys(&server, theirs).1);
                let start = before + sealer.header_len();
                let end = before + sealer.sealed_len(packet.len());
                let mut buf = vec![0xa5; end + after];
                buf[start..start + packet.len()].copy_from_slice(&packet);
                let range = sealer.seal(&mut buf, start..start + packet.len()).unwrap();
                prop_assert_eq!(&range, &(before..end));
                prop_assert!(buf[..before].iter().chain(&buf[end..]).all(|byte| *byte == 0xa5));
                let (opened, bytes) = open(&mut opener, &buf[range]).unwrap();
                prop_assert_eq!(&bytes, &packet);
                prop_assert_eq!(matches!(opened.content, Content::Filler), packet.is_empty());
            }
        }
    }

    #[test]
    fn no_bytes_make_an_opener_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::fuzzing::data_open(&data);
    }

    #[test]
    fn no_lz4_makes_an_opener_panic(
        choice in any::<u8>(), framing in 1u8..4, packed in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let marks: &[u8] = if framing == 3 { &[0x50, 1] } else { &[0x69] };
        crate::fuzzing::data_open(&[&[choice & !3 | framing], marks, &packed].concat());
    }
}

#[test]
fn either_data_version_is_opened_whatever_the_sealer_sends() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, _) = keys(&params, &Ring);
        for peer_id in [None, Some(0), Some(0x00ff_ffff)] {
            let server = DataKeyParams { role: Role::Server, peer_id, ..params };
            let (_, mut opener) = keys(&server, &Ring);
            let (_, bytes) = open(&mut opener, &seal(&mut sealer, &packet(100)).unwrap()).unwrap();
            assert_eq!(bytes, packet(100));
        }
    }
}

#[test]
fn header_and_length_are_what_the_wire_format_adds_up_to() {
    let key = key_material();
    let lens = |params: DataKeyParams<'_>, packet_len| {
        let (sealer, _) = keys(&params, &Ring);
        (sealer.header_len(), sealer.sealed_len(packet_len))
    };
    let aead = params(&key, Cipher::Aes256Gcm);
    assert_eq!(lens(aead, 1400), (24, 1424));
    assert_eq!(lens(DataKeyParams { peer_id: None, ..aead }, 1400), (21, 1421));
    assert_eq!(lens(DataKeyParams { framing: Framing::V1, ..aead }, 1400), (25, 1425));
    assert_eq!(lens(DataKeyParams { framing: Framing::V1Swap, ..aead }, 1400), (24, 1425));
    assert_eq!(lens(DataKeyParams { framing: Framing::V2, ..aead }, 1400), (24, 1424));
    let cbc = params(&key, Cipher::Aes256Cbc);
    assert_eq!(lens(cbc, 11), (4 + 32 + 16 + 4, 4 + 32 + 16 + 16));
    assert_eq!(lens(cbc, 12), (56, 4 + 32 + 16 + 32));
    assert_eq!(
        lens(DataKeyParams { auth: Digest::Sha1, peer_id: None, ..cbc }, 0),
        (1 + 20 + 16 + 4, 1 + 20 + 16 + 16)
    );
    assert_eq!(lens(DataKeyParams { framing: Framing::V1Swap, ..cbc }, 11), (56, 4 + 32 + 16 + 32));
}

#[test]
fn pings_and_exit_notices_are_messages_in_every_framing() {
    let key = key_material();
    for framing in FRAMINGS {
        for cipher in [Cipher::Aes128Gcm, Cipher::Aes128Cbc] {
            let (mut sealer, mut opener) = one_way(&DataKeyParams { framing, ..params(&key, cipher) });
            for message in [PING_PAYLOAD.as_slice(), &EXIT_MESSAGE] {
                let (opened, bytes) = open(&mut opener, &seal(&mut sealer, message).unwrap()).unwrap();
                assert!(matches!(opened.content, Content::Message(_)), "{opened:?}");
                assert_eq!(bytes, message);
            }
        }
    }
}

#[test]
fn messages_count_as_packets_without_bytes() {
    let (key, usage) = (key_material(), Arc::new(Usage::default()));
    let client = params(&key, Cipher::Aes256Gcm);
    let server = DataKeyParams { role: Role::Server, ..client };
    let (mut sealer, _) = data_keys(&client, &Ring, Arc::clone(&usage)).unwrap();
    let (_, mut opener) = data_keys(&server, &Ring, Arc::clone(&usage)).unwrap();
    for content in [packet(100).as_slice(), &PING_PAYLOAD, &EXIT_MESSAGE, &[]] {
        let datagram = seal(&mut sealer, content).unwrap();
        open(&mut opener, &datagram).unwrap();
        open(&mut opener, &datagram).unwrap_err();
    }
    let counters = [&usage.sealed_packets, &usage.sealed_bytes, &usage.opened_packets, &usage.opened_bytes];
    assert_eq!(counters.map(|counter| counter.load(Relaxed)), [4, 100, 4, 100]);
    assert_eq!(usage.refused_packets.load(Relaxed), 4);
}

#[test]
fn no_two_packets_of_a_key_have_the_same_iv() {
    let key = key_material();
    let mut seen = HashSet::new();
    let both_ends = [Role::Client, Role::Server].map(|role| DataKeyParams { role, ..params(&key, Cipher::Aes256Cbc) });
    for params in both_ends {
        let (mut sealer, _) = keys(&params, &Ring);
        for _ in 0..2000 {
            let datagram = seal(&mut sealer, &packet(20)).unwrap();
            assert!(seen.insert(datagram[36..52].to_vec()));
        }
    }
}

#[test]
fn an_unpacked_packet_is_gone_at_the_next_open() {
    let key = key_material();
    let client = params(&key, Cipher::Aes256Gcm);
    let (mut plain, _) = one_way(&client);
    let (_, mut opener) = one_way(&DataKeyParams { framing: Framing::V2, ..client });
    let text = [0x45; 400];
    let packed = [&[0x50, 1], lz4_flex::block::compress(&text).as_slice()].concat();
    // Sealed without framing what is framed already; a first byte of 0x50 is nothing special there.
    let compressed = seal(&mut plain, &packed).unwrap();
    assert_eq!(open(&mut opener, &compressed).unwrap().0.content, Content::Unpacked);
    assert_eq!(opener.unpacked(), text);
    open(&mut opener, &seal(&mut plain, &packet(20)).unwrap()).unwrap();
    assert_eq!(opener.unpacked(), [0; 0]);
}
