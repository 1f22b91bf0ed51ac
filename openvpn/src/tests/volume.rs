//! Renegotiation because a key has carried enough.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    millis,
    pair::{Pair, Setup, numbered},
    secs,
};

pub(super) fn key_id_after_traffic(pair: &mut Pair, packets: u64) -> u8 {
    pair.start_traffic(millis(10));
    pair.run(millis(10 * packets));
    pair.stop_traffic();
    pair.run(secs(10));
    pair.assert_nothing_lost();
    pair.server.key_id()
}

#[test]
fn reneg_packets_counts_packets() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_packets = 100).up();
    assert_eq!(key_id_after_traffic(&mut pair, 90), 0);
    let mut pair = Setup::new(|setup| setup.settings.reneg_packets = 100).up();
    assert_eq!(key_id_after_traffic(&mut pair, 110), 1);
}

#[test]
fn reneg_bytes_counts_bytes_of_packets() {
    let length = numbered(0).len() as u64;
    let mut pair = Setup::new(|setup| setup.settings.reneg_bytes = 100 * length).up();
    assert_eq!(key_id_after_traffic(&mut pair, 90), 0);
    let mut pair = Setup::new(|setup| setup.settings.reneg_bytes = 100 * length).up();
    assert_eq!(key_id_after_traffic(&mut pair, 110), 1);
}

#[test]
fn packet_ids_never_run_out() {
    for received in [false, true] {
        let mut pair = Setup::default().up();
        let usage = pair.client.usages().pop().unwrap();
        let counter = if received { &usage.opened_packets } else { &usage.sealed_packets };
        counter.store(0xfeff_ffff, Relaxed);
        pair.run(secs(10));
        assert_eq!(pair.server.key_id(), 0);
        counter.store(0xff00_0000, Relaxed);
        pair.run(secs(10));
        assert_eq!((pair.server.key_id(), pair.server.is_ready()), (1, true));
    }
}

#[test]
fn an_old_key_that_runs_out_of_packet_ids_is_left_before_its_time() {
    let mut pair = Setup::default().up();
    pair.run(secs(1000));
    pair.server.renegotiate(pair.now);
    pair.run(secs(1));
    assert_eq!(pair.key_changes().last(), Some(&"+1"));
    pair.client.usages()[0].sealed_packets.store(0xff00_0000, Relaxed);
    pair.run(secs(6));
    assert_eq!(pair.key_changes().last(), Some(&"seal 1"));
    pair.assert_traffic_flows();
}
