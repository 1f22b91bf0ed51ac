//! How long old keys seal, and how long they open.

use std::time::Duration;

use adit_tunnel::KeyTag;

use super::{
    pair::{Pair, Setup},
    secs,
};

fn renew(pair: &mut Pair) {
    pair.server.renegotiate(pair.now);
    assert!(pair.run_until(secs(30), |pair| pair.server.is_ready()));
}

/// How long after the new key the old one went on sealing.
fn deferral(pair: &mut Pair) -> Duration {
    let key_id = pair.server.key_id();
    pair.run(secs(100));
    pair.key_change_at(&format!("seal {key_id}")).duration_since(pair.key_change_at(&format!("+{key_id}")))
}

#[test]
fn the_old_key_seals_for_hand_window() {
    for window in [60, 20] {
        let mut pair = Setup::new(|setup| setup.settings.hand_window = secs(window)).up();
        pair.run(secs(1000));
        renew(&mut pair);
        assert_eq!(deferral(&mut pair), secs(window));
    }
}

#[test]
fn or_for_half_of_reneg_sec() {
    let mut pair = Setup::new(|setup| setup.settings.reneg_sec = secs(80)).up();
    pair.run_until(secs(100), |pair| pair.server.key_id() == 1 && pair.server.is_ready());
    let began = pair.key_change_at("+1");
    pair.run(secs(50));
    assert_eq!(pair.key_change_at("seal 1").duration_since(began), secs(40));
}

#[test]
fn or_for_half_of_what_the_server_does_faster() {
    let mut pair = Setup::default().up();
    pair.run(secs(20));
    renew(&mut pair);
    let deferral = deferral(&mut pair);
    assert!(deferral > secs(10) && deferral < secs(11), "{deferral:?}");
}

#[test]
fn the_next_renegotiation_ends_the_wait() {
    let mut pair = Setup::default().up();
    pair.run(secs(1000));
    renew(&mut pair);
    pair.run(secs(5));
    renew(&mut pair);
    assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1", "seal 1", "+2"]);
}

#[test]
fn the_old_key_opens_for_tran_window_after_the_renegotiation_began() {
    let mut pair = Setup::new(|setup| setup.settings.tran_window = secs(600)).up();
    pair.run(secs(1000));
    let began = pair.now;
    renew(&mut pair);
    pair.run(secs(1000));
    let gone = pair.key_change_at("-0").duration_since(began);
    assert!(gone >= secs(600) && gone < secs(601), "{gone:?}");
    assert!(pair.plane.openers.contains_key(&KeyTag(1)));
    pair.assert_traffic_flows();
}

#[test]
fn the_new_key_seals_before_the_old_one_stops_to_open() {
    let mut pair = Setup::new(|setup| setup.settings.tran_window = secs(10)).up();
    pair.run(secs(1000));
    renew(&mut pair);
    pair.run(secs(20));
    assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1", "seal 1", "-0"]);
}

#[test]
fn three_keys_open_at_most() {
    let mut pair = Setup::default().up();
    for _ in 0..20 {
        pair.run(secs(3));
        renew(&mut pair);
        assert!(pair.plane.openers.len() <= 3);
    }
    pair.assert_traffic_flows();
}

#[test]
fn the_only_key_stays_while_a_renegotiation_takes_long() {
    let mut pair = Setup::new(|setup| setup.settings.tran_window = secs(5)).up();
    pair.run(secs(100));
    pair.server.renegotiate(pair.now);
    pair.run(super::millis(5));
    pair.to_server.cut = true;
    pair.run(secs(20));
    assert_eq!(pair.key_changes(), ["+0", "seal 0"]);
    pair.to_server.cut = false;
    pair.run(secs(20));
    assert_eq!(pair.key_changes(), ["+0", "seal 0", "+1", "seal 1", "-0"]);
    pair.assert_traffic_flows();
}
