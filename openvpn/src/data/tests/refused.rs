//! What must not be sealed, and what must not be opened.

use super::*;

#[test]
fn every_truncation_is_refused() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, mut opener) = one_way(&params);
        let datagram = seal(&mut sealer, &packet(50)).unwrap();
        for len in 0..datagram.len() {
            let refused = open(&mut opener, &datagram[..len]).unwrap_err();
            assert!(matches!(refused, OpenError::Malformed | OpenError::Forged), "{params:?} {len} {refused}");
        }
        open(&mut opener, &[datagram.as_slice(), &[0]].concat()).unwrap_err();
        open(&mut opener, &datagram).unwrap();
    }
}

#[test]
fn every_changed_bit_is_refused_except_the_peer_id_that_cbc_does_not_cover() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, _) = one_way(&params);
        // No change of one bit makes packet id 0 out of this one, which would be a replay.
        sealer.set_last_id(2);
        let datagram = seal(&mut sealer, &packet(37)).unwrap();
        let uncovered = if params.cipher.is_aead() || params.peer_id.is_none() { 0..0 } else { 8..32 };
        let (_, mut opener) = one_way(&params);
        for bit in (0..datagram.len() * 8).filter(|bit| !uncovered.contains(bit)) {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 0x80 >> (bit % 8);
            let expected = if bit < 8 { OpenError::Malformed } else { OpenError::Forged };
            assert_eq!(open(&mut opener, &forged), Err(expected), "{params:?} {bit}");
        }
        for bit in uncovered {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            let (_, mut opener) = one_way(&params);
            assert_eq!(open(&mut opener, &changed).unwrap().1, packet(37));
        }
        // None of the forgeries moved the window.
        assert!(open(&mut opener, &datagram).unwrap().0.newest);
    }
}

#[test]
fn a_datagram_of_another_key_id_direction_or_opcode_is_refused() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, mut opener) = one_way(&params);
        let datagram = seal(&mut sealer, &packet(50)).unwrap();
        let (_, mut ours) = keys(&params, &Ring);
        assert_eq!(open(&mut ours, &datagram), Err(OpenError::Forged), "our own, reflected");
        for op in (0..=255).filter(|op| *op != datagram[0]) {
            let changed = [&[op], &datagram[1..]].concat();
            open(&mut opener, &changed).unwrap_err();
        }
    }
}

#[test]
fn a_datagram_is_opened_once_and_late_ones_only_inside_the_window() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, mut opener) = one_way(&DataKeyParams { replay_window: 32, ..params });
        let datagrams: Vec<_> = (0..60).map(|_| seal(&mut sealer, &packet(50)).unwrap()).collect();
        let newest = |opened: Result<(Opened, Vec<u8>), OpenError>| opened.map(|(opened, _)| opened.newest);
        assert_eq!(newest(open(&mut opener, &datagrams[49])), Ok(true));
        assert_eq!(newest(open(&mut opener, &datagrams[49])), Err(OpenError::Replayed));
        assert_eq!(newest(open(&mut opener, &datagrams[18])), Ok(false), "31 before the newest");
        assert_eq!(newest(open(&mut opener, &datagrams[18])), Err(OpenError::Replayed));
        assert_eq!(newest(open(&mut opener, &datagrams[17])), Err(OpenError::Replayed), "32 before the newest");
        assert_eq!(newest(open(&mut opener, &datagrams[59])), Ok(true));
        assert_eq!(newest(open(&mut opener, &datagrams[50])), Ok(false));
    }
}

#[test]
fn an_exhausted_key_seals_nothing_and_leaves_the_buffer_alone() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, mut opener) = one_way(&params);
        sealer.set_last_id(u32::MAX - 1);
        open(&mut opener, &seal(&mut sealer, &packet(50)).unwrap()).unwrap();
        let mut buf = [0x77; 300];
        for _ in 0..3 {
            assert_eq!(sealer.seal(&mut buf, 120..170), Err(SealError::Exhausted));
        }
        assert_eq!(buf, [0x77; 300]);
    }
}

