//! The keys a session hands out allocate nothing per packet, before and after renegotiations.

use adit_testing::{CountingAllocator, allocations_of};
use adit_tunnel::{KeyTag, Opener, Sealer};

use super::{
    pair::{Pair, Setup},
    secs,
};
use crate::algorithms::Cipher;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const PACKETS: usize = 1000;
const PACKET_BYTES: usize = 1200;

fn allocations_while_sealing(pair: &mut Pair) -> u64 {
    let sealer = pair.plane.sealer.as_mut().unwrap();
    let header = sealer.header_len();
    let mut buffer = vec![0; sealer.sealed_len(PACKET_BYTES)];
    let mut sealed = 0;
    let count = allocations_of(|| {
        for _ in 0..PACKETS {
            buffer[header] = 0x45;
            sealed += usize::from(sealer.seal(&mut buffer, header..header + PACKET_BYTES).is_ok());
        }
    });
    assert_eq!(sealed, PACKETS);
    count
}

fn allocations_while_opening(pair: &mut Pair) -> u64 {
    let mut packet = vec![0; PACKET_BYTES];
    packet[0] = 0x45;
    let mut datagrams: Vec<Vec<u8>> = (0..PACKETS).map(|_| pair.server.seal(&packet).unwrap().to_vec()).collect();
    let tag = KeyTag(u32::from(datagrams[0][0] & 7));
    let opener = pair.plane.openers.get_mut(&tag).unwrap();
    let mut opened = 0;
    let count = allocations_of(|| {
        for datagram in &mut datagrams {
            opened += usize::from(opener.open(datagram).is_ok());
        }
    });
    assert_eq!(opened, PACKETS);
    count
}

#[test]
fn keys_of_a_session_allocate_nothing_per_packet_also_after_a_renegotiation() {
    for cipher in Cipher::ALL {
        let mut pair = Setup::new(|setup| {
            setup.settings.data_ciphers = vec![cipher];
            setup.settings.reneg_sec = secs(10);
            setup.script.cipher = cipher;
        })
        .up();
        for renegotiations in 0..3 {
            let count = (allocations_while_sealing(&mut pair), allocations_while_opening(&mut pair));
            assert_eq!(count, (0, 0), "{cipher} after {renegotiations} renegotiations");
            let keys = pair.key_changes().len();
            if renegotiations == 0 {
                pair.server.renegotiate(pair.now);
            }
            // By the server, then by us; long enough to seal with the new key.
            pair.run(secs(9 + 10 * renegotiations));
            assert!(pair.key_changes().len() > keys, "{cipher}: renegotiated");
        }
    }
}
