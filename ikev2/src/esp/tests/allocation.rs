//! Sealers and openers allocate nothing per packet, whatever the suite and whatever arrives.

use adit_testing::{CountingAllocator, allocations_of};

use super::*;
use crate::selectors::host;

/// For the whole test binary.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PACKETS: usize = 20;

#[test]
fn no_packet_allocates_in_any_suite() {
    for suite in every_suite() {
        for packet in [ipv4(1400), ipv6(1300), ipv4(20)] {
            let (mut sealer, mut opener) = (sealer(&suite), opener(&suite));
            let (start, len) = (sealer.header_len(), sealer.sealed_len(packet.len()));
            let mut buf = vec![0; len * PACKETS];
            for slot in buf.chunks_exact_mut(len) {
                slot[start..start + packet.len()].copy_from_slice(&packet);
            }
            let (mut sealed, mut opened) = (0, 0);
            let allocations = allocations_of(|| {
                for slot in buf.chunks_exact_mut(len) {
                    sealed += usize::from(sealer.seal(slot, start..start + packet.len()).is_ok());
                    opened += usize::from(opener.open(slot).is_ok());
                }
            });
            assert_eq!((allocations, sealed, opened), (0, PACKETS, PACKETS), "{suite:?}");
        }
    }
}

#[test]
fn no_refused_packet_allocates() {
    for suite in every_suite() {
        let mut sealer = sealer(&suite);
        let (remote, local) = ([host([192, 0, 2, 1].into())], [host([10, 0, 0, 8].into())]);
        let mut opener = checking(&suite, SelectorCheck::new(&remote, &local));
        let datagram = seal(&mut sealer, &ipv4(1400)).unwrap();
        let mut copies = [datagram.clone(), datagram.clone(), datagram.clone(), datagram[..30].to_vec()];
        let last = copies[0].len() - 1;
        copies[0][last] ^= 1;
        let mut refused = Vec::with_capacity(copies.len() + 1);
        sealer.set_last_sequence(u64::MAX);
        let mut buf = vec![0x45; 1500];
        let allocations = allocations_of(|| {
            refused.extend(copies.iter_mut().map(|copy| opener.open(copy).unwrap_err()));
            assert_eq!(sealer.seal(&mut buf, 40..1400), Err(SealError::Exhausted));
        });
        let expected = [OpenError::Forged, OpenError::Malformed, OpenError::Replayed];
        assert_eq!((allocations, &refused[..3]), (0, &expected[..]), "{suite:?}");
    }
}