#[test]
fn a_buffer_without_room_is_refused_and_costs_no_packet_id() {
    let key = key_material();
    for params in every_format(&key) {
        let (mut sealer, mut opener) = one_way(&params);
        let (start, len) = (sealer.header_len(), sealer.sealed_len(50));
        let mut buf = vec![0; len];
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let hopeless = [start - 1..start + 49, start + 1..start + 51, 0..0, 40..20, len + 1..len + 51, 0..usize::MAX];
        for range in hopeless {
            assert_eq!(sealer.seal(&mut buf, range.clone()), Err(SealError::NoRoom), "{params:?} {range:?}");
        }
        assert_eq!(sealer.seal(&mut buf[..len - 1], start..start + 50), Err(SealError::NoRoom));
        assert!(format!("{sealer:?}").contains("last_id: 0"));
        assert!(open(&mut opener, &seal(&mut sealer, &packet(50)).unwrap()).unwrap().0.newest);
    }
}

#[test]
fn a_packet_that_v2_framing_would_have_to_escape_is_refused() {
    let key = key_material();
    let (mut sealer, _) = one_way(&DataKeyParams { framing: Framing::V2, ..params(&key, Cipher::Aes256Gcm) });
    assert_eq!(seal(&mut sealer, &[0x50, 1, 2, 3]), Err(SealError::NoRoom));
    seal(&mut sealer, &[0x45, 1, 2, 3]).unwrap();
}

#[test]
fn an_authentic_payload_that_makes_no_sense_is_refused_and_spent() {
    let key = key_material();
    for cipher in Cipher::ALL {
        let client = params(&key, cipher);
        let (mut sealer, _) = one_way(&client);
        let (_, mut opener) = one_way(&DataKeyParams { framing: Framing::V1Swap, ..client });
        let lzo = seal(&mut sealer, &[0x66, 1, 2, 3]).unwrap();
        assert_eq!(open(&mut opener, &lzo), Err(OpenError::Malformed));
        assert_eq!(open(&mut opener, &lzo), Err(OpenError::Replayed));
    }
}

#[test]
fn authentic_cbc_blocks_with_wrong_padding_are_refused() {
    let (key, head) = (key_material(), [0x48 | 5, 0, 0, 7]);
    let (_, mut opener) = one_way(&params(&key, Cipher::Aes256Cbc));
    let cipher = Ring.cbc(&key.cipher_key(Half::First)[..32]).unwrap();
    let hmac = Ring.hmac(Digest::Sha256, &key.hmac_key(Half::First)[..32]);
    let mut datagram = |mut blocks: Vec<u8>| {
        let (iv, mut tag) = ([9; 16], [0; 64]);
        cipher.encrypt(&iv, &mut blocks);
        hmac.sign(&[&iv, &blocks], &mut tag);
        open(&mut opener, &[&head, &tag[..32], &iv, blocks.as_slice()].concat()).map(|(_, bytes)| bytes)
    };
    let block = |padding: &[u8]| [&[0, 0, 0, 1], &[0x45; 12][padding.len()..], padding].concat();
    for padding in [[0, 0], [1, 2], [17, 17], [255, 255]] {
        assert_eq!(datagram(block(&padding)), Err(OpenError::Malformed), "{padding:?}");
    }
    assert_eq!(datagram(vec![16; 16]), Err(OpenError::Malformed), "no room for a packet id");
    assert_eq!(datagram(vec![13; 16]), Err(OpenError::Malformed), "no room for a packet id");
    assert_eq!(datagram(Vec::new()), Err(OpenError::Malformed));
    assert_eq!(datagram(block(&[2, 2])), Ok(vec![0x45; 10]));
}

#[test]
fn debug_shows_no_key() {
    let key = key_material();
    let (sealer, opener) = one_way(&params(&key, Cipher::Aes256Gcm));
    let text = format!("{sealer:?} {opener:?}");
    assert!(text.contains("DataSealer") && !text.contains("key:"), "{text}");
}
