//! The keys a session hands out allocate nothing per packet, before and after rekeying. The counting allocator is in
//! `esp::tests`.

use adit_testing::allocations_of;
use adit_tunnel::{FlowId, KeyTag, Opener, Sealer};

use super::{
    millis,
    pair::{Pair, Setup, numbered},
};
use crate::exchange::Wanted;

const PACKETS: u64 = 500;

fn while_sealing(pair: &mut Pair) -> u64 {
    let sealer = pair.plane.sealers.get_mut(&FlowId(0)).unwrap();
    let packet = numbered([10, 8, 0, 2], [10, 8, 0, 1], 0);
    let start = sealer.header_len();
    let mut buffer = vec![0; sealer.sealed_len(packet.len())];
    let mut sealed = 0;
    let count = allocations_of(|| {
        for _ in 0..PACKETS {
            buffer[start..start + packet.len()].copy_from_slice(&packet);
            sealed += u64::from(sealer.seal(&mut buffer, start..start + packet.len()).is_ok());
        }
    });
    assert_eq!(sealed, PACKETS);
    count
}

fn while_opening(pair: &mut Pair) -> u64 {
    let child = pair.peer.child();
    let packet = numbered([10, 8, 0, 1], [10, 8, 0, 2], 0);
    let mut datagrams: Vec<Vec<u8>> = (0..PACKETS).map(|_| pair.peer.seal(child, &packet).to_vec()).collect();
    let opener = pair.plane.openers.get_mut(&KeyTag(pair.peer.children[child].spi_out)).unwrap();
    let mut opened = 0;
    let count = allocations_of(|| {
        for datagram in &mut datagrams {
            opened += u64::from(opener.open(datagram).is_ok());
        }
    });
    assert_eq!(opened, PACKETS);
    count
}

#[test]
fn keys_of_a_session_allocate_nothing_per_packet_also_after_rekeying() {
    for esp in ["aes256gcm16", "aes128gcm8", "aes256gcm12", "aes128-sha256", "aes256-sha1", "chacha20poly1305"] {
        let mut pair = Setup::new(|setup| {
            setup.settings.legacy = true;
            setup.settings.esp_proposals = esp.parse().unwrap();
            setup.script.esp = esp.parse().unwrap();
        })
        .up();
        for round in 0..4 {
            assert_eq!((while_sealing(&mut pair), while_opening(&mut pair)), (0, 0), "{esp} in round {round}");
            let child = pair.client_child();
            pair.client_wants(if round == 1 { Wanted::RekeyIke } else { Wanted::RekeyChild(child) });
            pair.run(millis(200));
        }
        assert_eq!((pair.peer.children.len(), pair.peer.sas.len()), (4, 2), "{esp}");
    }
}
