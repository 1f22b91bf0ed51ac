//! Protected messages.

use adit_testing::SeededRandom;
use proptest::prelude::*;

use super::{super::*, any, toy::ToyCipher};

fn any_cipher() -> impl Strategy<Value = ToyCipher> {
    let pad_to = prop_oneof![Just(1usize), Just(4), Just(8), Just(16)];
    (0..17usize, pad_to, 0..33usize).prop_map(|(iv_len, pad_to, icv_len)| ToyCipher { iv_len, pad_to, icv_len })
}

/// Opens all datagrams in order: every one but the last is kept.
fn open_all(datagrams: &[Bytes], cipher: ToyCipher) -> Result<Opened, Undecodable> {
    let mut reassembly = Reassembly::new();
    let (last, kept) = datagrams.split_last().unwrap();
    for datagram in kept {
        assert_eq!(open(&mut datagram.to_vec(), &cipher, &mut reassembly)?, None);
    }
    Ok(open(&mut last.to_vec(), &cipher, &mut reassembly)?.unwrap())
}

proptest! {
    #[test]
    fn every_message_survives_sealing_and_opening(
        message in any::message(),
        mut cipher in any_cipher(),
        max in prop::option::of(200..2000usize),
        seed in any::<u64>(),
    ) {
        let mut random = SeededRandom::new(seed);
        let datagrams = message.seal(&mut cipher, &mut random, max);
        prop_assert!(max.is_none_or(|max| datagrams.iter().all(|datagram| datagram.len() <= max)));
        let fragmented = datagrams.len() > 1;
        prop_assert_eq!(open_all(&datagrams, cipher), Ok(Opened { message, fragmented }));
    }
}
